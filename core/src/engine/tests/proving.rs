//! A revision that was rolled out while the desired count was 0, when tasks first run it.

use super::stage::Stage;
use super::{NOTHING_FOLLOWS, OTHER, Scene};
use crate::domain::test_support::{digest, repository_key};
use crate::domain::view::RolloutState;

const LOOKS: &str = "read: watch web/hello d2";

/// `web/hello` was rolled to digest `b` without a task.
fn unproven() -> Scene {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    scene.ecs("hello").deployments[0].desired = 0;
    scene.ecs("hello").deployments[0].running = 0;
    scene.watched();
    scene.all_committed();
    assert_eq!(scene.stage("hello"), Stage::Idle);
    scene
}

/// The desired count is 2, and so many tasks run.
fn wanted(scene: &mut Scene, running: i32) {
    let primary = &mut scene.ecs("hello").deployments[0];
    (primary.desired, primary.running) = (2, running);
}

#[test]
fn it_is_looked_at_every_thirty_seconds_until_tasks_run_it() {
    let mut scene = unproven();
    assert_eq!(scene.after(29), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), [LOOKS]);
    assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS, "the desired count is still 0");
    wanted(&mut scene, 2);
    assert_eq!(scene.after(30), [LOOKS]);
    assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS, "one look is not enough");
    assert_eq!(scene.after(30), [LOOKS]);
    assert_eq!(scene.watch_answered(None), ["event: web/hello proven, 2 of 2 run", "commit"]);
    scene.committed();
    assert!(scene.known("hello").deployed.as_ref().is_some_and(|deployed| deployed.unproven.is_none()));
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
}

#[test]
fn tasks_that_keep_stopping_disprove_it() {
    let mut scene = unproven();
    wanted(&mut scene, 0);
    scene.ecs("hello").deployments[0].failed = 3;
    scene.after(30);
    assert_eq!(scene.watch_answered(None), ["read: stopped tasks of web/hello d2", "commit"]);
    scene.committed();
    let why =
        "tasks run it for the first time: its tasks keep stopping: 3 failed in a row; stopped tasks: exited with 1";
    assert_eq!(
        scene.stopped_tasks(&["exited with 1"]),
        [
            "event: web/hello holds hello@b",
            &format!("event: web/hello ended failed hello:2: {why}"),
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    assert_eq!(scene.known("hello").held[&repository_key("hello")].digest, digest('b'));
}

#[test]
fn tasks_that_do_not_run_in_time_disprove_it() {
    let mut scene = unproven();
    wanted(&mut scene, 1);
    scene.after(30);
    assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS);
    scene.pass(14 * 60);
    scene.after(0);
    assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS);
    scene.pass(60);
    scene.after(0);
    assert_eq!(scene.watch_answered(None), ["read: stopped tasks of web/hello d2", "commit"]);
}

#[test]
fn what_somebody_else_replaced_has_nothing_to_prove() {
    let mut scene = unproven();
    scene.interfered("hello", 7);
    scene.after(30);
    assert_eq!(scene.watch_answered(None), ["commit"]);
    scene.committed();
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
}

#[test]
fn a_service_that_left_the_configuration_is_not_looked_at() {
    let mut scene = unproven();
    scene.reload(OTHER);
    scene.all_committed();
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
}

#[test]
fn a_rollout_that_begins_meanwhile_takes_its_place() {
    let mut scene = unproven();
    assert_eq!(scene.after(30), [LOOKS]);
    wanted(&mut scene, 2);
    scene.push("latest", 'c');
    scene.observed("hello");
    assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS, "it is the answer to a look at what is replaced");
    assert_eq!(scene.stage("hello"), Stage::RegisterWaiting);
}
