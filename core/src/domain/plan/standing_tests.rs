use std::collections::BTreeMap;

use super::super::tests::*;
use super::*;
use crate::domain::plan::RepositorySnapshot;
use crate::domain::policy::{Order, PatternPolicy, Policy};
use crate::domain::settings::ServiceRule;
use crate::domain::state::{Deployed, DigestHold, Outcome, OutcomeKind, PushRef, RollbackTarget};
use crate::domain::test_support::*;

fn by_pattern(pattern: &str) -> ServiceRule {
    let policy: std::sync::Arc<dyn Policy> = std::sync::Arc::new(PatternPolicy::new(pattern, Order::Numeric).unwrap());
    service_rule("a", policy)
}

fn releases() -> ServiceRule {
    service_rule("a", tags_policy(&["release-*"]))
}

fn pushed(letter: char, second: i64, tags: &[&str]) -> ImageView {
    ImageView { pushed_at: Some(at(second)), ..image(letter, tags) }
}

/// ECR holds `best` as the best image; of what runs it knows `running`.
fn seen(current: TaskDefinition, best: &ImageView, running: &[ImageView]) -> ServiceSnapshot {
    let mut snapshot = snapshot(current, REPOSITORY, std::slice::from_ref(best));
    let key = repository_key(REPOSITORY);
    let by_tag = best.tags.iter().map(|tag| (tag.clone(), best.clone())).collect();
    let answers = RepositorySnapshot { by_tag, best: Some((best.tags[0].clone(), best.clone())), no_repository: false };
    snapshot.images.insert(key.clone(), answers);
    snapshot.running_in_ecr.insert(key, running.to_vec());
    snapshot
}

fn target(letter: char, tag: &str, second: i64) -> Target {
    Target { digest: digest(letter), push: push_ref("e", tag, second), image_pushed_at: Some(at(second)) }
}

fn targets(target: &Target) -> BTreeMap<crate::domain::settings::RepositoryKey, Target> {
    BTreeMap::from([(repository_key(REPOSITORY), target.clone())])
}

/// The records that tell what is known of a digest.
fn records(target: &Target) -> [ServiceState; 3] {
    let deployed = Deployed {
        revision: arn(1),
        targets: targets(target),
        since: at(9),
        names_tags: false,
        rollback_target: None,
        unproven: None,
        pinned: BTreeMap::new(),
    };
    let before = RollbackTarget { revision: arn(1), pinned: BTreeMap::new(), targets: targets(target) };
    let gone_back =
        Deployed { revision: arn(9), targets: BTreeMap::new(), rollback_target: Some(before), ..deployed.clone() };
    let mut in_history = ServiceState::default();
    in_history.remember(Outcome {
        result: OutcomeKind::Completed,
        revision: Some(arn(1)),
        targets: targets(target),
        decided_at: at(8),
        ended_at: at(9),
        detail: String::new(),
    });
    [
        ServiceState { deployed: Some(deployed), ..ServiceState::default() },
        ServiceState { deployed: Some(gone_back), ..ServiceState::default() },
        in_history,
    ]
}

fn compared(rule: &ServiceRule, state: &ServiceState, snapshot: &ServiceSnapshot) -> Result<Digest, SkipReason> {
    let state = ServiceState { pending: with_pending(&[PushRef::reconciliation(at(90))]).pending, ..state.clone() };
    let plan = decide(rule, &state, snapshot);
    match &plan.roll {
        Some(roll) => Ok(roll.rollout.targets[&repository_key(REPOSITORY)].digest.clone()),
        None => Err(plan.skips[0].reason),
    }
}

fn named(tag: &str) -> TaskDefinition {
    definition(1, &[("app", &format!("{}:{tag}", image_name(REPOSITORY)))])
}

/// The rule, the tag of what runs and of what is left in ECR, and the reason for staying.
fn cases() -> [(ServiceRule, &'static str, &'static str, SkipReason); 3] {
    [
        (versions(), "1.5.0", "1.4.0", SkipReason::LowerVersion),
        (by_pattern("^main-(?<key>[0-9]+)$"), "main-8", "main-7", SkipReason::LowerVersion),
        (releases(), "release-2", "release-1", SkipReason::Superseded),
    ]
}

#[test]
fn what_ecr_has_lost_counts_by_the_record_of_the_service() {
    for (rule, runs, left, reason) in cases() {
        let snapshot = seen(by_digest('b'), &pushed('a', 10, &[left]), &[]);
        for state in records(&target('b', runs, 20)) {
            assert_eq!(compared(&rule, &state, &snapshot), Err(reason), "{runs} -> {left}: {state:#?}");
        }
        // What is higher is deployed as always.
        for state in records(&target('b', left, 5)) {
            let snapshot = seen(by_digest('b'), &pushed('c', 30, &[runs]), &[]);
            assert_eq!(compared(&rule, &state, &snapshot), Ok(digest('c')), "{left} -> {runs}");
        }
    }
}

