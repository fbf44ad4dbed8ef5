//! The ends of a rollout that ECS rolls: complete, failed, too late, changed by others, gone; and the rollback.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, error};
use crate::domain::aws_error::Fault;
use crate::domain::test_support::{arn, deployment, digest, repository_key};
use crate::domain::view::{Fate, RolloutState, Strategy};

const STABLE: &str = "event: web/hello stable, 6 s after its push";
const COMPLETED: &str = "event: web/hello ended completed hello:2";
const FAILED: &str = "ECS reports the deployment as FAILED (0 tasks failed)";

#[test]
fn a_rollout_is_complete_when_its_deployment_is() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(scene.watched(), [STABLE, COMPLETED, "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: deployed (hello:latest)"]);
    let deployed = scene.known("hello").deployed.clone().unwrap();
    assert_eq!((deployed.revision, deployed.rollback_target.unwrap().revision), (arn(2), arn(1)));
}

#[test]
fn a_service_without_tasks_is_deployed_but_unproven() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    scene.ecs("hello").deployments[0].desired = 0;
    let ended = format!("{COMPLETED}: updated, unproven: the desired count is 0, so no task has run the image yet");
    assert_eq!(scene.watched(), [STABLE, &ended, "commit"]);
}

#[test]
fn a_rollout_that_failed_is_held_and_taken_back() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Failed);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"]);
    let ended = format!("event: web/hello ended failed hello:2: {FAILED}; stopped tasks: a; b");
    assert_eq!(
        scene.stopped_tasks(&["b", "a", "a"]),
        [
            "event: web/hello holds hello@b",
            &ended,
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    assert_eq!(scene.committed(), ["notify: web/hello: deployment failed (hello:latest)"]);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
    assert_eq!(scene.updated(), ["event: web/hello updated to hello:1 by d1b", "commit"]);
    scene.committed();
    scene.rolls("hello", RolloutState::Completed);
    let ended = format!("event: web/hello back: ended rolled_back hello:1: {FAILED}; stopped tasks: a; b");
    assert_eq!(scene.watched(), [ended.as_str(), "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: rolled back (hello:latest)"]);
    assert_eq!(scene.known("hello").held[&repository_key("hello")].digest, digest('b'));
}

#[test]
fn where_ecs_went_back_by_itself_its_deployment_is_watched() {
    let mut scene = Scene::at(Stage::Diagnosing);
    scene.interfered("hello", 1);
    scene.stopped_tasks(&[]);
    scene.committed();
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found updated", "commit"]);
    assert_eq!(scene.after(5), ["read: watch web/hello theirs1"]);
}

#[test]
fn a_rollback_target_whose_tags_have_moved_on_is_registered_anew() {
    let mut scene = Scene::back_at(Stage::IntendedVerifying);
    assert_eq!(scene.inspected(None), ["event: web/hello found not registered", "commit"]);
    assert_eq!(scene.committed(), ["write: register for web/hello: app=hello@a"]);
}

#[test]
fn a_rollout_that_failed_is_left_where_the_configuration_says_so() {
    let mut scene = Scene::at(Stage::Diagnosing);
    scene.reload(&format!("{HELLO}on_failure = \"leave\"\n"));
    scene.all_committed();
    let ended = format!("event: web/hello ended failed hello:2: {FAILED}");
    assert_eq!(scene.stopped_tasks(&[]), ["event: web/hello holds hello@b", &ended, "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: deployment failed (hello:latest)"]);
    assert_eq!(scene.known("hello").failed_in_place.as_ref().map(|left| left.revision.clone()), Some(arn(2)));
}

#[test]
fn there_is_nothing_behind_a_rollback_that_failed() {
    let mut scene = Scene::back_at(Stage::Diagnosing);
    let ended = format!("event: web/hello back: ended failed hello:1: {FAILED}");
    assert_eq!(scene.stopped_tasks(&[]), [ended.as_str(), "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Idle);
    assert_eq!(scene.known("hello").failed_in_place.as_ref().map(|left| left.revision.clone()), Some(arn(1)));
}

#[test]
fn a_failure_without_its_reasons_is_a_failure() {
    let mut scene = Scene::at(Stage::Diagnosing);
    let lines = scene.diagnosed(Err(error(Fault::Denied)));
    assert_eq!(
        lines,
        [
            "event: web/hello cannot tell why the tasks stopped",
            "event: web/hello holds hello@b",
            "event: web/hello ended failed hello:2: ECS reports the deployment as FAILED (0 tasks failed)",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit"
        ]
    );
}

#[test]
fn reasons_are_asked_for_once() {
    let mut scene = Scene::at(Stage::Diagnosing);
    assert_eq!(scene.watched(), NOTHING_FOLLOWS);
}

#[test]
fn reasons_that_come_when_the_rollout_is_over_are_ignored() {
    let mut scene = Scene::at(Stage::Diagnosing);
    scene.interfered("hello", 7);
    scene.ecs("hello").deployments.retain(|deployment| deployment.primary);
    scene.pass(20);
    assert_eq!(
        scene.watched(),
        [
            "event: web/hello ended superseded hello:2: another deployer set the service to hello:7 (deployment theirs7)",
            "commit"
        ]
    );
    scene.all_committed();
    assert_eq!(scene.stopped_tasks(&["too late"]), NOTHING_FOLLOWS);
}

#[test]
fn a_rollout_that_is_not_stable_in_time_is_taken_back() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.pass(14 * 60);
    assert_eq!(scene.watched(), ["event: web/hello rolls, 0 of 2 after 845 s"]);
    scene.pass(60);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"]);
    let lines = scene.stopped_tasks(&[]);
    assert_eq!(
        lines,
        [
            "event: web/hello holds hello@b",
            "event: web/hello ended timed_out hello:2: not stable, and no progress for 15m: 0 of 2 tasks run, 0 starting, 0 failed",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit"
        ]
    );
}

#[test]
fn a_new_deployment_of_the_same_revision_is_adopted() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.interfered("hello", 2);
    assert_eq!(scene.watched(), ["event: web/hello adopted theirs2", "commit"]);
    assert_eq!(scene.after(5), ["read: watch web/hello theirs2"]);
    assert_eq!(scene.watched(), ["event: web/hello rolls, 2 of 2 after 5 s"], "it has its own time to get stable");
}

#[test]
fn what_somebody_takes_back_by_hand_is_held() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.interfered("hello", 1);
    let why = "somebody set the service back to hello:1 (deployment theirs1)";
    let ended = format!("event: web/hello ended superseded hello:2: {why}");
    assert_eq!(scene.watched(), ["event: web/hello holds hello@b", &ended, "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: deployment superseded (hello:latest)"]);
    assert_eq!(scene.stage("hello"), Stage::Idle);
}

