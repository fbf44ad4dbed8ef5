//! What waits at gates, and what wakes it.

use super::{NOTHING_FOLLOWS, Scene, services};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::gate::scan::{Progress, Report};
use crate::domain::gate::{ImageReport, ImageRequest};
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::{digest, service_key};
use crate::engine::{AtGates, Input, ObservationRequest, Read};

impl Scene {
    /// What ECS says of the services that a service comes after.
    pub(super) fn at_gates(&self, request: &ObservationRequest) -> AtGates {
        let services = request.after.iter().filter(|_| !request.promotable.is_empty());
        let services = services.map(|key| (key.clone(), self.services.get(key).cloned()));
        let promoted = request.promotable.iter().map(|(repository, digests)| {
            let images = self.images.get(repository).into_iter().flatten();
            (repository.clone(), images.filter(|image| digests.contains(&image.digest)).cloned().collect())
        });
        AtGates { services: services.collect(), promoted: promoted.collect() }
    }

    /// ECR answers what was asked about an image.
    fn found(&mut self, answer: &Result<Progress, Fault>) -> Vec<String> {
        let place = self.reads.iter().position(|read| matches!(read, Read::Gates { .. }));
        let Read::Gates { service, requests } = self.reads.remove(place.expect("ECR was asked")) else {
            unreachable!()
        };
        let answer = |request: ImageRequest| {
            let found = answer
                .clone()
                .map(|progress| ImageReport { scans: vec![Report::of(progress)], signatures: Vec::new() });
            (request, found.map_err(|fault| AwsError { fault, ..super::error(fault) }))
        };
        let answers = requests.into_iter().map(answer).collect();
        self.handle([Input::AtGates { service, answers }])
    }
}

fn with(lines: &str) -> String {
    format!("{}{lines}\n", services(&["hello"]))
}

const APPROVAL: &str = "approval = \"required\"";
const SCAN: &str = "scan = \"high\"";
/// The scenes begin on Friday, 2027-01-15, at 08:01:40 UTC.
const AT_NINE: &str = "windows = [\"Fri 09:00-10:00\"]";

#[test]
fn a_push_waits_for_an_approval_and_nothing_is_asked_meanwhile() {
    let mut scene = Scene::of(&with(APPROVAL));
    scene.push("latest", 'b');
    assert_eq!(scene.observed("hello"), ["event: web/hello waits: approval"]);
    assert_eq!(scene.all_committed(), ["notify: web/hello: waiting (hello:latest)"]);
    assert_eq!(scene.after(3600), NOTHING_FOLLOWS);
    assert_eq!(scene.known("hello").pending.len(), 1);
    let approve = OperatorCommand::Approve { image: None };
    let lines = scene.command(approve);
    assert_eq!(
        lines,
        ["event: web/hello approve by alice carried out", "read: observe web/hello for hello:latest", "commit"]
    );
    let lines = scene.observed("hello");
    assert_eq!(
        lines,
        [
            "event: web/hello waits no longer: approval",
            "event: web/hello decided hello:latest@b, from hello:1, back to hello:1",
            "event: push to hello settled: deployed"
        ]
    );
    assert_eq!(
        scene.all_committed(),
        [
            "reply 1: approved hello:latest (b); it is rolled out as soon as its other gates are open",
            "write: register for web/hello: app=hello@b"
        ]
    );
}

#[test]
fn a_rejected_digest_is_held_and_its_push_is_skipped() {
    let mut scene = Scene::of(&with(APPROVAL));
    scene.push("latest", 'b');
    scene.observed("hello");
    scene.all_committed();
    scene.command(OperatorCommand::Reject { reason: None });
    let lines = scene.observed("hello");
    assert_eq!(
        lines,
        [
            "event: web/hello skips hello:latest: rejected",
            "event: push to hello settled: rejected",
            "event: web/hello waits no longer: approval"
        ]
    );
    assert!(scene.known("hello").gated.is_none() && scene.known("hello").pending.is_empty());
}

#[test]
fn the_engine_wakes_when_the_window_opens() {
    let mut scene = Scene::of(&with(AT_NINE));
    scene.push("latest", 'b');
    scene.observed("hello");
    scene.all_committed();
    let opens = scene.known("hello").gated.as_ref().unwrap().until.unwrap();
    assert_eq!(opens.to_string(), "2027-01-15T09:00:00Z");
    assert_eq!(scene.after(3400), NOTHING_FOLLOWS);
    assert_eq!(scene.wakes_in(), 30_000, "the heartbeat");
    assert_eq!(scene.after(100), ["read: observe web/hello for hello:latest"]);
    let lines = scene.observed("hello");
    assert_eq!(
        lines,
        [
            "event: web/hello waits no longer: window",
            "event: web/hello decided hello:latest@b, from hello:1, back to hello:1",
            "event: push to hello settled: deployed",
            "commit"
        ]
    );
}

#[test]
fn a_window_that_closes_before_the_first_write_has_the_push_decided_anew() {
    let mut scene = Scene::of(&with("windows = [\"Fri 08:00-09:00\"]"));
    scene.push("latest", 'b');
    scene.observed("hello");
    // The disk is slow.
    let lines = scene.after(3600);
    assert_eq!(
        lines,
        [
            "event: web/hello ended superseded: a gate closed before it began: rollouts begin only within Fri 08:00-09:00; the next one may at Fri 2027-01-22 08:00 UTC",
            "read: observe web/hello for hello:latest"
        ]
    );
    assert_eq!(scene.observed("hello"), ["event: web/hello waits: window"]);
    let told = "notify: web/hello: deployment superseded (hello:latest)";
    assert_eq!(scene.all_committed(), [told], "nothing is written");
}

