//! One-off tasks of a rollout: those before the service is updated, such as migrations, and those after it is complete, such as smoke tests.
//!
//! What is sent to RunTask is made here from what the service is set to, and what the end of a task means is read here.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::event::hex;
use super::image::ImageReference;
use super::settings::RepositoryKey;
use super::task_definition::{Registration, TaskDefinition};
use super::types::{ServiceKey, TaskDefinitionArn};
use super::words::{words, words_in_json};

/// Whose tasks these are, for those who look at ECS (`startedBy`, at most 128 characters).
const STARTED_BY: &str = "ecs-deployd";

words! {
    /// When a one-off task runs.
    pub enum TaskKind {
        Before = "before", "From the new revision, before the service is updated.";
        Verify = "verify", "After the rollout is complete.";
    }
}

words_in_json!(TaskKind);

words! {
    /// How a one-off task ended.
    pub enum TaskOutcome {
        Succeeded = "succeeded", "The container that runs the command exited with 0.";
        Failed = "failed", "It exited with something else or could not be started, or nobody knows how it ended.";
        TimedOut = "timed_out", "It was stopped at its `timeout`.";
        NotStarted = "not_started", "ECS did not take it.";
    }
}

/// A one-off task as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The command, in place of the image's own; empty: the image's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The container that runs the command; without it the first one whose image is from the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How long it may take, in seconds.
    pub timeout_seconds: u64,
    /// Another family of task definitions, in place of the service's revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
}

impl TaskSpec {
    /// How long it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }
}

impl fmt::Display for TaskSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.command[..] {
            [] => f.write_str("the image's own command"),
            words => f.write_str(&words.join(" ")),
        }
    }
}

/// A one-off task of a rollout, and the repository whose image brings it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedTask {
    /// The repository that was pushed to.
    pub repository: RepositoryKey,
    /// The task as it is configured.
    pub spec: TaskSpec,
}

/// The tasks of several repositories, in order. What two of them have in common runs once.
#[must_use]
pub fn each_once(tasks: impl IntoIterator<Item = PlannedTask>) -> Vec<PlannedTask> {
    let mut planned: Vec<PlannedTask> = Vec::new();
    for task in tasks {
        if planned.iter().all(|known| known.spec != task.spec) {
            planned.push(task);
        }
    }
    planned
}

/// A one-off task that is under way, and those that follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRun {
    /// Whether it runs before or after the rollout.
    pub kind: TaskKind,
    /// Which of the tasks it is, from 1.
    pub number: u32,
    /// The task that is planned.
    pub task: PlannedTask,
    /// Those that follow it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<PlannedTask>,
    /// How far it got.
    pub progress: TaskProgress,
}

/// How far a one-off task got. Each step is on disk before the next one is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum TaskProgress {
    /// What it needs is being found out.
    Preparing,
    /// RunTask may have been called.
    Starting {
        /// The request that is sent to ECS.
        request: TaskRequest,
        /// How often RunTask was answered that nothing was started. Each attempt has a client token of its own.
        attempt: u32,
        /// Since when ECS lacks the resources for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        short_since: Option<Timestamp>,
    },
    /// ECS has started it.
    Running {
        /// The task that runs.
        running: RunningTask,
    },
}

/// What is sent to RunTask, the client token aside: the same each time, whatever has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRequest {
    /// The request, as JSON.
    pub body: String,
    /// The container that runs the command.
    pub container: String,
    /// Where its log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLocation>,
}

/// A task that ECS has started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningTask {
    /// The ARN of the task.
    pub arn: String,
    /// The container that runs the command.
    pub container: String,
    /// Where its log is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLocation>,
    /// When RunTask was answered.
    pub since: Timestamp,
    /// Since when it is to stop because it has taken too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_since: Option<Timestamp>,
}

impl RunningTask {
    /// The last part of its ARN.
    #[must_use]
    pub fn id(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or(&self.arn)
    }

    /// Where the log of its container is, for people.
    #[must_use]
    pub fn log_text(&self) -> Option<String> {
        let LogLocation { group, prefix } = self.log.as_ref()?;
        Some(match prefix {
            Some(prefix) => format!("log group {group}, stream {prefix}/{}/{}", self.container, self.id()),
            None => format!("log group {group}"),
        })
    }
}

/// Where the `awslogs` driver writes a container's log (Amazon ECS Developer Guide, "Send Amazon ECS logs to CloudWatch").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLocation {
    /// The log group of CloudWatch Logs.
    pub group: String,
    /// What the names of its streams begin with. Without it they are ids that ECS does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// What was found out to start a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// The service as DescribeServices gives it, with its tags; `None` if there is none.
    pub service: Option<Value>,
    /// The revision that the rollout brings.
    pub revision: TaskDefinition,
    /// The latest revision of the task's own family, where it has one; `None` inside if ECS knows none.
    pub family: Option<Option<TaskDefinition>>,
}

