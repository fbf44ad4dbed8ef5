//! What ECS waits for on purpose is no failure, and what operators answer to its hooks.

use ecs_deployd::domain::steering::Order;
use jiff::SignedDuration;

use crate::harness::{Process, config, hello_world, pass, seconds, start};
use crate::world::{Health, World};

const HELD: &str = r#"ecs_deployd_held{cluster="web",service="hello"}"#;
const PAUSED: &str = r#"ecs_deployd_waiting{cluster="web",gate="pause",service="hello"}"#;

fn runs(world: &World) -> Option<String> {
    world.settled_image("web", "hello", "app")
}

fn ended(process: &Process, outcome: &str) -> f64 {
    process.metric(&format!(r#"ecs_deployd_deployments_total{{cluster="web",outcome="{outcome}",service="hello"}}"#))
}

#[tokio::test(start_paused = true)]
async fn the_bake_time_of_alarms_is_no_time_out() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.alarm_bake = Some(SignedDuration::from_mins(20)));
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    pass(900).await;
    assert_eq!((ended(&process, "completed"), ended(&process, "timed_out")), (0.0, 0.0), "ECS bakes it");
    pass(600).await;
    assert_eq!((runs(&world), ended(&process, "completed")), (Some(v1), 1.0));
    assert_eq!(process.metric(HELD), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_goes_on_steadily_has_all_the_time_it_needs() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.desired = 10);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    // Ten tasks of four minutes each, with a timeout of five minutes.
    world.set_health(&v1, Health::Steady { each: seconds(240) });
    pass(1500).await;
    assert_eq!(ended(&process, "timed_out"), 0.0);
    // A restart in the middle does not make it late.
    process.kill().await;
    let process = start(&world, &disk, &config(""));
    pass(1200).await;
    assert_eq!((runs(&world), ended(&process, "completed")), (Some(v1), 1.0));
    assert_eq!(process.metric(HELD), 0.0);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_drain_are_no_time_out() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.drains = SignedDuration::from_mins(15));
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    pass(1200).await;
    assert_eq!((runs(&world), ended(&process, "completed"), ended(&process, "timed_out")), (Some(v1), 1.0, 0.0));
}

/// A service that pauses at a hook with a new image.
async fn paused() -> (World, std::sync::Arc<crate::harness::Disk>, Process, String, String) {
    let (world, disk, v0) = hello_world();
    let fixed = world.register("hello", &[("app", &format!("{}@{v0}", crate::world::image_uri("hello")))]);
    world.create_service("web", "hello", &fixed, 2);
    world.edit_service("web", "hello", |service| service.pauses = true);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    // Far beyond the timeout of five minutes.
    pass(3600).await;
    assert!(world.is_paused("web", "hello"));
    assert_eq!((ended(&process, "timed_out"), process.metric(PAUSED)), (0.0, 1.0));
    (world, disk, process, v0, v1)
}

