use std::sync::Arc;

use super::*;
use crate::domain::gate::Other;
use crate::domain::plan::Plan;
use crate::domain::policy::VersionPolicy;
use crate::domain::settings::DeploySettings;
use crate::domain::state::{Deployed, Phase, Target};
use crate::domain::test_support::{
    answers, arn, at, definition, digest, image, image_name, push_ref, repository_key, rollout, service_key,
    service_rule, snapshot, tag, tags_policy,
};

const NOW: i64 = 10_000;

/// A service that comes after `staging`.
fn production() -> ServiceRule {
    let gates = Gates { after: vec![service_key("staging")], ..Gates::default() };
    let rule = service_rule("prod", tags_policy(&["latest", "release-*"]));
    ServiceRule { deploy: DeploySettings { gates, ..rule.deploy }, ..rule }
}

/// Staging runs a digest.
fn staging(letter: char) -> ServiceState {
    let target = Target { digest: digest(letter), push: push_ref("s", "latest", 1), image_pushed_at: None };
    let deployed = Deployed {
        revision: arn(9),
        targets: BTreeMap::from([(repository_key("hello"), target)]),
        since: at(10),
        names_tags: false,
        rollback_target: None,
        unproven: None,
        pinned: BTreeMap::new(),
    };
    ServiceState { deployed: Some(deployed), ..ServiceState::default() }
}

/// A push with the digest that its record names.
fn push(event: &str, named: &str, second: i64, letter: char) -> PushRef {
    PushRef { digest: Some(digest(letter)), ..push_ref(event, named, second) }
}

fn pending(pushes: &[PushRef]) -> ServiceState {
    let mut known = ServiceState::default();
    for push in pushes {
        known.add_pending(&repository_key("hello"), push.clone());
    }
    known
}

/// The service runs digest `a`; these images have tags.
fn seen(images: &[ImageView]) -> ServiceSnapshot {
    let current = definition(1, &[("app", &format!("{}@{}", image_name("hello"), digest('a')))]);
    snapshot(current, "hello", images)
}

fn pushed_at(second: i64, image: ImageView) -> ImageView {
    ImageView { pushed_at: Some(at(second)), ..image }
}

fn planned(
    rule: &ServiceRule,
    before: &ServiceState,
    known: &ServiceState,
    seen: &ServiceSnapshot,
    promoted: &[ImageView],
) -> GatedPlan {
    let rules = BTreeMap::from([(repository_key("hello"), rule)]);
    let evidence = Evidence {
        others: vec![Other { name: "web/staging", known: Some(before), seen: None }],
        ..Evidence::default()
    };
    let promoted = BTreeMap::from([(repository_key("hello"), promoted.to_vec())]);
    let passage =
        Passage { service: "web/prod", rules: &rules, promoted: &promoted, evidence: &evidence, now: at(NOW) };
    plan(&passage, known, seen)
}

fn rolls(plan: &Plan) -> Option<(char, String)> {
    let target = plan.roll.as_ref()?.rollout.targets.values().next()?;
    let letter = target.digest.as_str().chars().nth(7)?;
    Some((letter, target.push.event.to_string()))
}

fn skips(plan: &Plan) -> Vec<(&str, &str)> {
    plan.skips.iter().map(|skip| (skip.push.event.as_str(), skip.reason.as_str())).collect()
}

fn kept(plan: &GatedPlan) -> Vec<&str> {
    plan.kept.values().flatten().map(|push| push.event.as_str()).collect()
}

#[test]
fn the_digest_that_is_proven_is_rolled_out_although_the_tag_has_moved_on() {
    let known = pending(&[push("e1", "latest", 5, 'b'), push("e2", "latest", 9, 'c')]);
    let moved = seen(&[pushed_at(9, image('c', &["latest"]))]);
    let gated = planned(&production(), &staging('b'), &known, &moved, &[pushed_at(5, image('b', &[]))]);
    assert_eq!(rolls(&gated.plan), Some(('b', "e1".to_owned())));
    assert_eq!((kept(&gated), skips(&gated.plan), gated.waits.len()), (vec!["e2"], vec![], 0));
    // What stays undecided stays pending, and what is rolled does not.
    let mut after = known.clone();
    gated.write_down(&known.pending, &mut after);
    assert_eq!(after.pending[&repository_key("hello")][0].event.as_str(), "e2");
    assert_eq!(after.decided[&repository_key("hello")].event.as_str(), "e1");
}

