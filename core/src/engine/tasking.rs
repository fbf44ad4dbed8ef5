//! How far a one-off task got: the record of it on the disk is a view of this.

use std::time::Duration;

use jiff::Timestamp;

use super::now::{Moment, Now};
use crate::domain::task::{PlannedTask, Prepared, RunningTask, TaskKind, TaskProgress, TaskRequest, TaskRun};
use crate::domain::task_definition::Registration;

/// How long a task that was told to stop may take to do so.
const STOPS_WITHIN: Duration = Duration::from_secs(5 * 60);

/// A one-off task that is under way, as this process sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tasking {
    pub(super) kind: TaskKind,
    pub(super) number: u32,
    pub(super) task: PlannedTask,
    pub(super) next: Vec<PlannedTask>,
    pub(super) step: Step,
}

/// What is to be done about it next. The record of its progress is a view of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// What it needs is asked.
    Preparing(TaskCall),
    /// A revision of its own family is registered for it.
    Registering { registration: Box<Registration>, prepared: Box<Prepared>, call: TaskCall },
    /// The call RunTask is under way or about to begin.
    Starting { request: Box<TaskRequest>, attempt: u32, short_since: Option<Timestamp>, call: TaskCall },
    /// ECS has started it: it is looked at.
    Running { task: Box<RunningTask>, seen: Seen, stop: TaskCall },
}

/// What this process has seen of a task that ECS has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Since when this process looks.
    from: Moment,
    /// How long it had run before that, by the wall clock, which may have jumped: at most half of its timeout counts.
    before: Duration,
    /// Since when it is to stop.
    pub(super) late_from: Option<Moment>,
    /// How often in a row ECS has not known it.
    pub(super) absences: u32,
}

/// A call that a task needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskCall {
    /// It is to be made.
    Due,
    /// It is under way.
    UnderWay,
    /// It is not needed, or was made.
    Done,
}

impl Seen {
    /// It was started just now.
    pub(super) fn new(now: Now) -> Self {
        Self { from: now.moment, before: Duration::ZERO, late_from: None, absences: 0 }
    }

    /// How long the task has run, of a time in all.
    pub(super) fn ran_for(&self, now: Moment, timeout: Duration) -> Duration {
        self.before.min(timeout / 2) + now.since(self.from)
    }
}

impl Tasking {
    /// The first of these tasks, if there is one.
    pub(super) fn new(kind: TaskKind, number: u32, mut tasks: Vec<PlannedTask>) -> Option<Self> {
        let next = tasks.split_off(1.min(tasks.len()));
        let task = tasks.pop()?;
        Some(Self { kind, number, task, next, step: Step::Preparing(TaskCall::Due) })
    }

    /// Goes on with what is on record.
    pub(super) fn resumed(run: TaskRun, now: Now) -> Self {
        let TaskRun { kind, number, task, next, progress } = run;
        let step = match progress {
            TaskProgress::Preparing => Step::Preparing(TaskCall::Due),
            TaskProgress::Starting { request, attempt, short_since } => {
                Step::Starting { request: Box::new(request), attempt, short_since, call: TaskCall::Due }
            }
            TaskProgress::Running { running } => {
                let before = Duration::try_from(now.time.duration_since(running.since)).unwrap_or_default();
                let late_from = running.late_since.map(|_| now.moment);
                let stop = if late_from.is_some() { TaskCall::Due } else { TaskCall::Done };
                let seen = Seen { before, late_from, ..Seen::new(now) };
                Step::Running { task: Box::new(running), seen, stop }
            }
        };
        Self { kind, number, task, next, step }
    }

    /// The record of it.
    pub(super) fn record(&self) -> TaskRun {
        let progress = match &self.step {
            Step::Preparing(_) | Step::Registering { .. } => TaskProgress::Preparing,
            Step::Starting { request, attempt, short_since, call: _ } => TaskProgress::Starting {
                request: request.as_ref().clone(),
                attempt: *attempt,
                short_since: *short_since,
            },
            Step::Running { task, .. } => TaskProgress::Running { running: task.as_ref().clone() },
        };
        let (task, next) = (self.task.clone(), self.next.clone());
        TaskRun { kind: self.kind, number: self.number, task, next, progress }
    }

    /// Whether no task of its rollout may have been started, so that it can be given up.
    pub(super) fn is_unbegun(&self) -> bool {
        let is_called = match &self.step {
            Step::Preparing(call) | Step::Registering { call, .. } => *call != TaskCall::Due,
            Step::Starting { .. } | Step::Running { .. } => true,
        };
        self.is_first() && !is_called
    }

    /// Whether it is the first task of a rollout that ECS does not know of yet.
    pub(super) fn is_first(&self) -> bool {
        self.kind == TaskKind::Before && self.number == 1
    }

    /// Whether a call is under way that may change what ECS knows.
    pub(super) fn is_in_flight(&self) -> bool {
        match &self.step {
            Step::Preparing(call) | Step::Registering { call, .. } | Step::Starting { call, .. } => {
                *call == TaskCall::UnderWay
            }
            Step::Running { stop, .. } => *stop == TaskCall::UnderWay,
        }
    }

    /// The ARN of the task, once ECS has started it.
    pub(super) fn arn(&self) -> Option<&str> {
        match &self.step {
            Step::Running { task, .. } => Some(&task.arn),
            Step::Preparing(_) | Step::Registering { .. } | Step::Starting { .. } => None,
        }
    }

    /// When it is to be stopped, if it still runs then.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let timeout = self.task.spec.timeout();
        match &self.step {
            Step::Running { seen: Seen { late_from: Some(from), .. }, .. } => Some(from.plus(STOPS_WITHIN)),
            Step::Running { seen, .. } => Some(seen.from.plus(timeout.saturating_sub(seen.before.min(timeout / 2)))),
            Step::Preparing(_) | Step::Registering { .. } | Step::Starting { .. } => None,
        }
    }
}
