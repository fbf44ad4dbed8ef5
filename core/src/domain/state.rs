//! What must survive a crash: how far CloudTrail was read, what was asked for, what is under way, what is held, what happened.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::discovery::Discovered;
use super::image::Pin;
use super::monitor::Monitored;
use super::policy::{By, Policy};
use super::printable;
use super::settings::{PinMode, RepositoryKey};
use super::task::TaskRun;
use super::types::{ContextName, DeploymentId, Digest, ServiceKey, TaskDefinitionArn};
use super::waiting::Waiting;

mod approval;
mod auditing;
mod decision;
mod history;
mod hold;
mod operator_command;
mod outcome;
mod push;
mod reading;
mod seen;
mod shared_map;
mod sightings;

pub use approval::{Approval, GateRefusal, WindowPass};
pub use auditing::{AuditProgress, AuditRound, AuditState};
pub use decision::Decision;
pub use hold::{DigestHold, ReplacedExternally, ServiceHold};
pub use operator_command::{CommandRecord, OperatorCommand};
pub use outcome::{Outcome, OutcomeKind};
pub use push::PushRef;
pub use reading::{ContextState, EVENT_HISTORY, REREAD, ReadingProgress, Span, before};
pub use seen::{Seen, UnconfiguredEvents};
pub use shared_map::SharedMap;
pub use sightings::{Sighted, Sighting, Sightings};

/// The version of the format that this program writes.
pub const VERSION: u64 = 1;
/// Decisions kept for all services together.
const DECISIONS: usize = 100;
/// Pushes kept for each service and repository while none of them is decided.
pub const PENDING: usize = 16;

/// Everything that is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What was read, by AWS context.
    pub contexts: BTreeMap<ContextName, ContextState>,
    /// What is known of each service that was ever asked for.
    pub services: SharedMap<ServiceKey, ServiceState>,
    /// How far changes to ECS were read, by AWS context, where they are followed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub audits: BTreeMap<ContextName, AuditState>,
    /// The last decisions about pushes, newest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub decisions: VecDeque<Decision>,
}

impl State {
    /// Writes down what was decided about a push.
    pub fn note_decision(&mut self, decision: Decision) {
        self.decisions.push_front(decision);
        self.decisions.truncate(DECISIONS);
    }

    /// Forgets services that left the configuration, nothing has happened to for as long as CloudTrail remembers, and no operator holds. Where
    /// services come and go, as those of branches do, the state does not grow with them.
    pub fn forget_services(&mut self, configured: impl Fn(&ServiceKey) -> bool, now: Timestamp) {
        let before = before(now, EVENT_HISTORY);
        self.services.retain(|key, known| {
            let is_busy = known.rollout.is_some() || !known.pending.is_empty();
            let is_kept = known.service_hold.is_some() || known.discovered.is_some();
            is_busy || is_kept || configured(key) || known.last_change().is_some_and(|last| last > before)
        });
    }
}

/// What is known of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Pushes that were read but not decided yet, newest first.
    #[serde(rename = "wanted", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pending: BTreeMap<RepositoryKey, Vec<PushRef>>,
    /// The newest push that was decided, by repository: an older one is superseded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decided: BTreeMap<RepositoryKey, PushRef>,
    /// Since when the service is known, where it is compared with ECR every so often: what was pushed before is not deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_since: Option<Timestamp>,
    /// What this program deployed last and saw complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed: Option<Deployed>,
    /// What is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// What failed and was left in place.
    #[serde(rename = "left", default, skip_serializing_if = "Option::is_none")]
    pub failed_in_place: Option<FailedInPlace>,
    /// Digests that are not deployed again before a newer push or a release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: BTreeMap<RepositoryKey, DigestHold>,
    /// What another deployer replaced while it was rolled out, by repository.
    #[serde(rename = "ousted", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced_externally: BTreeMap<RepositoryKey, ReplacedExternally>,
    /// An operator holds the whole service: nothing is deployed to it before a release.
    #[serde(rename = "frozen", default, skip_serializing_if = "Option::is_none")]
    pub service_hold: Option<ServiceHold>,
    /// What waits at a hook of ECS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// What waits at a gate, before its rollout begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gated: Option<Waiting>,
    /// The digests that operators approved, and that were not rolled out yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub approved: BTreeMap<RepositoryKey, Approval>,
    /// An operator has windows and freezes passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes_windows: Option<WindowPass>,
    /// What a gate refused last: a release has it judged again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<RepositoryKey, GateRefusal>,
    /// What the tasks before a rollout have succeeded for, by repository, until that rollout is complete: they do not run for it again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prepared: BTreeMap<RepositoryKey, Target>,
    /// What is known of the service because it was found by its tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<Discovered>,
    /// The last outcomes, newest first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub history: VecDeque<Outcome>,
    /// The last commands of operators, newest first.
    #[serde(rename = "orders", default, skip_serializing_if = "VecDeque::is_empty")]
    pub commands: VecDeque<CommandRecord>,
}

