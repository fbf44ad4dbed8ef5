//! Carries out what the engine wants done, and brings back the answers. Chooses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tracing::error;

use super::{log, metrics, writes};
use crate::aws::AwsError;
use crate::clock;
use crate::domain::state::OperatorCommand;
use crate::engine::{
    self, Answer, ByService, CommandId, DeliveryId, Effect, Input, Place, Read, Seen, Snapshot, Write,
};
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::observer::{Observer, Round};
use crate::queue::Delivery;
use crate::state_store::Store;
use crate::wording::chain;

/// A failed rollout does not wait for the reasons of its stopped tasks for longer than this.
const REASONS_WITHIN: Duration = Duration::from_secs(5);

/// Carries out effects, each call as a job of its own.
#[derive(Debug)]
pub(super) struct Executor {
    observer: Observer,
    store: Arc<dyn Store>,
    notifier: Notifier,
    metrics: Arc<Metrics>,
    jobs: JoinSet<Input>,
    replies: BTreeMap<CommandId, oneshot::Sender<Answer>>,
    receipts: BTreeMap<DeliveryId, oneshot::Sender<()>>,
    last_command: u64,
    last_delivery: u64,
    /// The process stops: answers are taken, and no call is begun any more.
    stopping: bool,
}

impl Executor {
    pub(super) fn new(observer: Observer, store: Arc<dyn Store>, notifier: Notifier, metrics: Arc<Metrics>) -> Self {
        let (jobs, replies, receipts) = (JoinSet::new(), BTreeMap::new(), BTreeMap::new());
        let (last_command, last_delivery, stopping) = (0, 0, false);
        Self { observer, store, notifier, metrics, jobs, replies, receipts, last_command, last_delivery, stopping }
    }

    /// Takes other clients and receivers. Calls under way end with those that they were begun with.
    pub(super) fn replace(&mut self, observer: Observer, notifier: Notifier) {
        self.observer = observer;
        self.notifier = notifier;
    }

