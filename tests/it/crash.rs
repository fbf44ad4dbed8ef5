//! The process dies at, and right after, every call of a deployment, and starts again from what is on disk.

use std::time::Duration;

use ecs_deployd::aws::Fault;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::{Fate, Health, Service};

/// Pushes v1 while call number `number` (from the push on) has the fate, and lets time pass until it has struck. Gives the digest, too.
async fn deployed_under(number: usize, fate: Fate) -> (Scene, String) {
    let scene = Scene::hello().started().await;
    scene.world.forget_calls();
    scene.world.set_fate(number, fate);
    let digest = scene.push("v1");
    pass(240).await;
    (scene, digest)
}

async fn converged(scene: &Scene, digest: &str, what: &str) {
    scene.until(what, 600, |scene| scene.runs().as_deref() == Some(digest)).await;
    pass(1200).await;
    assert_eq!(scene.runs().as_deref(), Some(digest), "{what}");
    assert_eq!(scene.rollouts(), 1, "{what}: one effective UpdateService");
    assert_eq!(scene.world.revisions("hello").len(), 2, "{what}: a revision that was registered is used");
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_call() {
    let mut struck = 0;
    for number in 0..16 {
        for fate in [Fate::HangsBefore, Fate::HangsAfter] {
            let (mut scene, digest) = deployed_under(number, fate).await;
            let call = scene.world.calls().get(number).map(|call| call.operation);
            struck += usize::from(call.is_some_and(|operation| operation != "LookupEvents"));
            scene.kill().await;
            scene.world.clear_fates();
            scene.start();
            converged(&scene, &digest, &format!("killed at call {number} ({call:?}), {fate:?}")).await;
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
            let (scene, digest) = deployed_under(number, fate).await;
            converged(&scene, &digest, &format!("call {number}: {fate:?}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_moment() {
    // In steps of half a call's time, from the push to the end of the rollout.
    for moment in 0..40 {
        let mut scene = Scene::hello().with("[poll]\ninterval = \"5s\"");
        scene.world.set_latency(Duration::from_millis(500));
        scene.start();
        pass(3).await;
        let digest = scene.push("v1");
        ecs_deployd::clock::sleep(Duration::from_millis(250) * moment).await;
        scene.restart().await;
        converged(&scene, &digest, &format!("killed {moment} quarter seconds after the push")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_is_taken_up() {
    let mut scene = Scene::hello().started().await;
    let digest = scene.push("v1");
    scene.rolls(1).await;
    scene.stop().await;
    assert!(scene.disk.state().unwrap().services.values().all(|known| known.rollout.is_some()));
    scene.start();
    converged(&scene, &digest, "stopped").await;
    assert_eq!(scene.ended("completed"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deployed_without_a_durable_intent_and_space_heals() {
    let scene = Scene::hello().started().await;
    scene.disk.set_full(true);
    let digest = scene.push("v1");
    pass(600).await;
    assert_eq!(scene.world.revisions("hello").len(), 1);
    assert_eq!(scene.rollouts(), 0);
    assert!(scene.metric(r#"ecs_deployd_state_commits_total{outcome="error"}"#) > 1.0);
    scene.disk.set_full(false);
    converged(&scene, &digest, "there is space again").await;
}

#[tokio::test(start_paused = true)]
async fn a_death_with_a_full_disk_loses_nothing() {
    let mut scene = Scene::hello().started().await;
    scene.disk.set_full(true);
    let digest = scene.push("v1");
    pass(600).await;
    scene.kill().await;
    scene.disk.set_full(false);
    scene.start();
    converged(&scene, &digest, "started again").await;
}

#[tokio::test(start_paused = true)]
async fn services_that_share_a_revision_share_it_after_a_crash_too() {
    for number in [1, 2, 3, 4, 5, 6, 7, 8, 9] {
        let mut scene = Scene::hello().and("second").started().await;
        scene.world.forget_calls();
        scene.world.set_fate(number, Fate::HangsAfter);
        let digest = scene.push("v1");
        pass(60).await;
        scene.kill().await;
        scene.world.clear_fates();
        scene.start();
        pass(600).await;
        for service in ["hello", "second"] {
            assert_eq!(scene.runs_in(service, "app").as_deref(), Some(digest.as_str()), "{number} {service}");
            assert_eq!(scene.world.started("web", service).len(), 1, "{number} {service}");
        }
        assert_eq!(scene.world.revisions("hello").len(), 2, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_answer_was_lost_and_that_the_breaker_undid_is_not_made_again() {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let breaks = |service: &mut Service| {
        service.breaker_rolls_back = true;
        service.lag = jiff::SignedDuration::from_secs(8);
    };
    let scene = scene.running(&fixed).edited(breaks).started().await;
    scene.world.forget_calls();
    scene.push_that(Health::BreaksAfter(Duration::from_secs(30)), "bad");
    scene.until("the update", 60, |scene| scene.world.count().contains_key("RegisterTaskDefinition")).await;
    // The answer is lost, the next look sees ECS as it was, and the second try is denied: it waits until the breaker is through.
    let update = scene.world.calls().len();
    scene.world.set_fate(update, Fate::AnswerLost);
    pass(1).await;
    scene.world.break_operation("UpdateService", Fault::Denied);
    pass(30).await;
    scene.world.mend_operation("UpdateService");
    pass(600).await;
    assert_eq!(scene.rollouts(), 1, "{:#?}", scene.world.calls());
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    assert_eq!(scene.held(), 1.0);
}
