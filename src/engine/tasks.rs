//! The one-off tasks of a rollout: those before the service is updated, and those after it is complete.
//!
//! A task is run once, whatever dies: what is sent to RunTask is on disk before the call, with a client token made from the rollout, so that a
//! repetition starts nothing twice; and once the task's ARN is on disk it is only looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Engine;
use super::durability::Permit;
use super::effect::{Effect, Place, Read, RolloutId, Write};
use super::event::{EndedTask, ServiceEvent};
use super::now::{Moment, Now};
use super::schedule::WatchRound;
use super::service::{Call, Handler, Service};
use super::workflow::{Turn, Workflow};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::state::{Intent, OutcomeKind, Rolled, Target};
use crate::domain::task::{
    self, PlannedTask, Prepared, RunningTask, Source, Started, TaskKind, TaskOutcome, TaskProgress, TaskRequest,
    TaskRun, TaskSpec, TaskView,
};
use crate::domain::task_definition::Registration;
use crate::domain::types::TaskDefinitionArn;
use crate::domain::view::RevisionWrite;

/// Answers without the task, one after the other, after which ECS does not know it any more.
const ABSENCES_BELIEVED: u32 = 4;
/// DescribeTasks takes at most 100 tasks of one cluster.
const TASKS_A_CALL: usize = 100;
/// How long a task that was told to stop may take to do so.
const STOPS_WITHIN: Duration = Duration::from_secs(5 * 60);

/// A one-off task that is under way, as this process sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tasking {
    pub(super) kind: TaskKind,
    pub(super) number: u32,
    pub(super) task: PlannedTask,
    next: Vec<PlannedTask>,
    pub(super) step: Step,
}

/// What is to be done about it next. The record of its progress is a view of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// What it needs is asked.
    Preparing(TaskCall),
    /// A revision of its own family is registered for it.
    Registering { registration: Box<Registration>, prepared: Box<Prepared>, call: TaskCall },
    /// RunTask is called.
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
    late_from: Option<Moment>,
    /// How often in a row ECS has not known it.
    absences: u32,
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
    fn new(now: Now) -> Self {
        Self { from: now.moment, before: Duration::ZERO, late_from: None, absences: 0 }
    }

    fn ran_for(&self, now: Moment, timeout: Duration) -> Duration {
        self.before.min(timeout / 2) + now.since(self.from)
    }
}

