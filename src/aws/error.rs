//! What the SDK reports of a call that failed, as an [`AwsError`].

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::domain::aws_error::{AwsError, Cause, Fault};
use crate::domain::event::shorten;
use crate::domain::printable::one_line;
use crate::wording::chain;

pub(super) fn without_credentials(api: &'static str, operation: &'static str, message: String) -> AwsError {
    AwsError { api, operation, fault: Fault::Credentials, cause: Cause::Other, code: String::new(), message }
}

/// A call that failed with this code and message of AWS, and what they tell.
#[must_use]
pub fn error_of_code(api: &'static str, operation: &'static str, fault: Fault, code: &str, message: &str) -> AwsError {
    // What AWS, a proxy or a credential process says is shown to people.
    AwsError { api, operation, fault, cause: cause_of(code, message), code: shorten(code), message: one_line(message) }
}

/// What the SDK says of a call that failed.
pub(super) fn error_from_sdk<E>(api: &'static str, operation: &'static str, error: &SdkError<E, Response>) -> AwsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let make = |fault, code: &str, message: String| error_of_code(api, operation, fault, code, &message);
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let code = service.err().code().unwrap_or_default();
            let message = service.err().message().map_or_else(|| format!("HTTP status {status}"), str::to_owned);
            make(fault_of(code, &message, status), code, message)
        }
        SdkError::ConstructionFailure(_) => make(Fault::Refused, "", chain(error)),
        SdkError::TimeoutError(_) => AwsError::timed_out(api, operation),
        other if is_about_credentials(other) => make(Fault::Credentials, "", chain(other)),
        other => make(Fault::Unavailable, "", chain(other)),
    }
}

fn cause_of(code: &str, message: &str) -> Cause {
    match code {
        "ConflictException" => Cause::TokenTaken,
        _ if is_about_lost_revision(message) => Cause::LostRevision,
        "InvalidParameterException" => Cause::Parameter,
        _ if is_about_clock(code, message) => Cause::Clock,
        _ => Cause::Other,
    }
}

fn is_about_lost_revision(message: &str) -> bool {
    let message = message.to_lowercase();
    let lost = ["not found", "inactive", "does not exist", "unable to describe", "delete_in_progress", "deleted"];
    let about = message.contains("task definition") || message.contains("taskdefinition");
    about && lost.iter().any(|word| message.contains(word))
}

/// A signature that AWS takes for one of another time (IAM User Guide, "Troubleshooting Signature Version 4 errors").
fn is_about_clock(code: &str, message: &str) -> bool {
    let of_signature = ["InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure"].contains(&code);
    let of_time = ["Signature expired", "Signature not yet current"].iter().any(|text| message.contains(text));
    ["RequestTimeTooSkewed", "RequestExpired"].contains(&code) || (of_signature && of_time)
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
        // SQS's, in its two protocols.
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
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
            ("RequestExpired", "Request has expired.", 400, Fault::Unavailable),
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
    fn a_refusal_that_may_pass_is_told_from_one_that_cannot() {
        for (fault, code, message, may_pass, lost) in [
            (
                Fault::Refused,
                "InvalidParameterException",
                "Unable to assume the service linked role. Please verify that the ECS service linked role exists.",
                true,
                false,
            ),
            (
                Fault::Refused,
                "InvalidParameterException",
                "The target group with targetGroupArn arn:aws:elasticloadbalancing:eu-west-1:111111111111:targetgroup/web/0123456789abcdef does not have an associated load balancer.",
                true,
                false,
            ),
            (Fault::Refused, "ClientException", "TaskDefinition is inactive", false, true),
            (Fault::Refused, "ClientException", "TaskDefinition not found.", false, true),
            (Fault::Refused, "ClientException", "Unable to describe task definition.", false, true),
            (Fault::Refused, "InvalidParameterException", "TaskDefinition does not exist.", false, true),
            (Fault::Denied, "AccessDeniedException", "no", false, false),
            (Fault::Refused, "UnsupportedFeatureException", "no", false, false),
            (Fault::Unavailable, "ServerException", "no", false, false),
        ] {
            let error = error_of_code("ecs", "UpdateService", fault, code, message);
            let found = (error.may_pass(), error.cause == Cause::LostRevision);
            assert_eq!(found, (may_pass, lost), "{code}: {message}");
            assert_eq!(error.remedy().is_some_and(|remedy| remedy.contains("cannot help")), lost, "{message}");
        }
    }
}
