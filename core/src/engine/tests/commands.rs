//! The commands of operators, in each state.

use super::reaching::{at_every_stage, lines};
use super::stage::{Stage, TaskStage};
use super::{HELLO, NOTHING_FOLLOWS, OTHER, Scene, error};
use crate::domain::aws_error::Fault;
use crate::domain::operator_command::{Named, Refused};
use crate::domain::state::OperatorCommand;
use crate::domain::task::TaskKind;
use crate::domain::test_support::{arn, digest, repository_key};
use crate::domain::view::RolloutState;
use crate::engine::{Location, Read, Unlocated};

const ASKED: &str = "read: observe web/hello for hello:latest";
const REFUSED: &str = "event: web/hello rollback by alice refused";
const NOTHING_WAITS: &str = "nothing of web/hello waits for an approval";
const BEING_ANSWERED: &str = "an answer is being given; try again in a moment";

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
    assert_eq!(scene.all_committed(), ["reply 1: going back from hello:2 to hello:1"]);
    assert_eq!(scene.located(), ["event: web/hello rollback by alice refused", "commit"]);
    assert_eq!(scene.known("hello").commands.len(), 3);
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

/// What follows from a command, the stage after it, and the reply once it is durable.
type Commanded = (Vec<String>, Stage, Option<String>);

#[test]
fn every_command_at_every_stage() {
    at_every_stage(held, |scene| commanded(scene, hold()));
    at_every_stage(released, |scene| commanded(scene, OperatorCommand::Release));
    at_every_stage(deployed_at, |scene| commanded(scene, OperatorCommand::Deploy));
    at_every_stage(deployed_at, |scene| commanded(scene, OperatorCommand::DeployNow));
    at_every_stage(rolled_back, |scene| commanded(scene, rollback()));
    at_every_stage(approved, |scene| commanded(scene, OperatorCommand::Approve { image: None }));
    at_every_stage(rejected, |scene| commanded(scene, OperatorCommand::Reject { reason: None }));
}

fn commanded(mut scene: Scene, command: OperatorCommand) -> Commanded {
    let mut follows = scene.command(command);
    if scene.reads.iter().any(|read| matches!(read, Read::Locate { .. })) {
        follows.extend(scene.located());
    }
    let stage = scene.stage("hello");
    let reply = format!("reply {}: ", scene.commands);
    let released = scene.all_committed();
    (follows, stage, released.iter().find_map(|line| line.strip_prefix(&reply)).map(str::to_owned))
}

/// The stage stays, and the command is answered.
fn answered(follows: &[&str], stage: Stage, reply: &str) -> Commanded {
    (lines(&[follows, stage.commit()]), stage, Some(reply.to_owned()))
}

fn refused(command: &str, stage: Stage, why: &str) -> Commanded {
    answered(&[&format!("event: web/hello {command} by alice refused")], stage, &format!("refused: {why}"))
}

/// What waits at a gate is looked at anew with each command.
fn judged_anew(follows: &[&str], reply: &str) -> Commanded {
    (lines(&[follows, &[ASKED, "commit"]]), Stage::Idle, Some(reply.to_owned()))
}

fn held(stage: Stage, back: bool) -> Commanded {
    const NOTHING: &str = "held; nothing is deployed to it until a release";
    const GOES_ON: &str = "held; the rollout under way goes on, nothing new is begun until a release";
    const MAY_GO_ON: &str =
        "held; the rollout under way goes on if ECS has begun it, nothing new is begun until a release";
    let done = "event: web/hello hold by alice carried out";
    match stage {
        Stage::Idle => answered(&[done], stage, NOTHING),
        Stage::Gated => judged_anew(&[done], NOTHING),
        _ if back => answered(&[done], stage, GOES_ON),
        // ECS does not know of it yet, and nothing is under way.
        Stage::RegisterWaiting
        | Stage::UpdateWaiting
        | Stage::Task(TaskKind::Before, TaskStage::Unprepared | TaskStage::RegisterWaiting) => {
            let revision = stage.revision(back);
            let ended = format!("event: web/hello ended superseded{revision}: an operator holds the service");
            (lines(&[&[done, &ended], stage.commit()]), Stage::Idle, Some(NOTHING.to_owned()))
        }
        // It ends as soon as what is under way is answered.
        Stage::IntendedUnverified
        | Stage::IntendedVerifying
        | Stage::RegisterUnderWay
        | Stage::UpdateRechecking
        | Stage::Task(TaskKind::Before, _) => answered(&[done], stage, NOTHING),
        Stage::RegisteredUnverified | Stage::RegisteredVerifying | Stage::UpdateUnderWay => {
            answered(&[done], stage, MAY_GO_ON)
        }
        Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Paused
        | Stage::AnswerWaiting
        | Stage::AnswerUnderWay
        | Stage::Monitored
        | Stage::MonitoredDiagnosing
        | Stage::StopWaiting
        | Stage::StopUnderWay
        | Stage::Task(TaskKind::Verify, _) => answered(&[done], stage, GOES_ON),
    }
}

