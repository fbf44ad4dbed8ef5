//! The time for which a replica is the active one, as those see it who write.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use crate::aws::table::{Attribute, Condition, ItemKey};
use crate::clock::{self, Clock, Instant};

/// What a transaction checks: that the lease is still the one that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The replica that holds the lease.
    pub holder: String,
    /// The number of the term, which grows with each replica that takes the lease.
    pub term: u64,
}

impl Fence {
    /// The key of the lease.
    #[must_use]
    pub fn key() -> ItemKey {
        ItemKey::new("lease", "lease")
    }

    /// The condition on the lease.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let holder = Attribute::Text(self.holder.clone());
        Condition::Holds([("holder", holder), ("term", Attribute::Number(self.term))].into())
    }
}

/// One term of a replica.
#[derive(Debug)]
pub struct Tenure {
    fence: Fence,
    length: Duration,
    /// The end of the lease, and for how long the machine had been suspended when that was known.
    until: Mutex<(Instant, Duration)>,
    clock: Arc<dyn Clock>,
}

impl Tenure {
    /// A term whose lease ends at a moment unless it is renewed.
    #[must_use]
    pub fn new(fence: Fence, length: Duration, until: Instant, clock: Arc<dyn Clock>) -> Self {
        Self { fence, length, until: Mutex::new((until, clock.suspended())), clock }
    }

    /// What its transactions check.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The lease was renewed, or is over at this moment.
    pub fn lasts_until(&self, until: Instant) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = (until, self.clock.suspended());
    }

    /// Whether the lease has not ended.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        clock::instant() < self.until()
    }

    /// The moment at which a write that is begun now has to be given up. None, if so little is left of the lease that it is not begun. A
    /// sixth of the lease is kept for what AWS got just before that moment.
    #[must_use]
    pub fn end_of_a_write(&self) -> Option<Instant> {
        let sixth = self.length / 6;
        let end = self.until().checked_sub(sixth)?;
        (end >= clock::instant() + sixth).then_some(end)
    }

    /// Waits until the moment at which a write is given up. It is there sooner by as long as the machine is suspended meanwhile, which the
    /// monotonic clock does not see.
    pub async fn is_over(&self, end: Instant) {
        let begun = self.clock.suspended();
        let mut timer = pin!(clock::sleep_until(end));
        std::future::poll_fn(|context| {
            let meanwhile = self.clock.suspended().saturating_sub(begun);
            match end.checked_sub(meanwhile).is_none_or(|end| end <= clock::instant()) {
                true => Poll::Ready(()),
                false => timer.as_mut().poll(context),
            }
        })
        .await;
    }

    fn until(&self) -> Instant {
        let (until, suspended) = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let meanwhile = self.clock.suspended().saturating_sub(suspended);
        until.checked_sub(meanwhile).unwrap_or_else(clock::instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test(start_paused = true)]
    async fn a_write_begins_while_a_third_of_the_lease_is_left_and_is_given_up_a_sixth_before_its_end() {
        let now = clock::instant();
        let seconds = Duration::from_secs;
        let fence = Fence { holder: "one".to_owned(), term: 1 };
        let tenure = Tenure::new(fence, seconds(30), now + seconds(30), Arc::new(SystemClock));
        assert_eq!(tenure.end_of_a_write(), Some(now + seconds(25)));
        tokio::time::advance(seconds(20)).await;
        assert_eq!(tenure.end_of_a_write(), Some(now + seconds(25)));
        tokio::time::advance(seconds(1)).await;
        assert_eq!((tenure.end_of_a_write(), tenure.is_valid()), (None, true));
        tenure.lasts_until(now + seconds(51));
        assert_eq!(tenure.end_of_a_write(), Some(now + seconds(46)));
        tokio::time::advance(seconds(30)).await;
        assert_eq!((tenure.end_of_a_write(), tenure.is_valid()), (None, false));
    }
}
