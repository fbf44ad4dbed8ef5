//! The configuration together with the services that were found by their tags.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Config;
use crate::domain::discovery::{Discovered, Doubt};
use crate::domain::policy::Policy;
use crate::domain::settings::{DeploySettings, RepositoryKey, RepositoryRule, ServiceRule};
use crate::domain::state::State;
use crate::domain::types::{ContextName, ServiceKey};

/// `[policy.NAME]`: what a service that is found by a tag does not say itself.
#[derive(Debug, Clone)]
pub struct NamedPolicy {
    /// Which tags are deployed.
    pub policy: Arc<dyn Policy>,
    /// How services are rolled.
    pub deploy: DeploySettings,
}

impl Config {
    /// This configuration with the services that were found. One that is listed is as it is listed; one whose tag names no policy, or that has
    /// no container with an image from its account's ECR, is not followed.
    #[must_use]
    pub fn with_discovered(self: &Arc<Self>, state: &State) -> Arc<Self> {
        if self.discover.is_empty() {
            return Arc::clone(self);
        }
        let found = state.services.iter().filter_map(|(key, known)| Some((key, known.discovered.as_ref()?)));
        let followed: Vec<(&ServiceKey, &Discovered)> = found.filter(|(key, _)| !self.has_service(key)).collect();
        if followed.is_empty() {
            return Arc::clone(self);
        }
        let mut effective = self.as_ref().clone();
        for (key, known) in followed {
            let Some(NamedPolicy { policy, deploy }) = self.policies.get(&known.policy) else { continue };
            for name in &known.repositories {
                let new = || RepositoryRule { aws: key.aws.clone(), name: name.clone(), services: Vec::new() };
                let repository = RepositoryKey { aws: key.aws.clone(), name: name.clone() };
                let rule = ServiceRule {
                    key: key.clone(),
                    container: None,
                    policy: Arc::clone(policy),
                    deploy: deploy.clone(),
                    before: Vec::new(),
                    verify: Vec::new(),
                    known_since: Some(known.since),
                };
                effective.repositories.entry(repository).or_insert_with(new).services.push(rule);
            }
        }
        effective.names = self.names.with(&effective.repositories);
        Arc::new(effective)
    }

    /// How many services of a context are followed because they were found.
    #[must_use]
    pub fn count_discovered(&self, aws: &ContextName) -> usize {
        let rules = self.services().map(|(_, rule)| rule);
        let found = rules.filter(|rule| rule.known_since.is_some() && &rule.key.aws == aws);
        found.map(|rule| &rule.key).collect::<BTreeSet<_>>().len()
    }

    /// What is wrong with a service that has the tag with this value. Its repositories are not known before it was described.
    #[must_use]
    pub fn doubt_of(&self, key: &ServiceKey, value: &str, known: Option<&Discovered>) -> Option<Doubt> {
        let Some(named) = self.policies.get(value) else {
            let by_distance = |name: &&String| strsim::levenshtein(name, value);
            let nearest = self.policies.keys().min_by_key(by_distance).cloned();
            return Some(Doubt::UnknownPolicy { named: value.to_owned(), nearest });
        };
        let listed = self.rules_of(key);
        if listed.values().all(|rule| rule.known_since.is_some()) {
            return known.filter(|known| known.repositories.is_empty()).map(|_| Doubt::NoRepository);
        }
        let mut differs = Vec::new();
        if listed.values().any(|rule| rule.policy.spec() != named.policy.spec()) {
            differs.push("tags");
        }
        if listed.values().any(|rule| rule.deploy != named.deploy) {
            differs.push("values of [deploy]");
        }
        (!differs.is_empty()).then(|| Doubt::ListedOtherwise { policy: value.to_owned(), differs })
    }
}

#[cfg(test)]
#[path = "discovered_tests.rs"]
mod tests;
