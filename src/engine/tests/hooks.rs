//! Where ECS waits on purpose in a deployment: at hooks, which operators answer, and for its alarms.

use super::stage::Stage;
use super::{NOTHING_FOLLOWS, Scene, error};
use crate::aws::{AwsError, Fault};
use crate::domain::deployment::{HookAction, HookTarget, HookView, LifecycleHook, ServiceDeploymentView};
use crate::domain::state::OperatorCommand;
use crate::domain::test_support::{arn, repository_key, service_key};
use crate::domain::view::{RolloutState, ServiceView};
use crate::engine::{Input, Read, Write};

const WAITS: &str = "event: web/hello waits: pause";
const STAGES: [&str; 1] = ["read: stages of web/hello d2"];
const REJECTED: &str = "rejected by alice: not on a Friday";

/// A service deployment that waits at a hook, or that is before it.
fn seen(target: HookTarget, waits: bool) -> ServiceDeploymentView {
    let hook = HookView { id: "hook-1".to_owned(), target, waits, expires_at: None, timeout_action: None };
    ServiceDeploymentView {
        arn: "sd-2".to_owned(),
        status: "IN_PROGRESS".to_owned(),
        reason: String::new(),
        stage: Some(if waits { "POST_SCALE_UP" } else { "SCALE_UP" }.to_owned()),
        traffic: None,
        hooks: waits.then_some(hook).into_iter().collect(),
        alarms: Vec::new(),
        breaker: None,
    }
}

fn approve() -> OperatorCommand {
    OperatorCommand::Approve { image: None }
}

fn reject() -> OperatorCommand {
    OperatorCommand::Reject { reason: Some("not on a Friday".to_owned()) }
}

fn set_hook(service: &mut ServiceView, target: HookTarget) {
    service.lifecycle.service_deployment = Some("sd-2".to_owned());
    service.lifecycle.hooks = vec![LifecycleHook { target, stages: vec!["POST_SCALE_UP".to_owned()] }];
}

impl Scene {
    /// ECS rolls a service that has a hook.
    fn rolling_to_hook(target: HookTarget) -> Self {
        let mut scene = Self::at(Stage::Rolling);
        set_hook(scene.ecs("hello"), target);
        scene
    }

    /// ECS waits at the hook, and that was seen.
    fn waiting_at(target: HookTarget) -> Self {
        let mut scene = Self::rolling_to_hook(target);
        assert_eq!(scene.watched(), STAGES);
        assert_eq!(
            scene.staged(Ok(Some(seen(target, true)))),
            [WAITS, "event: web/hello rolls, 0 of 2 after 5 s", "commit"]
        );
        assert_eq!(scene.committed(), ["notify: web/hello: waiting (hello:latest)"]);
        scene
    }

    /// ECS tells the stage of what it rolls.
    fn staged(&mut self, answer: Result<Option<ServiceDeploymentView>, AwsError>) -> Vec<String> {
        let read = self.read(|read| matches!(read, Read::Stages { .. }));
        let Read::Stages { service, deployment, seen, asked_at, .. } = read else { unreachable!() };
        self.handle([Input::Staged { service, deployment, seen, asked_at, answer: Box::new(answer) }])
    }

    /// ECS takes the answer to its hook, or does not. Gives what was answered, too.
    fn hook_answered(&mut self, answer: Result<(), AwsError>) -> (HookAction, Vec<String>) {
        let place = self.writes.iter().position(|write| matches!(write, Write::Continue { .. }));
        let Write::Continue { id, action, .. } = self.writes.remove(place.expect("no answer is under way")) else {
            unreachable!()
        };
        (action, self.handle([Input::Continued { id, answer }]))
    }

    /// ECS stops a deployment, or does not.
    fn deployment_stopped(&mut self, answer: Result<(), AwsError>) -> Vec<String> {
        let place = self.writes.iter().position(|write| matches!(write, Write::Stop { .. }));
        self.writes.remove(place.expect("no stop is under way"));
        self.handle([Input::Stopped { service: service_key("hello"), answer }])
    }

