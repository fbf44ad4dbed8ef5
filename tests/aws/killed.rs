//! The real binary dies by SIGKILL at, and right after, every call of a deployment.

use local_aws::Caller;

use crate::daemon::wait_for;
use crate::gate::{Gate, Shut};
use crate::scene::{Scene, name};

/// The calls of a first deployment, and how many of the same name come before. The last one watches the rollout.
const CALLS: [(&str, usize); 9] = [
    ("LookupEvents", 0),
    ("DescribeImages", 0),
    ("DescribeServices", 0),
    ("ListTasks", 0),
    ("DescribeTaskDefinition", 0),
    ("DescribeTasks", 0),
    ("RegisterTaskDefinition", 0),
    ("UpdateService", 0),
    ("DescribeServices", 1),
];

#[test]
fn killed_before_any_call_it_deploys_once() {
    for (call, spared) in CALLS {
        die(Shut::Before(call), spared);
    }
}

#[test]
fn killed_after_any_call_it_deploys_once() {
    for (call, spared) in CALLS {
        die(Shut::After(call), spared);
    }
}

fn die(shut: Shut, spared: usize) {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let home = scene.home(&scene.config(1).replace(&scene.aws.endpoint(), &endpoint));
    let daemon = home.start();
    daemon.wait_until_ready();
    gate.shut_later(shut, spared);
    let digest = scene.push("v1");
    wait_for(&format!("{shut:?}"), || (gate.struck() > 0).then_some(()));
    if let Shut::After(call) = shut
        && call != "LookupEvents"
    {
        // The effect is there before the process is gone. A lookup has none.
        wait_for("the call's effect", || (recorded(&scene, call) > spared as u64).then_some(()));
    }
    drop(daemon);
    gate.open();
    let daemon = home.start();
    daemon
        .wait_for_metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello-0"}"#, 1.0);
    scene.wait_for_image(&name(0), &digest);
    let calls = scene.client.recorded_calls(Caller::Others).unwrap();
    assert_eq!(calls["RegisterTaskDefinition"], 1, "{shut:?}: the revision that was registered is used: {calls:?}");
    assert_eq!(calls["UpdateService"], 1, "{shut:?}: one UpdateService: {calls:?}");
    assert!(daemon.stop().success());
}

fn recorded(scene: &Scene, call: &str) -> u64 {
    scene.client.recorded_calls(Caller::Others).unwrap().get(call).copied().unwrap_or_default()
}
