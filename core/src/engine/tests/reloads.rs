//! Reloads: services that leave the configuration, come back, or whose context cannot be reached.

use super::reaching::{at_every_stage, lines};
use super::stage::{Stage, TaskStage};
use super::{HELLO, NOTHING_FOLLOWS, OTHER, Scene, services};
use crate::domain::task::TaskKind;
use crate::domain::view::RolloutState;

const LEFT: &str = "the service left the configuration";
const ASKED: &str = "read: observe web/hello for hello:latest";

#[test]
fn a_reload_that_changes_nothing_for_a_service_leaves_it_alone() {
    let follows = |stage, _back| match stage {
        Stage::Gated => vec![ASKED, "commit"],
        _ => vec!["commit"],
    };
    at_every_stage(follows, |mut scene| {
        let config = scene.stage("hello").config();
        scene.all_committed();
        let before = scene.stage("hello");
        let follows = scene.reload(&config);
        if before == Stage::Gated {
            scene.observed("hello");
        }
        assert_eq!(scene.stage("hello"), before);
        follows
    });
}

#[test]
fn what_was_asked_under_the_old_configuration_is_asked_again() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    scene.committed();
    scene.reload(&HELLO.replace("latest", "stable"));
    scene.committed();
    assert_eq!(scene.observed("hello"), ["read: observe web/hello for hello:latest"]);
    let mismatch = "event: web/hello skips hello:latest: tag_mismatch";
    assert_eq!(scene.observed("hello"), [mismatch, "event: push to hello settled: tag_mismatch", "commit"]);
}

#[test]
fn a_service_that_leaves_drops_its_pending_pushes() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    scene.committed();
    assert_eq!(scene.reload(OTHER), ["event: web/hello drops its pending pushes", "commit"]);
    scene.committed();
    assert_eq!(scene.observed("hello"), NOTHING_FOLLOWS);
}

#[test]
fn a_push_is_settled_by_the_services_that_remain() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'a');
    let already = "event: web/one skips hello:latest: already_deployed";
    scene.committed();
    assert_eq!(scene.observed("one"), [already, "commit"]);
    scene.reload(&services(&["one"]));
    scene.all_committed();
    assert_eq!(scene.observed("two"), NOTHING_FOLLOWS);
}

#[test]
fn a_rollout_that_ecs_does_not_know_of_is_ended() {
    let mut scene = Scene::at(Stage::RegisterUnderWay);
    assert_eq!(scene.reload(OTHER), [format!("event: web/hello ended superseded: {LEFT}").as_str(), "commit"]);
    scene.all_committed();
    assert_eq!(scene.registered(2), NOTHING_FOLLOWS, "the answer is too late");
}

#[test]
fn a_rollout_that_ecs_may_know_of_is_watched_to_its_end() {
    let mut scene = Scene::at(Stage::UpdateUnderWay);
    assert_eq!(scene.reload(OTHER), ["commit"]);
    scene.committed();
    assert_eq!(scene.updated(), ["event: web/hello updated to hello:2 by d2", "commit"]);
    scene.committed();
    scene.rolls("hello", RolloutState::Completed);
    let stable = "event: web/hello stable, 6 s after its push";
    assert_eq!(scene.watched(), [stable, "event: web/hello ended completed hello:2", "commit"]);
}

#[test]
fn an_update_that_was_not_made_is_not_made_any_more() {
    let mut scene = Scene::at(Stage::RegisteredVerifying);
    assert_eq!(scene.reload(OTHER), ["commit"]);
    scene.committed();
    let ended = format!("event: web/hello ended superseded hello:2: {LEFT}");
    assert_eq!(scene.inspected(Some(2)), ["event: web/hello found not updated", &ended, "commit"]);
}