#[test]
fn an_older_tag_that_has_moved_on_does_not_hide_what_is_proven() {
    let known = pending(&[push("e1", "latest", 5, 'c'), push("e2", "release-5", 7, 'b'), push("e3", "latest", 9, 'd')]);
    let b = pushed_at(7, image('b', &["release-5"]));
    let moved = seen(&[b.clone(), pushed_at(9, image('d', &["latest"]))]);
    let gated = planned(&production(), &staging('b'), &known, &moved, &[b]);
    assert_eq!(rolls(&gated.plan), Some(('b', "e2".to_owned())));
    assert_eq!((kept(&gated), skips(&gated.plan), gated.waits.len()), (vec!["e3", "e1"], vec![], 0));
}

#[test]
fn what_is_proven_later_supersedes_what_is_older() {
    let known = pending(&[push("e1", "latest", 5, 'b'), push("e2", "latest", 9, 'c')]);
    let moved = seen(&[pushed_at(9, image('c', &["latest"]))]);
    let gated = planned(&production(), &staging('c'), &known, &moved, &[]);
    assert_eq!(rolls(&gated.plan), Some(('c', "e2".to_owned())));
    assert_eq!((skips(&gated.plan), kept(&gated)), (vec![("e1", "superseded")], vec![]));
}

#[test]
fn where_nothing_is_proven_the_newest_waits_and_the_others_stay_with_it() {
    let known = pending(&[push("e1", "latest", 5, 'b'), push("e2", "latest", 9, 'c')]);
    let moved = seen(&[pushed_at(9, image('c', &["latest"]))]);
    let gated = planned(&production(), &staging('d'), &known, &moved, &[]);
    assert!(gated.plan.roll.is_none() && gated.plan.skips.is_empty());
    let waiting = gated.waiting().unwrap();
    assert_eq!((waiting.digest.clone(), waiting.reason.as_str()), (digest('c'), "web/staging does not run it"));
    assert_eq!(kept(&gated), ["e1", "e2"]);
    // A push that is surely overtaken is not kept.
    let overtaken =
        ServiceState { decided: BTreeMap::from([(repository_key("hello"), push_ref("e0", "latest", 7))]), ..known };
    let gated = planned(&production(), &staging('d'), &overtaken, &moved, &[]);
    assert_eq!((skips(&gated.plan), kept(&gated)), (vec![("e1", "superseded")], vec!["e2"]));
}

#[test]
fn what_is_proven_and_runs_already_does_not_hide_what_waits() {
    let known = pending(&[push("e1", "release-1", 5, 'a'), push("e2", "latest", 9, 'c')]);
    let there = seen(&[pushed_at(5, image('a', &["release-1"])), pushed_at(9, image('c', &["latest"]))]);
    let gated = planned(&production(), &staging('a'), &known, &there, &[]);
    assert_eq!(skips(&gated.plan), [("e1", "already_deployed")]);
    assert_eq!((gated.waits.len(), kept(&gated)), (1, vec!["e2"]));
}

#[test]
fn a_digest_that_is_not_in_the_own_repository_waits_with_the_reason() {
    let known = pending(&[push("e1", "latest", 5, 'b')]);
    let gated = planned(&production(), &staging('b'), &known, &seen(&[image('c', &["latest"])]), &[]);
    let waiting = gated.waiting().unwrap();
    let reason = format!("web/staging runs {}, which is not in the repository default/hello", digest('b'));
    assert!(waiting.reason.starts_with(&reason) && gated.ask_again, "{waiting}");
}

