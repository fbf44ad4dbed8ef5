//! What is shown of the work: counts by service, the tasks of a rollout, and whether anything is left to do.

use super::reaching::at_every_stage;
use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, OTHER, Scene, empty_page, rules};
use crate::domain::aws_error::Fault;
use crate::domain::rollout::Counts;
use crate::domain::state::{OperatorCommand, OutcomeKind};
use crate::domain::test_support::service_key;
use crate::domain::types::ContextName;
use crate::domain::view::RolloutState;
use crate::engine::{Engine, Page};

fn counts(rolling: usize, held: usize, undecided: usize) -> String {
    format!("event: web/hello counts {rolling} rolling, {held} held, {undecided} undecided")
}

#[test]
fn counts_are_told_when_they_change() {
    let mut scene = Scene::new();
    assert_eq!(scene.counts(), NOTHING_FOLLOWS);
    scene.push("latest", 'b');
    assert_eq!(scene.counts(), [counts(0, 0, 1)]);
    scene.observed("hello");
    assert_eq!(scene.counts(), [counts(1, 0, 0)]);
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    assert_eq!(scene.counts(), NOTHING_FOLLOWS);
    scene.rolls("hello", RolloutState::Failed);
    scene.watched();
    scene.stopped_tasks(&[]);
    assert_eq!(scene.counts(), [counts(1, 1, 0)]);
}

#[test]
fn services_of_one_name_in_two_contexts_are_counted_together() {
    let of_other = HELLO.replace("name = \"hello\"", "name = \"hello\"\naws = \"other\"");
    let config = format!("[aws.other]\nregion = \"eu-west-1\"\n{HELLO}{of_other}");
    let mut scene = Scene::of(&config);
    scene.engine = Engine::new(rules(&config, &["default", "other"]), scene.engine.state().clone(), scene.now);
    scene.begun();
    assert_eq!(scene.counts(), NOTHING_FOLLOWS);
    scene.push("latest", 'b');
    assert_eq!(scene.counts(), [counts(0, 0, 1)]);
    let context = ContextName::parse("other").unwrap();
    let parsed_events = vec![scene.pushed("hello", "latest", 'c')];
    scene.page_of(Page { context, parsed_events, ..empty_page() });
    assert_eq!(scene.counts(), [counts(0, 0, 2).replace("web/", "other/web/")]);
}

#[test]
fn what_left_the_configuration_is_not_counted_as_held() {
    let mut scene = Scene::back_at(Stage::Rolling);
    scene.counts();
    scene.reload(OTHER);
    assert_eq!(scene.counts(), [format!("{}, not configured", counts(1, 0, 0))]);
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    assert_eq!(scene.counts(), [format!("{}, not configured", counts(0, 0, 0))]);
}

#[test]
fn what_is_on_record_is_counted_at_the_start() {
    let scene = Scene::at(Stage::Rolling);
    let state = scene.engine.state().clone();
    let mut scene = Scene::resumed(HELLO, state);
    scene.begun();
    assert_eq!(scene.counts(), [counts(1, 0, 0)]);
}

#[test]
fn the_tasks_of_a_rollout_are_shown() {
    let mut scene = Scene::at(Stage::Rolling);
    let tasks = |scene: &Scene| scene.engine.details().find_map(|(_, details)| details.counts);
    assert_eq!(tasks(&scene), None);
    scene.watched();
    assert_eq!(tasks(&scene), Some(Counts { desired: 2, running: 0, pending: 0, failed: 0 }));
    assert_eq!(tasks(&Scene::at(Stage::UpdateUnderWay)), None);
}

#[test]
fn a_service_is_at_rest_when_nothing_is_left_to_do() {
    // What waits for an operator is waited for where ECS rolls it, and not where nothing has begun.
    let rests = |stage, _| matches!(stage, Stage::Idle | Stage::Gated);
    at_every_stage(rests, |mut scene| {
        scene.all_committed();
        scene.engine.is_at_rest()
    });
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    assert!(!scene.engine.is_at_rest(), "nothing is durable");
    scene.committed();
    assert!(!scene.engine.is_at_rest(), "a push is pending");
}

#[test]
fn what_an_operator_has_to_change_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    scene.committed();
    scene.not_observed("hello", Fault::Unavailable);
    assert!(!scene.engine.is_at_rest());
    scene.after(1);
    scene.not_observed("hello", Fault::Denied);
    assert!(scene.engine.is_at_rest());
    let rest = scene.engine.rest();
    assert_eq!(rest.unfinished, [(service_key("hello"), "ecs:Simulated: simulated".to_owned())]);
    assert!(!rest.is_well());
}

#[test]
fn a_state_that_cannot_be_written_is_not_waited_for() {
    let mut scene = Scene::new();
    scene.command(OperatorCommand::Hold { reason: None });
    scene.commit_failed("disk full");
    assert!(scene.engine.is_at_rest());
    assert_eq!(scene.engine.rest().unwritten.as_deref(), Some("disk full"));
}

#[test]
fn the_rest_tells_how_rollouts_ended() {
    let mut scene = Scene::at(Stage::Rolling);
    let rest = scene.engine.rest();
    let goes_on = "not finished; the next run goes on with it".to_owned();
    assert_eq!(rest.unfinished, [(service_key("hello"), goes_on)]);
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    scene.committed();
    let rest = scene.engine.rest();
    let ended: Vec<_> = rest.ended.iter().map(|(key, outcome)| (key, outcome.result)).collect();
    assert_eq!(ended, [(&service_key("hello"), OutcomeKind::Completed)]);
    assert!(rest.is_well());
    scene.pass(1);
    let later = Engine::new(rules(HELLO, &["default"]), scene.engine.state().clone(), scene.now);
    assert!(later.rest().ended.is_empty(), "it was before");
}
