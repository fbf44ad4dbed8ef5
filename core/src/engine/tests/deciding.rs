//! A push becomes a plan: what is asked, what is decided, and what is skipped.

use super::reaching::at_every_stage;
use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, services};
use crate::domain::test_support::{digest, image_name, service_key};
use crate::domain::view::RolloutState;

const SEEN: &str = "event: push hello:latest seen, 1 to decide";
const ASKED: &str = "read: observe web/hello for hello:latest";
const SETTLED: &str = "event: push to hello settled: deployed";

#[test]
fn a_push_is_asked_about_decided_and_begun() {
    let mut scene = Scene::new();
    assert_eq!(scene.push("latest", 'b'), [SEEN, ASKED, "commit"]);
    assert_eq!(scene.committed(), NOTHING_FOLLOWS);
    let decided = "event: web/hello decided hello:latest@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, SETTLED, "commit"]);
    assert_eq!(scene.committed(), ["write: register for web/hello: app=hello@b"]);
}

#[test]
fn the_answer_may_come_before_the_commit_of_the_push() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    let decided = "event: web/hello decided hello:latest@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, SETTLED]);
    assert_eq!(scene.committed(), ["commit"], "the decision is not on the disk");
    assert_eq!(scene.committed(), ["write: register for web/hello: app=hello@b"]);
}

#[test]
fn a_newer_push_supersedes_what_ecs_rolls_from_the_update_on() {
    let mut scene = Scene::at(Stage::Rolling);
    assert_eq!(scene.push("latest", 'c'), [SEEN, ASKED, "commit"]);
    scene.committed();
    let rolls = "event: web/hello rolls, 0 of 2 after 0 s";
    let decided = "event: web/hello decided hello:latest@c, from hello:2, back to hello:1";
    assert_eq!(scene.observed("hello"), [rolls, decided, SETTLED, "commit"]);
    assert_eq!(scene.committed(), ["write: register for web/hello: app=hello@c"]);
    assert_eq!(scene.registered(3), ["event: web/hello registered hello:3", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:3"]);
    assert_eq!(
        scene.updated(),
        [
            "event: web/hello updated to hello:3 by d3",
            "event: web/hello ended superseded hello:2: a newer push took its place",
            "commit",
        ]
    );
    assert_eq!(scene.committed(), ["notify: web/hello: deployment superseded (hello:latest)"]);
}

#[test]
fn a_newer_push_supersedes_the_rollback() {
    let mut scene = Scene::back_at(Stage::Rolling);
    scene.push("latest", 'c');
    let rolls = "event: web/hello back: rolls, 0 of 2 after 0 s";
    let decided = "event: web/hello decided hello:latest@c, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [rolls, decided, SETTLED]);
    assert!(scene.known("hello").held.is_empty(), "a newer push ends the hold");
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    assert_eq!(
        scene.updated(),
        [
            "event: web/hello updated to hello:3 by d3",
            "event: web/hello back: ended superseded hello:1: a newer push took its place",
            "commit",
        ]
    );
}

#[test]
fn a_push_waits_while_a_rollout_is_being_begun() {
    let mut scene = Scene::at(Stage::RegisterWaiting);
    assert_eq!(scene.push("latest", 'c'), [SEEN]);
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    assert_eq!(scene.updated(), ["event: web/hello updated to hello:2 by d2", ASKED, "commit"]);
}

#[test]
fn what_is_pushed_while_it_is_asked_is_asked_about_afterwards() {
    let mut scene = Scene::new();
    scene.push("v1", 'b');
    scene.pass(1);
    assert_eq!(scene.push("v2", 'c'), ["event: push hello:v2 seen, 1 to decide"]);
    scene.images.clear();
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello skips hello:v1: tag_gone",
            "event: push to hello settled: tag_gone",
            "read: observe web/hello for hello:v2",
        ]
    );
}

#[test]
fn of_several_pushes_the_newest_is_deployed() {
    let mut scene = Scene::new();
    let older = scene.pushed("hello", "v1", 'b');
    scene.pass(1);
    let newer = scene.pushed("hello", "v2", 'c');
    assert_eq!(
        scene.page(vec![older, newer]),
        [
            "event: push hello:v1 seen, 1 to decide",
            "event: push hello:v2 seen, 1 to decide",
            "read: observe web/hello for hello:v2+hello:v1",
            "commit",
        ]
    );
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello skips hello:v1: superseded",
            "event: push to hello settled: superseded",
            "event: web/hello decided hello:v2@c, from hello:1, back to hello:1",
            SETTLED,
        ]
    );
}

#[test]
fn a_push_that_is_not_deployed_is_skipped_with_the_reason() {
    let skips = |change: fn(&mut Scene)| {
        let mut scene = Scene::new();
        scene.push("latest", 'b');
        scene.committed();
        change(&mut scene);
        scene.observed("hello")
    };
    let skipped = |reason: &str| {
        let settled = format!("event: push to hello settled: {reason}");
        [format!("event: web/hello skips hello:latest: {reason}"), settled, "commit".to_owned()]
    };
    assert_eq!(skips(|scene| scene.images.clear()), skipped("tag_gone"));
    let missing = skips(|scene| scene.not_known(|scene| scene.observed("hello")));
    assert_eq!(missing[0], "event: web/hello calls recovered");
    assert_eq!(missing[1..], skipped("service_missing"));
    let runs_it = |scene: &mut Scene| {
        let image = format!("{}@{}", image_name("hello"), digest('b'));
        scene.revisions.insert(1, vec![("app".to_owned(), image)]);
    };
    assert_eq!(skips(runs_it), skipped("already_deployed"));
    let nothing_from_there = |scene: &mut Scene| drop(scene.revisions.insert(1, Vec::new()));
    assert_eq!(skips(nothing_from_there), skipped("no_container"));
}

