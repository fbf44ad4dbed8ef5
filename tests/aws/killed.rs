//! The real binary dies by SIGKILL at, and right after, every call of a deployment.

use local_aws::Caller;

use crate::daemon::{Home, wait_for};
use crate::gate::{Gate, Shut};
use crate::scene::{Scene, name};

/// The calls of a first deployment, in their order; the last one again for the watching.
const CALLS: [&str; 7] = [
    "DescribeImages",
    "DescribeServices",
    "ListTasks",
    "DescribeTaskDefinition",
    "DescribeTasks",
    "RegisterTaskDefinition",
    "UpdateService",
];

#[test]
fn killed_before_any_call_it_deploys_once() {
    for call in CALLS {
        die(Shut::Before(call));
    }
}

#[test]
fn killed_after_any_call_it_deploys_once() {
    for call in CALLS {
        die(Shut::After(call));
    }
}

fn die(shut: Shut) {
    let scene = Scene::new(1);
    let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
    let home = Home::new(&scene.config(1).replace(&scene.aws.endpoint(), &endpoint));
    let daemon = home.start();
    daemon.wait_until_ready();
    gate.shut(shut);
    let digest = scene.push("v1");
    wait_for(&format!("{shut:?}"), || (gate.struck() > 0).then_some(()));
    if let Shut::After(_) = shut {
        // The effect is there before the process is gone.
        wait_for("the call's effect", || effect(&scene, shut).then_some(()));
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

fn effect(scene: &Scene, shut: Shut) -> bool {
    scene.client.recorded_calls(Caller::Others).unwrap().contains_key(shut.word())
}
