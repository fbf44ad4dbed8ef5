//! A start in the middle of a rollout: ECS is asked how far it got, whatever the crash point.

use super::reaching::at_every_stage;
use super::stage::{Stage, TaskStage};
use super::{HELLO, NOTHING_FOLLOWS, OTHER, Scene, error, running};
use crate::domain::aws_error::Fault;
use crate::domain::state::{Direction, Phase, Rollout, State};
use crate::domain::task::TaskKind;
use crate::domain::test_support::{arn, at, image_name, rollout, service_key};
use crate::domain::types::DeploymentId;
use crate::domain::view::{Fate, RolloutState};

const LEFT: &str = "the service left the configuration";

fn rolling(revision: u64) -> Phase {
    let deployment = DeploymentId::parse(&format!("d{revision}")).unwrap();
    Phase::Rolling { revision: arn(revision), deployment, since: at(40), progressed_at: None, monitored: None }
}

fn registered(revision: u64) -> Phase {
    Phase::Registered { revision: arn(revision) }
}

fn forward(phase: Phase) -> Rollout {
    let image = format!("{}@{}", image_name("hello"), crate::domain::test_support::digest('b'));
    Rollout { images: [("app".to_owned(), image)].into(), ..rollout(phase) }
}

fn back(phase: Phase) -> Rollout {
    let direction = Direction::Back { because: "it failed".to_owned() };
    Rollout { direction, replaces: arn(2), images: Default::default(), ..rollout(phase) }
}

/// A start with this rollout on record, up to its first commit.
fn started(rollout: Rollout) -> Scene {
    started_under(HELLO, rollout)
}

fn started_under(config: &str, rollout: Rollout) -> Scene {
    let mut scene = not_started(config, rollout);
    scene.begun();
    scene.all_committed();
    scene
}

fn not_started(config: &str, rollout: Rollout) -> Scene {
    let mut state = State::default();
    state.services.get_or_default(service_key("hello")).rollout = Some(rollout);
    let mut scene = Scene::resumed(config, state);
    scene.services.insert(service_key("hello"), running(1));
    scene.revisions.insert(1, vec![("app".to_owned(), "old".to_owned())]);
    scene
}

#[test]
fn what_was_decided_is_looked_for_first() {
    let mut scene = not_started(HELLO, forward(Phase::Intended));
    assert_eq!(scene.begun(), ["read: inspect web/hello (intended)", "commit"]);
    assert_eq!(scene.committed(), NOTHING_FOLLOWS);
}

#[test]
fn a_revision_that_is_not_there_is_registered() {
    let mut scene = started(forward(Phase::Intended));
    assert_eq!(scene.inspected(None), ["event: web/hello found not registered", "commit"]);
    assert_eq!(scene.committed(), ["write: register for web/hello: app=hello@b"]);
}