impl ServiceState {
    /// Adds a push that has to be decided. Several are kept, newest first: should the newest be gone from ECR, the next one counts
    /// (decision 4).
    pub fn add_pending(&mut self, repository: &RepositoryKey, push: PushRef) {
        let pending = self.pending.entry(repository.clone()).or_default();
        if pending.iter().any(|other| other.event == push.event) {
            return;
        }
        let place = pending.iter().position(|other| other.is_older_than(&push)).unwrap_or(pending.len());
        pending.insert(place, push);
    }

    /// Keeps the number of undecided pushes to a repository bounded. Gives the one that is dropped: the one which the policy wants least,
    /// so that nothing is dropped that could win. Where the text of the tag decides, that is not the oldest one. What an operator or a
    /// comparison with ECR asks for is never dropped.
    pub fn bound_pending(&mut self, repository: &RepositoryKey, policy: &dyn Policy) -> Option<PushRef> {
        let pending = self.pending.get_mut(repository).filter(|pending| pending.len() > PENDING)?;
        let rank = |push: &PushRef| {
            let by_text = push.tag.as_ref().filter(|_| policy.order() == By::Text);
            (by_text.and_then(|tag| policy.rank(tag, push.at)), push.rank())
        };
        let droppable = pending.iter().enumerate().filter(|(_, push)| push.tag.is_some());
        let (place, _) = droppable.min_by_key(|(_, push)| rank(push))?;
        Some(pending.remove(place))
    }

    /// Whether a revision was made here, for a rollout that has ended.
    #[must_use]
    pub fn made(&self, revision: &TaskDefinitionArn) -> bool {
        self.deployed.as_ref().is_some_and(|deployed| &deployed.revision == revision)
            || self.history.iter().any(|outcome| outcome.revision.as_ref() == Some(revision))
    }

    /// What waits, for those who look: what ECS rolls already comes first.
    #[must_use]
    pub fn what_waits(&self) -> Option<&Waiting> {
        self.waiting.as_ref().or(self.gated.as_ref())
    }

    /// Whether something is not deployed to the service before a release or a newer push.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.service_hold.is_some() || !self.held.is_empty()
    }

    /// When something last happened that is on record.
    #[must_use]
    pub fn last_change(&self) -> Option<Timestamp> {
        let ended = self.history.iter().map(|outcome| outcome.ended_at);
        let given = self.commands.iter().map(|command| command.at);
        let held = self.held.values().map(|hold| hold.since);
        let decided = self.decided.values().map(|push| push.at);
        let deployed = self.deployed.iter().map(|deployed| deployed.since);
        ended.chain(given).chain(held).chain(decided).chain(deployed).max()
    }
}

/// A digest of one repository, and the push that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// What runs, or shall run.
    pub digest: Digest,
    /// The push that asked for it.
    pub push: PushRef,
    /// When ECR got it: later than the push that brought the tag, where that moved on since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pushed_at: Option<Timestamp>,
}

/// A revision that was rolled out completely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The revision of the task definition.
    pub revision: TaskDefinitionArn,
    /// The digests it runs, by repository. More than one for a service under several repositories.
    pub targets: BTreeMap<RepositoryKey, Target>,
    /// When its rollout was complete.
    pub since: Timestamp,
    /// Whether the revision names an image in ECR by a tag, so that the tasks have to be asked what it means.
    #[serde(default)]
    pub names_tags: bool,
    /// Where to go back to, where an operator rolls back.
    #[serde(rename = "way_back", default, skip_serializing_if = "Option::is_none")]
    pub rollback_target: Option<RollbackTarget>,
    /// The rollout that brought it, as long as no task has run it because the desired count was 0: it is judged when tasks first run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unproven: Option<Box<Rollout>>,
    /// After going back to what no push brought here: the references of what ran, by container, pinned to its digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pinned: BTreeMap<String, String>,
}

/// A revision that failed, and that the service was left with: because the configuration says so, or because the rollback failed, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedInPlace {
    /// The revision of the task definition.
    pub revision: TaskDefinitionArn,
    /// The digests that it brought, by repository.
    pub targets: BTreeMap<RepositoryKey, Target>,
    /// Where to go back to, where an operator rolls back.
    #[serde(rename = "way_back")]
    pub rollback_target: RollbackTarget,
}

/// What was decided about a service, however far it got.
pub type Intent = Rollout<()>;

/// A rollout on its way, forward or back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout<P = Phase> {
    /// Whether it brings a new image, or takes one back.
    pub direction: Direction,
    /// The digests that it brings, by repository; for a rollback: the ones that failed.
    pub targets: BTreeMap<RepositoryKey, Target>,
    /// The revision that the service ran when this was decided.
    pub replaces: TaskDefinitionArn,
    /// The revision that the new one is made from.
    pub base: TaskDefinitionArn,
    /// The images it changes, by container: the whole reference that the new revision names.
    pub images: BTreeMap<String, String>,
    /// Where to go back to if it fails.
    #[serde(rename = "way_back")]
    pub rollback_target: RollbackTarget,
    /// How far it got.
    pub phase: P,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Whether the new revision names an image in ECR by a tag.
    #[serde(default)]
    pub names_tags: bool,
    /// The rollout that this one supersedes, as long as ECS rolls that one: until the service is updated to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Box<Rollout<Phase>>>,
}

