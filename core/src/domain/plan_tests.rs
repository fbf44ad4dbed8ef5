use super::*;
use crate::domain::policy::VersionPolicy;
use crate::domain::settings::PinMode;
use crate::domain::state::{Deployed, DigestHold};
use crate::domain::test_support::*;
use crate::domain::view::Controller;

pub(super) const REPOSITORY: &str = "hello";

pub(super) fn rule() -> ServiceRule {
    service_rule("a", tags_policy(&["latest", "release-*"]))
}

pub(super) fn with_pending(pushes: &[PushRef]) -> ServiceState {
    let mut state = ServiceState::default();
    for push in pushes {
        state.add_pending(&repository_key(REPOSITORY), push.clone());
    }
    state
}

pub(super) fn by_tag() -> TaskDefinition {
    definition(1, &[("app", &format!("{}:latest", image_name(REPOSITORY))), ("sidecar", "envoy:1")])
}

pub(super) fn by_digest(c: char) -> TaskDefinition {
    definition(1, &[("app", &format!("{}@{}", image_name(REPOSITORY), digest(c))), ("sidecar", "envoy:1")])
}

pub(super) fn decide(rule: &ServiceRule, state: &ServiceState, snapshot: &ServiceSnapshot) -> Plan {
    let rules = BTreeMap::from([(repository_key(REPOSITORY), rule)]);
    plan(&rules, state, snapshot, at(100))
}

pub(super) fn held_since(second: i64) -> DigestHold {
    let target = Target { digest: digest('b'), push: push_ref("held", "latest", 1), image_pushed_at: None };
    DigestHold::new(&target, jiff::SignedDuration::ZERO, "it failed".to_owned(), at(second))
}

pub(super) fn reasons(plan: &Plan) -> Vec<(&str, SkipReason)> {
    plan.skips.iter().map(|skip| (skip.push.event.as_str(), skip.reason)).collect()
}

pub(super) fn runs(container: &str, c: char) -> RunningImages {
    let mut running = RunningImages::default();
    running.add(Some(arn(1)), container, digest(c));
    running
}

/// A repository that was gone through: the best of it, and pushed tags that are there.
pub(super) fn listed(best: (char, &str), others: &[(char, &str)]) -> RepositorySnapshot {
    let by_tag = others.iter().chain([&best]).map(|(letter, name)| (tag(name), image(*letter, &[name]))).collect();
    RepositorySnapshot { by_tag, best: Some((tag(best.1), image(best.0, &[best.1]))), no_repository: false }
}

pub(super) fn versions() -> ServiceRule {
    ServiceRule { policy: std::sync::Arc::new(VersionPolicy::new(">=1").unwrap()), ..rule() }
}

#[test]
fn a_push_is_rolled_and_only_the_matching_container_changes() {
    let plan = decide(
        &rule(),
        &with_pending(&[push_ref("e1", "latest", 5)]),
        &snapshot(by_digest('a'), REPOSITORY, &[image('b', &["latest"])]),
    );
    let rollout = plan.roll.unwrap().rollout;
    assert_eq!(
        rollout.images,
        BTreeMap::from([("app".to_owned(), format!("{}@{}", image_name(REPOSITORY), digest('b')))])
    );
    assert_eq!((rollout.replaces.clone(), rollout.base), (arn(1), arn(1)));
    assert_eq!(
        rollout.rollback_target,
        RollbackTarget { revision: arn(1), pinned: BTreeMap::new(), targets: BTreeMap::new() }
    );
    assert_eq!(rollout.phase, Phase::Intended);
    assert!(plan.skips.is_empty());
}

#[test]
fn the_newest_push_that_ecr_still_knows_wins() {
    let state = with_pending(&[
        push_ref("old", "release-1", 1),
        push_ref("mid", "release-2", 2),
        push_ref("new", "release-3", 3),
    ]);
    let snapshot = snapshot(by_digest('a'), REPOSITORY, &[image('b', &["release-1"]), image('c', &["release-2"])]);
    let plan = decide(&rule(), &state, &snapshot);
    assert_eq!(reasons(&plan), [("new", SkipReason::TagGone), ("old", SkipReason::Superseded)]);
    assert_eq!(plan.roll.unwrap().rollout.targets[&repository_key(REPOSITORY)].digest, digest('c'));
}

#[test]
fn what_the_tag_points_to_now_is_deployed_not_what_was_pushed() {
    // The event may have named another digest: the plan does not see it.
    let snapshot = snapshot(by_digest('a'), REPOSITORY, &[image('d', &["latest"])]);
    let plan = decide(&rule(), &with_pending(&[push_ref("e1", "latest", 5)]), &snapshot);
    assert_eq!(plan.roll.unwrap().rollout.targets[&repository_key(REPOSITORY)].digest, digest('d'));
}