#[test]
fn a_comparison_brings_what_is_proven() {
    let command = PushRef::commanded(at(20));
    let mut snapshot = seen(&[pushed_at(9, image('c', &["latest"]))]);
    if let Some(found) = snapshot.images.get_mut(&repository_key("hello")) {
        found.best = Some((tag("latest"), pushed_at(9, image('c', &["latest"]))));
    }
    let promoted = [pushed_at(5, image('b', &["release-1"]))];
    let gated = planned(&production(), &staging('b'), &pending(std::slice::from_ref(&command)), &snapshot, &promoted);
    assert_eq!(rolls(&gated.plan), Some(('b', "order".to_owned())));
    // Without a tag that the policy admits it is not known to be meant.
    let gated = planned(&production(), &staging('b'), &pending(&[command]), &snapshot, &[image('b', &["dev"])]);
    assert!(gated.plan.roll.is_none());
    assert!(gated.waiting().unwrap().reason.contains("has no tag there that the policy admits"));
}

#[test]
fn a_lower_version_than_what_was_decided_is_not_promoted() {
    let rule = ServiceRule { policy: Arc::new(VersionPolicy::new(">=1").unwrap()), ..production() };
    let decided = BTreeMap::from([(repository_key("hello"), push_ref("e0", "1.1.5", 1))]);
    let known = ServiceState { decided, ..pending(&[push("e1", "1.1.0", 5, 'b')]) };
    let mut snapshot = seen(&[image('b', &["1.1.0"])]);
    if let Some(found) = snapshot.images.get_mut(&repository_key("hello")) {
        found.best = Some((tag("1.1.5"), image('a', &["1.1.5"])));
    }
    let gated = planned(&rule, &staging('b'), &known, &snapshot, &[]);
    assert_eq!((rolls(&gated.plan), skips(&gated.plan)), (None, vec![("e1", "lower_version")]));
}

#[test]
fn of_two_repositories_one_is_rolled_while_the_other_waits() {
    let gates = |scan| DeploySettings {
        gates: Gates { scan, ..Gates::default() },
        ..service_rule("a", tags_policy(&["latest"])).deploy
    };
    let app = service_rule("a", tags_policy(&["latest"]));
    let side = ServiceRule { deploy: gates(super::super::ScanLevel::High), ..app.clone() };
    let (hello, other) = (repository_key("hello"), repository_key("side"));
    let rules = BTreeMap::from([(hello.clone(), &app), (other.clone(), &side)]);
    let mut known = pending(&[push_ref("e1", "latest", 5)]);
    known.add_pending(&other, push_ref("e2", "latest", 6));
    let current = definition(
        1,
        &[
            ("app", &format!("{}@{}", image_name("hello"), digest('a'))),
            ("side", &format!("{}@{}", image_name("side"), digest('a'))),
        ],
    );
    let mut seen = snapshot(current, "hello", &[image('b', &["latest"])]);
    seen.images.insert(other.clone(), answers(&[image('c', &["latest"])]));
    let evidence = Evidence::default();
    let promoted = Promoted::new();
    let passage = Passage { service: "web/a", rules: &rules, promoted: &promoted, evidence: &evidence, now: at(NOW) };
    let gated = plan(&passage, &known, &seen);
    let targets: Vec<&RepositoryKey> = gated.plan.roll.as_ref().unwrap().rollout.targets.keys().collect();
    assert_eq!((targets, gated.requests.len(), kept(&gated)), (vec![&hello], 1, vec!["e2"]));
}

#[test]
fn what_a_rollout_under_way_brings_is_not_judged_again() {
    // The rollout that is superseded brings an image of another repository, and went through the gates before.
    let gates = Gates { approval: super::super::Approvals::Required, ..Gates::default() };
    let base = service_rule("a", tags_policy(&["latest"]));
    let app = ServiceRule { deploy: DeploySettings { gates, ..base.deploy.clone() }, ..base };
    let rules = BTreeMap::from([(repository_key("hello"), &app)]);
    let under_way = rollout(Phase::Rolling {
        revision: arn(1),
        deployment: crate::domain::types::DeploymentId::parse("d").unwrap(),
        since: at(1),
        progressed_at: None,
        monitored: None,
    });
    let known = ServiceState { rollout: Some(under_way), ..ServiceState::default() };
    let passage = Passage {
        service: "web/a",
        rules: &rules,
        promoted: &Promoted::new(),
        evidence: &Evidence::default(),
        now: at(NOW),
    };
    let gated = plan(&passage, &known, &seen(&[]));
    assert!(gated.waits.is_empty() && gated.plan.roll.is_none());
}
