//! One-off tasks: RunTask starts nothing twice by the same client token, and something each time without one.

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_deployd::domain::aws_error::{AwsError, Fault};
use ecs_deployd::domain::state::Phase;
use ecs_deployd::domain::task::{Started, StopCause, TaskContainer, TaskProgress, TaskStop, TaskView};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::faults::error;
use super::{ACCOUNT, Inner, REGION, World};

/// How long ECS tells of a task that has stopped, unless a test says otherwise.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(1);

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEnd {
    /// Its container exits with this code after a while.
    Exits {
        /// The code.
        code: i32,
        /// How long after it was started.
        after: Duration,
    },
    /// It runs until it is stopped.
    Hangs,
    /// Its image cannot be pulled.
    NotPulled,
}

/// A task that was started.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its ARN.
    pub arn: String,
    /// What was sent to RunTask.
    pub request: Value,
    /// The digests of its containers.
    pub digests: BTreeMap<String, Option<String>>,
    /// When it was started.
    pub at: Timestamp,
    end: TaskEnd,
    /// When somebody stopped it, and why.
    stopped: Option<(Timestamp, String)>,
}

#[derive(Debug, Default)]
pub struct OneOff {
    jobs: Vec<Job>,
    tokens: BTreeMap<String, (Value, String)>,
    ends: BTreeMap<String, TaskEnd>,
    /// So many times there is no capacity.
    short: u32,
    told_for: Option<SignedDuration>,
}

impl Job {
    /// Whether it runs at a time.
    pub fn runs_at(&self, now: Timestamp) -> bool {
        self.stopped_at().is_none_or(|at| at > now)
    }

