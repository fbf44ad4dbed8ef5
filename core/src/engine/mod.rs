//! The engine: everything that an answer, an event, a command, a reload or the passing of time does to the state.
//!
//! It is a pure state machine. [`Engine::handle`] takes what has come in, with the time as an argument, and gives the effects that follow;
//! [`Engine::next_wake`] says when time alone makes a difference. It never waits, and neither calls AWS nor touches the disk, the log or a
//! metric: the shell around it does, and feeds the answers back as inputs.

mod approvals;
mod backoff;
mod clock;
mod command;
mod comparison;
mod copies;
mod decide;
mod deliveries;
mod discovery;
mod durability;
mod effect;
mod event;
mod gates;
mod history;
mod hooks;
mod input;
mod judge;
mod line;
mod monitor;
mod notifications;
mod now;
mod observation;
mod pages;
mod prove;
mod registrations;
mod reload;
mod rest;
mod rules;
mod schedule;
mod service;
mod settled;
mod start;
mod task_schedule;
mod tasking;
mod tasks;
#[cfg(test)]
mod tests;
mod transition;
mod verify;
mod workflow;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::discovery::Doubt;
use crate::domain::rollout::Counts;
use crate::domain::state::{OperatorCommand, State};
use crate::domain::types::{ContextName, ServiceKey};

pub use comparison::BestImages;
pub use deliveries::{Delivery, DeliveryId};
pub use durability::{Durable, Receipt, Snapshot, Version};
pub use effect::{Answer, CommandId, Effect, Place, Read, RolloutId, Write};
pub use event::{DiscoveryEvent, EndedTask, Event, Missed, PushSkipped, ResumedAt, ServiceCounts, ServiceEvent, Taken};
pub use input::{Input, Page};
pub use now::{Moment, Now};
pub use observation::{
    AtGates, ByService, Inspected, Location, Observation, ObservationRequest, Seen, Unlocated, names_of, names_tags,
};
pub use rest::Rest;
pub use rules::Rules;
pub use schedule::SERVICES_A_CALL;
pub use start::{Beginning, begin};

use comparison::Comparison;
use line::Line;
use schedule::WatchRound;
use service::{Command, Handler, Out, Service};
use workflow::Workflow;

/// The engine is woken at least this often.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What is known of a service beside its record.
#[derive(Debug, Clone, Copy)]
pub struct Details<'a> {
    /// The tasks of its rollout.
    pub counts: Option<Counts>,
    /// ECS's lifecycle stage of its rollout, where ECS tells one.
    pub stage: Option<&'a str>,
    /// The share of the production traffic that the new tasks get, in percent, where ECS moves traffic.
    pub traffic: Option<f64>,
    /// The error of a call that keeps failing.
    pub last_error: Option<&'a String>,
}

/// The state machine, with the state and what is under way.
#[derive(Debug)]
pub struct Engine {
    rules: Rules,
    state: State,
    /// The services that something is going on for, beside what is on record.
    services: BTreeMap<ServiceKey, Service>,
    /// The services with undecided pushes.
    pending: BTreeSet<ServiceKey>,
    /// The services whose revision no task has run.
    unproven: BTreeSet<ServiceKey>,
    /// The services that wait for a copy of what the services before them run.
    uncopied: BTreeSet<ServiceKey>,
    watches: BTreeMap<Place, WatchRound>,
    /// When the one-off tasks of a cluster are looked at.
    task_watches: BTreeMap<Place, WatchRound>,
    comparison: Comparison,
    line: Line,
    out: Out,
    started_at: Timestamp,
    /// The counts that were told last, where they are not zero.
    counted: BTreeMap<ServiceKey, ServiceCounts>,
    /// What was told to be wrong with services that have a tag.
    doubts: BTreeMap<(String, ServiceKey), Doubt>,
    /// The time of the last transition: what was due then has been seen to.
    handled: Now,
}

