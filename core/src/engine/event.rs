//! What happens, as a closed set. Four subscribers read it: the history in the state, the notifications, the log and the metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::audit::{Change, Concern};
use crate::domain::aws_error::AwsError;
use crate::domain::discovery::{Discovered, Doubt};
use crate::domain::notification::{HeldPush, Named};
use crate::domain::operator_command::Refused;
use crate::domain::rollout::Counts;
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::{OperatorCommand, Outcome, PushRef, Target};
use crate::domain::task::{TaskKind, TaskOutcome};
use crate::domain::types::{
    ContextName, DeploymentId, Digest, EventId, RepositoryName, ServiceKey, Tag, TaskDefinitionArn,
};
use crate::domain::waiting::{Gate, Waiting};

/// Something that happened to the daemon as a whole, to a push, or to a service.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A push event was read that no service can take.
    PushSkipped(PushSkipped),
    /// A push event was read that services have to decide about.
    PushSeen {
        /// The AWS context that the repository lives in.
        aws: ContextName,
        /// The repository of the image.
        repository: RepositoryName,
        /// The tag, as far as the record has it.
        tag: Option<Tag>,
        /// The id of CloudTrail's event.
        event: EventId,
        /// When it was pushed.
        pushed_at: Timestamp,
        /// The time from the push to this moment.
        seen_after: SignedDuration,
        /// The number of services that decide about it.
        services: usize,
        /// The source that it was seen by.
        source: PushSource,
    },
    /// A source has reported a push that another one had reported before.
    PushToldAgain {
        /// The AWS context that the repository lives in.
        aws: ContextName,
        /// The repository of the image.
        repository: RepositoryName,
        /// The source that reported the push.
        source: PushSource,
        /// The time from the push to this moment.
        after: SignedDuration,
    },
    /// A comparison with ECR has found a push that no source had reported, and a service is rolled to it.
    PushMissed(Missed),
    /// ECR could not be asked for a comparison.
    NotCompared {
        /// The repository that was pushed to.
        repository: RepositoryKey,
        /// Why AWS did not answer.
        error: AwsError,
    },
    /// A message of a queue was taken that tells of a push.
    MessageTaken {
        /// The AWS context of the queue.
        aws: ContextName,
        /// What the push is.
        taken: Taken,
    },
    /// The last service has decided about a push, or the first one deploys it: it counts once.
    PushSettled {
        /// The repository of the image.
        repository: RepositoryName,
        /// Why no service deploys it; `None` if one does.
        skipped: Option<SkipReason>,
    },
    /// What CloudTrail remembers does not reach back to what was read last.
    HistoryGap {
        /// The AWS context that it belongs to.
        aws: ContextName,
        /// Up to when it was read.
        since: Timestamp,
    },
    /// A call that changes ECS was read.
    Changed {
        /// The AWS context that it belongs to.
        aws: ContextName,
        /// The call as CloudTrail reports it.
        change: Box<Change>,
        /// The service of the configuration that it is about.
        watched: Option<Named>,
        /// Whether it is the daemon's own, or about a configured service.
        concern: Concern,
    },
    /// The state could not be written: nothing is deployed until it can.
    StateUnwritable(String),
    /// The state can be written again.
    StateWritable,
    /// A command names no service of the configuration.
    CommandUnknown {
        /// The name that the operator gave.
        named: String,
        /// The command that was given.
        command: OperatorCommand,
        /// The operator who gave the command.
        by: String,
        /// What the operator is answered.
        refused: Refused,
    },
    /// Services were looked for by their tag.
    Discovery(DiscoveryEvent),
    /// Something happened to one service.
    Service(ServiceKey, ServiceEvent),
}

/// What a push event is to those who follow repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nobody had reported it before.
    New,
    /// It was known already.
    Duplicate,
    /// Nobody follows the repository.
    Foreign,
}

/// A push that no source had reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The repository that was pushed to.
    pub repository: RepositoryKey,
    /// The tag by which it was found.
    pub tag: Option<Tag>,
    /// The digest of the image.
    pub digest: Digest,
    /// When ECR got it.
    pub pushed_at: Timestamp,
    /// The time from the push to this moment.
    pub seen_after: SignedDuration,
}

/// What a look at the tags of services brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryEvent {
    /// A service was found.
    Found(ServiceKey, Discovered),
    /// Its tag names another policy, or its containers other repositories.
    Changed(ServiceKey, Discovered),
    /// Its tag is gone: it is left as it is.
    Gone(ServiceKey, Discovered),
    /// Something is wrong with a service that has the tag.
    Doubted(ServiceKey, Doubt),
    /// So many services of a context are followed because they were found.
    Followed(ContextName, usize),
}

/// A push event that concerns no service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSkipped {
    /// The AWS context that it was read in.
    pub aws: ContextName,
    /// The repository, as far as the record names one.
    pub repository: Option<RepositoryName>,
    /// The same, if it is in the configuration.
    pub configured: Option<RepositoryKey>,
    /// The tag, as far as the record has it.
    pub tag: Option<Tag>,
    /// The id of CloudTrail's event.
    pub event: EventId,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// Why it is not deployed.
    pub reason: SkipReason,
    /// What the reason alone does not say, for people.
    pub detail: String,
}

