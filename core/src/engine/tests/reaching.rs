//! The way to each stage: what a scene is told until the work on its service got so far.

use super::Scene;
use super::hooks::called;
use super::stage::{Stage, TaskStage};
use super::task_scene::family;
use crate::domain::aws_error::Fault;
use crate::domain::deployment::HookTarget;
use crate::domain::state::OperatorCommand;
use crate::domain::task::TaskKind;
use crate::domain::view::{Fate, RolloutState, Strategy};

impl Scene {
    /// `web/hello`, from digest `a` to digest `b`, at a stage.
    pub(super) fn at(stage: Stage) -> Self {
        let mut scene = Self::of(&stage.config());
        scene.go_forward(stage);
        assert_eq!(scene.stage("hello"), stage);
        scene
    }

    /// `web/hello`, rolled back from digest `b`, which failed, to digest `a`. The revision before itself will do, so that none is
    /// registered.
    pub(super) fn back_at(stage: Stage) -> Self {
        let mut scene = Self::at(Stage::Rolling);
        if let Stage::StopWaiting | Stage::StopUnderWay = stage {
            scene.add_hook();
        }
        scene.rolls("hello", RolloutState::Failed);
        scene.watched();
        if let Stage::StopWaiting | Stage::StopUnderWay = stage {
            scene.staged(called(HookTarget::Pause, false));
        }
        scene.stopped_tasks(&[]);
        if stage != Stage::StopWaiting {
            scene.all_committed();
        }
        scene.go_back(stage);
        assert_eq!(scene.stage("hello"), stage);
        scene
    }

    /// `web/hello` at a stage, on its way forward or back.
    pub(super) fn on_its_way(stage: Stage, back: bool) -> Self {
        if back { Self::back_at(stage) } else { Self::at(stage) }
    }

    fn go_forward(&mut self, stage: Stage) {
        match stage {
            Stage::Idle => {}
            Stage::RegisterWaiting => {
                self.push("latest", 'b');
                self.committed();
                self.observed("hello");
            }
            Stage::RegisterUnderWay => {
                self.go_forward(Stage::RegisterWaiting);
                self.committed();
            }
            Stage::IntendedUnverified => {
                self.go_forward(Stage::RegisterUnderWay);
                self.not_registered(Fault::Unavailable);
                self.all_committed();
            }
            Stage::IntendedVerifying => {
                self.go_forward(Stage::IntendedUnverified);
                self.after(1);
            }
            Stage::UpdateWaiting => {
                self.go_forward(Stage::RegisterUnderWay);
                self.registered(2);
            }
            Stage::UpdateRechecking => {
                self.go_forward(Stage::UpdateWaiting);
                self.after(6);
                self.committed();
            }
            Stage::UpdateUnderWay => {
                self.go_forward(Stage::UpdateWaiting);
                self.committed();
            }
            Stage::RegisteredUnverified => {
                self.go_forward(Stage::UpdateUnderWay);
                self.not_updated(Fault::Unavailable);
                self.all_committed();
            }
            Stage::RegisteredVerifying => {
                self.go_forward(Stage::RegisteredUnverified);
                self.after(1);
            }
            Stage::Rolling => {
                self.go_forward(Stage::UpdateUnderWay);
                self.updated();
                self.all_committed();
            }
            Stage::Confirming => {
                self.ecs("hello").strategy = Strategy::Shifting("BLUE_GREEN".to_owned());
                self.go_forward(Stage::Rolling);
                self.rolls("hello", RolloutState::Completed);
                self.watched();
                self.all_committed();
            }
            Stage::Baking => {
                self.go_forward(Stage::Confirming);
                self.deployments(&[(2, Fate::UnderWay)]);
            }
            Stage::Diagnosing => {
                self.go_forward(Stage::Rolling);
                self.rolls("hello", RolloutState::Failed);
                self.watched();
            }
            Stage::AnswerWaiting => {
                self.go_forward(Stage::Paused);
                self.command(OperatorCommand::Approve { image: None });
            }
            Stage::AnswerUnderWay => {
                self.go_forward(Stage::AnswerWaiting);
                self.all_committed();
            }
            Stage::Paused => {
                self.go_forward(Stage::Rolling);
                self.add_hook();
                self.watched();
                self.staged(called(HookTarget::Pause, true));
                self.all_committed();
            }
            Stage::Gated => {
                self.push("latest", 'b');
                self.committed();
                self.observed("hello");
                self.all_committed();
            }
            Stage::Monitored => {
                self.go_forward(Stage::Rolling);
                self.rolls("hello", RolloutState::Completed);
                self.watched();
                self.all_committed();
            }
            Stage::MonitoredDiagnosing => {
                self.go_forward(Stage::Monitored);
                self.rolls("hello", RolloutState::Failed);
                self.watched();
                self.all_committed();
            }
            Stage::Task(kind, stage) => {
                match kind {
                    TaskKind::Before => {
                        self.go_forward(Stage::RegisterUnderWay);
                        self.registered(2);
                    }
                    TaskKind::Verify => {
                        self.go_forward(Stage::Rolling);
                        self.rolls("hello", RolloutState::Completed);
                        self.watched();
                    }
                }
                self.all_committed();
                self.go_on_with_the_task(stage);
            }
            Stage::StopWaiting | Stage::StopUnderWay => unreachable!("only a rollout that goes back is stopped"),
        }
    }

