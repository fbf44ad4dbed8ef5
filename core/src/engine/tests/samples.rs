//! State files of every phase, and what the engine does first with each.
//!
//! The files in `tests/data/state/v1/` stay as they are. Most were written by a running daemon of an earlier version, at each of its commits;
//! those of tasks, gates, hooks and `monitor` are what a [`Scene`] has on record at that [`Stage`].

use super::stage::{Stage, TaskStage};
use super::{HELLO, NOTHING_FOLLOWS, Scene};
use crate::domain::task::TaskKind;

macro_rules! sample {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../tests/data/state/v1/", $name, ".json")))
    };
}

/// A start with the state of a file: the effects up to and with the first look at ECS.
fn first_effects(file: (&str, &str)) -> Vec<String> {
    first_effects_under(&HELLO.replace("v*", "release-*"), file)
}

fn first_effects_under(config: &str, (name, text): (&str, &str)) -> Vec<String> {
    let state = serde_json::from_str(text).unwrap();
    let mut scene = Scene::resumed(config, state);
    let mut lines = scene.begun();
    assert_eq!(lines.pop().as_deref(), Some("commit"), "{name}");
    lines.extend(scene.all_committed());
    lines.extend(scene.after(5));
    lines
}

#[test]
fn what_follows_first_from_a_file_of_every_phase() {
    let intended = "read: inspect web/hello (intended)";
    for (file, first) in [
        (sample!("pending"), "read: observe web/hello for hello:latest"),
        (sample!("forward_intended"), intended),
        (sample!("forward_registered"), "read: inspect web/hello (registered hello:2)"),
        (sample!("forward_rolling"), "read: watch web/hello ecs-svc/000004"),
        (sample!("forward_rolling_frozen"), "read: watch web/hello ecs-svc/000004"),
        (sample!("forward_intended_superseding"), intended),
        (sample!("forward_registered_superseding"), "read: inspect web/hello (registered hello:4)"),
        (sample!("back_intended"), intended),
        (sample!("back_registered"), "read: inspect web/hello (registered hello:2)"),
        (sample!("back_rolling"), "read: watch web/hello ecs-svc/000012"),
        (sample!("operator_back_intended"), intended),
        (sample!("operator_back_registered"), "read: inspect web/hello (registered hello:3)"),
        (sample!("operator_back_rolling"), "read: watch web/hello ecs-svc/000006"),
    ] {
        assert_eq!(first_effects(file), [first], "{}", file.0);
    }
}

#[test]
fn nothing_follows_from_a_file_without_work() {
    for file in [sample!("deployed"), sample!("held"), sample!("left"), sample!("ousted")] {
        assert_eq!(first_effects(file), NOTHING_FOLLOWS, "{}", file.0);
    }
}

#[test]
fn a_way_back_goes_on_after_a_wait_although_ecs_has_gone_back_by_itself() {
    let (_, text) = sample!("operator_back_registered");
    let mut scene = Scene::resumed(HELLO, serde_json::from_str(text).unwrap());
    scene.begun();
    scene.all_committed();
    scene.after(5);
    scene.pass(6);
    scene.inspected(Some(3));
    assert_eq!(scene.all_committed(), ["read: recheck web/hello"]);
    assert_eq!(scene.rechecked(), ["write: update web/hello to hello:3"]);
}

#[test]
fn a_newer_push_waits_beside_what_rolls() {
    assert_eq!(
        first_effects(sample!("forward_rolling_pending")),
        ["read: observe web/hello for hello:latest", "read: watch web/hello ecs-svc/000007"]
    );
}

#[test]
fn what_follows_first_from_a_file_of_every_step_of_tasks_gates_and_the_watch() {
    let before = |stage| Stage::Task(TaskKind::Before, stage);
    let verify = |stage| Stage::Task(TaskKind::Verify, stage);
    let (run, looked_at) = ("write: run [\"migrate\"] for web/hello from hello:2", "read: tasks web/hello task/t1");
    let watched = "read: watch web/hello d2";
    for (file, stage, first) in [
        (sample!("pending_gated"), Stage::Gated, &["read: observe web/hello for hello:latest"][..]),
        (sample!("forward_before_preparing"), before(TaskStage::Preparing), &["read: task for web/hello of hello:2"]),
        (sample!("forward_before_starting"), before(TaskStage::StartUnderWay), &[run]),
        (sample!("forward_before_running"), before(TaskStage::Running), &[looked_at]),
        (
            sample!("forward_before_stopping"),
            before(TaskStage::Stopping),
            &["write: stop task task/t1 for web/hello", looked_at],
        ),
        (sample!("forward_verify_running"), verify(TaskStage::Running), &[looked_at]),
        (sample!("forward_rolling_paused"), Stage::Paused, &[watched]),
        (sample!("forward_rolling_monitored"), Stage::Monitored, &[watched]),
    ] {
        assert_eq!(first_effects_under(&stage.config(), file), first, "{}", file.0);
    }
}
