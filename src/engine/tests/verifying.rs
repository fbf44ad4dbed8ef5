//! One-off tasks after rollouts: a service whose verification fails goes back.

use super::Scene;
use super::task_scene::{COMPLETED, MIGRATES, PREPARES, VERIFIES, with};
use crate::domain::rollout::Counts;
use crate::domain::test_support::service_key;
use crate::domain::types::ServiceKey;
use crate::domain::view::RolloutState;

#[test]
fn a_verification_runs_when_the_rollout_is_complete() {
    let mut scene = Scene::of_tasks(VERIFIES);
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(scene.watched(), [PREPARES, "commit"]);
    scene.all_committed();
    scene.prepared();
    assert_eq!(scene.all_committed(), ["write: run [\"smoke\"] for web/hello from hello:2"]);
    assert_eq!(scene.started("task/t1")[0], "event: web/hello started verify task 1 as task/t1");
    scene.all_committed();
    let mut failing = scene.restarted(&with(VERIFIES));
    failing.begun();
    failing.all_committed();
    assert!(scene.stops(Some(0), "").contains(&COMPLETED.to_owned()));
    assert_eq!(scene.all_committed(), ["notify: web/hello: deployed (hello:latest)"]);

    let lines = failing.stops(Some(3), "");
    assert_eq!(lines[0], "event: web/hello verify task 1 failed: exit code 3");
    assert_eq!(lines[1], "event: web/hello holds hello@b");
    assert!(lines[2].contains("ended failed hello:2: the verify task `smoke` failed: exit code 3"), "{lines:?}");
    assert_eq!(lines[3], "event: web/hello goes back to hello:1");
    failing.all_committed();
    failing.inspected(Some(1));
    assert_eq!(failing.all_committed(), ["write: update web/hello to hello:1"], "a way back runs no tasks");
}

#[test]
fn monitoring_comes_before_the_verification() {
    let mut scene = Scene::of_tasks(&format!("monitor = \"10s\"\n{VERIFIES}"));
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(scene.watched(), ["event: web/hello is monitored for 10 s", "commit"]);
    scene.all_committed();
    scene.watched();
    assert_eq!(scene.watched(), [PREPARES, "commit"]);
}

#[test]
fn a_service_without_tasks_is_not_verified() {
    let mut scene = Scene::of_tasks(VERIFIES);
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    scene.ecs("hello").deployments[0].desired = 0;
    let lines = scene.watched();
    assert!(lines.iter().any(|line| line.contains("ended completed hello:2: updated, unproven")), "{lines:?}");
}

#[test]
fn a_service_of_two_repositories_runs_what_both_have_in_common_once() {
    let service = "[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";
    let repository =
        |name: &str| format!("[[repository]]\nname = \"{name}\"\ntags = [\"latest\"]\n{service}{MIGRATES}");
    let mut scene = Scene::of(&(repository("hello") + &repository("side")));
    let pages = vec![scene.pushed("hello", "latest", 'b'), scene.pushed("side", "latest", 'c')];
    scene.page(pages);
    scene.committed();
    scene.observed("hello");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.prepared();
    scene.all_committed();
    scene.started("task/t1");
    scene.all_committed();
    assert!(scene.stops(Some(0), "").contains(&"read: recheck web/hello".to_owned()), "there is no second one");
    let key: ServiceKey = service_key("hello");
    assert_eq!(scene.engine.state().services[&key].prepared.len(), 2);
    assert_eq!(scene.engine.details().count(), 1);
    assert_eq!(scene.engine.details().next().unwrap().1.counts, None::<Counts>);
}