    /// The next look at the service, with what ECS tells of its stages.
    fn looked_at(&mut self, seen: &ServiceDeploymentView) -> Vec<String> {
        assert_eq!(self.watched().last().map(String::as_str), Some(STAGES[0]));
        self.staged(Ok(Some(seen.clone())))
    }

    /// The reason of what waits.
    fn waits_because(&self) -> String {
        self.known("hello").waiting.as_ref().unwrap().reason.clone()
    }
}

#[test]
fn what_waits_at_a_hook_is_told_once_and_is_never_late() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    let reason = "ECS pauses at POST_SCALE_UP; continue with: ecs-deployd approve web/hello, or roll back with: ecs-deployd reject web/hello";
    assert_eq!(scene.waits_because(), reason);
    for _ in 0..3 {
        scene.pass(86_400);
        let lines = scene.looked_at(&seen(HookTarget::Pause, true));
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("event: web/hello rolls, 0 of 2 after") && lines[1] == "commit", "{lines:?}");
        assert_eq!(scene.committed(), NOTHING_FOLLOWS);
    }
    // Past the hook the deadline runs: it is the default of 15 minutes.
    let lines = scene.looked_at(&seen(HookTarget::Pause, false));
    assert_eq!(lines[0], "event: web/hello waits no longer: pause");
    scene.all_committed();
    scene.pass(14 * 60);
    assert_eq!(scene.looked_at(&seen(HookTarget::Pause, false)).len(), 1, "it rolls");
    scene.pass(60);
    assert_eq!(scene.looked_at(&seen(HookTarget::Pause, false)), ["read: stopped tasks of web/hello d2"]);
}

#[test]
fn an_approval_continues_the_deployment_once_it_is_on_the_disk() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    assert_eq!(scene.command(approve()), ["commit"]);
    assert_eq!(scene.committed(), ["write: continue web/hello at hook-1"]);
    let refused = "event: web/hello approve by alice refused";
    assert_eq!(scene.command(approve()), [refused, "commit"], "one answer at a time");
    assert_eq!(scene.committed(), ["reply 2: refused: an answer is being given; try again in a moment"]);
    let (action, lines) = scene.hook_answered(Ok(()));
    assert_eq!(action, HookAction::Continue);
    assert_eq!(
        lines,
        ["event: web/hello waits no longer: pause", "event: web/hello approve by alice carried out", "commit"]
    );
    assert_eq!(scene.committed(), ["reply 1: approved; ECS goes on with the deployment"]);
    assert_eq!(scene.command(approve()), [refused, "commit"]);
    assert_eq!(scene.committed(), ["reply 3: refused: nothing of web/hello waits for an approval"]);
}

#[test]
fn a_hook_at_which_ecs_goes_on_is_not_told_of_again_because_an_answer_is_old() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    scene.command(approve());
    scene.committed();
    scene.hook_answered(Ok(()));
    scene.all_committed();
    let waits = seen(HookTarget::Pause, true);
    for _ in 0..3 {
        let lines = scene.looked_at(&waits);
        assert!(!lines.contains(&WAITS.to_owned()), "{lines:?}");
        scene.all_committed();
    }
    assert!(scene.looked_at(&waits).contains(&WAITS.to_owned()), "in the end it is believed");
}

#[test]
fn an_answer_that_ecs_does_not_take_leaves_the_rollout_waiting() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    scene.command(approve());
    scene.committed();
    let (_, lines) = scene.hook_answered(Err(error(Fault::Unavailable)));
    assert_eq!(lines, ["event: web/hello approve by alice refused", "commit"]);
    let replies = scene.committed();
    assert!(replies[0].starts_with("reply 1: refused: "), "{replies:?}");
    assert!(scene.known("hello").waiting.is_some());
    scene.command(approve());
    assert_eq!(scene.committed(), ["write: continue web/hello at hook-1"], "it may be tried again");
}

