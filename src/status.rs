//! How things are, for people and programs: what runs, what rolls, what is held, what happened. The shape is part of the public surface.

mod of_state;
mod standing;
#[cfg(test)]
pub(crate) mod test_support;
mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::domain::audit::{Change, Concern};
use crate::domain::rollout::Counts;
use crate::domain::source::FirstSeen;
use crate::domain::state::{CommandRecord, Decision, OutcomeKind, ServiceHold};
use crate::domain::task::TaskKind;
use crate::domain::types::ContextName;
use crate::domain::waiting::Waiting;

pub use standing::Standing;
pub use words::{Comparison, Origin, PushDecision, PushForecast, Step, Way};

/// The version of the shape. What is added does not change it.
const VERSION: u32 = 1;

/// The status of the daemon and of all services.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The version of this shape.
    pub version: u32,
    /// When this was so.
    pub at: Timestamp,
    /// Where it comes from.
    pub source: Origin,
    /// The daemon, if one is running.
    #[serde(default)]
    pub daemon: Option<DaemonStatus>,
    /// The table that this was read from, where that is the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableStatus>,
    /// How far CloudTrail was read.
    pub contexts: Vec<ContextStatus>,
    /// The services, in the order of their keys: those of the configuration, and those that left it in the middle of something.
    pub services: Vec<ServiceStatus>,
    /// The last pushes that concern a repository of the configuration, newest first: at most 100.
    #[serde(default)]
    pub pushes: Vec<PushStatus>,
    /// The last changes to ECS, newest first, as read since the daemon was started.
    #[serde(default)]
    pub changes: Vec<ChangeStatus>,
}

/// A call to ECS that somebody made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChangeStatus {
    /// The name of the AWS context.
    pub aws: String,
    /// The id of CloudTrail's event.
    pub event: String,
    /// When the call was made.
    pub at: Timestamp,
    /// The name of the call: `UpdateService`.
    pub call: String,
    /// What it was about.
    pub target: String,
    /// Who made the call.
    pub who: String,
    /// From which address, or by which AWS service.
    pub from: String,
    /// The user agent of the program that made it.
    pub agent: String,
    /// Whether it is the daemon's own, or about a configured service.
    pub concern: Concern,
    /// The error code, where AWS refused it.
    pub error: Option<String>,
}

impl ChangeStatus {
    /// What is reported of a change.
    #[must_use]
    pub fn of(aws: &ContextName, change: &Change, concern: Concern) -> Self {
        Self {
            aws: aws.to_string(),
            event: change.event.id.to_string(),
            at: change.event.time,
            call: change.name.to_string(),
            target: change.target.clone(),
            who: change.who.clone(),
            from: change.source.clone(),
            agent: change.agent.clone(),
            concern,
            error: change.error.clone(),
        }
    }
}

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The version of the daemon.
    pub program_version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// Why the state cannot be written, if it cannot: nothing is deployed until it can.
    #[serde(rename = "state_trouble")]
    pub state_error: Option<String>,
    /// Why changes to ECS cannot be read, where they are followed and cannot: by AWS context.
    #[serde(rename = "audit_trouble", default)]
    pub audit_errors: BTreeMap<String, String>,
}

/// The table of several replicas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableStatus {
    /// Who holds the lease: the active replica, unless it has just died.
    pub active: Option<String>,
    /// When the state was written last, by the clock of the replica that wrote it.
    pub written_at: Option<Timestamp>,
}

/// A push, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PushStatus {
    /// The AWS context that the repository lives in.
    pub aws: String,
    /// The repository of the image.
    pub repository: Option<String>,
    /// The tag, as far as the record has it.
    pub tag: Option<String>,
    /// The id of CloudTrail's event.
    pub event: String,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// `CLUSTER/SERVICE`, unless it concerns none.
    pub service: Option<String>,
    /// What was decided about the push.
    pub decision: PushDecision,
    /// What the reason alone does not say, for people.
    pub detail: String,
    /// When it was first seen, and by which source, where the context has others beside CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<FirstSeen>,
}

