//! Why the demo ended without showing what it must show.

use local_aws::{CallError, StartError};
use std::error::Error;
use std::io;
use std::process::ExitStatus;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("interrupted")]
    Interrupted,
    #[error("the daemon does not compile ({0})")]
    Build(ExitStatus),
    #[error("cargo built no executable named ecs-deployd")]
    NoExecutable,
    #[error("there is no local AWS")]
    LocalAws(#[from] StartError),
    #[error("the local AWS ended by itself")]
    LocalAwsEnded,
    #[error("the local AWS does not do what it must")]
    Call(#[from] CallError),
    #[error("another demo runs in {0}: end it first")]
    Busy(String),
    #[error("cannot {what}")]
    Io { what: String, source: io::Error },
    #[error("the daemon ended by itself ({status}); the end of its log:\n{log}")]
    DaemonEnded { status: ExitStatus, log: String },
    #[error("the daemon was not ready within {seconds} s: {reason}")]
    NotReady { seconds: u64, reason: String },
    #[error("the service did not roll within {seconds} s: {reason}")]
    NotRolled { seconds: u64, reason: String },
    #[error("the daemon did not stop as it must: {0}")]
    BadStop(String),
    #[error("a thread of the demo panicked")]
    Panicked,
}

impl Failure {
    /// For `map_err`: what was tried when the error came.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The message and those of its causes.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_once() {
        let failure = Failure::io("read x")(io::Error::other("no such file"));
        assert_eq!(failure.with_causes(), "cannot read x: no such file");
    }
}
