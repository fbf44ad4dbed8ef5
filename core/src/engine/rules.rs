//! The configuration, as far as transitions depend on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::domain::notification::Named;
use crate::domain::operator_command::Refused;
use crate::domain::settings::{DeploySettings, RepositoryKey, ServiceRule};
use crate::domain::state::State;
use crate::domain::types::{ContextName, Region, ServiceKey};

/// The configuration in force, and the AWS contexts that can be reached under it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// As it is written.
    configured: Arc<Config>,
    /// The same with the services that were found.
    config: Arc<Config>,
    regions: BTreeMap<ContextName, Region>,
    /// The services that come after each service.
    followers: BTreeMap<ServiceKey, Vec<ServiceKey>>,
}

impl Rules {
    /// The rules of a configuration, with the Regions of the contexts that there are clients for.
    #[must_use]
    pub fn new(config: Arc<Config>, regions: BTreeMap<ContextName, Region>) -> Self {
        let followers = followers_of(&config);
        Self { configured: Arc::clone(&config), config, regions, followers }
    }

    /// The services that come after a service.
    #[must_use]
    pub fn followers(&self, key: &ServiceKey) -> &[ServiceKey] {
        self.followers.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a service comes after others.
    #[must_use]
    pub fn comes_after_others(&self, key: &ServiceKey) -> bool {
        // As a rule no service does.
        !self.followers.is_empty()
            && self.config.settings_of(key).is_some_and(|settings| !settings.gates.after.is_empty())
    }

    /// The configuration, with the services that were found by their tags.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The configuration as it is written.
    #[must_use]
    pub fn configured(&self) -> &Config {
        &self.configured
    }

    /// Takes in the services that the state says were found.
    pub(super) fn follow_found(&mut self, state: &State) {
        self.config = self.configured.with_discovered(state);
        self.followers = followers_of(&self.config);
    }

    /// The AWS contexts that can be reached.
    pub fn contexts(&self) -> impl Iterator<Item = &ContextName> {
        self.regions.keys()
    }

    /// The Region of a context that can be reached.
    #[must_use]
    pub fn region(&self, aws: &ContextName) -> Option<&Region> {
        self.regions.get(aws)
    }

    /// The rules of a service, by repository; empty for one that is not in the configuration.
    #[must_use]
    pub fn of(&self, key: &ServiceKey) -> BTreeMap<RepositoryKey, &ServiceRule> {
        self.config.rules_of(key)
    }

    /// Whether a service is in the configuration.
    #[must_use]
    pub fn has(&self, key: &ServiceKey) -> bool {
        self.config.has_service(key)
    }

    /// How a service is rolled. One that left the configuration in the middle of a rollout is watched to the end by the defaults.
    #[must_use]
    pub fn settings(&self, key: &ServiceKey) -> DeploySettings {
        self.config.settings_of(key).cloned().unwrap_or_default()
    }

    /// The time between two looks at the rollout of a service.
    #[must_use]
    pub fn observe_interval(&self, key: &ServiceKey) -> Duration {
        let settings = self.config.settings_of(key);
        settings.map_or_else(|| DeploySettings::default().observe_interval, |settings| settings.observe_interval)
    }

    /// A service with its name.
    #[must_use]
    pub fn named(&self, key: &ServiceKey) -> Named {
        Named { key: key.clone(), name: self.config.name_of(key) }
    }

    /// The service that an operator names.
    ///
    /// # Errors
    /// There is none of that name, or several.
    pub fn find(&self, named: &str) -> Result<ServiceKey, Refused> {
        self.config.names.find(named).cloned().map_err(Refused)
    }
}

fn followers_of(config: &Config) -> BTreeMap<ServiceKey, Vec<ServiceKey>> {
    let mut followers: BTreeMap<ServiceKey, Vec<ServiceKey>> = BTreeMap::new();
    for (_, rule) in config.services() {
        for first in &rule.deploy.gates.after {
            followers.entry(first.clone()).or_default().push(rule.key.clone());
        }
    }
    followers
}
