//! Migrations and checks by the real binary. The emulator's tasks exit with the code that their command names.

use local_aws::Caller;

use crate::daemon::{Home, wait_for};
use crate::gate::{Gate, Shut};
use crate::scene::{Scene, name};

const COMPLETED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello-0"}"#;
const MIGRATES: &str = "[[repository.service.before]]\ncommand = [\"exit\", \"0\"]\n";

fn counted(kind: &str, outcome: &str) -> String {
    format!(r#"ecs_deployd_tasks_total{{cluster="web",kind="{kind}",outcome="{outcome}",service="hello-0"}}"#)
}

fn ended(outcome: &str) -> String {
    COMPLETED.replace("completed", outcome)
}

#[test]
fn a_migration_and_a_check_run_once_each() {
    let scene = Scene::new(1);
    let verifies = MIGRATES.replace("before", "verify");
    let home = Home::new(&format!("{}{MIGRATES}{verifies}", scene.config(1)));
    let daemon = home.start();
    daemon.wait_until_ready();
    let digest = scene.push("v1");
    daemon.wait_for_metric(COMPLETED, 1.0);
    scene.wait_for_image(&name(0), &digest);
    assert_eq!(daemon.metric(&counted("before", "succeeded")), Some(1.0));
    assert_eq!(daemon.metric(&counted("verify", "succeeded")), Some(1.0));
    assert_eq!(scene.client.recorded_calls(Caller::Others).unwrap()["RunTask"], 2);
    assert!(daemon.stop().success());
}

#[test]
fn a_migration_that_fails_leaves_the_service_as_it_is() {
    let scene = Scene::new(1);
    let before = scene.image(&name(0));
    let home = Home::new(&format!("{}{}", scene.config(1), MIGRATES.replace("\"0\"", "\"3\"")));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_metric(&ended("failed"), 1.0);
    assert_eq!(scene.image(&name(0)), before);
    assert_eq!(daemon.metric(&counted("before", "failed")), Some(1.0));
    assert_eq!(daemon.metric(r#"ecs_deployd_held{cluster="web",service="hello-0"}"#), Some(1.0));
    daemon.wait_for_log(
        "the before task `exit 3` failed: exit code 3; Essential container in task exited (container nginx, task ",
    );
    assert_eq!(scene.client.recorded_calls(Caller::Others).unwrap().get("UpdateService"), None);
}

#[test]
fn a_migration_that_hangs_is_stopped_at_its_timeout() {
    let scene = Scene::new(1);
    let hangs = MIGRATES.replace("[\"exit\", \"0\"]", "[\"hang\"]\ntimeout = \"2s\"");
    let home = Home::new(&format!("{}{hangs}", scene.config(1)));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_metric(&ended("timed_out"), 1.0);
    assert_eq!(daemon.metric(&counted("before", "timed_out")), Some(1.0));
    assert_eq!(scene.client.recorded_calls(Caller::Others).unwrap()["StopTask"], 1);
}

#[test]
fn a_check_that_fails_takes_the_service_back() {
    let scene = Scene::new(1);
    let verifies = MIGRATES.replace("before", "verify").replace("\"0\"", "\"1\"");
    let home = Home::new(&format!("{}{verifies}", scene.config(1)));
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_metric(&ended("rolled_back"), 1.0);
    assert_eq!((daemon.metric(&ended("failed")), daemon.metric(COMPLETED)), (Some(1.0), Some(0.0)));
}

#[test]
fn killed_before_or_after_the_calls_of_a_migration_it_runs_once() {
    for shut in [
        Shut::Before("RegisterTaskDefinition"),
        Shut::After("RegisterTaskDefinition"),
        Shut::Before("RunTask"),
        Shut::After("RunTask"),
        Shut::Before("UpdateService"),
        Shut::After("UpdateService"),
    ] {
        let scene = Scene::new(1);
        let (gate, endpoint) = Gate::before(&scene.aws.endpoint());
        let home = Home::new(&format!("{}{MIGRATES}", scene.config(1).replace(&scene.aws.endpoint(), &endpoint)));
        let daemon = home.start();
        daemon.wait_until_ready();
        gate.shut_later(shut, 0);
        let digest = scene.push("v1");
        wait_for(&format!("{shut:?}"), || (gate.struck() > 0).then_some(()));
        if let Shut::After(call) = shut {
            let made = || scene.client.recorded_calls(Caller::Others).unwrap().get(call).copied();
            wait_for("the call's effect", || made().filter(|count| *count > 0));
        }
        drop(daemon);
        gate.open();
        let daemon = home.start();
        daemon.wait_for_metric(COMPLETED, 1.0);
        scene.wait_for_image(&name(0), &digest);
        let calls = scene.client.recorded_calls(Caller::Others).unwrap();
        assert_eq!((calls["RunTask"], calls["UpdateService"]), (1, 1), "{shut:?}: {calls:?}");
        println!("killed at {shut:?}: task runs: {}", calls["RunTask"]);
    }
}
