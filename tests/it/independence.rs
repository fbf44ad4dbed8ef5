//! One service, or one repository, does not hold up another.

use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::aws::Fault;

use crate::harness::{config, hello_world, pass, start};
use crate::world::{Disk, Health, World, image_uri};

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_for_one_service_stops_no_other() {
    let (world, disk, v0) = hello_world();
    let revision = world.revision_of("web", "hello");
    let mut text = config("");
    for number in 0..9 {
        let name = format!("hello-{number}");
        world.create_service("web", &name, &revision, 1);
        text += &format!("[[repository.service]]\ncluster = \"web\"\nservice = \"{name}\"\n");
    }
    world.forbid("web", "hello-4");
    let process = start(&world, &disk, &text);
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    pass(120).await;
    let runs = |name: &str| world.settled_image("web", name, "app");
    for name in ["hello", "hello-0", "hello-8"] {
        assert_eq!(runs(name), Some(v1.clone()), "{name}");
    }
    assert_eq!(runs("hello-4"), Some(v0));
    let status = process.status().await;
    let trouble = status.services.iter().filter(|one| one.trouble.is_some()).map(|one| one.service.as_str());
    assert_eq!(trouble.collect::<Vec<_>>(), ["hello-4"]);

    // A permission that is lost while all of them roll: the others are watched on, and undone.
    world.allow("web", "hello-4");
    pass(120).await;
    assert_eq!(runs("hello-4"), Some(v1.clone()), "it is caught up with");
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Never);
    world.until("all roll", Duration::from_secs(60), |world| world.started("web", "hello-8").len() == 2).await;
    world.forbid("web", "hello-4");
    pass(600).await;
    assert_eq!(runs("hello-0"), Some(v1.clone()), "undone");
    assert_eq!(runs("hello-4"), None, "nobody can see it");
    world.allow("web", "hello-4");
    pass(300).await;
    assert_eq!(runs("hello-4"), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_stays_missing_is_said_once_and_asked_for_rarely() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    world.break_operation("UpdateService", Fault::Denied);
    let v1 = world.push("hello", "latest", "v1");
    pass(3600).await;
    let tried = world.count()["UpdateService"];
    assert!((50..=61).contains(&tried), "once a minute: {tried}");
    assert_eq!(world.count()["RegisterTaskDefinition"], 1, "the revision is not registered again");
    world.mend_operation("UpdateService");
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v1));
    drop(process);
}

/// A service `pair` of two containers, from the repositories `hello` and `side`. Gives the digests that run.
fn pair() -> (World, Arc<Disk>, [String; 2]) {
    let (world, disk, v0) = hello_world();
    world.create_repository("side");
    let s0 = world.push("side", "latest", "s0");
    let revision = world.register(
        "pair",
        &[("app", &format!("{}@{v0}", image_uri("hello"))), ("side", &format!("{}@{s0}", image_uri("side")))],
    );
    world.create_service("web", "pair", &revision, 2);
    (world, disk, [v0, s0])
}

/// The configuration of one of its repositories.
fn rule(repository: &str) -> String {
    format!(
        "[[repository]]\nname = \"{repository}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"pair\"\n"
    )
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_cannot_be_asked_does_not_hold_up_the_other_one_of_a_service() {
    let (world, disk, [_, s0]) = pair();
    let _process = start(&world, &disk, &(rule("hello") + &rule("side")));
    pass(2).await;
    world.set_silent("side", true);
    let app = world.push("hello", "latest", "v1");
    let side = world.push("side", "latest", "s1");
    pass(180).await;
    let runs = |container| world.settled_image("web", "pair", container);
    assert_eq!((runs("app"), runs("side")), (Some(app.clone()), Some(s0)));
    world.set_silent("side", false);
    pass(180).await;
    assert_eq!((runs("app"), runs("side")), (Some(app), Some(side)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_seen_together_with_a_push_is_a_failure_all_the_same() {
    let (world, disk, [v0, _]) = pair();
    // It is looked at when the push of the sidecar is decided, and hardly ever else.
    let text = "[deploy]\ntimeout = \"15m\"\nobserve_interval = \"10m\"\n".to_owned() + &rule("hello") + &rule("side");
    let process = start(&world, &disk, &text);
    pass(2).await;
    let bad = world.push("hello", "latest", "bad");
    world.set_health(&bad, Health::Stops);
    world.until("it rolls", Duration::from_secs(60), |world| !world.started("web", "pair").is_empty()).await;
    pass(120).await;
    let side = world.push("side", "latest", "s1");
    pass(3600).await;
    let failed = process.metric(r#"ecs_deployd_deployments_total{cluster="web",outcome="failed",service="pair"}"#);
    assert_eq!(failed, 1.0);
    let status = process.status().await;
    let held: Vec<&str> = status.services[0].held.iter().map(|hold| hold.digest.as_str()).collect();
    assert_eq!(held, [bad.as_str()], "the sidecar did nothing wrong");
    assert_eq!(world.settled_image("web", "pair", "app"), Some(v0));
    assert_eq!(world.settled_image("web", "pair", "side"), Some(side));
    let failed = status.services[0].history.iter().find(|outcome| outcome.result.as_str() == "failed").unwrap();
    assert!(
        failed.detail.contains("unable to place a task") && failed.detail.contains("CannotPullContainerError"),
        "{}",
        failed.detail
    );
}

#[tokio::test(start_paused = true)]
async fn many_pushes_at_once_are_counted_each_and_forgotten() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(40).await;
    process.stop().await;
    for number in 0..50 {
        world.push("hello", "latest", &format!("v{number}"));
        pass(5).await;
    }
    let process = start(&world, &disk, &config(""));
    pass(600).await;
    let counted = |outcome: &str| {
        process.metric(&format!(r#"ecs_deployd_pushes_total{{outcome="{outcome}",repository="hello"}}"#))
    };
    assert_eq!((counted("deployed"), counted("superseded")), (1.0, 49.0));
}

#[tokio::test(start_paused = true)]
async fn work_that_falls_due_while_the_disk_is_slow_is_done_right_after() {
    let (world, disk, _) = hello_world();
    let _process = start(&world, &disk, &config(""));
    pass(2).await;
    // The first read fails and is due again a second later, in the middle of the commit.
    world.break_operation("DescribeImages", Fault::Credentials);
    let v1 = world.push("hello", "latest", "v1");
    world.until("asked", Duration::from_secs(60), |world| world.count().contains_key("DescribeImages")).await;
    world.mend_operation("DescribeImages");
    disk.set_stalled(Duration::from_secs(3));
    world.push("hello", "dev", "something else");
    let begun = world.now();
    world.until("it rolls", Duration::from_secs(60), |world| !world.started("web", "hello").is_empty()).await;
    let took = world.now().duration_since(begun).as_secs();
    assert!(took <= 15, "three commits of three seconds, and not the next heartbeat: {took} s");
    pass(60).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn after_ninety_unreadable_days_what_ecr_says_counts_without_a_restart_too() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config("[poll]\ninterval = \"6h\""));
    pass(60).await;
    world.break_operation("LookupEvents", Fault::Denied);
    pass(3600).await;
    let v1 = world.push("hello", "latest", "v1");
    pass(95 * 24 * 3600).await;
    assert!(world.started("web", "hello").is_empty());
    world.mend_operation("LookupEvents");
    pass(8 * 3600).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v1));
    drop(process);
}
