//! Several replicas on a table of the emulator's DynamoDB: the real binary is killed, frozen and stopped, and another one goes on.

use std::fs;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use local_aws::{Caller, Part};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::daemon::{Daemon, Home, PATIENCE, wait_for, wait_within};
use crate::gate::{Gate, Shut};
use crate::hook::Hook;
use crate::scene::{Scene, name};

const DYNAMODB: &str = "DynamoDB_20120810";
const TABLE: &str = "ecs-deployd-test";
const LEASE: Duration = Duration::from_secs(5);
const COMPLETED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello-0"}"#;

pub fn create_table(scene: &Scene, name: &str, keys: &[(&str, &str)]) {
    let kinds = ["HASH", "RANGE"];
    let schema: Vec<Value> =
        keys.iter().zip(kinds).map(|((key, _), kind)| json!({"AttributeName": key, "KeyType": kind})).collect();
    let defined: Vec<Value> = keys.iter().map(|(key, of)| json!({"AttributeName": key, "AttributeType": of})).collect();
    let input = json!({
        "TableName": name, "KeySchema": schema, "AttributeDefinitions": defined, "BillingMode": "PAY_PER_REQUEST",
    });
    scene.client.call(DYNAMODB, "CreateTable", &input).unwrap();
}

fn scene() -> Scene {
    let scene = Scene::new(1);
    create_table(&scene, TABLE, &[("pk", "S"), ("sk", "S")]);
    scene
}

/// The home of a replica that reaches AWS at an endpoint.
fn home_at(scene: &Scene, table: &str, endpoint: &str) -> Home {
    let home = Home::new("");
    let config = format!(
        "[state]\ntable = \"{table}\"\nlease = \"{}s\"\n[control]\nsocket = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n{}",
        LEASE.as_secs(),
        home.path("control.sock"),
        scene.config(1).replace(&scene.aws.endpoint(), endpoint)
    );
    fs::write(home.path("config.toml"), &config).unwrap();
    crate::policy::print(&home, &scene.aws.settings(), &config);
    home
}

fn home(scene: &Scene) -> Home {
    home_at(scene, TABLE, &scene.aws.endpoint())
}

fn wait_for_leader(daemon: &Daemon, leads: bool) {
    daemon.wait_for_metric("ecs_deployd_leader", if leads { 1.0 } else { 0.0 });
}

/// Waits until a replica is active and has read CloudTrail. It is ready as a standby, too: only what is pushed after the first read as
/// the active one is sure to be deployed.
fn wait_until_active(daemon: &Daemon) {
    wait_for_leader(daemon, true);
    daemon.wait_until_ready();
}

/// The active replica and a standby.
fn pair(first: &Home, second: &Home) -> (Daemon, Daemon) {
    let active = first.start();
    wait_until_active(&active);
    let standby = second.start();
    standby.wait_for_log("standing by holder=");
    (active, standby)
}

fn updates(scene: &Scene) -> (u64, u64) {
    let calls = scene.client.recorded_calls(Caller::Others).unwrap();
    let of = |call: &str| calls.get(call).copied().unwrap_or_default();
    (of("RegisterTaskDefinition"), of("UpdateService"))
}

fn output(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    let output = home.command(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_standby_is_healthy_and_says_who_is_active() {
    let scene = scene();
    let (first, second) = (home(&scene), home(&scene));
    let (active, standby) = pair(&first, &second);
    assert_eq!((standby.get("/healthz").0, standby.get("/readyz").0), (200, 200));
    assert_eq!(standby.metric("ecs_deployd_leader"), Some(0.0));
    let digest = scene.push("v1");
    active.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &digest);
    let status: Value = wait_for("the deployment in the standby's status", || {
        let status: Value = serde_json::from_str(&standby.get("/api/v1/status").1).ok()?;
        status["services"][0]["deployed"].is_object().then_some(status)
    });
    assert_eq!(status["source"], "table");
    let holder = status["table"]["active"].as_str().unwrap().to_owned();
    assert!(active.log().contains(&holder), "{holder}");
    let page = standby.get("/").1;
    assert!(page.contains("This replica stands by") && page.contains(&holder), "{page}");
    let (code, text, error) = output(&second, &["status", "--json"]);
    let status: Value = serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}{error}"));
    assert_eq!((code, &status["source"], &status["table"]["active"]), (0, &json!("table"), &json!(holder)));
    assert!(!standby.log().contains("LookupEvents"), "a standby does not poll");
}

