//! What waits for the disk: writes, answers and notifications; and what happens where it cannot be written.

use super::stage::Stage;
use super::{NOTHING_FOLLOWS, Scene};
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::at;
use crate::domain::view::RolloutState;

const HELD: &str = "held; nothing is deployed to it until a release";
const CARRIED_OUT: &str = "event: web/hello hold by alice carried out";

fn hold() -> OperatorCommand {
    OperatorCommand::Hold { reason: None }
}

#[test]
fn a_write_waits_for_the_commit_that_says_it_will_be_made() {
    let mut scene = Scene::at(Stage::RegisterWaiting);
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
    assert_eq!(scene.committed(), ["write: register for web/hello: app=hello@b"]);
}

#[test]
fn a_notification_waits_for_the_commit_of_what_it_tells() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    let stable = "event: web/hello stable, 6 s after its push";
    assert_eq!(scene.watched(), [stable, "event: web/hello ended completed hello:2", "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: deployed (hello:latest)"]);
}

#[test]
fn an_answer_waits_for_the_commit_of_what_it_says() {
    let mut scene = Scene::new();
    assert_eq!(scene.command(hold()), [CARRIED_OUT, "commit"]);
    assert_eq!(scene.committed(), [format!("reply 1: {HELD}")]);
}

#[test]
fn what_changes_during_a_commit_waits_for_the_next_one() {
    let mut scene = Scene::new();
    scene.command(hold());
    assert_eq!(scene.command(hold()), [CARRIED_OUT], "one commit at a time");
    assert_eq!(scene.committed(), [format!("reply 1: {HELD}").as_str(), "commit"]);
    assert_eq!(scene.committed(), [format!("reply 2: {HELD}")]);
}

#[test]
fn a_commit_that_fails_is_made_again_and_told_once() {
    let mut scene = Scene::at(Stage::RegisterWaiting);
    assert_eq!(scene.commit_failed("disk full"), ["event: state unwritable: disk full"]);
    assert_eq!(scene.wakes_in(), 5000);
    assert_eq!(scene.after(4), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["commit"]);
    assert_eq!(scene.commit_failed("disk full"), NOTHING_FOLLOWS);
    assert_eq!(scene.after(5), ["commit"]);
    assert_eq!(scene.commit_failed("read-only"), ["event: state unwritable: read-only"]);
    assert_eq!(scene.engine.state_error().map(String::as_str), Some("read-only"));
    scene.after(5);
    assert_eq!(scene.committed(), ["event: state writable", "write: register for web/hello: app=hello@b"]);
    assert_eq!(scene.engine.state_error(), None);
}

#[test]
fn who_waits_for_an_answer_is_told_that_it_is_not_durable() {
    let mut scene = Scene::new();
    scene.command(hold());
    let reply = format!("reply 1: refused: {HELD}; but that is not on the disk, and a restart forgets it: disk full");
    assert_eq!(scene.commit_failed("disk full"), [reply.as_str(), "event: state unwritable: disk full"]);
    scene.after(5);
    assert_eq!(scene.committed(), ["event: state writable"], "the command was answered");
}

#[test]
fn a_refusal_that_is_not_durable_is_a_refusal_as_it_was() {
    let mut scene = Scene::new();
    scene.command(hold());
    scene.all_committed();
    scene.command(OperatorCommand::Deploy);
    let refused = "reply 2: refused: held by alice since 2027-01-15T08:01:40Z; release it first";
    assert_eq!(scene.commit_failed("disk full"), [refused, "event: state unwritable: disk full"]);
}

#[test]
fn a_notification_outlives_a_commit_that_fails() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    assert_eq!(scene.commit_failed("disk full"), ["event: state unwritable: disk full"]);
    scene.after(5);
    assert_eq!(scene.committed(), ["notify: web/hello: deployed (hello:latest)", "event: state writable"]);
}

#[test]
fn a_change_during_a_commit_that_fails_waits_for_the_next_attempt() {
    let mut scene = Scene::new();
    scene.command(hold());
    scene.commit_failed("disk full");
    assert_eq!(scene.command(hold()), [CARRIED_OUT], "the pause after the failure is kept");
    assert_eq!(scene.after(5), ["commit"]);
    assert_eq!(scene.committed(), [format!("reply 2: {HELD}").as_str(), "event: state writable"]);
}

#[test]
fn nothing_is_inspected_while_the_state_cannot_be_written() {
    let mut scene = Scene::at(Stage::RegisteredUnverified);
    scene.command(hold());
    scene.commit_failed("disk full");
    assert_eq!(scene.after(4), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["commit"]);
    assert_eq!(scene.committed(), ["event: state writable", "read: inspect web/hello (registered hello:2)"]);
}

#[test]
fn reading_goes_on_while_the_state_cannot_be_written() {
    let mut scene = Scene::new();
    scene.command(hold());
    scene.commit_failed("disk full");
    let seen = ["event: push hello:latest seen, 1 to decide", "read: observe web/hello for hello:latest"];
    assert_eq!(scene.push("latest", 'b'), seen);
}

#[test]
fn progress_of_reading_alone_is_committed_once_a_minute() {
    let mut scene = Scene::new();
    assert_eq!(scene.read_to(at(101)), NOTHING_FOLLOWS);
    assert_eq!(scene.after(59), NOTHING_FOLLOWS);
    assert_eq!(scene.after(1), ["commit"]);
    assert_eq!(scene.read_to(at(162)), NOTHING_FOLLOWS);
    assert_eq!(scene.commit_failed("disk full"), ["event: state unwritable: disk full"]);
    assert_eq!(scene.after(5), ["commit"], "what the failed commit was to make durable is as old as it was");
}

#[test]
fn progress_is_committed_with_whatever_has_to_be() {
    let mut scene = Scene::new();
    scene.read_to(at(101));
    assert_eq!(scene.command(hold()), [CARRIED_OUT, "commit"]);
    let cursor = scene.snapshots[0].state().contexts.values().next().unwrap().cursor;
    assert_eq!(cursor, Some(at(101)));
    scene.committed();
    assert_eq!(scene.after(60), NOTHING_FOLLOWS);
}

#[test]
fn the_last_snapshot_has_everything() {
    let mut scene = Scene::new();
    scene.command(hold());
    scene.push("latest", 'b');
    assert!(!scene.engine.is_durable());
    let last = scene.engine.last_snapshot();
    assert_eq!(last.state(), scene.engine.state());
    let receipt = last.stored();
    scene.handle([crate::engine::Input::Committed { receipt }]);
    assert!(scene.engine.is_durable());
}

#[test]
fn the_receipt_of_an_older_commit_releases_nothing_newer() {
    let mut scene = Scene::new();
    scene.command(hold());
    let older = scene.snapshots.remove(0).stored();
    scene.command(hold());
    let newer = scene.engine.last_snapshot().stored();
    let both = [format!("reply 1: {HELD}"), format!("reply 2: {HELD}")];
    assert_eq!(scene.handle([crate::engine::Input::Committed { receipt: newer }]), both);
    assert_eq!(scene.handle([crate::engine::Input::Committed { receipt: older }]), NOTHING_FOLLOWS);
    assert!(scene.engine.is_durable());
}
