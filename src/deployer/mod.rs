//! The deployer task: the loop around the [`Engine`], the single owner of the state and the only writer of ECS.
//!
//! What comes in is handed to the engine together with the time; what the engine wants done is carried out by the `Executor`, whose answers
//! come in again. Calls run side by side, so that a slow service holds up no other one.

mod executor;
mod log;
mod metrics;
mod recent;
mod service_cache;
mod status;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{info, warn};

use crate::aws::Contexts;
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::discovery::Look;
use crate::domain::state::{OperatorCommand, State};
use crate::engine::{Engine, Input, Moment, Now, Page, Rules};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::observer::Observer;
use crate::queue::Delivery;
use crate::scheduler::Batch;
use crate::state_store::Store;
use crate::status::Status;

pub use crate::engine::{Answer, Beginning, Rest, begin};
use executor::Executor;
use recent::Recent;
use service_cache::ServiceCache;

/// How long a stop waits for calls under way.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// What the deployer works with.
#[derive(Debug)]
pub struct Parts {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The clients of AWS.
    pub contexts: Contexts,
    /// Where the state is made durable.
    pub state_store: Arc<dyn Store>,
    /// The state that the store held at the start.
    pub state: State,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The metrics that it counts in.
    pub metrics: Arc<Metrics>,
    /// Where it shows that it lives.
    pub health: Arc<Health>,
    /// Who is notified of what.
    pub notifier: Notifier,
}

/// A new configuration, and the clients that go with it.
#[derive(Debug, Clone)]
pub struct Reload {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// The clients of AWS.
    pub contexts: Contexts,
    /// Who is notified of what.
    pub notifier: Notifier,
}

/// The channels by which work comes in.
#[derive(Debug)]
pub struct Inbox {
    /// The pages of events that the schedulers read.
    pub batches: mpsc::Receiver<Batch>,
    /// What queues have delivered.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// The configurations that a reload brings.
    pub reloads: mpsc::Receiver<Reload>,
    /// Looks at the tags of services.
    pub looks: mpsc::Receiver<Look>,
    /// Status requests and commands of operators.
    pub requests: mpsc::Receiver<Request>,
    /// Becomes true when the daemon is to stop.
    pub stop: watch::Receiver<bool>,
}

/// What comes in from outside, and where the answer goes.
#[derive(Debug)]
pub enum Request {
    /// How things are, and what ECS says that the services are set to.
    Status(oneshot::Sender<Status>),
    /// How things are, without asking ECS.
    Glance(oneshot::Sender<Status>),
    /// A command of an operator.
    Command(CommandRequest),
}

/// A command, who gives it and for which service.
#[derive(Debug)]
pub struct CommandRequest {
    /// The service, as `CLUSTER/SERVICE` or `AWS/CLUSTER/SERVICE`.
    pub service: String,
    /// The command that was given.
    pub command: OperatorCommand,
    /// The operator who gave the command.
    pub by: String,
    /// What came of it.
    pub answer: oneshot::Sender<Answer>,
}

/// The loop around the engine.
#[derive(Debug)]
pub struct Deployer {
    engine: Engine,
    executor: Executor,
    clock: Arc<dyn Clock>,
    health: Arc<Health>,
    begun: Instant,
    /// The correction of the clock that the engine knows of.
    correction: SignedDuration,
    /// The configuration that the metrics know of.
    expected: Arc<Config>,
    recent: Recent,
    services: ServiceCache,
}