/// Why a task cannot be started, whoever tries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unstartable(String);

/// The task definition that a task runs from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The revision that the task is run from.
    Ready(TaskDefinitionArn),
    /// A revision of its own family, which is to be registered.
    Register(Registration),
}

impl Prepared {
    /// The task definition that the task runs from.
    ///
    /// # Errors
    /// There is no such family, or none of its containers takes an image of the repository.
    pub fn source(&self, task: &PlannedTask) -> Result<Source, Unstartable> {
        let Some(family) = &self.family else { return Ok(Source::Ready(self.revision.arn().clone())) };
        let named = task.spec.family.as_deref().unwrap_or_default();
        let unknown = || Unstartable(format!("ECS knows no task definition family {named}"));
        let latest = family.as_ref().ok_or_else(unknown)?;
        let repository = &task.repository.name;
        let brought =
            self.revision.containers().map(|(_, image)| image).find(|image| path(image) == repository.as_str());
        let lacking =
            || Unstartable(format!("no container of {} takes its image from {repository}", latest.arn().short()));
        let brought = brought.ok_or_else(lacking)?;
        let matching = latest.containers().filter(|(_, image)| is_same_repository(image, brought));
        let images: std::collections::BTreeMap<String, String> =
            matching.map(|(name, _)| (name.to_owned(), brought.to_owned())).collect();
        if images.is_empty() {
            return Err(lacking());
        }
        let registration = latest.with_images(&images);
        // A crash may have come between its registration and the record of it.
        match latest.is_active() && latest.says(&registration) {
            true => Ok(Source::Ready(latest.arn().clone())),
            false => Ok(Source::Register(registration)),
        }
    }

    /// What is sent to RunTask.
    ///
    /// # Errors
    /// The service is gone, or there is no such container.
    pub fn request(
        &self,
        key: &ServiceKey,
        task: &PlannedTask,
        from: &TaskDefinitionArn,
    ) -> Result<TaskRequest, Unstartable> {
        let gone = || Unstartable("there is no such service, or it is being deleted".to_owned());
        let service = self.service.as_ref().filter(|service| service["status"] == "ACTIVE").ok_or_else(gone)?;
        let definition = self.family.as_ref().and_then(Option::as_ref).unwrap_or(&self.revision);
        let container = container(definition, task)?;
        let mut body = json!({
            "cluster": key.cluster.as_str(),
            "taskDefinition": from.as_str(),
            "count": 1,
            "startedBy": STARTED_BY,
        });
        for (member, value) in settings(service, definition) {
            body[member] = value;
        }
        if !task.spec.command.is_empty() {
            body["overrides"] = json!({"containerOverrides": [{"name": container, "command": task.spec.command}]});
        }
        let log = definition.log_of(&container).map(|(group, prefix)| LogLocation { group, prefix });
        Ok(TaskRequest { body: body.to_string(), container, log })
    }
}

/// The members of RunTask that are as the service has them.
fn settings(service: &Value, definition: &TaskDefinition) -> Vec<(&'static str, Value)> {
    let mut members = Vec::new();
    let mut copy = |member: &'static str, is_set: bool| {
        if is_set {
            members.push((member, service[member].clone()));
        }
    };
    let is_listed = |member: &str| service[member].as_array().is_some_and(|items| !items.is_empty());
    // RunTask takes one of the two.
    let by_provider = is_listed("capacityProviderStrategy");
    copy("capacityProviderStrategy", by_provider);
    copy("launchType", !by_provider && service["launchType"].is_string());
    copy("platformVersion", service["platformVersion"].as_str().is_some_and(|version| !version.is_empty()));
    // Other network modes take none, and a task of another family may have one of them.
    copy("networkConfiguration", service["networkConfiguration"].is_object() && definition.has_own_network());
    copy("enableExecuteCommand", service["enableExecuteCommand"] == true);
    copy("enableECSManagedTags", service["enableECSManagedTags"] == true);
    // A task beside a service can take the tags of its task definition, and not those of the service.
    copy("propagateTags", service["propagateTags"] == "TASK_DEFINITION");
    let is_own = |tag: &&Value| !tag["key"].as_str().is_some_and(|key| key.to_ascii_lowercase().starts_with("aws:"));
    let tags: Vec<Value> = service["tags"].as_array().into_iter().flatten().filter(is_own).cloned().collect();
    if !tags.is_empty() {
        members.push(("tags", Value::Array(tags)));
    }
    members
}

