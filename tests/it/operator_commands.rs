//! What operators order of the running daemon.

use ecs_deployd::domain::operator_command::OperatorCommand;

use crate::harness::pass;
use crate::scene::Scene;
use crate::world::{Fate, Health};

fn rollback(to: Option<&str>) -> OperatorCommand {
    OperatorCommand::Rollback { to: to.map(str::to_owned) }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_to_the_digest_that_ran_before_and_holds_what_ran() {
    let scene = Scene::hello().started().await;
    let v1 = scene.deployed("v1").await;
    let answer = scene.command(rollback(None)).await.unwrap();
    assert_eq!(answer, "going back from hello:2 to hello:1");
    pass(120).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()), "not what the tag of hello:1 means by now");
    assert_eq!(scene.held(), 1.0);
    let service = scene.service().await;
    let runs_now = service.deployed.as_ref().unwrap();
    assert!(runs_now.revision.contains("task-definition/hello:3"), "a copy of hello:1, pinned: {}", runs_now.revision);
    let [container] = &runs_now.containers[..] else { panic!("which digest runs is told: {:?}", runs_now.containers) };
    assert!(container.image.ends_with(&format!("@{}", scene.v0)), "{container:?}");
    assert_eq!(service.held[0].digest, v1);
    assert_eq!(service.history[0].result.as_str(), "rolled_back");
    assert_eq!((service.commands[0].by.as_str(), service.commands[0].command.as_str()), ("alice", "rollback"));
    // What was rolled back is not deployed again by a comparison, and is by a release.
    let refused = scene.command(OperatorCommand::Deploy).await.unwrap_err().0;
    assert!(refused.contains("rolled back by alice"), "{refused}");
    scene.process().command("default/web/hello", OperatorCommand::Release).await.unwrap();
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
    scene.deployed("v2").await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_takes_back_what_is_rolling_and_a_newer_push_goes_on() {
    let scene = Scene::hello().started().await;
    scene.push_that(Health::Never, "slow");
    pass(60).await;
    assert_eq!(scene.service().await.rollout.as_ref().unwrap().tasks.unwrap().pending, 2);
    scene.command(rollback(None)).await.unwrap();
    pass(60).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    scene.deployed("v2").await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_to_a_named_revision_needs_no_memory() {
    let scene = Scene::hello();
    scene.revision_of_v0(&[]);
    let scene = scene.started().await;
    let refused = scene.command(rollback(None)).await.unwrap_err().0;
    assert_eq!(refused, "what ran before hello:1 is not known here; name a revision with --to");
    assert!(scene.command(rollback(Some("99"))).await.unwrap_err().0.contains("does not know hello:99"));
    scene.command(rollback(Some("2"))).await.unwrap();
    pass(60).await;
    assert!(scene.is_set_to().ends_with("hello:2"));
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_held_service_stays_as_it_is_until_a_release() {
    let mut scene = Scene::hello().started().await;
    scene.command(OperatorCommand::Hold { reason: Some("fair".to_owned()) }).await.unwrap();
    let v1 = scene.push("v1");
    pass(120).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    assert_eq!(scene.pushes("held"), 1.0);
    // It is on the disk: the next process holds it, too.
    scene.restart().await;
    scene.push("v1");
    pass(120).await;
    assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0));
    let refused = scene.command(OperatorCommand::Deploy).await.unwrap_err().0;
    assert!(refused.contains("held by alice") && refused.contains("fair"), "{refused}");
    scene.command(OperatorCommand::Release).await.unwrap();
    pass(120).await;
    assert_eq!((scene.runs(), scene.held()), (Some(v1), 0.0));
}

#[tokio::test(start_paused = true)]
async fn deploy_rolls_to_what_ecr_says_and_tells_when_there_is_nothing_to_do() {
    let mut scene = Scene::hello();
    let v1 = scene.push("v1");
    pass(3600).await;
    scene.start();
    pass(60).await;
    assert_eq!(scene.rollouts(), 0, "pushed before the start");
    // The running tasks resolved the tag when they were started.
    let answer = scene.command(OperatorCommand::Deploy).await.unwrap();
    assert_eq!(answer, format!("rolling to hello:latest ({v1})"));
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
    let answer = scene.command(OperatorCommand::Deploy).await.unwrap();
    assert!(answer.starts_with("nothing to do: already_deployed: "), "{answer}");
    let refused = scene.process().command("web/helo", OperatorCommand::Deploy).await.unwrap_err().0;
    assert_eq!(refused, "web/helo is no CLUSTER/SERVICE of the configuration; the nearest one is web/hello");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_on_the_disk_is_not_confirmed() {
    let scene = Scene::hello().started().await;
    scene.disk.set_full(true);
    let refused = scene.command(OperatorCommand::Hold { reason: None }).await.unwrap_err().0;
    assert!(refused.contains("not on the disk"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_confirmed_survives_a_death_at_any_call() {
    for number in 0..6 {
        let mut scene = Scene::hello().started().await;
        scene.deployed("v1").await;
        scene.world.forget_calls();
        scene.world.set_fate(number + 1, Fate::HangsAfter);
        scene.command(rollback(None)).await.unwrap();
        pass(60).await;
        scene.kill().await;
        scene.world.clear_fates();
        scene.start();
        pass(600).await;
        assert_eq!(scene.runs(), Some(scene.v0.clone()), "killed at call {number}");
        assert_eq!(scene.held(), 1.0, "killed at call {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_what_ecs_says_and_costs_one_round_a_minute() {
    let mut scene = Scene::hello();
    scene.start();
    pass(300).await;
    assert!(!scene.world.count().contains_key("DescribeServices"), "nobody asked");
    let runs = |status: &ecs_deployd::status::Status| status.services[0].runs.clone().unwrap();
    let status = scene.status().await;
    assert!(runs(&status).revision.unwrap().ends_with("hello:1") && !status.services[0].is_changed_by_others());
    assert_eq!(runs(&status).containers[0].image, format!("{}:latest", crate::world::image_uri("hello")));
    for _ in 0..50 {
        scene.status().await;
        pass(1).await;
    }
    assert_eq!(scene.world.count()["DescribeServices"], 1);
    // What is rolled is seen as it goes.
    scene.deployed("v1").await;
    let status = scene.status().await;
    assert!(runs(&status).revision.unwrap().ends_with("hello:2") && !status.services[0].is_changed_by_others());
    scene.world.revert("web", "hello");
    pass(61).await;
    scene.status().await;
    pass(1).await;
    let status = scene.status().await;
    assert!(runs(&status).revision.unwrap().ends_with("hello:1") && status.services[0].is_changed_by_others());
}