impl Engine {
    /// Takes up the work where the state says that it was left.
    #[must_use]
    pub fn new(rules: Rules, state: State, now: Now) -> Self {
        let mut engine = Self {
            rules,
            state,
            services: BTreeMap::new(),
            pending: BTreeSet::new(),
            unproven: BTreeSet::new(),
            uncopied: BTreeSet::new(),
            watches: BTreeMap::new(),
            task_watches: BTreeMap::new(),
            comparison: Comparison::default(),
            line: Line::default(),
            out: Out::default(),
            started_at: now.time,
            counted: BTreeMap::new(),
            doubts: BTreeMap::new(),
            handled: now,
        };
        let under_way = engine.state.services.iter().filter(|(_, known)| known.rollout.is_some());
        for key in under_way.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            engine.with(&key, now, |handler| handler.resume());
        }
        engine.take_up(|_, _| true, now);
        engine
    }

    /// Takes what has come in, and gives what follows from it.
    pub fn handle(&mut self, inputs: impl IntoIterator<Item = Input>, now: Now) -> Vec<Effect> {
        self.handled = now;
        for input in inputs {
            self.take(input, now);
        }
        self.judge_before_writes(now);
        self.follow_touched(now);
        self.wake_gates(now);
        self.observe_pending(now);
        self.inspect_unverified(now);
        self.stop_unwanted(now);
        self.end_late_tasks(now);
        self.prepare_tasks(now);
        self.share_registrations(now);
        if let Some(permit) = self.out.durability.permit() {
            self.write(&permit, now);
        }
        self.watch_rollouts(now);
        self.watch_tasks(now);
        self.compare_next(now);
        self.follow_touched(now);
        self.forget_idle();
        self.commit(now);
        std::mem::take(&mut self.out.effects)
    }

    /// When time alone makes a difference.
    #[must_use]
    pub fn next_wake(&self) -> Moment {
        let services = self.services.values();
        let asks = services.clone().filter_map(|service| match service.observing {
            service::Observing::Again(at) => Some(at),
            service::Observing::Idle | service::Observing::UnderWay | service::Observing::Outdated => None,
        });
        let handled_at = self.handled.moment;
        let gates = services.clone().filter_map(|service| service.gate.as_ref()?.wake(self.handled));
        services
            .flat_map(|service| service.calls.wakes().chain(service.workflow.wake()))
            .chain(asks)
            .chain(gates)
            .chain(self.watches.values().chain(self.task_watches.values()).filter_map(WatchRound::wake))
            .chain(self.line.wake())
            .chain(self.comparison.wake())
            .chain(self.out.durability.wake())
            .filter(|at| *at > handled_at)
            .min()
            .unwrap_or(handled_at.plus(HEARTBEAT))
            .min(handled_at.plus(HEARTBEAT))
    }

    fn take(&mut self, input: Input, now: Now) {
        match input {
            Input::Page(page) => self.page(page, now),
            Input::Delivery(delivery) => self.delivery(&delivery, now),
            Input::Observed { asked_at, answers } => {
                for (request, answer) in answers {
                    self.with(&request.key.clone(), now, |handler| handler.observed(request, answer, asked_at));
                }
            }
            Input::Inspected { id, answer } => self.with(&id.service, now, |handler| handler.inspected(&id, *answer)),
            Input::Rechecked { ids, mut answers } => {
                for id in ids {
                    let answer = answers.remove(&id.service.service).unwrap_or(Ok(None));
                    self.with(&id.service, now, |handler| handler.rechecked(&id, answer));
                }
            }
            Input::Registered { ids, answer } => {
                for id in ids {
                    self.with(&id.service, now, |handler| handler.registered(&id, &answer));
                }
            }
            Input::Updated { id, revision, answer } => {
                self.with(&id.service, now, |handler| handler.updated(&id, revision, *answer));
            }
            Input::Watched { place, asked_at, services, mut answers } => {
                if let Some(round) = self.watches.get_mut(&place) {
                    round.answered();
                }
                for (key, deployment) in services {
                    let answer = answers.remove(&key.service).unwrap_or(Ok(None));
                    self.with(&key, now, |handler| handler.watched(&deployment, answer, asked_at));
                }
            }
            Input::Staged { service, deployment, seen, asked_at, answer } => {
                self.with(&service, now, |handler| handler.staged(&deployment, *answer, &seen, asked_at));
            }
            Input::Continued { id, answer } => {
                self.with(&id.service, now, |handler| handler.hook_answered(&id, answer));
            }
            Input::TaskPrepared { id, answer } => {
                self.with(&id.service, now, |handler| handler.task_prepared(&id, *answer));
            }
            Input::TaskStarted { id, answer } => {
                self.with(&id.service, now, |handler| handler.task_started(&id, answer));
            }
            Input::TaskStopped { id, answer } => {
                self.with(&id.service, now, |handler| handler.task_stopped(&id, &answer));
            }
            Input::TasksSeen { place, tasks, answer } => {
                if let Some(round) = self.task_watches.get_mut(&place) {
                    round.answered();
                }
                for (id, arn) in tasks {
                    let found = answer.as_ref().map(|seen| seen.iter().find(|one| one.arn == arn).cloned());
                    let found = found.map_err(Clone::clone);
                    self.with(&id.service, now, |handler| handler.task_seen(&id, found));
                }
            }
            Input::AtGates { service, answers } => {
                self.with(&service, now, |handler| handler.found_at_gates(answers));
            }
            Input::Stopped { service, answer } => self.with(&service, now, |handler| handler.stopped(answer)),
            Input::StoppedTasks { service, deployment, answer } => {
                self.with(&service, now, |handler| handler.diagnosed(&deployment, answer));
            }
            Input::Deployments { service, deployment, answer } => {
                self.with(&service, now, |handler| handler.confirmed(&deployment, answer));
            }
            Input::Compared { repository, answer } => self.compared(&repository, answer, now),
            Input::Located { command, service, answer } => self.with(&service, now, |handler| {
                if let Some(command) = handler.take_command(command) {
                    handler.located(command, answer);
                }
            }),
            Input::Committed { receipt } => {
                if self.out.durability.committed(receipt, &mut self.out.effects) {
                    self.out.emit(Event::StateWritable, &self.rules);
                }
            }
            Input::CommitFailed { error } => {
                if self.out.durability.failed(error.clone(), now.moment, &mut self.out.effects) {
                    self.out.emit(Event::StateUnwritable(error), &self.rules);
                }
            }
            Input::Command { id, service, command, by } => self.command(id, &service, command, by, now),
            Input::ClockCorrected(by) => self.clock_corrected(by, now),
            Input::Looked(look) => self.looked(&look, now),
            Input::Reload(rules) => self.reload(rules, now),
            Input::Time => {}
        }
    }

    fn command(&mut self, id: CommandId, named: &str, command: OperatorCommand, by: String, now: Now) {
        match self.rules.find(named) {
            Ok(key) => self.with(&key, now, |handler| handler.command(Command { id, request: command, by })),
            Err(refused) => {
                self.out.effects.push(Effect::Refuse(id, refused.clone()));
                let named = named.to_owned();
                self.out.emit(Event::CommandUnknown { named, command, by, refused }, &self.rules);
            }
        }
    }

    /// Does something with one service, and with nothing else.
    fn with<T>(&mut self, key: &ServiceKey, now: Now, transition: impl FnOnce(&mut Handler<'_>) -> T) -> T {
        self.out.touched.insert(key.clone());
        let service = self.services.entry(key.clone()).or_default();
        let (rules, state, out) = (&self.rules, &mut self.state, &mut self.out);
        transition(&mut Handler { key, rules, state, service, out, now })
    }

    /// Keeps what is derived from the services that a transition has touched: who has pending pushes, and the counts.
    fn follow_touched(&mut self, now: Now) {
        while let Some(key) = self.out.touched.pop_first() {
            self.wake_followers(&key, now.time);
            self.follow_copies(&key, now);
            let known = self.state.services.get(&key);
            keep(&mut self.pending, &key, known.is_some_and(|known| !known.pending.is_empty()));
            keep(&mut self.unproven, &key, known.and_then(prove::unproven).is_some());
            self.count(key);
        }
    }

    /// Tells the counts of a service where they have changed. Two contexts may have clusters and services of the same names: they are
    /// counted together.
    fn count(&mut self, key: ServiceKey) {
        let mut counts = ServiceCounts::default();
        if self.rules.contexts().all(|aws| aws == &key.aws) {
            self.add_counts(&key, &mut counts);
        } else {
            let contexts: BTreeSet<&ContextName> = self.rules.contexts().chain([&key.aws]).collect();
            for aws in contexts {
                self.add_counts(&ServiceKey { aws: aws.clone(), ..key.clone() }, &mut counts);
            }
        }
        let before =
            self.counted.get(&key).copied().unwrap_or(ServiceCounts { configured: true, ..Default::default() });
        if before == counts {
            return;
        }
        match counts.is_nothing() {
            true => self.counted.remove(&key),
            false => self.counted.insert(key.clone(), counts),
        };
        self.out.emit(Event::Service(key, ServiceEvent::Counted(counts)), &self.rules);
    }

    /// Adds what there is to count of one service.
    fn add_counts(&self, key: &ServiceKey, counts: &mut ServiceCounts) {
        let Some(known) = self.state.services.get(key) else { return };
        counts.rolling += usize::from(known.rollout.is_some());
        counts.waiting = counts.waiting.or(known.waiting.as_ref().map(|waiting| waiting.gate));
        counts.gated = counts.gated.or(known.gated.as_ref().map(|waiting| waiting.gate));
        if self.rules.has(key) {
            counts.held += usize::from(known.is_held());
            counts.undecided += known.pending.values().map(Vec::len).sum::<usize>();
            counts.configured = true;
        }
    }

    /// Keeps nothing of services that nothing is going on for.
    fn forget_idle(&mut self) {
        self.services.retain(|_, service| *service != Service::default());
        if !self.out.registrations.is_empty() {
            let early = |workflow: &Workflow| !matches!(workflow, Workflow::Idle | Workflow::Rolling { .. });
            let services = self.services.iter().filter(|(_, service)| early(&service.workflow));
            let busy: BTreeSet<&ContextName> =
                services.map(|(key, _)| &key.aws).chain(self.pending.iter().map(|key| &key.aws)).collect();
            self.out.registrations.retain(|aws| busy.contains(aws));
        }
    }

    fn commit(&mut self, now: Now) {
        if self.out.durability.is_commit_due(now.moment) {
            self.forget();
            let snapshot = self.out.durability.commit(self.state.clone());
            self.out.effects.push(Effect::Commit(snapshot));
        }
    }

    /// The state for the last commit of all.
    pub fn last_snapshot(&mut self) -> Snapshot {
        self.forget();
        self.out.durability.commit(self.state.clone())
    }

    /// What is on record.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The configuration in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// When the process started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Why the state cannot be written, if it cannot.
    #[must_use]
    pub fn state_error(&self) -> Option<&String> {
        self.out.durability.last_error()
    }

    /// Whether everything that has to be durable is.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.out.durability.is_durable()
    }

    /// What is known of services beside the record.
    pub fn details(&self) -> impl Iterator<Item = (&ServiceKey, Details<'_>)> {
        self.services.iter().map(|(key, service)| {
            let watch = match &service.workflow {
                Workflow::Rolling { watch, .. } => Some(watch),
                Workflow::Idle
                | Workflow::Verifying { .. }
                | Workflow::Registering { .. }
                | Workflow::Tasking { .. }
                | Workflow::Updating { .. } => None,
            };
            let seen = watch.and_then(|watch| watch.seen.as_ref());
            let details = Details {
                counts: watch.and_then(|watch| watch.counts),
                stage: seen.and_then(|seen| seen.stage.as_deref()),
                traffic: seen.and_then(|seen| seen.traffic),
                last_error: service.calls.last_error(),
            };
            (key, details)
        })
    }
}

/// Has a service in a set, or not.
fn keep(services: &mut BTreeSet<ServiceKey>, key: &ServiceKey, is_in: bool) {
    match is_in {
        true => services.insert(key.clone()),
        false => services.remove(key),
    };
}
