//! A service with a repository of its own, into which nobody copied what the service before it runs.

use super::{NOTHING_FOLLOWS, Scene, repositories};
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::{digest, service_key};
use crate::domain::waiting::Gate;

/// `web/hello` is staging, and `web/copy` comes after it with the repository `copy`.
fn config() -> String {
    format!("{}after = [\"web/hello\"]\n", repositories(&["hello", "copy"]))
}

/// Staging is rolled to the digest `b` completely; what follows from the last look.
fn staging_completes(scene: &mut Scene) -> Vec<String> {
    scene.push("latest", 'b');
    scene.observed("hello");
    scene.all_committed();
    scene.registered(2);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.services.insert(service_key("hello"), super::running(2));
    scene.after(5);
    scene.watched()
}

#[test]
fn production_waits_for_the_copy_of_what_staging_runs_and_is_told_of_once() {
    let mut scene = Scene::of(&config());
    let lines = staging_completes(&mut scene);
    let ended = ["event: web/hello stable, 6 s after its push", "event: web/hello ended completed hello:2"];
    assert_eq!(lines, [&ended[..], &["event: web/copy waits: after", "commit"]].concat());
    let waiting = scene.known("copy").gated.clone().unwrap();
    assert_eq!((waiting.gate, waiting.repository.as_str(), &waiting.digest), (Gate::After, "copy", &digest('b')));
    assert_eq!(scene.all_committed(), ["notify: web/hello: deployed (hello:latest)"]);
    assert_eq!(scene.after(23 * 3600), NOTHING_FOLLOWS);
    assert_eq!(scene.after(3600), ["event: web/copy waits for long: after", "commit"]);
    assert_eq!(scene.committed(), ["notify: web/copy: waiting (copy:latest)"]);
    assert_eq!(scene.after(48 * 3600), NOTHING_FOLLOWS);
    let rest = scene.engine.rest();
    assert_eq!(rest.waiting, [(service_key("copy"), scene.known("copy").gated.clone().unwrap())]);
    assert!(scene.engine.is_at_rest());
    // It is kept over a restart, and not told again.
    let mut scene = Scene::resumed(&config(), scene.engine.state().clone());
    assert_eq!(scene.begun(), ["commit"]);
    assert_eq!(scene.committed(), NOTHING_FOLLOWS);
    assert_eq!(scene.known("copy").gated.as_ref().map(|waiting| waiting.since), Some(waiting.since));
    assert_eq!(scene.after(48 * 3600), NOTHING_FOLLOWS);
}

#[test]
fn the_copy_is_rolled_out() {
    let mut scene = Scene::of(&config());
    staging_completes(&mut scene);
    scene.all_committed();
    let lines = scene.push_to("copy", "latest", 'b');
    let seen = "event: push copy:latest seen, 1 to decide";
    assert_eq!(lines, [seen, "read: observe web/copy for copy:latest", "commit"]);
    let lines = scene.observed("copy");
    let decided = "event: web/copy decided copy:latest@b, from hello:1, back to hello:1";
    let settled = "event: push to copy settled: deployed";
    assert_eq!(lines, ["event: web/copy waits no longer: after", decided, settled]);
    assert_eq!(scene.all_committed(), ["write: register for web/copy: copy=copy@b app=hello@a"]);
}

#[test]
fn a_copy_of_something_else_waits_in_its_place_for_staging() {
    let mut scene = Scene::of(&config());
    staging_completes(&mut scene);
    scene.all_committed();
    scene.push_to("copy", "latest", 'c');
    assert_eq!(scene.observed("copy"), ["event: web/copy waits: after"]);
    assert_eq!(scene.known("copy").gated.as_ref().unwrap().reason, "web/hello does not run it");
}

#[test]
fn nothing_is_to_be_copied_where_staging_is_held_and_again_after_its_release() {
    let mut scene = Scene::of(&config());
    staging_completes(&mut scene);
    scene.all_committed();
    let lines = scene.command(OperatorCommand::Hold { reason: None });
    let carried_out = "event: web/hello hold by alice carried out";
    assert_eq!(lines, [carried_out, "event: web/copy waits no longer: after", "commit"]);
    assert!(scene.known("copy").gated.is_none());
    scene.all_committed();
    let lines = scene.command(OperatorCommand::Release);
    let carried_out = ["event: web/hello release by alice carried out", "event: web/copy waits: after"];
    assert_eq!(lines, [&carried_out[..], &["read: observe web/hello for hello (order)", "commit"]].concat());
}

#[test]
fn a_configuration_without_after_waits_for_no_copy() {
    let mut scene = Scene::of(&config());
    staging_completes(&mut scene);
    scene.all_committed();
    let lines = scene.reload(&repositories(&["hello", "copy"]));
    assert_eq!(lines, ["event: web/copy waits no longer: after", "commit"]);
    assert!(scene.known("copy").gated.is_none());
}
