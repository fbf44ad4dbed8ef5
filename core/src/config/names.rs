//! What people call the services of a configuration.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use crate::domain::routing::Rules;
use crate::domain::schedule::CLUSTER;
use crate::domain::settings::RepositoryKey;
use crate::domain::types::ServiceKey;

/// The services of a configuration by the names that people use: `CLUSTER/SERVICE`, or `AWS/CLUSTER/SERVICE` where several AWS contexts
/// have a service of that name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceNames {
    /// Each service, with the repositories that it is listed under and its place there.
    all: BTreeMap<ServiceKey, Vec<(RepositoryKey, usize)>>,
    shared: BTreeSet<String>,
    /// The schedules, as they are written.
    schedules: BTreeMap<ServiceKey, String>,
}

impl ServiceNames {
    /// Collects the services, and the short names that several of them share.
    pub(super) fn new(repositories: &Rules, schedules: BTreeMap<ServiceKey, String>) -> Self {
        let mut all: BTreeMap<ServiceKey, Vec<(RepositoryKey, usize)>> = BTreeMap::new();
        for (repository, rule) in repositories {
            for (place, service) in rule.services.iter().enumerate() {
                all.entry(service.key.clone()).or_default().push((repository.clone(), place));
            }
        }
        all.values_mut().for_each(Vec::shrink_to_fit);
        let mut names = Self { all, shared: BTreeSet::new(), schedules };
        let mut seen = BTreeSet::new();
        names.shared = names.all.keys().map(|key| names.short(key)).filter(|name| !seen.insert(name.clone())).collect();
        names
    }

    /// The same schedules beside other services.
    pub(super) fn with(&self, repositories: &Rules) -> Self {
        Self::new(repositories, self.schedules.clone())
    }

    /// The schedules, as they are written.
    #[must_use]
    pub fn schedules(&self) -> &BTreeMap<ServiceKey, String> {
        &self.schedules
    }

    /// `CLUSTER/SERVICE`, or `schedule/` and what is written.
    fn short(&self, key: &ServiceKey) -> String {
        match self.schedules.get(key) {
            Some(text) => format!("{CLUSTER}/{text}"),
            None => key.to_string(),
        }
    }

    fn long(&self, key: &ServiceKey) -> String {
        format!("{}/{}", key.aws, self.short(key))
    }

    /// What the service is called. No other one of the configuration is called the same.
    #[must_use]
    pub fn of(&self, key: &ServiceKey) -> String {
        let short = self.short(key);
        if self.shared.contains(&short) { self.long(key) } else { short }
    }

    /// The repositories that a service is listed under, each with the place of the service in its list.
    pub(super) fn places_of(&self, key: &ServiceKey) -> &[(RepositoryKey, usize)] {
        self.all.get(key).map_or(&[], Vec::as_slice)
    }

    /// How many services there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The service that somebody names: `CLUSTER/SERVICE`, or `AWS/CLUSTER/SERVICE`.
    ///
    /// # Errors
    /// What is wrong with the name, and which one may be meant.
    pub fn find(&self, named: &str) -> Result<&ServiceKey, String> {
        let found: Vec<&ServiceKey> = self.all.keys().filter(|key| self.is_called(key, named)).collect();
        match found[..] {
            [only] => Ok(only),
            [] => {
                let nearest =
                    self.all.keys().map(|key| self.of(key)).min_by_key(|name| strsim::levenshtein(name, named));
                let hint = nearest.map_or_else(String::new, |name| format!("; the nearest one is {name}"));
                Err(format!("{named} is no CLUSTER/SERVICE of the configuration{hint}"))
            }
            _ => {
                let names: Vec<String> = found.iter().map(|key| self.long(key)).collect();
                Err(format!("{named} is ambiguous: say {}", names.join(" or ")))
            }
        }
    }
}

impl ServiceNames {
    /// Whether somebody who says this means the service. A schedule may be called with its group or bus, too.
    fn is_called(&self, key: &ServiceKey, named: &str) -> bool {
        let plain = named.strip_prefix(key.aws.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(named);
        let full = self.schedules.contains_key(key).then(|| key.to_string());
        self.short(key) == named || self.long(key) == named || full.is_some_and(|full| full == plain)
    }
}

impl Config {
    /// What a service is called.
    #[must_use]
    pub fn name_of(&self, key: &ServiceKey) -> String {
        self.names.of(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::ServiceRule;
    use crate::domain::test_support::{repository_rule, service_rule, tags_policy};

    fn names() -> ServiceNames {
        let services = ["test/web/shop", "live/web/shop", "live/web/hello"].map(|name| {
            let rule = service_rule("shop", tags_policy(&["latest"]));
            ServiceRule { key: key(name), ..rule }
        });
        let rule = repository_rule("shop", services.into());
        ServiceNames::new(&Rules::from([(rule.key(), rule)]), BTreeMap::new())
    }

    fn key(text: &str) -> ServiceKey {
        ServiceKey::try_from(text.to_owned()).unwrap()
    }

    #[test]
    fn a_name_has_the_context_only_where_it_is_needed() {
        assert_eq!(names().of(&key("live/web/hello")), "web/hello");
        assert_eq!(names().of(&key("live/web/shop")), "live/web/shop");
        assert_eq!(names().of(&key("test/web/shop")), "test/web/shop");
        assert_eq!(names().of(&key("test/web/gone")), "web/gone");
    }

    #[test]
    fn what_somebody_says_is_one_service_or_an_answer_that_helps() {
        assert_eq!(names().find("web/hello"), Ok(&key("live/web/hello")));
        assert_eq!(names().find("test/web/shop"), Ok(&key("test/web/shop")));
        assert_eq!(names().find("web/shop").unwrap_err(), "web/shop is ambiguous: say live/web/shop or test/web/shop");
        assert_eq!(
            names().find("web/helo").unwrap_err(),
            "web/helo is no CLUSTER/SERVICE of the configuration; the nearest one is web/hello"
        );
    }
}
