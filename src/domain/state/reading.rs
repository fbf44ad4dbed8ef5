//! How far CloudTrail was read.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::event::EventRef;
use super::super::types::EventId;

/// CloudTrail keeps its event history for 90 days; an hour less keeps a window's start inside while it is read.
pub const EVENT_HISTORY: SignedDuration = SignedDuration::from_hours(90 * 24 - 1);
/// Event ids kept for each context. The newest decided push of each service is remembered beside them, so that it is never taken for new.
const SEEN: usize = 20_000;
/// Ids of changes kept for each context, beside their bound in time.
const CHANGES_SEEN: usize = 5_000;

/// How far the events of one context were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextState {
    /// The first start: a push before it is not deployed.
    pub baseline: Timestamp,
    /// Everything up to here was read, as far as CloudTrail had delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Timestamp>,
    /// The ids of the events read, with their times, as far back as they can be read again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<EventId, Timestamp>,
}

impl ContextState {
    /// A context that is read for the first time. The baseline is the whole second in which that happens, for CloudTrail's times are
    /// whole seconds.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let baseline = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Self { baseline, cursor: None, seen: BTreeMap::new() }
    }

    /// From where reading goes on: the cursor, or the first start as long as nothing was read to its end.
    #[must_use]
    pub fn read_from(&self) -> Timestamp {
        self.cursor.unwrap_or(self.baseline)
    }

    /// Since when pushes may have been missed: reading would have to go on from before what CloudTrail remembers.
    #[must_use]
    pub fn unreadable_since(&self, now: Timestamp) -> Option<Timestamp> {
        let from = self.read_from();
        (now.duration_since(from) > EVENT_HISTORY).then_some(from)
    }

    /// Forgets the events that cannot be read again because they are older than `horizon`, and the oldest beyond the bound.
    pub fn forget_before(&mut self, horizon: Timestamp) {
        self.seen.retain(|_, time| *time >= horizon);
        if self.seen.len() > SEEN {
            let mut times: Vec<Timestamp> = self.seen.values().copied().collect();
            let (_, cut, _) = times.select_nth_unstable(self.seen.len() - SEEN);
            let cut = *cut;
            self.seen.retain(|_, time| *time >= cut);
        }
    }
}

/// How far the changes of one context were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    /// Since when they are followed.
    pub since: Timestamp,
    /// Everything up to here was read, as far as CloudTrail had delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Timestamp>,
    /// The ids of what was read, with their times, as far back as it can be read again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub seen: BTreeMap<EventId, Timestamp>,
}

impl AuditState {
    /// Changes are followed from now on.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, cursor: None, seen: BTreeMap::new() }
    }

    /// From where reading goes on.
    #[must_use]
    pub fn read_from(&self) -> Timestamp {
        self.cursor.unwrap_or(self.since)
    }

    /// Remembers an event. Whether it is new, and from the time that is followed.
    pub fn is_news(&mut self, event: &EventRef) -> bool {
        let new = self.seen.insert(event.id.clone(), event.time).is_none();
        if self.seen.len() > CHANGES_SEEN {
            let oldest = self.seen.iter().min_by_key(|(_, time)| **time).map(|(id, _)| id.clone());
            self.seen.retain(|id, _| Some(id) != oldest.as_ref());
        }
        new && event.time >= self.since
    }

    /// Forgets what cannot be read again because it is older.
    pub fn forget_before(&mut self, horizon: Timestamp) {
        self.seen.retain(|_, time| *time >= horizon);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn seen_events_are_bounded_by_time_and_number() {
        let mut context = ContextState::new(Timestamp::from_second(0).unwrap());
        for n in 0..(SEEN as i64 + 500) {
            context.seen.insert(EventId::parse(&format!("e{n}")).unwrap(), Timestamp::from_second(n).unwrap());
        }
        context.forget_before(Timestamp::from_second(100).unwrap());
        assert_eq!(context.seen.len(), SEEN);
        assert!(!context.seen.contains_key(&EventId::parse("e499").unwrap()));
        assert!(context.seen.contains_key(&EventId::parse("e500").unwrap()));
    }
}
