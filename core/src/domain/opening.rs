//! What was written down by a clock that turns out to be wrong.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::state::{PushRef, ServiceState, State};
use super::types::ServiceKey;

/// A start of so long before the process is taken for one by the same clock: the process may have waited, or have been started several times.
const SAME_CLOCK: SignedDuration = SignedDuration::from_hours(24);

/// The clock was wrong since the process began, and was corrected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// What was added to the clock.
    pub by: SignedDuration,
    /// When the process began, by the clock as it was.
    pub started_at: Timestamp,
    /// The time, by the clock as it is.
    pub now: Timestamp,
}

impl Correction {
    /// The start of something by the right clock. No start lies ahead: one that does is by a clock that was ahead, whoever wrote it down. `opening`
    /// says that nothing was read since the start: then it is by the wrong clock also if that clock gave its time just now.
    #[must_use]
    pub fn of_start(self, time: Timestamp, opening: bool) -> Timestamp {
        let of_wrong_clock = || {
            let wrong_now = self.now.checked_sub(self.by).unwrap_or(self.now);
            let first = self.started_at.checked_sub(SAME_CLOCK).unwrap_or(Timestamp::MIN);
            opening && (first..=wrong_now).contains(&time)
        };
        if time <= self.now && !of_wrong_clock() {
            return time;
        }
        let moved = time.checked_add(self.by).map_or(self.now, |moved| moved.min(self.now));
        // CloudTrail's times are whole seconds.
        Timestamp::from_second(moved.as_second()).unwrap_or(moved)
    }
}