#[test]
fn a_stop_hands_over_within_a_second_or_so() {
    let scene = scene();
    let (first, second) = (home(&scene), home(&scene));
    let (active, standby) = pair(&first, &second);
    #[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
    let begun = Instant::now();
    assert!(active.stop().success());
    wait_for_leader(&standby, true);
    let took = begun.elapsed();
    eprintln!("takeover after a stop: {took:?}");
    assert!(took < LEASE, "the lease was given back: {took:?}");
    let digest = scene.push("v1");
    standby.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &digest);
    assert_eq!(updates(&scene), (1, 1));
    assert!(standby.stop().success());
}

#[test]
fn killed_at_each_step_of_a_rollout_another_one_deploys_it_once() {
    for (shut, spared) in [
        (Shut::Before("LookupEvents"), 0),
        (Shut::Before("DescribeImages"), 0),
        (Shut::Before("DescribeServices"), 0),
        (Shut::Before("TransactWriteItems"), 0),
        (Shut::After("TransactWriteItems"), 0),
        (Shut::Before("TransactWriteItems"), 1),
        (Shut::After("TransactWriteItems"), 1),
        (Shut::Before("TransactWriteItems"), 2),
        (Shut::After("TransactWriteItems"), 2),
        (Shut::Before("RegisterTaskDefinition"), 0),
        (Shut::After("RegisterTaskDefinition"), 0),
        (Shut::Before("UpdateService"), 0),
        (Shut::After("UpdateService"), 0),
        (Shut::Before("DescribeServices"), 1),
        (Shut::After("DescribeServices"), 1),
    ] {
        let scene = scene();
        let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
        let (first, second) = (home_at(&scene, TABLE, &endpoint), home(&scene));
        let (active, standby) = pair(&first, &second);
        gate.shut_later(shut, spared);
        let digest = scene.push("v1");
        wait_for(&format!("{shut:?}"), || (gate.struck() > 0).then_some(()));
        #[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
        let begun = Instant::now();
        drop(active);
        wait_for_leader(&standby, true);
        let took = begun.elapsed();
        eprintln!("takeover after a crash, {shut:?}: {took:?}");
        assert!(took < LEASE + Duration::from_secs(5), "{shut:?}: {took:?}");
        standby.wait_for_metric(COMPLETED, 1.0);
        scene.wait_for_image(&name(0), &digest);
        assert_eq!(updates(&scene), (1, 1), "{shut:?}");
        assert!(standby.stop().success());
    }
}

#[test]
fn a_migration_under_way_when_its_replica_is_killed_runs_once() {
    for shut in [Shut::Before("RunTask"), Shut::After("RunTask")] {
        let scene = scene();
        let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
        let (first, second) = (home_at(&scene, TABLE, &endpoint), home(&scene));
        for home in [&first, &second] {
            let config = fs::read_to_string(home.path("config.toml")).unwrap();
            let config = config + "[[repository.service.before]]\ncommand = [\"exit\", \"0\"]\n";
            fs::write(home.path("config.toml"), &config).unwrap();
            crate::policy::print(home, &scene.aws.settings(), &config);
        }
        let (active, standby) = pair(&first, &second);
        gate.shut_later(shut, 0);
        let digest = scene.push("v1");
        wait_for(&format!("{shut:?}"), || (gate.struck() > 0).then_some(()));
        drop(active);
        standby.wait_for_metric(COMPLETED, 1.0);
        scene.wait_for_image(&name(0), &digest);
        let calls = scene.client.recorded_calls(Caller::Others).unwrap();
        assert_eq!((calls["RunTask"], calls["UpdateService"]), (1, 1), "{shut:?}: {calls:?}");
        assert!(standby.stop().success());
    }
}