#[test]
fn what_another_deployer_replaces_is_not_held() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.interfered("hello", 7);
    let why = "another deployer set the service to hello:7 (deployment theirs7)";
    let ended = format!("event: web/hello ended superseded hello:2: {why}");
    assert_eq!(scene.watched(), [ended.as_str(), "commit"]);
    let known = scene.known("hello");
    assert!(known.held.is_empty());
    assert_eq!(known.replaced_externally[&repository_key("hello")].digest, digest('b'));
}

#[test]
fn what_ecs_put_back_without_a_word_has_failed() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.interfered("hello", 1);
    scene.ecs("hello").deployments.retain(|deployment| deployment.primary);
    scene.pass(20);
    assert_eq!(scene.after(0), ["read: watch web/hello d2"]);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"]);
    let why = "the service was put back to hello:1 before the rollout was complete";
    assert_eq!(
        scene.stopped_tasks(&[]),
        [
            "event: web/hello holds hello@b",
            &format!("event: web/hello ended failed hello:2: {why}"),
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
}

#[test]
fn a_rollout_of_a_service_that_is_gone_has_failed_and_there_is_no_rollback() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.not_known(Scene::watched);
    let ended = "event: web/hello ended failed hello:2: the service was deleted or is being drained";
    assert_eq!(scene.watched(), ["event: web/hello calls recovered", ended, "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Idle);
}

#[test]
fn a_superseding_rollout_that_fails_goes_back_to_what_ran_before_both() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.observed("hello");
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Failed);
    scene.watched();
    let lines = scene.stopped_tasks(&[]);
    assert_eq!(
        lines,
        [
            "event: web/hello holds hello@c",
            "event: web/hello ended failed hello:3: ECS reports the deployment as FAILED (0 tasks failed)",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit"
        ]
    );
}