impl Deployer {
    /// Takes up the work where the state says it was left.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { config, contexts, state_store, state, clock, metrics, health, notifier } = parts;
        let begun = clock::instant();
        let correction = clock.correction();
        let now = Now { time: clock.now(), moment: Moment::default() };
        let engine = Engine::new(rules(config, &contexts), state, now);
        let expected = Arc::clone(engine.rules().config());
        metrics::expect(&metrics, &expected);
        let executor = Executor::new(Observer::new(contexts), state_store, notifier, metrics);
        let (recent, services) = (Recent::default(), ServiceCache::default());
        Self { engine, executor, clock, health, begun, correction, expected, recent, services }
    }

    /// Works until it is told to stop, and then until what is under way is written down.
    pub async fn run(mut self, inbox: Inbox) {
        self.work(inbox, |_| false).await;
        self.stop().await;
    }

    /// Works until nothing is left to do.
    pub async fn run_to_rest(mut self, inbox: Inbox) -> Rest {
        self.work(inbox, |deployer| deployer.executor.is_idle() && deployer.engine.is_at_rest()).await;
        self.stop().await;
        self.engine.rest()
    }

    async fn work(&mut self, inbox: Inbox, is_over: impl Fn(&Self) -> bool) {
        let Inbox { mut batches, mut deliveries, mut reloads, mut looks, mut requests, mut stop } = inbox;
        let mut all_read = false;
        let mut inputs = Vec::new();
        loop {
            self.health.deployer_lives();
            self.turn(std::mem::take(&mut inputs));
            if all_read && is_over(self) {
                return;
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                Some(reload) = reloads.recv() => inputs.push(self.reload(reload)),
                Some(look) = looks.recv() => inputs.push(Input::Looked(Box::new(look))),
                Some(request) = requests.recv() => inputs.extend(self.request(request)),
                Some(input) = self.executor.next() => inputs.push(input),
                Some(round) = self.services.finished() => self.surveyed(round),
                Some(delivery) = deliveries.recv() => inputs.push(self.executor.delivery(delivery)),
                batch = batches.recv(), if !all_read => match batch {
                    Some(batch) => inputs.push(Input::Page(page(batch))),
                    None => all_read = true,
                },
                () = clock::sleep_until(wake) => {}
            }
            self.answer_waiting(false);
            // What is ready already is taken together, so that one commit serves it all.
            inputs.extend(self.executor.ready());
        }
    }

    /// Hands what has come in to the engine, and carries out what follows.
    fn turn(&mut self, mut inputs: Vec<Input>) {
        // Before a page of events is taken, which is read by the clock as it is now.
        let correction = self.clock.correction();
        let by = correction - std::mem::replace(&mut self.correction, correction);
        if !by.is_zero() {
            inputs.insert(0, Input::ClockCorrected(by));
        }
        let now = self.now();
        self.services.follow(&inputs, now.time);
        let effects = self.engine.handle(inputs, now);
        let in_force = self.engine.rules().config();
        if !Arc::ptr_eq(in_force, &self.expected) {
            metrics::expect(self.executor.metrics(), in_force);
            self.expected = Arc::clone(in_force);
        }
        for effect in effects {
            self.recent.follow(&effect);
            self.executor.carry_out(effect);
        }
    }

    fn now(&self) -> Now {
        Now { time: self.clock.now(), moment: Moment::after_start(self.begun.elapsed()) }
    }

    fn wake(&self) -> Instant {
        let engine = self.begun + self.engine.next_wake().since_start();
        self.services.due().map_or(engine, |due| due.min(engine))
    }

    fn reload(&mut self, reload: Reload) -> Input {
        let Reload { config, contexts, notifier } = reload;
        let rules = rules(config, &contexts);
        self.executor.replace(Observer::new(contexts), notifier);
        self.services.forget();
        Input::Reload(rules)
    }

    fn request(&mut self, request: Request) -> Option<Input> {
        match request {
            Request::Status(answer) => self.tell_status(answer),
            Request::Glance(answer) => {
                // Who asked may have gone meanwhile.
                let _ = answer.send(self.status());
            }
            Request::Command(CommandRequest { service, command, by, answer }) => {
                return Some(self.executor.command(service, command, by, answer));
            }
        }
        None
    }

    /// Waits for the calls under way, for a while, and writes down what they did.
    async fn stop(&mut self) {
        info!(calls = self.executor.len(), "stopping: waiting for calls under way");
        let end = clock::instant() + STOP_WITHIN;
        self.executor.begin_nothing_new();
        while !self.executor.is_idle() {
            tokio::select! {
                // Nothing new is begun, so that there are only so many answers.
                biased;
                Some(input) = self.executor.next() => self.turn(vec![input]),
                () = clock::sleep_until(end) => break,
            }
        }
        let under_way = self.engine.state().services.values().filter(|known| known.rollout.is_some()).count();
        let snapshot = self.engine.last_snapshot();
        let input = self.executor.commit_now(snapshot).await;
        self.turn(vec![input]);
        if !self.engine.is_durable() {
            warn!("stopped without a last write of the state: the next start looks at ECS instead");
        }
        info!(rollouts = under_way, "stopped; rollouts under way are written down and taken up at the next start");
    }
}

fn rules(config: Arc<Config>, contexts: &Contexts) -> Rules {
    let regions = contexts.iter().map(|(name, context)| (name.clone(), context.region.clone()));
    Rules::new(config, regions.collect())
}

fn page(batch: Batch) -> Page {
    let Batch { context, parsed_events, progress, changes, audited } = batch;
    Page { context, parsed_events, progress, changes, audited }
}
