//! How far the work on a service got, as a closed set: the tables of commands, pushes, reloads and restarts have a row for each.

use super::HELLO;
use super::task_scene::{MIGRATES, VERIFIES, with};
use crate::domain::task::TaskKind;
use crate::engine::hooks::HookCall;
use crate::engine::service::Service;
use crate::engine::tasking::{Step, TaskCall, Tasking};
use crate::engine::workflow::{Ending, Inspection, Recorded, Turn, Workflow};

macro_rules! stages {
    ($(#[$of:meta])* $name:ident { $($(#[$meta:meta])* $stage:ident,)+ } $($(#[$other:meta])* $more:ident($($inner:ty),+),)*) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum $name {
            $($(#[$meta])* $stage,)+
            $($(#[$other])* $more($($inner),+),)*
        }

        impl $name {
            const PLAIN: &[Self] = &[$(Self::$stage,)+];
        }
    };
}

stages! {
    /// How far a one-off task got.
    TaskStage {
        /// The call that tells what it needs is put off.
        Unprepared,
        /// What it needs is being asked.
        Preparing,
        /// The registration of a revision of its own family waits for the disk.
        RegisterWaiting,
        /// That registration is under way.
        RegisterUnderWay,
        /// RunTask waits for the disk.
        StartWaiting,
        /// RunTask is under way.
        StartUnderWay,
        /// ECS runs the task.
        Running,
        /// It has run for too long, and StopTask waits for the disk.
        StopWaiting,
        /// StopTask is under way.
        StopUnderWay,
        /// ECS stops the task.
        Stopping,
    }
}

stages! {
    /// How far the work on a service got.
    Stage {
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
        /// ECS waits at a hook for an operator.
        Paused,
        /// An operator has answered, and the call that says so waits for the disk.
        AnswerWaiting,
        /// That call is under way.
        AnswerUnderWay,
        /// A push waits for an approval, and nothing is under way.
        Gated,
        /// ECS has completed it, and it is watched further.
        Monitored,
        /// Its tasks stop under that watch, and the reasons are being asked.
        MonitoredDiagnosing,
        /// It is to be rolled back, and the call that has ECS stop its deployment waits for the disk.
        StopWaiting,
        /// That call is under way.
        StopUnderWay,
    }
    /// A one-off task is under way.
    Task(TaskKind, TaskStage),
}

impl Stage {
    /// Each stage in each direction that it can be reached in: forward, and back.
    pub(super) fn all() -> impl Iterator<Item = (Self, bool)> {
        let of_kind =
            |kind: &TaskKind| TaskStage::PLAIN.iter().map(|stage| Self::Task(*kind, *stage)).collect::<Vec<_>>();
        let stages = Self::PLAIN.iter().copied().chain(TaskKind::ALL.iter().flat_map(of_kind));
        stages.flat_map(|stage| stage.directions().iter().map(move |back| (stage, *back)))
    }

    fn directions(self) -> &'static [bool] {
        match self {
            // A rollback runs no tasks, passes no gates, and is complete when ECS says so.
            Self::Gated | Self::Monitored | Self::MonitoredDiagnosing | Self::Task(..) => &[false],
            Self::StopWaiting | Self::StopUnderWay => &[true],
            _ => &[false, true],
        }
    }

    /// The configuration of `web/hello` under which a stage is reached.
    pub(super) fn config(self) -> String {
        let family = "family = \"jobs\"\n";
        match self {
            Self::Gated => format!("{HELLO}approval = \"required\"\n"),
            Self::Monitored | Self::MonitoredDiagnosing => format!("{HELLO}monitor = \"1m\"\n"),
            Self::Task(kind, stage) => {
                let task = match kind {
                    TaskKind::Before => MIGRATES,
                    TaskKind::Verify => VERIFIES,
                };
                match stage {
                    TaskStage::RegisterWaiting | TaskStage::RegisterUnderWay => with(&format!("{task}{family}")),
                    _ => with(task),
                }
            }
            _ => HELLO.to_owned(),
        }
    }

    /// The commit that follows from a change: none where the next step of the stage waits for one that is on its way.
    pub(super) fn commit(self) -> &'static [&'static str] {
        match self {
            Self::RegisterWaiting
            | Self::UpdateWaiting
            | Self::AnswerWaiting
            | Self::StopWaiting
            | Self::Task(_, TaskStage::RegisterWaiting | TaskStage::StartWaiting | TaskStage::StopWaiting) => &[],
            _ => &["commit"],
        }
    }

    /// What an outcome says after its word: the revision, once one is registered.
    pub(super) fn revision(self, back: bool) -> &'static str {
        match self {
            Self::IntendedUnverified
            | Self::IntendedVerifying
            | Self::RegisterWaiting
            | Self::RegisterUnderWay
            | Self::StopWaiting
            | Self::StopUnderWay => "",
            _ if back => " hello:1",
            _ => " hello:2",
        }
    }

    pub(super) fn of(service: &Service) -> Self {
        match (&service.hook_answer, &service.stop) {
            (Some(answer), _) => match answer.call {
                HookCall::Due => Self::AnswerWaiting,
                HookCall::UnderWay => Self::AnswerUnderWay,
            },
            (None, Some((_, HookCall::Due))) => Self::StopWaiting,
            (None, Some((_, HookCall::UnderWay))) => Self::StopUnderWay,
            (None, None) if service.gate.is_some() => Self::Gated,
            (None, None) => Self::of_workflow(&service.workflow),
        }
    }

    fn of_workflow(workflow: &Workflow) -> Self {
        match workflow {
            Workflow::Idle => Self::Idle,
            Workflow::Verifying { recorded: Recorded::Intended, inspection, .. } => match inspection {
                Inspection::Due | Inspection::Again(_) => Self::IntendedUnverified,
                Inspection::UnderWay(_) => Self::IntendedVerifying,
            },
            Workflow::Verifying { recorded: Recorded::Registered(_), inspection, .. } => match inspection {
                Inspection::Due | Inspection::Again(_) => Self::RegisteredUnverified,
                Inspection::UnderWay(_) => Self::RegisteredVerifying,
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
            Workflow::Tasking { tasking, .. } => Self::Task(tasking.kind, TaskStage::of(tasking)),
            Workflow::Rolling { watch, .. } => {
                let waits = watch.seen.as_ref().is_some_and(|seen| seen.waits_at().is_some());
                match (&watch.ending, watch.monitoring.is_some()) {
                    (Ending::NotYet, false) if waits => Self::Paused,
                    (Ending::NotYet, false) => Self::Rolling,
                    (Ending::NotYet, true) => Self::Monitored,
                    (Ending::Diagnosing { .. }, false) => Self::Diagnosing,
                    (Ending::Diagnosing { .. }, true) => Self::MonitoredDiagnosing,
                    (Ending::Confirming { .. }, false) => Self::Confirming,
                    (Ending::Baking, false) => Self::Baking,
                    (Ending::Confirming { .. } | Ending::Baking, true) => panic!("ECS has completed it already"),
                }
            }
        }
    }
}

impl TaskStage {
    fn of(tasking: &Tasking) -> Self {
        match &tasking.step {
            Step::Preparing(TaskCall::Due) => Self::Unprepared,
            Step::Preparing(TaskCall::UnderWay) => Self::Preparing,
            Step::Registering { call: TaskCall::Due, .. } => Self::RegisterWaiting,
            Step::Registering { call: TaskCall::UnderWay, .. } => Self::RegisterUnderWay,
            Step::Starting { call: TaskCall::Due, .. } => Self::StartWaiting,
            Step::Starting { call: TaskCall::UnderWay, .. } => Self::StartUnderWay,
            Step::Running { stop: TaskCall::Due, .. } => Self::StopWaiting,
            Step::Running { stop: TaskCall::UnderWay, .. } => Self::StopUnderWay,
            Step::Running { stop: TaskCall::Done, seen, .. } if seen.late_from.is_some() => Self::Stopping,
            Step::Running { stop: TaskCall::Done, .. } => Self::Running,
            Step::Preparing(TaskCall::Done)
            | Step::Registering { call: TaskCall::Done, .. }
            | Step::Starting { call: TaskCall::Done, .. } => {
                panic!("what such a call brings leads to the next step")
            }
        }
    }
}
