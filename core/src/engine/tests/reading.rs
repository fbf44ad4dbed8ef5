//! Pages of events: which pushes services decide about, and what others changed.

use jiff::SignedDuration;

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, empty_page};
use crate::domain::audit::{Change, EventName};
use crate::domain::event::{EventRef, ParsedEvent, Repeated, Skipped};
use crate::domain::skip::SkipReason;
use crate::domain::state::{AuditProgress, State};
use crate::domain::test_support::{at, digest, event_id, tag};
use crate::domain::types::RepositoryName;
use crate::engine::Page;

const SEEN: &str = "event: push hello:latest seen, 1 to decide";
const ASKED: &str = "read: observe web/hello for hello:latest";

#[test]
fn a_push_that_no_service_takes_is_skipped() {
    let mut scene = Scene::new();
    assert_eq!(scene.push("nightly", 'b'), ["event: push hello:nightly skipped: tag_mismatch"]);
    assert_eq!(scene.push_to("other", "latest", 'b'), ["event: push other:latest skipped: not_configured"]);
    let event = EventRef { id: event_id("event-x"), shared_id: None, time: at(100) };
    let repository = Some(RepositoryName::parse("hello").unwrap());
    let skipped = Skipped {
        event,
        repository,
        reason: SkipReason::FailedPush,
        detail: "it failed".to_owned(),
        repeats: None,
        brought: None,
    };
    assert_eq!(scene.page(vec![ParsedEvent::Skip(skipped)]), ["event: push hello skipped: failed_push"]);
    assert_eq!(scene.page(vec![ParsedEvent::Foreign]), NOTHING_FOLLOWS);
    assert_eq!(scene.after(60), ["commit"], "what was read is progress");
    assert_eq!(scene.engine.state.decisions.len(), 2, "repositories of others are not written down");
}

#[test]
fn a_push_of_an_image_that_is_held_is_reported() {
    let mut scene = Scene::at(Stage::Diagnosing);
    scene.stopped_tasks(&[]);
    scene.all_committed();
    let event = EventRef { id: event_id("event-x"), shared_id: None, time: scene.now.time };
    let repository = Some(RepositoryName::parse("hello").unwrap());
    let again = |letter| {
        let repeats = Some(Repeated { tag: Some(tag("latest")), digest: Some(digest(letter)) });
        let (detail, event) = ("ImageAlreadyExistsException".to_owned(), event.clone());
        let reason = SkipReason::FailedPush;
        ParsedEvent::Skip(Skipped { event, repository: repository.clone(), reason, detail, repeats, brought: None })
    };
    let skipped = "event: push hello:latest skipped: failed_push";
    assert_eq!(scene.page(vec![again('b')]), ["event: web/hello holds hello@b, pushed again", skipped, "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: pushing hello:latest again changed nothing, it is held"]);
}

#[test]
fn an_event_that_was_read_before_is_skipped() {
    let mut scene = Scene::new();
    let reading = scene.pushed("hello", "latest", 'b');
    assert_eq!(scene.page(vec![reading.clone()]), [SEEN, ASKED, "commit"]);
    assert_eq!(scene.page(vec![reading]), ["event: push hello:latest skipped: duplicate"]);
}

#[test]
fn a_push_from_before_the_first_start_is_skipped() {
    let mut scene = Scene::new();
    let ParsedEvent::Push(mut push) = scene.pushed("hello", "latest", 'b') else { unreachable!() };
    push.event.time = at(-1);
    assert_eq!(scene.page(vec![ParsedEvent::Push(push)]), ["event: push hello:latest skipped: before_start"]);
}

#[test]
fn the_oldest_of_many_pending_pushes_is_superseded() {
    let mut scene = Scene::new();
    let mut pushes = Vec::new();
    for number in 1..=17 {
        pushes.push(scene.pushed("hello", &format!("v{number}"), 'b'));
        scene.pass(1);
    }
    let mut follows: Vec<String> =
        (1..=17).map(|number| format!("event: push hello:v{number} seen, 1 to decide")).collect();
    follows.extend(
        ["event: web/hello skips hello:v1: superseded", "event: push to hello settled: superseded"].map(str::to_owned),
    );
    let asked: Vec<String> = (2..=17).rev().map(|number| format!("hello:v{number}")).collect();
    follows.push(format!("read: observe web/hello for {}", asked.join("+")));
    follows.push("commit".to_owned());
    assert_eq!(scene.page(pushes), follows);
    assert_eq!(scene.known("hello").pending.values().next().unwrap().len(), 16);
}