impl PushStatus {
    /// What is reported of a decision.
    #[must_use]
    pub fn of(decision: &Decision, config: &Config) -> Self {
        Self {
            aws: decision.aws.to_string(),
            repository: decision.repository.as_ref().map(ToString::to_string),
            tag: decision.tag.as_ref().map(ToString::to_string),
            event: decision.event.to_string(),
            pushed_at: decision.pushed_at,
            decided_at: decision.decided_at,
            service: decision.service.as_ref().map(|key| config.name_of(key)),
            decision: PushDecision::of_decision(decision),
            detail: decision.detail.clone(),
            seen: decision.seen,
        }
    }
}

/// How the reading of one AWS context stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContextStatus {
    /// The name of the AWS context.
    pub aws: String,
    /// Pushes before this are not deployed.
    pub since: Timestamp,
    /// Events up to here were read.
    pub read_to: Option<Timestamp>,
    /// When it was last polled successfully by this process.
    #[serde(default)]
    pub polled_at: Option<Timestamp>,
    /// Why it cannot be polled now.
    #[serde(rename = "trouble", default)]
    pub last_error: Option<String>,
    /// How late events arrive.
    #[serde(default)]
    pub delivery: Option<DeliveryStatus>,
    /// Its queue, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
}

/// A queue that is read for pushes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// The URL of the queue.
    pub url: String,
    /// When it last answered this process.
    #[serde(default)]
    pub received_at: Option<Timestamp>,
    /// Why it cannot be read now.
    #[serde(rename = "trouble", default)]
    pub last_error: Option<String>,
    /// How long after the push its messages arrive.
    #[serde(default)]
    pub delivery: Option<DeliveryStatus>,
}

/// How long after the push the last events were seen, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// How many pushes it is about: the last ones, at most 50.
    pub pushes: usize,
    /// The time of the last push, in seconds.
    pub last_seconds: f64,
    /// Half of them took no longer.
    pub median_seconds: f64,
    /// The longest time of these pushes, in seconds.
    pub longest_seconds: f64,
}

/// How one service stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The name of the AWS context.
    pub aws: String,
    /// The name of the cluster.
    pub cluster: String,
    /// The name of the service.
    pub service: String,
    /// What it is called, here and in commands: `CLUSTER/SERVICE`, with the AWS context before it where another one is called the same.
    pub name: String,
    /// How it came to be followed, where it is not listed in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovered: Option<DiscoveredStatus>,
    /// What this program deployed last and saw complete.
    pub deployed: Option<Running>,
    /// What ECS says that it is set to; nothing, where no daemon was asked.
    #[serde(default)]
    pub runs: Option<RunsStatus>,
    /// What is under way.
    pub rollout: Option<RolloutStatus>,
    /// Whether an operator holds the whole service.
    #[serde(rename = "frozen")]
    pub service_hold: Option<ServiceHold>,
    /// Digests that are held.
    pub held: Vec<HoldStatus>,
    /// What waits, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Pushes that are not decided yet.
    pub undecided: usize,
    /// The call to AWS that keeps failing.
    #[serde(rename = "trouble")]
    pub last_error: Option<String>,
    /// The last outcomes, newest first.
    pub history: Vec<OutcomeStatus>,
    /// The last commands of operators, newest first.
    #[serde(rename = "orders")]
    pub commands: Vec<CommandRecord>,
}

/// How a service that is not listed came to be followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiscoveredStatus {
    /// The key of its tag.
    pub tag: String,
    /// The policy that the tag names.
    pub policy: String,
    /// When it was found: what was pushed before is not deployed to it.
    pub since: Timestamp,
    /// The repositories that it follows.
    pub repositories: Vec<String>,
}

/// What a service is set to, as ECS says: whoever did that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunsStatus {
    /// When ECS was asked: a minute ago at most, unless there are thousands of services.
    pub seen_at: Timestamp,
    /// The ARN of the revision.
    pub revision: Option<String>,
    /// When its deployment began, if ECS tells.
    pub since: Option<Timestamp>,
    /// Tasks that it shall run.
    pub desired: i32,
    /// The number of tasks that run.
    pub running: i32,
    /// The containers of the revision.
    pub containers: Vec<ContainerStatus>,
    /// Why nothing is known, if that is so.
    #[serde(rename = "trouble")]
    pub last_error: Option<String>,
}

