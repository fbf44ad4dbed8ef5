//! What a push costs: calls and round trips, counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::{config, hello_world, pass, start};
use crate::world::{World, image_uri};

fn many(services: usize) -> (World, String) {
    let world = World::new();
    world.create_repository("hello");
    world.push("hello", "latest", "v0");
    let revision = world.register("hello", &[("app", &format!("{}:latest", image_uri("hello")))]);
    let mut text = "[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n".to_owned();
    for number in 0..services {
        world.create_service("web", &format!("s{number}"), &revision, 2);
        let _ = write!(text, "[[repository.service]]\ncluster = \"web\"\nservice = \"s{number}\"\n");
    }
    (world, text)
}

fn counts(world: &World) -> BTreeMap<&'static str, usize> {
    let mut counts = world.count();
    counts.remove("LookupEvents");
    counts
}

#[tokio::test(start_paused = true)]
async fn one_push_to_25_services_of_one_family() {
    let (world, text) = many(25);
    let _process = start(&world, &std::sync::Arc::default(), &text);
    pass(2).await;
    for (content, with_tasks) in [("v1", true), ("v2", false)] {
        world.forget_calls();
        world.push("hello", "latest", content);
        // Up to the updates, before the first look at the rollouts.
        world
            .until("all are updated", Duration::from_secs(60), |world| world.count().get("UpdateService") == Some(&25))
            .await;
        let mut expected = BTreeMap::from([
            ("DescribeImages", 1),
            ("DescribeServices", 3),
            ("DescribeTaskDefinition", 1),
            ("RegisterTaskDefinition", 1),
            ("UpdateService", 25),
        ]);
        if with_tasks {
            // The revision of the first round names its image by tag: what runs is written down.
            expected.extend([("ListTasks", 25), ("DescribeTasks", 25)]);
        }
        assert_eq!(counts(&world), expected, "{content}");
        pass(300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_to_300_services_stays_within_the_buckets_of_ecs() {
    let (world, text) = many(300);
    let _process = start(&world, &std::sync::Arc::default(), &text);
    pass(2).await;
    for content in ["v1", "v2"] {
        let digest = world.push("hello", "latest", content);
        pass(600).await;
        for number in 0..300 {
            let runs = world.settled_image("web", &format!("s{number}"), "app");
            assert_eq!(runs.as_deref(), Some(digest.as_str()), "s{number}");
        }
    }
    assert_eq!((world.count()["UpdateService"], world.refused_by_limits()), (600, 0));
}

#[tokio::test(start_paused = true)]
async fn watching_is_one_call_for_ten_services_in_an_interval() {
    let (world, text) = many(25);
    let _process = start(&world, &std::sync::Arc::default(), &text);
    pass(2).await;
    let digest = world.push("hello", "latest", "v1");
    world.set_health(&digest, crate::world::Health::Never);
    pass(60).await;
    world.forget_calls();
    pass(50).await;
    assert_eq!(counts(&world), BTreeMap::from([("DescribeServices", 30)]), "ten intervals of five seconds");
}

#[tokio::test(start_paused = true)]
async fn an_idle_poll_is_one_request_however_many_repositories_there_are() {
    let (world, disk, _) = hello_world();
    let mut text = String::new();
    for number in 0..10_000 {
        let _ = write!(
            text,
            "[[repository]]\nname = \"r{number}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n"
        );
    }
    let _process = start(&world, &disk, &text);
    pass(10).await;
    world.forget_calls();
    pass(300).await;
    assert_eq!(world.count(), BTreeMap::from([("LookupEvents", 10)]));
}

/// UpdateService is the fourth round trip after the answer that holds the event, and nothing of this program's own stands between.
#[tokio::test(start_paused = true)]
async fn from_the_event_to_the_update_there_are_four_round_trips() {
    for (name, images) in
        [("by tag", ":latest".to_owned()), ("by digest", format!("@{}", crate::world::manifest_digest("x")))]
    {
        let (world, disk, _) = hello_world();
        let revision = world.register("hello", &[("app", &format!("{}{images}", image_uri("hello")))]);
        world.create_service("web", "hello", &revision, 2);
        let latency = Duration::from_millis(400);
        world.set_latency(latency);
        let _process = start(&world, &disk, &config(""));
        pass(2).await;
        world.forget_calls();
        world.push("hello", "latest", "v1");
        pass(60).await;
        let calls = world.calls();
        let update = calls.iter().find(|call| call.operation == "UpdateService").unwrap();
        let seen = calls.iter().take_while(|call| call.operation != "DescribeImages").last().unwrap();
        assert_eq!(seen.operation, "LookupEvents");
        let answered = seen.at + latency;
        assert_eq!(update.at + latency - answered, latency * 4, "{name}: {calls:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_does_not_grow_with_history() {
    let (world, disk, _) = hello_world();
    let process = start(&world, &disk, &config(""));
    pass(2).await;
    let mut sizes = Vec::new();
    // Events are remembered for a day: from then on it is flat.
    for round in 0..320 {
        world.push("hello", "latest", &format!("round {round}"));
        pass(600).await;
        if round % 80 == 79 {
            sizes.push(ecs_deployd::ledger::render(&disk.state().unwrap()).len());
        }
    }
    assert_eq!(world.started("web", "hello").len(), 320);
    assert!(sizes[3] <= sizes[1] + 64, "{sizes:?}");
    drop(process);
}

#[tokio::test(start_paused = true)]
async fn lookups_keep_to_their_rate_over_pages_and_failures() {
    use crate::world::Fate;
    let (world, disk, _) = hello_world();
    world.set_page_size(1);
    for number in 0..20 {
        world.push("hello", "other", &format!("{number}"));
    }
    for number in [1, 2, 5, 9] {
        world.set_fate(number, Fate::Fails(ecs_deployd::aws::Fault::Throttled));
    }
    let _process = start(&world, &disk, &config("[poll]\ninterval = \"1s\""));
    pass(120).await;
    let at: Vec<Duration> =
        world.calls().iter().filter(|call| call.operation == "LookupEvents").map(|call| call.at).collect();
    assert!(at.len() > 50, "{}", at.len());
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(999)), "{at:?}");
}