    fn stopped_at(&self) -> Option<Timestamp> {
        let by_itself = match self.end {
            TaskEnd::Exits { after, .. } => Some(self.at + SignedDuration::try_from(after).unwrap()),
            TaskEnd::NotPulled => Some(self.at + SignedDuration::from_secs(3)),
            TaskEnd::Hangs => None,
        };
        match (by_itself, self.stopped.as_ref().map(|(at, _)| *at)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn view(&self, now: Timestamp) -> TaskView {
        let stopped = self.stopped_at().filter(|at| *at <= now);
        let by_others = self.stopped.as_ref().filter(|(at, _)| stopped == Some(*at));
        let mut view = TaskView { arn: self.arn.clone(), ..TaskView::default() };
        let container = |name: &String| TaskContainer { name: name.clone(), ..TaskContainer::default() };
        view.containers = self.digests.keys().map(container).collect();
        let by_itself = || match self.end {
            TaskEnd::NotPulled => ("TaskFailedToStart", "CannotPullContainerError: simulated"),
            TaskEnd::Exits { .. } | TaskEnd::Hangs => {
                ("EssentialContainerExited", "Essential container in task exited")
            }
        };
        view.stopped = match (stopped, by_others) {
            (None, _) => None,
            (Some(_), Some((_, reason))) => Some(TaskStop { cause: StopCause::StopTask, reason: reason.clone() }),
            (Some(_), None) => {
                let (word, reason) = by_itself();
                Some(TaskStop { cause: StopCause::Other(word.to_owned()), reason: reason.to_owned() })
            }
        };
        let code = match (stopped, by_others, self.end) {
            (None, _, _) | (Some(_), None, TaskEnd::NotPulled | TaskEnd::Hangs) => None,
            (Some(_), Some(_), _) => Some(137),
            (Some(_), None, TaskEnd::Exits { code, .. }) => Some(code),
        };
        let runs = self.request["overrides"]["containerOverrides"][0]["name"].as_str();
        for container in &mut view.containers {
            // The containers beside it are killed when it exits.
            let is_it = runs.is_none_or(|name| name == container.name);
            container.exit_code = if is_it { code } else { code.map(|_| 137) };
        }
        view
    }
}

impl Inner {
    pub(super) fn run_task(&mut self, request: &Value) -> Result<Started, AwsError> {
        let refused = |code| error("ecs", "RunTask", Fault::Refused, code);
        let token = request["clientToken"].as_str().map(str::to_owned);
        if let Some((known, arn)) = token.as_ref().and_then(|token| self.one_off.tokens.get(token)) {
            return if known == request { Ok(Started::Task(arn.clone())) } else { Err(refused("ConflictException")) };
        }
        self.assert_intended(
            |_, rollout| match &rollout.phase {
                Phase::Task { run, .. } => matches!(run.progress, TaskProgress::Starting { .. }),
                Phase::Intended | Phase::Registered { .. } | Phase::Rolling { .. } => false,
            },
            "RunTask",
        );
        if self.one_off.short > 0 {
            self.one_off.short -= 1;
            return Ok(Started::Short("RESOURCE:MEMORY".to_owned()));
        }
        let revision = request["taskDefinition"].as_str().unwrap_or_default().to_owned();
        let body = self.body(&revision).ok_or_else(|| refused("ClientException"))?.clone();
        let mut digests = BTreeMap::new();
        for container in body["containerDefinitions"].as_array().unwrap() {
            let digest = self.resolve(container["image"].as_str().unwrap());
            digests.insert(container["name"].as_str().unwrap().to_owned(), digest);
        }
        let arn =
            format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/{}/{}", request["cluster"].as_str().unwrap(), self.next("t"));
        let ends = digests.values().flatten().find_map(|digest| self.one_off.ends.get(digest).copied());
        let end = ends.unwrap_or(TaskEnd::Exits { code: 0, after: Duration::from_secs(20) });
        let (arn, request, at) = (arn, request.clone(), self.now());
        if let Some(token) = token {
            self.one_off.tokens.insert(token, (request.clone(), arn.clone()));
        }
        self.one_off.jobs.push(Job { arn: arn.clone(), request, digests, at, end, stopped: None });
        Ok(Started::Task(arn))
    }

    pub(super) fn one_off_tasks(&self, arns: &[String]) -> Vec<TaskView> {
        let now = self.now();
        let told_for = self.one_off.told_for.unwrap_or(TOLD_FOR);
        let is_told = |job: &&Job| job.stopped_at().is_none_or(|at| now.duration_since(at) < told_for);
        let jobs = self.one_off.jobs.iter().filter(|job| arns.contains(&job.arn)).filter(is_told);
        jobs.map(|job| job.view(now)).collect()
    }

    pub(super) fn stop_one_off(&mut self, arn: &str, reason: &str) -> Result<(), AwsError> {
        let now = self.now();
        let found = self.one_off.jobs.iter_mut().find(|job| job.arn == arn);
        let job = found.ok_or_else(|| error("ecs", "StopTask", Fault::Refused, "InvalidParameterException"))?;
        job.stopped.get_or_insert_with(|| (now, reason.to_owned()));
        Ok(())
    }

    pub(super) fn service_json(&self, cluster: &str, name: &str) -> Option<Value> {
        let service = self.services.get(&(cluster.to_owned(), name.to_owned()))?;
        Some(json!({
            "serviceName": name,
            "status": if service.active { "ACTIVE" } else { "DRAINING" },
            "launchType": "FARGATE",
            "platformVersion": "LATEST",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
            "tags": [{"key": "team", "value": "web"}, {"key": "aws:cloudformation:stack-name", "value": "s"}],
        }))
    }
}

impl World {
    /// How one-off tasks with this digest end; by default they exit with 0 after 20 seconds.
    pub fn set_task_end(&self, digest: &str, end: TaskEnd) {
        self.lock().one_off.ends.insert(digest.to_owned(), end);
    }

    /// So many times there is no capacity for a one-off task.
    pub fn set_short_of_capacity(&self, times: u32) {
        self.lock().one_off.short = times;
    }

    /// ECS tells of a task for so long after it has stopped.
    pub fn tell_of_tasks_for(&self, span: SignedDuration) {
        self.lock().one_off.told_for = Some(span);
    }

    /// Every one-off task that was started.
    pub fn jobs(&self) -> Vec<Job> {
        self.lock().one_off.jobs.clone()
    }
}
