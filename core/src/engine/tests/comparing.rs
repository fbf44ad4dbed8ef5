//! The comparison with ECR, every so often.

use std::collections::BTreeMap;

use super::{HELLO, NOTHING_FOLLOWS, Scene, error};
use crate::domain::aws_error::Fault;
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::{at, image, repository_key, service_key, tag};
use crate::domain::view::ImageView;
use crate::engine::{Input, Read};

const EVERY: &str = "[poll]\nreconcile = \"10m\"\n";
const COMPARE: &str = "read: compare hello for web/hello";

impl Scene {
    fn comparing() -> Self {
        Self::of(&format!("{EVERY}{HELLO}"))
    }

    /// What the policy selects in ECR: an image that was pushed at this second.
    fn compared(&mut self, letter: char, second: i64) -> Vec<String> {
        let Some(Read::Compare { repository, policies }) = self.reads.pop() else { panic!("nothing was asked") };
        let image = ImageView { pushed_at: Some(at(second)), ..image(letter, &["latest"]) };
        let best = policies.into_iter().map(|(key, _)| (key, Some((tag("latest"), image.clone()))));
        let answer = Ok(best.collect::<BTreeMap<_, _>>());
        self.handle([Input::Compared { repository, answer }])
    }
}

#[test]
fn a_repository_has_its_turn_once_in_the_period() {
    let mut scene = Scene::comparing();
    assert_eq!(scene.after(595), NOTHING_FOLLOWS);
    assert_eq!(scene.after(5), [COMPARE]);
    assert_eq!(scene.after(3600), NOTHING_FOLLOWS, "it is asked already");
    assert_eq!(scene.compared('a', 0), NOTHING_FOLLOWS);
    assert_eq!(scene.after(599), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), [COMPARE]);
}

#[test]
fn the_turns_are_spread_over_the_period() {
    let mut scene = Scene::of(&format!("{EVERY}{}", super::repositories(&["hello", "other"])));
    scene.pass(200);
    scene.handle(None);
    assert_eq!(scene.after(100), [COMPARE]);
    assert_eq!(scene.after(299), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["read: compare other for web/other"]);
}

#[test]
fn what_is_newer_than_all_that_was_decided_is_observed_once() {
    let mut scene = Scene::comparing();
    scene.after(600);
    let lines = scene.compared('b', 500);
    assert_eq!(lines, ["read: observe web/hello for hello (reconcile)", "commit"]);
    let push = scene.known("hello").pending[&repository_key("hello")][0].clone();
    assert_eq!((push.event.as_str(), push.at, push.seen.unwrap().by.as_str()), ("reconcile", at(500), "reconcile"));
}

#[test]
fn what_was_there_before_the_service_was_known_is_left() {
    let mut scene = Scene::comparing();
    scene.after(600);
    assert_eq!(scene.compared('b', 99), NOTHING_FOLLOWS);
}

#[test]
fn nothing_is_asked_while_an_operator_holds_the_service_or_a_push_is_undecided() {
    let mut scene = Scene::comparing();
    scene.command(OperatorCommand::Hold { reason: None });
    scene.all_committed();
    assert_eq!(scene.after(600), NOTHING_FOLLOWS);
    let mut scene = Scene::comparing();
    scene.push("latest", 'b');
    scene.all_committed();
    assert_eq!(scene.after(600), NOTHING_FOLLOWS);
}

#[test]
fn a_repository_that_cannot_be_asked_has_its_next_turn() {
    let mut scene = Scene::comparing();
    scene.after(600);
    scene.reads.clear();
    let (repository, answer) = (repository_key("hello"), Err(error(Fault::Denied)));
    assert_eq!(scene.handle([Input::Compared { repository, answer }]), ["event: hello not compared"]);
    assert_eq!(scene.after(600), [COMPARE]);
}

#[test]
fn a_service_is_known_since_it_is_in_the_configuration() {
    let mut scene = Scene::comparing();
    let since = |scene: &Scene| scene.engine.state.services[&service_key("hello")].known_since;
    let first = since(&scene).unwrap();
    scene.pass(1000);
    scene.reload(&format!("{EVERY}{HELLO}"));
    assert_eq!(since(&scene), Some(first), "it stayed");
    scene.reload(&format!("{EVERY}{}", super::OTHER));
    scene.pass(1000);
    scene.reload(&format!("{EVERY}{HELLO}"));
    assert_eq!(since(&scene), Some(scene.now.time), "it left and came back");
}
