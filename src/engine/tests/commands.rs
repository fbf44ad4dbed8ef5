//! The commands of operators, in each state.

use super::stage::{Stage, TaskStage};
use super::{HELLO, NOTHING_FOLLOWS, OTHER, Scene, error};
use crate::domain::aws_error::Fault;
use crate::domain::operator_command::{Named, Refused};
use crate::domain::state::OperatorCommand;
use crate::domain::task::TaskKind;
use crate::domain::test_support::{arn, digest, repository_key};
use crate::domain::view::RolloutState;
use crate::engine::{Location, Unlocated};

fn hold() -> OperatorCommand {
    OperatorCommand::Hold { reason: None }
}

fn rollback() -> OperatorCommand {
    OperatorCommand::Rollback { to: None }
}

/// `web/hello` runs digest `b`, which was deployed here in place of digest `a`.
fn deployed() -> Scene {
    let mut scene = Scene::at(Stage::Rolling);
    scene.rolls("hello", RolloutState::Completed);
    scene.watched();
    scene.all_committed();
    scene
}

#[test]
fn a_command_for_an_unknown_service_is_answered_at_once() {
    let mut scene = Scene::new();
    let refused = "web/helo is no CLUSTER/SERVICE of the configuration; the nearest one is web/hello";
    assert_eq!(
        scene.command_to("web/helo", hold()),
        [format!("reply 1: refused: {refused}").as_str(), "event: command hold for web/helo, which is unknown"]
    );
}

#[test]
fn a_hold_lets_nothing_be_deployed_until_a_release() {
    let mut scene = Scene::new();
    assert_eq!(scene.command(hold()), ["event: web/hello hold by alice carried out", "commit"]);
    assert_eq!(scene.committed(), ["reply 1: held; nothing is deployed to it until a release"]);
    scene.push("latest", 'b');
    scene.committed();
    let skipped = ["event: web/hello skips hello:latest: held", "event: push to hello settled: held", "commit"];
    assert_eq!(scene.observed("hello"), skipped);
    scene.committed();
    assert_eq!(
        scene.command(OperatorCommand::Release),
        ["event: web/hello release by alice carried out", "read: observe web/hello for hello (order)", "commit"]
    );
    let released = "reply 2: released; it is rolled to what the policies select in ECR, if that is not what runs";
    assert_eq!(scene.committed(), [released]);
    let decided = "event: web/hello decided hello:latest@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [decided, "commit"], "nobody pushed, so that no push is settled");
}

#[test]
fn a_release_of_what_is_not_held_does_nothing() {
    let mut scene = Scene::new();
    assert_eq!(scene.command(OperatorCommand::Release), ["event: web/hello release by alice carried out", "commit"]);
    assert_eq!(scene.committed(), ["reply 1: nothing was held"]);
}

#[test]
fn a_deployment_is_answered_with_what_was_decided() {
    let mut scene = Scene::new();
    assert_eq!(scene.command(OperatorCommand::Deploy), ["read: observe web/hello for hello (order)", "commit"]);
    assert_eq!(scene.committed(), NOTHING_FOLLOWS, "it is answered when it is decided");
    let skipped = "event: web/hello skips hello:latest: already_deployed";
    let answered = "event: web/hello deploy by alice carried out";
    assert_eq!(scene.observed("hello"), [skipped, answered, "commit"]);
    assert_eq!(scene.committed(), ["reply 1: nothing to do: already_deployed: hello:1 runs this digest"]);

    scene.pushed("hello", "latest", 'b');
    scene.command(OperatorCommand::Deploy);
    let decided = "event: web/hello decided hello:latest@b, from hello:1, back to hello:1";
    assert_eq!(scene.observed("hello"), [answered, decided]);
    assert_eq!(
        scene.all_committed(),
        ["reply 2: rolling to hello:latest (b)", "write: register for web/hello: app=hello@b"]
    );
}

#[test]
fn a_deployment_that_is_not_possible_is_refused_with_the_reason() {
    let mut scene = Scene::new();
    scene.command(hold());
    scene.committed();
    assert_eq!(scene.command(OperatorCommand::Deploy), ["event: web/hello deploy by alice refused", "commit"]);
    let held = "reply 2: refused: held by alice since 2027-01-15T08:01:40Z; release it first";
    assert_eq!(scene.committed(), [held]);

    let mut scene = Scene::new();
    scene.command(OperatorCommand::Deploy);
    scene.committed();
    scene.not_known(|scene| scene.observed("hello"));
    let skipped = "event: web/hello skips hello:latest: service_missing";
    let refused = "event: web/hello deploy by alice refused";
    assert_eq!(scene.observed("hello"), ["event: web/hello calls recovered", skipped, refused, "commit"]);
}