impl Tasking {
    fn new(kind: TaskKind, number: u32, mut tasks: Vec<PlannedTask>) -> Option<Self> {
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
        self.kind == TaskKind::Before && self.number == 1 && self.step == Step::Preparing(TaskCall::Due)
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

/// The beginning of tasks.
impl Handler<'_> {
    /// The revision of a rollout is there: its tasks run before the service is updated.
    pub(super) fn revision_is_there(&mut self, intent: Box<Intent>, revision: TaskDefinitionArn, turn: Turn) {
        let tasks = self.tasks_before(&intent);
        match Tasking::new(TaskKind::Before, 1, tasks) {
            Some(tasking) => {
                self.enter(Workflow::Tasking { intent, revision, rolled: None, tasking: Box::new(tasking) });
            }
            None => {
                let by = RevisionWrite::UpdateService;
                self.enter(Workflow::Updating { intent, revision, by, turn });
            }
        }
    }

    /// The rollout is complete, but for its tasks.
    pub(super) fn completed_but_for_tasks(&mut self) {
        let Workflow::Rolling { intent, revision, deployment, since, watch } = &self.service.workflow else { return };
        // A service without tasks cannot be tried.
        let has_tasks = watch.counts.is_none_or(|counts| counts.desired > 0);
        let tasks = if has_tasks { self.tasks_of(intent, |rule| &rule.verify, |_, _| true) } else { Vec::new() };
        match Tasking::new(TaskKind::Verify, 1, tasks) {
            Some(tasking) => {
                let rolled = Some(Rolled { deployment: deployment.clone(), since: *since });
                let (intent, revision) = (intent.clone(), revision.clone());
                self.end_waiting();
                self.enter(Workflow::Tasking { intent, revision, rolled, tasking: Box::new(tasking) });
            }
            None => self.completed(),
        }
    }

    /// The tasks before a rollout: of the repositories whose images it brings. Not of what the rollout before it brought already, and not of a
    /// push for which they have run.
    fn tasks_before(&self, intent: &Intent) -> Vec<PlannedTask> {
        let carried = intent.supersedes.as_ref().map(|superseded| &superseded.targets);
        let prepared = self.record().map(|record| &record.prepared);
        self.tasks_of(
            intent,
            |rule| &rule.before,
            |repository, target| {
                let is_same = |known: &BTreeMap<RepositoryKey, Target>| {
                    known.get(repository).is_some_and(|one| (&one.digest, &one.push) == (&target.digest, &target.push))
                };
                !carried.is_some_and(is_same) && !prepared.is_some_and(is_same)
            },
        )
    }

    fn tasks_of(
        &self,
        intent: &Intent,
        which: impl Fn(&ServiceRule) -> &Vec<TaskSpec>,
        counts: impl Fn(&RepositoryKey, &Target) -> bool,
    ) -> Vec<PlannedTask> {
        if !intent.is_forward() {
            return Vec::new();
        }
        let rules = self.rules.of(self.key);
        let mut tasks = Vec::new();
        for (repository, _) in intent.targets.iter().filter(|(repository, target)| counts(repository, target)) {
            let Some(rule) = rules.get(repository) else { continue };
            for spec in which(rule) {
                let own = rule.container.clone().filter(|_| spec.family.is_none());
                let spec = TaskSpec { container: spec.container.clone().or(own), ..spec.clone() };
                tasks.push(PlannedTask { repository: repository.clone(), spec });
            }
        }
        task::each_once(tasks)
    }
}

/// The steps of a task.
impl Handler<'_> {
    fn tasking(&mut self) -> Option<&mut Tasking> {
        match &mut self.service.workflow {
            Workflow::Tasking { tasking, .. } => Some(tasking),
            Workflow::Idle
            | Workflow::Verifying { .. }
            | Workflow::Registering { .. }
            | Workflow::Updating { .. }
            | Workflow::Rolling { .. } => None,
        }
    }

    fn task_of(&mut self, id: &RolloutId) -> Option<&mut Tasking> {
        if self.is_of_rollout(id) { self.tasking() } else { None }
    }

    /// Takes the next step of a task. The record follows.
    fn step(&mut self, step: Step) {
        if let Some(tasking) = self.tasking() {
            tasking.step = step;
        }
        self.keep_progress();
    }

    /// Asks what the task needs, if that is to be done.
    pub(super) fn prepare_task(&mut self) {
        let id = RolloutId {
            service: self.key.clone(),
            decided_at: match self.service.workflow.intent() {
                Some(intent) => intent.decided_at,
                None => return,
            },
        };
        let Workflow::Tasking { revision, tasking, .. } = &mut self.service.workflow else { return };
        if tasking.step == Step::Preparing(TaskCall::Due) {
            tasking.step = Step::Preparing(TaskCall::UnderWay);
            let (revision, family) = (revision.clone(), tasking.task.spec.family.clone());
            self.ask(Read::PrepareTask { id, revision, family });
        }
    }

