//! Calls that fail: when they are made again, and which error was the last.

use std::time::Duration;

use super::now::Moment;
use crate::domain::aws_error::{AwsError, Fault};

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The pause after many failures; it doubles up to here.
const LONGEST: Duration = Duration::from_secs(30);
/// The pause after an error that lasts until an operator changes something.
const AFTER_DENIAL: Duration = Duration::from_secs(60);

/// The backoff of one kind of call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    until: Option<Moment>,
    failures: u32,
    last_error: Option<String>,
    needs_operator: bool,
}

/// What a failure means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delay {
    /// The pause before the next attempt.
    pub(super) retry_in: Duration,
    /// Whether the same error was told before.
    pub(super) repeated: bool,
}

impl Backoff {
    /// Records a failure, and gives the pause before the next attempt.
    pub(super) fn failed(&mut self, error: &AwsError, now: Moment) -> Delay {
        let retry_in = match error.fault {
            Fault::Denied | Fault::Refused => AFTER_DENIAL,
            Fault::Throttled | Fault::Credentials | Fault::NotFound | Fault::Unavailable => {
                LONGEST.min(FIRST * 2u32.saturating_pow(self.failures.min(10)))
            }
        };
        self.failures += 1;
        self.needs_operator = matches!(error.fault, Fault::Denied | Fault::Refused | Fault::Credentials);
        self.until = Some(now.plus(retry_in));
        let text = error.to_string();
        let repeated = self.last_error.as_ref() == Some(&text);
        self.last_error = Some(text);
        Delay { retry_in, repeated }
    }

    /// Records a success. True if calls had failed before it.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(self).last_error.is_some()
    }

    /// Whether a call may be made.
    pub(super) fn is_over(&self, now: Moment) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// The moment from which on a call may be made.
    pub(super) fn until(&self) -> Option<Moment> {
        self.until
    }

    /// The last error, as long as no call has succeeded since.
    pub(super) fn last_error(&self) -> Option<&String> {
        self.last_error.as_ref()
    }

    /// Whether the error lasts until an operator changes something.
    pub(super) fn needs_operator(&self) -> bool {
        self.needs_operator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fault: Fault) -> AwsError {
        AwsError { fault, ..AwsError::unusable("ecs", "DescribeServices", "simulated") }
    }

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn the_pause_doubles_up_to_half_a_minute_and_a_success_ends_it() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> =
            (0..7).map(|_| backoff.failed(&error(Fault::Throttled), at(0)).retry_in.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(!backoff.is_over(at(29)) && backoff.is_over(at(30)));
        assert!(backoff.succeeded() && !backoff.succeeded());
        assert_eq!(backoff, Backoff::default());
    }

    #[test]
    fn what_an_operator_has_to_change_is_tried_once_a_minute_and_told_once() {
        let mut backoff = Backoff::default();
        let first = backoff.failed(&error(Fault::Denied), at(0));
        assert_eq!(first, Delay { retry_in: AFTER_DENIAL, repeated: false });
        assert!(backoff.failed(&error(Fault::Denied), at(60)).repeated && backoff.needs_operator());
    }
}
