//! Gates: what waits, until when, and what is never deployed.

use ecs_deployd::domain::gate::scan::{Progress, Severity};
use ecs_deployd::domain::gate::signature;
use ecs_deployd::domain::operator_command::OperatorCommand;
use ecs_deployd::domain::waiting::Waiting;
use ecs_deployd::status::ServiceStatus;
use serde_json::Value;

use crate::harness::{Process, pass, seconds};
use crate::scene::Scene;
use crate::world::Health;

const HOUR: u64 = 3600;
/// The simulated world begins on Sunday, 2026-11-22, at 10:00 UTC: this opens 22 hours later.
const MONDAY_MORNING: &str = "windows = [\"Mon 09:00-10:00 Europe/Berlin\"]\n";
const PROFILE: &str = "arn:aws:signer:eu-west-1:111111111111:/signing-profiles/ci";

pub fn approve(image: Option<&str>) -> OperatorCommand {
    OperatorCommand::Approve { image: image.map(str::to_owned) }
}

/// How a service stands.
pub async fn of(scene: &Scene, name: &str) -> ServiceStatus {
    scene.status().await.services.into_iter().find(|one| one.name == name).unwrap()
}

/// What waits for a service, and at which gate.
pub async fn waits(scene: &Scene, name: &str, gate: &str) -> Waiting {
    let waiting = of(scene, name).await.waiting.unwrap_or_else(|| panic!("nothing of {name} waits"));
    assert_eq!(waiting.gate.as_str(), gate, "{waiting}");
    let service = name.split_once('/').unwrap().1;
    let metric = format!(r#"ecs_deployd_waiting{{cluster="web",gate="{gate}",service="{service}"}}"#);
    assert_eq!(scene.metric(&metric), 1.0);
    waiting
}

/// What `plan` says of the newest push for a service.
async fn planned(scene: &Scene, name: &str) -> (String, String) {
    let plan = scene.plan().await;
    let push = plan.pushes.iter().find(|push| push.service.as_deref() == Some(name)).unwrap();
    (push.decision.as_str().to_owned(), push.detail.clone())
}

fn skipped(process: &Process, reason: &str) -> f64 {
    process.metric(&format!(r#"ecs_deployd_pushes_total{{outcome="{reason}",repository="hello"}}"#))
}

// --- Windows and freezes ---------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_push_waits_for_the_window_and_costs_nothing_meanwhile() {
    let mut scene = Scene::hello().deploy(MONDAY_MORNING).started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    let waiting = waits(&scene, "web/hello", "window").await;
    assert_eq!(
        (waiting.digest.as_str(), waiting.until.unwrap().to_string().as_str()),
        (v1.as_str(), "2026-11-23T08:00:00Z")
    );
    assert_eq!(
        waiting.reason,
        "rollouts begin only within Mon 09:00-10:00 Europe/Berlin; the next one may at Mon 2026-11-23 09:00 Europe/Berlin"
    );
    assert_eq!(planned(&scene, "web/hello").await.0, "waits");
    assert_eq!(scene.metric(r#"ecs_deployd_undecided{cluster="web",service="hello"}"#), 1.0);
    scene.world.forget_calls();
    pass(10 * HOUR).await;
    let calls = scene.world.count();
    assert_eq!(calls.keys().copied().collect::<Vec<_>>(), ["LookupEvents"], "{calls:?}");
    scene.restart().await;
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "window").await.since, waiting.since, "it waits on after a restart");
    pass(11 * HOUR).await;
    assert_eq!((scene.rollouts(), scene.runs()), (0, Some(scene.v0.clone())), "21 hours are not 22");
    pass(HOUR).await;
    assert_eq!((scene.rollouts(), scene.runs()), (1, Some(v1)));
    assert!(of(&scene, "web/hello").await.waiting.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_supersedes_what_waits() {
    let scene = Scene::hello().deploy(MONDAY_MORNING).started().await;
    scene.push("v1");
    pass(HOUR).await;
    let v2 = scene.push("v2");
    pass(HOUR).await;
    assert_eq!(waits(&scene, "web/hello", "window").await.digest.as_str(), v2);
    assert_eq!(skipped(scene.process(), "superseded"), 1.0);
    pass(24 * HOUR).await;
    assert_eq!((scene.rollouts(), scene.runs()), (1, Some(v2)));
}

#[tokio::test(start_paused = true)]
async fn an_operator_deploys_outside_of_the_window_and_is_on_record() {
    let mut scene = Scene::hello().deploy(MONDAY_MORNING).started().await;
    let v1 = scene.push("v1");
    pass(HOUR).await;
    let answer = scene.command(OperatorCommand::Deploy).await.unwrap();
    assert!(answer.starts_with("it waits: hello:latest waits since"), "{answer}");
    assert_eq!(scene.rollouts(), 0, "a command alone opens no window");
    let answer = scene.command(OperatorCommand::DeployNow).await.unwrap();
    assert!(answer.starts_with("rolling to hello:latest"), "{answer}");
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
    let service = scene.service().await;
    assert_eq!(service.history[0].detail, "ordered with deploy --now by alice");
    assert_eq!(service.commands[0].by, "alice");
    // What is pushed later waits again, after a restart, too.
    scene.restart().await;
    scene.push("v2");
    pass(120).await;
    waits(&scene, "web/hello", "window").await;
}

#[tokio::test(start_paused = true)]
async fn going_back_asks_no_gate() {
    // Open until Sunday noon, in two hours.
    let scene = Scene::hello().deploy("windows = [\"Sun 10:00-12:00\"]\n").started().await;
    let v1 = scene.deployed("v1").await;
    pass(2 * HOUR).await;
    scene.command(OperatorCommand::Rollback { to: None }).await.unwrap();
    pass(120).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    assert_ne!(scene.v0, v1);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_closed_before_the_first_write_is_closed() {
    // Open until 10:10, while the revision cannot be registered.
    let scene = Scene::hello().deploy("windows = [\"Sun 10:00-10:10\"]\n").started().await;
    scene.world.break_operation("RegisterTaskDefinition", ecs_deployd::aws::Fault::Denied);
    let v1 = scene.push("v1");
    pass(60).await;
    assert!(of(&scene, "web/hello").await.rollout.is_some());
    pass(900).await;
    scene.world.mend_operation("RegisterTaskDefinition");
    pass(HOUR).await;
    assert_eq!(scene.rollouts(), 0, "it is after the window");
    waits(&scene, "web/hello", "window").await;
    pass(7 * 24 * HOUR).await;
    assert_eq!((scene.rollouts(), scene.runs()), (1, Some(v1)));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_over_the_opening_opens_the_window() {
    let scene = Scene::hello().deploy(MONDAY_MORNING).started().await;
    let v1 = scene.push("v1");
    // Two minutes before the opening the clock is set forward by four.
    pass(22 * HOUR - 120).await;
    assert_eq!(scene.rollouts(), 0);
    scene.world.set_clock_ahead(jiff::SignedDuration::from_secs(240));
    pass(60).await;
    assert_eq!(scene.rollouts(), 1, "the machine says that it is after nine");
    pass(60).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_longer_than_a_day_is_told_once() {
    const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
    let receiver = format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\noutcomes = [\"waiting\"]\n");
    let freeze = "freeze = [\"2026-11-20/2026-11-29\"]\n";
    let mut scene = Scene::hello().deploy(freeze).with(&receiver).started().await;
    scene.push("v1");
    pass(23 * HOUR).await;
    let told = |scene: &Scene| scene.world.messages(OPS).len();
    assert_eq!(told(&scene), 0);
    pass(2 * HOUR).await;
    assert_eq!(told(&scene), 1);
    scene.restart().await;
    pass(48 * HOUR).await;
    assert_eq!(told(&scene), 1, "after a restart, too");
    let text: Value = serde_json::from_str(&scene.world.messages(OPS)[0].text).unwrap();
    assert_eq!((text["kind"].as_str(), text["waiting"]["gate"].as_str()), (Some("waiting"), Some("window")));
}

// --- Approvals ------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn a_digest_waits_for_its_approval_and_who_gave_it_is_on_record() {
    const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
    let receiver = format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\n");
    let mut scene = Scene::hello().deploy("approval = \"required\"\n").with(&receiver).started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "approval").await.digest.as_str(), v1);
    let text: Value = serde_json::from_str(&scene.world.messages(OPS)[0].text).unwrap();
    let command = format!("ecs-deployd approve web/hello --image {v1}");
    assert!(text["detail"].as_str().unwrap().contains(&command), "the notification tells the command: {text}");
    scene.restart().await;
    pass(48 * HOUR).await;
    assert_eq!((scene.rollouts(), scene.world.messages(OPS).len()), (0, 1), "told once, for days and over restarts");
    let refused = scene.command(approve(Some("release-9"))).await.unwrap_err().0;
    assert_eq!(refused, format!("another image waits: hello:latest ({v1})"));
    let answer = scene.command(approve(Some("latest"))).await.unwrap();
    assert_eq!(answer, format!("approved hello:latest ({v1}); it is rolled out as soon as its other gates are open"));
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
    let service = scene.service().await;
    assert_eq!((service.history[0].detail.as_str(), service.commands[1].by.as_str()), ("approved by alice", "alice"));
    let text: Value = serde_json::from_str(&scene.world.messages(OPS)[1].text).unwrap();
    assert_eq!(text["detail"], "approved by alice");
    let refused = scene.command(approve(None)).await.unwrap_err().0;
    assert_eq!(refused, "nothing of web/hello waits for an approval");
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_needs_an_approval_of_its_own_unless_it_is_the_same_digest() {
    let scene = Scene::hello().deploy("approval = \"required\"\nwindows = [\"Mon 09:00-10:00\"]\n").started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    scene.command(approve(None)).await.unwrap();
    pass(60).await;
    waits(&scene, "web/hello", "window").await;
    // The same content again, under another tag.
    scene.world.push("hello", "release-1", "v1");
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "window").await.digest.as_str(), v1, "it is approved already");
    let v2 = scene.push("v2");
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "approval").await.digest.as_str(), v2);
    pass(24 * HOUR).await;
    assert_eq!(scene.rollouts(), 0, "nobody approved it");
    let refused = scene.command(approve(Some(&v1))).await.unwrap_err().0;
    assert!(refused.starts_with("another image waits: hello:latest"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_is_held_until_a_release() {
    let scene = Scene::hello().deploy("approval = \"required\"\n").started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    let answer = scene.command(OperatorCommand::Reject { reason: Some("not on a Friday".to_owned()) }).await.unwrap();
    assert_eq!(
        answer,
        format!("rejected by alice: not on a Friday; hello:latest ({v1}) is held until a newer push or a release")
    );
    pass(60).await;
    assert_eq!((scene.held(), skipped(scene.process(), "rejected")), (1.0, 1.0));
    assert!(of(&scene, "web/hello").await.waiting.is_none());
    let refused = scene.command(OperatorCommand::Deploy).await.unwrap_err().0;
    assert_eq!(refused, "rejected: rejected by alice: not on a Friday");
    scene.command(OperatorCommand::Release).await.unwrap();
    pass(60).await;
    waits(&scene, "web/hello", "approval").await;
    scene.command(approve(Some(&v1))).await.unwrap();
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
}

// --- After and bake -------------------------------------------------------------------------------

/// Staging is `web/hello`, production `web/prod`, which comes after it and waits for ten minutes.
async fn staged(lines: &str) -> Scene {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let lines = format!("after = [\"web/hello\"]\nbake = \"10m\"\n{lines}");
    scene.running(&fixed).and_with("prod", &lines).started().await
}

fn prod(scene: &Scene) -> Option<String> {
    scene.runs_in("prod", "app")
}

#[tokio::test(start_paused = true)]
async fn production_gets_what_staging_has_run_for_long_enough() {
    let mut scene = staged("").await;
    let v1 = scene.push_that(Health::After(seconds(30)), "v1");
    pass(40).await;
    assert_eq!(waits(&scene, "web/prod", "after").await.reason, "web/hello is being rolled to it");
    pass(120).await;
    let waiting = waits(&scene, "web/prod", "after").await;
    assert!(waiting.reason.contains("web/hello has run it since") && waiting.until.is_some(), "{waiting}");
    scene.restart().await;
    scene.world.forget_calls();
    pass(300).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()), "it bakes");
    pass(400).await;
    assert_eq!((scene.runs(), prod(&scene)), (Some(v1.clone()), Some(v1)));
}

#[tokio::test(start_paused = true)]
async fn production_gets_the_digest_that_baked_and_not_what_the_tag_points_to() {
    let scene = staged("").await;
    let v1 = scene.deployed("v1").await;
    // The newer image fails in staging, which goes back to the one before.
    let bad = scene.push_that(Health::Stops, "bad");
    pass(200).await;
    assert_eq!((scene.runs(), scene.held()), (Some(v1.clone()), 1.0));
    pass(400).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()), "the break begins the time anew");
    pass(600).await;
    assert_eq!(prod(&scene), Some(v1), "the tag points to {bad} all the while");
    waits(&scene, "web/prod", "after").await;
    // What staging proves later supersedes what waits.
    let v2 = scene.push("v2");
    pass(900).await;
    assert_eq!((scene.runs(), prod(&scene)), (Some(v2.clone()), Some(v2)));
    assert!(of(&scene, "web/prod").await.waiting.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_rollback_or_a_release_of_staging_closes_the_gate() {
    let scene = staged("").await;
    let v1 = scene.deployed("v1").await;
    scene.command(OperatorCommand::Release).await.unwrap();
    pass(550).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()), "a release begins the time anew");
    pass(200).await;
    assert_eq!(prod(&scene), Some(v1.clone()));
    let v2 = scene.push("v2");
    pass(120).await;
    assert_eq!(scene.runs(), Some(v2));
    scene.command(OperatorCommand::Rollback { to: None }).await.unwrap();
    pass(3 * HOUR).await;
    assert_eq!(prod(&scene), Some(v1), "v2 was taken back before it was proven");
    let waiting = waits(&scene, "web/prod", "after").await;
    assert!(waiting.reason.contains("web/hello"), "{waiting}");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_set_staging_to_is_not_proven() {
    let scene = staged("").await;
    let other = scene.revision_of_v0(&[("side", "envoy:9")]);
    scene.deployed("v1").await;
    scene.set_to(&other);
    pass(HOUR).await;
    assert_eq!(prod(&scene), Some(scene.v0.clone()));
    assert!(waits(&scene, "web/prod", "after").await.reason.ends_with("by somebody else"));
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_services_passes_a_digest_on() {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let scene = scene
        .running(&fixed)
        .and_with("canary", "after = [\"web/hello\"]\nbake = \"5m\"\n")
        .and_with("prod", "after = [\"web/canary\", \"web/hello\"]\nbake = \"10m\"\n")
        .started()
        .await;
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(scene.runs_in("canary", "app"), Some(scene.v0.clone()));
    pass(400).await;
    assert_eq!((scene.runs_in("canary", "app"), prod(&scene)), (Some(v1.clone()), Some(scene.v0.clone())));
    pass(700).await;
    assert_eq!(prod(&scene), Some(v1));
}

// --- Scans and signatures -------------------------------------------------------------------------

const SCAN: &str = "scan = \"high\"\nscan_timeout = \"30m\"\n";

#[tokio::test(start_paused = true)]
async fn an_image_is_rolled_once_its_scan_found_nothing_of_the_level() {
    let scene = Scene::hello().deploy(SCAN).started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "scan").await.reason, "ECR has not begun to scan the image");
    scene.world.scan_is(&v1, Progress::UnderWay("IN_PROGRESS".to_owned()));
    scene.world.forget_calls();
    pass(15 * 60).await;
    let calls = scene.world.count();
    assert!(calls["DescribeImageScanFindings"] <= 8, "less and less often: {calls:?}");
    assert!(calls.get("DescribeServices").copied().unwrap_or_default() <= 1, "and nothing else: {calls:?}");
    scene.world.scan_finds(&v1, &[(Severity::Medium, "CVE-1")]);
    pass(400).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn findings_refuse_an_image_until_a_release_has_it_judged_again() {
    let scene = Scene::hello().deploy(SCAN).started().await;
    let v1 = scene.push("v1");
    scene.world.scan_finds(&v1, &[(Severity::High, "CVE-1"), (Severity::Critical, "CVE-2"), (Severity::Low, "CVE-3")]);
    pass(60).await;
    assert_eq!(skipped(scene.process(), "scan_findings"), 1.0);
    let status = scene.status().await;
    assert_eq!(status.pushes[0].detail, "ECR's scan found 1 CRITICAL, 1 HIGH: CVE-2, CVE-1");
    assert_eq!(scene.rollouts(), 0);
    let plan = scene.plan().await;
    let told = &plan.services[0].detail;
    assert!(told.contains(&format!("refused: hello@{v1} at ")) && told.contains(": scan_findings;"), "{told}");
    let refused = scene.command(OperatorCommand::Deploy).await.unwrap_err().0;
    assert!(refused.starts_with("scan_findings: ECR's scan found 1 CRITICAL"), "{refused}");
    scene.world.scan_finds(&v1, &[(Severity::Low, "CVE-3")]);
    pass(HOUR).await;
    assert_eq!(scene.rollouts(), 0, "it is not looked at again by itself");
    let answer = scene.command(OperatorCommand::Release).await.unwrap();
    assert!(answer.starts_with("released"), "{answer}");
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_scan_that_does_not_come_is_missing_with_the_remedy() {
    for (progress, by_order, after, part) in [
        (None, true, 60, "turn that on"),
        (Some(Progress::Impossible("UNSUPPORTED_IMAGE".to_owned())), false, 60, "UNSUPPORTED_IMAGE"),
        (Some(Progress::UnderWay("PENDING".to_owned())), false, 40 * 60, "did not end that within 30m"),
    ] {
        let scene = Scene::hello().deploy(SCAN).started().await;
        if by_order {
            scene.world.scan_by_order();
        }
        let v1 = scene.push("v1");
        if let Some(progress) = progress {
            scene.world.scan_is(&v1, progress);
        }
        pass(after).await;
        assert_eq!(skipped(scene.process(), "scan_missing"), 1.0, "{part}");
        let detail = scene.status().await.pushes[0].detail.clone();
        assert!(detail.contains(part), "{detail}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_image_is_rolled_while_the_scan_of_an_older_one_never_ends() {
    let scene = Scene::hello().deploy("scan = \"high\"\nscan_timeout = \"24h\"\n").started().await;
    scene.push("v1");
    pass(HOUR).await;
    waits(&scene, "web/hello", "scan").await;
    let v2 = scene.push("v2");
    scene.world.scan_finds(&v2, &[]);
    pass(120).await;
    assert_eq!(scene.runs(), Some(v2));
}

#[tokio::test(start_paused = true)]
async fn of_a_multi_architecture_image_the_images_count() {
    let scene = Scene::hello().deploy(SCAN).started().await;
    let v1 = scene.world.push_index("hello", "latest", "v1", jiff::SignedDuration::ZERO);
    let images = scene.world.images_of(&v1);
    scene.world.scan_finds(&images[0], &[]);
    pass(60).await;
    waits(&scene, "web/hello", "scan").await;
    scene.world.scan_finds(&images[1], &[(Severity::High, "CVE-1")]);
    pass(120).await;
    assert_eq!(skipped(scene.process(), "scan_findings"), 1.0);
    let v2 = scene.world.push_index("hello", "latest", "v2", jiff::SignedDuration::ZERO);
    for image in scene.world.images_of(&v2) {
        scene.world.scan_finds(&image, &[]);
    }
    pass(120).await;
    assert_eq!(scene.runs(), Some(v2));
}

#[tokio::test(start_paused = true)]
async fn an_image_is_rolled_once_its_profiles_have_signed_it() {
    let lines = format!("signed_by = [\"{PROFILE}\"]\n");
    let scene = Scene::hello().deploy(&lines).started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(waits(&scene, "web/hello", "signature").await.reason, format!("{PROFILE} has not signed the image"));
    scene.world.signed(&v1, PROFILE, signature::Progress::UnderWay);
    pass(300).await;
    assert_eq!(waits(&scene, "web/hello", "signature").await.reason, format!("{PROFILE} is signing the image"));
    scene.world.signed(&v1, PROFILE, signature::Progress::Complete);
    pass(400).await;
    assert_eq!(scene.runs(), Some(v1));
    let v2 = scene.push("v2");
    scene.world.signed(&v2, PROFILE, signature::Progress::Failed("AccessDenied: no".to_owned()));
    pass(60).await;
    assert_eq!(skipped(scene.process(), "unsigned"), 1.0);
    let detail = scene.status().await.pushes[0].detail.clone();
    assert_eq!(detail, format!("{PROFILE} could not sign the image: AccessDenied: no"));
}

#[tokio::test(start_paused = true)]
async fn a_denied_question_is_shown_and_asked_again() {
    let scene = Scene::hello().deploy(SCAN).started().await;
    scene.world.break_operation("DescribeImageScanFindings", ecs_deployd::aws::Fault::Denied);
    let v1 = scene.push("v1");
    scene.world.scan_finds(&v1, &[]);
    pass(HOUR).await;
    assert_eq!(scene.rollouts(), 0);
    let waiting = waits(&scene, "web/hello", "scan").await;
    assert!(waiting.reason.starts_with("ECR cannot be asked about the image"), "{waiting}");
    assert!(of(&scene, "web/hello").await.last_error.unwrap().contains("DescribeImageScanFindings"));
    scene.world.mend_operation("DescribeImageScanFindings");
    pass(180).await;
    assert_eq!(scene.runs(), Some(v1), "a question that was denied is no missing scan");
}
