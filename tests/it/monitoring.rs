//! Rollouts that stay under watch after ECS has completed them.

use std::time::Duration;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::Health;

/// Its tasks work for six seconds, and then exit.
const EXITS: Health = Health::Exits { after: Duration::from_secs(6) };

#[tokio::test(start_paused = true)]
async fn an_image_that_works_for_six_seconds_is_completed_and_stays_without_monitor() {
    let scene = Scene::hello().started().await;
    let bad = scene.push_that(EXITS, "bad");
    pass(600).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(bad), 1.0));
}

#[tokio::test(start_paused = true)]
async fn with_monitor_it_fails_and_goes_back() {
    let scene = Scene::hello().deploy("monitor = \"2m\"").started().await;
    scene.push_that(EXITS, "bad");
    pass(120).await;
    assert_eq!((scene.ended("failed"), scene.ended("rolled_back"), scene.ended("completed")), (1.0, 1.0, 0.0));
    assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0));
    let service = scene.service().await;
    let failed = service.history.iter().find(|outcome| outcome.result.as_str() == "failed").unwrap();
    assert!(failed.detail.contains("after ECS had completed it its tasks keep stopping: "), "{failed:#?}");
    assert!(failed.detail.contains("; stopped tasks: "), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn what_goes_on_running_is_completed_when_it_has_been_watched() {
    let scene = Scene::hello().deploy("monitor = \"10m\"\nobserve_interval = \"10s\"").started().await;
    scene.push("good");
    scene.rolls(1).await;
    pass(60).await;
    let phase = scene.service().await.rollout.unwrap().phase;
    assert_eq!((phase.as_str(), scene.ended("completed")), ("monitoring", 0.0));
    scene.world.forget_calls();
    pass(300).await;
    let looks = scene.world.count();
    assert_eq!(looks["DescribeServices"], 30, "one in an interval: {looks:?}");
    assert_eq!(looks.keys().copied().collect::<Vec<_>>(), ["DescribeServices", "LookupEvents"]);
    pass(300).await;
    assert_eq!(scene.ended("completed"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_watching() {
    for away in [0, 3600] {
        let mut scene = Scene::hello().deploy("monitor = \"2m\"").started().await;
        scene.push_that(EXITS, "bad");
        scene.rolls(1).await;
        pass(16).await;
        scene.kill().await;
        pass(away).await;
        scene.start();
        pass(120).await;
        assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0), "away for {away} s");
        assert_eq!((scene.ended("failed"), scene.ended("completed")), (1.0, 0.0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_takes_the_place_of_one_that_is_being_watched() {
    let scene = Scene::hello().deploy("monitor = \"1h\"").started().await;
    scene.push("one");
    pass(120).await;
    let two = scene.push("two");
    pass(120).await;
    assert_eq!((scene.ended("superseded"), scene.ended("completed")), (1.0, 0.0));
    pass(3600).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(two), 1.0));
}