/// The container that runs the command: the one that is named, or the first one whose image is from the repository.
fn container(definition: &TaskDefinition, task: &PlannedTask) -> Result<String, Unstartable> {
    let revision = definition.arn().short();
    let mut containers = definition.containers();
    let (found, lacking) = match &task.spec.container {
        Some(wanted) => {
            (containers.find(|(name, _)| name == wanted), format!("{revision} has no container named {wanted}"))
        }
        None => {
            let repository = &task.repository.name;
            let found = containers.find(|(_, image)| path(image) == repository.as_str());
            (found, format!("no container of {revision} takes its image from {repository}"))
        }
    };
    found.map(|(name, _)| name.to_owned()).ok_or(Unstartable(lacking))
}

/// What follows the registry's host in an image reference, without tag and digest.
fn path(image: &str) -> &str {
    let name = ImageReference::split(image).name;
    name.split_once('/').map_or(name, |(_, path)| path)
}

/// Whether two references mean the same repository, on whichever of the hosts that its registry answers to.
fn is_same_repository(a: &str, b: &str) -> bool {
    let (a, b) = (ImageReference::split(a), ImageReference::split(b));
    match (a.registry(), b.registry()) {
        (Some(one), Some(other)) => {
            (one.account, one.region) == (other.account, other.region) && path(a.name) == path(b.name)
        }
        (None, None) => a.name == b.name,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

impl TaskRequest {
    /// The request with its client token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Value {
        let mut body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        if let Value::Object(members) = &mut body {
            members.insert("clientToken".to_owned(), Value::String(token.to_owned()));
        }
        body
    }
}

/// The client token of one attempt at one task of a rollout: RunTask starts nothing twice by the same one (at most 64 ASCII characters; Amazon
/// ECS API Reference, "Ensuring idempotency").
#[must_use]
pub fn client_token(service: &ServiceKey, decided_at: Timestamp, run: (TaskKind, u32), attempt: u32) -> String {
    let (kind, number) = run;
    let text = format!("{}/{service} {decided_at} {} {number} {attempt}", service.aws, kind.as_str());
    hex(&Sha256::digest(text.as_bytes()))
}

/// What ECS answers to RunTask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// The ARN of the task that was started.
    Task(String),
    /// Nothing was started, because ECS lacks the resources, which may be there in a moment. In ECS's words.
    Short(String),
    /// Nothing was started, for another reason. In ECS's words.
    Nothing(String),
}

/// A task as DescribeTasks gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskView {
    /// The ARN of the task.
    pub arn: String,
    /// Why it stopped, once it has.
    pub stopped: Option<TaskStop>,
    /// The containers of the task.
    pub containers: Vec<TaskContainer>,
}

/// Why a task stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskStop {
    /// The cause that ECS names for the stop.
    pub cause: StopCause,
    /// `stoppedReason`: the same in ECS's words, for people.
    pub reason: String,
}

/// What stopped a task: `stopCode`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopCause {
    /// A call to StopTask.
    StopTask,
    /// Its own end, or ECS. In ECS's word; empty where ECS gives none.
    Other(String),
}

/// A container of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskContainer {
    /// The name of the container.
    pub name: String,
    /// What it exited with; nothing, if it never ran.
    pub exit_code: Option<i32>,
    /// Why it stopped, or could not be started.
    pub reason: String,
}

/// What the end of a task means, and what is to be known of it; `None` as long as it has not stopped.
#[must_use]
pub fn ended(running: &RunningTask, seen: &TaskView) -> Option<(TaskOutcome, String)> {
    let stop = seen.stopped.as_ref()?;
    let container = seen.containers.iter().find(|container| container.name == running.container);
    let code = container.and_then(|container| container.exit_code);
    let mut texts = vec![code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"))];
    let reasons = [&stop.reason].into_iter().chain(container.map(|container| &container.reason));
    for reason in reasons.filter(|reason| !reason.is_empty()) {
        if !texts.iter().any(|known| known.contains(reason.as_str())) {
            texts.push(reason.clone());
        }
    }
    let outcome = match (running.late_since, code) {
        // What was told to stop may have exited with 0 nevertheless.
        (Some(_), _) if stop.cause == StopCause::StopTask || code != Some(0) => TaskOutcome::TimedOut,
        (_, Some(0)) => TaskOutcome::Succeeded,
        (_, Some(_) | None) => TaskOutcome::Failed,
    };
    Some((outcome, texts.join("; ")))
}
