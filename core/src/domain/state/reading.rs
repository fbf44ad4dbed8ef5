//! How far CloudTrail was read.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::event::EventRef;
use super::super::source::PushSource;
use super::super::types::{Digest, EventId, RepositoryName};
use super::seen::{Seen, UnconfiguredEvents};
use super::sightings::{Sighted, Sighting, Sightings};
use super::{PushRef, SharedMap};

/// CloudTrail keeps its event history for 90 days; an hour less keeps a window's start inside while it is read.
pub const EVENT_HISTORY: SignedDuration = SignedDuration::from_hours(90 * 24 - 1);
/// CloudTrail promises no time of delivery: so much of the past is read again once an hour, for events that are delivered hours late.
pub const REREAD: SignedDuration = SignedDuration::from_hours(24);
/// Identifiers kept of events of configured repositories, beside their bound in time. The newest decided push of each service is remembered
/// beside them, so that one of the older ones, read again, is found superseded.
const SEEN: usize = 200_000;
/// The time beyond the spans that are read again, for clocks that differ.
const SLACK: SignedDuration = SignedDuration::from_mins(1);

/// A part of the event history that is still to be read. Both ends belong to it. It is read from its end to its beginning, newest events
/// first, and what was read is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The oldest second of it.
    pub from: Timestamp,
    /// The newest second of it.
    pub to: Timestamp,
}

impl Span {
    /// How long it is.
    #[must_use]
    pub fn length(&self) -> SignedDuration {
        self.to.duration_since(self.from).max(SignedDuration::ZERO)
    }
}

/// How far the events of a context are read, once what was handed on until now is durable: the members of [`ContextState`] of the same names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadingProgress {
    /// The new value of [`ContextState::cursor`].
    pub cursor: Option<Timestamp>,
    /// The new value of [`ContextState::recent`].
    pub recent: Option<Timestamp>,
    /// The new value of [`ContextState::unread`].
    pub unread: Vec<Span>,
    /// The new value of [`ContextState::reread`].
    pub reread: Option<Span>,
    /// The new value of [`ContextState::reread_to`].
    pub reread_to: Option<Timestamp>,
}

/// How far the events of one context were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextState {
    /// The first start: a push before it is not deployed.
    pub baseline: Timestamp,
    /// Everything up to here was read, as far as CloudTrail had delivered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Timestamp>,
    /// While `unread` is not empty: up to here everything was read but what is in `unread`. Absent where the cursor says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<Timestamp>,
    /// Spans from a time in which nobody read: they are caught up with in the background, and the cursor waits for them. Newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Span>,
    /// What is left of the span that is being read again for events that came late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reread: Option<Span>,
    /// Late events are looked for up to here, or will have been, once `reread` and `unread` are read. Absent: as far as the cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reread_to: Option<Timestamp>,
    /// Since when each configured repository is followed: older pushes to it are not deployed. Absent in states of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<SharedMap<RepositoryName, Timestamp>>,
    /// The tags whose first look brings services that are compared with ECR: of a start without a state, where that is wanted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub compares_found: BTreeSet<String>,
    /// The identifiers of the events that were read, with their times, as far back as they can be read again: those of configured
    /// repositories.
    #[serde(default, skip_serializing_if = "Seen::is_empty")]
    pub seen: Seen,
    /// What the sources have told, where there are others beside CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sightings: Option<Sightings>,
    /// Events of other repositories.
    #[serde(skip)]
    pub unconfigured: UnconfiguredEvents,
}

