//! Where ECS itself waits at the hooks of a deployment, and what operators answer.

use super::stage::Stage;
use super::{HELLO, NOTHING_FOLLOWS, Scene, error};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::deployment::{HookAction, HookTarget, HookView, LifecycleHook, ServiceDeploymentView};
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::{digest, repository_key};
use crate::domain::view::{Fate, RolloutState};

const WAITS: &str = "event: web/hello waits: pause";
const WAITS_NO_LONGER: &str = "event: web/hello waits no longer: pause";

fn approve() -> OperatorCommand {
    OperatorCommand::Approve { image: None }
}

fn reject() -> OperatorCommand {
    OperatorCommand::Reject { reason: Some("too slow".to_owned()) }
}

/// A service deployment under way, with a hook that was called.
pub(super) fn called(target: HookTarget, waits: bool) -> ServiceDeploymentView {
    ServiceDeploymentView {
        arn: "sd2".to_owned(),
        fate: Fate::UnderWay,
        reason: String::new(),
        stage: Some("POST_SCALE_UP".to_owned()),
        traffic: None,
        hooks: vec![HookView { id: "hook1".to_owned(), target, waits, expires_at: None, timeout_action: None }],
        alarms: Vec::new(),
        breaker: None,
    }
}

impl Scene {
    /// `web/hello` gets a hook.
    pub(super) fn add_hook(&mut self) {
        let lifecycle = &mut self.ecs("hello").lifecycle;
        lifecycle.hooks = vec![LifecycleHook { target: HookTarget::Pause, stages: vec!["POST_SCALE_UP".to_owned()] }];
        lifecycle.service_deployment = Some("sd2".to_owned());
    }
}

/// `web/hello`, which ECS rolls and which has a hook.
fn hooked() -> Scene {
    let mut scene = Scene::at(Stage::Rolling);
    scene.add_hook();
    scene
}

/// The same, and ECS waits at the hook.
fn paused() -> Scene {
    Scene::at(Stage::Paused)
}

#[test]
fn what_waits_at_a_hook_is_reported_once() {
    let mut scene = hooked();
    assert_eq!(scene.watched(), ["read: stages of web/hello d2"], "it is judged when the stage is known");
    let rolls = |seconds: u32| format!("event: web/hello rolls, 0 of 2 after {seconds} s");
    assert_eq!(scene.staged(called(HookTarget::Pause, true)), [WAITS, &rolls(5), "commit"]);
    assert_eq!(scene.committed(), ["notify: web/hello: waiting (hello:latest)"]);
    scene.watched();
    assert_eq!(scene.staged(called(HookTarget::Pause, true)), [rolls(10).as_str(), "commit"]);
    scene.committed();
    scene.watched();
    assert_eq!(scene.staged(called(HookTarget::Pause, false)), [WAITS_NO_LONGER, &rolls(16), "commit"]);
    assert!(scene.known("hello").waiting.is_none());
}

#[test]
fn stages_are_asked_about_once_at_a_time() {
    let mut scene = hooked();
    assert_eq!(scene.watched(), ["read: stages of web/hello d2"]);
    for _ in 0..10 {
        assert_eq!(
            scene.watched(),
            NOTHING_FOLLOWS,
            "the first question still waits for its place in ECS's rate limit"
        );
    }
    scene.staged(called(HookTarget::Pause, false));
    scene.all_committed();
    assert_eq!(scene.watched(), ["read: stages of web/hello d2"]);
    scene.not_staged(Fault::Throttled);
    scene.pass(60);
    assert_eq!(scene.watched(), ["read: stages of web/hello d2"]);
}

#[test]
fn the_timeout_does_not_run_while_ecs_waits() {
    let mut scene = paused();
    for seconds in [850, 1696, 2541] {
        scene.pass(14 * 60);
        assert_eq!(scene.watched(), ["read: stages of web/hello d2"]);
        let rolls = format!("event: web/hello rolls, 0 of 2 after {seconds} s");
        assert_eq!(scene.staged(called(HookTarget::Pause, true)), [rolls.as_str(), "commit"]);
        assert_eq!(scene.committed(), NOTHING_FOLLOWS);
    }
}

#[test]
fn without_the_permission_to_ask_a_rollout_is_judged_without_its_stages() {
    let mut scene = hooked();
    scene.watched();
    let failed = "event: web/hello call failed, next in 60 s";
    assert_eq!(scene.not_staged(Fault::Denied), [failed, "event: web/hello rolls, 0 of 2 after 5 s"]);
    assert_eq!(scene.watched(), ["event: web/hello rolls, 0 of 2 after 10 s"], "it is not asked again for a minute");
}

