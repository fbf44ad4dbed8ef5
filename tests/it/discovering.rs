//! Services opt in by a tag: what is found is followed from then on, across restarts, and what loses the tag is left as it is.

use std::collections::BTreeMap;

use ecs_deployd::domain::aws_error::Fault;

use crate::harness::{Disk, pass};
use crate::scene::Scene;
use crate::world::World;

const DISCOVERS: &str = "[policy.stable]\ntags = [\"latest\"]\n[policy.edge]\ntags = [\"edge\"]\n\
    [[discover]]\nclusters = [\"web\"]\nevery = \"1m\"\n";

/// The scene with no service listed, and the service tagged with a policy.
fn found(policy: &str) -> Scene {
    let scene = Scene::hello().configured(DISCOVERS);
    scene.world.tag("web", "hello", "ecs-deployd", policy);
    scene
}

fn discovered(scene: &Scene) -> f64 {
    scene.metric("ecs_deployd_discovered_services{aws=\"default\"}")
}

fn calls(world: &World) -> BTreeMap<&'static str, usize> {
    world.count().into_iter().filter(|(name, _)| !name.starts_with("Lookup")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_push_after_the_find_is_deployed_and_one_before_it_is_not() {
    let scene = found("stable");
    let mut scene = scene.started().await;
    assert_eq!(discovered(&scene), 1.0);
    scene.deployed("v1").await;
    let one = scene.service().await;
    let origin = one.discovered.expect("it says where it comes from");
    assert_eq!((origin.tag.as_str(), origin.policy.as_str()), ("ecs-deployd", "stable"));
    assert_eq!(origin.repositories, ["hello"]);
    // Another service gains the tag after a push.
    let revision = scene.revision_of_v0(&[]);
    scene.world.create_service("web", "late", &revision, 1);
    let v2 = scene.push("v2");
    pass(120).await;
    scene.world.tag("web", "late", "ecs-deployd", "stable");
    pass(120).await;
    assert_eq!((discovered(&scene), scene.runs()), (2.0, Some(v2.clone())));
    assert_eq!(scene.runs_in("late", "app"), Some(scene.v0.clone()), "what was pushed before is not deployed to it");
    let v3 = scene.push("v3");
    pass(120).await;
    assert_eq!((scene.runs(), scene.runs_in("late", "app")), (Some(v3.clone()), Some(v3)));
    scene.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_during_a_downtime_is_deployed_to_what_was_found_before() {
    let mut scene = found("stable").started().await;
    pass(60).await;
    scene.kill().await;
    pass(600).await;
    let v1 = scene.push("v1");
    pass(600).await;
    // The tags cannot be read any more: what was found is in the state.
    scene.world.break_operation("GetResources", Fault::Denied);
    scene.start();
    pass(180).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn what_loses_the_tag_is_left_as_it_is_and_what_gains_it_again_is_a_new_find() {
    let scene = found("stable").configured(&DISCOVERS.replace("1m", "5m")).started().await;
    scene.deployed("v1").await;
    scene.world.untag("web", "hello", "ecs-deployd");
    scene.deployed("v2").await;
    pass(300).await;
    let v3 = scene.deployed("v3").await;
    assert_eq!(discovered(&scene), 1.0, "one look or two may be wrong");
    pass(400).await;
    assert_eq!(discovered(&scene), 0.0);
    scene.push("v4");
    pass(300).await;
    assert_eq!(scene.runs(), Some(v3.clone()), "it is not followed any more");
    assert!(scene.status().await.services.is_empty());
    scene.world.tag("web", "hello", "ecs-deployd", "stable");
    pass(400).await;
    assert_eq!((discovered(&scene), scene.runs()), (1.0, Some(v3)), "what was pushed meanwhile is not deployed");
    scene.deployed("v5").await;
}

#[tokio::test(start_paused = true)]
async fn another_policy_takes_effect_and_an_unknown_one_follows_nothing() {
    let scene = found("stabel").started().await;
    assert_eq!(discovered(&scene), 0.0);
    scene.push("v1");
    pass(120).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    scene.world.tag("web", "hello", "ecs-deployd", "stable");
    pass(90).await;
    assert_eq!(discovered(&scene), 1.0);
    scene.deployed("v2").await;
    scene.world.tag("web", "hello", "ecs-deployd", "edge");
    pass(90).await;
    let v3 = scene.world.push("hello", "edge", "v3");
    scene.push("v4");
    pass(120).await;
    assert_eq!(scene.runs(), Some(v3), "the policy edge admits the tag edge alone");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_listed_is_as_it_is_listed() {
    let scene = Scene::hello().with(DISCOVERS);
    scene.world.tag("web", "hello", "ecs-deployd", "edge");
    let scene = scene.started().await;
    assert_eq!(discovered(&scene), 0.0);
    scene.world.push("hello", "edge", "v1");
    let v2 = scene.deployed("v2").await;
    assert_eq!((scene.runs(), scene.service().await.discovered), (Some(v2), None));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_services_take_a_call_a_hundred_and_are_described_once() {
    let scene = found("stable");
    let revision = scene.world.revision_of("web", "hello");
    for number in 0..999 {
        let name = format!("s{number}");
        scene.world.create_service("web", &name, &revision, 1);
        scene.world.tag("web", &name, "ecs-deployd", "stable");
    }
    pass(5).await;
    let scene = scene.started().await;
    scene.until("they are found", 60, |scene| discovered(scene) == 1000.0).await;
    let first = calls(&scene.world);
    assert_eq!((first["GetResources"], first["DescribeServices"], first["DescribeTaskDefinition"]), (10, 100, 1));
    scene.world.forget_calls();
    pass(300).await;
    let later = calls(&scene.world);
    assert_eq!(later, BTreeMap::from([("GetResources", 50)]), "five more looks");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_halfway_takes_nothing_away() {
    let scene = found("stable").started().await;
    scene.world.break_operation("GetResources", Fault::Throttled);
    pass(900).await;
    scene.deployed("v1").await;
    assert_eq!(discovered(&scene), 1.0);
}

#[tokio::test(start_paused = true)]
async fn without_a_state_what_is_found_is_compared_with_ecr_where_that_is_wanted() {
    for (mode, rolls) in [("ignore", false), ("reconcile", true)] {
        let mut scene = found("stable").configured(&format!("[state]\nwhen_missing = \"{mode}\"\n{DISCOVERS}"));
        let v1 = scene.push("v1");
        pass(600).await;
        scene.disk = std::sync::Arc::<Disk>::default();
        scene.start();
        pass(120).await;
        let expected = if rolls { v1 } else { scene.v0.clone() };
        assert_eq!(scene.runs(), Some(expected), "{mode}");
        scene.kill().await;
    }
}

#[tokio::test(start_paused = true)]
async fn plan_looks_for_services_too() {
    let scene = found("stable").started().await;
    scene.push("v1");
    let report = scene.plan().await;
    let names: Vec<(&str, &str)> = report.services.iter().map(|one| (one.name.as_str(), one.state.as_str())).collect();
    assert_eq!(names, [("web/hello", "differs")]);
    assert_eq!(report.errors, Vec::<String>::new());
}