impl Rollout {
    /// What was decided, and how far it got.
    #[must_use]
    pub fn split(self) -> (Intent, Phase) {
        self.replace_phase(())
    }
}

impl Intent {
    /// The rollout that got so far.
    #[must_use]
    pub fn with_phase(self, phase: Phase) -> Rollout {
        self.replace_phase(phase).0
    }
}

impl<P> Rollout<P> {
    /// Whether it brings pushed images. Otherwise it takes them back.
    #[must_use]
    pub fn is_forward(&self) -> bool {
        self.direction == Direction::Forward
    }

    /// Whether a service that runs this revision is as it was when this was decided. ECS may have gone back by itself meanwhile.
    #[must_use]
    pub fn may_follow(&self, revision: &TaskDefinitionArn) -> bool {
        *revision == self.replaces || (!self.is_forward() && *revision == self.rollback_target.revision)
    }

    fn replace_phase<Q>(self, phase: Q) -> (Rollout<Q>, P) {
        let Self {
            direction,
            targets,
            replaces,
            base,
            images,
            rollback_target,
            phase: before,
            decided_at,
            names_tags,
            supersedes,
        } = self;
        let rollout = Rollout {
            direction,
            targets,
            replaces,
            base,
            images,
            rollback_target,
            phase,
            decided_at,
            names_tags,
            supersedes,
        };
        (rollout, before)
    }
}

/// Whether a rollout goes forward or back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Direction {
    /// To a pushed image.
    Forward,
    /// To what ran before, because of a failure.
    Back {
        /// What failed, for people.
        #[serde(deserialize_with = "printable::text")]
        because: String,
    },
}

/// The revision that ran before, and how to run just that again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackTarget {
    /// The revision. It is never deregistered (decision 29).
    pub revision: TaskDefinitionArn,
    /// Where that revision names an image in ECR by a tag, which may mean another image by then: the references, pinned to the digests
    /// that ran, by container, whatever `pin` says (decision 23).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pinned: BTreeMap<String, String>,
    /// The digests that this program deployed with that revision, by repository.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<RepositoryKey, Target>,
}

/// How far a rollout got. Each step is on disk before the next one is taken (decision 13).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Phase {
    /// Decided. The revision may have been registered, if the process died then.
    Intended,
    /// The revision is there. The service may have been updated, if the process died then.
    Registered {
        /// The revision of the task definition.
        revision: TaskDefinitionArn,
    },
    /// ECS rolls it out.
    Rolling {
        /// The revision of the task definition.
        revision: TaskDefinitionArn,
        /// The deployment that UpdateService started, or that was found to roll the revision: its outcome is the rollout's.
        deployment: DeploymentId,
        /// When UpdateService was answered, or the deployment was found.
        since: Timestamp,
        /// When it was last seen to make progress: the deadline for progress goes on from there after a restart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progressed_at: Option<Timestamp>,
        /// What is kept of the watch over it since ECS has completed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        monitored: Option<Monitored>,
    },
    /// A one-off task of the rollout runs: before the service is updated, or after ECS has completed it.
    Task {
        /// The revision of the task definition.
        revision: TaskDefinitionArn,
        /// The deployment, where ECS has completed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rolled: Option<Rolled>,
        /// The task that is under way.
        run: Box<TaskRun>,
    },
}

/// A deployment that ECS has completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rolled {
    /// The deployment that is watched.
    pub deployment: DeploymentId,
    /// When UpdateService was answered, or the deployment was found.
    pub since: Timestamp,
    /// The tasks that were wanted when ECS had completed it, where it is watched further once it is verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<i32>,
}

impl Phase {
    /// Whether ECS was told to roll the revision.
    #[must_use]
    pub fn is_in_ecs(&self) -> bool {
        match self {
            Self::Intended | Self::Registered { .. } | Self::Task { rolled: None, .. } => false,
            Self::Rolling { .. } | Self::Task { rolled: Some(_), .. } => true,
        }
    }

    /// The revision, once it is known.
    #[must_use]
    pub fn revision(&self) -> Option<&TaskDefinitionArn> {
        match self {
            Self::Intended => None,
            Self::Registered { revision } | Self::Rolling { revision, .. } | Self::Task { revision, .. } => {
                Some(revision)
            }
        }
    }
}

/// What the new reference of a container shall pin, given the configuration's mode. Without a tag there is only the digest.
#[must_use]
pub fn pin_of(mode: PinMode, target: &Target) -> Pin {
    match (mode, &target.push.tag) {
        (PinMode::Tag, Some(tag)) => Pin::Tag(tag.clone()),
        (PinMode::Tag, None) | (PinMode::Digest, _) => Pin::Digest(target.digest.clone()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
