//! A call to AWS that failed, and what that means for the next one.
//!
//! What AWS and its SDK report is read in `aws/error.rs`; here is what decisions are made from.

use super::denial::Denial;
use super::printable::one_line;
use super::words::words;

/// A call to AWS that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{api}:{operation}: {}{message}", if code.is_empty() { String::new() } else { format!("{code}: ") })]
pub struct AwsError {
    /// The service as IAM writes it: `ecs`.
    pub api: &'static str,
    /// The operation: `UpdateService`. With the service it is the IAM action.
    pub operation: &'static str,
    /// What it means for the next call.
    pub fault: Fault,
    /// What AWS's code and message tell beyond that.
    pub cause: Cause,
    /// AWS's error code, where there is one, for people.
    pub code: String,
    /// What AWS, or the connection, says.
    pub message: String,
}

/// What AWS's code and message tell beyond the [`Fault`], where something follows from it. `aws/error.rs` reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The client token of the call stands for another call already.
    TokenTaken,
    /// A task definition revision is not there any more, or not ACTIVE. No repetition mends that.
    LostRevision,
    /// A parameter of the call is not taken.
    Parameter,
    /// The signature is taken for one of another time: a clock is wrong.
    Clock,
    /// Another one, which decides nothing.
    Other,
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
            Fault::Refused if self.cause == Cause::LostRevision => Some(
                "the task definition revision is deregistered or deleted, and repeating the call cannot help: set the service to a \
                 revision that is ACTIVE"
                    .to_owned(),
            ),
            Fault::Unavailable if self.cause == Cause::Clock => {
                Some("set the machine's clock; AWS's time is taken from its answers meanwhile".to_owned())
            }
            Fault::Refused | Fault::Throttled | Fault::NotFound | Fault::Unavailable => None,
        }
    }

    /// A refusal that may pass although AWS calls it the caller's mistake: a role or a load balancer that was made just now is not seen
    /// everywhere at once. It is worth a few repetitions before it counts.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.fault == Fault::Refused && self.cause == Cause::Parameter
    }

    /// An answer that cannot be used.
    #[must_use]
    pub fn unusable(api: &'static str, operation: &'static str, message: impl Into<String>) -> Self {
        let (fault, cause, message) = (Fault::Unavailable, Cause::Other, one_line(&message.into()));
        Self { api, operation, fault, cause, code: String::new(), message }
    }

    /// A call that was not answered in time.
    #[must_use]
    pub fn timed_out(api: &'static str, operation: &'static str) -> Self {
        Self::unusable(api, operation, NO_ANSWER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_call_names_the_action_to_allow() {
        let error = AwsError {
            api: "ecs",
            operation: "UpdateService",
            fault: Fault::Denied,
            cause: Cause::Other,
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
}