#[test]
fn what_ecs_could_not_roll_is_refused_and_told() {
    let mut scene = Scene::new();
    scene.ecs("hello").maximum_percent = Some(100);
    scene.push("latest", 'b');
    scene.committed();
    let why = "minimumHealthyPercent 100 and maximumPercent 100 with desiredCount 2: no task may stop and none may start, the rollout \
               would never end; set maximumPercent to 200";
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello skips hello:latest: downtime",
            "event: push to hello settled: downtime",
            &format!("event: web/hello refused: {why}"),
            "commit",
        ]
    );
    assert_eq!(scene.committed(), ["notify: web/hello: deployment refused"]);
}

#[test]
fn what_failed_is_held_until_it_is_pushed_again() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.pass(2);
    let before = scene.pushed("hello", "v1", 'b');
    scene.rolls("hello", RolloutState::Failed);
    scene.watched();
    scene.stopped_tasks(&[]);
    scene.inspected(Some(1));
    scene.all_committed();
    scene.updated();
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    scene.all_committed();
    scene.page(vec![before]);
    let held = ["event: web/hello skips hello:v1: held", "event: push to hello settled: held"];
    assert_eq!(scene.observed("hello"), held, "it was pushed before the failure");
    scene.all_committed();
    scene.push("v2", 'b');
    let decided = "event: web/hello decided hello:v2@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, SETTLED]);
    assert!(scene.known("hello").held.is_empty());
}

#[test]
fn what_is_known_of_the_rollout_under_way_comes_before_the_decision() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.rolls("hello", RolloutState::Completed);
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello stable, 1 s after its push",
            "event: web/hello ended completed hello:2",
            "read: observe web/hello for hello:latest",
        ]
    );
}

#[test]
fn an_answer_from_before_the_update_is_asked_for_again() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.services.insert(service_key("hello"), super::running(1));
    scene.push("latest", 'c');
    scene.committed();
    assert_eq!(scene.observed("hello"), ["event: web/hello rolls, 0 of 0 after 0 s"]);
    assert_eq!(scene.after(4), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), [ASKED, "read: watch web/hello d2"]);
}

#[test]
fn nothing_supersedes_a_rollout_whose_end_is_being_found_out() {
    let decided = "event: web/hello decided hello:latest@c, from hello:2, back to hello:1";
    for (stage, follows) in [
        (Stage::Rolling, &["event: web/hello rolls, 0 of 2 after 0 s", decided, SETTLED][..]),
        // Whether ECS is done with it is asked with every look.
        (Stage::Baking, &["read: deployments of web/hello d2", decided, SETTLED]),
        (Stage::Confirming, &[]),
        (Stage::Diagnosing, &[]),
    ] {
        let mut scene = Scene::at(stage);
        scene.push("latest", 'c');
        assert_eq!(scene.observed("hello"), follows, "{stage:?}");
    }
}

#[test]
fn the_rollback_target_is_asked_for_where_the_rollout_that_knew_it_is_over() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.committed();
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    scene.all_committed();
    assert_eq!(scene.observed("hello"), [ASKED], "what runs was not asked before");
    let decided = "event: web/hello decided hello:latest@c, from hello:2, back to hello:2";
    assert_eq!(scene.observed("hello"), [decided, SETTLED, "commit"]);
}

#[test]
fn a_push_to_several_services_is_settled_once() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    assert_eq!(
        scene.push("latest", 'b'),
        [
            "event: push hello:latest seen, 2 to decide",
            "read: observe web/one for hello:latest, web/two for hello:latest",
            "commit",
        ]
    );
    scene.committed();
    let decided = "event: web/one decided hello:latest@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("one"), [decided, SETTLED, "commit"]);
    let decided = "event: web/two decided hello:latest@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("two"), [decided]);
}

#[test]
fn what_several_repositories_bring_at_once_is_one_rollout() {
    let config = format!("{HELLO}{}", HELLO.replace("name = \"hello\"", "name = \"side\""));
    let mut scene = Scene::of(&config);
    let pushes = vec![scene.pushed("hello", "latest", 'b'), scene.pushed("side", "latest", 'c')];
    scene.page(pushes);
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello decided hello:latest@b+side:latest@c, from hello:1, back to hello:1",
            SETTLED,
            "event: push to side settled: deployed",
        ]
    );
    assert_eq!(scene.all_committed(), ["write: register for web/hello: app=hello@b side=side@c"]);
}

#[test]
fn a_push_at_every_stage() {
    at_every_stage(pushed, |mut scene| {
        let follows = scene.push("latest", 'c');
        scene.all_committed();
        assert_eq!(scene.known("hello").pending.len(), 1);
        follows
    });
}

/// What follows from a push at a stage.
fn pushed(stage: Stage, _back: bool) -> Vec<&'static str> {
    let asked: &[&str] = match stage {
        Stage::Gated => &["read: observe web/hello for hello:latest+hello:latest"],
        Stage::Idle
        | Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Paused
        | Stage::AnswerWaiting
        | Stage::AnswerUnderWay
        | Stage::Monitored
        | Stage::MonitoredDiagnosing => &[ASKED],
        // It is decided when ECS rolls what is being begun, or when that has ended.
        Stage::IntendedUnverified
        | Stage::IntendedVerifying
        | Stage::RegisterWaiting
        | Stage::RegisterUnderWay
        | Stage::RegisteredUnverified
        | Stage::RegisteredVerifying
        | Stage::UpdateWaiting
        | Stage::UpdateRechecking
        | Stage::UpdateUnderWay
        | Stage::StopWaiting
        | Stage::StopUnderWay
        | Stage::Task(..) => &[],
    };
    [&[SEEN], asked, stage.commit()].concat()
}
