//! When there is nothing left to do, and what was done until then.

use jiff::Timestamp;

use super::{Deployer, Run};
use crate::domain::state::{Outcome, OutcomeKind};
use crate::domain::types::ServiceKey;

/// What there is to say when the work is over.
#[derive(Debug, Default)]
pub struct Rest {
    /// The rollouts that ended, in the order of their ends.
    pub ended: Vec<(ServiceKey, Outcome)>,
    /// What could not be finished, and why.
    pub unfinished: Vec<(ServiceKey, String)>,
    /// Why the state could not be written, if it could not.
    pub unwritten: Option<String>,
}

impl Rest {
    /// Whether every service is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let bad = |kind| !matches!(kind, OutcomeKind::Completed | OutcomeKind::Superseded);
        self.unwritten.is_none()
            && self.unfinished.is_empty()
            && !self.ended.iter().any(|(_, outcome)| bad(outcome.result))
    }
}

impl Deployer {
    /// Whether nothing is left to do, or nothing that could be done before somebody changes something.
    pub(super) fn is_at_rest(&self) -> bool {
        if !self.jobs.is_empty() {
            return false;
        }
        if self.commit_complaint.is_some() {
            return true;
        }
        let is_open = |key: &ServiceKey| !self.runs.get(key).is_some_and(is_hopeless);
        !self.dirty && !self.undone().any(is_open)
    }

    fn undone(&self) -> impl Iterator<Item = &ServiceKey> {
        let services = self.state.services.iter();
        services.filter(|(_, known)| known.rollout.is_some() || !known.wanted.is_empty()).map(|(key, _)| key)
    }

    /// What happened since.
    pub(super) fn rest(&self, since: Timestamp) -> Rest {
        let outcomes =
            self.state.services.iter().flat_map(|(key, known)| known.history.iter().map(move |one| (key, one)));
        let mut ended: Vec<_> = outcomes
            .filter(|(_, outcome)| outcome.ended_at >= since)
            .map(|(key, outcome)| (key.clone(), outcome.clone()))
            .collect();
        ended.sort_by_key(|(_, outcome)| outcome.ended_at);
        let why = |run: &Run| run.complaint().cloned();
        let unfinished = self.undone().map(|key| {
            let why = self.runs.get(key).and_then(why);
            (key.clone(), why.unwrap_or_else(|| "not finished; the next run goes on with it".to_owned()))
        });
        Rest {
            ended,
            unfinished: unfinished.collect(),
            unwritten: self.commit_complaint.clone().filter(|_| self.dirty),
        }
    }
}

fn is_hopeless(run: &Run) -> bool {
    run.reads.hopeless || run.writes.hopeless || run.watching.hopeless
}