#[test]
fn a_deployment_that_cannot_be_decided_yet_says_so() {
    let refused = "event: web/hello deploy by alice refused";
    let reply = "reply 1: refused: not decided yet, it is tried again: ecs:Simulated: simulated";
    let mut scene = Scene::new();
    scene.command(OperatorCommand::Deploy);
    scene.committed();
    let failed = "event: web/hello call failed, next in 1 s";
    assert_eq!(scene.not_observed("hello", Fault::Unavailable), [refused, failed, "commit"]);
    assert_eq!(scene.committed(), [reply]);
    assert_eq!(scene.after(1), ["read: observe web/hello for hello (order)"]);

    let mut scene = Scene::new();
    scene.command(OperatorCommand::Deploy);
    scene.committed();
    let unanswered = [(repository_key("hello"), error(Fault::Unavailable))];
    let lines = scene.observed_but("hello", |found| found.unanswered = unanswered.into());
    assert_eq!(lines, [failed, refused, "commit"]);
}

#[test]
fn a_rollback_goes_to_what_ran_before_and_holds_what_runs() {
    let mut scene = deployed();
    assert_eq!(scene.command(rollback()), ["read: locate web/hello for command 1"]);
    assert_eq!(
        scene.located(),
        ["event: web/hello rollback by alice carried out", "read: inspect web/hello (intended)", "commit"]
    );
    assert_eq!(scene.committed(), ["reply 1: going back from hello:2 to hello:1"]);
    assert_eq!(scene.known("hello").held[&repository_key("hello")].digest, digest('b'));
    scene.inspected(Some(1));
    assert_eq!(scene.committed(), ["write: update web/hello to hello:1"]);
}

#[test]
fn a_rollback_ends_the_rollout_under_way() {
    let mut scene = Scene::at(Stage::Rolling);
    scene.command(rollback());
    assert_eq!(
        scene.located(),
        [
            "event: web/hello ended superseded hello:2: rollback ordered by alice",
            "event: web/hello rollback by alice carried out",
            "read: inspect web/hello (intended)",
            "commit",
        ]
    );
    assert_eq!(
        scene.committed(),
        ["notify: web/hello: deployment superseded (hello:latest)", "reply 1: going back from hello:2 to hello:1"]
    );
}

#[test]
fn a_rollback_may_name_the_revision() {
    let mut scene = deployed();
    let named = OperatorCommand::Rollback { to: Some("7".to_owned()) };
    assert_eq!(scene.command(named), ["read: locate web/hello and 7 for command 1"]);
    let to = Some(Named { revision: arn(7), tags: Vec::new() });
    scene.located_as(Ok(Location { current: arn(2), to }));
    assert_eq!(scene.committed(), ["reply 1: going back from hello:2 to hello:7"]);
}

#[test]
fn a_rollback_that_is_not_possible_is_refused_with_the_reason() {
    let not_known = "what ran before hello:1 is not known here; name a revision with --to";
    let answers = [
        (Ok(Location { current: arn(1), to: None }), not_known),
        (Err(Unlocated::NoService), "there is no such service in ECS"),
        (Err(Unlocated::NotARevision(Refused("7x is no revision".to_owned()))), "7x is no revision"),
        (Err(Unlocated::UnknownRevision("hello:9".to_owned())), "ECS does not know hello:9"),
        (Err(Unlocated::Failed(error(Fault::Denied))), "ecs:Simulated: simulated"),
    ];
    for (answer, why) in answers {
        let mut scene = Scene::new();
        scene.command(rollback());
        assert_eq!(scene.located_as(answer), ["event: web/hello rollback by alice refused", "commit"]);
        assert_eq!(scene.committed(), [format!("reply 1: refused: {why}")]);
        assert_eq!(scene.stage("hello"), Stage::Idle);
    }
}

#[test]
fn a_rollback_in_a_context_that_cannot_be_reached_is_refused() {
    let mut scene = deployed();
    scene.reload_with(HELLO, &[]);
    scene.committed();
    assert_eq!(scene.command(rollback()), ["event: web/hello rollback by alice refused", "commit"]);
    assert_eq!(scene.committed(), ["reply 1: refused: its AWS context is not in the configuration"]);
}

#[test]
fn commands_that_wait_are_answered_each_by_its_own_answer() {
    let mut scene = deployed();
    scene.command(rollback());
    scene.command(hold());
    scene.all_committed();
    scene.command(rollback());
    scene.located();
    assert_eq!(scene.all_committed()[0], "reply 1: going back from hello:2 to hello:1");
    assert_eq!(scene.located(), ["event: web/hello rollback by alice refused", "commit"]);
    assert_eq!(scene.known("hello").orders.len(), 3);
}

#[test]
fn a_rollback_that_waits_is_refused_when_its_service_leaves_the_configuration() {
    let mut scene = deployed();
    scene.command(rollback());
    assert_eq!(scene.reload(OTHER), ["event: web/hello rollback by alice refused", "commit"]);
    assert_eq!(scene.committed(), ["reply 1: refused: the service left the configuration"]);
    assert_eq!(scene.located(), NOTHING_FOLLOWS, "the answer comes too late to be acted on");
    assert_eq!(scene.stage("hello"), Stage::Idle);
}