    /// What the task needs.
    pub(super) fn task_prepared(&mut self, id: &RolloutId, answer: Result<Prepared, AwsError>) {
        let Some(tasking) = self.task_of(id).filter(|one| one.step == Step::Preparing(TaskCall::UnderWay)) else {
            return;
        };
        tasking.step = Step::Preparing(TaskCall::Due);
        let planned = tasking.task.clone();
        let prepared = match answer {
            Ok(prepared) => prepared,
            Err(error) if error.fault == Fault::Refused || error.fault == Fault::NotFound => {
                return self.task_ended(TaskOutcome::NotStarted, error.to_string());
            }
            Err(error) => return self.failed(Call::Task, &error),
        };
        self.succeeded(Call::Task);
        match prepared.source(&planned) {
            Ok(Source::Ready(from)) => self.task_ready(&prepared, &from),
            Ok(Source::Register(registration)) => {
                let (registration, prepared) = (Box::new(registration), Box::new(prepared));
                self.step(Step::Registering { registration, prepared, call: TaskCall::Due });
                self.out.durability.changed();
            }
            Err(unstartable) => self.task_ended(TaskOutcome::NotStarted, unstartable.to_string()),
        }
    }

    /// A revision of the task's own family was registered, or not.
    pub(super) fn task_registered(&mut self, answer: &Result<TaskDefinitionArn, AwsError>) {
        let Some(Tasking { step: Step::Registering { prepared, .. }, .. }) = self.tasking() else { return };
        let prepared = prepared.clone();
        match answer {
            Ok(from) => {
                self.succeeded(Call::Task);
                self.emit(ServiceEvent::RevisionRegistered(from.clone()));
                self.task_ready(&prepared, from);
            }
            Err(error) if error.fault == Fault::Refused || error.fault == Fault::NotFound => {
                self.task_ended(TaskOutcome::NotStarted, error.to_string());
            }
            // It may have been registered all the same: that is looked at first.
            Err(error) => {
                self.step(Step::Preparing(TaskCall::Due));
                self.failed(Call::Task, error);
            }
        }
    }

    fn task_ready(&mut self, prepared: &Prepared, from: &TaskDefinitionArn) {
        let key = self.key;
        let Some(tasking) = self.tasking() else { return };
        match prepared.request(key, &tasking.task, from) {
            Ok(request) => {
                let request = Box::new(request);
                self.step(Step::Starting { request, attempt: 1, short_since: None, call: TaskCall::Due });
            }
            Err(unstartable) => self.task_ended(TaskOutcome::NotStarted, unstartable.to_string()),
        }
    }

    /// The write that the task needs next, if one is due.
    pub(super) fn task_write(&mut self) -> Option<Write> {
        let decided_at = self.service.workflow.intent()?.decided_at;
        let (service, aws) = (self.key.clone(), self.key.aws.clone());
        let id = RolloutId { service, decided_at };
        let tasking = self.tasking()?;
        let run = (tasking.kind, tasking.number);
        match &mut tasking.step {
            Step::Registering { registration, call: call @ TaskCall::Due, .. } => {
                *call = TaskCall::UnderWay;
                Some(Write::Register { aws, ids: vec![id], registration: registration.clone() })
            }
            Step::Starting { request, attempt, call: call @ TaskCall::Due, .. } => {
                *call = TaskCall::UnderWay;
                let token = task::client_token(&id.service, decided_at, run, *attempt);
                Some(Write::RunTask { id, request: Box::new(request.with_token(&token)) })
            }
            Step::Running { task, stop: stop @ TaskCall::Due, .. } => {
                *stop = TaskCall::UnderWay;
                Some(Write::StopTask { id, arn: task.arn.clone() })
            }
            Step::Preparing(_) | Step::Registering { .. } | Step::Starting { .. } | Step::Running { .. } => None,
        }
    }

