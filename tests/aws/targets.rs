//! Services that opt in by a tag, and schedules and rules that follow the image.

use local_aws::{ECS, Part};
use serde_json::{Value, json};

use crate::daemon::{wait_for, wait_within};
use crate::scene::{ACCOUNT, REGION, Scene, name};

const EVENTS: &str = "AWSEvents";

fn head(scene: &Scene) -> String {
    format!(
        "[aws.default]\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\nmax_lookups_per_second = 2\n[poll]\ninterval = \"1s\"\n\
         [deploy]\nobserve_interval = \"1s\"\n",
        scene.aws.endpoint()
    )
}

fn discovers(scene: &Scene) -> String {
    head(scene) + "[policy.stable]\ntags = [\"latest\"]\n[[discover]]\nevery = \"1s\"\n"
}

fn tag(scene: &Scene, service: &str, value: &str) {
    let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/web/{service}");
    let tags = json!([{"key": "ecs-deployd", "value": value}]);
    scene.client.call(ECS, "TagResource", &json!({"resourceArn": arn, "tags": tags})).unwrap();
}

fn untag(scene: &Scene, service: &str) {
    let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/web/{service}");
    scene.client.call(ECS, "UntagResource", &json!({"resourceArn": arn, "tagKeys": ["ecs-deployd"]})).unwrap();
}

#[test]
fn a_service_that_has_the_tag_is_followed_and_one_that_loses_it_is_left_alone() {
    const FOUND: &str = r#"ecs_deployd_discovered_services{aws="default"}"#;
    let scene = Scene::new(2);
    // The policy that is printed allows to pass the roles of what has the tag by then.
    tag(&scene, &name(0), "stable");
    let home = scene.home(&discovers(&scene));
    let daemon = home.start();
    daemon.wait_until_ready();
    daemon.wait_for_metric(FOUND, 1.0);
    let v1 = scene.push("v1");
    scene.wait_for_image(&name(0), &v1);
    assert!(!scene.image(&name(1)).contains(&v1));
    let output = home.command(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["services"][0]["discovered"]["policy"], "stable", "{status:#}");
    untag(&scene, &name(0));
    daemon.wait_for_metric(FOUND, 0.0);
    tag(&scene, &name(1), "stabel");
    daemon.wait_for_log("the nearest name is stable");
    let (code, log) = home.run(&["check"]);
    assert_eq!(code, 1, "{log}");
    let output = home.command(&["check"]).output().unwrap();
    let findings = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        findings.contains("there is no [policy.stabel]") && findings.contains("the nearest name is stable"),
        "{findings}"
    );
    tag(&scene, &name(1), "stable");
    daemon.wait_for_metric(FOUND, 1.0);
    let v2 = scene.push("v2");
    scene.wait_for_image(&name(1), &v2);
    assert!(scene.image(&name(0)).contains(&v1), "it is left as it is");
    assert!(daemon.stop().success());
}

#[test]
fn a_service_that_is_listed_otherwise_than_its_tag_says_is_an_error_at_the_start() {
    let scene = Scene::new(1);
    tag(&scene, &name(0), "stable");
    let listed = "[[repository]]\nname = \"hello\"\ntags = [\"edge\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello-0\"\n";
    let home = scene.home(&(discovers(&scene) + listed));
    let (code, log) = home.run(&["run"]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("web/hello-0") && log.contains("\"stable\"") && log.contains("other tags"), "{log}");
}

/// A schedule that runs tasks of a revision, or something else.
pub fn create_schedule(scene: &Scene, name: &str, runs: &Value) {
    let cluster = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/web");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/schedules");
    let schedule = json!({
        "ScheduleExpression": "rate(1 day)", "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": cluster, "RoleArn": role, "EcsParameters": {"TaskDefinitionArn": runs}},
    });
    scene.client.rest("scheduler", "POST", &format!("/schedules/{name}"), &schedule).unwrap();
}