impl ContextState {
    /// A context that is read for the first time. The baseline is the whole second in which that happens, for CloudTrail's times are
    /// whole seconds.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            baseline: whole_second(now),
            cursor: None,
            recent: None,
            unread: Vec::new(),
            reread: None,
            reread_to: None,
            followed: None,
            compares_found: BTreeSet::new(),
            seen: Seen::default(),
            sightings: None,
            unconfigured: UnconfiguredEvents::default(),
        }
    }

    /// From where reading goes on: the cursor, or the first start as long as nothing was read to its end.
    #[must_use]
    pub fn read_from(&self) -> Timestamp {
        self.cursor.unwrap_or(self.baseline)
    }

    /// Nothing was read to its end since the first start.
    #[must_use]
    pub fn is_opening(&self) -> bool {
        self.cursor.is_none() && self.recent.is_none()
    }

    /// Since when pushes may have been missed: reading would have to go on from before what CloudTrail remembers.
    #[must_use]
    pub fn unreadable_since(&self, now: Timestamp) -> Option<Timestamp> {
        let from = self.read_from();
        (now.duration_since(from) > EVENT_HISTORY).then_some(from)
    }

    /// How far it is read.
    #[must_use]
    pub fn progress(&self) -> ReadingProgress {
        ReadingProgress {
            cursor: self.cursor,
            recent: self.recent,
            unread: self.unread.clone(),
            reread: self.reread,
            reread_to: self.reread_to,
        }
    }

    /// Everything that `progress` speaks of is in the state now. True if that should be on the disk soon: the first cursor ends the opening
    /// scan, which a restart must not do again.
    pub fn advance(&mut self, progress: ReadingProgress) -> bool {
        let ReadingProgress { cursor, recent, unread, reread, reread_to } = progress;
        let opened = self.cursor.is_none() && cursor.is_some();
        (self.cursor, self.recent, self.unread) = (cursor, recent, unread);
        (self.reread, self.reread_to) = (reread, reread_to);
        opened
    }

    /// Remembers an event; true if it, or its twin in another account, was remembered already. `ours` says whether it is of a configured
    /// repository.
    pub fn remember(&mut self, event: &EventRef, ours: bool) -> bool {
        let twin = event.shared_id.as_ref().is_some_and(|id| !self.remember_id(id, event.time, ours));
        let same = !self.remember_id(&event.id, event.time, ours);
        twin || same
    }

    fn remember_id(&mut self, id: &EventId, time: Timestamp, ours: bool) -> bool {
        match ours {
            true => self.seen.insert(id.clone(), time),
            // States of earlier versions hold the identifiers of all.
            false => !self.seen.contains(id, time) && self.unconfigured.insert(id, time),
        }
    }

    /// Several sources tell of pushes from now on, or only CloudTrail does. What CloudTrail has told until now nobody compares with what another
    /// source tells later: of pushes from the time that is read already the other one is not believed.
    pub fn compare_sources(&mut self, several: bool) {
        let read_to = self.recent.or(self.cursor).unwrap_or(self.baseline);
        self.sightings = several.then(|| self.sightings.take().unwrap_or_else(|| Sightings::new(read_to)));
    }

    /// Compares an event that was not read before with what other sources have told. None where nobody compares.
    pub fn sight(&mut self, repository: &RepositoryName, event: Sighting) -> Option<Sighted> {
        self.sightings.as_mut().map(|sightings| sightings.add(repository, event))
    }

    /// A comparison with ECR has found a push. False if somebody has reported it before.
    pub fn sight_missed(&mut self, repository: &RepositoryName, push: &PushRef, digest: &Digest) -> bool {
        let event = EventRef { id: push.event.clone(), shared_id: None, time: push.at };
        let sighting = Sighting::new(&event, PushSource::Reconcile, push.tag.clone(), Some(digest.clone()));
        self.sightings.as_mut().is_some_and(|sightings| sightings.add_missed(repository, sighting))
    }

    /// Whether it cannot be known what CloudTrail has reported of the pushes of that time: that time is read, and forgotten.
    #[must_use]
    pub fn is_left_to_cloudtrail(&self, at: Timestamp) -> bool {
        let is_unread = |span: &Span| at >= span.from && at <= span.to;
        self.sightings.as_ref().is_none_or(|sightings| sightings.are_unknown(at))
            && !self.unread.iter().chain(&self.reread).any(is_unread)
    }

    /// Makes the set of followed repositories that of the configuration. One that is new, or comes back, is followed from now on; where nothing
    /// is known of any, all are followed since the first start.
    pub fn follow<'a>(&mut self, repositories: impl IntoIterator<Item = &'a RepositoryName>, now: Timestamp) {
        let now = whole_second(now);
        let since = |name: &RepositoryName| match &self.followed {
            None => self.baseline,
            Some(before) => before.get(name).copied().unwrap_or(now),
        };
        self.followed = Some(repositories.into_iter().map(|name| (name.clone(), since(name))).collect());
    }

    /// Since when pushes to a repository are deployed.
    #[must_use]
    pub fn followed_since(&self, repository: &RepositoryName) -> Timestamp {
        let since = self.followed.as_ref().and_then(|followed| followed.get(repository).copied());
        since.unwrap_or(self.baseline).max(self.baseline)
    }

    /// Forgets the events that are not read again, and the oldest beyond a fixed number.
    ///
    /// Read again are the overlap before the newest events, what the next re-read for late events goes back to, and, as it is read from its end
    /// to its beginning, what is left of each span that is being read, with the second at its end.
    pub fn forget(&mut self, overlap: SignedDuration) {
        let Some(newest) = self.recent.or(self.cursor) else { return };
        let next_reread = before(self.reread_to.unwrap_or(newest), REREAD);
        let horizon = before(before(newest, overlap).min(next_reread), SLACK);
        let spans: Vec<Span> = self.unread.iter().chain(&self.reread).copied().collect();
        let second = SignedDuration::from_secs(1);
        let left = |time: Timestamp| {
            spans.iter().any(|span| time >= before(span.from, second) && time.duration_since(span.to) <= second)
        };
        let keep = |time: Timestamp| time >= horizon || left(time);
        if let Some(sightings) = &mut self.sightings {
            sightings.forget(keep, horizon);
        }
        self.seen.retain(keep);
        self.seen.drop_oldest(SEEN);
        self.unconfigured.retain(keep);
    }
}

