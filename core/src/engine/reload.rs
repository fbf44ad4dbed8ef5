//! The state and the configuration made to fit: what is new begins, and what left it is left.

use super::Engine;
use super::now::Now;
use super::rules::Rules;
use super::service::Observing;
use super::start;
use crate::domain::discovery;
use crate::domain::types::ServiceKey;

impl Engine {
    /// Another configuration is in force.
    pub(super) fn reload(&mut self, rules: Rules, now: Now) {
        self.rules = rules;
        self.take_up(|_, _| true, now);
    }

    /// Makes the state and the configuration fit: contexts that are new begin now, and services that are gone are left. What was found out about
    /// services whose rules may have changed is not used.
    pub(super) fn take_up(&mut self, may_differ: impl Fn(&Rules, &ServiceKey) -> bool, now: Now) {
        discovery::forget_others(&mut self.state, &self.rules.configured().discover);
        self.rules.follow_found(&self.state);
        start::begin_contexts(&mut self.state, self.rules.config(), now.time);
        self.state.forget_services(|key| self.rules.has(key), now.time);
        start::begin_services(&mut self.state, self.rules.config(), now.time);
        self.comparison.follow(self.rules.config(), now.moment);
        self.out.durability.changed();
        self.counted.clear();
        let known: Vec<ServiceKey> = self.state.services.keys().cloned().collect();
        for key in known.iter().filter(|key| !self.rules.has(key)).cloned().collect::<Vec<_>>() {
            self.with(&key, now, |handler| handler.leave());
        }
        for (_, service) in self.services.iter_mut().filter(|(key, _)| may_differ(&self.rules, key)) {
            service.gate = None;
            if service.observing == Observing::UnderWay {
                service.observing = Observing::Outdated;
            }
        }
        self.out.unsettled.recount(&self.state);
        self.out.touched.extend(known);
    }
}
