//! What a queue delivers: pushes beside those that CloudTrail tells of, and when a delivery is acknowledged.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene};
use crate::domain::event::ParsedEvent;
use crate::domain::test_support::{at, event_id, push_ref};
use crate::domain::types::ContextName;
use crate::engine::{Delivery, DeliveryId, Input};

const QUEUE: &str = "[aws.default]\nqueue = \"https://sqs.eu-west-1.amazonaws.com/111111111111/pushes\"\n";
const SEEN: &str = "event: push hello:latest seen, 1 to decide";
const ASKED: &str = "read: observe web/hello for hello:latest";
const DUPLICATE: &str = "event: push hello:latest skipped: duplicate";
const IS_PUSH: &str = "event: message of default is a push";
const IS_DUPLICATE: &str = "event: message of default is a duplicate";

impl Scene {
    fn with_queue() -> Self {
        Self::of(&format!("{QUEUE}{HELLO}"))
    }

    fn delivered(&mut self, id: u64, parsed_events: Vec<ParsedEvent>) -> Vec<String> {
        let context = ContextName::parse("default").unwrap();
        self.handle([Input::Delivery(Delivery { id: DeliveryId(id), context, parsed_events })])
    }
}

/// The same push as another source tells of it, so many seconds apart.
fn told_elsewhere(event: &ParsedEvent, id: &str, seconds: i64) -> ParsedEvent {
    let ParsedEvent::Push(mut push) = event.clone() else { panic!("{event:?}") };
    push.event.id = event_id(id);
    push.event.time += jiff::SignedDuration::from_secs(seconds);
    ParsedEvent::Push(push)
}

#[test]
fn a_delivery_is_acknowledged_once_its_push_is_durable() {
    let mut scene = Scene::with_queue();
    let event = scene.pushed("hello", "latest", 'b');
    assert_eq!(scene.delivered(1, vec![event]), [SEEN, IS_PUSH, ASKED, "commit"]);
    assert_eq!(scene.committed(), ["acknowledge 1"]);
}

#[test]
fn a_delivery_that_cannot_be_written_waits() {
    let mut scene = Scene::with_queue();
    let event = scene.pushed("hello", "latest", 'b');
    scene.delivered(1, vec![event.clone()]);
    assert_eq!(scene.commit_failed("disk full"), ["event: state unwritable: disk full"]);
    assert_eq!(scene.delivered(2, vec![event]), [DUPLICATE, IS_DUPLICATE], "the first one is not on the disk yet");
    assert_eq!(scene.after(5), ["commit"]);
    assert_eq!(scene.committed(), ["acknowledge 1", "acknowledge 2", "event: state writable"]);
}

#[test]
fn what_is_known_already_is_acknowledged_at_once() {
    let mut scene = Scene::with_queue();
    let event = scene.pushed("hello", "latest", 'b');
    scene.delivered(1, vec![event.clone()]);
    scene.committed();
    assert_eq!(scene.delivered(2, vec![event]), [DUPLICATE, IS_DUPLICATE, "acknowledge 2"]);
    assert_eq!(scene.delivered(3, Vec::new()), ["acknowledge 3"]);
}

#[test]
fn what_is_skipped_is_written_down_before_its_message_is_gone() {
    let mut scene = Scene::with_queue();
    let event = scene.pushed("hello", "nightly", 'b');
    let lines = ["event: push hello:nightly skipped: tag_mismatch", IS_PUSH, "commit"];
    assert_eq!(scene.delivered(1, vec![event]), lines);
    assert_eq!(scene.committed(), ["acknowledge 1"]);
}

#[test]
fn a_push_that_nobody_follows_is_foreign() {
    let mut scene = Scene::with_queue();
    let event = scene.pushed("other", "latest", 'b');
    let lines =
        ["event: push other:latest skipped: not_configured", "event: message of default is foreign", "acknowledge 1"];
    assert_eq!(scene.delivered(1, vec![event]), lines);
}

