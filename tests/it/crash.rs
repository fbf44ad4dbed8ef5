//! The process dies at, and right after, every call of a deployment, and starts again from what is on disk.

use std::sync::Arc;

use ecs_deployd::aws::Fault;

use crate::harness::{Disk, Process, config, hello_world, pass, seconds, start};
use crate::world::{Fate, World};

/// Pushes v1 while call number `number` (from the push on) has the fate, and lets time pass until it has struck.
async fn deploy_under(world: &World, disk: &Arc<Disk>, number: usize, fate: Fate) -> (Process, String) {
    let process = start(world, disk, &config(""));
    pass(2).await;
    world.forget_calls();
    world.set_fate(number, fate);
    let digest = world.push("hello", "latest", "v1");
    pass(240).await;
    (process, digest)
}

async fn converged(world: &World, digest: &str, what: &str) {
    world
        .until(what, seconds(600), |world| world.settled_image("web", "hello", "app").as_deref() == Some(digest))
        .await;
    pass(1200).await;
    assert_eq!(world.settled_image("web", "hello", "app").as_deref(), Some(digest), "{what}");
    assert_eq!(world.started("web", "hello").len(), 1, "{what}: one effective UpdateService");
    assert_eq!(world.revisions("hello").len(), 2, "{what}: a revision that was registered is used");
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_call() {
    let mut struck = 0;
    for number in 0..16 {
        for fate in [Fate::HangsBefore, Fate::HangsAfter] {
            let (world, disk, _) = hello_world();
            let (process, digest) = deploy_under(&world, &disk, number, fate).await;
            let call = world.calls().get(number).map(|call| call.operation);
            struck += usize::from(call.is_some_and(|operation| operation != "LookupEvents"));
            process.kill().await;
            world.clear_fates();
            let process = start(&world, &disk, &config(""));
            converged(&world, &digest, &format!("killed at call {number} ({call:?}), {fate:?}")).await;
            process.kill().await;
        }
    }
    assert!(struck >= 14, "only {struck} calls of a deployment were struck");
}

#[tokio::test(start_paused = true)]
async fn every_call_may_fail_once_or_lose_its_answer() {
    for number in 0..16 {
        for fate in [
            Fate::Fails(Fault::Throttled),
            Fate::Fails(Fault::Unavailable),
            Fate::Fails(Fault::Credentials),
            Fate::Fails(Fault::Denied),
            Fate::AnswerLost,
        ] {
            let (world, disk, _) = hello_world();
            let (process, digest) = deploy_under(&world, &disk, number, fate).await;
            converged(&world, &digest, &format!("call {number}: {fate:?}")).await;
            process.kill().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_moment() {
    // In steps of half a call's time, from the push to the end of the rollout.
    for moment in 0..40 {
        let (world, disk, _) = hello_world();
        world.set_latency(std::time::Duration::from_millis(500));
        let process = start(&world, &disk, &config("[poll]\ninterval = \"5s\""));
        pass(3).await;
        let digest = world.push("hello", "latest", "v1");
        ecs_deployd::clock::sleep(std::time::Duration::from_millis(250) * moment).await;
        process.kill().await;
        let process = start(&world, &disk, &config("[poll]\ninterval = \"5s\""));
        converged(&world, &digest, &format!("killed {moment} quarter seconds after the push")).await;
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_is_taken_up() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let digest = world.push("hello", "latest", "v1");
    world.until("it rolls", seconds(60), |world| !world.started("web", "hello").is_empty()).await;
    process.stop().await;
    assert!(disk.state().unwrap().services.values().all(|known| known.rollout.is_some()));
    let process = start(&world, &disk, &config(""));
    converged(&world, &digest, "stopped").await;
    assert_eq!(
        process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="completed",service="hello"}"#),
        1.0
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deployed_without_a_durable_intent_and_space_heals() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    disk.set_full(true);
    let digest = world.push("hello", "latest", "v1");
    pass(600).await;
    assert_eq!(world.revisions("hello").len(), 1);
    assert!(world.started("web", "hello").is_empty());
    assert!(process.metric(r#"ecs_deployd_state_commits_total{outcome="error"}"#) > 1.0);
    disk.set_full(false);
    converged(&world, &digest, "there is space again").await;
}

#[tokio::test(start_paused = true)]
async fn a_death_with_a_full_disk_loses_nothing() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    disk.set_full(true);
    let digest = world.push("hello", "latest", "v1");
    pass(600).await;
    process.kill().await;
    disk.set_full(false);
    let _process = start(&world, &disk, &config(""));
    converged(&world, &digest, "started again").await;
}

#[tokio::test(start_paused = true)]
async fn services_that_share_a_revision_share_it_after_a_crash_too() {
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9] {
        let (world, disk, _) = hello_world();
        let revision = world.revision_of("web", "hello");
        world.create_service("web", "second", &revision, 1);
        let text = config("") + "[[repository.service]]\ncluster = \"web\"\nservice = \"second\"\n";
        let process = start(&world, &disk, &text);
        pass(2).await;
        world.forget_calls();
        world.set_fate(number, Fate::HangsAfter);
        let digest = world.push("hello", "latest", "v1");
        pass(60).await;
        process.kill().await;
        world.clear_fates();
        let process = start(&world, &disk, &text);
        pass(600).await;
        for service in ["hello", "second"] {
            assert_eq!(
                world.settled_image("web", service, "app").as_deref(),
                Some(digest.as_str()),
                "{number} {service}"
            );
            assert_eq!(world.started("web", service).len(), 1, "{number} {service}");
        }
        assert_eq!(world.revisions("hello").len(), 2, "{number}");
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_answer_was_lost_and_that_the_breaker_undid_is_not_made_again() {
    let (world, disk, v0) = hello_world();
    world.edit_service("web", "hello", |service| {
        service.breaker_rolls_back = true;
        service.lag = jiff::SignedDuration::from_secs(8);
    });
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let fixed = world.register("hello", &[("app", &format!("{}@{v0}", crate::world::image_uri("hello")))]);
    world.create_service("web", "hello", &fixed, 2);
    world.edit_service("web", "hello", |service| {
        service.breaker_rolls_back = true;
        service.lag = jiff::SignedDuration::from_secs(8);
    });
    world.forget_calls();
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, crate::world::Health::BreaksAfter(seconds(30)));
    world.until("the update", seconds(60), |world| world.count().contains_key("RegisterTaskDefinition")).await;
    // The answer is lost, the next look sees ECS as it was, and the second try is denied: it waits until the breaker is through.
    let update = world.calls().len();
    world.set_fate(update, Fate::AnswerLost);
    pass(1).await;
    world.break_operation("UpdateService", Fault::Denied);
    pass(30).await;
    world.mend_operation("UpdateService");
    pass(600).await;
    assert_eq!(world.started("web", "hello").len(), 1, "{:#?}", world.calls());
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v0));
    assert_eq!(process.metric(r#"ecs_deployd_held{cluster="web",service="hello"}"#), 1.0);
}
