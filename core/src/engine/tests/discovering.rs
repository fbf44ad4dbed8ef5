//! Services that are found by their tag: what follows from a look.

use std::collections::{BTreeMap, BTreeSet};

use super::{NOTHING_FOLLOWS, Scene, running};
use crate::domain::discovery::Look;
use crate::domain::test_support::{digest, image, image_name, repository_key, service_key};
use crate::domain::types::{ContextName, RepositoryName};
use crate::engine::Input;

const DISCOVERS: &str = "[policy.stable]\ntags = [\"latest\"]\n[[discover]]\n";

fn look(tagged: &[(&str, &str)], described: &[&str]) -> Input {
    let hello = BTreeSet::from([RepositoryName::parse("hello").unwrap()]);
    Input::Looked(Box::new(Look {
        aws: ContextName::default(),
        tag: "ecs-deployd".to_owned(),
        tagged: tagged.iter().map(|(name, policy)| (service_key(name), (*policy).to_owned())).collect(),
        described: described.iter().map(|name| (service_key(name), hello.clone())).collect(),
    }))
}

/// An account with a service that runs revision 1, and a configuration that lists none.
fn scene() -> Scene {
    let mut scene = Scene::of(DISCOVERS);
    scene.services = BTreeMap::from([(service_key("hello"), running(1))]);
    scene.revisions =
        BTreeMap::from([(1, vec![("app".to_owned(), format!("{}@{}", image_name("hello"), digest('a')))])]);
    scene.images = BTreeMap::from([(repository_key("hello"), vec![image('a', &["latest"])])]);
    scene
}

#[test]
fn a_service_is_followed_from_the_look_that_found_it() {
    let mut scene = scene();
    let early = scene.push("latest", 'b');
    assert_eq!(early, ["event: push hello:latest skipped: not_configured"]);
    scene.pass(5);
    let found = scene.handle([look(&[("hello", "stable")], &["hello"])]);
    assert_eq!(found, ["event: web/hello found by stable", "event: 1 found in default", "commit"]);
    scene.committed();
    let again = scene.handle([look(&[("hello", "stable")], &[])]);
    assert_eq!(again, ["event: 1 found in default"], "nothing has changed");
    scene.pass(5);
    let seen = "event: push hello:latest seen, 1 to decide";
    assert_eq!(scene.push("latest", 'c'), [seen, "read: observe web/hello for hello:latest", "commit"]);
    scene.committed();
    let decided = "event: web/hello decided hello:latest@c, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, "event: push to hello settled: deployed", "commit"]);
}

#[test]
fn what_was_pushed_before_the_look_is_before_start() {
    let mut scene = scene();
    let reading = scene.pushed("hello", "latest", 'b');
    scene.pass(5);
    scene.handle([look(&[("hello", "stable")], &["hello"])]);
    scene.committed();
    assert_eq!(scene.page(vec![reading]), ["event: push hello:latest skipped: before_start"]);
}

#[test]
fn a_tag_that_is_gone_counts_after_three_looks() {
    let mut scene = scene();
    scene.handle([look(&[("hello", "stable")], &["hello"])]);
    scene.committed();
    for _ in 0..2 {
        assert_eq!(scene.handle([look(&[], &[])]), ["event: 1 found in default", "commit"]);
        scene.committed();
    }
    let gone = scene.handle([look(&[], &[])]);
    assert_eq!(gone, ["event: web/hello not found any more", "event: 0 found in default", "commit"]);
    scene.all_committed();
    assert!(!scene.engine.rules().has(&service_key("hello")));
}

#[test]
fn a_doubt_is_told_once_and_follows_nothing() {
    let mut scene = scene();
    let doubted = [
        "event: web/hello found by stabel",
        "event: web/hello doubted: unknown_policy",
        "event: 0 found in default",
        "commit",
    ];
    assert_eq!(scene.handle([look(&[("hello", "stabel")], &["hello"])]), doubted);
    scene.committed();
    assert_eq!(scene.handle([look(&[("hello", "stabel")], &[])]), ["event: 0 found in default"]);
    let mended = ["event: web/hello found otherwise by stable", "event: 1 found in default", "commit"];
    assert_eq!(scene.handle([look(&[("hello", "stable")], &["hello"])]), mended);
}

#[test]
fn a_look_of_another_configuration_counts_for_nothing_and_a_reload_forgets_what_nobody_looks_for() {
    let mut scene = scene();
    scene.handle([look(&[("hello", "stable")], &["hello"])]);
    scene.all_committed();
    scene.reload(DISCOVERS);
    scene.all_committed();
    assert!(scene.engine.rules().has(&service_key("hello")), "it is found on");
    scene.reload(super::OTHER);
    scene.all_committed();
    let known = scene.engine.state().services.get(&service_key("hello"));
    assert!(known.is_none(), "nothing else is known of it: {known:?}");
    assert_eq!(scene.handle([look(&[("hello", "stable")], &["hello"])]), NOTHING_FOLLOWS);
}

#[test]
fn what_waits_or_is_being_asked_is_not_asked_again_because_another_service_was_found() {
    let (gated, both) =
        (DISCOVERS.replace("tags = [\"latest\"]", "tags = [\"latest\"]\napproval = \"required\""), ["hello", "other"]);
    for observed in [false, true] {
        let mut scene = Scene { services: BTreeMap::new(), ..Scene::of(&gated) };
        scene.services = both.iter().map(|name| (service_key(name), running(1))).collect();
        scene.revisions = self::scene().revisions;
        scene.images = self::scene().images;
        scene.pass(5);
        scene.handle([look(&[("hello", "stable")], &["hello"])]);
        scene.all_committed();
        scene.pass(5);
        scene.push("latest", 'c');
        if observed {
            scene.observed("hello");
        }
        scene.all_committed();
        scene.handle([look(&[("hello", "stable"), ("other", "stable")], &["other"])]);
        assert_eq!(scene.all_committed(), NOTHING_FOLLOWS);
        if !observed {
            let decided = scene.observed("hello");
            assert!(decided.iter().any(|line| line.starts_with("event: web/hello waits")), "{decided:?}");
        }
        assert_eq!(scene.all_committed().iter().filter(|line| line.starts_with("read")).count(), 0);
    }
}
