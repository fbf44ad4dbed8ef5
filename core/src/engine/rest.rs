//! Whether anything is left to do, and what was done until then.

use super::Engine;
use super::gates::GateWait;
use super::service::Service;
use crate::domain::state::{Outcome, OutcomeKind, ServiceState};
use crate::domain::types::ServiceKey;
use crate::domain::waiting::Waiting;

/// What there is to say when the work is over.
#[derive(Debug, Default)]
pub struct Rest {
    /// The rollouts that ended, in the order of their ends.
    pub ended: Vec<(ServiceKey, Outcome)>,
    /// What waits at a gate.
    pub waiting: Vec<(ServiceKey, Waiting)>,
    /// What could not be finished, and why.
    pub unfinished: Vec<(ServiceKey, String)>,
    /// Why the state could not be written, if it could not.
    pub unwritten: Option<String>,
}

impl Rest {
    /// Whether every service is as it should be.
    #[must_use]
    pub fn is_well(&self) -> bool {
        let bad = |kind| match kind {
            OutcomeKind::Completed | OutcomeKind::Superseded => false,
            OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::RolledBack | OutcomeKind::Refused => true,
        };
        let ended_badly = self.ended.iter().any(|(_, outcome)| bad(outcome.result));
        self.unwritten.is_none() && self.unfinished.is_empty() && !ended_badly
    }
}

impl Engine {
    /// Whether nothing is left to do, or nothing that could be done before somebody changes something. Calls under way are not known here.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        if self.state_error().is_some() {
            return true;
        }
        let is_hopeless = |service: &Service| service.calls.need_operator();
        let is_open = |key: &ServiceKey| !self.services.get(key).is_some_and(is_hopeless) && !self.waits_at_a_gate(key);
        self.is_durable() && !self.undone().any(is_open)
    }

    /// Whether all that is undone of a service waits at a gate.
    fn waits_at_a_gate(&self, key: &ServiceKey) -> bool {
        let known = self.state.services.get(key).filter(|known| known.rollout.is_none() && known.gated.is_some());
        let gate = self.services.get(key).and_then(|service| service.gate.as_ref());
        let rests =
            |gate: &GateWait, known: &ServiceState| gate.rests(self.handled.moment) && gate.covers(&known.pending);
        matches!((known, gate), (Some(known), Some(gate)) if rests(gate, known))
    }

    fn undone(&self) -> impl Iterator<Item = &ServiceKey> {
        let services = self.state.services.iter();
        services.filter(|(_, known)| known.rollout.is_some() || !known.pending.is_empty()).map(|(key, _)| key)
    }

    /// What has happened since the start.
    #[must_use]
    pub fn rest(&self) -> Rest {
        let outcomes =
            self.state.services.iter().flat_map(|(key, known)| known.history.iter().map(move |one| (key, one)));
        let mut ended: Vec<_> = outcomes
            .filter(|(_, outcome)| outcome.ended_at >= self.started_at)
            .map(|(key, outcome)| (key.clone(), outcome.clone()))
            .collect();
        ended.sort_by_key(|(_, outcome)| outcome.ended_at);
        let waits = |key: &ServiceKey| Some((key.clone(), self.state.services.get(key)?.gated.clone()?));
        let at_gates = self.undone().filter(|key| self.waits_at_a_gate(key));
        let waiting = at_gates.chain(&self.uncopied).filter_map(waits);
        let unfinished = self.undone().filter(|key| !self.waits_at_a_gate(key)).map(|key| {
            let why = self.services.get(key).and_then(|service| service.calls.last_error().cloned());
            (key.clone(), why.unwrap_or_else(|| "not finished; the next run goes on with it".to_owned()))
        });
        Rest {
            ended,
            unfinished: unfinished.collect(),
            waiting: waiting.collect(),
            unwritten: self.state_error().cloned().filter(|_| !self.is_durable()),
        }
    }
}