/// Something that happened to one service.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceEvent {
    /// The service does not deploy a push.
    PushSkipped {
        /// The repository that was pushed to.
        repository: RepositoryKey,
        /// The push that is not deployed.
        push: PushRef,
        /// Why it is not deployed.
        reason: SkipReason,
        /// What the reason alone does not say, for people.
        detail: String,
    },
    /// An image that is held for the service was to be pushed again. ECR has it already, so the push failed.
    HeldPushedAgain(HeldPush),
    /// A rollout is begun although something about it is doubtful.
    Warned(String),
    /// ECS cannot, or must not, roll the service.
    Refused(Outcome),
    /// A rollout to pushed images is decided.
    RolloutDecided {
        /// The images that it brings, by repository.
        targets: BTreeMap<RepositoryKey, Target>,
        /// The revision that it replaces.
        from: TaskDefinitionArn,
        /// The revision to go back to.
        rollback_target: TaskDefinitionArn,
        /// Its images by container, pinned to what runs.
        pinned: BTreeMap<String, String>,
    },
    /// It was found out how far an unfinished rollout got.
    Resumed(ResumedAt),
    /// The new revision is registered.
    RevisionRegistered(TaskDefinitionArn),
    /// The service is set to the new revision.
    ServiceUpdated {
        /// The revision of the task definition.
        revision: TaskDefinitionArn,
        /// The deployment that rolls it.
        deployment: DeploymentId,
    },
    /// A new deployment of the same revision is watched from here on.
    DeploymentAdopted(DeploymentId),
    /// A rollout was seen to go on.
    RolloutProgressed {
        /// Whether it goes back.
        back: bool,
        /// The tasks of its deployment.
        counts: Counts,
        /// How long it has been rolling.
        elapsed: Duration,
    },
    /// A rollout has come to its end.
    RolloutEnded {
        /// How the rollout ended.
        outcome: Outcome,
        /// Whether it went back.
        back: bool,
        /// The time from the decision to the end.
        took: Duration,
    },
    /// The service runs a push completely, so long after it was made.
    PushStable(Duration),
    /// A digest is not deployed to the service before a newer push or a release.
    DigestHeld {
        /// The repository of the image.
        repository: RepositoryName,
        /// The digest of the image.
        digest: Digest,
    },
    /// The service goes back to what ran before.
    RollbackBegun {
        /// The revision of the task definition.
        revision: TaskDefinitionArn,
        /// Its images by container, pinned to what ran.
        pinned: BTreeMap<String, String>,
    },
    /// A call to AWS failed.
    CallFailed {
        /// How the call failed.
        error: AwsError,
        /// The pause before the next attempt.
        retry_in: Duration,
        /// Whether the same error was told before.
        repeated: bool,
    },
    /// Calls that had failed work again.
    CallsRecovered,
    /// Something that only explains other events could not be asked.
    Unexplained {
        /// What is not known.
        what: &'static str,
        /// How the call failed.
        error: AwsError,
    },
    /// A command was carried out, or refused.
    CommandAnswered {
        /// The command that was given.
        command: OperatorCommand,
        /// The operator who gave the command.
        by: String,
        /// What the operator is answered.
        answer: Result<String, Refused>,
    },
    /// ECS has started a one-off task of a rollout.
    TaskStarted {
        /// Whether it runs before or after the rollout.
        kind: TaskKind,
        /// Which of the tasks it is, from 1.
        number: u32,
        /// The command that it runs.
        command: String,
        /// The ARN of the task.
        arn: String,
    },
    /// A one-off task of a rollout ended.
    TaskEnded(EndedTask),
    /// ECS has completed a rollout, which stays under watch for so long.
    MonitoringBegun(Duration),
    /// Tasks run a revision that was rolled out while the desired count was 0.
    Proven(Counts),
    /// Something waits for the service.
    Waits(Waiting),
    /// Something has waited for long.
    WaitsLong(Waiting),
    /// What waited there does not any more.
    WaitsNoLonger(Gate),
    /// The service left the configuration: its undecided pushes are dropped.
    PendingDropped,
    /// The counts that are shown of the service.
    Counted(ServiceCounts),
}

/// A one-off task that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedTask {
    /// Whether it ran before or after the rollout.
    pub kind: TaskKind,
    /// Which of the tasks it was, from 1.
    pub number: u32,
    /// How the task ended.
    pub outcome: TaskOutcome,
    /// The command that it runs.
    pub command: String,
    /// Its ARN, if ECS has started it.
    pub arn: Option<String>,
    /// Where its log is, as far as that is known.
    pub log: Option<String>,
    /// What the outcome alone does not say, for people.
    pub why: String,
    /// How long it ran.
    pub took: Duration,
}

/// How far an unfinished rollout was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResumedAt {
    /// Its revision is not registered.
    NotRegistered,
    /// Its revision is registered, the service is not updated.
    NotUpdated,
    /// The service is updated.
    Updated,
    /// The service was changed by somebody else.
    Overtaken,
    /// ECS gave its revision up.
    GivenUp,
    /// The service is gone.
    ServiceGone,
}

/// What is counted of the services of one cluster and name, in all AWS contexts together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServiceCounts {
    /// The number of rollouts under way.
    pub rolling: usize,
    /// Services of which something is held.
    pub held: usize,
    /// Pushes that are not decided.
    pub undecided: usize,
    /// Where ECS waits for one of the services.
    pub waiting: Option<Gate>,
    /// The gate at which a push waits for one of the services.
    pub gated: Option<Gate>,
    /// Whether one of the services is in the configuration.
    pub configured: bool,
}

impl ServiceCounts {
    /// Whether there is nothing to tell of a service of the configuration.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self { configured: true, ..Self::default() }
    }
}