#[test]
fn stages_of_a_deployment_that_was_superseded_are_ignored() {
    let mut scene = hooked();
    scene.watched();
    scene.interfered("hello", 7);
    scene.revisions.insert(7, scene.revisions[&1].clone());
    scene.push("latest", 'c');
    scene.observed("hello");
    assert_eq!(scene.stage("hello"), Stage::Idle, "another deployer took over");
    assert_eq!(scene.staged(called(HookTarget::Pause, true)), NOTHING_FOLLOWS);
}

#[test]
fn an_approval_continues_the_deployment() {
    let mut scene = paused();
    assert_eq!(scene.command(approve()), ["commit"]);
    assert_eq!(scene.committed(), ["write: continue web/hello at hook1"]);
    let approved = "event: web/hello approve by alice carried out";
    assert_eq!(scene.continued(Ok(())), [WAITS_NO_LONGER, approved, "commit"]);
    assert_eq!(scene.committed(), ["reply 1: approved; ECS goes on with the deployment"]);
    assert_eq!(scene.stage("hello"), Stage::Rolling);
}

#[test]
fn an_approval_may_name_the_image() {
    for image in ["latest".to_owned(), digest('b').to_string()] {
        let mut scene = paused();
        assert_eq!(scene.command(OperatorCommand::Approve { image: Some(image) }), ["commit"]);
    }
    let mut scene = paused();
    let refused = "event: web/hello approve by alice refused";
    assert_eq!(scene.command(OperatorCommand::Approve { image: Some("v2".to_owned()) }), [refused, "commit"]);
    assert_eq!(scene.committed(), ["reply 1: refused: another image waits: hello:latest (b)"]);
}

#[test]
fn an_answer_where_nothing_waits_is_refused() {
    for (command, word) in [(approve(), "approve"), (reject(), "reject")] {
        let mut scene = hooked();
        assert_eq!(scene.command(command), [format!("event: web/hello {word} by alice refused").as_str(), "commit"]);
        assert_eq!(scene.committed(), ["reply 1: refused: nothing of web/hello waits for an approval"]);
    }
}

#[test]
fn a_hook_of_a_lambda_function_has_no_other_answer() {
    let mut scene = hooked();
    scene.watched();
    scene.staged(called(HookTarget::Lambda, true));
    scene.all_committed();
    assert_eq!(scene.command(approve()), ["event: web/hello approve by alice refused", "commit"]);
    let refused = "reply 1: refused: ECS waits for a Lambda function, which alone can answer its hook";
    assert_eq!(scene.committed(), [refused]);
}

#[test]
fn a_second_answer_waits_for_the_first() {
    let mut scene = paused();
    scene.command(approve());
    scene.committed();
    assert_eq!(scene.command(reject()), ["event: web/hello reject by alice refused", "commit"]);
    assert_eq!(scene.committed(), ["reply 2: refused: an answer is being given; try again in a moment"]);
}

#[test]
fn an_answer_that_ecs_does_not_take_is_refused() {
    let mut scene = paused();
    let waiting = scene.known("hello").waiting.clone();
    scene.command(approve());
    scene.committed();
    let refused = "event: web/hello approve by alice refused";
    assert_eq!(scene.continued(Err(error(Fault::Denied))), [refused, "commit"]);
    let remedy = "allow ecs:Simulated in the IAM policy of the role";
    assert_eq!(scene.committed(), [format!("reply 1: refused: ecs:Simulated: simulated; {remedy}")]);
    assert_eq!(scene.known("hello").waiting, waiting, "it waits as before");
}

#[test]
fn a_rejection_holds_the_digest_and_leaves_the_rollback_to_ecs() {
    let mut scene = rejected();
    let held = &scene.known("hello").held[&repository_key("hello")];
    assert_eq!((held.rejected, held.reason.as_str()), (true, "rejected by alice: too slow"));
    assert_eq!(scene.inspected(Some(1)), NOTHING_FOLLOWS, "ECS has not begun");
    assert_eq!(scene.wakes_in(), 5000);
    assert_eq!(scene.after(5), ["read: inspect web/hello (intended)"]);
    scene.interfered("hello", 1);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found updated", "commit"]);
    assert_eq!(scene.stage("hello"), Stage::Rolling);
}

#[test]
fn a_rollback_that_ecs_was_ordered_to_begin_and_does_not_is_made_after_a_minute() {
    let mut scene = rejected();
    for _ in 0..11 {
        assert_eq!(scene.inspected(Some(1)), NOTHING_FOLLOWS);
        assert_eq!(scene.after(5), ["read: inspect web/hello (intended)"]);
    }
    scene.inspected(Some(1));
    scene.after(5);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
}

