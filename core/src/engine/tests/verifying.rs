//! One-off tasks after rollouts: a service whose verification fails goes back.

use super::Scene;
use super::task_scene::{PREPARES, VERIFIES, with};
use crate::domain::view::RolloutState;

/// `web/hello`, whose rollout ECS has completed, which was not seen yet.
fn completed_by_ecs(tables: &str) -> Scene {
    let mut scene = Scene::of_tasks(tables);
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    scene
}

#[test]
fn a_verification_runs_when_the_rollout_is_complete() {
    let mut scene = completed_by_ecs(VERIFIES);
    assert_eq!(scene.watched(), [PREPARES, "commit"]);
    scene.all_committed();
    scene.prepared();
    assert_eq!(scene.all_committed(), ["write: run [\"smoke\"] for web/hello from hello:2"]);
    assert_eq!(scene.started("task/t1"), ["event: web/hello started verify task 1 as task/t1", "commit"]);
    scene.all_committed();
    let mut failing = scene.restarted(&with(VERIFIES));
    failing.begun();
    failing.all_committed();
    assert_eq!(
        scene.stops(Some(0), ""),
        [
            "event: web/hello verify task 1 succeeded",
            "event: web/hello stable, 11 s after its push",
            "event: web/hello ended completed hello:2",
            "commit"
        ]
    );
    assert_eq!(scene.all_committed(), ["notify: web/hello: deployed (hello:latest)"]);

    let lines = failing.stops(Some(3), "");
    assert_eq!(
        lines,
        [
            "event: web/hello verify task 1 failed: exit code 3",
            "event: web/hello holds hello@b",
            "event: web/hello ended failed hello:2: the verify task `smoke` failed: exit code 3 (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit"
        ]
    );
    failing.all_committed();
    failing.inspected(Some(1));
    assert_eq!(failing.all_committed(), ["write: update web/hello to hello:1"], "a rollback runs no tasks");
}

/// `web/hello` with a check and ten seconds of `monitor`, whose check runs.
fn verifying_before_the_watch() -> (String, Scene) {
    let text = format!("monitor = \"10s\"\n{VERIFIES}");
    let mut scene = completed_by_ecs(&text);
    assert_eq!(scene.watched(), [PREPARES, "commit"], "the check runs at once");
    scene.all_committed();
    scene.prepared();
    scene.all_committed();
    scene.started("task/t1");
    scene.all_committed();
    (text, scene)
}

#[test]
fn the_verification_comes_before_the_watch_and_the_outcome_after_it() {
    let (text, scene) = verifying_before_the_watch();
    let mut again = scene.restarted(&with(&text));
    again.begun();
    again.all_committed();
    for mut scene in [scene, again] {
        let lines = scene.stops(Some(0), "");
        assert_eq!(
            lines,
            ["event: web/hello verify task 1 succeeded", "event: web/hello is monitored for 10 s", "commit"]
        );
        assert_eq!(scene.all_committed(), Vec::<String>::new(), "nobody is told that it is complete");
        // A restart goes on watching, and verifies nothing again.
        let mut later = scene.restarted(&with(&text));
        later.begun();
        later.all_committed();
        for mut scene in [scene, later] {
            assert_eq!(scene.watched(), ["commit"], "it runs as it should");
            scene.all_committed();
            assert_eq!(
                scene.watched(),
                ["event: web/hello stable, 22 s after its push", "event: web/hello ended completed hello:2", "commit"]
            );
            assert_eq!(scene.all_committed(), ["notify: web/hello: deployed (hello:latest)"]);
        }
    }
}

#[test]
fn a_verification_that_fails_is_not_watched_further() {
    let (_, mut scene) = verifying_before_the_watch();
    let lines = scene.stops(Some(3), "");
    assert_eq!(
        lines,
        [
            "event: web/hello verify task 1 failed: exit code 3",
            "event: web/hello holds hello@b",
            "event: web/hello ended failed hello:2: the verify task `smoke` failed: exit code 3 (container app, task t1, log group /ecs/hello, stream web/app/t1)",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit"
        ]
    );
}

#[test]
fn a_service_without_tasks_is_not_verified() {
    let mut scene = completed_by_ecs(VERIFIES);
    scene.ecs("hello").deployments[0].desired = 0;
    let lines = scene.watched();
    assert_eq!(
        lines,
        [
            "event: web/hello stable, 6 s after its push",
            "event: web/hello ended completed hello:2: updated, unproven: the desired count is 0, so no task has run the image yet",
            "commit"
        ]
    );
}
