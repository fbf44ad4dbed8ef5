//! Calls that fail: each kind is put off by itself.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, error, services};
use crate::domain::aws_error::Fault;
use crate::domain::test_support::repository_key;

const ASKED: &str = "read: observe web/hello for hello:latest";
const FAILED: &str = "event: web/hello call failed, next in 1 s";

#[test]
fn an_observation_that_fails_is_made_again_after_a_pause_that_doubles() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    scene.committed();
    assert_eq!(scene.not_observed("hello", Fault::Unavailable), [FAILED]);
    assert_eq!(scene.wakes_in(), 1000);
    assert_eq!(scene.after(1), [ASKED]);
    let again = "event: web/hello call failed again, next in 2 s";
    assert_eq!(scene.not_observed("hello", Fault::Unavailable), [again]);
    assert_eq!(scene.after(1), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), [ASKED]);
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello calls recovered",
            "event: web/hello decided hello:latest@b, from hello:1, back to hello:1",
            "event: push to hello settled: deployed",
            "commit",
        ]
    );
}

#[test]
fn what_an_operator_has_to_change_is_tried_once_a_minute() {
    for fault in [Fault::Denied, Fault::Refused] {
        let mut scene = Scene::new();
        scene.push("latest", 'b');
        scene.committed();
        assert_eq!(scene.not_observed("hello", fault), ["event: web/hello call failed, next in 60 s"]);
        assert_eq!(scene.after(59), NOTHING_FOLLOWS);
        assert_eq!(scene.after(1), [ASKED]);
    }
}

#[test]
fn a_repository_that_cannot_be_asked_holds_up_no_other_one() {
    let config = format!("{HELLO}{}", HELLO.replace("name = \"hello\"", "name = \"side\""));
    let mut scene = Scene::of(&config);
    let pushes = vec![scene.pushed("hello", "latest", 'b'), scene.pushed("side", "latest", 'c')];
    scene.page(pushes);
    scene.committed();
    let unanswered = [(repository_key("side"), error(Fault::Unavailable))];
    assert_eq!(
        scene.observed_but("hello", |found| found.unanswered = unanswered.into()),
        [
            FAILED,
            "event: web/hello decided hello:latest@b, from hello:1, back to hello:1",
            "event: push to hello settled: deployed",
            "commit",
        ]
    );
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    let updated = "event: web/hello updated to hello:2 by d2";
    assert_eq!(scene.updated(), [updated, "commit"], "the repository is put off");
    scene.committed();
    assert_eq!(scene.after(1), ["read: observe web/hello for side:latest"]);
    assert_eq!(
        scene.observed("hello"),
        [
            "event: web/hello calls recovered",
            "event: web/hello rolls, 0 of 2 after 1 s",
            "event: web/hello decided hello:latest@b+side:latest@c, from hello:2, back to hello:1",
            "event: push to side settled: deployed",
            "commit",
        ]
    );
}

#[test]
fn a_push_to_a_repository_that_cannot_be_asked_is_not_decided() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    scene.committed();
    let unanswered = [(repository_key("hello"), error(Fault::Unavailable))];
    assert_eq!(scene.observed_but("hello", |found| found.unanswered = unanswered.into()), [FAILED]);
    assert_eq!(scene.known("hello").pending.len(), 1);
    assert_eq!(scene.after(1), [ASKED]);
}

#[test]
fn an_inspection_that_fails_is_made_again() {
    let mut scene = Scene::at(Stage::RegisteredVerifying);
    assert_eq!(scene.inspection_failed(Fault::Unavailable), [FAILED]);
    assert_eq!(scene.after(1), ["read: inspect web/hello (registered hello:2)"]);
    assert_eq!(
        scene.inspected(Some(2)),
        ["event: web/hello calls recovered", "event: web/hello found not updated", "commit"]
    );
}

#[test]
fn a_write_that_fails_does_not_put_off_what_ecs_rolls() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.observed("hello");
    scene.all_committed();
    scene.not_registered(Fault::Denied);
    scene.all_committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
}

#[test]
fn a_look_that_fails_does_not_put_off_a_decision() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.not_watched(Fault::Denied);
    assert_eq!(scene.push("latest", 'c'), ["event: push hello:latest seen, 1 to decide", ASKED, "commit"]);
}

#[test]
fn an_observation_that_fails_does_not_put_off_the_look_at_a_rollout() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.push("latest", 'c');
    scene.not_observed("hello", Fault::Denied);
    scene.all_committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
}

#[test]
fn a_service_that_cannot_be_reached_holds_up_no_other_one() {
    let mut scene = Scene::of(&services(&["one", "two"]));
    scene.push("latest", 'b');
    scene.not_observed("one", Fault::Unavailable);
    scene.observed("two");
    assert_eq!(scene.all_committed(), ["write: register for web/two: app=hello@b"]);
}

#[test]
fn the_last_error_is_shown_until_a_call_succeeds() {
    let mut scene = Scene::at(Stage::Rolling);
    let shown = |scene: &Scene| scene.engine.details().find_map(|(_, details)| details.last_error.cloned());
    assert_eq!(shown(&scene), None);
    scene.not_watched(Fault::Throttled);
    assert_eq!(shown(&scene).as_deref(), Some("ecs:Simulated: simulated"));
    scene.after(5);
    scene.watched();
    assert_eq!(shown(&scene), None);
}