#[test]
fn what_was_to_be_superseded_is_watched_to_its_end() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.observed("hello");
    scene.all_committed();
    assert_eq!(scene.reload(OTHER), [format!("event: web/hello ended superseded: {LEFT}").as_str(), "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Rolling);
    scene.all_committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
}

#[test]
fn a_rollback_is_not_left_half_way() {
    let mut scene = Scene::back_at(Stage::IntendedVerifying);
    scene.reload(OTHER);
    scene.all_committed();
    scene.inspected(Some(1));
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
}

#[test]
fn what_cannot_be_reached_any_more_is_ended() {
    let mut scene = Scene::at(Stage::Rolling);
    let ended = format!("event: web/hello ended superseded hello:2: {LEFT}");
    assert_eq!(scene.reload_with(OTHER, &[]), [ended.as_str(), "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Idle);
}

#[test]
fn what_is_long_gone_is_forgotten() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    scene.all_committed();
    let days = |days: u64| days * 24 * 60 * 60;
    let knows = |scene: &Scene| scene.engine.state().services.keys().any(|key| key.service.as_str() == "hello");
    for (after, config, known) in [(0, OTHER, true), (89, OTHER, true), (2, HELLO, true), (0, OTHER, false)] {
        scene.pass(days(after));
        scene.reload(config);
        scene.all_committed();
        assert_eq!(knows(&scene), known, "{after} days later");
    }
}

#[test]
fn a_service_that_comes_back_goes_on_where_it_is() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.reload(OTHER);
    scene.all_committed();
    assert_eq!(scene.reload(HELLO), ["commit"]);
    let seen = "event: push hello:latest seen, 1 to decide";
    assert_eq!(scene.push("latest", 'c'), [seen, "read: observe web/hello for hello:latest"]);
}

#[test]
fn the_settings_of_the_new_configuration_count() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.reload(&format!("{HELLO}timeout = \"1m\"\n"));
    scene.pass(60);
    scene.after(0);
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"]);
}

/// What follows from a reload, and the stage after it.
type Reloaded = (Vec<String>, Stage);

#[test]
fn every_stage_under_every_kind_of_configuration() {
    for contexts in [&["default"][..], &[]] {
        at_every_stage(stays, |scene| {
            let config = scene.stage("hello").config();
            reloaded(scene, &config, contexts)
        });
    }
    // Without the tasks, the gates and the watch of the stage.
    at_every_stage(stays, |scene| reloaded(scene, HELLO, &["default"]));
    at_every_stage(leaves, |scene| reloaded(scene, OTHER, &["default"]));
    at_every_stage(leaves_and_is_unreachable, |scene| reloaded(scene, OTHER, &[]));
}

fn reloaded(mut scene: Scene, config: &str, contexts: &[&str]) -> Reloaded {
    let follows = scene.reload_with(config, contexts);
    (follows, scene.stage("hello"))
}

/// The service is in the new configuration as well.
fn stays(stage: Stage, _back: bool) -> Reloaded {
    match stage {
        // What waits is looked at anew.
        Stage::Gated => (lines(&[&[ASKED, "commit"]]), Stage::Idle),
        _ => goes_on(stage),
    }
}

/// The service is not in the new configuration, and its context can be reached.
fn leaves(stage: Stage, back: bool) -> Reloaded {
    match stage {
        Stage::Idle => goes_on(stage),
        Stage::Gated => is_dropped(),
        // A rollback is not left half-way.
        _ if back => goes_on(stage),
        // ECS does not know of it.
        Stage::IntendedUnverified
        | Stage::IntendedVerifying
        | Stage::RegisterWaiting
        | Stage::RegisterUnderWay
        | Stage::UpdateWaiting
        | Stage::UpdateRechecking
        | Stage::Task(TaskKind::Before, TaskStage::Unprepared | TaskStage::RegisterWaiting) => is_ended(stage, back),
        // ECS may know of it, or rolls it.
        Stage::RegisteredUnverified
        | Stage::RegisteredVerifying
        | Stage::UpdateUnderWay
        | Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Paused
        | Stage::AnswerWaiting
        | Stage::AnswerUnderWay
        | Stage::Monitored
        | Stage::MonitoredDiagnosing
        | Stage::StopWaiting
        | Stage::StopUnderWay
        | Stage::Task(..) => goes_on(stage),
    }
}

/// The service is not in the new configuration, and neither is its context.
fn leaves_and_is_unreachable(stage: Stage, back: bool) -> Reloaded {
    match stage {
        Stage::Idle => goes_on(stage),
        Stage::Gated => is_dropped(),
        _ => is_ended(stage, back),
    }
}

fn goes_on(stage: Stage) -> Reloaded {
    (lines(&[stage.commit()]), stage)
}

fn is_dropped() -> Reloaded {
    let dropped = ["event: web/hello drops its pending pushes", "event: web/hello waits no longer: approval", "commit"];
    (lines(&[&dropped]), Stage::Idle)
}

fn is_ended(stage: Stage, back: bool) -> Reloaded {
    let waits_no_longer = "event: web/hello waits no longer: pause";
    let before: &[&str] = match stage {
        Stage::Paused => &[waits_no_longer],
        Stage::AnswerWaiting | Stage::AnswerUnderWay => &[waits_no_longer, "event: web/hello approve by alice refused"],
        _ => &[],
    };
    let (direction, revision) = (if back { "back: " } else { "" }, stage.revision(back));
    let ended = format!("event: web/hello {direction}ended superseded{revision}: {LEFT}");
    (lines(&[before, &[&ended], stage.commit()]), Stage::Idle)
}