#[test]
fn what_lost_its_tag_counts_by_what_ecr_still_says_of_the_digest() {
    let left = pushed('a', 10, &["1.4.0"]);
    for (tags, expected) in [
        (&["1.5.0", "stable"][..], Err(SkipReason::LowerVersion)),
        (&["1.3.0", "stable"], Ok(digest('a'))),
        // Its version is not known any more.
        (&["stable"], Err(SkipReason::LowerVersion)),
        (&[], Err(SkipReason::LowerVersion)),
    ] {
        let snapshot = seen(by_digest('b'), &left, &[pushed('b', 20, tags)]);
        assert_eq!(compared(&versions(), &ServiceState::default(), &snapshot), expected, "{tags:?}");
    }
    for (second, expected) in [(20, Err(SkipReason::Superseded)), (5, Ok(digest('a')))] {
        let snapshot = seen(by_digest('b'), &pushed('a', 10, &["release-1"]), &[pushed('b', second, &[])]);
        assert_eq!(compared(&releases(), &ServiceState::default(), &snapshot), expected, "pushed at {second}");
    }
}

#[test]
fn the_tag_in_the_task_definition_tells_where_no_task_does() {
    let state = ServiceState::default();
    for (rule, runs, left, reason) in cases() {
        let in_ecr = [pushed('b', 20, &[runs])];
        let snapshot = seen(named(runs), &pushed('a', 10, &[left]), &in_ecr);
        assert_eq!(compared(&rule, &state, &snapshot), Err(reason), "{runs} -> {left}");
        let snapshot = seen(named(left), &pushed('c', 30, &[runs]), &[pushed('a', 10, &[left])]);
        assert_eq!(compared(&rule, &state, &snapshot), Ok(digest('c')), "{left} -> {runs}");
    }
    // Tasks tell another digest for it, of which nothing else is known: a version stands by its text.
    let mut snapshot = seen(named("1.5.0"), &pushed('a', 10, &["1.4.0"]), &[]);
    snapshot.running = runs("app", 'd');
    assert_eq!(compared(&versions(), &state, &snapshot), Err(SkipReason::LowerVersion));
}

#[test]
fn nothing_is_deployed_where_it_is_not_known_what_runs() {
    let state = ServiceState::default();
    for (rule, runs, left, reason) in cases() {
        for current in [by_digest('b'), named("latest")] {
            for brings in [left, runs] {
                let snapshot = seen(current.clone(), &pushed('a', 10, &[brings]), &[]);
                assert_eq!(compared(&rule, &state, &snapshot), Err(reason), "{brings}");
            }
        }
    }
    let snapshot = seen(by_digest('b'), &pushed('a', 10, &["1.4.0"]), &[]);
    let pending = with_pending(&[PushRef::reconciliation(at(90))]);
    let detail = decide(&versions(), &pending, &snapshot).skips[0].detail.clone();
    assert!(detail.contains("neither ECR nor the state tells which version hello:1 runs"), "{detail}");
    assert!(detail.contains("`ecs-deployd deploy`"), "{detail}");
}

#[test]
fn an_image_that_was_pushed_after_the_deployment_is_newer_than_what_that_brought() {
    for (since, expected) in [(at(5), Ok(digest('a'))), (at(15), Err(SkipReason::Superseded))] {
        let mut snapshot = seen(by_digest('b'), &pushed('a', 10, &["release-2"]), &[]);
        snapshot.service.as_mut().unwrap().deployments[0].since = Some(since);
        assert_eq!(compared(&releases(), &ServiceState::default(), &snapshot), expected);
        // It says nothing about a tag, which may be resolved later, nor about versions.
        snapshot.current = Some(named("latest"));
        assert!(compared(&releases(), &ServiceState::default(), &snapshot).is_err());
        let mut snapshot = seen(by_digest('b'), &pushed('a', 10, &["1.4.0"]), &[]);
        snapshot.service.as_mut().unwrap().deployments[0].since = Some(since);
        assert!(compared(&versions(), &ServiceState::default(), &snapshot).is_err());
    }
}

#[test]
fn of_equal_versions_the_newer_image_counts_unless_the_tag_itself_was_moved() {
    let state = |tag| records(&target('b', tag, 20))[0].clone();
    for (tag, second, expected) in
        [("v1.5.0", 10, Err(SkipReason::Superseded)), ("v1.5.0", 30, Ok(digest('a'))), ("1.5.0", 10, Ok(digest('a')))]
    {
        let snapshot = seen(by_digest('b'), &pushed('a', second, &["1.5.0"]), &[]);
        assert_eq!(compared(&versions(), &state(tag), &snapshot), expected, "{tag} at {second}");
    }
}

