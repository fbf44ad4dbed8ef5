//! The line of the writes: who is next, and when ECS's rate limits allow it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::now::Moment;
use crate::domain::rate_limit::{Bucket, Group};
use crate::domain::state::{Direction, Intent};
use crate::domain::types::{ContextName, ServiceKey};

/// A write that was verified longer ago is verified again right before its turn, as others may have changed the service meanwhile, whether
/// it waited for its rate limit (decision 18) or for a commit (decision 19).
pub(super) const FRESH: Duration = Duration::from_secs(5);

/// The place of a write in the line: going back comes before all, then the oldest push.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    goes_back: Reverse<bool>,
    pushed_at: Option<Timestamp>,
    service: ServiceKey,
}

impl Rank {
    /// The place of a rollout's next write.
    pub(super) fn of(service: &ServiceKey, intent: &Intent) -> Self {
        let goes_back = match intent.direction {
            Direction::Forward => false,
            Direction::Back { .. } => true,
        };
        let pushed_at = intent.targets.values().map(|target| target.push.at).min();
        Self { goes_back: Reverse(goes_back), pushed_at, service: service.clone() }
    }
}

/// The token buckets of the writes.
#[derive(Debug, Default)]
pub(super) struct Line {
    buckets: BTreeMap<(ContextName, Group), Bucket>,
    wake: Option<Moment>,
}

impl Line {
    /// Looks at the line anew: nothing is known yet of when its head can go on.
    pub(super) fn begin(&mut self) {
        self.wake = None;
    }

    /// Takes a token for a write, or notes when there will be one.
    pub(super) fn take(&mut self, aws: &ContextName, group: Group, now: Moment) -> bool {
        match self.bucket(aws, group, now).take(now.since_start()) {
            Ok(()) => true,
            Err(wait) => {
                self.wake_at(now.plus(wait));
                false
            }
        }
    }

    /// Whether a token is there.
    pub(super) fn is_open(&mut self, aws: &ContextName, group: Group, now: Moment) -> bool {
        let wait = self.bucket(aws, group, now).wait(now.since_start());
        if !wait.is_zero() {
            self.wake_at(now.plus(wait));
        }
        wait.is_zero()
    }

    /// When the head of the line can go on, if it waits for a token.
    pub(super) fn wake(&self) -> Option<Moment> {
        self.wake
    }

    fn wake_at(&mut self, at: Moment) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    fn bucket(&mut self, aws: &ContextName, group: Group, now: Moment) -> &mut Bucket {
        let new = || Bucket::new(group, now.since_start());
        self.buckets.entry((aws.clone(), group)).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::state::Phase;
    use crate::domain::test_support::{at, push_ref, rollout, service_key};

    fn intent(direction: Direction, second: i64) -> Intent {
        let mut intent = rollout(Phase::Intended).split().0;
        intent.direction = direction;
        for target in intent.targets.values_mut() {
            target.push = push_ref("e", "latest", second);
        }
        intent
    }

    #[test]
    fn going_back_comes_before_all_and_then_the_oldest_push() {
        let back = Direction::Back { because: String::new() };
        let rank =
            |name, direction: &Direction, second| Rank::of(&service_key(name), &intent(direction.clone(), second));
        let mut line = [
            rank("newer", &Direction::Forward, 9),
            rank("a", &Direction::Forward, 5),
            rank("b", &Direction::Forward, 5),
            rank("back", &back, 20),
        ];
        line.sort();
        let names: Vec<&str> = line.iter().map(|rank| rank.service.service.as_str()).collect();
        assert_eq!(names, ["back", "a", "b", "newer"]);
        assert_eq!(line[1].pushed_at, Some(at(5)));
    }

    #[test]
    fn the_head_of_the_line_knows_when_it_can_go_on() {
        let aws = service_key("a").aws;
        let mut line = Line::default();
        let now = Moment::default();
        while line.take(&aws, Group::Register, now) {}
        assert_eq!(line.wake(), Some(now.plus(Duration::from_millis(500))));
        line.begin();
        assert!(line.is_open(&aws, Group::ServiceWrites, now) && line.wake().is_none(), "the buckets are apart");
    }
}
