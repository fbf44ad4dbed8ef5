//! Keeps the calls to ECS within its rate limits: whoever makes one waits until it fits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::AwsError;
use super::guarded::{Call, Guard};
use crate::clock::{self, Instant};
use crate::domain::rate_limit::{Bucket, Group};

/// The token buckets of one account and Region.
#[derive(Debug)]
pub(super) struct RateLimits {
    begun: Instant,
    buckets: Mutex<BTreeMap<Group, Bucket>>,
}

impl RateLimits {
    pub(super) fn new() -> Self {
        Self { begun: clock::instant(), buckets: Mutex::default() }
    }

    /// Waits until a request of the group fits. Whoever came before goes first, and each waits once, however many wait.
    async fn take(&self, group: Group) {
        let wait = self.reserve(group);
        if !wait.is_zero() {
            clock::sleep(wait).await;
        }
    }

    fn reserve(&self, group: Group) -> Duration {
        let now = self.begun.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.entry(group).or_insert_with(|| Bucket::new(group, now)).reserve(now)
    }
}

impl Guard for RateLimits {
    async fn around<T: Send>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<T, AwsError>> + Send,
    ) -> Result<T, AwsError> {
        for _ in 0..call.requests {
            self.take(call.group).await;
        }
        answer.await
    }
}
