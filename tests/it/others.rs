//! Other deployers, and operators who change a service by hand: they are not fought.

use std::time::Duration;

use jiff::SignedDuration;

use crate::harness::{config, hello_world, pass, start};
use crate::world::{Health, image_uri};

const HELD: &str = r#"ecs_deployd_held{cluster="web",service="hello"}"#;
const SUPERSEDED: &str = r#"ecs_deployd_deployments_total{cluster="web",outcome="superseded",service="hello"}"#;

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_after_it_was_complete_is_not_brought_back_by_another_tag_of_the_same_image() {
    let (world, disk, v0) = hello_world();
    let before = world.register("hello", &[("app", &format!("{}@{v0}", image_uri("hello")))]);
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    world.push_late("hello", "release-7", "v1", SignedDuration::from_mins(8));
    pass(120).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v1.clone()));
    world.interfere("web", "hello", &before);
    pass(900).await;
    assert_eq!(world.revision_of("web", "hello"), before, "nobody undoes it");
    assert_eq!(process.metric(HELD), 1.0, "and it shows");
    let held = process.status().await.services[0].held[0].clone();
    assert_eq!(held.digest, v1);
    assert!(held.reason.contains("somebody else set the service to hello:2"), "{}", held.reason);
    let v2 = world.push("hello", "latest", "v2");
    pass(120).await;
    assert_eq!((world.settled_image("web", "hello", "app"), process.metric(HELD)), (Some(v2), 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_in_the_middle_of_a_rollout_is_held() {
    let (world, disk, v0) = hello_world();
    // Long ago; what runs now is newer.
    let older = world.register("hello", &[("app", &format!("{}@{v0}", image_uri("hello"))), ("old", "x:1")]);
    let current = world.register("hello", &[("app", &format!("{}@{v0}", image_uri("hello"))), ("new", "x:2")]);
    for (set_to, ends) in [(&older, &older), (&current, &current)] {
        world.create_service("web", "hello", &current, 2);
        let disk = std::sync::Arc::clone(&disk);
        disk.lose();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        let slow = world.push("hello", "latest", &format!("slow for {set_to}"));
        world.set_health(&slow, Health::Never);
        world.until("it rolls", Duration::from_secs(60), |world| !world.started("web", "hello").is_empty()).await;
        pass(30).await;
        world.interfere("web", "hello", set_to);
        pass(900).await;
        assert_eq!(&world.revision_of("web", "hello"), ends);
        let status = process.status().await;
        assert_eq!((status.services[0].held.len(), process.metric(HELD)), (1, 1.0), "{set_to}");
        process.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_deployer_replaced_is_not_brought_back_by_another_tag_of_the_same_image() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    world.set_health(&v1, Health::Never);
    world.push_late("hello", "release-7", "v1", SignedDuration::from_mins(8));
    world.until("it rolls", Duration::from_secs(60), |world| !world.started("web", "hello").is_empty()).await;
    pass(30).await;
    let theirs = world.register("hello", &[("app", &format!("{}:release-0", image_uri("hello")))]);
    world.interfere("web", "hello", &theirs);
    pass(1800).await;
    assert_eq!((world.revision_of("web", "hello"), process.metric(SUPERSEDED)), (theirs, 1.0));
    assert_eq!(process.metric(r#"ecs_deployd_pushes_total{outcome="held",repository="hello"}"#), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_while_events_are_late_never_brings_an_older_image_after_a_newer_one() {
    let (world, disk, _) = hello_world();
    let _process = start(&world, &disk, &config(""));
    pass(2).await;
    let late = SignedDuration::from_mins(5);
    world.push_late("hello", "latest", "v1", late);
    pass(60).await;
    world.push_late("hello", "release-5", "v2", late);
    pass(60).await;
    let v3 = world.push_late("hello", "latest", "v3", late);
    pass(3600).await;
    assert_eq!(world.settled_image("web", "hello", "app"), Some(v3));
    assert_eq!(world.started("web", "hello").len(), 1, "{:#?}", world.log_of("web", "hello"));
}

#[tokio::test(start_paused = true)]
async fn a_change_made_while_a_write_waited_in_line_is_not_undone() {
    let (world, disk, v0) = hello_world();
    let mut text = config("");
    // RegisterTaskDefinition: 20 at once, then one a second.
    for number in 0..60 {
        let family = format!("family-{number:02}");
        let revision = world.register(&family, &[("app", &format!("{}@{v0}", image_uri("hello")))]);
        world.create_service("web", &family, &revision, 1);
        text += &format!("[[repository.service]]\ncluster = \"web\"\nservice = \"{family}\"\n");
    }
    let _process = start(&world, &disk, &text);
    pass(2).await;
    let v1 = world.push("hello", "latest", "v1");
    world.until("most wait", Duration::from_secs(60), |world| world.started("web", "family-00").len() == 1).await;
    let last = "family-59";
    assert!(world.started("web", last).is_empty(), "it waits");
    let theirs = world.register(last, &[("app", &format!("{}@{v0}", image_uri("hello"))), ("new", "theirs:1")]);
    world.interfere("web", last, &theirs);
    pass(600).await;
    let made = world.revisions(last).pop().unwrap();
    assert_eq!(made["containerDefinitions"][1]["name"], "new", "made from their revision");
    assert_eq!(world.settled_image("web", last, "app"), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_leaves_the_configuration_in_the_middle_of_a_call_is_not_changed_later() {
    for (operation, latency) in [("RegisterTaskDefinition", 10), ("UpdateService", 10)] {
        let (world, disk, v0) = hello_world();
        let process = start(&world, &disk, &config(""));
        pass(2).await;
        let v1 = world.push("hello", "latest", "v1");
        let bad = world.push("hello", "latest", "v1");
        assert_eq!(v1, bad);
        world.set_latency(Duration::from_secs(latency));
        world.until(operation, Duration::from_secs(300), |world| world.count().contains_key(operation)).await;
        process.reload("[[repository]]\nname = \"hello\"\ntags = [\"x\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"other\"\n").await;
        pass(600).await;
        let runs = world.settled_image("web", "hello", "app");
        match operation {
            // It was not under way in ECS yet.
            "RegisterTaskDefinition" => assert_eq!(runs, Some(v0)),
            _ => assert_eq!(runs, Some(v1)),
        }
        let state = disk.state().unwrap();
        assert!(state.services.values().all(|known| known.rollout.is_none()), "{operation}: {state:#?}");
        process.kill().await;
    }
}
