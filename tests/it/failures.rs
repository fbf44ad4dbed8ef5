//! Rollouts that fail, and services that cannot be rolled.

use std::time::Duration;

use ecs_deployd::aws::Fault;
use ecs_deployd::domain::operator_command::OperatorCommand;

use crate::harness::pass;
use crate::scene::{Named, Scene};
use crate::world::{Health, image_uri};

#[tokio::test(start_paused = true)]
async fn a_rollout_that_never_gets_stable_is_undone_to_the_digest_that_ran() {
    let scene = Scene::hello().started().await;
    scene.push_that(Health::Never, "bad");
    pass(600).await;
    assert_eq!(scene.ended("timed_out"), 1.0);
    assert_eq!(scene.ended("rolled_back"), 1.0);
    assert_eq!(scene.held(), 1.0);
    // The revision before names the tag, and the tag means the bad image now.
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    let last = scene.world.revisions("hello").pop().unwrap();
    assert_eq!(last["containerDefinitions"][0]["image"], format!("{}@{}", image_uri("hello"), scene.v0));

    scene.deployed("good").await;
}

#[tokio::test(start_paused = true)]
async fn the_circuit_breaker_is_recognised_with_and_without_its_own_rollback() {
    for rolls_back in [false, true] {
        let scene = Scene::hello().edited(|service| service.breaker_rolls_back = rolls_back).started().await;
        let good = scene.deployed("good").await;
        scene.push_that(Health::BreaksAfter(Duration::from_secs(30)), "bad");
        pass(240).await;
        assert_eq!(scene.runs(), Some(good), "{rolls_back}");
        assert_eq!((scene.ended("failed"), scene.ended("rolled_back")), (1.0, 1.0), "{rolls_back}");
        // v0 -> good -> bad -> back to good's own revision, which is pinned: no new one, and no update on top of ECS's own.
        assert_eq!(scene.world.revisions("hello").len(), 3, "{rolls_back}");
        assert_eq!(scene.rollouts(), if rolls_back { 2 } else { 3 }, "{rolls_back}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_keep_stopping_are_a_failure_where_no_breaker_says_so() {
    let scene = Scene::hello().started().await;
    let good = scene.deployed("good").await;
    scene.push_that(Health::Stops, "bad");
    // Long before the deadline of five minutes.
    pass(120).await;
    assert_eq!(scene.runs(), Some(good));
    assert_eq!((scene.ended("failed"), scene.ended("rolled_back")), (1.0, 1.0));
    let service = scene.service().await;
    let failed = service.history.iter().find(|outcome| outcome.result.as_str() == "failed").unwrap();
    assert!(failed.detail.contains("its tasks keep stopping: 3 failed in a row"), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_without_tasks_is_updated_and_that_proves_nothing() {
    let scene = Scene::hello().edited(|service| service.desired = 0).started().await;
    scene.push("v1");
    pass(120).await;
    let outcome = &scene.service().await.history[0];
    assert_eq!(outcome.result.as_str(), "completed");
    assert!(outcome.detail.starts_with("updated, unproven"), "{outcome:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_held_digest_is_not_deployed_by_a_late_event() {
    let scene = Scene::hello().started().await;
    scene.push_that(Health::Never, "bad");
    scene.world.push_late("hello", "release-1", "bad", jiff::SignedDuration::from_mins(15));
    pass(1800).await;
    assert_eq!(scene.pushes("held"), 1.0);
    assert_eq!(scene.ended("timed_out"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_waited_for_the_disk_is_as_old_as_its_question() {
    let scene = Scene::hello()
        .edited(|service| service.lag = jiff::SignedDuration::from_secs(15))
        .with("[poll]\ninterval = \"2s\"")
        .started()
        .await;
    scene.push_that(Health::Never, "v1");
    scene.until("v1 rolls", 10, |scene| scene.world.count().contains_key("UpdateService")).await;
    pass(1).await;
    // ECS answers from before UpdateService still, and the answer waits until it would be too old for that.
    scene.disk.set_stalled(Duration::from_secs(30));
    let v2 = scene.push("v2");
    pass(40).await;
    scene.disk.set_stalled(Duration::ZERO);
    pass(300).await;
    assert_eq!((scene.ended("failed"), scene.held()), (0.0, 0.0));
    assert_eq!(scene.ended("superseded"), 1.0);
    assert_eq!(scene.runs(), Some(v2));
}

#[tokio::test(start_paused = true)]
async fn on_failure_leave_leaves_and_holds() {
    let scene = Scene::hello().deploy("on_failure = \"leave\"").started().await;
    scene.push_that(Health::Never, "bad");
    pass(600).await;
    assert_eq!(scene.rollouts(), 1);
    assert_eq!((scene.ended("timed_out"), scene.held()), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn another_deployer_is_not_fought() {
    let scene = Scene::hello().started().await;
    scene.push_that(Health::Never, "slow");
    pass(60).await;
    let theirs = scene.world.register("hello", &[("app", "somebody/else:1")]);
    scene.set_to(&theirs);
    pass(900).await;
    assert_eq!(scene.ended("superseded"), 1.0);
    assert_eq!(scene.is_set_to(), theirs);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_replaced_without_downtime_is_refused() {
    let scene = Scene::hello()
        .edited(|service| (service.desired, service.minimum, service.maximum) = (1, 0, 100))
        .started()
        .await;
    scene.push("v1");
    pass(120).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    assert_eq!(scene.pushes("downtime"), 1.0);
    assert_eq!(scene.ended("refused"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_deleted_in_the_middle_ends_its_rollout_and_harms_no_other() {
    let scene = Scene::hello().and("second").started().await;
    let digest = scene.push("v1");
    scene.rolls(1).await;
    scene.world.edit_service("web", "hello", |service| service.active = false);
    pass(120).await;
    assert_eq!(scene.ended("failed"), 1.0);
    assert_eq!(scene.runs_in("second", "app"), Some(digest));
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_by_tag_is_pinned_in_a_rollback_although_the_app_was_deployed_by_us() {
    let (scene, side) = Scene::pair(Named::ByTag);
    let scene = scene.with("[deploy]\ntimeout = \"5m\"").started().await;
    let app = scene.push("a1");
    pass(120).await;
    let bad = scene.world.push("side", "latest", "bad");
    scene.world.set_health(&bad, Health::Never);
    pass(900).await;
    assert_eq!(scene.runs_in("pair", "app"), Some(app));
    assert_eq!(scene.runs_in("pair", "side"), Some(side));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_target_whose_tag_has_not_moved_is_the_revision_itself() {
    let scene = Scene::hello();
    let fixed = scene.world.push("hello", "release-0", "fixed");
    let revision = scene.revision(":release-0", &[]);
    let scene = scene.running(&revision).started().await;
    let bad = scene.world.push("hello", "release-1", "bad");
    scene.world.set_health(&bad, Health::Never);
    pass(600).await;
    assert_eq!(scene.is_set_to(), revision);
    assert_eq!(scene.runs(), Some(fixed));
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_waits_for_a_permission_does_not_undo_what_others_did_meanwhile() {
    for operation in ["RegisterTaskDefinition", "UpdateService"] {
        let scene = Scene::hello().started().await;
        scene.world.break_operation(operation, Fault::Denied);
        let digest = scene.push("v1");
        pass(3600).await;
        let theirs = scene.revision(":latest", &[("new", "theirs:1")]);
        scene.set_to(&theirs);
        pass(60).await;
        scene.world.mend_operation(operation);
        pass(600).await;
        let last = scene.world.revisions("hello").pop().unwrap();
        assert_eq!(last["containerDefinitions"][1]["name"], "new", "{operation}: made from their revision");
        assert_eq!(scene.runs(), Some(digest), "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_whose_successor_is_refused_is_watched_to_its_end() {
    for fault in [Fault::Refused, Fault::Denied] {
        let scene = Scene::hello().started().await;
        scene.push_that(Health::Never, "bad");
        pass(60).await;
        scene.world.break_operation("RegisterTaskDefinition", fault);
        scene.push("next");
        pass(120).await;
        scene.world.mend_operation("RegisterTaskDefinition");
        scene.world.delete_tag("hello", "latest");
        pass(900).await;
        assert_eq!(scene.ended("timed_out"), 1.0, "{fault:?}");
        assert_eq!(scene.runs(), Some(scene.v0.clone()), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_of_what_runs_ends_the_hold_too() {
    let scene = Scene::hello().started().await;
    let good = scene.deployed("good").await;
    scene.push_that(Health::Never, "bad");
    pass(600).await;
    assert_eq!(scene.held(), 1.0);
    scene.push("good");
    pass(120).await;
    assert_eq!(scene.held(), 0.0);
    assert_eq!(scene.runs(), Some(good));
    assert_eq!(scene.rollouts(), 3, "good, bad, and back");
}

#[tokio::test(start_paused = true)]
async fn a_failure_does_not_count_against_a_later_rollout_of_the_same_image() {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let scene = scene.running(&fixed).and("second").started().await;
    // While its push is undecided, the revisions that were registered for other services are remembered.
    scene.world.forbid("web", "second");
    let bad = scene.push_that(Health::Stops, "bad");
    pass(120).await;
    assert_eq!((scene.ended("rolled_back"), scene.is_set_to()), (1.0, fixed));
    scene.world.set_health(&bad, Health::After(Duration::from_secs(5)));
    // An update that has to be repeated is preceded by a look at what became of the revision.
    scene.world.break_operation("UpdateService", Fault::Throttled);
    scene.command(OperatorCommand::Release).await.unwrap();
    pass(20).await;
    scene.world.mend_operation("UpdateService");
    pass(120).await;
    assert_eq!(scene.runs(), Some(bad));
    assert_eq!((scene.ended("failed"), scene.ended("completed")), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_pass_is_tried_again_and_one_about_a_lost_revision_is_not() {
    for (message, updates) in [
        ("Unable to assume the service linked role.", 4),
        ("TaskDefinition is inactive", 1),
        ("TaskDefinition not found.", 1),
    ] {
        let scene = Scene::hello().started().await;
        scene.world.refuse_operation("UpdateService", "InvalidParameterException", message);
        scene.push("new");
        pass(600).await;
        assert_eq!((scene.ended("refused"), scene.world.count()["UpdateService"]), (1.0, updates), "{message}");
        assert_eq!(scene.runs(), Some(scene.v0.clone()), "{message}");
    }
}
