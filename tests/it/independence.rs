//! One service, or one repository, does not hold up another.

use std::time::Duration;

use ecs_deployd::aws::Fault;

use crate::harness::pass;
use crate::scene::{Named, Scene};
use crate::world::Health;

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_for_one_service_stops_no_other() {
    let scene = (0..9).fold(Scene::hello(), |scene, number| scene.and(&format!("hello-{number}")));
    scene.world.forbid("web", "hello-4");
    let scene = scene.started().await;
    let v1 = scene.deployed("v1").await;
    let runs = |name: &str| scene.runs_in(name, "app");
    for name in ["hello", "hello-0", "hello-8"] {
        assert_eq!(runs(name), Some(v1.clone()), "{name}");
    }
    assert_eq!(runs("hello-4"), Some(scene.v0.clone()));
    let status = scene.status().await;
    let last_error = status.services.iter().filter(|one| one.last_error.is_some()).map(|one| one.service.as_str());
    assert_eq!(last_error.collect::<Vec<_>>(), ["hello-4"]);

    // A permission that is lost while all of them roll: the others are watched on, and undone.
    scene.world.allow("web", "hello-4");
    pass(120).await;
    assert_eq!(runs("hello-4"), Some(v1.clone()), "it is caught up with");
    scene.push_that(Health::Never, "bad");
    scene.until("all roll", 60, |scene| scene.world.started("web", "hello-8").len() == 2).await;
    scene.world.forbid("web", "hello-4");
    pass(600).await;
    assert_eq!(runs("hello-0"), Some(v1.clone()), "undone");
    assert_eq!(runs("hello-4"), None, "nobody can see it");
    scene.world.allow("web", "hello-4");
    pass(300).await;
    assert_eq!(runs("hello-4"), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_stays_missing_is_said_once_and_asked_for_rarely() {
    let scene = Scene::hello().started().await;
    scene.world.break_operation("UpdateService", Fault::Denied);
    let v1 = scene.push("v1");
    pass(3600).await;
    let tried = scene.world.count()["UpdateService"];
    assert!((50..=61).contains(&tried), "once a minute: {tried}");
    assert_eq!(scene.world.count()["RegisterTaskDefinition"], 1, "the revision is not registered again");
    scene.world.mend_operation("UpdateService");
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_cannot_be_asked_does_not_hold_up_the_other_one_of_a_service() {
    let (scene, s0) = Scene::pair(Named::ByDigest);
    let scene = scene.started().await;
    scene.world.set_silent("side", true);
    let app = scene.push("v1");
    let side = scene.world.push("side", "latest", "s1");
    pass(180).await;
    let runs = |container| scene.runs_in("pair", container);
    assert_eq!((runs("app"), runs("side")), (Some(app.clone()), Some(s0)));
    scene.world.set_silent("side", false);
    pass(180).await;
    assert_eq!((runs("app"), runs("side")), (Some(app), Some(side)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_seen_together_with_a_push_is_a_failure_all_the_same() {
    let (scene, _) = Scene::pair(Named::ByDigest);
    // It is looked at when the push of the sidecar is decided, and hardly ever else.
    let scene = scene.with("[deploy]\ntimeout = \"15m\"\nobserve_interval = \"10m\"").started().await;
    let bad = scene.push_that(Health::Stops, "bad");
    scene.until("it rolls", 60, |scene| !scene.world.started("web", "pair").is_empty()).await;
    pass(120).await;
    let side = scene.world.push("side", "latest", "s1");
    pass(3600).await;
    let failed = scene.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="failed",service="pair"}"#);
    assert_eq!(failed, 1.0);
    let service = scene.service().await;
    let held: Vec<&str> = service.held.iter().map(|hold| hold.digest.as_str()).collect();
    assert_eq!(held, [bad.as_str()], "the sidecar did nothing wrong");
    assert_eq!(scene.runs_in("pair", "app"), Some(scene.v0.clone()));
    assert_eq!(scene.runs_in("pair", "side"), Some(side));
    let failed = service.history.iter().find(|outcome| outcome.result.as_str() == "failed").unwrap();
    assert!(
        failed.detail.contains("unable to place a task") && failed.detail.contains("CannotPullContainerError"),
        "{}",
        failed.detail
    );
}

#[tokio::test(start_paused = true)]
async fn many_pushes_at_once_are_counted_each_and_forgotten() {
    let mut scene = Scene::hello();
    scene.start();
    pass(40).await;
    scene.stop().await;
    for number in 0..50 {
        scene.push(&format!("v{number}"));
        pass(5).await;
    }
    scene.start();
    pass(600).await;
    assert_eq!((scene.pushes("deployed"), scene.pushes("superseded")), (1.0, 49.0));
}

#[tokio::test(start_paused = true)]
async fn work_that_falls_due_while_the_disk_is_slow_is_done_right_after() {
    let scene = Scene::hello().started().await;
    // The first read fails and is due again a second later, in the middle of the commit.
    scene.world.break_operation("DescribeImages", Fault::Credentials);
    let v1 = scene.push("v1");
    scene.until("asked", 60, |scene| scene.world.count().contains_key("DescribeImages")).await;
    scene.world.mend_operation("DescribeImages");
    scene.disk.set_stalled(Duration::from_secs(3));
    scene.world.push("hello", "dev", "something else");
    let begun = scene.world.now();
    scene.rolls(1).await;
    let took = scene.world.now().duration_since(begun).as_secs();
    assert!(took <= 15, "three commits of three seconds, and not the next heartbeat: {took} s");
    pass(60).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn after_ninety_unreadable_days_what_ecr_says_counts_without_a_restart_too() {
    let scene = Scene::hello().with("[poll]\ninterval = \"6h\"").started().await;
    pass(58).await;
    scene.world.break_operation("LookupEvents", Fault::Denied);
    pass(3600).await;
    let v1 = scene.push("v1");
    pass(95 * 24 * 3600).await;
    assert_eq!(scene.rollouts(), 0);
    scene.world.mend_operation("LookupEvents");
    pass(8 * 3600).await;
    assert_eq!(scene.runs(), Some(v1));
}