/// What is asked of the observer for a deployment that was ordered.
fn asked(stage: Stage) -> &'static [&'static str] {
    match stage {
        Stage::Gated => &["read: observe web/hello for hello (order)+hello:latest"],
        Stage::Idle
        | Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Paused
        | Stage::AnswerWaiting
        | Stage::AnswerUnderWay
        | Stage::Monitored
        | Stage::MonitoredDiagnosing => &["read: observe web/hello for hello (order)"],
        // It is decided when ECS rolls what is being begun, or when that has ended.
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
        | Stage::Task(..) => &[],
    }
}

fn released(stage: Stage, back: bool) -> Commanded {
    let done = "event: web/hello release by alice carried out";
    let nothing = "nothing was held";
    match stage {
        Stage::Gated => judged_anew(&[done], nothing),
        // The digest that failed is held.
        _ if back => {
            let reply = "released; it is rolled to what the policies select in ECR, if that is not what runs";
            answered(&[&[done], asked(stage)].concat(), stage, reply)
        }
        _ => answered(&[done], stage, nothing),
    }
}

/// A deployment is answered when it is decided.
fn deployed_at(stage: Stage, _back: bool) -> Commanded {
    let after = if stage == Stage::Gated { Stage::Idle } else { stage };
    (lines(&[asked(stage), stage.commit()]), after, None)
}

fn rolled_back(stage: Stage, back: bool) -> Commanded {
    const NOT_KNOWN: &str = "what ran before hello:1 is not known here; name a revision with --to";
    const JUST_BEGUN: &str = "a rollout is just being begun; try again in a moment";
    const GOES_BACK: &str = "it is being rolled back already";
    const MIGRATES: &str = "the task `migrate` runs before a rollout; try again when it has ended";
    let locate = match stage {
        Stage::AnswerWaiting | Stage::AnswerUnderWay => "read: locate web/hello for command 2",
        _ => "read: locate web/hello for command 1",
    };
    let no = |why: &str| answered(&[locate, REFUSED], stage, &format!("refused: {why}"));
    let yes = |before: &[&str]| {
        let ended = "event: web/hello ended superseded hello:2: rollback ordered by alice";
        let done = "event: web/hello rollback by alice carried out";
        let follows = [ended, done, "read: inspect web/hello (intended)"];
        let follows = lines(&[&[locate], before, &follows, stage.commit()]);
        (follows, Stage::IntendedVerifying, Some("going back from hello:2 to hello:1".to_owned()))
    };
    let waits_no_longer = "event: web/hello waits no longer: pause";
    match stage {
        Stage::Idle => no(NOT_KNOWN),
        Stage::Gated => {
            let follows = lines(&[&[locate, ASKED, REFUSED, "commit"]]);
            (follows, Stage::Idle, Some(format!("refused: {NOT_KNOWN}")))
        }
        // A call is under way.
        Stage::IntendedVerifying
        | Stage::RegisterUnderWay
        | Stage::RegisteredVerifying
        | Stage::UpdateRechecking
        | Stage::UpdateUnderWay
        | Stage::Task(
            _,
            TaskStage::Preparing | TaskStage::RegisterUnderWay | TaskStage::StartUnderWay | TaskStage::StopUnderWay,
        ) => no(JUST_BEGUN),
        _ if back => no(GOES_BACK),
        Stage::IntendedUnverified | Stage::RegisterWaiting | Stage::RegisteredUnverified | Stage::UpdateWaiting => {
            no(JUST_BEGUN)
        }
        Stage::Task(TaskKind::Before, _) => no(MIGRATES),
        // The revision runs, and no call is under way.
        Stage::Rolling
        | Stage::Confirming
        | Stage::Baking
        | Stage::Diagnosing
        | Stage::Monitored
        | Stage::MonitoredDiagnosing
        | Stage::Task(TaskKind::Verify, _) => yes(&[]),
        Stage::Paused => yes(&[waits_no_longer]),
        Stage::AnswerWaiting | Stage::AnswerUnderWay => {
            yes(&[waits_no_longer, "event: web/hello approve by alice refused"])
        }
        Stage::StopWaiting | Stage::StopUnderWay => unreachable!("only a rollout that goes back is stopped"),
    }
}

fn approved(stage: Stage, _back: bool) -> Commanded {
    match stage {
        Stage::Gated => {
            let reply = "approved hello:latest (b); it is rolled out as soon as its other gates are open";
            judged_anew(&["event: web/hello approve by alice carried out"], reply)
        }
        Stage::Paused => (lines(&[stage.commit()]), Stage::AnswerWaiting, None),
        Stage::AnswerWaiting | Stage::AnswerUnderWay => refused("approve", stage, BEING_ANSWERED),
        _ => refused("approve", stage, NOTHING_WAITS),
    }
}

fn rejected(stage: Stage, back: bool) -> Commanded {
    match stage {
        Stage::Gated => {
            let reply = "rejected by alice; hello:latest (b) is held until a newer push or a release";
            judged_anew(&["event: web/hello holds hello@b", "event: web/hello reject by alice carried out"], reply)
        }
        Stage::Paused | Stage::AnswerWaiting | Stage::AnswerUnderWay if back => {
            refused("reject", stage, "a rollback waits there, which only an approval continues")
        }
        Stage::Paused => (lines(&[stage.commit()]), Stage::AnswerWaiting, None),
        Stage::AnswerWaiting | Stage::AnswerUnderWay => refused("reject", stage, BEING_ANSWERED),
        _ => refused("reject", stage, NOTHING_WAITS),
    }
}