    pub(super) fn observer(&self) -> &Observer {
        &self.observer
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Carries out one effect, or begins to.
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Tell(event) => {
                log::tell(&event);
                metrics::count(&self.metrics, &event);
            }
            Effect::Notify(notification) => self.notifier.tell(notification.get()),
            Effect::Reply(reply) => {
                let (id, answer) = reply.into_inner();
                self.reply(id, answer);
            }
            Effect::Refuse(id, refused) => self.reply(id, Err(refused)),
            Effect::Acknowledge(delivery) => {
                if let Some(to) = self.receipts.remove(delivery.get()) {
                    // A source that has ended meanwhile is delivered the same again at its next start.
                    let _ = to.send(());
                }
            }
            Effect::Read(_) | Effect::Write(_) | Effect::Commit(_) if self.stopping => {}
            Effect::Read(read) => self.read(read),
            Effect::Write(write) => self.write(write.into_inner()),
            Effect::Commit(snapshot) => {
                let (store, metrics) = (Arc::clone(&self.store), Arc::clone(&self.metrics));
                self.jobs.spawn(commit(store, metrics, snapshot));
            }
        }
    }

    fn reply(&mut self, id: CommandId, answer: Answer) {
        if let Some(to) = self.replies.remove(&id) {
            // Who asked may have gone meanwhile.
            let _ = to.send(answer);
        }
    }

    /// A command of an operator, with the name under which its answer comes.
    pub(super) fn command(
        &mut self,
        service: String,
        command: OperatorCommand,
        by: String,
        answer: oneshot::Sender<Answer>,
    ) -> Input {
        self.last_command += 1;
        let id = CommandId(self.last_command);
        self.replies.insert(id, answer);
        Input::Command { id, service, command, by }
    }

    /// What a queue has delivered, with the name under which its receipt comes.
    pub(super) fn delivery(&mut self, delivery: Delivery) -> Input {
        let Delivery { context, parsed_events, receipt } = delivery;
        self.last_delivery += 1;
        let id = DeliveryId(self.last_delivery);
        self.receipts.insert(id, receipt);
        Input::Delivery(engine::Delivery { id, context, parsed_events })
    }

    fn read(&mut self, read: Read) {
        let observer = self.observer.clone();
        match read {
            Read::Observe { asked_at, requests } => {
                let (round, places) = Round::new(&observer, requests);
                for (place, requests) in places {
                    let round = round.clone();
                    self.jobs.spawn(async move {
                        let answers = round.observe(place, requests).await;
                        Input::Observed { asked_at, answers }
                    });
                }
            }
            Read::Inspect { id, rollout } => drop(self.jobs.spawn(async move {
                let answer = Box::new(observer.inspect(&id.service, &rollout).await);
                Input::Inspected { id, answer }
            })),
            Read::Recheck { place, ids } => drop(self.jobs.spawn(async move {
                let names = ids.iter().map(|id| id.service.service.clone()).collect();
                let answers = describe(&observer, &place, names).await;
                Input::Rechecked { ids, answers }
            })),
            Read::Watch { place, asked_at, services } => drop(self.jobs.spawn(async move {
                let names = services.iter().map(|(key, _)| key.service.clone()).collect();
                let answers = describe(&observer, &place, names).await;
                Input::Watched { place, asked_at, services, answers }
            })),
            Read::Stages { service, deployment, arn, seen, asked_at } => drop(self.jobs.spawn(async move {
                let answer = Box::new(observer.service_deployment(&service, &arn).await);
                Input::Staged { service, deployment, seen, asked_at, answer }
            })),
            Read::PrepareTask { id, revision, family } => drop(self.jobs.spawn(async move {
                let answer = Box::new(observer.prepare_task(&id.service, &revision, family.as_deref()).await);
                Input::TaskPrepared { id, answer }
            })),
            Read::Tasks { place, tasks } => drop(self.jobs.spawn(async move {
                let arns: Vec<String> = tasks.iter().map(|(_, arn)| arn.clone()).collect();
                let answer = observer.tasks(&place.0, &place.1, &arns).await;
                Input::TasksSeen { place, tasks, answer }
            })),
            Read::Gates { service, requests } => drop(self.jobs.spawn(async move {
                let answers = observer.at_gates(requests).await;
                Input::AtGates { service, answers }
            })),
            Read::Compare { repository, policies } => drop(self.jobs.spawn(async move {
                let answer = observer.best_images(&repository, policies).await;
                Input::Compared { repository, answer }
            })),
            Read::StoppedTasks { service, deployment } => drop(self.jobs.spawn(async move {
                let reasons = clock::within(REASONS_WITHIN, observer.stopped_tasks(&service, &deployment)).await;
                let answer = reasons.unwrap_or_else(|| Err(AwsError::timed_out("ecs", "DescribeTasks")));
                Input::StoppedTasks { service, deployment, answer }
            })),
            Read::Deployments { service, deployment, since } => drop(self.jobs.spawn(async move {
                let answer = observer.deployments(&service, since).await;
                Input::Deployments { service, deployment, answer }
            })),
            Read::Locate { command, service, to } => drop(self.jobs.spawn(async move {
                let answer = observer.locate(&service, to.as_deref()).await;
                Input::Located { command, service, answer }
            })),
        }
    }

    fn write(&mut self, write: Write) {
        let observer = self.observer.clone();
        match write {
            Write::Register { aws, ids, registration } => drop(self.jobs.spawn(async move {
                let answer = writes::register(&observer, &aws, &registration).await;
                Input::Registered { ids, answer }
            })),
            Write::Continue { id, hook, action } => drop(self.jobs.spawn(async move {
                let answer = writes::continue_deployment(&observer, &id.service, &hook, action).await;
                Input::Continued { id, answer }
            })),
            Write::RunTask { id, request } => drop(self.jobs.spawn(async move {
                let answer = writes::run_task(&observer, &id.service, &request).await;
                Input::TaskStarted { id, answer }
            })),
            Write::StopTask { id, arn } => drop(self.jobs.spawn(async move {
                let answer = writes::stop_task(&observer, &id.service, &arn).await;
                Input::TaskStopped { id, answer }
            })),
            Write::Stop { service, arn } => drop(self.jobs.spawn(async move {
                let answer = writes::stop_deployment(&observer, &service, &arn).await;
                Input::Stopped { service, answer }
            })),
            Write::Update { id, revision, by } => drop(self.jobs.spawn(async move {
                let answer = Box::new(writes::update(&observer, &id.service, &revision, &by).await);
                Input::Updated { id, revision, answer }
            })),
        }
    }

    /// Begins no call any more; those under way go on.
    pub(super) fn begin_nothing_new(&mut self) {
        self.stopping = true;
    }

    /// Makes a state durable, and waits for that.
    pub(super) async fn commit_now(&self, snapshot: Snapshot) -> Input {
        commit(Arc::clone(&self.store), Arc::clone(&self.metrics), snapshot).await
    }

    /// The next answer; `None` if no call is under way.
    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            let answer = self.jobs.join_next().await?;
            if let Some(input) = of_job(answer) {
                return Some(input);
            }
        }
    }

    /// The answers that are there already.
    pub(super) fn ready(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        while let Some(answer) = self.jobs.try_join_next() {
            inputs.extend(of_job(answer));
        }
        inputs
    }

    /// Whether no call is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The number of calls under way.
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }
}

async fn describe(
    observer: &Observer,
    (aws, cluster): &Place,
    names: Vec<crate::domain::types::EcsName>,
) -> ByService<Option<Seen>> {
    observer.services(aws, cluster, &names).await
}

async fn commit(store: Arc<dyn Store>, metrics: Arc<Metrics>, snapshot: Snapshot) -> Input {
    let result = store.commit(snapshot.state().clone()).await;
    metrics.committed(result.is_ok());
    match result {
        Ok(()) => Input::Committed { receipt: snapshot.stored() },
        Err(error) => Input::CommitFailed { error: chain(&error) },
    }
}

/// The answer of a job. What a job that panicked was about would be waited for in vain: the next start takes it up.
fn of_job(answer: Result<Input, JoinError>) -> Option<Input> {
    match answer {
        Ok(input) => Some(input),
        Err(failed) => match failed.try_into_panic() {
            Ok(panicked) => std::panic::resume_unwind(panicked),
            Err(failed) => {
                error!(error = %failed, "a job was cancelled; this is a defect");
                None
            }
        },
    }
}
