//! Policies by which the text of a tag decides.

use ecs_deployd::domain::operator_command::OperatorCommand;
use jiff::SignedDuration;

use crate::harness::pass;
use crate::scene::{Scene, rule};

/// The service, configured with a policy.
fn with(policy: &str) -> Scene {
    Scene::hello().configured(&rule("hello", policy, "hello"))
}

#[tokio::test(start_paused = true)]
async fn the_highest_is_deployed_once_and_counted_for_its_own_push() {
    for (policy, high, low) in [
        ("semver = \">=1\"", "1.10.0", "1.9.1"),
        ("regex = '^main-(?<key>\\d+)$'\norder = \"numeric\"", "main-100", "main-99"),
        ("regex = '^main-(?<key>.+)$'\norder = \"alphabetical\"", "main-b", "main-a"),
    ] {
        // Told of in one poll, in two, and the higher one last.
        for (first, second) in [(0, 0), (0, 60), (120, 0)] {
            let scene = with(policy).started().await;
            let highest = scene.world.push_late("hello", high, "high", SignedDuration::from_secs(first));
            pass(1).await;
            scene.world.push_late("hello", low, "low", SignedDuration::from_secs(second));
            pass(600).await;
            let told = format!("{high} after {first} s, {low} after {second} s");
            assert_eq!(scene.runs(), Some(highest), "{told}");
            assert_eq!(scene.rollouts(), 1, "{told}");
            assert_eq!((scene.pushes("deployed"), scene.pushes("lower_version")), (1.0, 1.0), "{told}");
            let service = scene.service().await;
            assert_eq!(service.deployed.as_ref().unwrap().images[0].tag.as_deref(), Some(high), "{told}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_push_deploys_nothing_that_was_there_before_the_start_or_was_taken_away() {
    let scene = with("semver = \">=1\"");
    scene.world.push("hello", "2.0.0", "two");
    pass(3600).await;
    let scene = scene.started().await;
    scene.world.push("hello", "1.1.0", "one");
    pass(600).await;
    assert_eq!((scene.runs(), scene.pushes("lower_version")), (Some(scene.v0.clone()), 1.0), "2.0.0 was there before");

    let three = scene.world.push("hello", "3.0.0", "three");
    pass(600).await;
    assert_eq!(scene.runs(), Some(three));
    // Somebody goes back by hand.
    let before = scene.revision_of_v0(&[]);
    scene.set_to(&before);
    pass(60).await;
    scene.world.push("hello", "1.2.0", "one and a bit");
    pass(600).await;
    assert_eq!((scene.runs(), scene.pushes("lower_version")), (Some(scene.v0.clone()), 2.0));
}

#[tokio::test(start_paused = true)]
async fn a_service_may_have_a_policy_of_its_own() {
    let scene = with("tags = [\"main-*\"]").follows_too("production", "semver = \">=1\"");
    scene.world.create_service("web", "production", &scene.is_set_to(), 1);
    let scene = scene.started().await;
    let main = scene.world.push("hello", "main-7", "seven");
    pass(120).await;
    assert_eq!((scene.runs(), scene.runs_in("production", "app")), (Some(main.clone()), Some(scene.v0.clone())));
    let one = scene.world.push("hello", "1.0.0", "one");
    pass(120).await;
    assert_eq!((scene.runs(), scene.runs_in("production", "app")), (Some(main), Some(one)));
}

#[tokio::test(start_paused = true)]
async fn a_lower_push_stays_one_when_ecr_has_lost_what_runs() {
    for (policy, high, low, higher) in [
        ("semver = \">=1\"", "2.0.0", "1.9.1", "2.0.1"),
        ("regex = '^main-(?<key>\\d+)$'\norder = \"numeric\"", "main-100", "main-99", "main-101"),
    ] {
        let scene = with(policy).started().await;
        let runs = scene.world.push("hello", high, "high");
        pass(120).await;
        scene.world.delete_image("hello", &runs);
        scene.world.push("hello", low, "low");
        pass(120).await;
        assert_eq!((scene.runs(), scene.pushes("lower_version")), (Some(runs), 1.0), "{policy}");
        let told = scene.status().await.pushes[0].detail.clone();
        let runs = scene.is_set_to().rsplit('/').next().unwrap().to_owned();
        assert_eq!(told, format!("{high}, which {runs} runs, is higher than {low}; `ecs-deployd deploy` brings that"));
        // Who asks may have it, and what is higher is deployed as always.
        let lower = scene.command(OperatorCommand::Deploy).await;
        assert!(lower.is_ok(), "{lower:?}");
        pass(120).await;
        let highest = scene.world.push("hello", higher, "highest");
        pass(120).await;
        assert_eq!((scene.runs(), scene.rollouts()), (Some(highest), 3), "{policy}");
    }
}