    /// RunTask was answered, or not. What is sent again is the same with the same token, unless ECS said that it has started nothing.
    pub(super) fn task_started(&mut self, id: &RolloutId, answer: Result<Started, AwsError>) {
        let now = self.now;
        let Some(tasking) = self.task_of(id) else { return };
        let (kind, number, spec) = (tasking.kind, tasking.number, tasking.task.spec.clone());
        let Step::Starting { request, attempt, short_since, call } = &mut tasking.step else { return };
        *call = TaskCall::Due;
        let (request, attempt, short_since) = (request.clone(), *attempt, *short_since);
        let lacking =
            |reasons: &str| AwsError::unusable("ecs", "RunTask", format!("ECS has started nothing: {reasons}"));
        match answer {
            Ok(Started::Task(arn)) => {
                let TaskRequest { container, log, .. } = *request;
                let running = RunningTask { arn: arn.clone(), container, log, since: now.time, late_since: None };
                self.succeeded(Call::Task);
                self.emit(ServiceEvent::TaskStarted { kind, number, command: spec.to_string(), arn });
                self.step(Step::Running { task: Box::new(running), seen: Seen::new(now), stop: TaskCall::Done });
            }
            Ok(Started::Nothing(reasons)) => {
                let why = reasons.join("; ");
                let since = short_since.unwrap_or(now.time);
                let waited = Duration::try_from(now.time.duration_since(since)).unwrap_or_default();
                let passes = reasons.iter().all(|reason| task::lacks_resources(reason));
                if !passes || waited >= spec.timeout() {
                    return self.task_ended(TaskOutcome::NotStarted, why);
                }
                let (attempt, short_since) = (attempt + 1, Some(since));
                self.step(Step::Starting { request, attempt, short_since, call: TaskCall::Due });
                self.failed(Call::Task, &lacking(&why));
            }
            Err(error) if error.fault == Fault::Refused && task::lacks_resources(&error.message) => {
                self.task_started(id, Ok(Started::Nothing(vec![error.message])));
            }
            Err(error) if error.fault == Fault::Refused || error.fault == Fault::NotFound || error.is_conflict() => {
                self.task_ended(TaskOutcome::NotStarted, error.to_string());
            }
            Err(error) => self.failed(Call::Task, &error),
        }
    }

    /// A task that has run for too long is to stop; one that does not stop is given up.
    pub(super) fn task_is_late(&mut self) {
        let now = self.now;
        let Some(tasking) = self.tasking().filter(|tasking| tasking.deadline().is_some_and(|at| at <= now.moment))
        else {
            return;
        };
        let Step::Running { task, seen, stop } = &mut tasking.step else { return };
        if seen.late_from.is_some() {
            let why = "it was told to stop, and has not stopped since".to_owned();
            return self.task_ended(TaskOutcome::TimedOut, why);
        }
        seen.late_from = Some(now.moment);
        task.late_since = Some(now.time);
        *stop = TaskCall::Due;
        self.keep_progress();
    }

    /// ECS stops the task, or does not. Either way it is looked at until it has stopped.
    pub(super) fn task_stopped(&mut self, id: &RolloutId, answer: &Result<(), AwsError>) {
        let Some(Tasking { step: Step::Running { stop, .. }, .. }) = self.task_of(id) else { return };
        match answer {
            Ok(()) => {
                *stop = TaskCall::Done;
                self.succeeded(Call::Task);
            }
            Err(error) if error.fault == Fault::Refused || error.fault == Fault::NotFound => {
                *stop = TaskCall::Done;
                self.emit(ServiceEvent::Unexplained { what: "whether the task stops", error: error.clone() });
            }
            Err(error) => {
                *stop = TaskCall::Due;
                self.failed(Call::Task, error);
            }
        }
    }

    /// The task was looked at. One that ECS does not know any more has an unknown result; it is never run again.
    pub(super) fn task_seen(&mut self, id: &RolloutId, answer: Result<Option<TaskView>, AwsError>) {
        let Some(Tasking { step: Step::Running { task, seen, .. }, .. }) = self.task_of(id) else { return };
        let found = match answer {
            Ok(found) => found,
            Err(error) => return self.failed(Call::TaskWatch, &error),
        };
        let Some(found) = found else {
            seen.absences += 1;
            if seen.absences < ABSENCES_BELIEVED {
                let message = "ECS does not know the task (MISSING); it is asked again before that is believed";
                return self.failed(Call::TaskWatch, &AwsError::unusable("ecs", "DescribeTasks", message));
            }
            let why =
                "ECS does not know the task any more, so that its result is unknown; it is not run again".to_owned();
            return self.task_ended(TaskOutcome::Failed, why);
        };
        seen.absences = 0;
        let end = task::ended(task, &found);
        self.succeeded(Call::TaskWatch);
        if let Some((outcome, why)) = end {
            self.task_ended(outcome, why);
        }
    }
}