#[test]
fn a_running_digest_is_already_deployed_however_it_is_known() {
    let state = with_pending(&[push_ref("e1", "latest", 5)]);
    let latest = [image('b', &["latest"])];
    let pinned = snapshot(by_digest('b'), REPOSITORY, &latest);
    let tasks = ServiceSnapshot { running: runs("app", 'b'), ..snapshot(by_tag(), REPOSITORY, &latest) };
    for snapshot in [&pinned, &tasks] {
        assert_eq!(reasons(&decide(&rule(), &state, snapshot)), [("e1", SkipReason::AlreadyDeployed)]);
    }
    // Deployed by tag by this program: the state store knows the digest.
    let target = Target { digest: digest('b'), push: push_ref("e0", "latest", 1), image_pushed_at: None };
    let known = ServiceState {
        deployed: Some(Deployed {
            unproven: None,
            revision: arn(1),
            targets: BTreeMap::from([(repository_key(REPOSITORY), target)]),
            since: at(1),
            names_tags: false,
            rollback_target: None,
            pinned: BTreeMap::new(),
        }),
        ..state.clone()
    };
    assert_eq!(
        reasons(&decide(&rule(), &known, &snapshot(by_tag(), REPOSITORY, &latest))),
        [("e1", SkipReason::AlreadyDeployed)]
    );
    // By tag, and nobody knows which digest runs: it is rolled.
    assert!(decide(&rule(), &state, &snapshot(by_tag(), REPOSITORY, &latest)).roll.is_some());
    // Two digests run: not the one.
    let mut mixed = tasks;
    mixed.running.add(Some(arn(1)), "app", digest('c'));
    assert!(decide(&rule(), &state, &mixed).roll.is_some());
}

#[test]
fn a_then_b_then_a_again_is_deployed_again() {
    let target = Target { digest: digest('a'), push: push_ref("e0", "latest", 1), image_pushed_at: None };
    let state = ServiceState {
        deployed: Some(Deployed {
            unproven: None,
            revision: arn(9),
            targets: BTreeMap::from([(repository_key(REPOSITORY), target)]),
            since: at(1),
            names_tags: false,
            rollback_target: None,
            pinned: BTreeMap::new(),
        }),
        ..with_pending(&[push_ref("e2", "latest", 9)])
    };
    assert!(decide(&rule(), &state, &snapshot(by_digest('b'), REPOSITORY, &[image('a', &["latest"])])).roll.is_some());
}

#[test]
fn a_held_digest_waits_for_a_newer_push() {
    let mut state = with_pending(&[push_ref("e1", "latest", 5)]);
    state.held.insert(repository_key(REPOSITORY), held_since(5));
    let snapshot = snapshot(by_digest('a'), REPOSITORY, &[image('b', &["latest"])]);
    assert_eq!(reasons(&decide(&rule(), &state, &snapshot)), [("e1", SkipReason::Held)]);
    let held = state.held;
    let newer = ServiceState { held, ..with_pending(&[push_ref("e2", "latest", 6)]) };
    assert!(decide(&rule(), &newer, &snapshot).roll.is_some(), "pushed again after the failure");
}

#[test]
fn a_lower_version_does_not_end_the_hold_of_a_higher_one() {
    let versions = versions();
    let mut state = with_pending(&[push_ref("e1", "1.1.9", 50)]);
    state.held.insert(repository_key(REPOSITORY), held_since(5));
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &[]);
    snapshot.images.insert(repository_key(REPOSITORY), listed(('b', "1.2.0"), &[('c', "1.1.9")]));
    let plan = decide(&versions, &state, &snapshot);
    assert!(plan.roll.is_none());
    assert_eq!(reasons(&plan), [("e1", SkipReason::LowerVersion)]);
}

#[test]
fn a_push_that_is_no_image_does_not_stand_in_the_way_of_an_older_one() {
    let state = with_pending(&[push_ref("new", "release-2", 2), push_ref("old", "release-1", 1)]);
    let mut chart = image('c', &["release-2"]);
    chart.artifact_type = Some("application/vnd.cncf.helm.config.v1+json".to_owned());
    let plan = decide(&rule(), &state, &snapshot(by_digest('a'), REPOSITORY, &[chart, image('b', &["release-1"])]));
    assert_eq!(reasons(&plan), [("new", SkipReason::NotAnImage)]);
    assert_eq!(plan.roll.unwrap().rollout.targets[&repository_key(REPOSITORY)].digest, digest('b'));
}

