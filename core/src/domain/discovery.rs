//! Services that opt in by a tag of theirs: what a look finds, and what follows from it.
//!
//! A service is known from the look that found it. One that is gone for a moment, as the resource groups tagging API is eventually
//! consistent, stays known; one whose tag was gone for some looks and is back is a new find.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::glob::Globs;
use super::image::{ImageReference, RegistryHost};
use super::state::State;
use super::task_definition::TaskDefinition;
use super::types::{AccountId, ContextName, EcsName, Region, RepositoryName, ServiceKey};

/// Complete looks in a row without a service after which its tag is gone.
const ABSENCES_BELIEVED: u32 = 3;

/// Which services opt in by a tag: a `[[discover]]` of the configuration.
#[derive(Debug, Clone)]
pub struct DiscoverRule {
    /// The AWS context that is looked at.
    pub aws: ContextName,
    /// The key of the tag.
    pub tag: String,
    /// Which clusters are looked at.
    pub clusters: Globs,
    /// The tags are looked at this often.
    pub every: std::time::Duration,
}

impl DiscoverRule {
    /// Whether a service is of a cluster that is looked at.
    #[must_use]
    pub fn admits(&self, key: &ServiceKey) -> bool {
        key.aws == self.aws && self.clusters.is_match(key.cluster.as_str())
    }
}

/// A service that was found, as it stands in the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discovered {
    /// The key of the tag.
    pub tag: String,
    /// The tag's value: the name of a policy.
    pub policy: String,
    /// The repositories of this account's ECR that its containers have their images from.
    pub repositories: BTreeSet<RepositoryName>,
    /// When it was found: what was pushed before is not deployed to it.
    pub since: Timestamp,
    /// Complete looks in a row that did not find it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub absences: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What one complete look at the tags of a context found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The AWS context that the services are in.
    pub aws: ContextName,
    /// The key of the tag.
    pub tag: String,
    /// Every service that has the tag, with its value.
    pub tagged: BTreeMap<ServiceKey, String>,
    /// The repositories of the services that were described with this look: those that are new, and those whose tag has another value.
    pub described: BTreeMap<ServiceKey, BTreeSet<RepositoryName>>,
}

/// A change of what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A service was found.
    Found,
    /// Its tag names another policy, or its containers other repositories.
    Changed,
    /// Its tag is gone. The service is left as it is.
    Gone,
}

/// What a look changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Whether the state is to be made durable.
    pub changed: bool,
    /// What is new, by service, with what is known of it, or was.
    pub news: Vec<(ServiceKey, News, Discovered)>,
}

/// Takes a look into the state.
pub fn take(state: &mut State, look: &Look, now: Timestamp) -> Taken {
    let mut taken = Taken::default();
    for (key, policy) in &look.tagged {
        let known = state.services.get(key).and_then(|known| known.discovered.clone());
        let described = look.described.get(key);
        let next = match (&known, described) {
            // Another [[discover]] found it before.
            (Some(known), _) if known.tag != look.tag => continue,
            (Some(known), described) => Discovered {
                policy: policy.clone(),
                repositories: described.unwrap_or(&known.repositories).clone(),
                absences: 0,
                ..known.clone()
            },
            (None, Some(repositories)) => Discovered {
                tag: look.tag.clone(),
                policy: policy.clone(),
                repositories: repositories.clone(),
                since: whole_second(now),
                absences: 0,
            },
            // It could not be described yet.
            (None, None) => continue,
        };
        let news = match &known {
            None => Some(News::Found),
            Some(known) if known.policy != next.policy || known.repositories != next.repositories => {
                Some(News::Changed)
            }
            Some(_) => None,
        };
        if known.as_ref() != Some(&next) {
            taken.changed = true;
            state.services.get_or_default(key.clone()).discovered = Some(next.clone());
        }
        taken.news.extend(news.map(|news| (key.clone(), news, next)));
    }
    let of_look = |key: &ServiceKey, known: &Discovered| key.aws == look.aws && known.tag == look.tag;
    let absent = state.services.iter().filter_map(|(key, known)| Some((key, known.discovered.as_ref()?)));
    let absent = absent.filter(|(key, known)| of_look(key, known) && !look.tagged.contains_key(*key));
    for (key, known) in absent.map(|(key, known)| (key.clone(), known.clone())).collect::<Vec<_>>() {
        taken.changed = true;
        let absences = known.absences + 1;
        let record = state.services.get_or_default(key.clone());
        if absences < ABSENCES_BELIEVED {
            record.discovered = Some(Discovered { absences, ..known });
        } else {
            record.discovered = None;
            taken.news.push((key, News::Gone, known));
        }
    }
    taken
}

