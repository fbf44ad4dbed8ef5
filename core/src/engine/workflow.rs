//! The work on one service: one state machine, of which the rollout on the disk is a view.

use std::time::Duration;

use jiff::Timestamp;

use super::monitor::Monitoring;
use super::now::{Moment, Now};
use super::tasking::Tasking;
use crate::domain::deployment::{Milestones, ServiceDeploymentView};
use crate::domain::rollout::Counts;
use crate::domain::state::{Intent, OutcomeKind, Phase, Rolled, Rollout};
use crate::domain::task_definition::Registration;
use crate::domain::types::{DeploymentId, TaskDefinitionArn};
use crate::domain::view::RevisionWrite;
use crate::domain::waiting::Hook;

/// What is under way for one service.
///
/// ```text
///            plan                    registered              updated
///   Idle ----------> Registering ----------------> Updating ---------> Rolling --> Idle
///                      ^     |          |    ^      ^    |          |    (completed, failed, superseded)
///                      |     |          v    |      |    |          v
///                      |     |         Tasking      |    |       Tasking
///       start, lost    |     v                      |    v
///       answer:      Verifying{Intended}         Verifying{Registered}
/// ```
///
/// Tasks that have verified a rollout lead back to `Rolling`, where it is watched further for as long as `monitor` says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Workflow {
    /// Nothing is under way.
    #[default]
    Idle,
    /// A step may have been taken without a trace on the disk: ECS is asked how far the rollout got before anything is done.
    Verifying {
        /// What was decided for the service, if something is under way.
        intent: Box<Intent>,
        /// How far the disk says that it got.
        recorded: Recorded,
        /// The look at ECS.
        inspection: Inspection,
    },
    /// The new revision is to be registered.
    Registering {
        /// What was decided for the service, if something is under way.
        intent: Box<Intent>,
        /// The revision that is registered or set.
        registration: Box<Registration>,
        /// How far the call has come.
        turn: Turn,
    },
    /// The service is to be set to the new revision.
    Updating {
        /// What was decided for the service, if something is under way.
        intent: Box<Intent>,
        /// The revision that is registered or set.
        revision: TaskDefinitionArn,
        /// The operation that sets the service to it.
        by: RevisionWrite,
        /// How far the call has come.
        turn: Turn,
    },
    /// A one-off task of the rollout runs.
    Tasking {
        /// What was decided for the service, if something is under way.
        intent: Box<Intent>,
        /// The revision that is registered or set.
        revision: TaskDefinitionArn,
        /// The deployment, where ECS has completed it: then the task verifies it. Otherwise the service is updated after the task.
        rolled: Option<Rolled>,
        /// The task that is under way.
        tasking: Box<Tasking>,
    },
    /// ECS rolls the revision out.
    Rolling {
        /// What was decided for the service, if something is under way.
        intent: Box<Intent>,
        /// The revision that is registered or set.
        revision: TaskDefinitionArn,
        /// The deployment whose outcome is the rollout's.
        deployment: DeploymentId,
        /// When UpdateService was answered, or the deployment was found.
        since: Timestamp,
        /// What was seen of it.
        watch: Box<Watch>,
    },
}

/// How far the disk says that a rollout got, before ECS rolls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recorded {
    /// It was decided. The revision may be registered.
    Intended,
    /// The revision is registered. The service may be updated.
    Registered(TaskDefinitionArn),
}

/// A look at ECS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inspection {
    /// It is to be begun.
    Due,
    /// It is under way since this moment: what it tells is as old.
    UnderWay(Moment),
    /// It is to be repeated at this moment: ECS is about to begin its own rollback.
    Again(Moment),
}

impl Inspection {
    /// Whether it is to be begun now.
    fn is_due(self, now: Moment) -> bool {
        match self {
            Self::Due => true,
            Self::UnderWay(_) => false,
            Self::Again(at) => at <= now,
        }
    }
}

/// A write to ECS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for the disk and for its place in ECS's rate limit.
    Waiting {
        /// When the service was last seen to run what the rollout replaces.
        verified_at: Moment,
    },
    /// It has waited for long: whether the service still runs what the rollout replaces is being asked.
    Rechecking,
    /// It is under way.
    UnderWay {
        /// When the service was last seen to run what the rollout replaces.
        verified_at: Moment,
        /// When the call was begun.
        since: Moment,
    },
}

