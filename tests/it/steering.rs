//! What operators order of the running daemon.

use ecs_deployd::domain::steering::Order;

use crate::harness::{Process, config, hello_world, pass, start};
use crate::world::{Fate, Health, World};

const HELD: &str = r#"ecs_deployd_held{cluster="web",service="hello"}"#;

fn runs(world: &World) -> Option<String> {
    world.settled_image("web", "hello", "app")
}

fn rollback(to: Option<&str>) -> Order {
    Order::Rollback { to: to.map(str::to_owned) }
}

async fn deployed(world: &World, process: &Process, content: &str) -> String {
    let digest = world.push("hello", "latest", content);
    pass(120).await;
    assert_eq!(runs(world).as_deref(), Some(digest.as_str()));
    assert_eq!(process.metric(HELD), 0.0);
    digest
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_to_the_digest_that_ran_before_and_holds_what_ran() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = deployed(&world, &process, "v1").await;
    let answer = process.order("web/hello", rollback(None)).await.unwrap();
    assert_eq!(answer, "going back from hello:2 to hello:1");
    pass(120).await;
    assert_eq!(runs(&world), Some(v0), "not what the tag of hello:1 means by now");
    assert_eq!(process.metric(HELD), 1.0);
    let status = process.status().await;
    let runs_now = status.services[0].deployed.as_ref().unwrap();
    assert!(runs_now.revision.contains("task-definition/hello:3"), "a copy of hello:1, pinned: {}", runs_now.revision);
    assert_eq!(status.services[0].held[0].digest, v1);
    assert_eq!(status.services[0].history[0].result.as_str(), "rolled_back");
    assert_eq!(
        (status.services[0].orders[0].by.as_str(), status.services[0].orders[0].order.as_str()),
        ("alice", "rollback")
    );
    // What was rolled back is not deployed again by a comparison, and is by a release.
    let refused = process.order("web/hello", Order::Deploy).await.unwrap_err().0;
    assert!(refused.contains("rolled back by alice"), "{refused}");
    process.order("default/web/hello", Order::Release).await.unwrap();
    pass(120).await;
    assert_eq!(runs(&world), Some(v1));
    deployed(&world, &process, "v2").await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_takes_back_what_is_rolling_and_a_newer_push_goes_on() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let slow = world.push("hello", "latest", "slow");
    world.set_health(&slow, Health::Never);
    pass(60).await;
    assert_eq!(process.status().await.services[0].rollout.as_ref().unwrap().tasks.unwrap().pending, 2);
    process.order("web/hello", rollback(None)).await.unwrap();
    pass(60).await;
    assert_eq!(runs(&world), Some(v0));
    deployed(&world, &process, "v2").await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_to_a_named_revision_needs_no_memory() {
    let (world, disk, v0) = hello_world();
    let pinned = format!("{}@{v0}", crate::world::image_uri("hello"));
    world.register("hello", &[("app", &pinned)]);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let refused = process.order("web/hello", rollback(None)).await.unwrap_err().0;
    assert_eq!(refused, "what ran before hello:1 is not known here; name a revision with --to");
    assert!(process.order("web/hello", rollback(Some("99"))).await.unwrap_err().0.contains("does not know hello:99"));
    process.order("web/hello", rollback(Some("2"))).await.unwrap();
    pass(60).await;
    assert!(world.revision_of("web", "hello").ends_with("hello:2"));
    assert_eq!(runs(&world), Some(v0));
}

#[tokio::test(start_paused = true)]
async fn a_held_service_stays_as_it_is_until_a_release() {
    let (world, disk, v0) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    process.order("web/hello", Order::Hold { reason: Some("fair".to_owned()) }).await.unwrap();
    let v1 = world.push("hello", "latest", "v1");
    pass(120).await;
    assert_eq!(runs(&world), Some(v0.clone()));
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="held",repository="hello"}"#), 1.0);
    // It is on the disk: the next process holds it, too.
    process.kill().await;
    let process = start(&world, &disk, &config(""));
    world.push("hello", "latest", "v1");
    pass(120).await;
    assert_eq!((runs(&world), process.metric(HELD)), (Some(v0), 1.0));
    let refused = process.order("web/hello", Order::Deploy).await.unwrap_err().0;
    assert!(refused.contains("held by alice") && refused.contains("fair"), "{refused}");
    process.order("web/hello", Order::Release).await.unwrap();
    pass(120).await;
    assert_eq!((runs(&world), process.metric(HELD)), (Some(v1), 0.0));
}

#[tokio::test(start_paused = true)]
async fn deploy_rolls_to_what_ecr_says_and_tells_when_there_is_nothing_to_do() {
    let (world, disk, _) = hello_world();
    let v1 = world.push("hello", "latest", "v1");
    pass(3600).await;
    let process = start(&world, &disk, &config(""));
    pass(60).await;
    assert!(world.started("web", "hello").is_empty(), "pushed before the start");
    // The running tasks resolved the tag when they were started.
    let answer = process.order("web/hello", Order::Deploy).await.unwrap();
    assert_eq!(answer, format!("rolling to hello:latest ({v1})"));
    pass(120).await;
    assert_eq!(runs(&world), Some(v1));
    let answer = process.order("web/hello", Order::Deploy).await.unwrap();
    assert!(answer.starts_with("nothing to do: already_deployed: "), "{answer}");
    let refused = process.order("web/helo", Order::Deploy).await.unwrap_err().0;
    assert_eq!(refused, "web/helo is no CLUSTER/SERVICE of the configuration; the nearest one is web/hello");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_on_the_disk_is_not_confirmed() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    disk.set_full(true);
    let refused = process.order("web/hello", Order::Hold { reason: None }).await.unwrap_err().0;
    assert!(refused.contains("not on the disk"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_confirmed_survives_a_death_at_any_call() {
    for number in 0..6 {
        let (world, disk, v0) = hello_world();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        deployed(&world, &process, "v1").await;
        world.forget_calls();
        world.set_fate(number + 1, Fate::HangsAfter);
        process.order("web/hello", rollback(None)).await.unwrap();
        pass(60).await;
        process.kill().await;
        world.clear_fates();
        let process = start(&world, &disk, &config(""));
        pass(600).await;
        assert_eq!(runs(&world), Some(v0), "killed at call {number}");
        assert_eq!(process.metric(HELD), 1.0, "killed at call {number}");
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_what_ecs_says_and_costs_one_round_a_minute() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(300).await;
    assert!(!world.count().contains_key("DescribeServices"), "nobody asked");
    let runs = |status: &ecs_deployd::status::Status| status.services[0].runs.clone().unwrap();
    let status = process.status().await;
    assert!(runs(&status).revision.unwrap().ends_with("hello:1") && !status.services[0].is_changed_by_others());
    assert_eq!(runs(&status).containers[0].image, format!("{}:latest", crate::world::image_uri("hello")));
    for _ in 0..50 {
        process.status().await;
        pass(1).await;
    }
    assert_eq!(world.count()["DescribeServices"], 1);
    // What is rolled is seen as it goes.
    deployed(&world, &process, "v1").await;
    let status = process.status().await;
    assert!(runs(&status).revision.unwrap().ends_with("hello:2") && !status.services[0].is_changed_by_others());
    world.revert("web", "hello");
    pass(61).await;
    process.status().await;
    pass(1).await;
    let status = process.status().await;
    assert!(runs(&status).revision.unwrap().ends_with("hello:1") && status.services[0].is_changed_by_others());
}