/// Forgets the services that no rule looks for any more. Should one be looked for again, that is a new find.
pub fn forget_others(state: &mut State, rules: &[DiscoverRule]) {
    let looked_for =
        |key: &ServiceKey, known: &Discovered| rules.iter().any(|rule| rule.tag == known.tag && rule.admits(key));
    let others = state.services.iter().filter_map(|(key, known)| Some((key, known.discovered.as_ref()?)));
    let others = others.filter(|(key, known)| !looked_for(key, known)).map(|(key, _)| key.clone());
    for key in others.collect::<Vec<_>>() {
        state.services.get_or_default(key).discovered = None;
    }
}

/// What is wrong with a service that has the tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The tag names no policy of the configuration. It is not followed.
    UnknownPolicy {
        /// The policy that the tag names.
        named: String,
        /// The policy that may be meant.
        nearest: Option<String>,
    },
    /// None of its containers has an image from this account's ECR. It is not followed.
    NoRepository,
    /// It is listed in the configuration as well, with other values. The list wins.
    ListedOtherwise {
        /// The policy that the tag names.
        policy: String,
        /// The keys whose values differ.
        differs: Vec<&'static str>,
    },
}

impl Doubt {
    /// A name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownPolicy { .. } => "unknown_policy",
            Self::NoRepository => "no_repository_of_this_account",
            Self::ListedOtherwise { .. } => "listed_and_discovered",
        }
    }

    /// What is the case.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::UnknownPolicy { named, .. } => {
                format!("its tag names the policy {named:?}, and there is no [policy.{named}]: it is not followed")
            }
            Self::NoRepository => {
                "it has the tag, and no container of it has an image from the ECR of its account and Region: it is not followed"
                    .to_owned()
            }
            Self::ListedOtherwise { policy, differs } => format!(
                "it is listed in the configuration, and its tag names the policy {policy:?}, which has {}: the list counts",
                differs.iter().map(|what| format!("other {what}")).collect::<Vec<_>>().join(" and ")
            ),
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::UnknownPolicy { nearest: Some(nearest), .. } => {
                format!("correct the tag's value, or add the policy; the nearest name is {nearest}")
            }
            Self::UnknownPolicy { nearest: None, .. } => "add the policy, or remove the tag".to_owned(),
            Self::NoRepository => "remove the tag, or list the service under its repository".to_owned(),
            Self::ListedOtherwise { .. } => {
                "remove the tag or the [[repository.service]], or give both the same values".to_owned()
            }
        }
    }
}

/// A service as its ARN names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedService {
    /// The Region of the account.
    pub region: Region,
    /// The account of the service.
    pub account: AccountId,
    /// The cluster of the service.
    pub cluster: EcsName,
    /// The name of the service.
    pub service: EcsName,
}

impl NamedService {
    /// Reads `arn:PARTITION:ecs:REGION:ACCOUNT:service/CLUSTER/SERVICE`. ARNs of the old format do not name the cluster, and are none.
    #[must_use]
    pub fn parse(arn: &str) -> Option<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, "ecs", region, account, resource] = parts[..] else { return None };
        let (cluster, service) = resource.strip_prefix("service/")?.split_once('/')?;
        Some(Self {
            region: Region::parse(region).ok()?,
            account: AccountId::parse(account).ok()?,
            cluster: EcsName::parse(cluster).ok()?,
            service: EcsName::parse(service).ok()?,
        })
    }
}

/// The repositories of one account and Region that the containers of a task definition have their images from.
#[must_use]
pub fn repositories_of(definition: &TaskDefinition, account: &AccountId, region: &Region) -> BTreeSet<RepositoryName> {
    let of_image = |image: &str| {
        let reference = ImageReference::split(image);
        let is_here = |host: RegistryHost<'_>| host.account == account.as_str() && host.region == region.as_str();
        let (_, path) = reference.name.split_once('/')?;
        reference.registry().is_some_and(is_here).then(|| RepositoryName::parse(path).ok()).flatten()
    };
    definition.containers().filter_map(|(_, image)| of_image(image)).collect()
}