#[test]
fn ecr_is_asked_about_a_scan_before_anything_waits_and_less_and_less_often_after() {
    let mut scene = Scene::of(&with(SCAN));
    scene.push("latest", 'b');
    assert_eq!(scene.observed("hello"), ["read: gates of web/hello about b"]);
    assert_eq!(scene.found(&Ok(Progress::NotBegun)), ["read: observe web/hello for hello:latest"]);
    assert_eq!(scene.observed("hello"), ["event: web/hello waits: scan"]);
    scene.all_committed();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let mut waited = 0;
        while !scene.reads.iter().any(|read| matches!(read, Read::Gates { .. })) {
            scene.after(5);
            waited += 5;
        }
        pauses.push(waited);
        assert_eq!(scene.found(&Ok(Progress::NotBegun)), NOTHING_FOLLOWS, "nothing but the scan is asked");
    }
    assert_eq!(pauses, [15, 20, 40, 80, 160, 295, 295, 295]);
    scene.after(300);
    assert_eq!(scene.found(&Ok(Progress::Done)), ["read: observe web/hello for hello:latest"]);
    let lines = scene.observed("hello");
    assert_eq!(
        lines,
        [
            "event: web/hello waits no longer: scan",
            "event: web/hello decided hello:latest@b, from hello:1, back to hello:1",
            "event: push to hello settled: deployed",
            "commit"
        ]
    );
}

#[test]
fn a_newer_push_is_judged_by_its_own_scan_while_an_older_one_waits_for_one() {
    let mut scene = Scene::of(&with(SCAN));
    scene.push("latest", 'b');
    scene.observed("hello");
    scene.found(&Ok(Progress::NotBegun));
    scene.observed("hello");
    scene.all_committed();
    scene.push("latest", 'c');
    let lines = scene.observed("hello");
    let skipped = ["event: web/hello skips hello:latest: superseded", "event: push to hello settled: superseded"];
    assert_eq!(lines, [&skipped[..], &["read: gates of web/hello about c"]].concat());
    assert_eq!(scene.found(&Ok(Progress::Done)), ["read: observe web/hello for hello:latest"]);
    let lines = scene.observed("hello");
    assert_eq!(
        lines,
        [
            "event: web/hello waits no longer: scan",
            "event: web/hello decided hello:latest@c, from hello:1, back to hello:1",
            "event: push to hello settled: deployed"
        ]
    );
}

#[test]
fn a_question_that_fails_waits_and_is_asked_again() {
    let mut scene = Scene::of(&with(SCAN));
    scene.push("latest", 'b');
    scene.observed("hello");
    let lines = scene.found(&Err(Fault::Denied));
    assert_eq!(lines, ["event: web/hello call failed, next in 60 s", "event: web/hello waits: scan"]);
    scene.all_committed();
    assert_eq!(scene.after(59), NOTHING_FOLLOWS);
    assert_eq!(scene.after(2), ["read: gates of web/hello about b"]);
    assert_eq!(
        scene.found(&Ok(Progress::Done)),
        ["event: web/hello calls recovered", "read: observe web/hello for hello:latest"]
    );
}

fn staged() -> Scene {
    Scene::of(&format!("{}after = [\"web/hello\"]\nbake = \"10m\"\n", services(&["hello", "prod"])))
}

/// Staging is rolled to a pushed image, completely.
fn stage_runs(scene: &mut Scene, revision: u64) {
    scene.observed("hello");
    scene.all_committed();
    scene.registered(revision);
    scene.all_committed();
    scene.updated();
    scene.all_committed();
    scene.services.insert(service_key("hello"), super::running(revision));
    scene.after(5);
    scene.watched();
    scene.all_committed();
}

#[test]
fn production_is_woken_by_staging_and_by_the_end_of_the_bake_time() {
    let mut scene = staged();
    scene.push("latest", 'b');
    assert_eq!(scene.observed("prod"), ["event: web/prod waits: after"]);
    stage_runs(&mut scene, 2);
    assert_eq!(
        scene.known("hello").deployed.as_ref().map(|one| one.targets.len()),
        Some(1),
        "{:?}",
        scene.known("hello")
    );
    assert_eq!(scene.observed("prod"), ["commit"], "until when it waits is on record");
    assert_eq!(scene.committed(), NOTHING_FOLLOWS);
    let completed_at = scene.known("hello").deployed.as_ref().unwrap().since;
    let until = scene.known("prod").gated.as_ref().unwrap().until;
    assert_eq!(until, Some(completed_at + jiff::SignedDuration::from_mins(10)));
    assert_eq!(scene.after(500), NOTHING_FOLLOWS);
    let lines = scene.after(100);
    assert_eq!(lines, ["read: observe web/prod for hello:latest"]);
    let lines = scene.observed("prod");
    assert_eq!(
        lines,
        [
            "event: web/prod waits no longer: after",
            "event: web/prod decided hello:latest@b, from hello:1, back to hello:1",
            "commit"
        ]
    );
    assert_eq!(scene.known("prod").rollout.as_ref().unwrap().targets.values().next().unwrap().digest, digest('b'));
}

#[test]
fn what_waits_is_reported_after_a_day_once() {
    let mut scene = Scene::of(&with("freeze = [\"2027-01-01/2027-02-01\"]"));
    scene.push("latest", 'b');
    scene.observed("hello");
    scene.all_committed();
    assert_eq!(scene.after(23 * 3600), NOTHING_FOLLOWS);
    assert_eq!(scene.after(3600), ["event: web/hello waits for long: window", "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: waiting (hello:latest)"]);
    assert_eq!(scene.after(48 * 3600), NOTHING_FOLLOWS);
}