/// Moves the starts that were written down by the wrong clock: by one that was ahead, pushes and changes made after the start would count as made
/// before it; by one that was behind, those made before it would count. True if something was moved.
pub fn clock_corrected(state: &mut State, correction: Correction) -> bool {
    let mut moved = false;
    let mut correct = |time: &mut Timestamp, opening: bool| {
        let right = correction.of_start(*time, opening);
        moved |= right != *time;
        *time = right;
    };
    for context in state.contexts.values_mut() {
        let opening = context.is_opening();
        correct(&mut context.baseline, opening);
        if let Some(sightings) = &mut context.sightings {
            correct(sightings.since_mut(), opening);
        }
        if let Some(followed) = &context.followed {
            let right = |(name, since): (&_, &Timestamp)| {
                let mut since = *since;
                correct(&mut since, opening);
                (Clone::clone(name), since)
            };
            context.followed = Some(followed.iter().map(right).collect());
        }
    }
    for audit in state.audits.values_mut() {
        correct(&mut audit.since, audit.cursor.is_none() && audit.round.is_none());
    }
    let found = state.services.iter().filter_map(|(key, known)| Some((key, known.discovered.as_ref()?)));
    let opening = |key: &ServiceKey| state.contexts.get(&key.aws).is_some_and(super::state::ContextState::is_opening);
    let found = found.map(|(key, known)| (key.clone(), known.since, opening(key))).collect::<Vec<_>>();
    for (key, mut since, opening) in found {
        let before = since;
        correct(&mut since, opening);
        if before != since
            && let Some(known) = &mut state.services.get_or_default(key).discovered
        {
            known.since = since;
        }
    }
    // A comparison with ECR that lies ahead would make pushes count as older than it.
    let lies_ahead = |push: &PushRef| push.is_reconciliation() && push.at > correction.now;
    let services = state.services.iter().filter(|(_, known)| known.pending.values().flatten().any(lies_ahead));
    for key in services.map(|(key, _)| key.clone()).collect::<Vec<ServiceKey>>() {
        for pending in state.services.get_or_default(key).pending.values_mut() {
            pending.iter_mut().filter(|push| lies_ahead(push)).for_each(|push| correct(&mut push.at, false));
            pending.sort_by_key(|push| Reverse(push.rank()));
        }
    }
    // What is known only from a time ahead would not be compared before it.
    let is_ahead = |known: &ServiceState| known.known_since.is_some_and(|since| since > correction.now);
    let services = state.services.iter().filter(|(_, known)| is_ahead(known));
    for key in services.map(|(key, _)| key.clone()).collect::<Vec<ServiceKey>>() {
        state.services.get_or_default(key).known_since.iter_mut().for_each(|since| correct(since, false));
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::RepositoryKey;
    use crate::domain::state::{AuditState, ContextState};
    use crate::domain::test_support::at;
    use crate::domain::types::{ContextName, RepositoryName};

    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    /// A process that began a minute ago, at `at(0)` by the right clock, and learns that its clock was ahead by so many seconds.
    fn ahead_by(seconds: i64) -> Correction {
        Correction { by: SignedDuration::from_secs(-seconds), started_at: at(seconds), now: at(60) }
    }

    #[test]
    fn what_the_wrong_clock_wrote_down_moves_and_nothing_else() {
        for (ahead, start, opening, right) in [
            (600, 600, true, 0),
            (-600, -600, true, 0),
            // An earlier process, which ended before anything was read.
            (600, 500, true, -100),
            (-600, -700, true, -100),
            // Written down by another clock, or long ago.
            (-600, -3 * DAY, true, -3 * DAY),
            (-20_000 * DAY, -5 * HOUR, true, -5 * HOUR),
            (600, -3 * DAY, true, -3 * DAY),
            // Something was read since: it is right, unless it lies ahead.
            (600, 30, false, 30),
            (-600, -600, false, -600),
            (600, 600, false, 0),
            (600, 9 * HOUR, false, 60),
            (-600, 9 * HOUR, false, 60),
        ] {
            let found = ahead_by(ahead).of_start(at(start), opening);
            assert_eq!(found, at(right), "a clock ahead by {ahead}, a start at {start}");
        }
    }

    #[test]
    fn the_starts_of_contexts_repositories_and_audits_move() {
        let [opening, read] = ["opening", "read"].map(|name| ContextName::parse(name).unwrap());
        let [old, new] = ["old", "new"].map(|name| RepositoryName::parse(name).unwrap());
        let mut state = State::default();
        let mut context = ContextState::new(at(600));
        context.follow([&old], at(600));
        state.contexts.insert(opening.clone(), context);
        let mut context = ContextState { cursor: Some(at(-DAY)), ..ContextState::new(at(-9 * DAY)) };
        context.follow([&old], at(-9 * DAY));
        context.follow([&old, &new], at(600));
        state.contexts.insert(read.clone(), context);
        state.audits.insert(opening.clone(), AuditState::new(at(600)));
        assert!(clock_corrected(&mut state, ahead_by(600)));
        let followed = |context: &ContextName, name| state.contexts[context].followed_since(name);
        assert_eq!((state.contexts[&opening].baseline, followed(&opening, &old)), (at(0), at(0)));
        assert_eq!(state.contexts[&read].baseline, at(-9 * DAY));
        assert_eq!((followed(&read, &old), followed(&read, &new)), (at(-9 * DAY), at(0)));
        assert_eq!(state.audits[&opening].since, at(0));
        for context in state.contexts.values_mut() {
            context.cursor = Some(at(30));
        }
        state.audits.values_mut().for_each(|audit| audit.cursor = Some(at(30)));
        assert!(!clock_corrected(&mut state, ahead_by(-5)), "it is read");
    }

    #[test]
    fn a_comparison_with_ecr_that_lies_ahead_is_put_back_before_the_pushes_since() {
        let key = ServiceKey::try_from("default/web/hello".to_owned()).unwrap();
        let repository =
            RepositoryKey { aws: ContextName::of_default(), name: RepositoryName::parse("hello").unwrap() };
        let push =
            PushRef { event: crate::domain::test_support::event_id("e"), at: at(30), ..PushRef::commanded(at(0)) };
        let mut state = State::default();
        let known = state.services.get_or_default(key.clone());
        known.add_pending(&repository, PushRef::reconciliation(at(DAY - 900)));
        known.add_pending(&repository, push.clone());
        assert!(clock_corrected(&mut state, ahead_by(DAY)));
        let pending = &state.services.get(&key).unwrap().pending[&repository];
        assert_eq!(pending[..], [push, PushRef::reconciliation(at(-900))]);
    }
}