fn approve(image: Option<&str>) -> Order {
    Order::Approve { image: image.map(str::to_owned) }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_pauses_at_a_hook_until_it_is_approved() {
    let (world, disk, process, _, v1) = paused().await;
    let waiting = process.status().await.services[0].waiting.clone().unwrap();
    assert_eq!((waiting.digest.as_str(), waiting.stage.as_deref()), (v1.as_str(), Some("POST_SCALE_UP")));
    assert!(waiting.reason.contains("ecs-deployd approve web/hello"), "{}", waiting.reason);
    // It waits on after a restart.
    process.kill().await;
    let process = start(&world, &disk, &config(""));
    pass(1200).await;
    assert!(world.is_paused("web", "hello"));
    let refused = process.order("web/hello", approve(Some("release-9"))).await.unwrap_err().0;
    assert!(refused.contains("another image waits") && refused.contains(&v1), "{refused}");
    let answer = process.order("web/hello", approve(Some("latest"))).await.unwrap();
    assert_eq!(answer, "approved; ECS goes on with the deployment");
    pass(60).await;
    assert_eq!((runs(&world), ended(&process, "completed")), (Some(v1), 1.0));
    assert!(process.status().await.services[0].waiting.is_none());
    let refused = process.order("web/hello", approve(None)).await.unwrap_err().0;
    assert_eq!(refused, "nothing of web/hello waits for an approval");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_deployment_is_rolled_back_by_ecs_and_its_digest_is_held() {
    let (world, _, process, v0, v1) = paused().await;
    let order = Order::Reject { reason: Some("not on a Friday".to_owned()) };
    let answer = process.order("web/hello", order).await.unwrap();
    assert_eq!(answer, "rejected by alice: not on a Friday; ECS rolls the deployment back");
    pass(600).await;
    assert_eq!((ended(&process, "failed"), ended(&process, "rolled_back")), (1.0, 1.0));
    assert_eq!((runs(&world), process.metric(HELD)), (Some(v0), 1.0));
    assert_eq!(world.count().get("UpdateService"), Some(&1), "ECS goes back by itself");
    // A comparison does not bring it back, for the reason that the operator gave.
    let refused = process.order("web/hello", Order::Deploy).await.unwrap_err().0;
    assert_eq!(refused, "rejected: rejected by alice: not on a Friday");
    process.order("web/hello", Order::Release).await.unwrap();
    pass(60).await;
    assert!(world.is_paused("web", "hello"), "a release clears the rejection");
    process.order("web/hello", approve(Some(&v1))).await.unwrap();
    pass(60).await;
    assert_eq!(runs(&world), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn one_answer_without_the_service_is_not_believed() {
    // Before a decision, and while ECS rolls it.
    for (before, hidden) in [(true, 3), (false, 3)] {
        let (world, disk, _) = hello_world();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        let hide = |world: &World| world.edit_service("web", "hello", |service| service.hidden = hidden);
        if before {
            hide(&world);
        }
        let v1 = world.push("hello", "latest", "v1");
        world.set_health(&v1, Health::After(seconds(60)));
        if !before {
            world.until("it rolls", seconds(60), |world| !world.started("web", "hello").is_empty()).await;
            pass(25).await;
            hide(&world);
        }
        pass(300).await;
        assert_eq!((runs(&world), ended(&process, "completed")), (Some(v1), 1.0), "before the decision: {before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_stops_what_ecs_was_not_told_of() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.break_operation("RegisterTaskDefinition", ecs_deployd::aws::Fault::Denied);
    let v1 = world.push("hello", "latest", "v1");
    pass(30).await;
    process.order("web/hello", Order::Hold { reason: None }).await.unwrap();
    world.mend_operation("RegisterTaskDefinition");
    pass(600).await;
    assert_eq!(runs(&world), Some(v0));
    assert!(world.started("web", "hello").is_empty());
    process.order("web/hello", Order::Release).await.unwrap();
    pass(120).await;
    assert_eq!(runs(&world), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_waits_for_no_repository() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.push("hello", "latest", "v1");
    pass(120).await;
    // A newer push cannot be asked about.
    world.set_silent("hello", true);
    world.push("hello", "latest", "v2");
    pass(40).await;
    world.forget_calls();
    process.order("web/hello", Order::Rollback { to: None }).await.unwrap();
    pass(2).await;
    assert_eq!(world.count().get("UpdateService"), Some(&1), "at once: {:#?}", world.calls());
    pass(60).await;
    assert_eq!(runs(&world), Some(v0));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_not_lost_among_many_patches() {
    let world = World::new();
    world.create_repository("lib");
    let v0 = world.push("lib", "1.0.0", "first");
    let revision = world.register("lib", &[("app", &format!("{}@{v0}", crate::world::image_uri("lib")))]);
    world.create_service("web", "lib", &revision, 2);
    let text = "[[repository]]\nname = \"lib\"\nsemver = \">=1\"\n[[repository.service]]\ncluster = \"web\"\nservice = \"lib\"\n";
    let process = start(&world, &std::sync::Arc::default(), text);
    pass(60).await;
    // All of them become visible together.
    world.set_silent("lib", true);
    let v2 = world.push("lib", "2.0.0", "the release");
    for patch in 1..=17 {
        pass(2).await;
        world.push("lib", &format!("1.0.{patch}"), &format!("patch {patch}"));
    }
    pass(300).await;
    world.set_silent("lib", false);
    pass(300).await;
    assert_eq!(world.settled_image("web", "lib", "app"), Some(v2));
    drop(process);
}

const UNPROVEN: &str = "updated, unproven: the desired count is 0, so no task has run the image yet";

/// A service without tasks that was set to a new image, and is scaled up after an hour.
async fn scaled_up(health: Health) -> (World, Process, String, String) {
    let (world, disk, v0) = hello_world();
    let fixed = world.register("hello", &[("app", &format!("{}@{v0}", crate::world::image_uri("hello")))]);
    world.create_service("web", "hello", &fixed, 0);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    world.set_health(&v1, health);
    pass(3600).await;
    let status = process.status().await;
    assert_eq!(status.services[0].history[0].detail, UNPROVEN);
    assert!(status.services[0].deployed.as_ref().unwrap().unproven);
    // What is known survives a restart.
    process.kill().await;
    let process = start(&world, &disk, &config(""));
    pass(600).await;
    world.scale("web", "hello", 2);
    (world, process, v0, v1)
}

#[tokio::test(start_paused = true)]
async fn what_no_task_has_run_is_proven_when_tasks_first_run() {
    let (_, process, _, _) = scaled_up(Health::After(seconds(20))).await;
    pass(300).await;
    assert!(!process.status().await.services[0].deployed.as_ref().unwrap().unproven);
    assert_eq!((ended(&process, "failed"), process.metric(HELD)), (0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_no_task_has_run_fails_when_its_tasks_never_run() {
    let (world, process, v0, v1) = scaled_up(Health::Never).await;
    pass(900).await;
    assert_eq!((ended(&process, "failed"), ended(&process, "rolled_back")), (1.0, 1.0));
    assert_eq!((runs(&world), process.metric(HELD)), (Some(v0), 1.0));
    assert_eq!(process.status().await.services[0].held[0].digest, v1);
}
