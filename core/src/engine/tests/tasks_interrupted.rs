//! One-off tasks, and the pushes, operators and reloads that come meanwhile.

use super::stage::{Stage, TaskStage};
use super::task_scene::{MIGRATES, still_runs, with};
use super::{HELLO, NOTHING_FOLLOWS, OTHER, Scene, image_of};
use crate::domain::state::OperatorCommand;
use crate::domain::task::TaskKind;
use crate::domain::test_support::{arn, digest, repository_key};
use crate::domain::view::RolloutState;

const SETTLED: &str = "event: push to hello settled: deployed";

#[test]
fn a_newer_push_waits_for_the_end_of_a_task() {
    let mut scene = Scene::running(MIGRATES);
    scene.push("latest", 'c');
    scene.all_committed();
    assert_eq!(scene.tasks(Ok(vec![still_runs()])), NOTHING_FOLLOWS);
    let lines = scene.stops(Some(1), "");
    assert_eq!(
        lines,
        [
            "event: web/hello before task 1 failed: exit code 1",
            "event: web/hello ended failed hello:2: the before task `migrate` failed: exit code 1 (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello holds hello@b",
            "read: observe web/hello for hello:latest",
            "commit"
        ]
    );
    let decided = "event: web/hello decided hello:latest@c, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, SETTLED]);
}

#[test]
fn a_task_that_failed_beside_a_rollout_under_way_leaves_that_one_alone() {
    let mut scene = Scene::of(HELLO);
    scene.push("latest", 'b');
    scene.committed();
    scene.observed("hello");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.reload(&with(MIGRATES));
    scene.all_committed();
    scene.push("latest", 'c');
    scene.committed();
    scene.observed("hello");
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    scene.prepared_as(|prepared| prepared.service = None);
    assert_eq!(scene.known("hello").held[&repository_key("hello")].digest, digest('c'), "the hold stays");
    scene.all_committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"], "what ECS rolls is watched");
}

#[test]
fn what_has_run_for_a_push_does_not_run_for_it_again() {
    let mut scene = Scene::running(MIGRATES);
    // Somebody changes the service while the task runs.
    scene.interfered("hello", 1);
    scene.ecs("hello").task_definition = arn(7);
    scene.revisions.insert(7, vec![("app".to_owned(), image_of(&repository_key("hello"), 'a'))]);
    scene.stops(Some(0), "");
    scene.all_committed();
    assert_eq!(scene.rechecked(), ["read: inspect web/hello (registered hello:2)"]);
    let lines = scene.inspected(None);
    assert_eq!(
        lines,
        [
            "event: web/hello found overtaken",
            "event: web/hello ended superseded hello:2: the service runs hello:7 and no longer hello:1, as it did when this was decided",
            "read: observe web/hello for hello:latest",
            "commit"
        ]
    );
    scene.all_committed();
    let decided = "event: web/hello decided hello:latest@b, from hello:7, back to hello:7";
    assert_eq!(scene.observed("hello"), [decided, "commit"], "it was settled before");
    scene.all_committed();
    scene.registered(8);
    assert_eq!(scene.all_committed(), ["write: update web/hello to hello:8"], "no second migration");
}

#[test]
fn the_same_image_pushed_again_runs_it_again() {
    let mut scene = Scene::running(MIGRATES);
    scene.stops(Some(0), "");
    scene.all_committed();
    scene.rechecked();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    scene.all_committed();
    scene.pass(60);
    for (letter, revision) in [('a', 3), ('b', 4)] {
        scene.push("latest", letter);
        scene.committed();
        scene.observed("hello");
        scene.all_committed();
        let registered = format!("event: web/hello registered hello:{revision}");
        let prepares = format!("read: task for web/hello of hello:{revision}");
        assert_eq!(scene.registered(revision), [registered.as_str(), &prepares, "commit"]);
        scene.all_committed();
        scene.prepared();
        scene.all_committed();
        scene.started("task/t1");
        scene.all_committed();
        scene.stops(Some(0), "");
        scene.all_committed();
        scene.rechecked();
        scene.updated();
        scene.all_committed();
        scene.rolls("hello", RolloutState::Completed);
        scene.watched();
        scene.all_committed();
        scene.pass(60);
    }
}

#[test]
fn a_hold_stops_what_no_task_has_begun_and_waits_for_what_one_has() {
    let hold = || OperatorCommand::Hold { reason: None };
    let mut scene = Scene::of_tasks(MIGRATES);
    scene.command(hold());
    scene.all_committed();
    let lines = scene.registered(2);
    assert_eq!(
        lines,
        [
            "event: web/hello registered hello:2",
            "event: web/hello ended superseded hello:2: an operator holds the service",
            "commit"
        ]
    );

    for (leaves, why) in [(false, "an operator holds the service"), (true, "the service left the configuration")] {
        let mut scene = Scene::at(Stage::Task(TaskKind::Before, TaskStage::Preparing));
        if leaves {
            scene.reload(OTHER);
        } else {
            scene.command(hold());
        }
        scene.all_committed();
        let ended = format!("event: web/hello ended superseded hello:2: {why}");
        // The push is decided anew, and skipped as held.
        let asked = if leaves { &[][..] } else { &["read: observe web/hello for hello:latest"] };
        assert_eq!(scene.prepared(), [&[ended.as_str()], asked, &["commit"]].concat());
        assert_eq!(scene.stage("hello"), Stage::Idle);
        assert_eq!(
            scene.all_committed(),
            ["notify: web/hello: deployment superseded (hello:latest)"],
            "no task is run"
        );
    }

    let mut scene = Scene::running(MIGRATES);
    scene.command(hold());
    scene.all_committed();
    assert_eq!(scene.tasks(Ok(vec![still_runs()])), NOTHING_FOLLOWS);
    scene.stops(Some(0), "");
    scene.all_committed();
    let lines = scene.rechecked();
    assert_eq!(lines, ["event: web/hello ended superseded hello:2: an operator holds the service", "commit"]);
}

#[test]
fn a_service_that_leaves_the_configuration_is_left_when_its_task_has_ended() {
    let mut scene = Scene::running(MIGRATES);
    assert_eq!(scene.reload(OTHER), ["commit"]);
    scene.all_committed();
    scene.stops(Some(0), "");
    scene.all_committed();
    let lines = scene.rechecked();
    assert_eq!(lines, ["event: web/hello ended superseded hello:2: the service left the configuration", "commit"]);
}

#[test]
fn a_rollback_that_is_ordered_waits_for_a_task_before_a_rollout() {
    let mut scene = Scene::running(MIGRATES);
    scene.command(OperatorCommand::Rollback { to: None });
    scene.all_committed();
    scene.located();
    let refused = "reply 1: refused: the task `migrate` runs before a rollout; try again when it has ended";
    assert_eq!(scene.all_committed(), [refused]);
}