/// The end of a task.
impl Handler<'_> {
    fn task_ended(&mut self, outcome: TaskOutcome, why: String) {
        let now = self.now;
        let Some(tasking) = self.tasking() else { return };
        let tasking = tasking.clone();
        let (running, took) = match &tasking.step {
            Step::Running { task, seen, .. } => (Some(task.as_ref()), seen.ran_for(now.moment, Duration::MAX)),
            Step::Preparing(_) | Step::Registering { .. } | Step::Starting { .. } => (None, Duration::ZERO),
        };
        let detail = detail(&tasking, running, outcome, &why);
        self.emit(ServiceEvent::TaskEnded(EndedTask {
            kind: tasking.kind,
            number: tasking.number,
            outcome,
            command: tasking.task.spec.to_string(),
            arn: running.map(|task| task.arn.clone()),
            log: running.and_then(RunningTask::log_text),
            why,
            took,
        }));
        let kind = match outcome {
            TaskOutcome::Succeeded => return self.task_succeeded(tasking),
            TaskOutcome::TimedOut => OutcomeKind::TimedOut,
            TaskOutcome::Failed | TaskOutcome::NotStarted => OutcomeKind::Failed,
        };
        match tasking.kind {
            TaskKind::Before => self.unprepared(kind, detail),
            TaskKind::Verify => self.rollout_failed(kind, &detail),
        }
    }

    fn task_succeeded(&mut self, tasking: Tasking) {
        let Workflow::Tasking { intent, revision, rolled, .. } = &self.service.workflow else { return };
        let (intent, revision, rolled) = (intent.clone(), revision.clone(), rolled.clone());
        if let Some(next) = Tasking::new(tasking.kind, tasking.number + 1, tasking.next) {
            return self.enter(Workflow::Tasking { intent, revision, rolled, tasking: Box::new(next) });
        }
        match tasking.kind {
            TaskKind::Before => self.prepared(intent, revision),
            TaskKind::Verify => self.completed(),
        }
    }

    /// The tasks before the rollout have succeeded. The service may have been changed meanwhile, so that it is looked at before it is updated.
    fn prepared(&mut self, intent: Box<Intent>, revision: TaskDefinitionArn) {
        let rules = self.rules.of(self.key);
        let has_tasks = |repository| rules.get(repository).is_some_and(|rule| !rule.before.is_empty());
        let targets: Vec<_> = intent.targets.iter().filter(|(repository, _)| has_tasks(*repository)).collect();
        let targets: Vec<_> = targets.into_iter().map(|(key, target)| (key.clone(), target.clone())).collect();
        self.record_mut().prepared.extend(targets);
        let id = RolloutId { service: self.key.clone(), decided_at: intent.decided_at };
        let (by, turn) = (RevisionWrite::UpdateService, Turn::Rechecking);
        self.enter(Workflow::Updating { intent, revision, by, turn });
        let place = (self.key.aws.clone(), self.key.cluster.clone());
        self.ask(Read::Recheck { place, ids: vec![id] });
    }

    /// A task before the rollout did not succeed: what it brings is held, and the service stays as it is.
    fn unprepared(&mut self, kind: OutcomeKind, detail: String) {
        let Some(intent) = self.service.workflow.intent().cloned() else { return };
        let reason = format!("its rollout failed: {detail}");
        self.abandon(kind, detail);
        self.hold_targets(&intent, &reason);
    }
}

/// What the tasks of all services call for.
impl Engine {
    /// Asks what tasks need.
    pub(super) fn prepare_tasks(&mut self, now: Now) {
        if self.out.durability.last_error().is_some() {
            return;
        }
        let is_due = |service: &Service| {
            let due = matches!(&service.workflow, Workflow::Tasking { tasking, .. } if tasking.step == Step::Preparing(TaskCall::Due));
            due && service.calls.task.is_over(now.moment)
        };
        for key in self.keys(is_due) {
            if self.rules.region(&key.aws).is_some() {
                self.with(&key, now, |handler| handler.prepare_task());
            }
        }
    }

