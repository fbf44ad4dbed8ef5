//! What went wrong with a call, and what that means for the next one.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::remedy::Denial;
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
            Fault::Denied => Some(Denial::of(&self.message).remedy(&self.action())),
            Fault::Credentials if self.message.contains("not authorized to perform: sts:AssumeRole") => Some(
                "let the trust policy of the role name who assumes it (and the external id), and allow that one sts:AssumeRole"
                    .to_owned(),
            ),
            Fault::Credentials if self.code.is_empty() => {
                Some("see to the source of the credentials that is named; it is asked again by itself".to_owned())
            }
            Fault::Credentials => {
                Some("check the role, profile or environment that the credentials come from".to_owned())
            }
            Fault::Refused if self.is_about_lost_revision() => Some(
                "the task definition revision is deregistered or deleted, and repeating the call cannot help: set the service to a \
                 revision that is ACTIVE"
                    .to_owned(),
            ),
            Fault::Unavailable if is_about_clock(&self.code, &self.message) => {
                Some("set the machine's clock; AWS's time is taken from its answers meanwhile".to_owned())
            }
            Fault::Refused | Fault::Throttled | Fault::NotFound | Fault::Unavailable => None,
        }
    }

    /// AWS says that a task definition revision is not there any more, or not ACTIVE. No repetition mends that.
    #[must_use]
    pub fn is_about_lost_revision(&self) -> bool {
        let message = self.message.to_lowercase();
        let lost = ["not found", "inactive", "does not exist", "unable to describe", "delete_in_progress", "deleted"];
        let about = message.contains("task definition") || message.contains("taskdefinition");
        about && lost.iter().any(|word| message.contains(word))
    }

    /// A refusal that may pass although AWS calls it the caller's mistake: a role or a load balancer that was made just now is not seen
    /// everywhere at once. It is worth a few repetitions before it counts.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.fault == Fault::Refused && self.code == "InvalidParameterException" && !self.is_about_lost_revision()
    }

    pub(super) fn without_credentials(api: &'static str, operation: &'static str, message: String) -> Self {
        Self { api, operation, fault: Fault::Credentials, code: String::new(), message }
    }

    /// An answer that cannot be used.
    #[must_use]
    pub fn unusable(api: &'static str, operation: &'static str, message: impl Into<String>) -> Self {
        Self { api, operation, fault: Fault::Unavailable, code: String::new(), message: one_line(&message.into()) }
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
            message: one_line(&message),
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
        // DynamoDB's own. The last one is of a write that meets another one.
        "ProvisionedThroughputExceededException",
        "TransactionConflictException",
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
        "ResourceNotFoundException",
    ];
    let is = |list: &[&str]| list.contains(&code);
    // The SDK does not retry this one although it goes away by itself.
    let concurrent = message.contains("Too many concurrent attempts");
    if is(THROTTLED) || concurrent || status == 429 {
        Fault::Throttled
    } else if is(DENIED) {
        Fault::Denied
    } else if is_about_clock(code, message) {
        // The SDK has learned the difference from this answer, and signs the next request by it.
        Fault::Unavailable
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

/// A signature that AWS takes for one of another time (IAM User Guide, "Troubleshooting Signature Version 4 errors").
fn is_about_clock(code: &str, message: &str) -> bool {
    let of_signature = ["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"].contains(&code);
    let of_time = ["Signature expired", "Signature not yet current"].iter().any(|text| message.contains(text));
    code == "RequestTimeTooSkewed" || (of_signature && of_time)
}

/// A text that others wrote, as one line that is fit to be shown: AWS's messages, and what programs say, may have several.
pub(super) fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    printable(&lines.join(" "), LONGEST)
}

/// An error with its causes, each once, as one line.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    one_line(&text)
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
            // A clock that is wrong by more than five minutes; then there is nothing wrong with the credentials.
            (
                "InvalidSignatureException",
                "Signature not yet current: 20261127T145000Z is still later than 20261127T144500Z (20261127T144000Z + 5 min.)",
                400,
                Fault::Unavailable,
            ),
            (
                "SignatureDoesNotMatch",
                "Signature expired: 20261127T143000Z is now earlier than 20261127T143500Z (20261127T144000Z - 5 min.)",
                403,
                Fault::Unavailable,
            ),
            ("RequestTimeTooSkewed", "", 403, Fault::Unavailable),
            (
                "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided.",
                400,
                Fault::Credentials,
            ),
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

    #[test]
    fn messages_of_several_lines_become_one() {
        assert_eq!(
            one_line("The request signature\n\nThe Canonical String\r\n'POST\n\n'"),
            "The request signature The Canonical String 'POST '"
        );
        let error = AwsError::unusable("ecs", "UpdateService", "first\nsecond\u{1b}[2J");
        assert_eq!(error.to_string(), "ecs:UpdateService: first second\u{fffd}[2J");
    }

    #[test]
    fn a_refusal_that_may_pass_is_told_from_one_that_cannot() {
        let refused = |code: &str, message: &str| AwsError {
            api: "ecs",
            operation: "UpdateService",
            fault: fault_of(code, message, 400),
            code: code.to_owned(),
            message: message.to_owned(),
        };
        for (code, message, may_pass, lost) in [
            (
                "InvalidParameterException",
                "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
                true,
                false,
            ),
            (
                "InvalidParameterException",
                "The target group with targetGroupArn arn:aws:elasticloadbalancing:eu-west-1:111111111111:targetgroup/web/0123456789abcdef does not have an associated load balancer.",
                true,
                false,
            ),
            ("ClientException", "TaskDefinition is inactive", false, true),
            ("ClientException", "TaskDefinition not found.", false, true),
            ("ClientException", "Unable to describe task definition.", false, true),
            ("InvalidParameterException", "TaskDefinition does not exist.", false, true),
            ("AccessDeniedException", "no", false, false),
            ("UnsupportedFeatureException", "no", false, false),
            ("ServerException", "no", false, false),
        ] {
            let error = refused(code, message);
            assert_eq!((error.may_pass(), error.is_about_lost_revision()), (may_pass, lost), "{code}: {message}");
            assert_eq!(error.remedy().is_some_and(|remedy| remedy.contains("cannot help")), lost, "{message}");
        }
    }
}
