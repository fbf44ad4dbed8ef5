//! The policy that `iam` prints: enough for everything that the program does, and nothing of it too much.

use std::collections::BTreeSet;

use ecs_deployd::domain::permission::{GRANTS, Trial};
use local_aws::{ECR, ECS, Part};
use serde_json::{Value, json};

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
    let home = scene.home(&scene.config(2));
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
    let (code, _, errors) = run(&scene.home_of_a_mistake(&scene.config(1).replace(&name(0), "gone")), &["iam"]);
    assert_eq!(code, 1);
    assert!(errors.contains("web/gone") && errors.contains("there is no such service in the cluster web"), "{errors}");
    let unreachable = scene.config(1).replace(&scene.aws.endpoint(), "http://127.0.0.1:1");
    let (code, _, errors) = run(&scene.home(&unreachable), &["iam"]);
    assert_eq!(code, 1);
    assert!(errors.contains("cannot ask AWS about the account of aws context default"), "{errors}");
    let live = format!("[aws.live]\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\n", scene.aws.endpoint());
    let two = scene.config(1) + &live;
    let (code, _, errors) = run(&scene.home(&two), &["iam"]);
    assert!(code == 2 && errors.contains("say --aws with one of default, live"), "{code} {errors}");
    assert_eq!(
        actions(&policy(&scene.home(&two), &["iam", "--aws", "live"])),
        BTreeSet::new(),
        "it is used for nothing"
    );
}

/// The whole life of a service with just what is printed for it: a push, a rollback, a command.
#[test]
fn the_printed_policy_is_enough_for_the_daemon() {
    let scene = Scene::new(1);
    let (queue, config) = scene.with_queue(&scene.config(1));
    let home = scene.home(&config);
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

/// Everything that needs a permission of its own: a table, a queue, gates, tasks, a topic, a schedule, a rule, services that opt in by a tag,
/// one that pauses at a hook, and one in another account.
fn of_everything(scene: &Scene) -> Home {
    crate::replicas::create_table(scene, "state", &[("pk", "S"), ("sk", "S")]);
    let revision = scene.client.describe_service("web", &name(0)).unwrap()["taskDefinition"].clone();
    let hook = json!({"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]});
    let pausing = json!({
        "cluster": "web", "serviceName": "pausing", "taskDefinition": revision, "desiredCount": 1,
        "deploymentConfiguration": {"lifecycleHooks": [hook]},
    });
    scene.client.call(ECS, "CreateService", &pausing).unwrap();
    crate::targets::create_schedule(scene, "nightly", &revision);
    crate::targets::create_rule(scene, "hourly", &revision);
    crate::accounts::service_elsewhere(scene, "prod", "shop");
    let (_, config) = scene.with_queue(&scene.config(1));
    let gates = "scan = \"high\"\nsigned_by = [\"arn:aws:signer:eu-west-1:111111111111:/signing-profiles/ci\"]\n";
    let config = config.replace("[deploy]\n", &format!("[deploy]\n{gates}"));
    let home = Home::new("");
    let config = format!(
        "[state]\ntable = \"state\"\n[control]\nsocket = {:?}\n{config}[[repository.service.before]]\ncommand = [\"migrate\"]\n\
         [[repository.service]]\ncluster = \"web\"\nservice = \"pausing\"\n\
         [[repository.service]]\ncluster = \"prod\"\nservice = \"shop\"\naws = \"production\"\n\
         [[repository.schedule]]\nscheduler = \"nightly\"\n[[repository.schedule]]\nrule = \"hourly\"\n\
         [policy.stable]\ntags = [\"latest\"]\n[[discover]]\naws = \"default\"\n\
         [[notify]]\nname = \"duty\"\nsns = \"arn:aws:sns:eu-west-1:111111111111:duty\"\n\
         [aws.production]\nregion = \"us-east-1\"\nendpoint_url = \"{}\"\nrole_arn = \"arn:aws:iam::222222222222:role/deployer\"\n",
        home.path("control.sock"),
        scene.aws.endpoint()
    );
    std::fs::write(home.path("config.toml"), &config).unwrap();
    crate::policy::print(&home, &scene.aws.settings(), &config);
    home
}

fn findings(home: &Home) -> Vec<Value> {
    let (_, text, errors) = run(home, &["check", "--json"]);
    let found: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    found["findings"].as_array().unwrap().clone()
}

/// `check` makes the calls of the daemon that change nothing, as far as there is something to make them about. What it does not try it names
/// in a note for each context.
#[test]
fn check_names_every_single_action_that_is_missing_or_that_it_cannot_try() {
    let mut scene = Scene::new(1);
    scene.denies = true;
    let home = of_everything(&scene);
    // With enhanced scanning ECR asks Amazon Inspector.
    let images = scene.client.call(ECR, "DescribeImages", &json!({"repositoryName": "hello"})).unwrap();
    let digest = images["imageDetails"][0]["imageDigest"].as_str().unwrap();
    let scan = json!({"imageScanStatus": {"status": "ACTIVE"}, "imageScanFindings": {"enhancedFindings": []}});
    scene.aws.settings().set_scans(&json!({digest: scan})).unwrap();
    let allowed = actions(&policy(&home, &["iam", "--aws", "default"]));
    // As words of the note of a context, and as the action to allow.
    let is_noted = |found: &[Value], action: &str| {
        let notes = found.iter().filter(|finding| finding["code"] == "not_tried" && finding["severity"] == "note");
        let words = |text: &str| text.split([' ', ',', ';']).any(|word| word == action);
        notes.map(|finding| finding["message"].as_str().unwrap()).any(words)
    };
    let is_denied = |found: &[Value], action: &str| {
        let mut denials = found.iter().filter(|finding| finding["severity"] != "note");
        // Who assumes a role is another one than the role.
        let allow = [format!("allow {action} "), format!("allow that one {action}")];
        let says = |finding: &Value, member: &str| {
            let text = finding[member].as_str().unwrap();
            allow.iter().any(|allow| text.contains(allow))
        };
        denials.any(|finding| says(finding, "message") || says(finding, "remedy"))
    };
    let whole = findings(&home);
    let untried: BTreeSet<&str> =
        allowed.iter().map(String::as_str).filter(|action| is_noted(&whole, action)).collect();
    assert!(allowed.iter().all(|action| !is_denied(&whole, action)), "{whole:#?}");
    for missing in &allowed {
        let others = allowed.iter().filter(|action| *action != missing).map(String::as_str);
        scene.aws.settings().allow_only(Part::Check, others).unwrap();
        let found = findings(&home);
        let named = (is_denied(&found, missing), is_noted(&found, missing));
        let is_untried = untried.contains(missing.as_str());
        assert_eq!(named, (!is_untried, is_untried), "{missing} is a denial or in the note: {found:#?}");
    }
    // The emulator has no deployments that the last two could be asked about.
    let writes = GRANTS.iter().filter(|grant| grant.trial == Trial::Never).map(|grant| grant.action);
    let expected = writes
        .chain(["ecs:DescribeServiceRevisions", "ecs:DescribeServiceDeployments"])
        .filter(|action| *action != "ecs:UpdateExpressGatewayService");
    assert_eq!(untried, expected.collect());
}