#[test]
fn a_revision_that_is_there_is_used() {
    let mut scene = started(forward(Phase::Intended));
    assert_eq!(scene.inspected(Some(2)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:2"]);
}

#[test]
fn a_service_that_was_updated_is_watched() {
    for phase in [Phase::Intended, registered(2)] {
        let mut scene = started(forward(phase));
        scene.services.insert(service_key("hello"), running(2));
        assert_eq!(scene.inspected(Some(2)), ["event: web/hello found updated", "commit"]);
        assert_eq!(scene.stage("hello"), Stage::Rolling);
        scene.committed();
        assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
    }
}

#[test]
fn a_service_that_was_not_updated_is() {
    let mut scene = not_started(HELLO, forward(registered(2)));
    assert_eq!(scene.begun(), ["read: inspect web/hello (registered hello:2)", "commit"]);
    scene.committed();
    assert_eq!(scene.inspected(Some(2)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:2"]);
}

#[test]
fn what_ecs_rolls_is_watched_on() {
    let mut scene = not_started(HELLO, forward(rolling(2)));
    scene.services.insert(service_key("hello"), running(2));
    assert_eq!(scene.begun(), ["commit"]);
    scene.committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
    assert_eq!(
        scene.watched(),
        ["event: web/hello stable, 104 s after its push", "event: web/hello ended completed hello:2", "commit"]
    );
}

#[test]
fn the_time_before_the_start_counts() {
    let mut scene = started(forward(rolling(2)));
    scene.services.insert(service_key("hello"), running(2));
    scene.rolls("hello", RolloutState::InProgress);
    assert_eq!(scene.watched(), ["event: web/hello rolls, 0 of 2 after 65 s"]);
}

#[test]
fn what_was_overtaken_is_decided_anew() {
    for (phase, revision) in [(Phase::Intended, ""), (registered(2), " hello:2")] {
        let mut scene = started(forward(phase));
        scene.services.insert(service_key("hello"), running(7));
        let why = "the service runs hello:7 and no longer hello:1, as it did when this was decided";
        assert_eq!(
            scene.inspected_but(None, |found| found.registration = None),
            [
                "event: web/hello found overtaken",
                &format!("event: web/hello ended superseded{revision}: {why}"),
                "read: observe web/hello for hello:latest",
                "commit",
            ]
        );
    }
}

#[test]
fn what_was_made_from_a_revision_that_is_gone_is_decided_anew() {
    let mut scene = started(forward(Phase::Intended));
    let lines = scene.inspected_but(None, |found| found.registration = None);
    assert_eq!(
        lines,
        [
            "event: web/hello found not registered",
            "event: web/hello ended superseded: the revision hello:1 is gone",
            "read: observe web/hello for hello:latest",
            "commit",
        ]
    );
}

#[test]
fn a_rollback_to_a_revision_that_is_gone_has_failed() {
    let mut scene = started(back(Phase::Intended));
    scene.services.insert(service_key("hello"), running(2));
    let lines = scene.inspected_but(None, |found| found.registration = None);
    let ended = "event: web/hello back: ended failed: the revision hello:1 is gone";
    assert_eq!(lines, ["event: web/hello found not registered", ended, "commit"]);
}

#[test]
fn what_ecs_gave_up_meanwhile_has_failed() {
    let mut scene = started(forward(registered(2)));
    let deployments = Some(Ok(vec![(arn(1), Fate::Successful), (arn(2), Fate::GivenUp)]));
    let why = "it was rolled out and undone before ECS was asked again: hello:1 runs";
    assert_eq!(
        scene.inspected_but(Some(2), |found| found.deployments = deployments),
        [
            "event: web/hello found given up",
            "event: web/hello holds hello@b",
            &format!("event: web/hello ended failed hello:2: {why}"),
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    let lines = scene.inspected(Some(1));
    assert_eq!(lines, ["event: web/hello found updated"], "ECS went back by itself");
}

#[test]
fn an_update_that_does_not_show_yet_is_asked_for_again() {
    let mut scene = started(forward(registered(2)));
    let deployments = Some(Ok(vec![(arn(2), Fate::UnderWay), (arn(1), Fate::Successful)]));
    let failed = "event: web/hello call failed, next in 1 s";
    assert_eq!(scene.inspected_but(Some(2), |found| found.deployments = deployments), [failed]);
    assert_eq!(scene.after(1), ["read: inspect web/hello (registered hello:2)"]);
}

#[test]
fn without_the_permission_to_ask_the_update_is_made_again() {
    for fault in [Fault::Denied, Fault::Refused] {
        let mut scene = started(forward(registered(2)));
        assert_eq!(
            scene.inspected_but(Some(2), |found| found.deployments = Some(Err(error(fault)))),
            [
                "event: web/hello cannot tell whether the service was updated before",
                "event: web/hello found not updated",
                "commit",
            ]
        );
    }
    let mut scene = started(forward(registered(2)));
    let deployments = Some(Err(error(Fault::Unavailable)));
    let failed = "event: web/hello call failed, next in 1 s";
    assert_eq!(scene.inspected_but(Some(2), |found| found.deployments = deployments), [failed]);
}

#[test]
fn a_rollout_of_a_service_that_is_gone_has_failed() {
    let mut scene = started(forward(registered(2)));
    scene.not_known(|scene| scene.inspected(Some(2)));
    let ended = "event: web/hello ended failed hello:2: the service was deleted or is being drained";
    assert_eq!(
        scene.inspected(Some(2)),
        ["event: web/hello calls recovered", "event: web/hello found gone", ended, "commit"]
    );
}

#[test]
fn a_rollback_is_continued() {
    for (phase, found) in [(Phase::Intended, Some(1)), (registered(1), Some(1))] {
        let mut scene = started(back(phase));
        scene.services.insert(service_key("hello"), running(2));
        assert_eq!(scene.inspected(found), ["event: web/hello found not updated", "commit"]);
        assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
    }
    let mut scene = started(back(rolling(1)));
    let ended = "event: web/hello back: ended rolled_back hello:1: it failed";
    assert_eq!(scene.watched(), [ended, "commit"]);
}

#[test]
fn what_was_to_be_superseded_is_watched_again_where_the_new_rollout_is_overtaken() {
    let old = Box::new(forward(rolling(2)));
    let mut scene = started(Rollout { supersedes: Some(old), replaces: arn(2), ..forward(Phase::Intended) });
    scene.services.insert(service_key("hello"), running(7));
    let why = "the service runs hello:7 and no longer hello:2, as it did when this was decided";
    assert_eq!(
        scene.inspected(None),
        ["event: web/hello found overtaken", &format!("event: web/hello ended superseded: {why}"), "commit",],
        "the rollout that is watched again brings the same"
    );
    assert_eq!(scene.stage("hello"), Stage::Rolling);
    assert!(scene.known("hello").rollout.as_ref().is_some_and(|rollout| rollout.phase == rolling(2)));
}

#[test]
fn a_service_that_left_the_configuration_before_the_start() {
    let mut scene = not_started(OTHER, forward(Phase::Intended));
    assert_eq!(scene.begun(), [format!("event: web/hello ended superseded: {LEFT}").as_str(), "commit"]);

    let mut scene = not_started(OTHER, forward(registered(2)));
    assert_eq!(scene.begun(), ["read: inspect web/hello (registered hello:2)", "commit"]);
    scene.committed();
    let ended = format!("event: web/hello ended superseded hello:2: {LEFT}");
    assert_eq!(scene.inspected(Some(2)), ["event: web/hello found not updated", &ended, "commit"]);

    let mut scene = not_started(OTHER, forward(rolling(2)));
    assert_eq!(scene.begun(), ["commit"]);
    scene.committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
}

#[test]
fn nothing_is_decided_anew_for_a_service_that_left_the_configuration() {
    let mut scene = started_under(OTHER, forward(registered(2)));
    scene.services.insert(service_key("hello"), running(7));
    let why = "the service runs hello:7 and no longer hello:1, as it did when this was decided";
    let ended = format!("event: web/hello ended superseded hello:2: {why}");
    assert_eq!(scene.inspected(Some(2)), ["event: web/hello found overtaken", &ended, "commit"]);
    scene.all_committed();
    assert!(scene.known("hello").pending.is_empty());
    assert!(scene.engine.is_at_rest());
}

#[test]
fn a_restart_at_every_stage() {
    at_every_stage(first_effects, |mut scene| {
        let config = scene.stage("hello").config();
        scene.all_committed();
        let mut again = scene.restarted(&config);
        let mut lines = again.begun();
        lines.retain(|line| line != "commit");
        lines.extend(again.all_committed());
        lines.extend(again.after(5));
        lines
    });
}

/// What is done first after a start, up to the first look at ECS.
fn first_effects(stage: Stage, back: bool) -> &'static [&'static str] {
    match stage {
        Stage::Idle => &[],
        Stage::Gated => &["read: observe web/hello for hello:latest"],
        // The revision may have been registered.
        Stage::IntendedUnverified
        | Stage::IntendedVerifying
        | Stage::RegisterWaiting
        | Stage::RegisterUnderWay
        | Stage::StopWaiting
        | Stage::StopUnderWay => &["read: inspect web/hello (intended)"],
        // The service may have been updated.
        Stage::RegisteredUnverified
        | Stage::RegisteredVerifying
        | Stage::UpdateWaiting
        | Stage::UpdateRechecking
        | Stage::UpdateUnderWay
            if back =>
        {
            &["read: inspect web/hello (registered hello:1)"]
        }
        Stage::RegisteredUnverified
        | Stage::RegisteredVerifying
        | Stage::UpdateWaiting
        | Stage::UpdateRechecking
        | Stage::UpdateUnderWay => &["read: inspect web/hello (registered hello:2)"],
        // What was being asked is asked again once it is seen.
        Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Paused
        | Stage::AnswerWaiting
        | Stage::AnswerUnderWay
            if back =>
        {
            &["read: watch web/hello d1b"]
        }
        Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Paused
        | Stage::AnswerWaiting
        | Stage::AnswerUnderWay
        | Stage::Monitored
        | Stage::MonitoredDiagnosing => &["read: watch web/hello d2"],
        Stage::Task(_, TaskStage::Unprepared | TaskStage::Preparing) => &["read: task for web/hello of hello:2"],
        Stage::Task(_, TaskStage::RegisterWaiting | TaskStage::RegisterUnderWay) => {
            &["read: task for web/hello of hello:2 from jobs"]
        }
        // The same request is sent again with the same client token.
        Stage::Task(TaskKind::Before, TaskStage::StartWaiting | TaskStage::StartUnderWay) => {
            &["write: run [\"migrate\"] for web/hello from hello:2"]
        }
        Stage::Task(TaskKind::Verify, TaskStage::StartWaiting | TaskStage::StartUnderWay) => {
            &["write: run [\"smoke\"] for web/hello from hello:2"]
        }
        Stage::Task(_, TaskStage::Running) => &["read: tasks web/hello task/t1"],
        Stage::Task(_, TaskStage::StopWaiting | TaskStage::StopUnderWay | TaskStage::Stopping) => {
            &["write: stop task task/t1 for web/hello", "read: tasks web/hello task/t1"]
        }
    }
}