/// A time less a span, as far as times go back.
#[must_use]
pub fn before(time: Timestamp, span: SignedDuration) -> Timestamp {
    time.checked_sub(span).unwrap_or(Timestamp::MIN)
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::{at, event_id};

    const OVERLAP: SignedDuration = SignedDuration::from_mins(30);
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn event(second: i64) -> EventRef {
        EventRef { id: event_id(&format!("e{second}")), shared_id: None, time: at(second) }
    }

    fn left(context: &ContextState, seconds: &[i64]) -> Vec<i64> {
        seconds.iter().copied().filter(|second| context.seen.contains(&event(*second).id, at(*second))).collect()
    }

    #[test]
    fn what_is_read_again_is_remembered_and_nothing_else() {
        let seconds = [-2 * DAY, -DAY - HOUR, -DAY + HOUR, -HOUR, -60];
        let mut context = ContextState::new(at(-9 * DAY));
        for second in seconds {
            assert!(!context.remember(&event(second), true));
            assert!(context.remember(&event(second), true));
        }
        context.forget(OVERLAP);
        assert_eq!(left(&context, &seconds), seconds, "nothing is complete yet");
        context.cursor = Some(at(0));
        // Late events were looked for half an hour ago; the next time goes back a day before that.
        context.reread_to = Some(at(-1800));
        context.forget(OVERLAP);
        assert_eq!(left(&context, &seconds), [-DAY + HOUR, -HOUR, -60]);
    }

    #[test]
    fn a_catch_up_remembers_a_day_and_the_second_it_has_come_to() {
        let seconds = [-80 * DAY, -50 * DAY, -40 * DAY, -30 * DAY, -2 * DAY, -HOUR];
        let mut context = ContextState::new(at(-90 * DAY));
        context.advance(ReadingProgress {
            cursor: Some(at(-80 * DAY)),
            recent: Some(at(0)),
            unread: vec![Span { from: at(-81 * DAY), to: at(-50 * DAY) }],
            reread: None,
            reread_to: Some(at(0)),
        });
        for second in seconds {
            context.remember(&event(second), true);
        }
        context.forget(OVERLAP);
        assert_eq!(left(&context, &seconds), [-80 * DAY, -50 * DAY, -HOUR]);
    }

    #[test]
    fn a_state_of_an_earlier_version_is_read_as_it_is() {
        let text = r#"{"baseline":"2026-01-01T00:00:00Z","cursor":"2026-02-01T00:00:00Z","seen":{"a":"2026-01-31T23:59:00Z"}}"#;
        let mut context: ContextState = serde_json::from_str(text).unwrap();
        assert_eq!(context.progress().cursor, Some("2026-02-01T00:00:00Z".parse().unwrap()));
        assert_eq!(
            serde_json::to_string(&context).unwrap(),
            text,
            "and written as it was, as long as nothing is behind"
        );
        let read = EventRef { id: event_id("a"), shared_id: None, time: "2026-01-31T23:59:00Z".parse().unwrap() };
        assert!(context.remember(&read, false) && context.remember(&read, true));
    }

    #[test]
    fn a_repository_is_followed_since_it_is_in_the_configuration() {
        let name = |text| RepositoryName::parse(text).unwrap();
        let (first, second) = (name("first"), name("second"));
        let mut context = ContextState::new(at(0));
        assert_eq!(context.followed_since(&first), at(0));
        context.follow([&first], at(10));
        assert_eq!(context.followed_since(&first), at(0), "it was there before this was written down");
        context.follow([&first, &second], at(20));
        assert_eq!((context.followed_since(&first), context.followed_since(&second)), (at(0), at(20)));
        context.follow([&second], at(30));
        context.follow([&first, &second], at(40));
        assert_eq!((context.followed_since(&first), context.followed_since(&second)), (at(40), at(20)));
    }

    #[test]
    fn the_first_cursor_should_be_on_the_disk_soon() {
        let mut context = ContextState::new(at(0));
        let progress = |cursor| ReadingProgress { cursor, ..ReadingProgress::default() };
        assert!(!context.advance(progress(None)));
        assert!(context.advance(progress(Some(at(1)))));
        assert!(!context.advance(progress(Some(at(2)))));
        assert_eq!(context.read_from(), at(2));
    }
}