impl RunsStatus {
    /// Nothing is known of it.
    #[must_use]
    pub fn unseen(seen_at: Timestamp, last_error: String) -> Self {
        Self {
            seen_at,
            revision: None,
            since: None,
            desired: 0,
            running: 0,
            containers: Vec::new(),
            last_error: Some(last_error),
        }
    }
}

/// A container of a task definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The name of the container.
    pub name: String,
    /// The image that it names.
    pub image: String,
}

/// A revision that was deployed here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// The ARN of the revision.
    pub revision: String,
    /// Since when that is so.
    pub since: Timestamp,
    /// The images it brought.
    pub images: Vec<ImageStatus>,
    /// No task has run it yet, as the desired count is 0.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unproven: bool,
    /// After going back to what no push brought here: what its containers run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerStatus>,
}

impl Running {
    /// Whether it is known here which images the revision runs. Else ECS has to be asked what it names.
    #[must_use]
    pub fn names_images(&self) -> bool {
        !self.images.is_empty() || !self.containers.is_empty()
    }
}

/// An image of one repository, and the push that asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageStatus {
    /// The repository of the image.
    pub repository: String,
    /// The tag that was pushed.
    pub tag: Option<String>,
    /// The digest of the image.
    pub digest: String,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// The event that reported it.
    pub event: String,
    /// When it was first seen, and by which source, where the context has others beside CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<FirstSeen>,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutStatus {
    /// Whether it brings a new image, or takes one back.
    pub direction: Way,
    /// Why it goes back.
    pub because: Option<String>,
    /// How far it got.
    pub phase: Step,
    /// The revision, once it is registered.
    pub revision: Option<String>,
    /// The deployment, once there is one.
    pub deployment: Option<String>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// The images it brings, or takes away.
    pub images: Vec<ImageStatus>,
    /// Its tasks, as they were seen last.
    pub tasks: Option<Counts>,
    /// ECS's lifecycle stage, where ECS tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The share of the production traffic that the new tasks get, in percent, where ECS moves traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<f64>,
    /// The one-off task that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskStatus>,
}

/// A one-off task of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Whether it runs before or after the rollout.
    pub kind: TaskKind,
    /// Which of the tasks of its kind it is, from 1.
    pub number: u32,
    /// How many tasks follow it.
    pub following: usize,
    /// The command that it runs.
    pub command: String,
    /// The container that runs the command, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The ARN, once ECS has started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// When ECS started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Where its log is, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl TaskStatus {
    /// What it does, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let what = if self.arn.is_some() { "runs" } else { "is about to run" };
        let following = if self.following == 0 { String::new() } else { format!(", {} to follow", self.following) };
        format!("{} task `{}` {what}{following}", self.kind, self.command)
    }
}

impl RolloutStatus {
    /// Where ECS is with it, for people; empty where ECS does not tell.
    #[must_use]
    pub fn stage_and_traffic(&self) -> String {
        let stage = self.stage.as_ref().map(|stage| format!(", {stage}")).unwrap_or_default();
        let traffic = self.traffic.map(|percent| format!(", {percent} % of the traffic")).unwrap_or_default();
        format!("{stage}{traffic}")
    }
}

/// A digest that is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HoldStatus {
    /// The repository of the image.
    pub repository: String,
    /// The digest of the image.
    pub digest: String,
    /// Since when that is so.
    pub since: Timestamp,
    /// Why it is held, for people.
    pub reason: String,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeStatus {
    /// How the rollout ended.
    pub result: OutcomeKind,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When the rollout ended.
    pub ended_at: Timestamp,
    /// The ARN of the revision, once it is registered.
    pub revision: Option<String>,
    /// The images that it brought.
    pub images: Vec<ImageStatus>,
    /// What to know about it.
    pub detail: String,
}
