//! What a push costs: calls and round trips, counted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::pass;
use crate::scene::{Scene, rule};
use crate::world::Health;

/// Services of one revision, which follow one repository.
fn many(services: usize) -> Scene {
    let repository = Scene::hello().configured("[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n");
    (0..services).fold(repository, |scene, number| scene.and(&format!("s{number}")))
}

fn counts(scene: &Scene) -> BTreeMap<&'static str, usize> {
    let mut counts = scene.world.count();
    counts.remove("LookupEvents");
    counts
}

#[tokio::test(start_paused = true)]
async fn one_push_to_25_services_of_one_family() {
    let scene = many(25).started().await;
    for (content, with_tasks) in [("v1", true), ("v2", false)] {
        scene.world.forget_calls();
        scene.push(content);
        // Up to the updates, before the first look at the rollouts.
        scene.until("all are updated", 60, |scene| scene.world.count().get("UpdateService") == Some(&25)).await;
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
        assert_eq!(counts(&scene), expected, "{content}");
        pass(300).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_to_300_services_stays_within_the_buckets_of_ecs() {
    let scene = many(300).started().await;
    for content in ["v1", "v2"] {
        let digest = scene.push(content);
        pass(600).await;
        for number in 0..300 {
            let runs = scene.runs_in(&format!("s{number}"), "app");
            assert_eq!(runs.as_deref(), Some(digest.as_str()), "s{number}");
        }
    }
    assert_eq!((scene.world.count()["UpdateService"], scene.world.refused_by_limits()), (600, 0));
}

/// Whoever waits for ECS's rate limits is looked at once more right before it is updated, ten services a call, and nothing else is repeated.
#[tokio::test(start_paused = true)]
async fn what_waits_in_line_is_looked_at_again_ten_services_a_call() {
    let services = 200;
    // No rollout is watched meanwhile: what is left are the looks before the updates.
    let scene = many(services).with("[deploy]\nobserve_interval = \"10m\"").started().await;
    scene.push("v1");
    pass(1000).await;
    scene.world.forget_calls();
    scene.push("v2");
    scene.until("all are updated", 60, |scene| scene.world.count().get("UpdateService") == Some(&services)).await;
    let calls = scene.world.calls();
    let at = |operation| {
        let times = calls.iter().filter(move |call| call.operation == operation).map(|call| call.at);
        times.clone().min().zip(times.max())
    };
    let ((first, _), (_, last)) = (at("DescribeImages").unwrap(), at("UpdateService").unwrap());
    let shortest = 30.0;
    assert!((last - first).as_secs_f64() < shortest * 1.05, "{:?} from the event to the last update", last - first);
    let counts = counts(&scene);
    // The first 49 need no other look.
    let (decided, again) = (services / 10, (services - 49) / 10 + 1);
    assert!((decided..=decided + again + 3).contains(&counts["DescribeServices"]), "{counts:?}");
    let once =
        ["DescribeImages", "DescribeTaskDefinition", "RegisterTaskDefinition"].map(|operation| counts[operation]);
    assert_eq!((once, counts.get("ListTasks")), ([1, 1, 1], None), "{counts:?}");
}

/// Services that follow one tag and run one image are compared with ECR by one look at the tag and one at the image.
#[tokio::test(start_paused = true)]
async fn services_of_one_repository_are_compared_with_ecr_by_two_calls() {
    let mut scene = many(25).started().await;
    scene.push("v1");
    pass(300).await;
    scene.kill().await;
    scene.disk.lose();
    scene.world.forget_calls();
    scene = scene.with("[state]\nwhen_missing = \"reconcile\"");
    scene.start();
    pass(60).await;
    assert_eq!(counts(&scene)["DescribeImages"], 2, "{:?}", counts(&scene));
    assert_eq!(scene.world.count().get("UpdateService"), None, "nothing differs");
}

#[tokio::test(start_paused = true)]
async fn watching_is_one_call_for_ten_services_in_an_interval() {
    let scene = many(25).started().await;
    scene.push_that(Health::Never, "v1");
    pass(60).await;
    scene.world.forget_calls();
    pass(50).await;
    assert_eq!(counts(&scene), BTreeMap::from([("DescribeServices", 30)]), "ten intervals of five seconds");
}

#[tokio::test(start_paused = true)]
async fn an_idle_poll_is_one_request_however_many_repositories_there_are() {
    let text: String = (0..10_000).map(|number| rule(&format!("r{number}"), "tags = [\"latest\"]", "hello")).collect();
    let scene = Scene::hello().configured(&text).started().await;
    pass(8).await;
    scene.world.forget_calls();
    pass(300).await;
    assert_eq!(scene.world.count(), BTreeMap::from([("LookupEvents", 10)]));
}

/// UpdateService is the fourth round trip after the answer that holds the event, and nothing of this program's own stands between. Where the
/// revision names a tag, the tasks have to be listed and described as well: once, since the next revision is pinned.
#[tokio::test(start_paused = true)]
async fn from_the_event_to_the_update_there_are_four_round_trips() {
    let pinned = format!("@{}", crate::world::manifest_digest("x"));
    for (name, images, round_trips) in [("by tag", ":latest", 6), ("by digest", pinned.as_str(), 4)] {
        let scene = Scene::hello();
        let revision = scene.revision(images, &[]);
        let scene = scene.running(&revision);
        let latency = Duration::from_millis(400);
        scene.world.set_latency(latency);
        let scene = scene.started().await;
        scene.world.forget_calls();
        scene.push("v1");
        pass(60).await;
        let calls = scene.world.calls();
        let update = calls.iter().find(|call| call.operation == "UpdateService").unwrap();
        let seen = calls.iter().take_while(|call| call.operation != "DescribeImages").last().unwrap();
        assert_eq!(seen.operation, "LookupEvents");
        let answered = seen.at + latency;
        assert_eq!(update.at + latency - answered, latency * round_trips, "{name}: {calls:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_does_not_grow_with_history() {
    let scene = Scene::hello().started().await;
    let mut sizes = Vec::new();
    // Events are remembered for a day: from then on it is flat.
    for round in 0..320 {
        scene.push(&format!("round {round}"));
        pass(600).await;
        if round % 80 == 79 {
            sizes.push(ecs_deployd::state_store::render(&scene.disk.state().unwrap()).len());
        }
    }
    assert_eq!(scene.rollouts(), 320);
    assert!(sizes[3] <= sizes[1] + 64, "{sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn lookups_keep_to_their_rate_over_pages_and_failures() {
    use crate::world::Fate;
    let scene = Scene::hello().with("[poll]\ninterval = \"1s\"");
    scene.world.set_page_size(1);
    for number in 0..20 {
        scene.world.push("hello", "other", &format!("{number}"));
    }
    for number in [1, 2, 5, 9] {
        scene.world.set_fate(number, Fate::Fails(ecs_deployd::aws::Fault::Throttled));
    }
    let scene = scene.started().await;
    pass(118).await;
    let at: Vec<Duration> =
        scene.world.calls().iter().filter(|call| call.operation == "LookupEvents").map(|call| call.at).collect();
    assert!(at.len() > 50, "{}", at.len());
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(999)), "{at:?}");
}
