//! The policy that `iam` prints: enough for everything that the program does, and nothing of it too much.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::commands::run;
use crate::daemon::{Home, wait_for};
use crate::scene::{ACCOUNT, REGION, Scene, name};

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

fn policy(home: &Home, arguments: &[&str]) -> Value {
    let (code, text, errors) = run(home, arguments);
    assert_eq!((code, errors.as_str()), (0, ""), "{text}");
    serde_json::from_str(&text).unwrap()
}

fn actions(policy: &Value) -> BTreeSet<String> {
    policy["Statement"].as_array().unwrap().iter().flat_map(|statement| texts(&statement["Action"])).collect()
}

fn resources(policy: &Value, sid: &str) -> Vec<String> {
    let statements = policy["Statement"].as_array().unwrap();
    let found = statements.iter().find(|statement| statement["Sid"] == sid);
    texts(&found.unwrap_or_else(|| panic!("no {sid} in {policy:#}"))["Resource"])
}

#[test]
fn the_policy_has_the_account_the_families_and_the_roles_that_aws_knows_of() {
    let scene = Scene::new(2);
    let home = Home::new(&scene.config(2));
    let policy = policy(&home, &["iam"]);
    let arn = |rest: &str| format!("arn:aws:ecs:{REGION}:{ACCOUNT}:{rest}");
    assert_eq!(resources(&policy, "ReadAndRollServices"), [arn("service/web/hello-0"), arn("service/web/hello-1")]);
    assert_eq!(resources(&policy, "RegisterRevisions"), [arn("task-definition/hello:*")]);
    assert_eq!(resources(&policy, "CopyTagsOfRevisions"), [arn("task-definition/hello:*")]);
    let roles = ["execution", "task"].map(|role| format!("arn:aws:iam::{ACCOUNT}:role/{role}"));
    assert_eq!(resources(&policy, "PassRolesOfTasks"), roles);
    assert_eq!(resources(&policy, "ResolveTags"), [format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/hello")]);
    assert!(!actions(&policy).contains("sns:Publish"), "there is no topic");
}

#[test]
fn what_the_policy_depends_on_is_asked_for_and_its_lack_is_exit_1() {
    let scene = Scene::new(1);
    let (code, _, errors) = run(&Home::new(&scene.config(1).replace(&name(0), "gone")), &["iam"]);
    assert_eq!(code, 1);
    assert!(errors.contains("web/gone") && errors.contains("there is no such service in the cluster web"), "{errors}");
    let unreachable = scene.config(1).replace(&scene.aws.endpoint(), "http://127.0.0.1:1");
    let (code, _, errors) = run(&Home::new(&unreachable), &["iam"]);
    assert_eq!(code, 1);
    assert!(errors.contains("cannot ask AWS about the account of aws context default"), "{errors}");
    let live = format!("[aws.live]\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\n", scene.aws.endpoint());
    let two = scene.config(1) + &live;
    let (code, _, errors) = run(&Home::new(&two), &["iam"]);
    assert!(code == 2 && errors.contains("say --aws with one of default, live"), "{code} {errors}");
    assert_eq!(
        actions(&policy(&Home::new(&two), &["iam", "--aws", "live"])),
        BTreeSet::new(),
        "it is used for nothing"
    );
}

/// The whole life of a service with just what is printed for it: a push, a rollback, an order.
#[test]
fn the_printed_policy_is_enough_for_the_daemon() {
    let scene = Scene::new(1);
    let (queue, config) = scene.with_queue(&scene.config(1));
    let home = Home::new(&config);
    let allowed = actions(&policy(&home, &["iam"]));
    scene.aws.allow_only(allowed.iter().map(String::as_str)).unwrap();
    let daemon = home.start();
    daemon.wait_until_ready();
    let first = scene.push("v1");
    scene.tell(&queue, "first", &first);
    scene.wait_for_image(&name(0), &first);
    daemon.wait_for_log("outcome=\"completed\"");
    let second = scene.push("v2");
    scene.wait_for_image(&name(0), &second);
    wait_for("two deployments", || (daemon.log().matches("outcome=\"completed\"").count() == 2).then_some(()));
    assert_eq!(run(&home, &["rollback", "web/hello-0"]).0, 0);
    scene.wait_for_image(&name(0), &first);
    daemon.wait_for_log("outcome=\"rolled_back\"");
    wait_for("an empty queue", || (scene.client.messages_left(&queue).unwrap() == 0).then_some(()));
    daemon.stop();
}

/// `check` makes every call of the daemon that changes nothing. What it cannot try are the writes: AWS has no dry run for them.
#[test]
fn check_names_every_single_action_that_is_missing_and_that_it_can_try() {
    const WRITES: [&str; 5] = [
        "ecs:UpdateService",
        "ecs:StopServiceDeployment",
        "ecs:RegisterTaskDefinition",
        "ecs:TagResource",
        "iam:PassRole",
    ];
    // They are called about the deployments that ECS lists, and about those that ECS itself waits in: the emulator has neither.
    const NOT_HERE: [&str; 2] = ["ecs:DescribeServiceRevisions", "ecs:DescribeServiceDeployments"];
    let mut scene = Scene::new(1);
    scene.denies = true;
    let (_, config) = scene.with_queue(&scene.config(1));
    let home = Home::new(&config);
    let allowed = actions(&policy(&home, &["iam"]));
    let tried: Vec<&String> =
        allowed.iter().filter(|action| ![&WRITES[..], &NOT_HERE[..]].concat().contains(&action.as_str())).collect();
    assert_eq!(tried.len() + WRITES.len() + NOT_HERE.len(), allowed.len(), "{allowed:?}");
    for missing in tried {
        scene.aws.allow_only(allowed.iter().filter(|action| *action != missing).map(String::as_str)).unwrap();
        let (_, text, errors) = run(&home, &["check", "--json"]);
        let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
        let named = found["findings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|finding| finding["remedy"].as_str().unwrap().contains(&format!("allow {missing} ")));
        assert!(named, "{missing} is not named: {found:#}");
    }
}