impl Turn {
    /// The turn of the next write. The time that a call itself takes does not make what was verified before it stale.
    pub(super) fn next(self, now: Moment) -> Self {
        match self {
            Self::UnderWay { verified_at, since } => Self::Waiting { verified_at: verified_at.plus(now.since(since)) },
            Self::Waiting { .. } | Self::Rechecking => self,
        }
    }
}

/// What this process has seen of a rollout that ECS rolls.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watch {
    /// Since when this process watches it.
    pub(super) from: Moment,
    /// How long it had made no progress before that, by the wall clock, which may have jumped; zero once it makes progress. Nobody may have
    /// looked meanwhile, so at most half the timeout counts: a rollout that went on has the other half to show it.
    pub(super) before: Duration,
    /// What it has reached.
    pub(super) reached: Milestones,
    /// When it last made progress, or ECS was seen to wait on purpose.
    pub(super) progressed: Moment,
    /// The same by the wall clock, for the record.
    pub(super) progressed_at: Option<Timestamp>,
    /// What DescribeServiceDeployments said of it last, where that is asked.
    pub(super) seen: Option<ServiceDeploymentView>,
    /// Which look asks DescribeServiceDeployments, as long as there is no answer.
    pub(super) stages_asked_at: Option<Moment>,
    /// The hook that ECS was told to continue at, and when: for a moment ECS may still say that it waits there.
    pub(super) continued: Option<(Hook, Moment)>,
    /// The service has hooks at which a deployment waits.
    pub(super) hooked: bool,
    /// Its tasks, as they were seen last.
    pub(super) counts: Option<Counts>,
    /// The watch over it after ECS has completed it.
    pub(super) monitoring: Option<Monitoring>,
    /// Whether its end is being confirmed.
    pub(super) ending: Ending,
}

/// What is asked before a rollout is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing: it goes on.
    NotYet,
    /// All its tasks run, and ECS said that it still bakes.
    Baking,
    /// All its tasks run. Whether ECS has let go of what it replaces is being asked.
    Confirming {
        /// ECS said before that it bakes.
        baking: bool,
        /// ECS is to be done with it by now.
        overdue: bool,
    },
    /// It has failed. Why its tasks stopped is being asked.
    Diagnosing {
        /// The outcome that it will have.
        kind: OutcomeKind,
        /// What is known of the reason.
        why: String,
    },
}

impl Watch {
    /// A watch that begins now, of a rollout that ECS has just begun.
    pub(super) fn new(now: Now) -> Self {
        Self {
            from: now.moment,
            before: Duration::ZERO,
            reached: Milestones::default(),
            progressed: now.moment,
            progressed_at: None,
            seen: None,
            stages_asked_at: None,
            continued: None,
            hooked: false,
            counts: None,
            monitoring: None,
            ending: Ending::NotYet,
        }
    }
}

impl Workflow {
    /// The work on a rollout of which only the record is known: after a start, and where a rollout is watched again.
    pub(super) fn resumed(rollout: Rollout, now: Now) -> Self {
        let (intent, phase) = rollout.split();
        let intent = Box::new(intent);
        let verifying = |intent, recorded| Self::Verifying { intent, recorded, inspection: Inspection::Due };
        match phase {
            Phase::Intended => verifying(intent, Recorded::Intended),
            Phase::Registered { revision } => verifying(intent, Recorded::Registered(revision)),
            Phase::Rolling { revision, deployment, since, progressed_at, monitored } => {
                let last = progressed_at.unwrap_or(since);
                let before = Duration::try_from(now.time.duration_since(last)).unwrap_or_default();
                let monitoring = monitored.map(|record| Monitoring::resumed(record, now));
                let watch = Box::new(Watch { before, progressed_at, monitoring, ..Watch::new(now) });
                Self::Rolling { intent, revision, deployment, since, watch }
            }
            Phase::Task { revision, rolled, run } => {
                let tasking = Box::new(Tasking::resumed(*run, now));
                Self::Tasking { intent, revision, rolled, tasking }
            }
        }
    }

