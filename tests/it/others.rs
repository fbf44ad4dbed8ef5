//! Other deployers, and operators who change a service by hand: they are not fought.

use std::time::Duration;

use jiff::SignedDuration;

use crate::harness::pass;
use crate::scene::{Scene, rule};
use crate::world::{Health, image_uri};

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_after_it_was_complete_is_not_brought_back_by_another_tag_of_the_same_image() {
    let scene = Scene::hello();
    let before = scene.revision_of_v0(&[]);
    let scene = scene.started().await;
    let v1 = scene.push("v1");
    scene.world.push_late("hello", "release-7", "v1", SignedDuration::from_mins(8));
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1.clone()));
    scene.set_to(&before);
    pass(900).await;
    assert_eq!(scene.is_set_to(), before, "nobody undoes it");
    assert_eq!(scene.held(), 1.0, "and it shows");
    let held = scene.service().await.held[0].clone();
    assert_eq!(held.digest, v1);
    assert!(held.reason.contains("somebody else set the service to hello:2"), "{}", held.reason);
    let v2 = scene.deployed("v2").await;
    assert_eq!((scene.runs(), scene.held()), (Some(v2), 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_back_in_the_middle_of_a_rollout_is_held() {
    for to_older in [true, false] {
        let scene = Scene::hello();
        // Long ago; what runs now is newer.
        let older = scene.revision_of_v0(&[("old", "x:1")]);
        let current = scene.revision_of_v0(&[("new", "x:2")]);
        let set_to = if to_older { older } else { current.clone() };
        let scene = scene.running(&current).started().await;
        scene.push_that(Health::Never, "slow");
        scene.rolls(1).await;
        pass(30).await;
        scene.set_to(&set_to);
        pass(900).await;
        assert_eq!(scene.is_set_to(), set_to);
        let service = scene.service().await;
        assert_eq!((service.held.len(), scene.held()), (1, 1.0), "{set_to}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_deployer_replaced_is_not_brought_back_by_another_tag_of_the_same_image() {
    let scene = Scene::hello().started().await;
    scene.push_that(Health::Never, "v1");
    scene.world.push_late("hello", "release-7", "v1", SignedDuration::from_mins(8));
    scene.rolls(1).await;
    pass(30).await;
    let theirs = scene.revision(":release-0", &[]);
    scene.set_to(&theirs);
    pass(1800).await;
    assert_eq!((scene.is_set_to(), scene.ended("superseded")), (theirs, 1.0));
    assert_eq!(scene.pushes("held"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_while_events_are_late_never_brings_an_older_image_after_a_newer_one() {
    let scene = Scene::hello().started().await;
    let late = SignedDuration::from_mins(5);
    scene.world.push_late("hello", "latest", "v1", late);
    pass(60).await;
    scene.world.push_late("hello", "release-5", "v2", late);
    pass(60).await;
    let v3 = scene.world.push_late("hello", "latest", "v3", late);
    pass(3600).await;
    assert_eq!(scene.runs(), Some(v3));
    assert_eq!(scene.rollouts(), 1, "{:#?}", scene.world.log_of("web", "hello"));
}

#[tokio::test(start_paused = true)]
async fn a_change_made_while_a_write_waited_in_line_is_not_undone() {
    let mut scene = Scene::hello();
    let image = format!("{}@{}", image_uri("hello"), scene.v0);
    // RegisterTaskDefinition: 20 at once, then one a second.
    for number in 0..60 {
        let family = format!("family-{number:02}");
        let revision = scene.world.register(&family, &[("app", &image)]);
        scene.world.create_service("web", &family, &revision, 1);
        scene = scene.follows_too(&family, "");
    }
    let scene = scene.started().await;
    let v1 = scene.push("v1");
    scene.until("most wait", 60, |scene| scene.world.started("web", "family-00").len() == 1).await;
    let last = "family-59";
    assert!(scene.world.started("web", last).is_empty(), "it waits");
    let theirs = scene.world.register(last, &[("app", &image), ("new", "theirs:1")]);
    scene.world.interfere("web", last, &theirs);
    pass(600).await;
    let made = scene.world.revisions(last).pop().unwrap();
    assert_eq!(made["containerDefinitions"][1]["name"], "new", "made from their revision");
    assert_eq!(scene.runs_in(last, "app"), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_leaves_the_configuration_in_the_middle_of_a_call_is_not_changed_later() {
    for (operation, latency) in [("RegisterTaskDefinition", 10), ("UpdateService", 10)] {
        let scene = Scene::hello().started().await;
        let v1 = scene.push("v1");
        assert_eq!(v1, scene.push("v1"));
        scene.world.set_latency(Duration::from_secs(latency));
        scene.until(operation, 300, |scene| scene.world.count().contains_key(operation)).await;
        scene.process().reload(&rule("hello", "tags = [\"x\"]", "other")).await;
        pass(600).await;
        let runs = scene.runs();
        match operation {
            // It was not under way in ECS yet.
            "RegisterTaskDefinition" => assert_eq!(runs, Some(scene.v0.clone())),
            _ => assert_eq!(runs, Some(v1)),
        }
        let state = scene.disk.state().unwrap();
        assert!(state.services.values().all(|known| known.rollout.is_none()), "{operation}: {state:#?}");
    }
}
