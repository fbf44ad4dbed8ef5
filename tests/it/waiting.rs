//! What ECS waits for on purpose is no failure, and what operators answer to its hooks.

use ecs_deployd::aws::Fault;
use ecs_deployd::domain::deployment::{HookAction, HookTarget};
use ecs_deployd::domain::operator_command::OperatorCommand;
use jiff::SignedDuration;

use crate::harness::{pass, seconds};
use crate::scene::{Scene, rule};
use crate::world::{Health, LifecycleHook};

const PAUSED: &str = r#"ecs_deployd_waiting{cluster="web",gate="pause",service="hello"}"#;

#[tokio::test(start_paused = true)]
async fn the_bake_time_of_alarms_is_no_time_out() {
    let scene =
        Scene::hello().edited(|service| service.alarm_bake = Some(SignedDuration::from_mins(20))).started().await;
    let v1 = scene.push("v1");
    pass(900).await;
    assert_eq!((scene.ended("completed"), scene.ended("timed_out")), (0.0, 0.0), "ECS bakes it");
    pass(600).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v1), 1.0));
    assert_eq!(scene.held(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_goes_on_steadily_has_all_the_time_it_needs() {
    let mut scene = Scene::hello().edited(|service| service.desired = 10).started().await;
    // Ten tasks of four minutes each, with a timeout of five minutes.
    let v1 = scene.push_that(Health::Steady { each: seconds(240) }, "v1");
    pass(1500).await;
    assert_eq!(scene.ended("timed_out"), 0.0);
    // A restart in the middle does not make it late.
    scene.restart().await;
    pass(1200).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v1), 1.0));
    assert_eq!(scene.held(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_downtime_longer_than_the_timeout_makes_no_steady_rollout_late_and_no_stuck_one_endless() {
    for (health, ends) in [(Health::Steady { each: seconds(120) }, "completed"), (Health::Never, "timed_out")] {
        let mut scene = Scene::hello().edited(|service| service.desired = 10).started().await;
        scene.push_that(health, "v1");
        pass(200).await;
        scene.kill().await;
        pass(600).await;
        scene.start();
        pass(60).await;
        assert_eq!(scene.ended("timed_out"), 0.0, "{ends}");
        pass(1200).await;
        assert_eq!(scene.ended(ends), 1.0, "{ends}");
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_that_drain_are_no_time_out() {
    let scene = Scene::hello().edited(|service| service.drains = SignedDuration::from_mins(15)).started().await;
    let v1 = scene.push("v1");
    pass(1200).await;
    assert_eq!((scene.runs(), scene.ended("completed"), scene.ended("timed_out")), (Some(v1), 1.0, 0.0));
}

/// The service pauses at a hook with a new image, whose digest is given, too.
async fn paused() -> (Scene, String) {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let scene = scene.running(&fixed).edited(|service| service.hook = Some(LifecycleHook::PAUSE)).started().await;
    let v1 = scene.push("v1");
    // Far beyond the timeout of five minutes.
    pass(3600).await;
    assert!(scene.world.is_paused("web", "hello"));
    assert_eq!((scene.ended("timed_out"), scene.metric(PAUSED)), (0.0, 1.0));
    (scene, v1)
}

fn approve(image: Option<&str>) -> OperatorCommand {
    OperatorCommand::Approve { image: image.map(str::to_owned) }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_pauses_at_a_hook_until_it_is_approved() {
    let (mut scene, v1) = paused().await;
    let service = scene.service().await;
    assert_eq!(service.rollout.unwrap().stage.as_deref(), Some("POST_SCALE_UP"));
    let waiting = service.waiting.unwrap();
    assert_eq!((waiting.digest.as_str(), waiting.stage.as_deref()), (v1.as_str(), Some("POST_SCALE_UP")));
    assert!(waiting.reason.contains("ecs-deployd approve web/hello"), "{}", waiting.reason);
    // It waits on after a restart.
    scene.restart().await;
    pass(1200).await;
    assert!(scene.world.is_paused("web", "hello"));
    assert_eq!(scene.metric(PAUSED), 1.0);
    let refused = scene.command(approve(Some("release-9"))).await.unwrap_err().0;
    assert!(refused.contains("another image waits") && refused.contains(&v1), "{refused}");
    let answer = scene.command(approve(Some("latest"))).await.unwrap();
    assert_eq!(answer, "approved; ECS goes on with the deployment");
    pass(60).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v1), 1.0));
    assert!(scene.service().await.waiting.is_none());
    let refused = scene.command(approve(None)).await.unwrap_err().0;
    assert_eq!(refused, "nothing of web/hello waits for an approval");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_deployment_is_rolled_back_by_ecs_and_its_digest_is_held() {
    let (scene, v1) = paused().await;
    let command = OperatorCommand::Reject { reason: Some("not on a Friday".to_owned()) };
    let answer = scene.command(command).await.unwrap();
    assert_eq!(answer, "rejected by alice: not on a Friday; ECS rolls the deployment back");
    pass(600).await;
    assert_eq!((scene.ended("failed"), scene.ended("rolled_back")), (1.0, 1.0));
    assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0));
    assert_eq!(scene.world.count().get("UpdateService"), Some(&1), "ECS goes back by itself");
    // A comparison does not bring it back, for the reason that the operator gave.
    let refused = scene.command(OperatorCommand::Deploy).await.unwrap_err().0;
    assert_eq!(refused, "rejected: rejected by alice: not on a Friday");
    scene.command(OperatorCommand::Release).await.unwrap();
    pass(60).await;
    assert!(scene.world.is_paused("web", "hello"), "a release clears the rejection");
    scene.command(approve(Some(&v1))).await.unwrap();
    pass(60).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_newer_push_takes_the_place_of_what_waits_at_a_hook() {
    let (scene, v1) = paused().await;
    let v2 = scene.push("v2");
    pass(120).await;
    let waiting = scene.service().await.waiting.unwrap();
    assert_eq!(waiting.digest.as_str(), v2, "it waits there in turn");
    assert_eq!((scene.ended("superseded"), scene.metric(PAUSED)), (1.0, 1.0));
    let refused = scene.command(approve(Some(&v1))).await.unwrap_err().0;
    assert!(refused.contains("another image waits"), "{refused}");
    scene.command(approve(Some(&v2))).await.unwrap();
    pass(60).await;
    assert_eq!((scene.runs(), scene.ended("completed")), (Some(v2), 1.0));
    assert!(scene.service().await.waiting.is_none());
}

/// The service with a hook that ends after two hours, long after the timeout.
async fn hooked(target: HookTarget, then: HookAction) -> Scene {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let hook = LifecycleHook { target, ends: Some((SignedDuration::from_hours(2), then)) };
    scene.running(&fixed).edited(|service| service.hook = Some(hook)).started().await
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_nobody_answers_ends_as_ecs_was_told() {
    for (target, then) in [
        (HookTarget::Pause, HookAction::Continue),
        (HookTarget::Pause, HookAction::Rollback),
        (HookTarget::Lambda, HookAction::Continue),
        (HookTarget::Lambda, HookAction::Rollback),
    ] {
        let mut scene = hooked(target, then).await;
        let v1 = scene.push("v1");
        pass(3600).await;
        scene.restart().await;
        pass(1800).await;
        let waiting = scene.service().await.waiting.unwrap();
        let told = match then {
            HookAction::Continue => "without an answer ECS goes on with it",
            HookAction::Rollback => "without an answer ECS rolls it back",
        };
        assert!(waiting.reason.ends_with(told), "{}", waiting.reason);
        let left = waiting.until.unwrap().duration_since(scene.world.now()).as_secs();
        assert!((1600..=1900).contains(&left), "{left} s are left");
        pass(2400).await;
        let (runs, held) = match then {
            HookAction::Continue => (v1, 0.0),
            HookAction::Rollback => (scene.v0.clone(), 1.0),
        };
        assert_eq!((scene.runs(), scene.held()), (Some(runs), held), "{target:?} {then:?}");
        assert!(scene.service().await.waiting.is_none(), "{target:?} {then:?}");
        assert_eq!(scene.ended("timed_out"), 0.0, "{target:?} {then:?}");
        assert_eq!((scene.ended("failed"), scene.ended("rolled_back")), (held, held), "{target:?} {then:?}");
        assert_eq!(scene.world.count().get("ContinueServiceDeployment"), None, "nobody else answers it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_image_goes_back_without_waiting_at_the_hook_once_more() {
    let scene = hooked(HookTarget::Pause, HookAction::Continue).await;
    let bad = scene.push_that(Health::Never, "v1");
    pass(600).await;
    assert_eq!((scene.ended("timed_out"), scene.ended("rolled_back")), (1.0, 1.0));
    assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0), "{bad} is gone");
    assert_eq!(scene.rollouts(), 1, "ECS was told to stop it, and went back by itself");
}

#[tokio::test(start_paused = true)]
async fn what_is_rejected_does_not_come_back_by_its_tag() {
    // What ran is named by the tag that the rejected image has by now.
    let scene = Scene::hello().edited(|service| service.hook = Some(LifecycleHook::PAUSE)).started().await;
    let v1 = scene.push("v1");
    pass(60).await;
    scene.command(OperatorCommand::Reject { reason: None }).await.unwrap();
    pass(600).await;
    // ECS went back to the tag; the pinned copy of it waits at the hook in turn.
    let waiting = scene.service().await.waiting.unwrap();
    assert!(waiting.reason.contains("in the rollback to hello:1"), "{}", waiting.reason);
    let refused = scene.command(OperatorCommand::Reject { reason: None }).await.unwrap_err().0;
    assert_eq!(refused, "a rollback waits there, which only an approval continues");
    scene.command(approve(None)).await.unwrap();
    pass(60).await;
    assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0), "{v1} is gone");
    assert_eq!((scene.ended("failed"), scene.ended("rolled_back")), (1.0, 1.0));
}

#[tokio::test(start_paused = true)]
async fn an_express_mode_service_goes_forward_and_back_by_the_call_that_it_takes() {
    let scene = Scene::hello().edited(|service| service.express = true).started().await;
    let v1 = scene.deployed("v1").await;
    scene.push_that(Health::Never, "v2");
    pass(600).await;
    assert_eq!((scene.runs(), scene.ended("rolled_back")), (Some(v1), 1.0));
    let calls = scene.world.count();
    assert_eq!((calls["UpdateService"], calls["UpdateExpressGatewayService"]), (3, 3), "the other one is tried first");
}

#[tokio::test(start_paused = true)]
async fn one_answer_without_the_service_is_not_believed() {
    // Before a decision, and while ECS rolls it.
    for (before, hidden) in [(true, 3), (false, 3)] {
        let scene = Scene::hello().started().await;
        let hide = || scene.world.edit_service("web", "hello", |service| service.hidden = hidden);
        if before {
            hide();
        }
        let v1 = scene.push_that(Health::After(seconds(60)), "v1");
        if !before {
            scene.rolls(1).await;
            pass(25).await;
            hide();
        }
        pass(300).await;
        assert_eq!((scene.runs(), scene.ended("completed")), (Some(v1), 1.0), "before the decision: {before}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hold_stops_what_ecs_does_not_know_of() {
    let scene = Scene::hello().started().await;
    scene.world.break_operation("RegisterTaskDefinition", Fault::Denied);
    let v1 = scene.push("v1");
    pass(30).await;
    scene.command(OperatorCommand::Hold { reason: None }).await.unwrap();
    scene.world.mend_operation("RegisterTaskDefinition");
    pass(600).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
    assert_eq!(scene.rollouts(), 0);
    scene.command(OperatorCommand::Release).await.unwrap();
    pass(120).await;
    assert_eq!(scene.runs(), Some(v1));
}

#[tokio::test(start_paused = true)]
async fn a_rollback_waits_for_no_repository() {
    let scene = Scene::hello().started().await;
    scene.deployed("v1").await;
    // A newer push cannot be asked about.
    scene.world.set_silent("hello", true);
    scene.push("v2");
    pass(40).await;
    scene.world.forget_calls();
    scene.command(OperatorCommand::Rollback { to: None }).await.unwrap();
    pass(2).await;
    assert_eq!(scene.world.count().get("UpdateService"), Some(&1), "at once: {:#?}", scene.world.calls());
    pass(60).await;
    assert_eq!(scene.runs(), Some(scene.v0.clone()));
}

#[tokio::test(start_paused = true)]
async fn a_release_is_not_lost_among_many_patches() {
    let scene = Scene::hello().configured(&rule("hello", "semver = \">=1\"", "hello"));
    let first = scene.world.push("hello", "1.0.0", "first");
    let revision = scene.revision(&format!("@{first}"), &[]);
    let scene = scene.running(&revision).started().await;
    pass(60).await;
    // All of them become visible together.
    scene.world.set_silent("hello", true);
    let v2 = scene.world.push("hello", "2.0.0", "the release");
    for patch in 1..=17 {
        pass(2).await;
        scene.world.push("hello", &format!("1.0.{patch}"), &format!("patch {patch}"));
    }
    pass(300).await;
    scene.world.set_silent("hello", false);
    pass(300).await;
    assert_eq!(scene.runs(), Some(v2));
}

const UNPROVEN: &str = "updated, unproven: the desired count is 0, so no task has run the image yet";

/// A service without tasks that was set to a new image, and is scaled up after an hour.
async fn scaled_up(health: Health) -> (Scene, String) {
    let scene = Scene::hello();
    let fixed = scene.revision_of_v0(&[]);
    let mut scene = scene.running(&fixed).edited(|service| service.desired = 0).started().await;
    let v1 = scene.push_that(health, "v1");
    pass(3600).await;
    let service = scene.service().await;
    assert_eq!(service.history[0].detail, UNPROVEN);
    assert!(service.deployed.as_ref().unwrap().unproven);
    // What is known survives a restart.
    scene.restart().await;
    pass(600).await;
    scene.world.scale("web", "hello", 2);
    (scene, v1)
}

#[tokio::test(start_paused = true)]
async fn what_no_task_has_run_is_proven_when_tasks_first_run() {
    let (scene, _) = scaled_up(Health::After(seconds(20))).await;
    pass(300).await;
    assert!(!scene.service().await.deployed.as_ref().unwrap().unproven);
    assert_eq!((scene.ended("failed"), scene.held()), (0.0, 0.0));
}

#[tokio::test(start_paused = true)]
async fn what_no_task_has_run_fails_when_its_tasks_never_run() {
    let (scene, v1) = scaled_up(Health::Never).await;
    pass(900).await;
    assert_eq!((scene.ended("failed"), scene.ended("rolled_back")), (1.0, 1.0));
    assert_eq!((scene.runs(), scene.held()), (Some(scene.v0.clone()), 1.0));
    assert_eq!(scene.service().await.held[0].digest, v1);
}
