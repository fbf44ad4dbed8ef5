//! Looks at the rollouts that ECS rolls: when, how many in a call, and what an answer says.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, services};
use crate::domain::aws_error::Fault;
use crate::domain::test_support::service_key;

#[test]
fn a_rollout_is_looked_at_once_in_its_interval() {
    let mut scene = Scene::at(Stage::UpdateUnderWay);
    scene.updated();
    assert_eq!(scene.wakes_in(), 5000);
    scene.all_committed();
    assert_eq!(scene.after(4), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["read: watch web/hello d2"]);
    assert_eq!(scene.after(5), NOTHING_FOLLOWS, "not while the call is under way");
    assert_eq!(scene.watched(), ["event: web/hello rolls, 0 of 2 after 5 s", "read: watch web/hello d2"]);
}

#[test]
fn ten_services_of_a_cluster_are_looked_at_in_one_call() {
    let names: Vec<String> = (1..=12).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scene = all_rolling(&names, &services(&names));
    let watched: Vec<String> = names.iter().map(|name| format!("web/{name} d2")).collect();
    let (ten, two) = watched.split_at(10);
    assert_eq!(scene.after(5), [format!("read: watch {}", ten.join(", ")), format!("read: watch {}", two.join(", "))]);
    let roll = |names: &[&str], seconds: u32| -> Vec<String> {
        names.iter().map(|name| format!("event: web/{name} rolls, 0 of 2 after {seconds} s")).collect()
    };
    assert_eq!(scene.watched(), [roll(&names[..5], 6), roll(&names[5..10], 5)].concat());
    assert_eq!(scene.after(5), NOTHING_FOLLOWS, "the round is over with its last answer");
    let next = [format!("read: watch {}", ten.join(", ")), format!("read: watch {}", two.join(", "))];
    assert_eq!(scene.watched(), [&roll(&names[10..], 5)[..], &next].concat());
}

#[test]
fn the_shortest_interval_of_a_cluster_counts() {
    let config = services(&["one", "two"]) + "observe_interval = \"2s\"\n";
    let mut scene = all_rolling(&["one", "two"], &config);
    assert_eq!(scene.after(2), ["read: watch web/one d2, web/two d2"]);
    assert_eq!(scene.watched(), ["event: web/one rolls, 0 of 2 after 2 s", "event: web/two rolls, 0 of 2 after 2 s"]);
    assert_eq!(scene.after(2), ["read: watch web/one d2, web/two d2"]);
}

#[test]
fn an_answer_about_a_superseded_deployment_says_nothing_about_its_successor() {
    let mut scene = Scene::at(Stage::Rolling);
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
    scene.push("latest", 'c');
    scene.observed("hello");
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.ecs("hello").deployments.clear();
    assert_eq!(scene.watch_answered(None), NOTHING_FOLLOWS);
    assert_eq!(scene.stage("hello"), Stage::Rolling);
}

#[test]
fn a_look_that_fails_is_repeated_after_its_pause() {
    let mut scene = Scene::at(Stage::Rolling);
    assert_eq!(scene.not_watched(Fault::Unavailable), ["event: web/hello call failed, next in 1 s"]);
    assert_eq!(scene.wakes_in(), 1000);
    assert_eq!(scene.after(1), ["read: watch web/hello d2"]);
    assert_eq!(scene.not_watched(Fault::Unavailable), ["event: web/hello call failed again, next in 2 s"]);
    assert_eq!(scene.after(1), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["read: watch web/hello d2"]);
    let rolls = "event: web/hello rolls, 0 of 2 after 8 s";
    assert_eq!(scene.watched(), ["event: web/hello calls recovered", rolls]);
}

#[test]
fn a_look_that_fails_is_repeated_for_its_services_alone() {
    let names: Vec<String> = (1..=11).map(|number| format!("s{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut scene = all_rolling(&names, &services(&names));
    scene.after(5);
    scene.watch_answered(None);
    assert_eq!(scene.watch_answered(Some(Fault::Throttled)), ["event: web/s11 call failed, next in 1 s"]);
    assert_eq!(scene.after(1), ["read: watch web/s11 d2"]);
    scene.watched();
    assert_eq!(scene.after(2), NOTHING_FOLLOWS);
    let ten: Vec<String> = names[..10].iter().map(|name| format!("web/{name} d2")).collect();
    let round = [format!("read: watch {}", ten.join(", ")), "read: watch web/s11 d2".to_owned()];
    assert_eq!(scene.after(2), round, "the next round is due when it was before");
}

#[test]
fn a_round_goes_by_without_a_service_whose_look_is_to_wait() {
    let mut scene = all_rolling(&["one", "two"], &services(&["one", "two"]));
    scene.after(5);
    scene.watch_answered(Some(Fault::Denied));
    assert_eq!(scene.after(50), NOTHING_FOLLOWS);
    assert_eq!(scene.after(10), ["read: watch web/one d2, web/two d2"]);
}

#[test]
fn a_rollout_in_a_context_that_cannot_be_reached_is_not_looked_at() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.reload_with(HELLO, &[]);
    scene.all_committed();
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
    scene.reload(HELLO);
    scene.all_committed();
    assert_eq!(scene.after(5), ["read: watch web/hello d2"]);
}

#[test]
fn right_after_an_update_an_answer_from_before_it_ends_nothing() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.services.insert(service_key("hello"), super::running(1));
    for seconds in [5, 10, 15] {
        let rolls = format!("event: web/hello rolls, 0 of 0 after {seconds} s");
        assert_eq!(scene.watched(), [rolls]);
    }
    assert_eq!(scene.watched(), ["read: stopped tasks of web/hello d2"], "it is believed in the end");
}

#[test]
fn nothing_is_looked_at_when_nothing_is_rolling() {
    let mut scene = Scene::new();
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
    assert_eq!(scene.wakes_in(), 30_000, "the heartbeat");
}

fn all_rolling(names: &[&str], config: &str) -> Scene {
    let mut scene = Scene::of(config);
    scene.push("latest", 'b');
    for name in names {
        scene.observed(name);
    }
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    while !scene.writes.is_empty() {
        scene.updated();
    }
    scene.all_committed();
    scene
}