#[test]
fn the_end_of_the_first_scan_is_durable_at_once() {
    let mut scene = Scene::resumed(HELLO, State::default());
    scene.begun();
    scene.committed();
    assert_eq!(scene.read_to(at(101)), ["commit"]);
    scene.committed();
    assert_eq!(scene.read_to(at(102)), NOTHING_FOLLOWS);
}

#[test]
fn what_the_first_scan_finds_was_there_before_the_start() {
    let mut scene = Scene::resumed(HELLO, State::default());
    scene.begun();
    scene.committed();
    assert_eq!(scene.push("latest", 'b'), ["event: push hello:latest skipped: before_start"]);
    scene.read_to(at(101));
    scene.pass(5);
    assert_eq!(scene.push("latest", 'c'), [SEEN, ASKED]);
}

#[test]
fn where_the_history_has_a_gap_ecr_is_asked() {
    let mut scene = Scene::new();
    let later = at(0) + SignedDuration::from_hours(91 * 24);
    assert_eq!(
        scene.read_to(later),
        ["event: history of default has a gap", "read: observe web/hello for hello (reconcile)", "commit"]
    );
    scene.committed();
    assert_eq!(scene.observed("hello"), ["event: web/hello skips hello:latest: already_deployed", "commit"]);
}

#[test]
fn what_others_change_is_told_once() {
    let mut scene = Scene::of(&format!("{HELLO}\n[audit]\n"));
    let page = || Page {
        changes: vec![change("event-c")],
        audited: Some(AuditProgress { cursor: Some(at(110)), round: None }),
        ..empty_page()
    };
    assert_eq!(scene.page_of(page()), ["event: changed UpdateService web/hello (watched)", "commit"]);
    assert_eq!(scene.committed(), ["notify: UpdateService web/hello by somebody"]);
    assert_eq!(scene.page_of(page()), NOTHING_FOLLOWS);
    assert_eq!(scene.after(60), ["commit"], "how far changes were read is progress");
}

#[test]
fn what_others_change_elsewhere_concerns_others() {
    let mut scene = Scene::of(&format!("{HELLO}\n[audit]\n"));
    let elsewhere = Some(("web".to_owned(), "other".to_owned()));
    let change = Change { service: elsewhere, target: "web/other".to_owned(), ..change("event-c") };
    let lines = scene.page_of(Page { changes: vec![change], ..empty_page() });
    assert_eq!(lines, ["event: changed UpdateService web/other (others)", "commit"]);
}

#[test]
fn changes_that_nobody_follows_are_not_told() {
    let mut scene = Scene::new();
    assert_eq!(scene.page_of(Page { changes: vec![change("event-c")], ..empty_page() }), NOTHING_FOLLOWS);
}

#[test]
fn events_that_cannot_be_read_again_are_forgotten() {
    let mut scene = Scene::new();
    scene.push("latest", 'b');
    let seen = |scene: &Scene| scene.snapshots[0].state().contexts.values().next().unwrap().seen.len();
    assert_eq!(seen(&scene), 1);
    scene.committed();
    scene.pass(4 * 60 * 60);
    let later = scene.now.time + SignedDuration::from_hours(24 * 7);
    scene.read_to(later);
    scene.after(60);
    assert_eq!(seen(&scene), 0);
}

pub(super) fn change(event: &str) -> Change {
    Change {
        event: EventRef { id: event_id(event), shared_id: None, time: at(105) },
        name: EventName::parse("UpdateService").unwrap(),
        who: "somebody".to_owned(),
        source: "192.0.2.1".to_owned(),
        agent: "aws-cli".to_owned(),
        target: "web/hello".to_owned(),
        service: Some(("web".to_owned(), "hello".to_owned())),
        revision: None,
        error: None,
        scales: false,
    }
}