#[test]
fn a_deployment_that_waits_is_refused_when_its_service_leaves_the_configuration() {
    let mut scene = Scene::new();
    scene.command(OperatorCommand::Deploy);
    scene.committed();
    let refused = "event: web/hello deploy by alice refused";
    assert_eq!(scene.reload(OTHER), ["event: web/hello drops its pending pushes", refused, "commit"]);
    assert_eq!(scene.committed(), ["reply 1: refused: the service left the configuration"]);
}

#[test]
fn every_command_at_every_stage() {
    for (stage, back) in Stage::all() {
        let orders = [
            hold(),
            OperatorCommand::Release,
            OperatorCommand::Deploy,
            OperatorCommand::DeployNow,
            rollback(),
            OperatorCommand::Approve { image: None },
            OperatorCommand::Reject { reason: None },
        ];
        let found = orders.map(|order| commanded(stage, back, order));
        assert_eq!(found, answers(stage, back), "{stage:?}, back: {back}");
    }
}

/// What is answered to a hold, a release, both deployments, a rollback, an approval and a rejection.
fn answers(stage: Stage, back: bool) -> [&'static str; 7] {
    const DONE: &str = "carried out";
    const NO: &str = "refused";
    const BACK: &str = "carried out, then IntendedVerifying";
    const ENDED: &str = "carried out, then Idle";
    const ANSWERED: &str = "waits, then AnswerWaiting";
    match (stage, back) {
        // What ran before is not known.
        (Stage::Idle, _) => [DONE, DONE, "asked", "asked", NO, NO, NO],
        // What waits is looked at anew with each command.
        (Stage::Gated, _) => [ENDED, ENDED, "asked, then Idle", "asked, then Idle", "refused, then Idle", ENDED, ENDED],
        // ECS does not know of it yet, and nothing is under way.
        (
            Stage::RegisterWaiting
            | Stage::UpdateWaiting
            | Stage::Task(TaskKind::Before, TaskStage::Unprepared | TaskStage::RegisterWaiting),
            false,
        ) => [ENDED, DONE, "waits", "waits", NO, NO, NO],
        (
            Stage::IntendedUnverified
            | Stage::IntendedVerifying
            | Stage::RegisterWaiting
            | Stage::RegisterUnderWay
            | Stage::RegisteredUnverified
            | Stage::RegisteredVerifying
            | Stage::UpdateWaiting
            | Stage::UpdateRechecking
            | Stage::UpdateUnderWay
            | Stage::StopWaiting
            | Stage::StopUnderWay
            | Stage::Task(TaskKind::Before, _)
            | Stage::Task(
                TaskKind::Verify,
                TaskStage::Preparing | TaskStage::RegisterUnderWay | TaskStage::StartUnderWay | TaskStage::StopUnderWay,
            ),
            _,
        ) => [DONE, DONE, "waits", "waits", NO, NO, NO],
        // The revision runs, and no call is under way.
        (
            Stage::Task(
                TaskKind::Verify,
                TaskStage::Unprepared
                | TaskStage::RegisterWaiting
                | TaskStage::StartWaiting
                | TaskStage::Running
                | TaskStage::StopWaiting
                | TaskStage::Stopping,
            ),
            _,
        ) => [DONE, DONE, "waits", "waits", BACK, NO, NO],
        (Stage::Paused, false) => [DONE, DONE, "asked", "asked", BACK, ANSWERED, ANSWERED],
        // A rollback goes on, or stays where it is.
        (Stage::Paused, true) => [DONE, DONE, "asked", "asked", NO, ANSWERED, NO],
        (
            Stage::Rolling
            | Stage::Confirming
            | Stage::Baking
            | Stage::Diagnosing
            | Stage::AnswerWaiting
            | Stage::AnswerUnderWay
            | Stage::Monitored
            | Stage::MonitoredDiagnosing,
            _,
        ) => [DONE, DONE, "asked", "asked", if back { NO } else { BACK }, NO, NO],
    }
}

/// What becomes of a command at a stage, and the stage that it leads to, if it is another one.
fn commanded(stage: Stage, back: bool, order: OperatorCommand) -> String {
    let mut scene = Scene::on_its_way(stage, back);
    let mut lines = scene.command(order);
    if lines.iter().any(|line| line.starts_with("read: locate")) {
        lines.extend(scene.located());
    }
    let after = scene.stage("hello");
    lines.extend(scene.all_committed());
    let reply = format!("reply {}: ", scene.commands);
    let answer = match lines.iter().find_map(|line| line.strip_prefix(&reply)) {
        Some(reply) if reply.starts_with("refused") => "refused",
        Some(_) => "carried out",
        None if lines.iter().any(|line| line.starts_with("read: observe")) => "asked",
        None => "waits",
    };
    if after == stage { answer.to_owned() } else { format!("{answer}, then {after:?}") }
}
