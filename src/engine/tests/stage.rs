//! How far the work on a service got, as a closed set: the tables of commands and reloads have a row for each.

use super::Scene;
use crate::domain::aws_error::Fault;
use crate::domain::view::{Fate, RolloutState, Strategy};
use crate::engine::workflow::{Ending, Inspection, Recorded, Turn, Workflow};

macro_rules! stages {
    ($($(#[$meta:meta])* $stage:ident,)+) => {
        /// How far the work on a service got.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Stage {
            $($(#[$meta])* $stage,)+
        }

        impl Stage {
            pub(super) const ALL: &[Self] = &[$(Self::$stage,)+];
        }
    };
}

stages! {
    /// Nothing is under way.
    Idle,
    /// A revision may be registered; the call that tells is put off.
    IntendedUnverified,
    /// A revision may be registered; that is being asked.
    IntendedVerifying,
    /// The registration waits for the disk.
    RegisterWaiting,
    /// The registration is under way.
    RegisterUnderWay,
    /// The service may be updated; the call that tells is put off.
    RegisteredUnverified,
    /// The service may be updated; that is being asked.
    RegisteredVerifying,
    /// The update waits for the disk.
    UpdateWaiting,
    /// The update has waited for long: the service is looked at once more.
    UpdateRechecking,
    /// The update is under way.
    UpdateUnderWay,
    /// ECS rolls the service out.
    Rolling,
    /// All tasks run, and whether ECS is done is being asked.
    Confirming,
    /// All tasks run, and ECS said that it is not done.
    Baking,
    /// It has failed, and the reasons are being asked.
    Diagnosing,
}

impl Stage {
    pub(super) fn of(workflow: &Workflow) -> Self {
        match workflow {
            Workflow::Idle => Self::Idle,
            Workflow::Verifying { recorded: Recorded::Intended, inspection, .. } => match inspection {
                Inspection::Due | Inspection::Again(_) => Self::IntendedUnverified,
                Inspection::UnderWay => Self::IntendedVerifying,
            },
            Workflow::Verifying { recorded: Recorded::Registered(_), inspection, .. } => match inspection {
                Inspection::Due | Inspection::Again(_) => Self::RegisteredUnverified,
                Inspection::UnderWay => Self::RegisteredVerifying,
            },
            Workflow::Registering { turn, .. } => match turn {
                Turn::Waiting { .. } => Self::RegisterWaiting,
                Turn::UnderWay { .. } => Self::RegisterUnderWay,
                Turn::Rechecking => panic!("nothing is looked at once more before a registration"),
            },
            Workflow::Updating { turn, .. } => match turn {
                Turn::Waiting { .. } => Self::UpdateWaiting,
                Turn::Rechecking => Self::UpdateRechecking,
                Turn::UnderWay { .. } => Self::UpdateUnderWay,
            },
            Workflow::Tasking { .. } => panic!("tasks have tests of their own"),
            Workflow::Rolling { watch, .. } => match watch.ending {
                Ending::NotYet => Self::Rolling,
                Ending::Confirming { .. } => Self::Confirming,
                Ending::Baking => Self::Baking,
                Ending::Diagnosing { .. } => Self::Diagnosing,
            },
        }
    }
}

impl Scene {
    /// `web/hello`, from digest `a` to digest `b`, at a stage.
    pub(super) fn at(stage: Stage) -> Self {
        let mut scene = Self::new();
        scene.go_forward(stage);
        assert_eq!(scene.stage("hello"), stage);
        scene
    }

    /// `web/hello`, rolled back from digest `b`, which failed, to digest `a`. The revision before itself will do, so that none is
    /// registered.
    pub(super) fn back_at(stage: Stage) -> Self {
        let mut scene = Self::at(Stage::Diagnosing);
        scene.stopped_tasks(&[]);
        scene.all_committed();
        scene.go_back(stage);
        assert_eq!(scene.stage("hello"), stage);
        scene
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
            Stage::Idle => {
                self.go_back(Stage::Rolling);
                self.rolls("hello", RolloutState::Completed);
                self.watched();
                self.all_committed();
            }
        }
    }
}

#[test]
fn every_stage_is_reached_forward_and_back() {
    for stage in Stage::ALL {
        let _ = (Scene::at(*stage), Scene::back_at(*stage));
    }
}
