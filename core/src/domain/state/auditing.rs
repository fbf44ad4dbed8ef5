//! How far changes to ECS were read.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::event::EventRef;
use super::reading::before;
use super::seen::Seen;

/// Identifiers of changes kept for each context, beside their bound in time.
const SEEN: usize = 50_000;

/// A pass over all event names that is under way. Each is read from `to` back to `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRound {
    /// The oldest second that is read.
    pub from: Timestamp,
    /// When the round began.
    pub to: Timestamp,
    /// The event name that is being read; those before it in the configuration's order are done.
    pub event: String,
    /// Everything of that name after this is read.
    pub below: Timestamp,
}

/// How far changes are read, once what was handed on until now is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditProgress {
    /// The new value of [`AuditState::cursor`].
    pub cursor: Option<Timestamp>,
    /// The new value of [`AuditState::round`].
    pub round: Option<AuditRound>,
}

/// How far the changes of one context were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditState {
    /// Since when they are followed.
    pub since: Timestamp,
    /// Everything up to here was read, as far as CloudTrail had delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Timestamp>,
    /// The pass that is under way, where it is a long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<AuditRound>,
    /// A change up to here that is read again counts as told, even if its identifier is forgotten: there were too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten_to: Option<Timestamp>,
    /// The identifiers of what was read, with their times, as far back as it can be read again.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub seen: Seen,
}

impl AuditState {
    /// Changes are followed from now on.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, cursor: None, round: None, forgotten_to: None, seen: Seen::default() }
    }

    /// From where reading goes on.
    #[must_use]
    pub fn read_from(&self) -> Timestamp {
        self.cursor.unwrap_or(self.since)
    }

    /// Everything that `progress` speaks of is in the state now.
    pub fn advance(&mut self, progress: AuditProgress) {
        (self.cursor, self.round) = (progress.cursor, progress.round);
    }

    /// Remembers a change. Whether it is new, and from the time that is followed.
    pub fn is_news(&mut self, event: &EventRef) -> bool {
        // What lies before the cursor was read, and told, in an earlier round.
        let was_read = self.cursor.is_some_and(|cursor| event.time <= cursor);
        if was_read && self.forgotten_to.is_some_and(|forgotten| event.time <= forgotten) {
            return false;
        }
        let new = self.seen.insert(event.id.clone(), event.time);
        if let Some(dropped) = self.seen.drop_oldest(SEEN) {
            self.forgotten_to = self.forgotten_to.max(Some(dropped));
        }
        new && event.time >= self.since
    }

    /// Forgets what is not read again: everything but the overlap before the newest, and, while a round is under way, what an earlier round read
    /// of its part of the history, and the second that the round has come to.
    pub fn forget(&mut self, overlap: SignedDuration) {
        let Some(newest) = self.round.as_ref().map(|round| round.to).or(self.cursor) else { return };
        let horizon = before(before(newest, overlap), SignedDuration::from_mins(1));
        let (cursor, round, second) = (self.cursor, self.round.clone(), SignedDuration::from_secs(1));
        let left = |time: Timestamp| {
            round.as_ref().is_some_and(|round| {
                let told_before = time >= round.from && cursor.is_some_and(|cursor| time <= cursor);
                told_before || time.duration_since(round.below).abs() <= second
            })
        };
        self.seen.retain(|time| time >= horizon || left(time));
        if self.seen.is_empty() {
            self.forgotten_to = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::{at, event_id};

    fn event(number: usize, second: i64) -> EventRef {
        EventRef { id: event_id(&format!("e{number}")), shared_id: None, time: at(second) }
    }

    #[test]
    fn of_many_changes_within_the_overlap_each_is_told_once() {
        let mut audit = AuditState::new(at(0));
        let changes: Vec<EventRef> =
            (0..120_000).map(|number| event(number, i64::try_from(number / 70).unwrap())).collect();
        let tell = |audit: &mut AuditState, to: i64| {
            let told = changes.iter().filter(|change| audit.is_news(change)).count();
            audit.advance(AuditProgress { cursor: Some(at(to)), round: None });
            audit.forget(SignedDuration::from_mins(30));
            told
        };
        assert_eq!((tell(&mut audit, 1720), tell(&mut audit, 1730)), (120_000, 0));
        assert!(audit.seen.len() <= SEEN);
        // What comes late is reported unless it is from before what was forgotten.
        assert!(audit.is_news(&event(999_999, 1700)));
        assert!(!audit.is_news(&event(999_998, 10)));
    }

    #[test]
    fn during_a_round_what_it_has_passed_is_forgotten_and_what_earlier_ones_read_is_not() {
        let mut audit = AuditState::new(at(0));
        audit.cursor = Some(at(1000));
        for second in [100, 900, 1000, 50_000, 60_000, 99_000] {
            audit.is_news(&event(usize::try_from(second).unwrap(), second));
        }
        let round = AuditRound { from: at(500), to: at(100_000), event: "RunTask".to_owned(), below: at(50_000) };
        audit.advance(AuditProgress { cursor: Some(at(1000)), round: Some(round) });
        audit.forget(SignedDuration::from_mins(30));
        let mut left: Vec<&str> = audit.seen.keys().map(|id| id.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["e1000", "e50000", "e900", "e99000"]);
    }
}