#[test]
fn a_rejection_holds_the_digest_and_leaves_the_way_back_to_ecs() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    assert_eq!(scene.command(reject()), ["commit"]);
    assert_eq!(scene.committed(), ["write: roll back web/hello at hook-1"]);
    let (action, lines) = scene.hook_answered(Ok(()));
    assert_eq!(action, HookAction::Rollback);
    let ended = format!("event: web/hello ended failed hello:2: {REJECTED}");
    assert_eq!(
        lines,
        [
            "event: web/hello holds hello@b",
            "event: web/hello waits no longer: pause",
            &ended,
            "event: web/hello goes back to hello:1",
            "event: web/hello reject by alice carried out",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    let reply = format!("reply 1: {REJECTED}; ECS rolls the deployment back");
    assert_eq!(scene.committed(), ["notify: web/hello: deployment failed (hello:latest)", &reply]);
    let hold = scene.known("hello").held[&repository_key("hello")].clone();
    assert!(hold.rejected && hold.reason == REJECTED, "{hold:?}");
    // ECS has not begun, and is not overridden; then it has.
    assert_eq!(
        scene.inspected(Some(1)),
        ["event: web/hello found not updated", "event: web/hello call failed, next in 1 s"]
    );
    scene.interfered("hello", 1);
    assert_eq!(scene.after(1), ["read: inspect web/hello (intended)"]);
    assert_eq!(scene.inspected(Some(1))[..2], ["event: web/hello calls recovered", "event: web/hello found updated"]);
}

#[test]
fn where_ecs_does_not_go_back_within_a_minute_the_service_is_updated() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    scene.command(reject());
    scene.committed();
    scene.hook_answered(Ok(()));
    scene.all_committed();
    scene.pass(60);
    assert_eq!(scene.inspected(Some(1)), ["event: web/hello found not updated", "commit"]);
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
}

#[test]
fn the_hook_of_a_lambda_function_is_its_own_to_answer() {
    let mut scene = Scene::waiting_at(HookTarget::Lambda);
    assert_eq!(scene.waits_because(), "ECS waits at POST_SCALE_UP for the Lambda function of its lifecycle hook");
    for (number, order) in [(1, approve()), (2, reject())] {
        scene.command(order);
        let refused = "ECS waits for a Lambda function, which alone can answer its hook";
        assert_eq!(scene.committed(), [format!("reply {number}: refused: {refused}")]);
    }
}

#[test]
fn what_ecs_does_without_an_answer_is_told() {
    for (action, told) in [
        (HookAction::Continue, "without an answer ECS goes on with it"),
        (HookAction::Rollback, "without an answer ECS rolls it back"),
    ] {
        let mut scene = Scene::rolling_to_hook(HookTarget::Pause);
        scene.watched();
        let mut waits = seen(HookTarget::Pause, true);
        waits.hooks[0] =
            HookView { expires_at: Some(scene.now.time), timeout_action: Some(action), ..waits.hooks[0].clone() };
        scene.staged(Ok(Some(waits)));
        assert!(scene.waits_because().ends_with(told), "{}", scene.waits_because());
        assert!(scene.known("hello").waiting.as_ref().unwrap().until.is_some());
    }
}

#[test]
fn an_operator_who_answers_a_rollout_that_has_just_ended_is_told_so() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    scene.command(approve());
    scene.ecs("hello").active = false;
    // Right after an update it is not believed.
    scene.pass(20);
    scene.ensure_watched();
    let lines = scene.watch_answered(None);
    assert!(lines.contains(&"event: web/hello approve by alice refused".to_owned()), "{lines:?}");
    assert!(scene.all_committed().contains(&"reply 1: refused: the rollout has ended".to_owned()));
}