#[test]
fn one_that_was_frozen_beyond_its_lease_stands_by_and_writes_nothing() {
    let scene = scene();
    let (first, second) = (home(&scene), home(&scene));
    let (active, standby) = pair(&first, &second);
    active.signal(Signal::STOP);
    #[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
    let begun = Instant::now();
    wait_for_leader(&standby, true);
    eprintln!("takeover after a freeze: {:?}", begun.elapsed());
    let digest = scene.push("v1");
    standby.wait_for_metric(COMPLETED, 1.0);
    active.signal(Signal::CONT);
    active.wait_for_log("the lease was lost");
    wait_for_leader(&active, false);
    active.wait_for_log("standing by holder=");
    let second_digest = scene.push("v2");
    standby.wait_for_metric(COMPLETED, 2.0);
    assert_ne!(digest, second_digest);
    scene.wait_for_image(&name(0), &second_digest);
    assert_eq!(updates(&scene), (2, 2), "one of each for each push");
    assert!(active.stop().success() && standby.stop().success());
}

#[test]
fn a_replica_that_lost_its_lease_does_not_tell_later_what_it_had_half_told() {
    let scene = scene();
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let hook = Hook::start();
    let home = home_at(&scene, TABLE, &endpoint);
    let config = fs::read_to_string(home.path("config.toml")).unwrap();
    let receiver = format!("[[notify]]\nname = \"ops\"\nwebhook = \"http://{}/ops\"\n", hook.address);
    let config = config + &receiver;
    fs::write(home.path("config.toml"), &config).unwrap();
    crate::policy::print(&home, &scene.aws.settings(), &config);
    hook.refuse(usize::MAX, StatusCode::SERVICE_UNAVAILABLE);
    let daemon = home.start();
    wait_until_active(&daemon);
    let first = scene.push("v1");
    scene.wait_for_image(&name(0), &first);
    daemon.wait_for_log("a notification cannot be delivered");
    gate.shut(Shut::Before(DYNAMODB));
    daemon.wait_for_log("the lease was lost");
    daemon.wait_for_log("stopped before these notifications were delivered");
    hook.refuse(0, StatusCode::OK);
    gate.open();
    wait_for_leader(&daemon, true);
    let second = scene.push("v2");
    scene.wait_for_image(&name(0), &second);
    let told = wait_for("the notification", || hook.bodies("/ops").into_iter().next());
    assert_eq!(told["deployment"]["images"][0]["digest"], json!(second), "{told:#}");
    assert!(daemon.stop().success());
    assert_eq!(hook.bodies("/ops").len(), 1);
}

#[test]
fn commands_are_carried_out_by_the_active_one_from_any_machine() {
    let scene = scene();
    let (first, second) = (home(&scene), home(&scene));
    let nobody = output(&second, &["deploy", "web/hello-0"]);
    assert_eq!(nobody.0, 1, "{nobody:?}");
    assert!(nobody.2.contains("no active replica answers within 15s"), "{nobody:?}");
    let (active, _standby) = pair(&first, &second);
    #[expect(clippy::disallowed_methods, reason = "another process is waited for, in real time")]
    let begun = Instant::now();
    let (code, text, error) = output(&second, &["hold", "web/hello-0", "--reason", "fair"]);
    assert_eq!(code, 0, "{error}");
    assert!(text.starts_with("web/hello-0: held"), "{text}");
    eprintln!("a command took {:?}", begun.elapsed());
    let refused = output(&second, &["deploy", "web/hello-0"]);
    assert_eq!(refused.0, 1, "{refused:?}");
    assert!(refused.2.contains("refused") && refused.2.contains("fair"), "{refused:?}");
    let (_, text, _) = output(&second, &["history", "web/hello-0", "--json"]);
    let history: Value = serde_json::from_str(&text).unwrap();
    let by = history["services"][0]["orders"][0]["by"].as_str().unwrap();
    assert!(by.starts_with("arn:aws:") && by.ends_with(')'), "the identity and the user: {by}");
    assert!(active.stop().success());
}

