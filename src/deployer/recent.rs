//! What this process remembers for those who look: the last decisions, and how late events arrive. Lost with the process; the log and the
//! metrics have it, too.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use crate::domain::audit::{Change, Concern};
use crate::domain::intake::{Fate, Verdict};
use crate::domain::plan::Plan;
use crate::domain::skip::SkipReason;
use crate::domain::state::PushRef;
use crate::domain::types::{ContextName, RepositoryName};
use crate::status::{ChangeStatus, DeliveryStatus, PushStatus};

/// Decisions that are remembered.
const DECISIONS: usize = 100;
/// Deliveries that are remembered of each context.
const DELIVERIES: usize = 50;

/// The memory.
#[derive(Debug, Default)]
pub(super) struct Recent {
    decisions: VecDeque<PushStatus>,
    deliveries: BTreeMap<ContextName, VecDeque<f64>>,
    changes: VecDeque<ChangeStatus>,
}

impl Recent {
    /// A push event was read.
    pub(super) fn seen(&mut self, aws: &ContextName, verdict: &Verdict, now: Timestamp) {
        match &verdict.fate {
            Fate::Wanted(_) => {
                let late = now.duration_since(verdict.event.time).as_secs_f64().max(0.0);
                let deliveries = self.deliveries.entry(aws.clone()).or_default();
                deliveries.push_front(late);
                deliveries.truncate(DELIVERIES);
            }
            // Every re-read brings the first, every push of several architectures the second: they would push out what matters.
            Fate::Skip { reason: SkipReason::Duplicate | SkipReason::Untagged, .. } => {}
            Fate::Skip { .. } if verdict.configured.is_none() && verdict.repository.is_some() => {}
            Fate::Skip { reason, detail } => self.remember(PushStatus {
                aws: aws.to_string(),
                repository: verdict.repository.as_ref().map(ToString::to_string),
                tag: verdict.tag.as_ref().map(ToString::to_string),
                event: verdict.event.id.to_string(),
                pushed_at: verdict.event.time,
                decided_at: now,
                service: None,
                decision: reason.to_string(),
                detail: detail.clone(),
            }),
        }
    }

    /// A service was planned.
    pub(super) fn planned(&mut self, service: &str, plan: &Plan, now: Timestamp) {
        let one = |aws: &ContextName, repository: &RepositoryName, push: &PushRef, decision: &str, detail: String| {
            PushStatus {
                aws: aws.to_string(),
                repository: Some(repository.to_string()),
                tag: push.tag.as_ref().map(ToString::to_string),
                event: push.event.to_string(),
                pushed_at: push.at,
                decided_at: now,
                service: Some(service.to_owned()),
                decision: decision.to_owned(),
                detail,
            }
        };
        for skip in &plan.skips {
            let (key, reason) = (&skip.repository, skip.reason.as_str());
            self.remember(one(&key.aws, &key.name, &skip.push, reason, skip.detail.clone()));
        }
        for (key, target) in plan.roll.iter().flat_map(|roll| &roll.rollout.targets) {
            self.remember(one(&key.aws, &key.name, &target.push, "deploy", target.digest.to_string()));
        }
    }

    /// Somebody changed something in ECS.
    pub(super) fn changed(&mut self, aws: &ContextName, change: &Change, concern: Concern) {
        self.changes.push_front(ChangeStatus::of(aws, change, concern));
        self.changes.truncate(DECISIONS);
    }

    /// The last changes, newest first.
    pub(super) fn changes(&self) -> Vec<ChangeStatus> {
        let mut changes: Vec<ChangeStatus> = self.changes.iter().cloned().collect();
        changes.sort_by_key(|change| std::cmp::Reverse(change.at));
        changes
    }

    fn remember(&mut self, decision: PushStatus) {
        self.decisions.push_front(decision);
        self.decisions.truncate(DECISIONS);
    }

    /// The last decisions, newest first.
    pub(super) fn decisions(&self) -> Vec<PushStatus> {
        self.decisions.iter().cloned().collect()
    }

    /// How late events arrive in a context.
    pub(super) fn delivery(&self, aws: &str) -> Option<DeliveryStatus> {
        let (_, deliveries) = self.deliveries.iter().find(|(name, _)| name.as_str() == aws)?;
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
        assert_eq!(recent.delivery("default"), None);
        recent.deliveries.insert(name, VecDeque::from([9.0, 1.0, 5.0, 3.0]));
        let expected = DeliveryStatus { pushes: 4, last_seconds: 9.0, median_seconds: 3.0, longest_seconds: 9.0 };
        assert_eq!(recent.delivery("default"), Some(expected));
    }
}