    fn go_on_with_the_task(&mut self, stage: TaskStage) {
        match stage {
            TaskStage::Preparing => {}
            TaskStage::Unprepared => {
                self.not_prepared(Fault::Unavailable);
                self.all_committed();
            }
            TaskStage::RegisterWaiting => {
                self.prepared_as(|prepared| prepared.family = Some(Some(family('a', 4))));
            }
            TaskStage::RegisterUnderWay => {
                self.go_on_with_the_task(TaskStage::RegisterWaiting);
                self.all_committed();
            }
            TaskStage::StartWaiting => {
                self.prepared();
            }
            TaskStage::StartUnderWay => {
                self.go_on_with_the_task(TaskStage::StartWaiting);
                self.all_committed();
            }
            TaskStage::Running => {
                self.go_on_with_the_task(TaskStage::StartUnderWay);
                self.started("task/t1");
                self.all_committed();
            }
            TaskStage::StopWaiting => {
                self.go_on_with_the_task(TaskStage::Running);
                self.after(60 * 60);
            }
            TaskStage::StopUnderWay => {
                self.go_on_with_the_task(TaskStage::StopWaiting);
                self.all_committed();
            }
            TaskStage::Stopping => {
                self.go_on_with_the_task(TaskStage::StopUnderWay);
                self.task_stopped();
                self.all_committed();
            }
        }
    }

    fn go_back(&mut self, stage: Stage) {
        match stage {
            Stage::IntendedVerifying => {}
            Stage::IntendedUnverified => {
                self.inspection_failed(Fault::Unavailable);
                self.all_committed();
            }
            Stage::UpdateWaiting => {
                self.inspected(Some(1));
            }
            Stage::UpdateRechecking => {
                self.go_back(Stage::UpdateWaiting);
                self.after(6);
                self.committed();
            }
            Stage::UpdateUnderWay => {
                self.go_back(Stage::UpdateWaiting);
                self.committed();
            }
            Stage::RegisteredUnverified => {
                self.go_back(Stage::UpdateUnderWay);
                self.not_updated(Fault::Unavailable);
                self.all_committed();
            }
            Stage::RegisteredVerifying => {
                self.go_back(Stage::RegisteredUnverified);
                self.after(1);
            }
            Stage::Rolling => {
                self.go_back(Stage::UpdateUnderWay);
                self.updated();
                self.all_committed();
            }
            Stage::Diagnosing => {
                self.go_back(Stage::Rolling);
                self.rolls("hello", RolloutState::Failed);
                self.watched();
            }
            Stage::Confirming => {
                self.ecs("hello").strategy = Strategy::Shifting("BLUE_GREEN".to_owned());
                self.go_back(Stage::Rolling);
                self.rolls("hello", RolloutState::Completed);
                self.watched();
                self.all_committed();
            }
            Stage::Baking => {
                self.go_back(Stage::Confirming);
                self.deployments(&[(1, Fate::UnderWay)]);
            }
            Stage::RegisterWaiting => {
                self.inspected(None);
            }
            Stage::RegisterUnderWay => {
                self.go_back(Stage::RegisterWaiting);
                self.committed();
            }
            Stage::AnswerWaiting => {
                self.go_back(Stage::Paused);
                self.command(OperatorCommand::Approve { image: None });
            }
            Stage::AnswerUnderWay => {
                self.go_back(Stage::AnswerWaiting);
                self.all_committed();
            }
            Stage::Paused => {
                self.go_back(Stage::Rolling);
                self.add_hook();
                self.watched();
                self.staged(called(HookTarget::Pause, true));
                self.all_committed();
            }
            Stage::StopWaiting | Stage::StopUnderWay => {}
            Stage::Gated | Stage::Monitored | Stage::MonitoredDiagnosing | Stage::Task(..) => {
                unreachable!("a rollback runs no tasks, passes no gates, and is complete when ECS says so")
            }
            Stage::Idle => {
                self.go_back(Stage::Rolling);
                self.rolls("hello", RolloutState::Completed);
                self.watched();
                self.all_committed();
            }
        }
    }
}

/// Holds a rule at each stage, forward and back: what `found` makes of a scene there is what the rule says.
pub(super) fn at_every_stage<Rule, Found>(rule: impl Fn(Stage, bool) -> Rule, found: impl Fn(Scene) -> Found)
where
    Rule: PartialEq<Found> + std::fmt::Debug,
    Found: std::fmt::Debug,
{
    for (stage, back) in Stage::all() {
        assert_eq!(rule(stage, back), found(Scene::on_its_way(stage, back)), "{stage:?}, back: {back}");
    }
}

/// Parts of what follows, one after the other.
pub(super) fn lines(parts: &[&[&str]]) -> Vec<String> {
    parts.concat().into_iter().map(str::to_owned).collect()
}

#[test]
fn every_stage_is_reached_forward_and_back() {
    at_every_stage(|stage, _| stage, |scene| scene.stage("hello"));
}
