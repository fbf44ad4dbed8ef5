//! The commands of an operator, with the real binary.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::daemon::{Home, wait_for};
use crate::scene::{Scene, name};

/// Runs a command to its end. Gives the exit code, standard output and standard error.
pub fn run(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    let output = home.command(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(home: &Home, arguments: &[&str]) -> Value {
    let (code, text, errors) = run(home, arguments);
    assert_eq!(code, 0, "{arguments:?}: {errors}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
}

#[test]
fn once_deploys_what_was_pushed_since_the_last_time_and_tells_by_its_exit_code() {
    let scene = Scene::new(2);
    let home = scene.home(&scene.config(2));
    let (code, text, _) = run(&home, &["once"]);
    assert_eq!((code, text.as_str()), (0, "nothing to do\n"), "pushes before the first start");
    let digest = scene.push("v1");
    let plan = json(&home, &["plan", "--json"]);
    let decisions: Vec<&Value> =
        plan["pushes"].as_array().unwrap().iter().filter(|push| push["decision"] == "deploy").collect();
    assert_eq!(decisions.len(), 2, "{plan:#}");
    assert_eq!(decisions[0]["detail"], digest);
    assert_eq!(plan["services"][0]["state"], "differs");
    assert!(plan["services"][0]["images"][0]["to"].as_str().unwrap().ends_with(&digest), "{plan:#}");
    let calls = scene.client.recorded_calls(local_aws::Caller::Others).unwrap();
    assert!(!calls.contains_key("RegisterTaskDefinition") && !calls.contains_key("UpdateService"), "{calls:?}");
    let (code, text, errors) = run(&home, &["once"]);
    assert_eq!(code, 0, "{errors}");
    for number in 0..2 {
        assert!(text.lines().any(|line| line.contains(&name(number)) && line.contains("completed")), "{text}");
        scene.wait_for_image(&name(number), &digest);
    }
    assert!(!text.contains('\u{1b}'), "no colour where there is no terminal");
    let (code, text, _) = run(&home, &["once"]);
    assert_eq!((code, text.as_str()), (0, "nothing to do\n"));
    assert_eq!(json(&home, &["plan", "--json"])["services"][1]["state"], "same");
}

#[test]
fn once_fails_where_it_cannot_deploy() {
    let scene = Scene::new(1);
    let home = scene.home_of_a_mistake(&scene.config(1).replace(&name(0), "nowhere"));
    assert_eq!(run(&home, &["once"]).0, 0);
    scene.push("v1");
    let (_, text, _) = run(&home, &["plan"]);
    assert!(text.contains("service_missing"), "{text}");
    let unreachable = scene.home(&scene.config(1).replace(&scene.aws.endpoint(), "http://127.0.0.1:1"));
    let (code, _, errors) = run(&unreachable, &["once"]);
    assert_eq!(code, 1);
    assert!(errors.contains("CloudTrail cannot be read"), "{errors}");
}

#[test]
fn an_operator_steers_the_running_daemon() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let (service, status) = (format!("web/{}", name(0)), ["status", "--json"]);
    let (code, _, errors) = run(&home, &["hold", &service]);
    assert_eq!(code, 1);
    assert!(errors.contains("no daemon answers on"), "{errors}");
    assert_eq!(json(&home, &status)["source"], "state_file");

    let daemon = home.start();
    daemon.wait_until_ready();
    let mode = fs::metadata(home.path("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let v1 = scene.push("v1");
    daemon.wait_for_log("deployment ended");
    let now = json(&home, &status);
    assert_eq!((now["source"].as_str(), now["version"].as_u64()), (Some("daemon"), Some(1)));
    assert_eq!(now["services"][0]["deployed"]["images"][0]["digest"], v1);

    let (code, text, _) = run(&home, &["hold", &service, "--reason", "fair"]);
    assert_eq!((code, text.contains("held")), (0, true));
    scene.push("v2");
    daemon.wait_for_log("reason=held");
    let (code, _, errors) = run(&home, &["deploy", &service]);
    assert_eq!(code, 1);
    assert!(errors.contains("refused: held by ") && errors.contains("fair"), "{errors}");
    let (_, text, _) = run(&home, &["status"]);
    assert!(text.contains("held"), "{text}");

    assert_eq!(run(&home, &["release", &service]).0, 0);
    wait_for("two deployments", || (daemon.log().matches("outcome=\"completed\"").count() == 2).then_some(()));
    let (code, text, errors) = run(&home, &["rollback", &service]);
    assert_eq!(code, 0, "{errors}");
    assert!(text.contains("going back from"), "{text}");
    scene.wait_for_image(&name(0), &v1);
    daemon.wait_for_log("outcome=\"rolled_back\"");
    let history = json(&home, &["history", &service, "--json"]);
    let orders: Vec<&str> = history["services"][0]["orders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ordered| ordered["order"]["is"].as_str().unwrap())
        .collect();
    assert_eq!(orders, ["rollback", "release", "deploy", "hold"]);
    assert_eq!(history["services"][0]["history"][0]["result"], "rolled_back");
    assert!(daemon.stop().success());
    assert!(!home.path("control.sock").exists());
    assert_eq!(json(&home, &status)["services"][0]["held"].as_array().unwrap().len(), 1);
}

#[test]
fn a_socket_that_a_dead_daemon_left_is_replaced_and_a_strange_file_is_not() {
    let scene = Scene::new(1);
    let home = scene.home(&scene.config(1));
    let daemon = home.start();
    daemon.wait_until_ready();
    drop(daemon);
    assert!(home.path("control.sock").exists(), "it was killed");
    let daemon = home.start();
    daemon.wait_until_ready();
    assert_eq!(run(&home, &["status", "--json"]).0, 0);
    assert!(daemon.stop().success());
    fs::write(home.path("control.sock"), "mine").unwrap();
    let daemon = home.start();
    daemon.wait_for_log("the control socket cannot be opened");
    daemon.wait_until_ready();
    assert!(daemon.stop().success());
    assert_eq!(fs::read_to_string(home.path("control.sock")).unwrap(), "mine");
}
