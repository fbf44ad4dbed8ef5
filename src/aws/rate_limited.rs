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

    /// Waits until the requests of a call fit. Whoever came before goes first, and each waits once, however many wait.
    async fn take(&self, group: Group, requests: u32) {
        let wait = self.with(group, |bucket, now| bucket.reserve(now, requests));
        if !wait.is_zero() {
            let mut reserved = Reserved { limits: self, group, requests };
            clock::sleep(wait).await;
            reserved.requests = 0;
        }
    }

    fn with<T>(&self, group: Group, act: impl FnOnce(&mut Bucket, Duration) -> T) -> T {
        let now = self.begun.elapsed();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        act(buckets.entry(group).or_insert_with(|| Bucket::new(group, now)), now)
    }
}

/// Requests that wait until they fit. Where the wait is given up, others may be made in their place.
#[derive(Debug)]
struct Reserved<'a> {
    limits: &'a RateLimits,
    group: Group,
    requests: u32,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.limits.with(self.group, |bucket, _| bucket.give_back(self.requests));
    }
}

impl Guard for RateLimits {
    async fn around<T: Send>(
        &self,
        call: Call,
        answer: impl Future<Output = Result<T, AwsError>> + Send,
    ) -> Result<T, AwsError> {
        self.take(call.group, call.requests).await;
        answer.await
    }
}
