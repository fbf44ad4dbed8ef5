//! What is found beside what is listed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Config;
use crate::domain::discovery::{Discovered, Doubt};
use crate::domain::state::State;
use crate::domain::test_support::{at, repository_key, service_key};
use crate::domain::types::RepositoryName;

const FILE: &str = "[deploy]\ntimeout = \"20m\"\n[policy.stable]\ntags = [\"latest\"]\ntimeout = \"5m\"\n[policy.edge]\ntags = [\"edge\"]\n\
    [[discover]]\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n\
    [[repository.service]]\ncluster = \"web\"\nservice = \"listed\"\n";

fn found(policy: &str, repositories: &[&str]) -> Discovered {
    Discovered {
        tag: "ecs-deployd".to_owned(),
        policy: policy.to_owned(),
        repositories: repositories.iter().map(|name| RepositoryName::parse(name).unwrap()).collect(),
        since: at(5),
        absences: 0,
    }
}

#[test]
fn what_is_found_is_followed_beside_what_is_listed() {
    let config = Arc::new(Config::parse("test", FILE).unwrap());
    let mut state = State::default();
    assert!(Arc::ptr_eq(&config.with_discovered(&state), &config));
    let all = [
        ("new", found("stable", &["hello", "side"])),
        ("listed", found("edge", &["hello"])),
        ("typo", found("stabel", &["hello"])),
        ("foreign", found("stable", &[])),
    ];
    for (name, known) in all {
        state.services.get_or_default(service_key(name)).discovered = Some(known);
    }
    let effective = config.with_discovered(&state);
    let key = service_key("new");
    let rules = effective.rules_of(&key);
    assert_eq!(rules.keys().cloned().collect::<Vec<_>>(), [repository_key("hello"), repository_key("side")]);
    assert!(rules.values().all(|rule| rule.known_since == Some(at(5)) && rule.deploy.timeout.as_secs() == 300));
    assert!(effective.rules_of(&service_key("listed")).values().all(|rule| rule.known_since.is_none()));
    for other in ["typo", "foreign"] {
        assert!(!effective.has_service(&service_key(other)), "{other}");
    }
    assert_eq!(effective.names.find("web/new"), Ok(&key));
    assert_eq!(effective.count_discovered(&key.aws), 1);
    assert!(!config.has_service(&key), "the file itself is as it was");
}

#[test]
fn what_is_wrong_with_a_tag_is_told_with_its_remedy() {
    let config = Config::parse("test", FILE).unwrap();
    let doubt = |name: &str, value: &str, known: Option<&Discovered>| config.doubt_of(&service_key(name), value, known);
    let unknown = doubt("new", "stabel", None).unwrap();
    assert_eq!(unknown, Doubt::UnknownPolicy { named: "stabel".to_owned(), nearest: Some("stable".to_owned()) });
    assert_eq!(unknown.remedy(), "correct the tag's value, or add the policy; the nearest name is stable");
    assert_eq!(doubt("new", "stable", Some(&found("stable", &[]))), Some(Doubt::NoRepository));
    assert_eq!(doubt("new", "stable", Some(&found("stable", &["hello"]))), None);
    let differs = |value: &str| match doubt("listed", value, None) {
        Some(Doubt::ListedOtherwise { differs, .. }) => differs.into_iter().collect(),
        None => BTreeSet::new(),
        Some(other) => panic!("{other:?}"),
    };
    assert_eq!(differs("stable"), BTreeSet::from(["values of [deploy]"]));
    assert_eq!(differs("edge"), BTreeSet::from(["tags"]));
    let same = Config::parse("test", &FILE.replace("timeout = \"5m\"\n", "")).unwrap();
    assert_eq!(same.doubt_of(&service_key("listed"), "stable", None), None);
}
