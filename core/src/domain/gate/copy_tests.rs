use super::*;
use crate::domain::state::{DigestHold, Outcome, OutcomeKind, RollbackTarget, ServiceHold};
use crate::domain::test_support::{arn, at, digest, push_ref, repository_key, service_rule, tags_policy};
use jiff::SignedDuration;

const NOW: i64 = 10_000;

fn target(letter: char, pushed: i64) -> Target {
    Target { digest: digest(letter), push: push_ref("s", "latest", pushed), image_pushed_at: None }
}

/// Staging was rolled to a digest of a repository that was pushed at 100, and was complete at 200.
fn staging(repository: &str, letter: char) -> ServiceState {
    let before = RollbackTarget { revision: arn(1), pinned: BTreeMap::new(), targets: BTreeMap::new() };
    let deployed = Deployed {
        revision: arn(9),
        targets: BTreeMap::from([(repository_key(repository), target(letter, 100))]),
        since: at(200),
        names_tags: false,
        rollback_target: Some(before),
        unproven: None,
        pinned: BTreeMap::new(),
    };
    ServiceState { deployed: Some(deployed), ..ServiceState::default() }
}

/// What production waits for, which takes the images of the repository `copy`.
fn waits(staging: &ServiceState, known: &ServiceState) -> Option<Waiting> {
    let rule = service_rule("prod", tags_policy(&["latest"]));
    let rules = BTreeMap::from([(repository_key("copy"), &rule)]);
    let follower = Follower { name: "web/prod", rules: &rules, known };
    missing(follower, &[Other { name: "web/staging", known: Some(staging), seen: None }], at(NOW))
}

#[test]
fn what_staging_runs_and_nobody_copied_is_waited_for() {
    let waiting = waits(&staging("hello", 'b'), &ServiceState::default()).unwrap();
    assert_eq!((waiting.gate, waiting.since, waiting.until), (Gate::After, at(200), None));
    assert_eq!((waiting.repository.as_str(), waiting.tag.unwrap().as_str()), ("copy", "latest"));
    assert_eq!(waiting.digest, digest('b'));
    let b = digest('b');
    assert_eq!(
        waiting.reason,
        format!(
            "web/staging runs {b}, and no push of it to the repository default/copy was seen: copy it there; if it is there already, \
             bring it with: ecs-deployd deploy web/prod"
        )
    );
}

#[test]
fn nothing_is_waited_for_where_staging_has_nothing_to_copy() {
    let nothing = ServiceState::default();
    assert_eq!(waits(&staging("copy", 'b'), &nothing), None, "the repository is the same");
    assert_eq!(waits(&nothing, &nothing), None, "nothing was deployed to staging");
    let mut back = staging("hello", 'b');
    back.deployed.as_mut().unwrap().rollback_target = None;
    assert_eq!(waits(&back, &nothing), None, "staging went back to it");
    let mut held = staging("hello", 'b');
    held.service_hold = Some(ServiceHold { since: at(300), by: "alice".to_owned(), reason: String::new() });
    assert_eq!(waits(&held, &nothing), None, "staging is held");
}

#[test]
fn a_copy_that_was_seen_is_not_waited_for() {
    let at_staging = staging("hello", 'b');
    let own = |letter, pushed| BTreeMap::from([(repository_key("copy"), target(letter, pushed))]);
    let deployed = |letter| {
        let targets = own(letter, 150);
        Deployed { targets, ..staging("copy", letter).deployed.unwrap() }
    };
    let decided = |at| BTreeMap::from([(repository_key("copy"), push_ref("d", "latest", at))]);
    let hold = DigestHold::new(&target('b', 150), SignedDuration::ZERO, "it fails".to_owned(), at(300));
    let none = ServiceState::default;
    for (why, known, awaited) in [
        ("it runs it", ServiceState { deployed: Some(deployed('b')), ..none() }, false),
        ("it runs another", ServiceState { deployed: Some(deployed('c')), ..none() }, true),
        ("it holds it", ServiceState { held: BTreeMap::from([(repository_key("copy"), hold)]), ..none() }, false),
        ("it decided something older", ServiceState { decided: decided(199), ..none() }, true),
        ("it decided something newer", ServiceState { decided: decided(200), ..none() }, false),
        ("it was known before", ServiceState { known_since: Some(at(100)), ..none() }, true),
        ("it was not known by then", ServiceState { known_since: Some(at(101)), ..none() }, false),
    ] {
        assert_eq!(waits(&at_staging, &known).is_some(), awaited, "{why}");
    }
}

#[test]
fn of_several_repositories_the_one_of_the_same_name_takes_the_copy() {
    let at_staging = staging("hello", 'b');
    let rule = service_rule("prod", tags_policy(&["release-*"]));
    let key = |text: &str| RepositoryKey::try_from(text.to_owned()).unwrap();
    let known = ServiceState::default();
    let others = [Other { name: "web/staging", known: Some(&at_staging), seen: None }];
    let waits = |names: [&str; 2]| {
        let rules = BTreeMap::from(names.map(|name| (key(name), &rule)));
        missing(Follower { name: "web/prod", rules: &rules, known: &known }, &others, at(NOW))
    };
    let waiting = waits(["production/hello", "production/side"]).unwrap();
    assert_eq!((waiting.repository.as_str(), waiting.tag), ("hello", None), "the tag is none that the policy admits");
    assert_eq!(waits(["production/other", "production/side"]), None);
}

#[test]
fn a_digest_pushed_again_to_staging_is_waited_for_again() {
    let outcome = |pushed| {
        let outcome = Outcome {
            result: OutcomeKind::Completed,
            revision: Some(arn(3)),
            targets: BTreeMap::from([(repository_key("copy"), target('b', pushed))]),
            decided_at: at(pushed),
            ended_at: at(pushed),
            detail: String::new(),
        };
        ServiceState { history: [outcome].into(), ..ServiceState::default() }
    };
    assert!(waits(&staging("hello", 'b'), &outcome(50)).is_some(), "it ran it before that push");
    assert!(waits(&staging("hello", 'b'), &outcome(150)).is_none(), "it ran it since");
}