/// What becomes of a push of this tag, which ECR holds as the best one.
fn pushed_then(
    rule: &ServiceRule,
    state: &ServiceState,
    tag: &str,
    current: TaskDefinition,
) -> Result<Digest, SkipReason> {
    let snapshot = seen(current, &pushed('a', 30, &[tag]), &[]);
    let state = ServiceState { pending: with_pending(&[push_ref("p", tag, 30)]).pending, ..state.clone() };
    let plan = decide(rule, &state, &snapshot);
    match &plan.roll {
        Some(roll) => Ok(roll.rollout.targets[&repository_key(REPOSITORY)].digest.clone()),
        None => Err(plan.skips[0].reason),
    }
}

#[test]
fn a_push_of_a_lower_version_stays_one_when_ecr_has_lost_what_runs() {
    for (rule, runs, left, reason) in cases() {
        // Where the time of the push decides, a newer one is followed.
        let expected = if reason == SkipReason::LowerVersion { Err(reason) } else { Ok(digest('a')) };
        for state in records(&target('b', runs, 20)) {
            assert_eq!(pushed_then(&rule, &state, left, by_digest('b')), expected, "{runs} -> {left}: {state:#?}");
        }
        let nothing = ServiceState::default();
        assert_eq!(pushed_then(&rule, &nothing, left, named(runs)), expected, "{runs} in the task definition");
        // A higher one is followed, and so is one where it is not known which version runs: somebody wants it.
        assert_eq!(pushed_then(&rule, &records(&target('b', left, 5))[0], runs, by_digest('b')), Ok(digest('a')));
        assert_eq!(pushed_then(&rule, &nothing, left, by_digest('b')), Ok(digest('a')), "nothing is known of it");
    }
}

#[test]
fn what_has_failed_stands_in_the_way_of_no_push() {
    let bad = target('b', "1.5.0", 20);
    let hold = DigestHold::new(&bad, jiff::SignedDuration::ZERO, "it failed".to_owned(), at(25));
    let held = BTreeMap::from([(repository_key(REPOSITORY), hold)]);
    let state = ServiceState { held, ..records(&bad)[0].clone() };
    assert_eq!(pushed_then(&versions(), &state, "1.4.9", by_digest('b')), Ok(digest('a')));
}

#[test]
fn a_push_is_compared_with_what_the_service_is_set_to_and_not_with_what_drains() {
    let mut snapshot = seen(named("stable"), &pushed('a', 30, &["1.4.9"]), &[]);
    snapshot.running.add(Some(arn(9)), "app", digest('b'));
    let state = ServiceState {
        pending: with_pending(&[push_ref("p", "1.4.9", 30)]).pending,
        ..records(&target('b', "1.5.0", 20))[2].clone()
    };
    assert!(decide(&versions(), &state, &snapshot).roll.is_some());
}

#[test]
fn who_asks_may_go_down_and_a_placeholder_stands_nowhere() {
    for (rule, runs, left, _) in cases() {
        let state = records(&target('b', runs, 20))[0].clone();
        let snapshot = seen(by_digest('b'), &pushed('a', 10, &[left]), &[]);
        let ordered = ServiceState { pending: with_pending(&[PushRef::commanded(at(90))]).pending, ..state };
        assert!(decide(&rule, &ordered, &snapshot).roll.is_some(), "{runs} -> {left}");
        let placeholder = definition(1, &[("app", "nginx:1.27")]);
        let rule = ServiceRule { container: Some("app".to_owned()), ..rule };
        let snapshot = seen(placeholder, &pushed('a', 10, &[left]), &[]);
        assert_eq!(compared(&rule, &ServiceState::default(), &snapshot), Ok(digest('a')), "{left}");
    }
    // A single tag says what is wanted.
    let latest = service_rule("a", tags_policy(&["latest"]));
    let snapshot = seen(by_digest('b'), &pushed('a', 10, &["latest"]), &[pushed('b', 20, &[])]);
    assert_eq!(compared(&latest, &ServiceState::default(), &snapshot), Ok(digest('a')));
}

#[test]
fn an_image_that_was_pushed_again_is_the_newer_one_although_ecr_has_its_first_time() {
    let again = Target { push: push_ref("e", "release-1", 40), ..target('b', "release-1", 5) };
    let snapshot = seen(by_digest('b'), &pushed('a', 10, &["release-2"]), &[pushed('b', 5, &["release-1"])]);
    for state in records(&again) {
        assert_eq!(compared(&releases(), &state, &snapshot), Err(SkipReason::Superseded));
    }
}
