//! ECS's throttle buckets, kept from this side, so that many services roll side by side without running into them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{self, Instant};
use crate::domain::types::ContextName;

/// The groups of calls that share a bucket (Amazon ECS API Reference, "Request throttling").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// RegisterTaskDefinition.
    Register,
    /// DescribeTaskDefinition.
    TaskDefinitions,
    /// UpdateService.
    ServiceWrites,
    /// DescribeServices.
    ServiceReads,
    /// ListServiceDeployments and DescribeServiceRevisions.
    ServiceDeployments,
    /// ListTasks and DescribeTasks.
    Tasks,
}

impl Group {
    /// Burst, and sustained calls per second.
    const fn limits(self) -> (f64, f64) {
        match self {
            Self::Register => (20.0, 1.0),
            Self::TaskDefinitions | Self::ServiceDeployments => (50.0, 20.0),
            Self::ServiceWrites => (50.0, 5.0),
            Self::ServiceReads | Self::Tasks => (100.0, 20.0),
        }
    }
}

/// The buckets of every context.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    buckets: Arc<Mutex<BTreeMap<(ContextName, Group), Bucket>>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Pace {
    /// Waits until a call of the group fits.
    pub async fn take(&self, context: &ContextName, group: Group) {
        loop {
            let wait = {
                let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
                take_one(&mut buckets, context, group)
            };
            match wait {
                None => return,
                Some(wait) => clock::sleep(wait).await,
            }
        }
    }
}

/// Takes a token, or says how long until there is one.
fn take_one(
    buckets: &mut BTreeMap<(ContextName, Group), Bucket>,
    context: &ContextName,
    group: Group,
) -> Option<Duration> {
    let (burst, per_second) = group.limits();
    let now = clock::instant();
    let bucket = buckets.entry((context.clone(), group)).or_insert(Bucket { tokens: burst, filled: now });
    bucket.tokens = (bucket.tokens + (now - bucket.filled).as_secs_f64() * per_second).min(burst);
    bucket.filled = now;
    if bucket.tokens >= 1.0 {
        bucket.tokens -= 1.0;
        return None;
    }
    Some(Duration::from_secs_f64((1.0 - bucket.tokens) / per_second).max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_sustained_rate_holds() {
        let pace = Pace::default();
        let context = ContextName::parse("default").unwrap();
        let begun = clock::instant();
        for _ in 0..50 {
            pace.take(&context, Group::ServiceWrites).await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            pace.take(&context, Group::ServiceWrites).await;
        }
        assert!((1900..=2100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn contexts_and_groups_do_not_share() {
        let pace = Pace::default();
        let begun = clock::instant();
        for name in ["a", "b"] {
            let context = ContextName::parse(name).unwrap();
            for _ in 0..20 {
                pace.take(&context, Group::Register).await;
                pace.take(&context, Group::Tasks).await;
            }
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
