//! The queue as a source of pushes: the real SQS client against the emulator's queue.

use local_aws::Caller;
use serde_json::Value;

use crate::commands::run;
use crate::daemon::{Daemon, wait_for};
use crate::gate::{Gate, Shut};
use crate::scene::{Scene, name};

const COMPLETED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello-0"}"#;

fn messages(daemon: &Daemon, outcome: &str) -> Option<f64> {
    daemon.metric(&format!(r#"ecs_deployd_queue_messages_total{{aws="default",outcome="{outcome}"}}"#))
}

/// CloudTrail of the emulator tells at once; here it is read only once in ten minutes.
fn slowly(config: &str) -> String {
    config.replace("interval = \"1s\"\n[deploy]", "interval = \"10m\"\n[deploy]")
}

fn is_empty(scene: &Scene, queue: &str) {
    wait_for("an empty queue", || (scene.client.messages_left(queue).unwrap() == 0).then_some(()));
}

#[test]
fn a_push_rolls_by_the_queue_alone_and_its_message_is_deleted() {
    let scene = Scene::new(1);
    let (queue, config) = scene.with_queue(&slowly(&scene.config(1)));
    let home = scene.home(&config);
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    scene.tell(&queue, "event-1", &digest);
    scene.wait_for_image(&name(0), &digest);
    daemon.wait_for_metric(COMPLETED, 1.0);
    is_empty(&scene, &queue);
    // SQS delivers at least once.
    scene.tell(&queue, "event-1", &digest);
    wait_for("a duplicate", || (messages(&daemon, "duplicate") == Some(1.0)).then_some(()));
    scene.client.send_message(&queue, "rubbish").unwrap();
    wait_for("a malformed message", || (messages(&daemon, "malformed") == Some(1.0)).then_some(()));
    is_empty(&scene, &queue);
    assert_eq!(messages(&daemon, "push"), Some(1.0));
    let detected = r#"ecs_deployd_push_detection_seconds_count{repository="hello",source="queue"}"#;
    assert_eq!(daemon.metric(detected), Some(1.0));
    let (_, page) = daemon.get("/");
    assert!(page.contains("after the push, by the queue"), "{page}");
    let (_, status) = daemon.get("/api/v1/status");
    let status: Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["contexts"][0]["queue"]["url"], queue.as_str());
    assert_eq!(scene.client.recorded_calls(Caller::Others).unwrap()["UpdateService"], 1);
    assert!(daemon.stop().success());
}

#[test]
fn a_queue_that_is_gone_delays_nothing_and_everybody_says_so() {
    let scene = Scene::new(1);
    let (queue, config) = scene.with_queue(&scene.config(1));
    let home = scene.home(&config.replace(&queue, &queue.replace("pushes", "gone")));
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    scene.wait_for_image(&name(0), &digest);
    daemon.wait_for_log("the queue cannot be read");
    let (status, text) = daemon.get("/readyz");
    assert!(status == 200 && text.contains("aws context default: the queue cannot be read"), "{status} {text}");
    let (_, found, _) = run(&home, &["check", "--json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let codes: Vec<&str> =
        found["findings"].as_array().unwrap().iter().filter_map(|finding| finding["code"].as_str()).collect();
    assert!(codes.contains(&"unknown_queue"), "{found:#}");
    assert!(daemon.stop().success());
}

/// The calls of a push by the queue, and how many of the same name come before.
const CALLS: [(&str, usize); 4] =
    [("ReceiveMessage", 0), ("RegisterTaskDefinition", 0), ("UpdateService", 0), ("DeleteMessage", 0)];

#[test]
fn killed_before_any_call_nothing_is_lost_and_nothing_is_deployed_twice() {
    for (call, spared) in CALLS {
        die(Shut::Before(call), spared);
    }
}

#[test]
fn killed_after_any_call_nothing_is_lost_and_nothing_is_deployed_twice() {
    for (call, spared) in CALLS {
        die(Shut::After(call), spared);
    }
}

fn die(shut: Shut, spared: usize) {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let (queue, config) = scene.with_queue(&slowly(&scene.config(1)));
    let config = config
        .replace(&format!("endpoint_url = \"{}\"", scene.aws.endpoint()), &format!("endpoint_url = \"{endpoint}\""));
    let home = scene.home(&config);
    // A request for messages is under way as soon as the daemon runs, and takes until there is one.
    let receives = shut.word() == "ReceiveMessage";
    if receives {
        gate.shut_later(shut, spared);
    }
    let daemon = home.start();
    daemon.wait_until_ready();
    // A push is before the start of a daemon whose first start never reached the disk.
    wait_for("the state of the first start", || home.path("state.json").exists().then_some(()));
    let digest = scene.push("v1");
    if !receives {
        gate.shut_later(shut, spared);
    }
    scene.tell(&queue, "event-1", &digest);
    wait_for(&format!("{shut:?}"), || (gate.struck() > 0).then_some(()));
    if shut == Shut::After("ReceiveMessage") {
        wait_for("the message under way", || (scene.client.messages_hidden(&queue).unwrap() == 1).then_some(()));
    }
    let received = match shut {
        Shut::Before("ReceiveMessage") => 0,
        Shut::Before(_) | Shut::After(_) | Shut::Refused(..) => 1,
    };
    drop(daemon);
    let left = scene.client.messages_left(&queue).unwrap();
    gate.open();
    let daemon = home.start();
    daemon.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &digest);
    // What was received by the process that died is hidden for a minute at most.
    crate::daemon::wait_within(std::time::Duration::from_secs(120), "an empty queue", || {
        (scene.client.messages_left(&queue).unwrap() == 0).then_some(())
    });
    let calls = scene.client.recorded_calls(Caller::Others).unwrap();
    assert_eq!((calls["RegisterTaskDefinition"], calls["UpdateService"]), (1, 1), "{shut:?}: {calls:?}");
    let of = |outcome| messages(&daemon, outcome).unwrap_or_default();
    let again = of("push") + of("duplicate");
    let deleted = 1 - left;
    eprintln!(
        "| {shut:?} | received {received}, deleted {deleted} | received {again}, of them duplicates {} | deleted {left} |",
        of("duplicate")
    );
    assert_eq!(
        (again, left == 1),
        (f64::from(u32::from(left == 1)), again == 1.0),
        "{shut:?}: what is left is delivered again, once"
    );
    assert!(daemon.stop().success());
}
