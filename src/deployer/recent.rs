//! What this process remembers for those who look: the last changes to ECS, and how late events arrive. Lost with the process; the log and
//! the metrics have it, too.

use std::collections::{BTreeMap, VecDeque};

use jiff::SignedDuration;

use crate::domain::audit::{Change, Concern};
use crate::domain::source::PushSource;
use crate::domain::types::ContextName;
use crate::engine::{Effect, Event};
use crate::status::{ChangeStatus, DeliveryStatus};

/// Changes that are remembered.
const CHANGES: usize = 100;
/// Deliveries that are remembered of each context.
const DELIVERIES: usize = 50;

/// What happened of late, for the status page.
#[derive(Debug, Default)]
pub(super) struct Recent {
    deliveries: BTreeMap<(ContextName, PushSource), VecDeque<f64>>,
    changes: VecDeque<ChangeStatus>,
}

impl Recent {
    /// Notes an event if the page shows it.
    pub(super) fn follow(&mut self, effect: &Effect) {
        match effect {
            Effect::Tell(
                Event::PushSeen { aws, seen_after: after, source, .. }
                | Event::PushToldAgain { aws, after, source, .. },
            ) => self.delivered(aws, *source, *after),
            Effect::Tell(Event::Changed { aws, change, concern, .. }) => self.changed(aws, change, *concern),
            Effect::Tell(_)
            | Effect::Read(_)
            | Effect::Commit(_)
            | Effect::Write(_)
            | Effect::Notify(_)
            | Effect::Acknowledge(_)
            | Effect::Reply(_)
            | Effect::Refuse(..) => {}
        }
    }

    /// A push was reported, some time after it was made.
    fn delivered(&mut self, aws: &ContextName, source: PushSource, after: SignedDuration) {
        let deliveries = self.deliveries.entry((aws.clone(), source)).or_default();
        deliveries.push_front(after.as_secs_f64().max(0.0));
        deliveries.truncate(DELIVERIES);
    }

    /// Somebody changed something in ECS.
    fn changed(&mut self, aws: &ContextName, change: &Change, concern: Concern) {
        self.changes.push_front(ChangeStatus::of(aws, change, concern));
        self.changes.truncate(CHANGES);
    }

    /// The last changes, newest first.
    pub(super) fn changes(&self) -> Vec<ChangeStatus> {
        let mut changes: Vec<ChangeStatus> = self.changes.iter().cloned().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.at));
        changes
    }

    /// How late a source tells of the pushes of a context.
    pub(super) fn delivery(&self, aws: &str, source: PushSource) -> Option<DeliveryStatus> {
        let is_it = |(name, by): &(ContextName, PushSource)| name.as_str() == aws && *by == source;
        let (_, deliveries) = self.deliveries.iter().find(|(key, _)| is_it(key))?;
        let mut sorted: Vec<f64> = deliveries.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        Some(DeliveryStatus {
            pushes: sorted.len(),
            last_seconds: *deliveries.front()?,
            median_seconds: *sorted.get((sorted.len() - 1) / 2)?,
            longest_seconds: *sorted.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_summed_up() {
        let mut recent = Recent::default();
        let name = ContextName::parse("default").unwrap();
        assert_eq!(recent.delivery("default", PushSource::Queue), None);
        recent.deliveries.insert((name, PushSource::Queue), VecDeque::from([9.0, 1.0, 5.0, 3.0]));
        let expected = DeliveryStatus { pushes: 4, last_seconds: 9.0, median_seconds: 3.0, longest_seconds: 9.0 };
        assert_eq!(recent.delivery("default", PushSource::Queue), Some(expected));
        assert_eq!(recent.delivery("default", PushSource::CloudTrail), None);
    }
}
