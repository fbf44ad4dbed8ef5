//! What a start begins with, and when it cannot rely on the events.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Config, WhenMissing};
use crate::domain::operator_command;
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::state::{AuditState, ContextState, ServiceState, State};
use crate::domain::types::{ContextName, ServiceKey};

/// The state to begin with, and what is to be said about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The state to begin with.
    pub state: State,
    /// Whether there was none.
    pub fresh: bool,
    /// Contexts whose events were not read for longer than CloudTrail keeps them: since when.
    pub gaps: Vec<(ContextName, Timestamp)>,
}

/// Begins with the state that was found, or with none.
///
/// Where events cannot tell what was pushed, because there is no state (`when_missing = "reconcile"`) or because it is older than
/// CloudTrail's history, every service wants what its policies select in ECR now.
#[must_use]
pub fn begin(found: Option<State>, config: &Arc<Config>, now: Timestamp) -> Beginning {
    let fresh = found.is_none();
    let mut state = found.unwrap_or_default();
    let config = &*config.with_discovered(&state);
    let gaps: Vec<_> = config
        .polled_contexts()
        .into_iter()
        .filter_map(|name| Some((name.clone(), state.contexts.get(name)?.unreadable_since(now)?)))
        .collect();
    begin_contexts(&mut state, config, now);
    if fresh && config.state.when_missing == WhenMissing::Reconcile {
        reconcile(&mut state, config, now, |_| true);
        for rule in &config.discover {
            if let Some(known) = state.contexts.get_mut(&rule.aws) {
                known.compares_found.insert(rule.tag.clone());
            }
        }
    }
    reconcile(&mut state, config, now, |repository| gaps.iter().any(|(context, _)| context == &repository.aws));
    Beginning { state, fresh, gaps }
}

/// Contexts that are read for the first time begin now, and those that are not read any more end.
pub(super) fn begin_contexts(state: &mut State, config: &Config, now: Timestamp) {
    let polled = config.polled_contexts();
    // A context that leaves the configuration and returns is new: what was pushed in between is not deployed.
    state.contexts.retain(|context, _| polled.contains(&context));
    for context in polled {
        let known = state.contexts.entry(context.clone()).or_insert_with(|| ContextState::new(now));
        let repositories = config.repositories.keys().filter(|key| &key.aws == context);
        known.follow(repositories.map(|key| &key.name), now);
        let has_queue = config.aws.get(context).is_some_and(|settings| settings.queue.is_some());
        known.compare_sources(has_queue || config.poll.reconcile.is_some());
    }
    // Where nobody follows changes any more, nothing is known of how far they were read.
    let audited = config.audited_contexts();
    state.audits.retain(|context, _| audited.contains(&context));
    for context in audited {
        state.audits.entry(context.clone()).or_insert_with(|| AuditState::new(now));
    }
}

/// Services are known from now on, if they were not before: what was pushed before that, a comparison with ECR does not bring.
pub(super) fn begin_services(state: &mut State, config: &Config, now: Timestamp) {
    let left = |key: &ServiceKey, known: &ServiceState| known.known_since.is_some() && !config.has_service(key);
    let left: Vec<ServiceKey> =
        state.services.iter().filter(|(key, known)| left(key, known)).map(|(key, _)| key.clone()).collect();
    for key in left {
        state.services.get_or_default(key).known_since = None;
    }
    if config.poll.reconcile.is_none() {
        return;
    }
    for (repository, rule) in config.services() {
        let is_known = |known: &ServiceState| known.known_since.is_some() || known.decided.contains_key(&repository);
        if !state.services.get(&rule.key).is_some_and(is_known) {
            state.services.get_or_default(rule.key.clone()).known_since = Some(now);
        }
    }
}

/// The machine's clock may be ahead of CloudTrail's (AWS refuses requests when it is by more than this): a push in the meantime must not
/// count as older than the look at ECR.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(15);

pub(super) fn reconcile(
    state: &mut State,
    config: &Config,
    now: Timestamp,
    concerned: impl Fn(&RepositoryKey) -> bool,
) {
    compare(state, config.services().filter(|(repository, _)| concerned(repository)), now);
}

/// The same for some of the services.
pub(super) fn reconcile_services(
    state: &mut State,
    config: &Config,
    now: Timestamp,
    concerned: impl Fn(&ServiceRule) -> bool,
) {
    compare(state, config.services().filter(|(_, rule)| concerned(rule)), now);
}

fn compare<'a>(state: &mut State, rules: impl Iterator<Item = (RepositoryKey, &'a ServiceRule)>, now: Timestamp) {
    let at = now.checked_sub(CLOCKS_APART).unwrap_or(now);
    for (repository, rule) in rules {
        let known = state.services.get_or_default(rule.key.clone());
        operator_command::add_reconciliation(known, &[repository], at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[state]\nwhen_missing = \"ignore\"\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";

    fn wanted(beginning: &Beginning) -> usize {
        beginning.state.services.values().flat_map(|known| known.pending.values()).map(Vec::len).sum()
    }

    #[test]
    fn a_context_that_leaves_and_returns_begins_anew() {
        let start: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let config = Arc::new(Config::parse("test", CONFIG).unwrap());
        let nothing = Config::parse("test", "").unwrap();
        let later = |hours| start + SignedDuration::from_hours(hours);
        let mut state = begin(None, &config, start).state;
        let baseline = |state: &State| state.contexts.values().next().map(|context| context.baseline);
        begin_contexts(&mut state, &config, later(1));
        assert_eq!(baseline(&state), Some(start), "it stayed");
        begin_contexts(&mut state, &nothing, later(2));
        begin_contexts(&mut state, &config, later(3));
        assert_eq!(baseline(&state), Some(later(3)));
    }

    #[test]
    fn ecr_is_asked_where_events_cannot_tell() {
        let start: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        let days = |days: i64| start + SignedDuration::from_hours(24 * days);
        for (mode, fresh) in [("ignore", 0), ("reconcile", 1)] {
            let config = Arc::new(Config::parse("test", &CONFIG.replace("ignore", mode)).unwrap());
            let first = begin(None, &config, start);
            assert_eq!((wanted(&first), first.fresh, first.gaps.len()), (fresh, true, 0), "{mode}");
            let mut state = State::default();
            begin_contexts(&mut state, &config, start);
            for (later, gaps) in [(0, 0), (1, 0), (89, 0), (90, 1), (400, 1)] {
                let again = begin(Some(state.clone()), &config, days(later));
                assert_eq!(
                    (wanted(&again), again.fresh, again.gaps.len()),
                    (gaps, false, gaps),
                    "{mode}, {later} days"
                );
                let twice = begin(Some(again.state), &config, days(later + 1));
                assert!(wanted(&twice) <= 1, "asked once is enough");
            }
        }
    }
}
