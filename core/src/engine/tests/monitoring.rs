//! Rollouts that stay under watch after ECS has completed them.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene};
use crate::domain::state::Phase;
use crate::domain::test_support::{arn, digest, repository_key};
use crate::domain::view::{Fate, RolloutState, ServiceEvent, Strategy};

const BEGUN: &str = "event: web/hello is monitored for 60 s";
const COMPLETED: &str = "event: web/hello ended completed hello:2";

fn monitored() -> String {
    format!("{HELLO}monitor = \"1m\"\n")
}

/// `web/hello`, which ECS has just rolled to digest `b` completely.
fn complete() -> Scene {
    let mut scene = Scene::of(&monitored());
    scene.rolling();
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(scene.watched(), [BEGUN, "commit"]);
    assert_eq!(scene.committed(), NOTHING_FOLLOWS, "nobody is told that it is complete");
    scene
}

/// The tasks of the deployment, as they are seen from now on.
fn tasks(scene: &mut Scene, running: i32, pending: i32) {
    let mine = &mut scene.ecs("hello").deployments[0];
    (mine.running, mine.pending) = (running, pending);
}

#[test]
fn a_rollout_is_completed_when_its_tasks_have_run_for_so_long() {
    let mut scene = complete();
    for _ in 0..11 {
        assert_eq!(scene.after(5), ["read: watch web/hello d2"], "one look in an interval");
        assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS);
    }
    assert_eq!(scene.watched(), ["event: web/hello stable, 68 s after its push", COMPLETED, "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: deployed (hello:latest)"]);
    assert_eq!(scene.known("hello").deployed.as_ref().map(|deployed| deployed.revision.clone()), Some(arn(2)));
}

