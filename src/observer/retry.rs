//! Reads that are tried again on the spot.
//!
//! A decision takes several reads one after another. Were the whole of it begun anew for each one that fails, a bad hour of AWS would
//! hold it up for as long. A read can be repeated without harm; a write cannot, so there is nothing like this for writes.

use std::time::Duration;

use crate::aws::{AwsError, Fault};
use crate::clock;

/// Which reads are made again at once, how often, and after which pauses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// Attempts at one read.
    pub(crate) attempts: u32,
    /// Before the second attempt; doubled before each further one.
    pub(crate) pause: Duration,
    /// Whether an attempt that failed is worth another one, by its error, its number and the time that it took.
    pub(crate) is_worth_another: fn(&AwsError, u32, Duration) -> bool,
}

/// For reads that a decision waits for.
const ON_THE_SPOT: RetryPolicy = RetryPolicy {
    attempts: 3,
    pause: Duration::from_millis(200),
    is_worth_another: |error, _, took| matches!(error.fault, Fault::Throttled | Fault::Unavailable) && took < QUICK,
};
/// A call that took longer than this is not tried again on the spot: whoever waits for it has waited long enough.
const QUICK: Duration = Duration::from_secs(2);

/// Makes a read, and makes it again if it quickly met with something that passes.
pub(super) async fn with_retries<T, F>(read: impl FnMut() -> F) -> Result<T, AwsError>
where
    F: Future<Output = Result<T, AwsError>>,
{
    ON_THE_SPOT.read(read).await
}

impl RetryPolicy {
    /// Makes a read, and makes it again as the policy says.
    pub(crate) async fn read<T, F>(&self, mut read: impl FnMut() -> F) -> Result<T, AwsError>
    where
        F: Future<Output = Result<T, AwsError>>,
    {
        let (mut attempt, mut pause) = (1, self.pause);
        loop {
            let begun = clock::instant();
            match read().await {
                Err(error) if attempt < self.attempts && (self.is_worth_another)(&error, attempt, begun.elapsed()) => {
                    clock::sleep(pause).await;
                    (attempt, pause) = (attempt + 1, pause * 2);
                }
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fault: Fault) -> AwsError {
        AwsError { fault, ..AwsError::unusable("ecs", "DescribeServices", "simulated") }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_does_not_is_not() {
        for (fault, takes, attempts) in [
            (Fault::Throttled, 0, 3),
            (Fault::Unavailable, 0, 3),
            (Fault::Unavailable, 15, 1),
            (Fault::Denied, 0, 1),
            (Fault::Refused, 0, 1),
            (Fault::Credentials, 0, 1),
        ] {
            let mut made = 0;
            let result: Result<(), AwsError> = with_retries(|| {
                made += 1;
                async move {
                    clock::sleep(Duration::from_secs(takes)).await;
                    Err(error(fault))
                }
            })
            .await;
            assert!(result.is_err());
            assert_eq!(made, attempts, "{fault:?} after {takes} s");
        }
    }
}