#[test]
fn a_tag_that_the_policy_does_not_admit_any_more_is_not_deployed() {
    let state = with_pending(&[push_ref("e1", "dev-1", 5)]);
    let plan = decide(&rule(), &state, &snapshot(by_digest('a'), REPOSITORY, &[image('b', &["dev-1"])]));
    assert_eq!(reasons(&plan), [("e1", SkipReason::TagMismatch)]);
}

#[test]
fn a_service_that_ecs_cannot_roll_is_refused_with_its_reason() {
    let unrollable = ServiceSnapshot {
        service: None,
        current: None,
        base: None,
        unrollable: Some("the controller is EXTERNAL".to_owned()),
        ..snapshot(by_tag(), REPOSITORY, &[image('b', &["latest"])])
    };
    let plan = decide(&rule(), &with_pending(&[push_ref("e1", "latest", 5)]), &unrollable);
    assert_eq!(reasons(&plan), [("e1", SkipReason::Downtime)]);
    assert_eq!(plan.refused.unwrap(), "the controller is EXTERNAL");
}

#[test]
fn what_is_missing_is_said() {
    let state = with_pending(&[push_ref("e1", "latest", 5)]);
    let latest = [image('b', &["latest"])];
    let gone = ServiceSnapshot { service: None, current: None, base: None, ..snapshot(by_tag(), REPOSITORY, &latest) };
    assert_eq!(reasons(&decide(&rule(), &state, &gone)), [("e1", SkipReason::ServiceMissing)]);
    let other = snapshot(definition(1, &[("app", "nginx:1")]), REPOSITORY, &latest);
    assert_eq!(reasons(&decide(&rule(), &state, &other)), [("e1", SkipReason::NoContainer)]);
    let no_tag = snapshot(by_tag(), REPOSITORY, &[]);
    assert_eq!(reasons(&decide(&rule(), &state, &no_tag)), [("e1", SkipReason::TagGone)]);
    let unconfigured = plan(&BTreeMap::new(), &state, &no_tag, at(100));
    assert_eq!(reasons(&unconfigured), [("e1", SkipReason::NotConfigured)]);
    let mut signature = image('b', &["latest"]);
    signature.artifact_type = Some("application/vnd.cncf.helm.config.v1+json".to_owned());
    assert_eq!(
        reasons(&decide(&rule(), &state, &snapshot(by_tag(), REPOSITORY, &[signature]))),
        [("e1", SkipReason::NotAnImage)]
    );
}

#[test]
fn a_named_container_gets_the_image_whatever_it_ran() {
    let named = ServiceRule { container: Some("sidecar".to_owned()), ..rule() };
    let snapshot = snapshot(by_digest('b'), REPOSITORY, &[image('b', &["latest"])]);
    let plan = decide(&named, &with_pending(&[push_ref("e1", "latest", 5)]), &snapshot);
    assert_eq!(
        plan.roll.unwrap().rollout.images,
        BTreeMap::from([("sidecar".to_owned(), format!("{}@{}", image_name(REPOSITORY), digest('b')))])
    );
}

#[test]
fn the_rollback_target_is_pinned_wherever_a_tag_may_move() {
    let state = with_pending(&[push_ref("e1", "latest", 5)]);
    let side = format!("{}:stable", image_name("side"));
    let current =
        definition(1, &[("app", &format!("{}:latest", image_name(REPOSITORY))), ("side", &side), ("envoy", "envoy:1")]);
    let plan_of = |running: RunningImages| {
        let snapshot = ServiceSnapshot { running, ..snapshot(current.clone(), REPOSITORY, &[image('b', &["latest"])]) };
        decide(&rule(), &state, &snapshot)
    };
    let mut running = runs("app", 'a');
    running.add(Some(arn(1)), "side", digest('e'));
    running.add(Some(arn(1)), "envoy", digest('f'));
    let pinned = BTreeMap::from([
        ("app".to_owned(), format!("{}@{}", image_name(REPOSITORY), digest('a'))),
        ("side".to_owned(), format!("{}@{}", image_name("side"), digest('e'))),
    ]);
    let plan = plan_of(running.clone());
    assert_eq!(plan.roll.unwrap().rollout.rollback_target.pinned, pinned, "a tag outside ECR is not ours to pin");
    assert!(plan.warnings.is_empty());

    // One task was replaced since the push: it runs the new image by the old revision.
    running.add(Some(arn(1)), "app", digest('b'));
    assert_eq!(plan_of(running).roll.unwrap().rollout.rollback_target.pinned, pinned);

    let unknown = plan_of(RunningImages::default());
    assert_eq!(unknown.warnings.len(), 2, "{:?}", unknown.warnings);
    assert!(unknown.roll.unwrap().rollout.rollback_target.pinned.is_empty());
}

