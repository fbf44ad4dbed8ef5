//! ECS's rate limits, kept from this side, so that many services roll side by side without running into them.

use std::time::Duration;

/// The groups of calls that share a token bucket (Amazon ECS API Reference, "Request throttling for the Amazon ECS API").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The bucket that RegisterTaskDefinition takes from.
    Register,
    /// The bucket that DescribeTaskDefinition takes from.
    TaskDefinitions,
    /// The bucket that UpdateService takes from.
    ServiceWrites,
    /// The bucket that DescribeServices takes from.
    ServiceReads,
    /// ListServiceDeployments, DescribeServiceDeployments and DescribeServiceRevisions.
    ServiceDeployments,
    /// ListTasks, DescribeTasks, RunTask and StopTask.
    Tasks,
}

impl Group {
    /// How much of the bucket is used, and the calls per second that refill it.
    fn limits(self) -> (f64, f64) {
        let (size, per_second) = self.bucket();
        (size - (JITTER * per_second).max(SPARED), per_second)
    }

    /// The size of the bucket, and the calls per second that refill it.
    const fn bucket(self) -> (f64, f64) {
        match self {
            Self::Register => (20.0, 1.0),
            Self::TaskDefinitions | Self::ServiceDeployments => (50.0, 20.0),
            Self::ServiceWrites => (50.0, 5.0),
            Self::ServiceReads | Self::Tasks => (100.0, 20.0),
        }
    }
}

/// By so much one call may take longer than the next one on its way to AWS, in seconds: the calls then arrive closer together than they were
/// sent.
const JITTER: f64 = 0.2;
/// The least that is left in a bucket for that.
const SPARED: f64 = 0.5;

/// A token bucket. Times are spans since some fixed moment.
#[derive(Debug, Clone)]
pub struct Bucket {
    group: Group,
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    /// The bucket of a group, full at first.
    #[must_use]
    pub fn new(group: Group, now: Duration) -> Self {
        Self { group, tokens: group.limits().0, filled: now }
    }

    /// Takes a token for a call.
    ///
    /// # Errors
    /// There is none: the span until there is one.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let per_second = self.fill(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / per_second).max(Duration::from_millis(1)))
    }

    /// Takes the next tokens that nobody has taken, which may not be there yet: the span until they are. Who comes first is first.
    pub fn reserve(&mut self, now: Duration, tokens: u32) -> Duration {
        let per_second = self.fill(now);
        self.tokens -= f64::from(tokens);
        Duration::from_secs_f64((-self.tokens).max(0.0) / per_second)
    }

    /// Gives back tokens that were not used.
    pub fn give_back(&mut self, tokens: u32) {
        self.tokens += f64::from(tokens);
    }

    /// Adds the tokens that have come since the last time. Their number in a second.
    fn fill(&mut self, now: Duration) -> f64 {
        let (size, per_second) = self.group.limits();
        self.tokens = (self.tokens + now.saturating_sub(self.filled).as_secs_f64() * per_second).min(size);
        self.filled = now;
        per_second
    }

    /// The span until a token can be taken; zero if one can.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        self.clone().take(now).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_sustained_rate_holds() {
        let mut bucket = Bucket::new(Group::ServiceWrites, Duration::ZERO);
        for _ in 0..49 {
            assert_eq!(bucket.take(Duration::ZERO), Ok(()));
        }
        let wait = bucket.take(Duration::ZERO).unwrap_err();
        assert_eq!(wait, Duration::from_millis(200), "one call is left for those that are quicker on their way");
        assert_eq!((bucket.wait(wait), bucket.take(wait)), (Duration::ZERO, Ok(())));
        assert!(bucket.take(wait).is_err());
    }

    #[test]
    fn those_who_wait_get_the_tokens_in_their_order_and_no_sooner_than_they_come() {
        let mut bucket = Bucket::new(Group::ServiceWrites, Duration::ZERO);
        let waits: Vec<Duration> = (0..10_049).map(|_| bucket.reserve(Duration::ZERO, 1)).collect();
        assert!(waits[..49].iter().all(Duration::is_zero));
        assert_eq!(
            (waits[49], waits[50], waits[10_048]),
            (Duration::from_millis(200), Duration::from_millis(400), Duration::from_secs(2000))
        );
        assert!(bucket.take(Duration::from_secs(1)).is_err(), "all tokens of the next half an hour are taken");
        assert_eq!(bucket.reserve(Duration::from_secs(1999), 1), Duration::from_millis(1200));
        assert_eq!(bucket.reserve(Duration::from_secs(2100), 2), Duration::ZERO);
        bucket = Bucket::new(Group::ServiceWrites, Duration::ZERO);
        assert_eq!(bucket.reserve(Duration::ZERO, 59), Duration::from_secs(2));
        bucket.give_back(10);
        assert_eq!(bucket.reserve(Duration::ZERO, 1), Duration::from_millis(200));
    }
}
