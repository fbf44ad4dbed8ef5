//! One service, and what a transition of it may touch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::backoff::Backoff;
use super::durability::Durability;
use super::effect::{CommandId, Effect, Read, RolloutId};
use super::event::{Event, ServiceEvent};
use super::gates::{FoundAt, GateWait};
use super::history;
use super::hooks::{HookAnswer, HookCall};
use super::notifications;
use super::now::{Moment, Now};
use super::prove::Proving;
use super::registrations::Registrations;
use super::rules::Rules;
use super::settled::Unsettled;
use super::workflow::Workflow;
use crate::domain::aws_error::AwsError;
use crate::domain::gate;
use crate::domain::schedule::Operations;
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{OperatorCommand, ServiceState, State};
use crate::domain::types::{Digest, ServiceKey};
use crate::domain::view::{Management, ServiceView};

/// Answers without the service, one after the other, after which it is gone.
const ABSENCES_BELIEVED: u32 = 4;

/// What this process knows of a service beside the record on the disk.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Service {
    /// What is under way.
    pub(super) workflow: Workflow,
    /// What is asked about its pending pushes.
    pub(super) observing: Observing,
    /// Commands to deploy that wait for the decision.
    pub(super) commands: Vec<Command>,
    /// The calls that fail.
    pub(super) calls: Calls,
    /// How often ECS has refused a write of the rollout under way in a way that may pass.
    pub(super) refusals: u32,
    /// How often in a row ECS has not known the service.
    pub(super) absences: u32,
    /// Who manages its resources, where that is not the customer: the service takes its revision by another operation then.
    pub(super) management: Option<Management>,
    /// What was seen of tasks that run its revision for the first time.
    pub(super) proving: Option<Proving>,
    /// What an operator has answered to a hook of ECS.
    pub(super) hook_answer: Option<HookAnswer>,
    /// A service deployment that ECS is told to stop before the service is looked at.
    pub(super) stop: Option<(String, HookCall)>,
    /// What waits at a gate.
    pub(super) gate: Option<GateWait>,
    /// What ECR said of images whose scans or signatures are judged.
    pub(super) found: BTreeMap<(RepositoryKey, Digest), FoundAt>,
    /// What was asked of it last.
    pub(super) asked: Vec<gate::ImageRequest>,
    /// Up to when ECS is given the time to begin its own rollback.
    pub(super) ecs_goes_back_until: Option<Moment>,
}

/// A command of an operator that is not answered yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Command {
    pub(super) id: CommandId,
    pub(super) request: OperatorCommand,
    pub(super) by: String,
}

/// What is asked about the pending pushes of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Observing {
    /// Nothing is asked about them.
    #[default]
    Idle,
    /// It is being asked.
    UnderWay,
    /// It is being asked, and the rules of the service have changed since: the answer is not used, and it is asked again.
    Outdated,
    /// The answer did not allow a decision: it is asked again at this moment.
    Again(Moment),
}

/// The kinds of calls about a service. Each fails and is tried again by itself, so that what needs one does not wait for another
/// (decision 30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// What ECS says of the service, to decide its pushes.
    Observe,
    /// What ECR says of a repository, to decide the pushes to it.
    Resolve(&'a RepositoryKey),
    /// How far an unfinished rollout got.
    Inspect,
    /// Registrations of revisions and updates of the service.
    Write,
    /// How a rollout goes.
    Watch,
    /// The stages of a rollout, where ECS tells them.
    Stages,
    /// What a one-off task needs, and its start and stop.
    Task,
    /// How a one-off task goes.
    TaskWatch,
    /// What ECR says of an image that waits at a gate.
    Gates,
}

/// The backoffs of a service's calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) observe: Backoff,
    pub(super) resolve: BTreeMap<RepositoryKey, Backoff>,
    pub(super) inspect: Backoff,
    pub(super) write: Backoff,
    pub(super) watch: Backoff,
    pub(super) stages: Backoff,
    pub(super) task: Backoff,
    pub(super) task_watch: Backoff,
    pub(super) gates: Backoff,
}

