//! What a service that waits at a gate costs: the calls of an hour, beside those that read CloudTrail.

use std::collections::BTreeMap;

use ecs_deployd::domain::gate::scan::Progress;
use ecs_deployd::domain::gate::signature;

use crate::gates::waits;
use crate::harness::pass;
use crate::scene::Scene;
use crate::world::LifecycleHook;

const HOUR: u64 = 3600;
const PROFILE: &str = "arn:aws:signer:eu-west-1:111111111111:/signing-profiles/ci";

/// The calls of the first hour after the minute in which it was decided that it waits, and of the second hour.
async fn costs(scene: &Scene, name: &str, gate: &str) -> [BTreeMap<&'static str, usize>; 2] {
    waits(scene, name, gate).await;
    let mut hours = [BTreeMap::new(), BTreeMap::new()];
    for calls in &mut hours {
        scene.world.forget_calls();
        pass(HOUR).await;
        *calls = scene.world.count();
        calls.remove("LookupEvents");
        waits(scene, name, gate).await;
    }
    hours
}

async fn of_hello(lines: &str, prepare: impl FnOnce(&Scene, &str)) -> [BTreeMap<&'static str, usize>; 2] {
    let scene = Scene::hello().deploy(lines).started().await;
    let v1 = scene.push("v1");
    prepare(&scene, &v1);
    pass(60).await;
    let gate = match lines {
        lines if lines.starts_with("scan") => "scan",
        lines if lines.starts_with("signed_by") => "signature",
        lines if lines.starts_with("approval") => "approval",
        _ => "window",
    };
    costs(&scene, "web/hello", gate).await
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_window_a_freeze_or_an_approval_costs_nothing() {
    for lines in
        ["windows = [\"Mon 09:00-10:00\"]\n", "freeze = [\"2026-11-20/2026-11-29\"]\n", "approval = \"required\"\n"]
    {
        assert_eq!(of_hello(lines, |_, _| {}).await, [BTreeMap::new(), BTreeMap::new()], "{lines}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_staging_costs_nothing() {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let scene = scene.running(&fixed).and_with("prod", "after = [\"web/hello\"]\nbake = \"5h\"\n").started().await;
    scene.deployed("v1").await;
    pass(600).await;
    assert_eq!(costs(&scene, "web/prod", "after").await, [BTreeMap::new(), BTreeMap::new()]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_scan_or_a_signature_is_asked_about_every_five_minutes_at_last() {
    let scan = "scan = \"high\"\nscan_timeout = \"24h\"\n";
    let under_way = of_hello(scan, |scene, v1| scene.world.scan_is(v1, Progress::UnderWay("PENDING".to_owned()))).await;
    assert_eq!(under_way, [14, 12].map(|asked| BTreeMap::from([("DescribeImageScanFindings", asked)])));
    let not_begun = of_hello(scan, |_, _| {}).await;
    let asked = [14, 12].map(|asked| {
        BTreeMap::from([("BatchGetRepositoryScanningConfiguration", asked), ("DescribeImageScanFindings", asked)])
    });
    assert_eq!(not_begun, asked);
    let signed = format!("signed_by = [\"{PROFILE}\"]\nscan_timeout = \"24h\"\n");
    let signing = of_hello(&signed, |scene, v1| scene.world.signed(v1, PROFILE, signature::Progress::UnderWay)).await;
    assert_eq!(signing, [14, 12].map(|asked| BTreeMap::from([("DescribeImageSigningStatus", asked)])));
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_a_hook_of_ecs_is_watched_as_any_rollout() {
    let scene = Scene::hello().edited(|service| service.hook = Some(LifecycleHook::PAUSE)).started().await;
    scene.push("v1");
    pass(60).await;
    let watched = BTreeMap::from([("DescribeServiceDeployments", 720), ("DescribeServices", 720)]);
    assert_eq!(costs(&scene, "web/hello", "pause").await, [watched.clone(), watched]);
}
