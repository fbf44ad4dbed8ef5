//! Services that wait for a copy: the services before them run what nobody has pushed to their own repository.

use super::Engine;
use super::gates::others;
use super::now::Now;
use super::observation::names_of;
use super::service::Handler;
use crate::domain::gate::copy::{self, Follower};
use crate::domain::state::ServiceState;
use crate::domain::types::ServiceKey;
use crate::domain::waiting::Waiting;

impl Engine {
    /// A service has changed: it, and those that come after it, wait for a copy from here on, or do so no longer.
    pub(super) fn follow_copies(&mut self, of: &ServiceKey, now: Now) {
        let itself = self.rules.comes_after_others(of) || self.uncopied.contains(of);
        let followers = self.rules.followers(of).iter().chain(Some(of).filter(|_| itself));
        for key in followers.cloned().collect::<Vec<_>>() {
            let known = self.state.services.get(&key);
            // What is undecided is shown in place of what was not pushed.
            let is_open = known.is_none_or(|known| known.pending.is_empty());
            let awaited = if is_open { self.missing_copy(&key, now) } else { None };
            match awaited.is_some() {
                true => self.uncopied.insert(key.clone()),
                false => self.uncopied.remove(&key),
            };
            let shown = known.and_then(|known| known.gated.as_ref());
            let is_shown = match (&awaited, shown) {
                (Some(awaited), Some(shown)) => awaited.is_same(shown) && awaited.reason == shown.reason,
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if is_open && !is_shown {
                self.with(&key, now, |handler| handler.awaits_copy(awaited));
            }
        }
    }

    fn missing_copy(&self, key: &ServiceKey, now: Now) -> Option<Waiting> {
        let nothing = ServiceState::default();
        let known = self.state.services.get(key).unwrap_or(&nothing);
        let (rules, names) = (self.rules.of(key), names_of(self.rules.config(), key));
        let name = self.rules.named(key).name;
        let others = others(&names, |other| self.state.services.get(other));
        copy::missing(Follower { name: &name, rules: &rules, known }, &others, now.time)
    }
}

impl Handler<'_> {
    /// Nothing of the service is undecided: the copy is all that it may wait for.
    fn awaits_copy(&mut self, awaited: Option<Waiting>) {
        let known = self.record().and_then(|record| record.gated.clone());
        match (awaited, known) {
            (Some(awaited), Some(known)) if known.is_same(&awaited) => {
                self.record_mut().gated = Some(Waiting { since: known.since, reported: known.reported, ..awaited });
            }
            (Some(awaited), _) => self.waits_at(awaited),
            (None, _) => self.waits_no_longer(),
        }
    }
}
