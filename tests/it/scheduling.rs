//! Schedules and rules follow the image, losslessly, beside the services.

use ecs_deployd::domain::operator_command::OperatorCommand;
use serde_json::{Value, json};

use crate::harness::pass;
use crate::scene::{Scene, rule};
use crate::world::{World, image_uri};

fn followed(keys: &str) -> String {
    format!("[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n[[repository.schedule]]\n{keys}\n")
}

fn schedule(task_definition: &str) -> Value {
    json!({
        "Arn": "arn:aws:scheduler:eu-west-1:111111111111:schedule/default/nightly", "Name": "nightly", "GroupName": "default",
        "CreationDate": 1.5, "LastModificationDate": 1.5, "State": "DISABLED", "ScheduleExpression": "cron(0 3 * * ? *)",
        "ScheduleExpressionTimezone": "Europe/Berlin", "FlexibleTimeWindow": {"Mode": "OFF"}, "FutureMember": {"deep": [1, null]},
        "Target": {
            "Arn": "arn:aws:ecs:eu-west-1:111111111111:cluster/web", "RoleArn": "arn:aws:iam::111111111111:role/scheduler",
            "Input": "{\"containerOverrides\":[]}", "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:111111111111:dead"},
            "RetryPolicy": {"MaximumRetryAttempts": 3},
            "EcsParameters": {"TaskDefinitionArn": task_definition, "TaskCount": 2, "FutureToo": true},
        },
    })
}

fn target(id: &str, task_definition: &str) -> Value {
    json!({
        "Id": id, "Arn": "arn:aws:ecs:eu-west-1:111111111111:cluster/web", "RoleArn": "arn:aws:iam::111111111111:role/events",
        "EcsParameters": {"TaskDefinitionArn": task_definition, "TaskCount": 1}, "FutureMember": id,
    })
}

/// A scene in which a schedule, and no service, follows the repository.
fn scheduled() -> Scene {
    let scene = Scene::hello().configured(&followed("scheduler = \"nightly\""));
    scene.world.set_schedule("default", "nightly", &schedule(&scene.is_set_to()));
    scene
}

/// What the container `app` of a revision has: its digest, or its whole reference by tag.
fn image_named(world: &World, arn: &str) -> String {
    let (_, short) = arn.split_once(":task-definition/").unwrap();
    let (family, revision) = short.split_once(':').unwrap();
    let revision = &world.revisions(family)[revision.parse::<usize>().unwrap() - 1];
    let containers = revision["containerDefinitions"].as_array().unwrap();
    let app = containers.iter().find(|container| container["name"] == "app").unwrap();
    let image = app["image"].as_str().unwrap();
    image.split_once('@').map_or(image, |(_, digest)| digest).to_owned()
}

/// The ARN of the latest revision of a family.
fn latest(world: &World, family: &str) -> String {
    world.revisions(family).last().unwrap()["taskDefinitionArn"].as_str().unwrap().to_owned()
}

fn named(world: &World) -> String {
    let schedule = world.schedule_of("default", "nightly");
    schedule["Target"]["EcsParameters"]["TaskDefinitionArn"].as_str().unwrap().to_owned()
}

fn counted(scene: &Scene, schedule: &str, outcome: &str) -> f64 {
    scene.metric(&format!("ecs_deployd_schedule_updates_total{{outcome=\"{outcome}\",schedule=\"{schedule}\"}}"))
}