    /// The record of it, as it stands on the disk.
    pub(super) fn rollout(&self) -> Option<Rollout> {
        let (intent, phase) = match self {
            Self::Idle => return None,
            Self::Verifying { intent, recorded: Recorded::Intended, .. } | Self::Registering { intent, .. } => {
                (intent, Phase::Intended)
            }
            Self::Verifying { intent, recorded: Recorded::Registered(revision), .. }
            | Self::Updating { intent, revision, .. } => (intent, Phase::Registered { revision: revision.clone() }),
            Self::Tasking { intent, revision, rolled, tasking } => {
                let (revision, rolled, run) = (revision.clone(), rolled.clone(), Box::new(tasking.record()));
                (intent, Phase::Task { revision, rolled, run })
            }
            Self::Rolling { intent, revision, deployment, since, watch } => {
                let (revision, deployment) = (revision.clone(), deployment.clone());
                let (since, progressed_at) = (*since, watch.progressed_at);
                let monitored = watch.monitoring.as_ref().map(|monitoring| monitoring.record().clone());
                (intent, Phase::Rolling { revision, deployment, since, progressed_at, monitored })
            }
        };
        Some(intent.as_ref().clone().with_phase(phase))
    }

    /// What was decided for the service, if something is under way.
    pub(super) fn intent(&self) -> Option<&Intent> {
        match self {
            Self::Idle => None,
            Self::Verifying { intent, .. }
            | Self::Registering { intent, .. }
            | Self::Updating { intent, .. }
            | Self::Tasking { intent, .. }
            | Self::Rolling { intent, .. } => Some(intent),
        }
    }

    /// Whether ECS rolls it, or nothing is under way: only then newer pushes are decided.
    pub(super) fn may_decide(&self) -> bool {
        match self {
            Self::Idle | Self::Rolling { .. } => true,
            Self::Verifying { .. } | Self::Registering { .. } | Self::Updating { .. } | Self::Tasking { .. } => false,
        }
    }

    /// Whether ECS is to be asked now how far the rollout got.
    pub(super) fn is_inspection_due(&self, now: Moment) -> bool {
        match self {
            Self::Verifying { inspection, .. } => inspection.is_due(now),
            Self::Idle
            | Self::Registering { .. }
            | Self::Updating { .. }
            | Self::Tasking { .. }
            | Self::Rolling { .. } => false,
        }
    }

    /// When time alone makes a difference: ECS is asked again how far the rollout got, or a task has run for too long.
    pub(super) fn wake(&self) -> Option<Moment> {
        match self {
            Self::Tasking { tasking, .. } => tasking.deadline(),
            Self::Verifying { inspection: Inspection::Again(at), .. } => Some(*at),
            Self::Idle
            | Self::Verifying { .. }
            | Self::Registering { .. }
            | Self::Updating { .. }
            | Self::Rolling { .. } => None,
        }
    }

    /// Whether UpdateService may have been called for the rollout under way, and its answer is not known.
    pub(super) fn may_be_updated(&self) -> bool {
        match self {
            Self::Verifying { recorded: Recorded::Registered(_), .. }
            | Self::Updating { turn: Turn::UnderWay { .. }, .. } => true,
            Self::Verifying { recorded: Recorded::Intended, .. }
            | Self::Updating { turn: Turn::Waiting { .. } | Turn::Rechecking, .. }
            | Self::Idle
            | Self::Registering { .. }
            | Self::Tasking { .. }
            | Self::Rolling { .. } => false,
        }
    }

    /// Whether a call is under way that may change what ECS knows, or that tells how far the rollout got.
    pub(super) fn is_in_flight(&self) -> bool {
        match self {
            Self::Idle | Self::Rolling { .. } => false,
            Self::Tasking { tasking, .. } => tasking.is_in_flight(),
            Self::Verifying { inspection, .. } => matches!(inspection, Inspection::UnderWay(_)),
            Self::Registering { turn, .. } | Self::Updating { turn, .. } => match turn {
                Turn::Waiting { .. } => false,
                Turn::Rechecking | Turn::UnderWay { .. } => true,
            },
        }
    }
}
