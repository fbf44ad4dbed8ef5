//! The state and the configuration made to fit: what is new begins, what left it is left.

use std::collections::BTreeSet;

use tracing::info;

use super::begin::begin_contexts;
use super::{Deployer, Reload};
use crate::domain::state::{Direction, OutcomeKind, Phase, Rollout};
use crate::domain::types::ServiceKey;

impl Deployer {
    pub(super) fn reload(&mut self, reload: Reload) {
        self.config = reload.config;
        self.contexts = reload.contexts;
        self.notices = reload.notices;
        self.lookout.forget();
        self.take_up();
    }

    /// Makes the state and the configuration fit: new contexts begin now, and what was left undone is taken up.
    pub(super) fn take_up(&mut self) {
        self.generation += 1;
        begin_contexts(&mut self.state, &self.config, self.clock.now());
        self.dirty = true;
        let configured: BTreeSet<ServiceKey> = self.config.services().map(|(_, rule)| rule.key.clone()).collect();
        let keys: Vec<ServiceKey> = self.state.services.keys().cloned().collect();
        for key in keys.iter().filter(|key| !configured.contains(key)) {
            self.leave(key);
        }
        self.count_open();
        let contexts: Vec<_> = self.config.polled_contexts();
        let repositories: Vec<_> = self.config.repositories.keys().map(|key| &key.name).collect();
        let services: Vec<_> = configured.iter().collect();
        self.metrics.expect(&contexts, &repositories, &services);
        if let Some(audit) = &self.config.audit {
            self.metrics.expect_audits(&self.config.audited_contexts(), &audit.events);
        }
        for key in &keys {
            self.gauge(key);
        }
    }

    /// A service left the configuration: nothing new is begun for it. What ECS rolls already is watched to its end, where that can be done.
    pub(super) fn leave(&mut self, key: &ServiceKey) {
        let Some(known) = self.state.services.get_mut(key) else { return };
        if !known.wanted.is_empty() {
            info!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service,
                "no longer in the configuration: its undecided pushes are dropped"
            );
            known.wanted.clear();
        }
        let Some(rollout) = known.rollout.clone() else { return };
        // Where the revision is registered the service may have been updated already: that is looked at.
        let begun = rollout.phase != Phase::Intended || rollout.direction != Direction::Forward;
        if begun && self.contexts.contains_key(&key.aws) {
            self.run_mut(key).certain = false;
        } else {
            self.leave_it(key, &rollout);
        }
    }

    /// Whether a rollout is of a service that left the configuration. A way back is not left half-way.
    pub(super) fn has_left(&self, key: &ServiceKey, rollout: &Rollout) -> bool {
        rollout.direction == Direction::Forward && !self.is_configured(key)
    }

    /// Ends a rollout that ECS does not know of yet.
    pub(super) fn leave_it(&mut self, key: &ServiceKey, rollout: &Rollout) {
        self.end(key, OutcomeKind::Superseded, "the service left the configuration".to_owned());
        if self.contexts.contains_key(&key.aws) {
            self.restore(key, rollout);
        }
    }

    pub(super) fn is_configured(&self, key: &ServiceKey) -> bool {
        !self.config.rules_of(key).is_empty()
    }
}