impl Calls {
    fn of(&mut self, call: Call<'_>) -> &mut Backoff {
        match call {
            Call::Observe => &mut self.observe,
            Call::Resolve(repository) => self.resolve.entry(repository.clone()).or_default(),
            Call::Inspect => &mut self.inspect,
            Call::Write => &mut self.write,
            Call::Watch => &mut self.watch,
            Call::Stages => &mut self.stages,
            Call::Task => &mut self.task,
            Call::TaskWatch => &mut self.task_watch,
            Call::Gates => &mut self.gates,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Backoff> {
        [
            &self.write,
            &self.task,
            &self.task_watch,
            &self.watch,
            &self.inspect,
            &self.observe,
            &self.stages,
            &self.gates,
        ]
        .into_iter()
        .chain(self.resolve.values())
    }

    /// The error that matters most, if calls fail.
    pub(super) fn last_error(&self) -> Option<&String> {
        self.all().find_map(Backoff::last_error)
    }

    /// Whether an operator has to change something before a call can succeed.
    pub(super) fn need_operator(&self) -> bool {
        // What the stages tell is not needed to go on.
        [&self.write, &self.task, &self.task_watch, &self.watch, &self.inspect, &self.observe, &self.gates]
            .into_iter()
            .chain(self.resolve.values())
            .any(Backoff::needs_operator)
    }

    /// The moments at which calls may be made again.
    pub(super) fn wakes(&self) -> impl Iterator<Item = Moment> {
        self.all().filter_map(Backoff::until)
    }
}

/// A service with all that a transition of it may touch: its own record and workflow, and where it says what follows.
pub(super) struct Handler<'a> {
    pub(super) key: &'a ServiceKey,
    pub(super) rules: &'a Rules,
    pub(super) state: &'a mut State,
    pub(super) service: &'a mut Service,
    pub(super) out: &'a mut Out,
    pub(super) now: Now,
}

/// Where transitions say what follows from them.
#[derive(Debug, Default)]
pub(super) struct Out {
    pub(super) effects: Vec<Effect>,
    pub(super) durability: Durability,
    pub(super) registrations: Registrations,
    pub(super) unsettled: Unsettled,
    /// Services that a transition has touched since it was last looked what they need.
    pub(super) touched: BTreeSet<ServiceKey>,
}

impl Out {
    /// Says what has happened: to the notifications, the log and the metrics.
    pub(super) fn emit(&mut self, event: Event, rules: &Rules) {
        if let Some(notification) = notifications::of(&event, rules) {
            self.durability.notify(Arc::new(notification));
        }
        self.effects.push(Effect::Tell(event));
    }
}

impl Handler<'_> {
    /// What is on record of the service.
    pub(super) fn record(&self) -> Option<&ServiceState> {
        self.state.services.get(self.key)
    }

    /// The same, to change it.
    pub(super) fn record_mut(&mut self) -> &mut ServiceState {
        self.out.durability.changed();
        self.state.services.get_or_default(self.key.clone())
    }

    /// Says what has happened to the service: to the history, the notifications, the log and the metrics.
    pub(super) fn emit(&mut self, event: ServiceEvent) {
        history::record(self.state, self.key, &event, self.now.time);
        self.out.emit(Event::Service(self.key.clone(), event), self.rules);
    }

    /// Asks something of AWS.
    pub(super) fn ask(&mut self, read: Read) {
        self.out.effects.push(Effect::Read(read));
    }

    /// Replaces what is under way. The record follows, as it is a view of it.
    pub(super) fn enter(&mut self, workflow: Workflow) {
        match workflow {
            Workflow::Idle => {
                self.service.refusals = 0;
                self.service.management = None;
                self.service.ecs_goes_back_until = None;
                self.service.found.clear();
                self.service.asked.clear();
            }
            Workflow::Rolling { .. } => {
                self.service.refusals = 0;
                self.service.ecs_goes_back_until = None;
            }
            Workflow::Verifying { .. }
            | Workflow::Registering { .. }
            | Workflow::Updating { .. }
            | Workflow::Tasking { .. } => {}
        }
        self.service.workflow = workflow;
        let rollout = self.service.workflow.rollout();
        self.record_mut().rollout = rollout;
    }

    /// Enters what is on record before anything else happened.
    pub(super) fn resume(&mut self) {
        if let Some(rollout) = self.record().and_then(|known| known.rollout.clone()) {
            self.service.workflow = Workflow::resumed(rollout, self.now);
        }
    }

    /// Whether an answer is about the rollout under way.
    pub(super) fn is_of_rollout(&self, id: &RolloutId) -> bool {
        self.service.workflow.intent().is_some_and(|intent| intent.decided_at == id.decided_at)
    }

    /// A call failed: it is tried again later.
    pub(super) fn failed(&mut self, call: Call<'_>, error: &AwsError) {
        let delay = self.service.calls.of(call).failed(error, self.now.moment);
        let (retry_in, repeated) = (delay.retry_in, delay.repeated);
        self.emit(ServiceEvent::CallFailed { error: error.clone(), retry_in, repeated });
    }

    /// A call succeeded: its backoff is over.
    pub(super) fn succeeded(&mut self, call: Call<'_>) {
        if self.service.calls.of(call).succeeded() {
            self.emit(ServiceEvent::CallsRecovered);
        }
        if let Call::Resolve(repository) = call {
            self.service.calls.resolve.remove(repository);
        }
    }

    /// Whether an answer without the service is to be asked for again. One such answer may be wrong, as ECS is eventually consistent; the
    /// service is gone when it was missing several times in a row.
    pub(super) fn doubts_absence(&mut self, call: Call<'_>, missing: bool) -> bool {
        self.service.absences = if missing { self.service.absences + 1 } else { 0 };
        let doubted = missing && self.service.absences < ABSENCES_BELIEVED;
        if doubted {
            let (api, operation, what) = match self.key.schedule().map(|name| name.operations()) {
                Some(Operations { api, read, .. }) => (api, read, "there is no such schedule or rule"),
                None => ("ecs", "DescribeServices", "ECS does not know the service (MISSING)"),
            };
            let message = format!("{what}; it is asked again before that is believed");
            self.failed(call, &AwsError::unusable(api, operation, message));
        }
        doubted
    }

    /// Notes who manages the resources of the service.
    pub(super) fn saw_management(&mut self, service: Option<&ServiceView>) {
        if let Some(service) = service {
            self.service.management = Some(service.management.clone()).filter(|one| *one != Management::Customer);
        }
    }
}
