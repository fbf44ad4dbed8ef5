//! Policies by which the text of a tag decides.

use jiff::SignedDuration;

use crate::harness::{Process, hello_world, pass, start};
use crate::world::World;

fn config(policy: &str) -> String {
    format!(
        "[[repository]]\nname = \"hello\"\n{policy}\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n"
    )
}

fn counted(process: &Process, outcome: &str) -> f64 {
    process.metric(&format!(r#"ecs_deployd_pushes_total{{outcome="{outcome}",repository="hello"}}"#))
}

fn runs(world: &World) -> Option<String> {
    world.settled_image("web", "hello", "app")
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
            let (world, disk, _) = hello_world();
            let process = start(&world, &disk, &config(policy));
            pass(2).await;
            let highest = world.push_late("hello", high, "high", SignedDuration::from_secs(first));
            pass(1).await;
            world.push_late("hello", low, "low", SignedDuration::from_secs(second));
            pass(600).await;
            let told = format!("{high} after {first} s, {low} after {second} s");
            assert_eq!(runs(&world), Some(highest), "{told}");
            assert_eq!(world.started("web", "hello").len(), 1, "{told}");
            assert_eq!((counted(&process, "deployed"), counted(&process, "lower_version")), (1.0, 1.0), "{told}");
            let status = process.status().await;
            assert_eq!(status.services[0].deployed.as_ref().unwrap().images[0].tag.as_deref(), Some(high), "{told}");
            process.kill().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_push_deploys_nothing_that_was_there_before_the_start_or_was_taken_away() {
    let (world, disk, v0) = hello_world();
    world.push("hello", "2.0.0", "two");
    pass(3600).await;
    let process = start(&world, &disk, &config("semver = \">=1\""));
    pass(2).await;
    world.push("hello", "1.1.0", "one");
    pass(600).await;
    assert_eq!((runs(&world), counted(&process, "lower_version")), (Some(v0.clone()), 1.0), "2.0.0 was there before");

    let three = world.push("hello", "3.0.0", "three");
    pass(600).await;
    assert_eq!(runs(&world), Some(three));
    // Somebody goes back by hand.
    let before = world.register("hello", &[("app", &format!("{}@{v0}", crate::world::image_uri("hello")))]);
    world.interfere("web", "hello", &before);
    pass(60).await;
    world.push("hello", "1.2.0", "one and a bit");
    pass(600).await;
    assert_eq!((runs(&world), counted(&process, "lower_version")), (Some(v0), 2.0));
}

#[tokio::test(start_paused = true)]
async fn a_service_may_have_a_policy_of_its_own() {
    let (world, disk, v0) = hello_world();
    let revision = world.revision_of("web", "hello");
    world.create_service("web", "production", &revision, 1);
    let text = config("tags = [\"main-*\"]")
        + "[[repository.service]]\ncluster = \"web\"\nservice = \"production\"\nsemver = \">=1\"\n";
    let _process = start(&world, &disk, &text);
    pass(2).await;
    let main = world.push("hello", "main-7", "seven");
    pass(120).await;
    assert_eq!((runs(&world), world.settled_image("web", "production", "app")), (Some(main.clone()), Some(v0)));
    let one = world.push("hello", "1.0.0", "one");
    pass(120).await;
    assert_eq!((runs(&world), world.settled_image("web", "production", "app")), (Some(main), Some(one)));
}