#[test]
fn a_state_goes_from_a_file_into_a_table_and_back_and_nothing_is_overwritten() {
    let scene = scene();
    let with_file = scene.home(&scene.config(1));
    let daemon = with_file.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    daemon.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &digest);
    let file = with_file.path("state.json");
    let home = home(&scene);
    let path = file.to_str().unwrap();
    let locked = output(&home, &["state", "import", path]);
    assert_eq!(locked.0, 3, "a daemon uses it: {locked:?}");
    assert!(daemon.stop().success());
    let imported = output(&home, &["state", "import", path]);
    assert_eq!(imported.0, 0, "{imported:?}");
    assert!(imported.1.contains("1 service"), "{imported:?}");
    let again = output(&home, &["state", "import", path]);
    assert_eq!(again.0, 1, "{again:?}");
    assert!(again.2.contains("holds a state already"), "{again:?}");
    let copy = home.path("copy.json");
    let exported = output(&home, &["state", "export", copy.to_str().unwrap()]);
    assert_eq!(exported.0, 0, "{exported:?}");
    assert_eq!(fs::read_to_string(&copy).unwrap(), fs::read_to_string(&file).unwrap());
    let again = output(&home, &["state", "export", copy.to_str().unwrap()]);
    assert_eq!(again.0, 1, "{again:?}");
    // A replica goes on with it: what the service runs is not deployed again.
    let replica = home.start();
    wait_until_active(&replica);
    let held = output(&home, &["state", "import", path]);
    assert_eq!(held.0, 1, "{held:?}");
    assert!(held.2.contains("is held by"), "{held:?}");
    let next = scene.push("v2");
    replica.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &next);
    assert_eq!(updates(&scene), (2, 2));
    assert!(replica.stop().success());
}

#[test]
fn a_table_that_cannot_be_used_is_told_by_its_reason() {
    let mut scene = scene();
    create_table(&scene, "other-keys", &[("id", "S")]);
    for (table, says) in [
        ("not-there", "there is no DynamoDB table not-there"),
        ("other-keys", "has the keys id (S), and the state needs"),
    ] {
        let home = home_at(&scene, table, &scene.aws.endpoint());
        for command in [&["run"][..], &["status"], &["plan"], &["hold", "web/hello-0"]] {
            let (code, text, error) = output(&home, command);
            assert_eq!(code, 3, "{command:?}: {error}");
            assert!(error.contains(says), "{command:?}: {error}");
            assert!(!(text + &error).contains("started"), "{command:?}: {error}");
        }
        let (code, text, error) = output(&home, &["check"]);
        assert!(code == 1 && text.contains(says), "{text}{error}");
    }
    // One that is throttled is waited for by the daemon alone.
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    gate.shut(Shut::Refused("DescribeTable", "ThrottlingException"));
    let throttled = home_at(&scene, TABLE, &endpoint);
    let (code, _, error) = output(&throttled, &["status"]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("is throttled"), "{error}");
    eprintln!("{error}");
    let daemon = throttled.start();
    daemon.wait_for_log("the table is awaited");
    gate.open();
    wait_for_leader(&daemon, true);
    assert!(daemon.stop().success());
    scene.denies = true;
    let home = home(&scene);
    scene.aws.settings().allow_only(Part::Daemon, ["ecs:DescribeServices"]).unwrap();
    let (code, _, error) = output(&home, &["run"]);
    assert_eq!(code, 3, "{error}");
    assert!(error.contains("may not be used") && error.contains("dynamodb:DescribeTable"), "{error}");
    eprintln!("{error}");
}

#[test]
fn while_dynamodb_does_not_answer_deployments_wait_and_nothing_is_lost() {
    let scene = scene();
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let first = home_at(&scene, TABLE, &endpoint);
    let daemon = first.start();
    wait_until_active(&daemon);
    gate.shut(Shut::Before("DynamoDB_20120810"));
    wait_within(PATIENCE, "the end of the lease", || (daemon.metric("ecs_deployd_leader") == Some(0.0)).then_some(()));
    let digest = scene.push("v1");
    gate.open();
    wait_for_leader(&daemon, true);
    daemon.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &digest);
    assert_eq!(updates(&scene), (1, 1));
    assert!(daemon.stop().success());
}