#[test]
fn the_rollback_target_is_the_last_deployment_that_completed() {
    let good = definition(1, &[("app", &format!("{}:latest", image_name(REPOSITORY)))]);
    let theirs = definition(2, &[("app", &format!("{}:latest", image_name(REPOSITORY))), ("new", "theirs:1")]);
    let mut running = runs("app", 'a');
    // A task of theirs runs what the tag meant later.
    running.add(Some(arn(2)), "app", digest('c'));
    let target = Target { digest: digest('a'), push: push_ref("e0", "latest", 1), image_pushed_at: None };
    let targets = BTreeMap::from([(repository_key(REPOSITORY), target)]);
    let deployed = Deployed {
        revision: arn(1),
        targets: targets.clone(),
        since: at(1),
        names_tags: true,
        rollback_target: None,
        unproven: None,
        pinned: std::collections::BTreeMap::new(),
    };
    let state = ServiceState { deployed: Some(deployed), ..with_pending(&[push_ref("e1", "latest", 5)]) };
    let snapshot =
        ServiceSnapshot { completed: Some(good), running, ..snapshot(theirs, REPOSITORY, &[image('b', &["latest"])]) };
    let plan = decide(&rule(), &state, &snapshot);
    let rollout = plan.roll.unwrap().rollout;
    assert_eq!((rollout.replaces, rollout.base), (arn(2), arn(2)), "made from what the service is set to");
    let pinned = BTreeMap::from([("app".to_owned(), format!("{}@{}", image_name(REPOSITORY), digest('a')))]);
    assert_eq!(rollout.rollback_target, RollbackTarget { revision: arn(1), pinned, targets });
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn a_revision_that_names_tags_is_known_to() {
    let state = with_pending(&[push_ref("e1", "latest", 5)]);
    let names_tags = |current: TaskDefinition| {
        decide(&rule(), &state, &snapshot(current, REPOSITORY, &[image('b', &["latest"])]))
            .roll
            .unwrap()
            .rollout
            .names_tags
    };
    assert!(!names_tags(by_tag()), "the new revision pins it");
    let side = format!("{}:stable", image_name("side"));
    assert!(names_tags(definition(1, &[("app", &format!("{}:latest", image_name(REPOSITORY))), ("side", &side)])));
}

#[test]
fn a_newer_push_supersedes_and_keeps_the_rollback_target() {
    let phase = Phase::Rolling {
        revision: arn(2),
        deployment: crate::domain::types::DeploymentId::parse("d").unwrap(),
        since: at(3),
        progressed_at: None,
        monitored: None,
    };
    let under_way = rollout(phase);
    let state = ServiceState { rollout: Some(under_way), ..with_pending(&[push_ref("e2", "latest", 9)]) };
    let current = definition(2, &[("app", &format!("{}@{}", image_name(REPOSITORY), digest('b')))]);
    let plan = decide(&rule(), &state, &snapshot(current.clone(), REPOSITORY, &[image('c', &["latest"])]));
    let rollout = plan.roll.unwrap().rollout;
    assert_eq!((rollout.replaces, rollout.rollback_target.revision), (arn(2), arn(1)));
    // The same digest again is no new rollout.
    let same = decide(&rule(), &state, &snapshot(current, REPOSITORY, &[image('b', &["latest"])]));
    assert_eq!(reasons(&same), [("e2", SkipReason::AlreadyDeployed)]);
}

#[test]
fn two_repositories_make_one_revision() {
    let side = service_rule("a", tags_policy(&["latest"]));
    let app = rule();
    let rules = BTreeMap::from([(repository_key(REPOSITORY), &app), (repository_key("side"), &side)]);
    let mut state = with_pending(&[push_ref("e1", "latest", 5)]);
    state.add_pending(&repository_key("side"), push_ref("e2", "latest", 6));
    let current = definition(
        1,
        &[
            ("app", &format!("{}@{}", image_name(REPOSITORY), digest('a'))),
            ("side", &format!("{}@{}", image_name("side"), digest('a'))),
        ],
    );
    let mut snapshot = snapshot(current, REPOSITORY, &[image('b', &["latest"])]);
    snapshot.images.insert(repository_key("side"), answers(&[image('c', &["latest"])]));
    let roll = plan(&rules, &state, &snapshot, at(100)).roll.unwrap();
    assert_eq!(roll.rollout.images.len(), 2);
    assert_eq!(roll.rollout.targets.len(), 2);
}

#[test]
fn downtime_is_refused_warned_of_or_allowed() {
    let state = with_pending(&[push_ref("e1", "latest", 5)]);
    let mut snapshot = snapshot(by_digest('a'), REPOSITORY, &[image('b', &["latest"])]);
    if let Some(service) = &mut snapshot.service {
        (service.desired, service.minimum_healthy_percent, service.maximum_percent) = (1, Some(0), Some(100));
    }
    let refused = decide(&rule(), &state, &snapshot);
    assert_eq!(reasons(&refused), [("e1", SkipReason::Downtime)]);
    assert!(refused.roll.is_none() && refused.refused.unwrap().contains("minimumHealthyPercent 0"));
    for (mode, warnings) in [(DowntimeMode::Warn, 1), (DowntimeMode::Allow, 0)] {
        let mut rule = rule();
        rule.deploy.downtime = mode;
        let plan = decide(&rule, &state, &snapshot);
        assert!(plan.roll.is_some());
        assert_eq!(plan.warnings.len(), warnings);
    }
    if let Some(service) = &mut snapshot.service {
        service.controller = Controller::Other("CODE_DEPLOY".to_owned());
    }
    let mut allow = rule();
    allow.deploy.downtime = DowntimeMode::Allow;
    assert!(decide(&allow, &state, &snapshot).refused.unwrap().contains("CODE_DEPLOY"), "not a matter of downtime");
}

#[test]
fn pin_tag_names_the_tag() {
    let mut by_tags = rule();
    by_tags.deploy.pin = PinMode::Tag;
    let snapshot = snapshot(by_digest('a'), REPOSITORY, &[image('b', &["latest"])]);
    let plan = decide(&by_tags, &with_pending(&[push_ref("e1", "latest", 5)]), &snapshot);
    assert_eq!(plan.roll.unwrap().rollout.images["app"], format!("{}:latest", image_name(REPOSITORY)));
}

#[test]
fn the_latest_revision_is_no_base_if_it_was_made_here_and_undone() {
    let latest = |revision, letter| {
        definition(revision, &[("app", &format!("{}@{}", image_name(REPOSITORY), digest(letter))), ("sidecar", "x:2")])
    };
    let of = |base: TaskDefinition| ServiceSnapshot {
        base: Some(base),
        ..snapshot(by_digest('a'), REPOSITORY, &[image('c', &["latest"])])
    };
    let mut rule = rule();
    rule.deploy.base = super::super::settings::Base::Latest;
    let mut state = with_pending(&[push_ref("e1", "latest", 5)]);
    let base = |state: &ServiceState| decide(&rule, state, &of(latest(7, 'b'))).roll.unwrap().rollout.base;
    assert_eq!(base(&state), arn(7), "somebody else's");
    state.remember(crate::domain::state::Outcome {
        result: crate::domain::state::OutcomeKind::Failed,
        revision: Some(arn(7)),
        targets: BTreeMap::new(),
        decided_at: at(1),
        ended_at: at(2),
        detail: String::new(),
    });
    assert_eq!(base(&state), arn(1), "what the service runs");
}

#[test]
fn every_wanted_push_is_answered_for() {
    let pushes: Vec<PushRef> = (0..10).map(|n| push_ref(&format!("e{n}"), &format!("release-{n}"), n)).collect();
    for known in 0..10 {
        let images: Vec<ImageView> = (0..known).map(|n| image('b', &[&format!("release-{n}")])).collect();
        let plan = decide(&rule(), &with_pending(&pushes), &snapshot(by_digest('a'), REPOSITORY, &images));
        assert_eq!(plan.skips.len() + usize::from(plan.roll.is_some()), pushes.len(), "{known}");
    }
}

#[test]
fn there_is_no_rollback_of_a_rollback() {
    let phase = Phase::Rolling {
        revision: arn(2),
        deployment: crate::domain::types::DeploymentId::parse("d").unwrap(),
        since: at(3),
        progressed_at: None,
        monitored: None,
    };
    let mut failed = rollout(phase);
    let back = roll_back(&failed, "x", at(9)).unwrap();
    assert_eq!((back.phase.clone(), back.replaces.clone()), (Phase::Intended, arn(2)));
    assert_eq!(roll_back(&back, "x", at(9)), None);
    failed.rollback_target.pinned = BTreeMap::from([("app".to_owned(), "pinned".to_owned())]);
    let back = roll_back(&failed, "x", at(9)).unwrap();
    assert_eq!((back.phase, back.base, back.images["app"].as_str()), (Phase::Intended, arn(1), "pinned"));
}