#[test]
fn cloudtrail_tells_of_the_same_push_later_and_the_queue_too() {
    let mut scene = Scene::with_queue();
    let by_queue = scene.pushed("hello", "latest", 'b');
    scene.delivered(1, vec![by_queue.clone()]);
    scene.committed();
    let by_trail = told_elsewhere(&by_queue, "trail-1", -2);
    assert_eq!(scene.page(vec![by_trail]), ["event: push hello told again by cloudtrail", DUPLICATE]);
    let by_trail = scene.pushed("hello", "v9", 'c');
    scene.page(vec![by_trail.clone()]);
    scene.committed();
    let lines = [
        "event: push hello told again by queue",
        "event: push hello:v9 skipped: duplicate",
        IS_DUPLICATE,
        "acknowledge 2",
    ];
    assert_eq!(scene.delivered(2, vec![told_elsewhere(&by_trail, "queue-2", 2)]), lines);
}

#[test]
fn the_sightings_outlive_a_restart() {
    let mut scene = Scene::with_queue();
    let by_queue = scene.pushed("hello", "latest", 'b');
    scene.delivered(1, vec![by_queue.clone()]);
    let state = scene.snapshots.remove(0).state().clone();
    let mut scene = Scene::resumed(&format!("{QUEUE}{HELLO}"), state);
    scene.begun();
    scene.committed();
    let by_trail = told_elsewhere(&by_queue, "trail-1", 1);
    assert_eq!(scene.page(vec![by_trail]), ["event: push hello told again by cloudtrail", DUPLICATE]);
}

#[test]
fn a_push_that_was_taken_for_another_telling_is_taken_when_that_shows() {
    let mut scene = Scene::with_queue();
    let first = scene.pushed("hello", "latest", 'b');
    scene.delivered(1, vec![first.clone()]);
    scene.committed();
    let again = told_elsewhere(&first, "trail-2", 120);
    assert_eq!(scene.page(vec![again]), ["event: push hello told again by cloudtrail", DUPLICATE]);
    let itself = told_elsewhere(&first, "trail-1", 1);
    let told_again = "event: push hello told again by cloudtrail";
    assert_eq!(scene.page(vec![itself]), [told_again, DUPLICATE, SEEN, "commit"]);
    let events: Vec<&str> = scene.known("hello").pending.values().flatten().map(|push| push.event.as_str()).collect();
    assert_eq!(events[0], "trail-2");
}

#[test]
fn of_a_time_that_was_read_before_the_queue_was_known_cloudtrail_alone_tells() {
    let mut scene = Scene::new();
    scene.read_to(at(500));
    scene.reload(&format!("{QUEUE}{HELLO}"));
    scene.all_committed();
    let old = told_elsewhere(&scene.pushed("hello", "latest", 'b'), "old", 300);
    assert_eq!(scene.delivered(1, vec![old.clone()]), [DUPLICATE, IS_DUPLICATE, "acknowledge 1"]);
    let new = told_elsewhere(&old, "new", 200);
    assert_eq!(scene.delivered(2, vec![new]), [SEEN, IS_PUSH, ASKED, "commit"]);
}

#[test]
fn without_a_queue_nothing_of_it_is_in_the_state() {
    let mut scene = Scene::new();
    let event = scene.pushed("hello", "latest", 'b');
    scene.page(vec![event]);
    let state = serde_json::to_string(scene.snapshots.remove(0).state()).unwrap();
    assert!(!state.contains("sightings") && !state.contains("seen_by") && !state.contains("known_since"), "{state}");
    assert_eq!(scene.known("hello").pending.values().next().unwrap()[0].seen, None);
    assert_eq!(push_ref("e", "latest", 0).seen, None);
    assert_eq!(scene.stage("hello"), Stage::Idle);
    assert_eq!(scene.handle(None), NOTHING_FOLLOWS);
}