#[tokio::test(start_paused = true)]
async fn a_schedule_follows_the_image_and_keeps_all_else() {
    let scene = scheduled().started().await;
    let before = scene.world.schedule_of("default", "nightly");
    let v1 = scene.push("v1");
    pass(60).await;
    let arn = named(&scene.world);
    assert_eq!(image_named(&scene.world, &arn), v1);
    let mut expected = schedule(&arn);
    let after = scene.world.schedule_of("default", "nightly");
    expected["LastModificationDate"] = after["LastModificationDate"].clone();
    assert_eq!(after, expected, "a disabled schedule stays disabled, and what nobody knows stays: {before}");
    assert_eq!(counted(&scene, "nightly", "updated"), 1.0);
    let one = scene.service().await;
    assert_eq!(
        (one.name.as_str(), one.cluster.as_str(), one.service.as_str()),
        ("schedule/nightly", "schedule", "default/nightly")
    );
    assert_eq!(one.deployed.unwrap().images[0].digest, v1);
    // The same digest again changes nothing.
    scene.push("v1");
    pass(60).await;
    assert_eq!((named(&scene.world), counted(&scene, "nightly", "updated")), (arn, 1.0));
    let report = scene.plan().await;
    assert_eq!(report.services[0].state.as_str(), "same");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_names_a_family_gets_a_new_revision_of_it_alone() {
    let scene = Scene::hello().configured(&followed("scheduler = \"team/nightly\""));
    let family = "arn:aws:ecs:eu-west-1:111111111111:task-definition/hello";
    let mut body = schedule(family);
    body["GroupName"] = json!("team");
    scene.world.set_schedule("team", "nightly", &body);
    let scene = scene.started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(scene.world.schedule_of("team", "nightly"), body);
    assert_eq!(image_named(&scene.world, &latest(&scene.world, "hello")), v1);
    assert_eq!(counted(&scene, "team/nightly", "updated"), 1.0);
    assert_eq!(scene.world.count().get("UpdateSchedule"), None);
    // An operator goes back: the family's latest revision says what the one before said.
    let answer = scene.process().command("schedule/team/nightly", OperatorCommand::Rollback { to: None }).await;
    assert!(answer.is_ok(), "{answer:?}");
    pass(60).await;
    assert_ne!(image_named(&scene.world, &latest(&scene.world, "hello")), v1);
}

#[tokio::test(start_paused = true)]
async fn a_rule_has_its_tasks_follow_and_other_targets_left_alone() {
    let scene = Scene::hello().configured(&followed("rule = \"nightly\""));
    let revision = scene.is_set_to();
    let other = scene.world.register("other", &[("app", &format!("{}:latest", image_uri("hello")))]);
    let foreign = scene.world.register("foreign", &[("app", "nginx:1")]);
    let queue = json!({"Id": "queue", "Arn": "arn:aws:sqs:eu-west-1:111111111111:q", "Input": "x"});
    let mut targets = vec![queue.clone(), target("foreign", &foreign), target("other", &other)];
    targets.extend((0..12).map(|number| target(&format!("t{number}"), &revision)));
    scene.world.set_targets("default", "nightly", &targets);
    let scene = scene.started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    let after = scene.world.targets_of("default", "nightly");
    assert_eq!((after.len(), &after[0], &after[1]), (15, &queue, &target("foreign", &foreign)));
    for (index, one) in after.iter().enumerate().skip(2) {
        let arn = one["EcsParameters"]["TaskDefinitionArn"].as_str().unwrap();
        assert_eq!(image_named(&scene.world, arn), v1, "{one}");
        assert_eq!(one["FutureMember"], targets[index]["FutureMember"]);
    }
    assert_eq!(scene.world.count()["PutTargets"], 2);
    assert_eq!(counted(&scene, "nightly", "updated"), 1.0);
    // The targets come in another order in the next answer, which is no change.
    scene.world.set_targets("default", "nightly", &after.into_iter().rev().collect::<Vec<_>>());
    let one = scene.service().await;
    assert_eq!(one.runs.unwrap().revision.as_deref(), one.deployed.as_ref().map(|deployed| deployed.revision.as_str()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_follow_is_refused_once_for_each_push() {
    for (keys, body) in [
        ("scheduler = \"gone\"", None),
        ("scheduler = \"nightly\"", Some(schedule("arn:aws:lambda:eu-west-1:111111111111:function:x"))),
        ("scheduler = \"nightly\"\ncontainer = \"nobody\"", None),
    ] {
        let scene = Scene::hello().configured(&followed(keys));
        let body = body.unwrap_or_else(|| schedule(&scene.is_set_to()));
        scene.world.set_schedule("default", "nightly", &body);
        let scene = scene.started().await;
        scene.push("v1");
        pass(120).await;
        let label = if keys.contains("gone") { "gone" } else { "nightly" };
        assert_eq!(counted(&scene, label, "refused"), 1.0, "{keys}");
        assert_eq!(scene.world.schedule_of("default", "nightly"), body);
        assert_eq!(scene.world.count().get("UpdateSchedule"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_aws_does_not_take_is_tried_again_and_counts_once() {
    let scene = scheduled().started().await;
    scene.world.refuse_operation("UpdateSchedule", "ValidationException", "the role cannot be assumed");
    let v1 = scene.push("v1");
    pass(200).await;
    assert_eq!((counted(&scene, "nightly", "failed"), counted(&scene, "nightly", "updated")), (1.0, 0.0));
    scene.world.mend_operation("UpdateSchedule");
    pass(120).await;
    assert_eq!(image_named(&scene.world, &named(&scene.world)), v1);
    assert_eq!((counted(&scene, "nightly", "failed"), counted(&scene, "nightly", "updated")), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn operators_hold_release_deploy_and_go_back() {
    let scene = scheduled().started().await;
    let before = named(&scene.world);
    let command = |command| scene.process().command("schedule/nightly", command);
    command(OperatorCommand::Hold { reason: None }).await.unwrap();
    let v1 = scene.push("v1");
    pass(60).await;
    assert_eq!(named(&scene.world), before);
    command(OperatorCommand::Release).await.unwrap();
    command(OperatorCommand::Deploy).await.unwrap();
    pass(60).await;
    assert_eq!(image_named(&scene.world, &named(&scene.world)), v1);
    assert_eq!(counted(&scene, "nightly", "updated"), 1.0, "what runs already is not written again");
    command(OperatorCommand::Rollback { to: None }).await.unwrap();
    pass(60).await;
    assert_ne!(image_named(&scene.world, &named(&scene.world)), v1);
    assert_eq!(counted(&scene, "nightly", "updated"), 1.0, "a rollback is not counted");
    command(OperatorCommand::Release).await.unwrap();
    pass(60).await;
    assert_eq!(image_named(&scene.world, &named(&scene.world)), v1);
    assert_eq!(counted(&scene, "nightly", "updated"), 2.0, "a command counts like a push");
    let refused = scene.process().command("schedule/nightli", OperatorCommand::Deploy).await.unwrap_err();
    assert!(refused.to_string().contains("the nearest one is schedule/nightly"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn receivers_are_told_of_a_schedule_by_its_name() {
    const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
    let receiver =
        |services: &str| format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\nservices = [\"{services}\"]\n");
    for (services, expected) in [("schedule/nightly", 1), ("schedule/default/*", 1), ("web/*", 0)] {
        let scene = scheduled().with(&receiver(services)).started().await;
        scene.push("v1");
        pass(60).await;
        let messages = scene.world.messages(OPS);
        assert_eq!(messages.len(), expected, "{services}");
        for message in messages {
            let told: Value = serde_json::from_str(&message.text).unwrap();
            let deployment = &told["deployment"];
            let named = [&deployment["cluster"], &deployment["service"], &deployment["result"]];
            assert_eq!(named, ["schedule", "default/nightly", "completed"], "{told:#}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_changes_stays_changed() {
    let scene = scheduled().started().await;
    scene.push("v1");
    pass(60).await;
    let theirs = scene.revision(&format!("@{}", scene.v0), &[]);
    let mut body = schedule(&theirs);
    body["State"] = json!("ENABLED");
    scene.world.set_schedule("default", "nightly", &body);
    pass(300).await;
    assert_eq!(named(&scene.world), theirs, "nothing was pushed");
    let v2 = scene.push("v2");
    pass(60).await;
    let after = scene.world.schedule_of("default", "nightly");
    assert_eq!((image_named(&scene.world, &named(&scene.world)), after["State"].as_str()), (v2, Some("ENABLED")));
}

#[tokio::test(start_paused = true)]
async fn a_schedule_waits_at_its_gates_for_a_service_to_run_the_image_and_for_an_operator() {
    const SCHEDULE: &str = "[[repository.schedule]]\nscheduler = \"nightly\"\nafter = [\"web/hello\"]\nbake = \"5m\"\napproval = \"required\"\n";
    let text = rule("hello", "tags = [\"latest\"]", "hello") + SCHEDULE;
    let scene = Scene::hello().configured(&text);
    let before = scene.world.register("job", &[("app", &format!("{}@{}", image_uri("hello"), scene.v0))]);
    scene.world.set_schedule("default", "nightly", &schedule(&before));
    let scene = scene.started().await;
    let v1 = scene.push("v1");
    let waits = |gate: &str| {
        scene
            .metric(&format!("ecs_deployd_waiting{{cluster=\"schedule\",gate=\"{gate}\",service=\"default/nightly\"}}"))
    };
    pass(120).await;
    assert_eq!((scene.runs(), named(&scene.world), waits("after")), (Some(v1.clone()), before.clone(), 1.0));
    pass(400).await;
    assert_eq!((named(&scene.world), waits("approval")), (before, 1.0), "the service has run it for long enough");
    let approve = OperatorCommand::Approve { image: None };
    scene.process().command("schedule/nightly", approve).await.unwrap();
    pass(30).await;
    assert_eq!(image_named(&scene.world, &named(&scene.world)), v1);
    assert_eq!(counted(&scene, "nightly", "updated"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_is_held_for_the_schedule_until_a_newer_push() {
    let keys = "scheduler = \"nightly\"\napproval = \"required\"";
    let scene = Scene::hello().configured(&followed(keys));
    scene.world.set_schedule("default", "nightly", &schedule(&scene.is_set_to()));
    let scene = scene.started().await;
    let before = named(&scene.world);
    scene.push("v1");
    pass(60).await;
    let reject = OperatorCommand::Reject { reason: Some("it is a Friday".to_owned()) };
    let answer = scene.process().command("schedule/nightly", reject.clone()).await.unwrap();
    assert!(answer.to_string().contains("it is a Friday"), "{answer}");
    pass(120).await;
    assert_eq!(named(&scene.world), before);
    let one = scene.service().await;
    assert!(one.waiting.is_none() && one.held.iter().any(|held| held.reason.contains("it is a Friday")), "{one:#?}");
    assert_eq!(scene.metric("ecs_deployd_pushes_total{outcome=\"rejected\",repository=\"hello\"}"), 1.0);
    let refused = scene.process().command("schedule/nightly", reject).await.unwrap_err();
    assert!(refused.to_string().contains("waits for an approval"), "{refused}");
    let v2 = scene.push("v2");
    pass(60).await;
    scene.process().command("schedule/nightly", OperatorCommand::Approve { image: None }).await.unwrap();
    pass(30).await;
    assert_eq!(image_named(&scene.world, &named(&scene.world)), v2);
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_moment_it_registers_one_revision_and_is_written() {
    for milliseconds in (0..60).map(|step| step * 50) {
        let mut scene = scheduled();
        scene.world.set_latency(std::time::Duration::from_millis(200));
        scene.start();
        pass(3).await;
        let v1 = scene.push("v1");
        pass(31).await;
        ecs_deployd::clock::sleep(std::time::Duration::from_millis(milliseconds)).await;
        scene.restart().await;
        pass(90).await;
        assert_eq!(image_named(&scene.world, &named(&scene.world)), v1, "{milliseconds} ms");
        assert_eq!(scene.world.revisions("hello").len(), 2, "{milliseconds} ms");
        scene.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_and_a_schedule_of_one_family_share_the_revision() {
    let text = rule("hello", "tags = [\"latest\"]", "hello") + "[[repository.schedule]]\nscheduler = \"nightly\"\n";
    let scene = Scene::hello().configured(&text);
    scene.world.set_schedule("default", "nightly", &schedule(&scene.is_set_to()));
    let scene = scene.started().await;
    let v1 = scene.push("v1");
    pass(120).await;
    assert_eq!((scene.runs(), image_named(&scene.world, &named(&scene.world))), (Some(v1.clone()), v1));
    assert_eq!((scene.world.revisions("hello").len(), named(&scene.world)), (2, scene.is_set_to()));
}
