//! Calls to AWS services that speak JSON, as far as MiniStack needs it.

use crate::http;
use serde_json::Value;
use std::time::Duration;

/// The target prefix of Amazon ECR.
pub const ECR: &str = "AmazonEC2ContainerRegistry_V20150921";
/// The target prefix of Amazon ECS.
pub const ECS: &str = "AmazonEC2ContainerServiceV20141113";
/// The target prefix of Amazon SQS.
pub const SQS: &str = "AmazonSQS";
/// The target prefix of AWS CloudTrail.
pub const CLOUDTRAIL: &str = "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101";

/// Tells the calls of this client from those of others.
pub(crate) const USER_AGENT: &str = "local-aws";

const DEADLINE: Duration = Duration::from_secs(30);

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service answered with an error.
    #[error("{operation} was refused: {code} (HTTP {status}): {message}")]
    Refused {
        /// The operation that was called.
        operation: String,
        /// The HTTP status of the answer.
        status: u16,
        /// The name of the exception, such as `RepositoryNotFoundException`.
        code: String,
        /// What the service says about it.
        message: String,
    },
    /// The call got no answer.
    #[error("{operation} got no answer")]
    NoAnswer {
        /// The operation that was called.
        operation: String,
        /// Why no answer came.
        source: Box<ureq::Error>,
    },
    /// The answer lacks what it must have.
    #[error("{operation} gave no {wanted}: {answer}")]
    Unexpected {
        /// The operation that was called.
        operation: String,
        /// The member that the answer lacks.
        wanted: String,
        /// The whole answer, for people.
        answer: String,
    },
}

impl CallError {
    /// The name of the exception, if the service answered with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// Calls MiniStack in one account and region.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    endpoint: String,
    account: String,
    region: String,
}

impl Client {
    /// For one account (12 digits) and region at `endpoint`, such as `http://127.0.0.1:4566`.
    pub fn new(endpoint: &str, account: &str, region: &str) -> Self {
        Self {
            agent: http::agent(DEADLINE),
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
        }
    }

    /// The account, which is also the access key id that leads to it.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The Region that the client calls.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls `operation` of the service with this target prefix: [`ECR`], [`ECS`], [`CLOUDTRAIL`] or
    /// that of another service that speaks JSON 1.1.
    pub fn call(&self, service_target: &str, operation: &str, input: &Value) -> Result<Value, CallError> {
        let attempt = || {
            let mut answer = self
                .agent
                .post(format!("{}/", self.endpoint))
                .header("Content-Type", "application/x-amz-json-1.1")
                .header("X-Amz-Target", format!("{service_target}.{operation}"))
                .header("Authorization", self.authorization(service_target))
                .header("User-Agent", USER_AGENT)
                .send(input.to_string())?;
            let status = answer.status().as_u16();
            Ok((status, answer.body_mut().read_to_string()?))
        };
        let (status, body) = attempt().map_err(|source: ureq::Error| CallError::NoAnswer {
            operation: operation.to_owned(),
            source: Box::new(source),
        })?;
        understand(operation, status, &body)
    }

    /// Calls an operation of an API that speaks REST, such as `scheduler`.
    ///
    /// # Errors
    /// The service refused it, or gave no answer.
    pub fn rest(&self, service: &str, method: &str, path: &str, body: &Value) -> Result<Value, CallError> {
        let operation = format!("{method} {path}");
        let attempt = || {
            let request = ureq::http::Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.endpoint))
                .header("Content-Type", "application/json")
                .header("Authorization", self.authorization(service))
                .header("User-Agent", USER_AGENT);
            let mut answer = match body.is_null() {
                true => self.agent.run(request.body(())?)?,
                false => self.agent.run(request.body(body.to_string())?)?,
            };
            let status = answer.status().as_u16();
            Ok((status, answer.body_mut().read_to_string()?))
        };
        let (status, text) = attempt().map_err(|source: ureq::Error| CallError::NoAnswer {
            operation: operation.clone(),
            source: Box::new(source),
        })?;
        understand(&operation, status, &text)
    }

    /// MiniStack reads the account and the region off this header and checks neither date nor signature.
    fn authorization(&self, service_target: &str) -> String {
        let service = match service_target {
            ECR => "ecr",
            ECS => "ecs",
            CLOUDTRAIL => "cloudtrail",
            SQS => "sqs",
            other => other,
        };
        format!(
            "AWS4-HMAC-SHA256 Credential={}/20260101/{}/{service}/aws4_request, \
             SignedHeaders=host, Signature={:064}",
            self.account, self.region, 0
        )
    }
}

fn understand(operation: &str, status: u16, body: &str) -> Result<Value, CallError> {
    let value: Option<Value> = serde_json::from_str(body).ok();
    match (status, value) {
        (200, Some(value)) => Ok(value),
        (200, None) => Err(unexpected(operation, "JSON", body)),
        (_, value) => Err(refusal(operation, status, &value.unwrap_or_default(), body)),
    }
}

fn refusal(operation: &str, status: u16, value: &Value, body: &str) -> CallError {
    let text = |key: &str| value[key].as_str();
    // Some services put a namespace before the name.
    let code = text("__type").and_then(|name| name.rsplit('#').next());
    CallError::Refused {
        operation: operation.to_owned(),
        status,
        code: code.unwrap_or("without a name").to_owned(),
        message: text("message").or(text("Message")).unwrap_or(body).to_owned(),
    }
}

pub(crate) fn unexpected(operation: &str, wanted: &str, answer: &str) -> CallError {
    CallError::Unexpected { operation: operation.to_owned(), wanted: wanted.to_owned(), answer: answer.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_has_a_name_without_namespace() {
        let body = json!({"__type": "com.amazonaws.ecs#ClientException", "message": "no"});
        let error = understand("X", 400, &body.to_string()).expect_err("refused");
        assert_eq!(error.code(), Some("ClientException"));
        assert_eq!(error.to_string(), "X was refused: ClientException (HTTP 400): no");
    }

    #[test]
    fn an_error_that_is_not_json_is_shown_whole() {
        let error = understand("X", 502, "<html>").expect_err("refused");
        assert!(error.to_string().ends_with("<html>"), "{error}");
    }

    #[test]
    fn the_credential_names_account_region_and_service() {
        let client = Client::new("http://127.0.0.1:1/", "123456789012", "eu-west-1");
        let header = client.authorization(ECS);
        assert!(header.contains("Credential=123456789012/20260101/eu-west-1/ecs/aws4_request,"), "{header}");
    }
}