#[test]
fn a_rollout_with_a_hook_that_fails_before_it_is_stopped_so_that_the_way_back_does_not_wait_there() {
    for stops in [true, false] {
        let mut scene = Scene::rolling_to_hook(HookTarget::Pause);
        scene.looked_at(&seen(HookTarget::Pause, false));
        scene.pass(15 * 60);
        assert_eq!(scene.looked_at(&seen(HookTarget::Pause, false)), ["read: stopped tasks of web/hello d2"]);
        let lines = scene.stopped_tasks(&[]);
        assert!(
            !lines.iter().any(|line| line.starts_with("read: ")),
            "it is stopped before it is looked at: {lines:?}"
        );
        assert!(scene.all_committed().contains(&"write: stop sd-2 of web/hello".to_owned()));
        let answer = if stops { Ok(()) } else { Err(error(Fault::Denied)) };
        let told = "event: web/hello cannot tell whether ECS stops the deployment";
        let inspects = "read: inspect web/hello (intended)";
        if stops {
            assert_eq!(scene.deployment_stopped(answer), [inspects]);
            scene.interfered("hello", 1);
            assert_eq!(scene.inspected(Some(1)), ["event: web/hello found updated", "commit"]);
        } else {
            assert_eq!(scene.deployment_stopped(answer), [told, inspects]);
            assert_eq!(scene.inspected(Some(1)), ["event: web/hello found not updated", "commit"]);
            assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
        }
    }
}

#[test]
fn a_rollback_that_waits_at_a_hook_is_approved_and_never_rejected() {
    let mut scene = Scene::back_at(Stage::Rolling);
    set_hook(scene.ecs("hello"), HookTarget::Pause);
    scene.watched();
    let lines = scene.staged(Ok(Some(seen(HookTarget::Pause, true))));
    assert_eq!(lines[0], WAITS);
    let reason = "ECS pauses at POST_SCALE_UP on the way back to hello:1; continue with: ecs-deployd approve web/hello";
    assert_eq!(scene.waits_because(), reason);
    scene.all_committed();
    scene.command(reject());
    let refused = "a rollback waits there, which only an approval continues";
    assert_eq!(scene.committed(), [format!("reply 1: refused: {refused}")]);
    assert_eq!(scene.known("hello").rollout.as_ref().unwrap().base, arn(1));
    scene.command(approve());
    assert_eq!(scene.committed(), ["write: continue web/hello at hook-1"]);
}

#[test]
fn a_newer_push_takes_the_place_of_what_waits() {
    let mut scene = Scene::waiting_at(HookTarget::Pause);
    scene.push("latest", 'c');
    scene.all_committed();
    scene.observed("hello");
    scene.all_committed();
    scene.registered(3);
    scene.all_committed();
    let lines = scene.updated();
    assert_eq!(
        lines,
        [
            "event: web/hello updated to hello:3 by d3",
            "event: web/hello waits no longer: pause",
            "event: web/hello ended superseded hello:2: a newer push took its place",
            "commit",
        ]
    );
    assert!(scene.known("hello").waiting.is_none());
}

#[test]
fn without_the_permission_to_ask_for_stages_the_service_alone_tells() {
    let mut scene = Scene::rolling_to_hook(HookTarget::Pause);
    assert_eq!(scene.watched(), STAGES);
    assert_eq!(
        scene.staged(Err(error(Fault::Denied))),
        ["event: web/hello call failed, next in 60 s", "event: web/hello rolls, 0 of 2 after 5 s"]
    );
    assert_eq!(scene.watched(), ["event: web/hello rolls, 0 of 2 after 10 s"], "it is not asked every time");
    scene.rolls("hello", RolloutState::Completed);
    assert!(scene.watched().contains(&"event: web/hello ended completed hello:2".to_owned()));
}

#[test]
fn the_bake_time_of_alarms_is_never_late() {
    let mut scene = Scene::at(Stage::Rolling);
    let service = scene.ecs("hello");
    service.lifecycle.alarms = true;
    let mine = &mut service.deployments[0];
    mine.running = mine.desired;
    service.deployments.truncate(1);
    for _ in 0..3 {
        scene.pass(3600);
        let lines = scene.watched();
        assert!(lines[0].starts_with("event: web/hello rolls, 2 of 2 after"), "{lines:?}");
        scene.all_committed();
    }
}
