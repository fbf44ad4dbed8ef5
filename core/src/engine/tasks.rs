//! The one-off tasks of a rollout: those before the service is updated, and those after it is complete.
//!
//! A task is run once, whatever dies: what is sent to RunTask is on disk before the call, with a client token made from the rollout, so that a
//! repetition starts nothing twice; and once the task's ARN is on disk it is only looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use super::effect::{Read, RolloutId, Write};
use super::event::{EndedTask, ServiceEvent};
use super::now::Moment;
use super::service::{Call, Handler};
use super::tasking::{Seen, Step, TaskCall, Tasking};
use super::workflow::{Turn, Workflow};
use crate::domain::aws_error::{AwsError, Cause, Fault};
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::state::{Intent, OutcomeKind, Rolled, Target};
use crate::domain::task::{
    self, PlannedTask, Prepared, RunningTask, Source, Started, TaskKind, TaskOutcome, TaskRequest, TaskSpec, TaskView,
};
use crate::domain::types::TaskDefinitionArn;
use crate::domain::view::RevisionWrite;

/// Answers without the task, one after the other, after which ECS does not know it any more.
const ABSENCES_BELIEVED: u32 = 4;

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

    /// ECS has completed the rollout under way: its tasks verify it, and then it is watched further, if it is to be.
    pub(super) fn completed_by_ecs(&mut self, asked_at: Moment) {
        let desired = self.to_be_monitored();
        let Workflow::Rolling { intent, revision, deployment, since, watch } = &self.service.workflow else { return };
        // A service without tasks cannot be tried.
        let has_tasks = watch.counts.is_none_or(|counts| counts.desired > 0);
        let tasks = if has_tasks { self.tasks_of(intent, |rule| &rule.verify, |_, _| true) } else { Vec::new() };
        match Tasking::new(TaskKind::Verify, 1, tasks) {
            Some(tasking) => {
                let rolled = Some(Rolled { deployment: deployment.clone(), since: *since, desired });
                let (intent, revision) = (intent.clone(), revision.clone());
                self.end_waiting();
                self.enter(Workflow::Tasking { intent, revision, rolled, tasking: Box::new(tasking) });
            }
            None => self.watch_further(asked_at),
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
            // It may have been registered nevertheless: that is looked at first.
            Err(error) => {
                self.step(Step::Preparing(TaskCall::Due));
                self.failed(Call::Task, error);
            }
        }
    }

    fn task_ready(&mut self, prepared: &Prepared, from: &TaskDefinitionArn) {
        let key = self.key;
        if self.tasking().is_some_and(|tasking| tasking.is_first()) && self.ends_as_unwanted() {
            return;
        }
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
            Ok(Started::Short(why)) => {
                let since = short_since.unwrap_or(now.time);
                let waited = Duration::try_from(now.time.duration_since(since)).unwrap_or_default();
                if waited >= spec.timeout() {
                    return self.task_ended(TaskOutcome::NotStarted, why);
                }
                let (attempt, short_since) = (attempt + 1, Some(since));
                self.step(Step::Starting { request, attempt, short_since, call: TaskCall::Due });
                self.failed(Call::Task, &lacking(&why));
            }
            Ok(Started::Nothing(why)) => self.task_ended(TaskOutcome::NotStarted, why),
            Err(error)
                if matches!(error.fault, Fault::Refused | Fault::NotFound) || error.cause == Cause::TokenTaken =>
            {
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
        match (tasking.kind, rolled) {
            (TaskKind::Before, _) => self.prepared(intent, revision),
            (TaskKind::Verify, Some(rolled)) => self.watch_verified(intent, revision, rolled),
            (TaskKind::Verify, None) => self.completed(),
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

    /// Whether tasks have run for the rollout under way.
    pub(super) fn is_prepared(&self) -> bool {
        let (Some(intent), Some(record)) = (self.service.workflow.intent(), self.record()) else { return false };
        record.prepared.iter().any(|(repository, done)| {
            let target = intent.targets.get(repository);
            target.is_some_and(|target| (&target.digest, &target.push) == (&done.digest, &done.push))
        })
    }

    /// A task before the rollout did not succeed: what it brings is held, and the service stays as it is.
    fn unprepared(&mut self, kind: OutcomeKind, detail: String) {
        let Some(intent) = self.service.workflow.intent().cloned() else { return };
        let reason = format!("its rollout failed: {detail}");
        self.abandon(kind, detail);
        self.hold_targets(&intent, &reason);
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