/// A rule that runs tasks of a revision.
pub fn create_rule(scene: &Scene, name: &str, runs: &Value) {
    let cluster = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/web");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/rules");
    let rule = json!({"Name": name, "ScheduleExpression": "rate(1 hour)", "State": "DISABLED"});
    scene.client.call(EVENTS, "PutRule", &rule).unwrap();
    let target = json!({"Id": "task", "Arn": cluster, "RoleArn": role, "EcsParameters": {"TaskDefinitionArn": runs}});
    scene.client.call(EVENTS, "PutTargets", &json!({"Rule": name, "Targets": [target]})).unwrap();
}

fn follows(scene: &Scene, names: &[&str]) -> String {
    let schedules = names.iter().map(|name| format!("[[repository.schedule]]\nscheduler = \"{name}\"\n"));
    head(scene) + "[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n" + &schedules.collect::<String>()
}

#[test]
fn a_schedule_that_cannot_follow_is_found_by_check_and_refused() {
    let scene = Scene::new(1);
    let revision = scene.client.describe_service("web", &name(0)).unwrap()["taskDefinition"].clone();
    create_schedule(&scene, "nightly", &revision);
    create_schedule(&scene, "lambda", &json!("arn:aws:lambda:eu-west-1:111111111111:function:x"));
    let home = scene.home_of_a_mistake(&follows(&scene, &["nightly", "lambda", "nightli"]));
    let file = std::fs::read_to_string(home.path("config.toml")).unwrap();
    let line_of = |name: &str| file.lines().position(|line| line.contains(&format!("{name}\""))).unwrap() as u64;
    let output = home.command(&["check", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = found["findings"].as_array().unwrap().iter();
    let errors: Vec<(&str, u64)> = findings
        .filter(|finding| finding["severity"] == "error")
        .map(|finding| (finding["code"].as_str().unwrap(), finding["line"].as_u64().unwrap()))
        .collect();
    assert_eq!(errors, [("unrollable", line_of("lambda")), ("unknown_schedule", line_of("nightli"))], "{found:#}");
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    for (label, outcome) in [("nightly", "updated"), ("lambda", "refused"), ("nightli", "refused")] {
        let series = format!("ecs_deployd_schedule_updates_total{{outcome=\"{outcome}\",schedule=\"{label}\"}}");
        daemon.wait_for_metric(&series, 1.0);
    }
    daemon.wait_for_log("there is no such schedule or rule");
    let status = home.command(&["status"]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("schedule/nightli") && status.contains("there is no such schedule or rule"), "{status}");
    assert!(daemon.stop().success());
}

#[test]
fn a_schedule_that_may_not_be_written_is_written_once_it_may() {
    let mut scene = Scene::new(1);
    scene.denies = true;
    let revision = scene.client.describe_service("web", &name(0)).unwrap()["taskDefinition"].clone();
    create_schedule(&scene, "nightly", &revision);
    let home = scene.home(&follows(&scene, &["nightly"]));
    let allow = |denied: &str| {
        let actions = ecs_deployd::domain::permission::GRANTS.iter().map(|grant| grant.action);
        for part in [Part::Daemon, Part::Check] {
            scene.aws.settings().allow_only(part, actions.clone().filter(|action| *action != denied)).unwrap();
        }
    };
    allow("scheduler:GetSchedule");
    let (code, _) = home.run(&["check"]);
    assert_eq!(code, 1);
    allow("scheduler:UpdateSchedule");
    let daemon = home.start();
    daemon.wait_until_ready();
    scene.push("v1");
    daemon.wait_for_metric(r#"ecs_deployd_schedule_updates_total{outcome="failed",schedule="nightly"}"#, 1.0);
    daemon.wait_for_log("allow scheduler:UpdateSchedule");
    allow("");
    wait_within(std::time::Duration::from_secs(120), "the schedule is written", || {
        let after =
            scene.client.rest("scheduler", "GET", "/schedules/nightly?groupName=default", &Value::Null).unwrap();
        (after["Target"]["EcsParameters"]["TaskDefinitionArn"] != revision).then_some(())
    });
    daemon.wait_for_metric(r#"ecs_deployd_schedule_updates_total{outcome="updated",schedule="nightly"}"#, 1.0);
    assert!(daemon.stop().success());
}

#[test]
fn a_schedule_and_a_rule_follow_the_image_and_keep_all_else() {
    let scene = Scene::new(1);
    let before = scene.client.describe_service("web", &name(0)).unwrap()["taskDefinition"].clone();
    let cluster = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/web");
    let role = format!("arn:aws:iam::{ACCOUNT}:role/schedules");
    let parameters = json!({"TaskDefinitionArn": before, "TaskCount": 2, "LaunchType": "FARGATE", "FutureMember": [1]});
    let schedule = json!({
        "ScheduleExpression": "cron(0 3 * * ? *)", "ScheduleExpressionTimezone": "Europe/Berlin", "State": "DISABLED",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": cluster, "RoleArn": role, "Input": "{}", "FutureToo": {"deep": true}, "EcsParameters": parameters},
    });
    scene.client.rest("scheduler", "POST", "/schedules/nightly", &schedule).unwrap();
    let rule = json!({"Name": "hourly", "ScheduleExpression": "rate(1 hour)", "State": "DISABLED"});
    scene.client.call(EVENTS, "PutRule", &rule).unwrap();
    let queue = json!({"Id": "queue", "Arn": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:q")});
    let task = json!({"Id": "task", "Arn": cluster, "RoleArn": role, "EcsParameters": parameters});
    scene.client.call(EVENTS, "PutTargets", &json!({"Rule": "hourly", "Targets": [queue, task]})).unwrap();
    let config = head(&scene)
        + "[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.schedule]]\nscheduler = \"nightly\"\n\
           [[repository.schedule]]\nrule = \"hourly\"\n";
    let home = scene.home(&config);
    let daemon = home.start();
    daemon.wait_until_ready();
    let get = || scene.client.rest("scheduler", "GET", "/schedules/nightly?groupName=default", &Value::Null).unwrap();
    let mut expected = get();
    let digest = scene.push("v1");
    for label in ["nightly", "hourly"] {
        let series = format!("ecs_deployd_schedule_updates_total{{outcome=\"updated\",schedule=\"{label}\"}}");
        daemon.wait_for_metric(&series, 1.0);
    }
    let mut after = get();
    let revision = after["Target"]["EcsParameters"]["TaskDefinitionArn"].clone();
    assert_ne!(revision, before);
    let definition = scene.client.describe_task_definition(revision.as_str().unwrap()).unwrap();
    let image = definition["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap();
    assert_eq!(image, format!("{}@{digest}", scene.uri));
    expected["Target"]["EcsParameters"]["TaskDefinitionArn"] = revision;
    for one in [&mut expected, &mut after] {
        one.as_object_mut().unwrap().remove("LastModificationDate");
    }
    assert_eq!(after, expected);
    let targets = scene.client.call(EVENTS, "ListTargetsByRule", &json!({"Rule": "hourly"})).unwrap();
    let changed =
        json!({"Id": "task", "Arn": cluster, "RoleArn": role, "EcsParameters": after["Target"]["EcsParameters"]});
    let mut found = targets["Targets"].as_array().unwrap().clone();
    found.sort_by_key(|one| one["Id"].to_string());
    assert_eq!(found, [queue, changed], "one revision serves both");
    let (code, log) = home.run(&["hold", "schedule/nightly"]);
    assert_eq!(code, 0, "{log}");
    let output = home.command(&["history", "schedule/nightly"]).output().unwrap();
    let history = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(history.contains("completed") && history.contains("hold"), "{history}");
    wait_for("the policy", || {
        let output = home.command(&["iam"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text.contains("scheduler:UpdateSchedule") && text.contains("rule/hourly") && text.contains("role/schedules"))
            .then_some(())
    });
    assert!(daemon.stop().success());
}