/// Alice rejects what waits, and ECS took that.
fn rejected() -> Scene {
    let mut scene = paused();
    assert_eq!(scene.command(reject()), ["commit"]);
    assert_eq!(scene.committed(), ["write: roll back web/hello at hook1"]);
    assert_eq!(
        scene.continued(Ok(())),
        [
            "event: web/hello holds hello@b",
            WAITS_NO_LONGER,
            "event: web/hello ended failed hello:2: rejected by alice: too slow",
            "event: web/hello goes back to hello:1",
            "event: web/hello reject by alice carried out",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    assert_eq!(
        scene.committed(),
        [
            "notify: web/hello: deployment failed (hello:latest)",
            "reply 1: rejected by alice: too slow; ECS rolls the deployment back"
        ]
    );
    scene
}

#[test]
fn an_answer_to_a_rollout_that_ends_meanwhile_is_refused() {
    let mut scene = paused();
    scene.command(approve());
    scene.committed();
    scene.interfered("hello", 7);
    scene.watched();
    let lines = scene.staged(called(HookTarget::Pause, true));
    assert_eq!(
        lines,
        [
            "event: web/hello waits no longer: pause",
            "event: web/hello approve by alice refused",
            "event: web/hello ended superseded hello:2: another deployer set the service to hello:7 (deployment theirs7)",
            "commit"
        ]
    );
    assert_eq!(
        scene.all_committed(),
        ["reply 1: refused: the rollout has ended", "notify: web/hello: deployment superseded (hello:latest)"]
    );
    assert_eq!(scene.continued(Ok(())), NOTHING_FOLLOWS);
}

/// The rollout has failed, and its deployment may wait at a hook.
fn failed_at_a_hook() -> Scene {
    let mut scene = hooked();
    scene.watched();
    scene.staged(called(HookTarget::Pause, false));
    scene.all_committed();
    scene.pass(15 * 60);
    scene.watched();
    scene.staged(called(HookTarget::Pause, false));
    let why = "not stable, and no progress for 15m: 0 of 2 tasks run, 0 starting, 0 failed";
    assert_eq!(
        scene.stopped_tasks(&[]),
        [
            "event: web/hello holds hello@b",
            &format!("event: web/hello ended timed_out hello:2: {why}"),
            "event: web/hello goes back to hello:1",
            "commit",
        ],
        "ECS is told before it is asked"
    );
    let told = ["notify: web/hello: deployment timed out (hello:latest)", "write: stop sd2 of web/hello"];
    assert_eq!(scene.committed(), told);
    scene
}

#[test]
fn a_failed_deployment_that_may_wait_at_a_hook_is_stopped() {
    let mut scene = failed_at_a_hook();
    assert_eq!(scene.stopped(Ok(())), ["read: inspect web/hello (intended)"]);
    assert_eq!(scene.inspected(Some(1)), NOTHING_FOLLOWS, "ECS has not begun");
    assert_eq!(scene.after(5), ["read: inspect web/hello (intended)"]);
    scene.interfered("hello", 1);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found updated", "commit"]);
}

#[test]
fn a_deployment_that_cannot_be_stopped_is_replaced() {
    let mut scene = failed_at_a_hook();
    let unknown = "event: web/hello cannot tell whether ECS stops the deployment";
    assert_eq!(scene.stopped(Err(error(Fault::Denied))), [unknown, "read: inspect web/hello (intended)"]);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
}

#[test]
fn ecs_is_given_a_minute_to_begin_the_rollback_that_the_service_is_set_to() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.ecs("hello").rolls_back = true;
    scene.rolls("hello", RolloutState::Failed);
    scene.watched();
    assert_eq!(
        scene.stopped_tasks(&[]),
        [
            "event: web/hello holds hello@b",
            "event: web/hello ended failed hello:2: ECS reports the deployment as FAILED (0 tasks failed)",
            "event: web/hello goes back to hello:1",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    scene.all_committed();
    assert_eq!(scene.inspected(Some(1)), NOTHING_FOLLOWS);
    assert_eq!(scene.wakes_in(), 5000);
    scene.pass(60);
    assert_eq!(scene.after(0), ["read: inspect web/hello (intended)"]);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
}

#[test]
fn a_command_is_answered_although_its_service_left_the_configuration_while_ecs_was_asked() {
    let mut scene = paused();
    scene.command(approve());
    scene.committed();
    scene.reload(super::OTHER);
    scene.all_committed();
    let lines = scene.continued(Ok::<(), AwsError>(()));
    assert_eq!(
        lines,
        ["event: web/hello waits no longer: pause", "event: web/hello approve by alice carried out", "commit"]
    );
    scene.reload(HELLO);
}

/// The reason of what waits.
fn reason(scene: &Scene) -> String {
    scene.known("hello").waiting.as_ref().unwrap().reason.clone()
}

#[test]
fn what_ecs_does_without_an_answer_is_told() {
    for (action, told) in [
        (HookAction::Continue, "without an answer ECS goes on with it"),
        (HookAction::Rollback, "without an answer ECS rolls it back"),
    ] {
        let mut scene = hooked();
        scene.watched();
        let mut waits = called(HookTarget::Pause, true);
        let (expires_at, timeout_action) = (Some(scene.now.time), Some(action));
        waits.hooks[0] = HookView { expires_at, timeout_action, ..waits.hooks[0].clone() };
        scene.staged(waits);
        let answer = "continue with: ecs-deployd approve web/hello, or roll back with: ecs-deployd reject web/hello";
        assert_eq!(reason(&scene), format!("ECS pauses at POST_SCALE_UP; {answer}; {told}"));
        assert_eq!(scene.known("hello").waiting.as_ref().unwrap().until, expires_at);
    }
}

#[test]
fn a_hook_at_which_ecs_goes_on_is_not_told_of_again_because_an_answer_is_old() {
    let mut scene = paused();
    scene.command(approve());
    scene.committed();
    scene.continued(Ok(()));
    scene.all_committed();
    for (seconds, told) in [(11, &[][..]), (16, &[]), (21, &[]), (27, &[WAITS])] {
        scene.watched();
        let rolls = format!("event: web/hello rolls, 0 of 2 after {seconds} s");
        let lines = scene.staged(called(HookTarget::Pause, true));
        assert_eq!(lines, [told, &[rolls.as_str(), "commit"]].concat(), "in the end it is believed");
        scene.all_committed();
    }
}

#[test]
fn a_deployment_that_fails_before_its_hook_is_called_is_stopped() {
    let mut scene = hooked();
    let before = ServiceDeploymentView { hooks: Vec::new(), ..called(HookTarget::Pause, false) };
    for _ in 0..2 {
        scene.watched();
        scene.staged(before.clone());
        scene.all_committed();
        scene.pass(15 * 60);
    }
    scene.stopped_tasks(&[]);
    assert_eq!(
        scene.all_committed(),
        ["notify: web/hello: deployment timed out (hello:latest)", "write: stop sd2 of web/hello"]
    );
}

#[test]
fn a_rollback_that_waits_at_a_hook_is_approved_and_never_rejected() {
    let mut scene = Scene::back_at(Stage::Rolling);
    scene.add_hook();
    scene.watched();
    scene.staged(called(HookTarget::Pause, true));
    let told = "ECS pauses at POST_SCALE_UP in the rollback to hello:1; continue with: ecs-deployd approve web/hello";
    assert_eq!(reason(&scene), told);
    scene.all_committed();
    scene.command(reject());
    let refused = "a rollback waits there, which only an approval continues";
    assert_eq!(scene.committed(), [format!("reply 1: refused: {refused}")]);
    scene.command(approve());
    assert_eq!(scene.committed(), ["write: continue web/hello at hook1"]);
}

#[test]
fn a_newer_push_takes_the_place_of_what_waits() {
    let mut scene = paused();
    scene.push("latest", 'c');
    scene.all_committed();
    scene.observed("hello");
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    let superseded = "event: web/hello ended superseded hello:2: a newer push took its place";
    assert_eq!(scene.updated(), ["event: web/hello updated to hello:3 by d3", WAITS_NO_LONGER, superseded, "commit"]);
    assert!(scene.known("hello").waiting.is_none());
}

#[test]
fn the_bake_time_of_alarms_is_never_late() {
    let mut scene = Scene::at(Stage::Rolling);
    let service = scene.ecs("hello");
    service.lifecycle.alarms = true;
    service.deployments[0].running = service.deployments[0].desired;
    service.deployments.truncate(1);
    for seconds in [3605, 7210, 10815] {
        scene.pass(3600);
        let rolls = format!("event: web/hello rolls, 2 of 2 after {seconds} s");
        assert_eq!(scene.watched(), [rolls.as_str(), "commit"], "that it moves is on record");
        assert_eq!(scene.committed(), NOTHING_FOLLOWS);
    }
}