/// CloudTrail's times are whole seconds: what is pushed within the second of the find counts as pushed after it.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::{at, definition, image_name, service_key};

    fn look(tagged: &[(&str, &str)], described: &[(&str, &[&str])]) -> Look {
        let names = |names: &[&str]| names.iter().map(|name| RepositoryName::parse(name).unwrap()).collect();
        Look {
            aws: ContextName::default(),
            tag: "ecs-deployd".to_owned(),
            tagged: tagged.iter().map(|(name, policy)| (service_key(name), (*policy).to_owned())).collect(),
            described: described.iter().map(|(name, all)| (service_key(name), names(all))).collect(),
        }
    }

    fn news(taken: &Taken) -> Vec<(&str, News)> {
        taken.news.iter().map(|(key, news, _)| (key.service.as_str(), news.clone())).collect()
    }

    fn known<'a>(state: &'a State, name: &str) -> Option<&'a Discovered> {
        state.services.get(&service_key(name))?.discovered.as_ref()
    }

    #[test]
    fn a_service_is_known_from_the_look_that_found_it() {
        let mut state = State::default();
        let first = take(&mut state, &look(&[("a", "stable"), ("b", "stable")], &[("a", &["hello"])]), at(10));
        assert_eq!(news(&first), [("a", News::Found)], "b could not be described");
        assert_eq!(known(&state, "a").unwrap().since, at(10));
        let second = take(&mut state, &look(&[("a", "stable"), ("b", "stable")], &[("b", &["hello"])]), at(20));
        assert_eq!(news(&second), [("b", News::Found)]);
        let third = take(&mut state, &look(&[("a", "stable"), ("b", "stable")], &[]), at(30));
        assert_eq!(third, Taken::default(), "nothing has changed");
        assert_eq!((known(&state, "a").unwrap().since, known(&state, "b").unwrap().since), (at(10), at(20)));
    }

    #[test]
    fn another_policy_or_repository_is_no_new_find() {
        let mut state = State::default();
        take(&mut state, &look(&[("a", "stable")], &[("a", &["hello"])]), at(10));
        let other = take(&mut state, &look(&[("a", "edge")], &[]), at(20));
        assert_eq!(news(&other), [("a", News::Changed)]);
        let moved = take(&mut state, &look(&[("a", "edge")], &[("a", &["hello", "side"])]), at(30));
        assert_eq!(news(&moved), [("a", News::Changed)]);
        let known = known(&state, "a").unwrap();
        assert_eq!((known.policy.as_str(), known.repositories.len(), known.since), ("edge", 2, at(10)));
    }

    #[test]
    fn a_tag_is_gone_after_three_complete_looks_and_back_is_a_new_find() {
        let mut state = State::default();
        let there = look(&[("a", "stable")], &[("a", &["hello"])]);
        take(&mut state, &there, at(10));
        for second in [20, 30] {
            let absent = take(&mut state, &look(&[], &[]), at(second));
            assert_eq!((absent.changed, absent.news.len()), (true, 0));
        }
        take(&mut state, &look(&[("a", "stable")], &[]), at(40));
        assert_eq!(known(&state, "a").map(|known| (known.absences, known.since)), Some((0, at(10))), "it was there");
        for second in [50, 60] {
            take(&mut state, &look(&[], &[]), at(second));
        }
        assert_eq!(news(&take(&mut state, &look(&[], &[]), at(70))), [("a", News::Gone)]);
        assert_eq!(known(&state, "a"), None);
        assert_eq!(news(&take(&mut state, &there, at(80))), [("a", News::Found)]);
        assert_eq!(known(&state, "a").unwrap().since, at(80));
    }

    #[test]
    fn looks_at_other_tags_and_contexts_change_nothing() {
        let mut state = State::default();
        take(&mut state, &look(&[("a", "stable")], &[("a", &["hello"])]), at(10));
        let others = [
            Look { tag: "other".to_owned(), ..look(&[("a", "edge")], &[("a", &["side"])]) },
            Look { tag: "other".to_owned(), ..look(&[], &[]) },
            Look { aws: ContextName::parse("live").unwrap(), ..look(&[], &[]) },
        ];
        for other in others {
            assert_eq!(take(&mut state, &other, at(20)), Taken::default());
        }
        forget_others(&mut state, &[]);
        assert_eq!(known(&state, "a"), None, "no rule looks for it");
    }

    #[test]
    fn a_service_follows_the_repositories_of_its_own_account_and_region() {
        let other_account = image_name("hello").replace("111111111111", "222222222222");
        let images = [
            ("app", format!("{}:1", image_name("team/api"))),
            ("side", format!("{}@sha256:{}", image_name("envoy"), "0".repeat(64))),
            ("other", format!("{other_account}:1")),
            ("public", "nginx:1".to_owned()),
        ];
        let containers: Vec<(&str, &str)> = images.iter().map(|(name, image)| (*name, image.as_str())).collect();
        let account = AccountId::parse("111111111111").unwrap();
        let found = repositories_of(&definition(1, &containers), &account, &Region::parse("eu-west-1").unwrap());
        let names: Vec<&str> = found.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["envoy", "team/api"]);
        assert!(
            repositories_of(&definition(1, &containers), &account, &Region::parse("eu-west-2").unwrap()).is_empty()
        );
    }

    #[test]
    fn an_arn_names_a_service_with_its_cluster_or_none() {
        let named = NamedService::parse("arn:aws-cn:ecs:cn-north-1:111111111111:service/web/hello").unwrap();
        assert_eq!(
            (named.cluster.as_str(), named.service.as_str(), named.region.as_str()),
            ("web", "hello", "cn-north-1")
        );
        for other in ["arn:aws:ecs:eu-west-1:111111111111:service/hello", "arn:aws:ecs:eu-west-1:1:cluster/web", "x"] {
            assert_eq!(NamedService::parse(other), None, "{other}");
        }
    }
}
