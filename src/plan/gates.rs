//! The gates of one service, for `plan`: what they need to know is asked, and nothing is kept.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::config::Config;
use crate::domain::gate::copy::{self, Follower};
use crate::domain::gate::{self, Evidence, GatedPlan, ImageReport, Other, Passage};
use crate::domain::plan::ServiceSnapshot;
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{ServiceState, State};
use crate::domain::types::{Digest, ServiceKey};
use crate::domain::waiting::Waiting;
use crate::engine::{AtGates, names_of};
use crate::observer::Observer;

/// What is needed to judge the gates of one service.
pub(super) struct AskedGates<'a> {
    pub(super) config: &'a Config,
    pub(super) state: &'a State,
    pub(super) observer: &'a Observer,
    pub(super) key: &'a ServiceKey,
    pub(super) now: Timestamp,
}

impl AskedGates<'_> {
    /// Decides what is pending, and judges the gates: what they need to know of images is asked in between.
    pub(super) async fn decide(
        &self,
        known: &ServiceState,
        snapshot: &ServiceSnapshot,
        seen: &AtGates,
    ) -> (GatedPlan, Vec<String>) {
        let first = self.judge(known, snapshot, seen, BTreeMap::new());
        if first.requests.is_empty() {
            return (first, Vec::new());
        }
        let (mut found, mut errors) = (BTreeMap::new(), Vec::new());
        for (request, answer) in self.observer.at_gates(first.requests.clone()).await {
            match answer {
                Ok(answer) => drop(found.insert((request.repository, request.digest), answer)),
                Err(error) => errors.push(error.to_string()),
            }
        }
        (self.judge(known, snapshot, seen, found), errors)
    }

    /// What the service waits for although nothing was pushed to its own repository.
    pub(super) fn missing_copy(&self, known: &ServiceState) -> Option<Waiting> {
        if !known.pending.is_empty() {
            return None;
        }
        let rules = self.config.rules_of(self.key);
        let name = self.config.name_of(self.key);
        let follower = Follower { name: &name, rules: &rules, known };
        let names = names_of(self.config, self.key);
        let others: Vec<Other<'_>> =
            names.iter().map(|(key, name)| Other { name, known: self.state.services.get(key), seen: None }).collect();
        copy::missing(follower, &others, self.now)
    }

    fn judge(
        &self,
        known: &ServiceState,
        snapshot: &ServiceSnapshot,
        seen: &AtGates,
        found: BTreeMap<(RepositoryKey, Digest), ImageReport>,
    ) -> GatedPlan {
        let rules = self.config.rules_of(self.key);
        let names = names_of(self.config, self.key);
        let others = names.iter().map(|(key, name)| Other {
            name,
            known: self.state.services.get(key),
            seen: seen.services.get(key).map(Option::as_ref),
        });
        let evidence = Evidence {
            others: others.collect(),
            approved: Some(&known.approved),
            passes_windows: known.passes_windows.as_ref(),
            waiting: known.gated.as_ref(),
            found,
        };
        let service = self.config.name_of(self.key);
        let passage =
            Passage { service: &service, rules: &rules, promoted: &seen.promoted, evidence: &evidence, now: self.now };
        gate::plan(&passage, known, snapshot)
    }
}