#[test]
fn a_deployment_that_shifts_traffic_is_complete_when_ecs_is_done_with_it() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.ecs("hello").strategy = Strategy::Shifting("BLUE_GREEN".to_owned());
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(scene.watched(), ["read: deployments of web/hello d2", "commit"], "the progress is on record");
    scene.committed();
    assert_eq!(scene.deployments(&[(2, Fate::UnderWay), (1, Fate::Successful)]), NOTHING_FOLLOWS);
    assert_eq!(scene.stage("hello"), Stage::Baking);
    assert_eq!(scene.watched(), ["read: deployments of web/hello d2"], "it is asked with every look");
    let lines = scene.deployments(&[(2, Fate::Successful), (1, Fate::Successful)]);
    assert_eq!(
        lines,
        ["event: web/hello stable, 11 s after its push", "event: web/hello ended completed hello:2", "commit"]
    );
}

#[test]
fn a_deployment_that_ecs_does_not_list_is_complete() {
    let mut scene = Scene::at(Stage::Confirming);
    assert_eq!(scene.deployments(&[]), [STABLE, COMPLETED, "commit"]);
}

#[test]
fn what_a_deployment_was_given_up_for_shows_in_the_next_look() {
    let mut scene = Scene::at(Stage::Confirming);
    assert_eq!(scene.deployments(&[(2, Fate::GivenUp)]), NOTHING_FOLLOWS);
    scene.rolls("hello", RolloutState::Failed);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"]);
}

#[test]
fn a_deployment_that_ecs_does_not_end_in_time_is_taken_back() {
    let mut scene = Scene::at(Stage::Baking);
    scene.pass(15 * 60);
    scene.after(0);
    assert_eq!(scene.watched(), ["read: deployments of web/hello d2"]);
    let lines = scene.deployments(&[(2, Fate::UnderWay)]);
    assert_eq!(
        lines,
        [
            "event: web/hello holds hello@b",
            "event: web/hello ended timed_out hello:2: all its tasks run, but ECS has not ended it in time",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit"
        ]
    );
}

#[test]
fn without_the_permission_to_ask_all_tasks_running_is_complete() {
    for fault in [Fault::Denied, Fault::Refused, Fault::NotFound] {
        let mut scene = Scene::at(Stage::Confirming);
        let untold = "event: web/hello cannot tell whether the deployment still bakes";
        assert_eq!(scene.confirmed(Err(error(fault))), [untold, STABLE, COMPLETED, "commit"]);
    }
}

#[test]
fn an_error_is_no_answer_and_it_is_asked_again() {
    for (stage, bakes) in [(Stage::Rolling, false), (Stage::Baking, true)] {
        let mut scene = Scene::at(Stage::Confirming);
        if bakes {
            scene.deployments(&[(2, Fate::UnderWay)]);
            scene.watched();
        }
        assert_eq!(scene.confirmed(Err(error(Fault::Unavailable))), NOTHING_FOLLOWS);
        assert_eq!(scene.stage("hello"), stage);
        assert_eq!(scene.watched(), ["read: deployments of web/hello d2"]);
    }
}

#[test]
fn whether_it_bakes_is_asked_once() {
    let mut scene = Scene::at(Stage::Confirming);
    assert_eq!(scene.watched(), NOTHING_FOLLOWS);
    let deployment = deployment("d9", true, 2, None).id;
    let late = crate::engine::Input::Deployments {
        service: crate::domain::test_support::service_key("hello"),
        deployment,
        answer: Ok(Vec::new()),
    };
    assert_eq!(scene.handle([late]), NOTHING_FOLLOWS, "an answer about another deployment");
}
