//! Rollouts that fail, and services that cannot be rolled.

use std::time::Duration;

use crate::harness::{config, hello_world, pass, start};
use crate::world::{Health, image_uri};

const FAILED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="failed",service="hello"}"#;
const TIMED_OUT: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="timed_out",service="hello"}"#;
const ROLLED_BACK: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="rolled_back",service="hello"}"#;
const SUPERSEDED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="superseded",service="hello"}"#;
const REFUSED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="refused",service="hello"}"#;
const HELD: &str = r#"ecs_deployd_held{cluster="web",service="hello"}"#;

#[tokio::test(start_paused = true)]
async fn a_rollout_that_never_gets_stable_is_undone_to_the_digest_that_ran() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Never);
    pass(600).await;
    assert_eq!(process.metric(TIMED_OUT), 1.0);
    assert_eq!(process.metric(ROLLED_BACK), 1.0);
    assert_eq!(process.metric(HELD), 1.0);
    // The revision before names the tag, and the tag means the bad image now.
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v0.clone()));
    let last = world.revisions("hello").pop().unwrap();
    assert_eq!(last["containerDefinitions"][0]["image"], format!("{}@{v0}", image_uri("hello")));

    let good = world.push("hello", "latest", "good");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good));
    assert_eq!(process.metric(HELD), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_is_recognised_with_and_without_its_own_way_back() {
    for rolls_back in [false, true] {
        let (world, disk, _) = hello_world();
        world.edit_service("web", "hello", |service| service.breaker_rolls_back = rolls_back);
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        let good = world.push("hello", "latest", "good");
        pass(120).await;
        let bad = world.push("hello", "latest", "bad");
        world.set_health(&bad, Health::BreaksAfter(Duration::from_secs(30)));
        pass(240).await;
        assert_eq!(world.settled_image("web", "hello", "app"), Some(good), "{rolls_back}");
        assert_eq!((process.metric(FAILED), process.metric(ROLLED_BACK)), (1.0, 1.0), "{rolls_back}");
        // v0 -> good -> bad -> back to good's own revision, which is pinned: no new one, and no update on top of ECS's own.
        assert_eq!(world.revisions("hello").len(), 3, "{rolls_back}");
        assert_eq!(world.started("web", "hello").len(), if rolls_back { 2 } else { 3 }, "{rolls_back}");
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_keep_stopping_are_a_failure_where_no_breaker_says_so() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let good = world.push("hello", "latest", "good");
    pass(120).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Stops);
    // Long before the deadline of five minutes.
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good));
    assert_eq!((process.metric(FAILED), process.metric(ROLLED_BACK)), (1.0, 1.0));
    let status = process.status().await;
    let failed = status.services[0].history.iter().find(|outcome| outcome.result == "failed").unwrap();
    assert!(failed.detail.contains("its tasks keep stopping: 3 failed in a row"), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_tasks_is_updated_and_that_proves_nothing() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.desired = 0);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.push("hello", "latest", "v1");
    pass(120).await;
    let status = process.status().await;
    let outcome = &status.services[0].history[0];
    assert_eq!(outcome.result, "completed");
    assert!(outcome.detail.starts_with("updated, unproven"), "{outcome:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_held_digest_is_not_deployed_by_a_late_event() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Never);
    world.push_late("hello", "release-1", "bad", jiff::SignedDuration::from_mins(15));
    pass(1800).await;
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="held",repository="hello"}"#), 1.0);
    assert_eq!(process.metric(TIMED_OUT), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_for_the_disk_is_as_old_as_its_question() {
    let (world, disk, _) = hello_world();
    world.edit_service("web", "hello", |service| service.lag = jiff::SignedDuration::from_secs(15));
    let process = start(&world, &disk, &config("[poll]\ninterval = \"2s\""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    world.set_health(&v1, Health::Never);
    world.until("v1 rolls", Duration::from_secs(10), |world| world.count().contains_key("UpdateService")).await;
    pass(1).await;
    // ECS answers from before UpdateService still, and the answer waits until it would be too old for that.
    disk.set_stalled(Duration::from_secs(30));
    let v2 = world.push("hello", "latest", "v2");
    pass(40).await;
    disk.set_stalled(Duration::ZERO);
    pass(300).await;
    assert_eq!((process.metric(FAILED), process.metric(HELD)), (0.0, 0.0));
    assert_eq!(process.metric(SUPERSEDED), 1.0);
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v2));
}

#[tokio::test(start_paused = true)]
async fn on_failure_leave_leaves_and_holds() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config("on_failure = \"leave\""));
    pass(2).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Never);
    pass(600).await;
    assert_eq!(world.started("web", "hello").len(), 1);
    assert_eq!((process.metric(TIMED_OUT), process.metric(HELD)), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn another_deployer_is_not_fought() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let slow = world.push("hello", "latest", "slow");
    world.set_health(&slow, Health::Never);
    pass(60).await;
    let theirs = world.register("hello", &[("app", "somebody/else:1")]);
    world.interfere("web", "hello", &theirs);
    pass(900).await;
    assert_eq!(process.metric(SUPERSEDED), 1.0);
    assert_eq!(world.revision_of("web", "hello"), theirs);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_replaced_without_downtime_is_refused() {
    let (world, disk, v0) = hello_world();
    world.edit_service("web", "hello", |service| (service.desired, service.minimum, service.maximum) = (1, 0, 100));
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.push("hello", "latest", "v1");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v0));
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="downtime",repository="hello"}"#), 1.0);
    assert_eq!(process.metric(REFUSED), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_deleted_in_the_middle_ends_its_rollout_and_harms_no_other() {
    let (world, disk, _) = hello_world();
    let revision = world.revision_of("web", "hello");
    world.create_service("web", "second", &revision, 1);
    let text = config("") + "[[repository.service]]\ncluster = \"web\"\nservice = \"second\"\n";
    let process = start(&world, &disk, &text);
    pass(2).await;
    let digest = world.push("hello", "latest", "v1");
    world.until("it rolls", Duration::from_secs(60), |world| !world.started("web", "hello").is_empty()).await;
    world.edit_service("web", "hello", |service| service.active = false);
    pass(120).await;
    assert_eq!(process.metric(FAILED), 1.0);
    assert_eq!(world.settled_image("web", "second", "app"), Some(digest));
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_by_tag_is_pinned_on_the_way_back_although_the_app_was_deployed_by_us() {
    let (world, disk, _) = hello_world();
    world.create_repository("side");
    let side = world.push("side", "latest", "s0");
    let revision = world.register(
        "pair",
        &[("app", &format!("{}:latest", image_uri("hello"))), ("side", &format!("{}:latest", image_uri("side")))],
    );
    world.create_service("web", "pair", &revision, 2);
    let rule = |repository: &str| {
        format!(
            "[[repository]]\nname = \"{repository}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"pair\"\n"
        )
    };
    let _process = start(&world, &disk, &format!("[deploy]\ntimeout = \"5m\"\n{}{}", rule("hello"), rule("side")));
    pass(2).await;
    let app = world.push("hello", "latest", "a1");
    pass(120).await;
    let bad = world.push("side", "latest", "bad");
    world.set_health(&bad, Health::Never);
    pass(900).await;
    assert_eq!(world.settled_image("web", "pair", "app"), Some(app));
    assert_eq!(world.settled_image("web", "pair", "side"), Some(side));
}

#[tokio::test(start_paused = true)]
async fn a_way_back_whose_tag_has_not_moved_is_the_revision_itself() {
    let (world, disk, _) = hello_world();
    let fixed = world.push("hello", "release-0", "fixed");
    let revision = world.register("hello", &[("app", &format!("{}:release-0", image_uri("hello")))]);
    world.create_service("web", "hello", &revision, 2);
    let _process = start(&world, &disk, &config(""));
    pass(2).await;
    let bad = world.push("hello", "release-1", "bad");
    world.set_health(&bad, Health::Never);
    pass(600).await;
    assert_eq!(world.revision_of("web", "hello"), revision);
    assert_eq!(world.settled_image("web", "hello", "app"), Some(fixed));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_waits_for_a_permission_does_not_undo_what_others_did_meanwhile() {
    for operation in ["RegisterTaskDefinition", "UpdateService"] {
        let (world, disk, _) = hello_world();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        world.break_operation(operation, ecs_deployd::aws::Fault::Denied);
        let digest = world.push("hello", "latest", "v1");
        pass(3600).await;
        let theirs =
            world.register("hello", &[("app", &format!("{}:latest", image_uri("hello"))), ("new", "theirs:1")]);
        world.interfere("web", "hello", &theirs);
        pass(60).await;
        world.mend_operation(operation);
        pass(600).await;
        let last = world.revisions("hello").pop().unwrap();
        assert_eq!(last["containerDefinitions"][1]["name"], "new", "{operation}: made from their revision");
        assert_eq!(world.settled_image("web", "hello", "app"), Some(digest), "{operation}");
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_whose_successor_is_refused_is_watched_to_its_end() {
    use ecs_deployd::aws::Fault;
    for fault in [Fault::Refused, Fault::Denied] {
        let (world, disk, v0) = hello_world();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        let bad = world.push("hello", "latest", "bad");
        world.set_health(&bad, Health::Never);
        pass(60).await;
        world.break_operation("RegisterTaskDefinition", fault);
        world.push("hello", "latest", "next");
        pass(120).await;
        world.mend_operation("RegisterTaskDefinition");
        world.delete_tag("hello", "latest");
        pass(900).await;
        assert_eq!(process.metric(TIMED_OUT), 1.0, "{fault:?}");
        assert_eq!(world.settled_image("web", "hello", "app"), Some(v0), "{fault:?}");
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_of_what_runs_ends_the_hold_too() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let good = world.push("hello", "latest", "good");
    pass(120).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Never);
    pass(600).await;
    assert_eq!(process.metric(HELD), 1.0);
    world.push("hello", "latest", "good");
    pass(120).await;
    assert_eq!(process.metric(HELD), 0.0);
    assert_eq!(world.settled_image("web", "hello", "app"), Some(good));
    assert_eq!(world.started("web", "hello").len(), 3, "good, bad, and back");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_pass_is_tried_again_and_one_about_a_lost_revision_is_not() {
    for (message, updates) in [
        ("Unable to assume the service linked role.", 4),
        ("TaskDefinition is inactive", 1),
        ("TaskDefinition not found.", 1),
    ] {
        let (world, disk, v0) = hello_world();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        world.refuse_operation("UpdateService", "InvalidParameterException", message);
        world.push("hello", "latest", "new");
        pass(600).await;
        assert_eq!((process.metric(REFUSED), world.count()["UpdateService"]), (1.0, updates), "{message}");
        assert_eq!(world.settled_image("web", "hello", "app"), Some(v0), "{message}");
        process.kill().await;
    }
}