    /// Ends, or stops, tasks that take too long.
    pub(super) fn end_late_tasks(&mut self, now: Now) {
        let is_late = |service: &Service| matches!(&service.workflow, Workflow::Tasking { tasking, .. } if tasking.deadline().is_some_and(|at| at <= now.moment));
        for key in self.keys(is_late) {
            self.with(&key, now, |handler| handler.task_is_late());
        }
    }

    /// Makes the writes that tasks need: all that they are made for is durable.
    pub(super) fn write_for_tasks(&mut self, permit: &Permit, now: Now) {
        let may = |service: &Service| {
            matches!(service.workflow, Workflow::Tasking { .. }) && service.calls.task.is_over(now.moment)
        };
        for key in self.keys(may) {
            if self.rules.region(&key.aws).is_some()
                && let Some(write) = self.with(&key, now, |handler| handler.task_write())
            {
                self.out.effects.push(permit.write(write));
            }
        }
    }

    /// Looks at the tasks that ECS has started, a hundred of a cluster a call, once in their interval.
    pub(super) fn watch_tasks(&mut self, now: Now) {
        let mut places: BTreeMap<Place, (Vec<(RolloutId, String)>, Duration)> = BTreeMap::new();
        for (key, service) in &self.services {
            let Workflow::Tasking { intent, tasking, .. } = &service.workflow else { continue };
            let Some(arn) = tasking.arn() else { continue };
            if !service.calls.task_watch.is_over(now.moment) || self.rules.region(&key.aws).is_none() {
                continue;
            }
            let interval = self.rules.settings(key).observe_interval;
            let place = (key.aws.clone(), key.cluster.clone());
            let (tasks, shortest) = places.entry(place).or_insert_with(|| (Vec::new(), interval));
            tasks.push((RolloutId { service: key.clone(), decided_at: intent.decided_at }, arn.to_owned()));
            *shortest = (*shortest).min(interval);
        }
        self.task_watches.retain(|place, round| round.is_under_way() || places.contains_key(place));
        for (place, (tasks, interval)) in places {
            let next = now.moment.plus(interval);
            let round = self.task_watches.entry(place.clone()).or_insert(WatchRound::due_at(next));
            if !round.begin(now.moment, next, tasks.len().div_ceil(TASKS_A_CALL)) {
                continue;
            }
            for tasks in tasks.chunks(TASKS_A_CALL) {
                let read = Read::Tasks { place: place.clone(), tasks: tasks.to_vec() };
                self.out.effects.push(Effect::Read(read));
            }
        }
    }
}

/// What an operator reads of a task that did not succeed.
fn detail(tasking: &Tasking, running: Option<&RunningTask>, outcome: TaskOutcome, why: &str) -> String {
    let (kind, command) = (tasking.kind.as_str(), tasking.task.spec.to_string());
    let what = match outcome {
        TaskOutcome::Succeeded => "succeeded",
        TaskOutcome::Failed => "failed",
        TaskOutcome::TimedOut => "was stopped at its timeout",
        TaskOutcome::NotStarted => "was not started",
    };
    let within = match outcome {
        TaskOutcome::TimedOut => {
            format!(" of {}", humantime::format_duration(tasking.task.spec.timeout()))
        }
        TaskOutcome::Succeeded | TaskOutcome::Failed | TaskOutcome::NotStarted => String::new(),
    };
    let place = running.map(|task| {
        let log = task.log_text().map(|log| format!(", {log}")).unwrap_or_default();
        format!(" (container {}, task {}{log})", task.container, task.id())
    });
    format!("the {kind} task `{command}` {what}{within}: {why}{}", place.unwrap_or_default())
}
