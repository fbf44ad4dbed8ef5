//! The real scheduler and deployer in the simulated world, with a state that survives their death.

use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::clock::Clock;
use ecs_deployd::config::Config;
use ecs_deployd::deployer::{self, Answer, CommandRequest, Deployer, Inbox, Parts, Request};
use ecs_deployd::discoverer;
use ecs_deployd::domain::operator_command::OperatorCommand;
use ecs_deployd::domain::state::State;
use ecs_deployd::health::Health;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::notify::Notifier;
use ecs_deployd::plan::{self, PlanReport};
use ecs_deployd::queue;
use ecs_deployd::scheduler::{self, Shared};
use ecs_deployd::state_store::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use crate::world::Disk;
use crate::world::World;

/// A process.
#[derive(Debug)]
pub struct Process {
    stop: watch::Sender<bool>,
    deployer: JoinHandle<()>,
    schedulers: Vec<JoinHandle<()>>,
    pub metrics: Arc<Metrics>,
    asks: mpsc::Sender<Request>,
    reloads: mpsc::Sender<deployer::Reload>,
    contexts: ecs_deployd::aws::Contexts,
}

/// Starts a process on a disk.
pub fn start(world: &World, disk: &Arc<Disk>, config: &str) -> Process {
    let state =
        deployer::begin(disk.state(), &Arc::new(parse(config)), ecs_deployd::clock::Clock::now(&world.clock())).state;
    start_on(world, Arc::<Disk>::clone(disk), state, config)
}

pub fn parse(config: &str) -> Config {
    Config::parse("test.toml", config).unwrap_or_else(|invalid| panic!("{invalid}"))
}

/// What a process would do, if it were started on a disk.
pub async fn plan(world: &World, disk: &Disk, config: &str) -> PlanReport {
    let config = Arc::new(parse(config));
    let clock = Arc::new(world.clock());
    let now = clock.now();
    let state = deployer::begin(disk.state(), &config, now).state;
    let metrics = Arc::new(Metrics::new("test", "test", now).unwrap());
    plan::look(&config, &world.for_others().contexts(), state, clock, metrics).await
}

/// Starts a process that goes on from a state.
pub fn start_on(world: &World, state_store: Arc<dyn Store>, state: State, config: &str) -> Process {
    let config = Arc::new(parse(config));
    let clock: Arc<dyn Clock> = Arc::new(world.clock());
    let metrics = Arc::new(Metrics::new("test", "test", clock.now()).unwrap());
    let health = Arc::new(Health::new());
    let contexts = world.contexts();
    let (batches, pages) = mpsc::channel(4);
    let (sender, deliveries) = mpsc::channel(queue::WAITING_DELIVERIES);
    health.expect_queues(&config.contexts_with_queues());
    let (reloads, reloaded) = mpsc::channel(1);
    let (asks, requests) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let shared =
        Shared { clock: Arc::clone(&clock), metrics: Arc::clone(&metrics), health: Arc::clone(&health), batches };
    let schedulers = scheduler::all(&config, &contexts, &state, &shared);
    let auditors = scheduler::auditors(&config, &contexts, &state, &shared);
    let (of_queues, health_of_queues) = (Arc::clone(&metrics), Arc::clone(&health));
    let queues =
        queue::Shared { clock: Arc::clone(&clock), metrics: of_queues, health: health_of_queues, deliveries: sender };
    let readers = queue::readers(&config, &contexts, &queues);
    let schedulers = schedulers.into_iter().map(|scheduler| tokio::spawn(scheduler.run()));
    let schedulers = schedulers.chain(auditors.into_iter().map(|auditor| tokio::spawn(auditor.run())));
    let (looks, looked) = mpsc::channel(4);
    let discoverers = discoverer::all(&config, &contexts).into_iter().map(|one| tokio::spawn(one.run(looks.clone())));
    let readers = readers.into_iter().map(|reader| tokio::spawn(reader.run()));
    let schedulers: Vec<JoinHandle<()>> = schedulers.chain(discoverers).chain(readers).collect();
    let notifier = Notifier::start(&config.notify, &contexts, &metrics);
    let parts = Parts { config, contexts, state_store, state, clock, metrics: Arc::clone(&metrics), health, notifier };
    let inbox = Inbox { batches: pages, deliveries, reloads: reloaded, looks: looked, requests, stop: stopped };
    let deployer = tokio::spawn(Deployer::new(parts).run(inbox));
    Process { stop, deployer, schedulers, metrics, asks, reloads, contexts: world.contexts() }
}

impl Process {
    /// Ends its tasks the next time that they would go on.
    pub fn abort(&self) {
        for task in self.schedulers.iter().chain([&self.deployer]) {
            task.abort();
        }
    }

    /// Dies on the spot, wherever it is.
    pub async fn kill(self) {
        self.abort();
        for task in self.schedulers {
            let _ = task.await;
        }
        let _ = self.deployer.await;
    }

    /// Whether no task has ended by itself.
    pub fn is_running(&self) -> bool {
        !self.deployer.is_finished()
    }

    /// Stops as it does on SIGTERM.
    pub async fn stop(self) {
        for task in &self.schedulers {
            task.abort();
        }
        self.stop.send(true).unwrap();
        self.deployer.await.unwrap();
    }

    /// Orders something, as alice.
    pub async fn command(&self, service: &str, command: OperatorCommand) -> Answer {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let command = CommandRequest { service: service.to_owned(), command, by: "alice".to_owned(), answer };
        self.asks.send(Request::Command(command)).await.unwrap();
        answered.await.unwrap()
    }

    /// Takes over another configuration, as on SIGHUP. The schedulers go on as they are.
    pub async fn reload(&self, config: &str) {
        let config = Arc::new(parse(config));
        let notifier = Notifier::start(&config.notify, &self.contexts, &self.metrics);
        let reload = deployer::Reload { config, contexts: self.contexts.clone(), notifier };
        self.reloads.send(reload).await.unwrap();
    }

    /// How things are.
    pub async fn status(&self) -> ecs_deployd::status::Status {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.asks.send(Request::Status(answer)).await.unwrap();
        answered.await.unwrap()
    }

    /// One sample of the metrics.
    pub fn metric(&self, series: &str) -> f64 {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or_else(|| panic!("no {series} in\n{text}"))
    }
}

/// The configuration for one service, `web/hello`, under the repository `hello`.
pub fn config(extra: &str) -> String {
    format!(
        r#"
        [deploy]
        timeout = "5m"
        {extra}
        [[repository]]
        name = "hello"
        tags = ["latest", "release-*"]
        [[repository.service]]
        cluster = "web"
        service = "hello"
        "#
    )
}

/// A world with that service in it, running the content `v0` by the tag `latest`.
pub fn hello_world() -> (World, Arc<Disk>, String) {
    let world = World::new();
    world.create_repository("hello");
    let digest = world.push("hello", "latest", "v0");
    let revision = world
        .register("hello", &[("app", &format!("{}:latest", crate::world::image_uri("hello"))), ("side", "envoy:1")]);
    world.create_service("web", "hello", &revision, 2);
    (world, Arc::default(), digest)
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub async fn pass(seconds: u64) {
    ecs_deployd::clock::sleep(Duration::from_secs(seconds)).await;
}
