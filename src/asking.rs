//! Reads that a command makes by the hundred: a few side by side, and again where AWS says to slow down.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::aws::{AwsError, Fault};
use crate::observer::retry::RetryPolicy;

/// Reads under way at once. With answers in some 50 ms this stays below the 20 a second that ECS sustains for these reads, once its burst
/// is spent.
const AT_ONCE: usize = 4;
/// For reads by the hundred: throttling is waited out. Who cannot be reached twice is not there, since a person waits for this.
const BY_THE_HUNDRED: RetryPolicy = RetryPolicy {
    attempts: 6,
    pause: Duration::from_millis(500),
    is_worth_another: |error, attempt, _| {
        error.fault == Fault::Throttled || (error.fault == Fault::Unavailable && attempt == 1)
    },
};

/// Makes a read, and makes it again if what it met with passes.
pub(crate) async fn again<T, F>(read: impl FnMut() -> F) -> Result<T, AwsError>
where
    F: Future<Output = Result<T, AwsError>>,
{
    BY_THE_HUNDRED.read(read).await
}

/// Makes a read for each item, a few at once. Gives the answers in the order of the items, or the first error.
pub(crate) async fn each<I, T, E, F>(items: impl IntoIterator<Item = I>, read: impl FnMut(I) -> F) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<T, E>>,
{
    stream::iter(items).map(read).buffered(AT_ONCE).try_collect().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn error(fault: Fault) -> AwsError {
        AwsError { fault, ..AwsError::unusable("ecs", "ListServices", "simulated") }
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_and_what_does_not_is_not() {
        for (fault, attempts) in
            [(Fault::Throttled, 6), (Fault::Unavailable, 2), (Fault::Denied, 1), (Fault::NotFound, 1)]
        {
            let mut made = 0;
            let result: Result<(), AwsError> = again(|| {
                made += 1;
                async move { Err(error(fault)) }
            })
            .await;
            assert_eq!((result.unwrap_err().fault, made), (fault, attempts));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_come_in_the_order_of_the_items() {
        let slower_first = |item: u64| async move {
            clock::sleep(Duration::from_secs(10 - item)).await;
            Ok::<_, AwsError>(item)
        };
        assert_eq!(each(0..9, slower_first).await.unwrap(), (0..9).collect::<Vec<_>>());
        let fails = |item: u64| async move { if item == 3 { Err(error(Fault::Denied)) } else { Ok(item) } };
        assert_eq!(each(0..9, fails).await.unwrap_err().fault, Fault::Denied);
    }
}