#[test]
fn tasks_that_keep_stopping_fail_it_and_the_service_goes_back() {
    let mut scene = complete();
    tasks(&mut scene, 0, 2);
    assert_eq!(scene.watched(), ["commit"], "two have stopped, which is on record");
    scene.committed();
    tasks(&mut scene, 2, 0);
    assert_eq!(scene.watched(), NOTHING_FOLLOWS);
    tasks(&mut scene, 1, 1);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2", "commit"]);
    scene.committed();
    assert_eq!(scene.watched(), NOTHING_FOLLOWS, "it is asked once");
    let why = "15s after ECS had completed it its tasks keep stopping: 3 stopped, of 2 that are wanted";
    let ended = format!("event: web/hello ended failed hello:2: {why}; stopped tasks: app exited with 1");
    assert_eq!(
        scene.stopped_tasks(&["app exited with 1"]),
        [
            "event: web/hello holds hello@b",
            &ended,
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    assert_eq!(scene.known("hello").held[&repository_key("hello")].digest, digest('b'));
}

#[test]
fn the_service_s_own_log_tells_of_tasks_that_stop_between_two_looks() {
    let mut scene = complete();
    let at = scene.now.time + std::time::Duration::from_secs(2);
    let message = "(service hello) has started 3 tasks: (task 1) (task 2) (task 3).".to_owned();
    scene.ecs("hello").events.insert(0, ServiceEvent { at, message: message.clone() });
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2", "commit"]);
    let why = "5s after ECS had completed it its tasks keep stopping: 3 stopped, of 2 that are wanted";
    assert_eq!(
        scene.stopped_tasks(&[]),
        [
            "event: web/hello holds hello@b",
            &format!("event: web/hello ended failed hello:2: {why}; last service events: {message}"),
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
        ]
    );
}

#[test]
fn a_restart_goes_on_watching() {
    let mut scene = complete();
    tasks(&mut scene, 0, 2);
    scene.pass(20);
    scene.watched();
    scene.all_committed();
    let state = scene.engine.state().clone();
    let Some(Phase::Rolling { monitored: Some(record), .. }) =
        &scene.known("hello").rollout.as_ref().map(|one| &one.phase)
    else {
        panic!("it is on record");
    };
    assert_eq!((record.desired, record.stopped), (2, 2));
    for (away, looks, stable) in [(0, 7, 68), (3600, 6, 3663)] {
        let mut again = Scene::resumed(&monitored(), state.clone());
        again.services = scene.services.clone();
        again.revisions = scene.revisions.clone();
        again.now.time = scene.now.time + std::time::Duration::from_secs(away);
        again.engine = crate::engine::Engine::new(super::rules(&monitored(), &["default"]), state.clone(), again.now);
        again.begun();
        again.all_committed();
        tasks(&mut again, 2, 0);
        for _ in 1..looks {
            assert_eq!(again.watched(), NOTHING_FOLLOWS, "at most half of the time counts in which nobody looked");
        }
        let stable = format!("event: web/hello stable, {stable} s after its push");
        assert_eq!(again.watched(), [stable.as_str(), COMPLETED, "commit"], "after {away} s");
    }
}

#[test]
fn a_newer_push_supersedes_it_and_goes_back_to_what_was_complete_before() {
    let mut scene = complete();
    scene.push("latest", 'c');
    let decided = "event: web/hello decided hello:latest@c, from hello:2, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, "event: push to hello settled: deployed"]);
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    let ended = "event: web/hello ended superseded hello:2: a newer push took its place";
    assert_eq!(scene.updated(), ["event: web/hello updated to hello:3 by d3", ended, "commit"]);
}

#[test]
fn one_that_was_not_superseded_after_all_is_watched_further() {
    let mut scene = complete();
    scene.push("latest", 'c');
    scene.observed("hello");
    scene.all_committed();
    scene.not_registered(crate::domain::aws_error::Fault::Refused);
    scene.all_committed();
    assert!(
        scene.engine.services[&crate::domain::test_support::service_key("hello")]
            .workflow
            .rollout()
            .is_some_and(|rollout| matches!(rollout.phase, Phase::Rolling { monitored: Some(_), .. }))
    );
}

#[test]
fn one_that_ecs_or_somebody_takes_back_is_not_completed() {
    let mut scene = complete();
    scene.pass(20);
    scene.rolls("hello", RolloutState::Failed);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"]);
    let mut scene = complete();
    scene.interfered("hello", 1);
    assert_eq!(
        scene.watched(),
        [
            "event: web/hello holds hello@b",
            "event: web/hello ended superseded hello:2: somebody set the service back to hello:1 (deployment theirs1)",
            "commit"
        ]
    );
}

#[test]
fn without_tasks_there_is_nothing_to_watch() {
    let mut scene = Scene::of(&monitored());
    scene.rolling();
    scene.rolls("hello", RolloutState::Completed);
    scene.ecs("hello").deployments[0].desired = 0;
    assert_eq!(
        scene.watched(),
        [
            "event: web/hello stable, 6 s after its push",
            "event: web/hello ended completed hello:2: updated, unproven: the desired count is 0, so no task has run the image yet",
            "commit"
        ]
    );
}

#[test]
fn a_way_back_is_complete_when_ecs_says_so() {
    let mut scene = complete();
    tasks(&mut scene, 0, 2);
    scene.watched();
    tasks(&mut scene, 2, 0);
    scene.watched();
    tasks(&mut scene, 0, 2);
    scene.watched();
    scene.stopped_tasks(&[]);
    scene.all_committed();
    scene.inspected(Some(1));
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(
        scene.watched(),
        [
            "event: web/hello back: ended rolled_back hello:1: 15s after ECS had completed it its tasks keep stopping: 4 stopped, of 2 that are wanted",
            "commit"
        ]
    );
}

#[test]
fn the_watch_begins_after_ecs_has_ended_its_own_bake_time() {
    let mut scene = Scene::of(&monitored());
    scene.ecs("hello").strategy = Strategy::Shifting("BLUE_GREEN".to_owned());
    scene.rolling();
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(scene.watched(), ["read: deployments of web/hello d2", "commit"]);
    scene.all_committed();
    assert_eq!(scene.deployments(&[(2, Fate::Successful)]), [BEGUN, "commit"]);
}

#[test]
fn a_reload_that_takes_the_time_away_completes_it() {
    let mut scene = complete();
    scene.reload(HELLO);
    scene.all_committed();
    assert_eq!(scene.watched(), ["event: web/hello stable, 11 s after its push", COMPLETED, "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Idle);
}

impl Scene {
    /// `web/hello`, on its way from digest `a` to digest `b`.
    fn rolling(&mut self) {
        self.push("latest", 'b');
        self.committed();
        self.observed("hello");
        self.committed();
        self.registered(2);
        self.committed();
        self.updated();
        self.all_committed();
    }
}
