//! What went wrong with a call, and what that means for the next one.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::domain::event::shorten;
use crate::domain::printable::{LONGEST, printable};
use crate::domain::words::words;

/// A call to AWS that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{api}:{operation}: {}{message}", if code.is_empty() { String::new() } else { format!("{code}: ") })]
pub struct AwsError {
    /// The service: `ecs`.
    pub api: &'static str,
    /// The operation: `UpdateService`. With the service it is the IAM action.
    pub operation: &'static str,
    /// What it means.
    pub fault: Fault,
    /// AWS's error code, where there is one.
    pub code: String,
    /// What AWS, or the connection, says.
    pub message: String,
}

/// The message of a call that was given up.
const NO_ANSWER: &str = "no answer in time";

words! {
    /// What a failed call means for the next one.
    pub enum Fault {
        Throttled = "throttled", "Too many calls. This one did nothing.";
        Denied = "denied", "The role lacks the permission. The call did nothing.";
        Credentials = "credentials", "The credentials are missing, wrong or expired. The call did nothing.";
        NotFound = "not_found", "What the call names is not there.";
        Refused = "refused", "AWS will not do this, however often it is asked.";
        Unavailable = "unavailable", "No usable answer: a time-out, a reset, a server error. The call may have taken effect.";
    }
}

impl AwsError {
    /// The IAM action that is missing: the one that AWS names (`iam:PassRole`, where a revision is registered), or that of the call.
    #[must_use]
    pub fn action(&self) -> String {
        let named = self.message.split_once("not authorized to perform: ").map(|(_, rest)| rest);
        let action = named.and_then(|rest| rest.split([' ', ',', ';']).next());
        let is_action = |text: &&str| {
            let part =
                |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            text.split_once(':').is_some_and(|(service, name)| part(service) && part(name))
        };
        action.filter(is_action).map_or_else(|| format!("{}:{}", self.api, self.operation), str::to_owned)
    }

    /// Whether no answer came in time, so that a smaller question may be answered.
    #[must_use]
    pub fn is_time_out(&self) -> bool {
        self.fault == Fault::Unavailable && self.code.is_empty() && self.message == NO_ANSWER
    }

    /// What the operator can do about it, where there is something.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self.fault {
            Fault::Denied => Some(format!("allow {} in the IAM policy of the role", self.action())),
            Fault::Credentials => {
                Some("check the role, profile or environment that the credentials come from".to_owned())
            }
            _ => None,
        }
    }

    /// An answer that cannot be used.
    #[must_use]
    pub fn unusable(api: &'static str, operation: &'static str, message: impl Into<String>) -> Self {
        let message = printable(&message.into(), LONGEST);
        Self { api, operation, fault: Fault::Unavailable, code: String::new(), message }
    }

    /// A call that was not answered in time.
    #[must_use]
    pub fn timed_out(api: &'static str, operation: &'static str) -> Self {
        Self::unusable(api, operation, NO_ANSWER)
    }

    pub(super) fn from_sdk<E>(api: &'static str, operation: &'static str, error: &SdkError<E, Response>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        // What AWS, a proxy or a credential process says is shown to people.
        let make = |fault, code: &str, message: String| Self {
            api,
            operation,
            fault,
            code: shorten(code),
            message: printable(&message, LONGEST),
        };
        match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                let code = service.err().code().unwrap_or_default();
                let message = service.err().message().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
                make(fault_of(code, &message, status), code, message)
            }
            SdkError::ConstructionFailure(_) => make(Fault::Refused, "", chain(error)),
            SdkError::TimeoutError(_) => Self::timed_out(api, operation),
            other if is_about_credentials(other) => make(Fault::Credentials, "", chain(other)),
            other => make(Fault::Unavailable, "", chain(other)),
        }
    }
}

fn fault_of(code: &str, message: &str, status: u16) -> Fault {
    const THROTTLED: &[&str] = &[
        "Throttling",
        "ThrottlingException",
        // ECR's own, which is not in the SDK's list.
        "ThrottleException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "LimitExceededException",
    ];
    const DENIED: &[&str] = &[
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "NotAuthorized",
        // SNS's own.
        "AuthorizationError",
        "AuthorizationErrorException",
        "OperationNotPermittedException",
    ];
    const CREDENTIALS: &[&str] = &[
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "AuthFailure",
    ];
    const NOT_FOUND: &[&str] = &[
        "ClusterNotFoundException",
        "ServiceNotFoundException",
        "ServiceNotActiveException",
        "ImageNotFoundException",
        "RepositoryNotFoundException",
    ];
    let is = |list: &[&str]| list.contains(&code);
    // The SDK does not retry this one although it goes away by itself.
    let concurrent = message.contains("Too many concurrent attempts");
    if is(THROTTLED) || concurrent || status == 429 {
        Fault::Throttled
    } else if is(DENIED) {
        Fault::Denied
    } else if is(CREDENTIALS) {
        Fault::Credentials
    } else if is(NOT_FOUND) {
        Fault::NotFound
    } else if status >= 500
        || status == 408
        || code == "ServerException"
        || code == "ConflictException"
        || code == "RequestTimeout"
        || code == "RequestTimeoutException"
        || code.is_empty()
    {
        Fault::Unavailable
    } else {
        Fault::Refused
    }
}

fn is_about_credentials(error: &(dyn Error + 'static)) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<CredentialsError>().is_some() {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error with its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_the_next_call_needs_to_know() {
        for (code, message, status, fault) in [
            ("ThrottlingException", "Rate exceeded", 400, Fault::Throttled),
            ("ThrottleException", "", 400, Fault::Throttled),
            ("", "", 429, Fault::Throttled),
            (
                "ClientException",
                "Too many concurrent attempts to create a new revision of the specified family.",
                400,
                Fault::Throttled,
            ),
            ("ClientException", "No such thing", 400, Fault::Refused),
            ("AccessDeniedException", "", 400, Fault::Denied),
            ("ExpiredTokenException", "", 400, Fault::Credentials),
            ("UnrecognizedClientException", "", 403, Fault::Credentials),
            ("ServiceNotFoundException", "", 400, Fault::NotFound),
            ("ServerException", "", 500, Fault::Unavailable),
            ("InternalFailure", "", 500, Fault::Unavailable),
            ("", "", 400, Fault::Unavailable),
            ("ConflictException", "", 400, Fault::Unavailable),
            ("RequestTimeoutException", "", 400, Fault::Unavailable),
            ("InvalidParameterException", "", 400, Fault::Refused),
        ] {
            assert_eq!(fault_of(code, message, status), fault, "{code} {status}");
        }
    }

    #[test]
    fn a_denied_call_names_the_action_to_allow() {
        let error = AwsError {
            api: "ecs",
            operation: "UpdateService",
            fault: Fault::Denied,
            code: "AccessDeniedException".to_owned(),
            message: "User is not authorized".to_owned(),
        };
        assert_eq!(error.to_string(), "ecs:UpdateService: AccessDeniedException: User is not authorized");
        assert_eq!(error.remedy().unwrap(), "allow ecs:UpdateService in the IAM policy of the role");
        for (message, action) in [
            (
                "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: iam:PassRole on resource: arn:x because",
                "iam:PassRole",
            ),
            ("User: x is not authorized to perform: ecs:TagResource", "ecs:TagResource"),
            ("User: x is not authorized to perform: <script>", "ecs:UpdateService"),
        ] {
            assert_eq!(AwsError { message: message.to_owned(), ..error.clone() }.action(), action);
        }
    }
}
