//! `run`: puts the tasks together, and takes them apart again.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::admission;
use crate::aws::{self, ConnectError, Contexts, Patience};
use crate::clock::{self, Clock, CorrectedClock};
use crate::config::{Config, Source, WhenMissing};
use crate::control::{NotOpened, Socket};
use crate::deployer::{self, Deployer, Inbox, Parts, Reload};
use crate::discoverer;
use crate::domain::discovery::{Doubt, Look};
use crate::domain::state::State;
use crate::domain::types::{ContextName, ServiceKey};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::queue;
use crate::scheduler::{self, Shared};
use crate::signals::{self, Wish};
use crate::state_store::{self, Found, StateStore, StateStoreError};
use crate::wording::{chain, counted};

mod connecting;

/// CloudTrail delivers within 15 minutes, as a rule.
pub const SAFE_OVERLAP: Duration = Duration::from_secs(15 * 60);
/// Pages of events that may wait for the deployer.
const WAITING_PAGES: usize = 4;
/// Looks at the tags of services that may wait for it.
const WAITING_LOOKS: usize = 4;
/// How long a start waits for the tags of services, which may contradict the configuration.
const TAGS_WITHIN: Duration = Duration::from_secs(10);
/// How long a stop waits for notifications to be delivered.
const LAST_NOTIFICATIONS_WITHIN: Duration = Duration::from_secs(10);
/// Questions of operators that may wait for it.
const WAITING_REQUESTS: usize = 16;

/// Why the daemon could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state cannot be used.
    #[error(transparent)]
    StateStore(#[from] StateStoreError),
    /// A context cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: choose another [http] listen, or end the process that has it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Another daemon has the control socket.
    #[error(transparent)]
    Control(NotOpened),
    /// A service is listed in the configuration, and found by its tag with other values.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// Signals cannot be taken over.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    /// A task ended that never should.
    #[error("the {0} task ended unexpectedly; this is a defect")]
    TaskEnded(&'static str),
    /// Asked to stop twice.
    #[error("stopped by force; the next start takes up what was under way")]
    Forced,
}

/// Runs until it is stopped.
///
/// # Errors
/// It cannot start, or a task ended by a defect.
pub async fn run(source: Source, config: Config) -> Result<(), RunError> {
    let corrected = Arc::new(CorrectedClock::default());
    let clock: Arc<dyn Clock> = Arc::<CorrectedClock>::clone(&corrected);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), clock.now())?);
    let health = Arc::new(Health::new());
    let common = aws::Common::new(Arc::clone(&metrics), Arc::clone(&health), corrected);
    let mut wishes = signals::listen().map_err(RunError::Signals)?;
    let config = Arc::new(config);
    let (state_store, found) = StateStore::open(&config.state.path)?;
    let state = begin(&config, found, clock.as_ref());
    let listener = TcpListener::bind(config.http.listen)
        .await
        .map_err(|source| RunError::Listen { address: config.http.listen, source })?;
    let address = listener.local_addr().unwrap_or(config.http.listen);
    let control = open_control(&config.control.socket).await?;
    let (stop, stopped) = watch::channel(false);
    let (asks, requests) = mpsc::channel(WAITING_REQUESTS);
    let http = tokio::spawn(crate::http::serve(
        listener,
        Arc::clone(&metrics),
        Arc::clone(&health),
        asks.clone(),
        stopped.clone(),
    ));
    let Some(contexts) = connecting::patiently(&config.aws, &common, &mut wishes).await? else { return Ok(()) };
    compare_tags(&config, &contexts, &state).await?;
    let (batches, pages) = mpsc::channel(WAITING_PAGES);
    let (reloads, reloaded) = mpsc::channel(1);
    let shared =
        Shared { clock: Arc::clone(&clock), metrics: Arc::clone(&metrics), health: Arc::clone(&health), batches };
    let (looks, looked) = mpsc::channel(WAITING_LOOKS);
    let (sender, deliveries) = mpsc::channel(queue::WAITING_DELIVERIES);
    let (of_queues, health_of_queues) = (Arc::clone(&metrics), Arc::clone(&health));
    let queues =
        queue::Shared { clock: Arc::clone(&clock), metrics: of_queues, health: health_of_queues, deliveries: sender };
    let mut tasks = Tasks { shared, queues, looks, running: Vec::new() };
    tasks.start(&config, &contexts, &state);
    info!(
        version = env!("CARGO_PKG_VERSION"), config = %source.name(), state = %config.state.path.display(), http = %address,
        repositories = config.repositories.len(), services = config.services().count(), contexts = config.polled_contexts().len(), "started"
    );
    warn_of_doubtful(&config);
    tokio::spawn(admission::warn_of_policies(Arc::clone(&config), contexts.clone()));
    let notifier = Notifier::start(&config.notify, &contexts, &metrics);
    let parts = Parts {
        config: Arc::clone(&config),
        contexts,
        state_store: Arc::new(state_store),
        state,
        clock,
        metrics: Arc::clone(&metrics),
        health: Arc::clone(&health),
        notifier: notifier.clone(),
    };
    if let Some(socket) = control {
        drop(tokio::spawn(socket.serve(asks, stopped.clone())));
    }
    let inbox = Inbox { batches: pages, deliveries, reloads: reloaded, looks: looked, requests, stop: stopped };
    let deployer = tokio::spawn(Deployer::new(parts).run(inbox));
    notify(&[NotifyState::Ready, NotifyState::Status(&status_line(&config))]);
    let state_path = config.state.path.clone();
    let supervisor = Supervisor { source, config, state_path, tasks, reloads, common, metrics, health, notifier };
    supervisor.supervise(&mut wishes, deployer, http, &stop).await
}

/// Services that are listed in the configuration and found by their tag, with other values.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Contradiction(Vec<String>);

/// Compares the tags of services with the list in the configuration, as far as AWS can be asked now. What comes up later is told in the log.
async fn compare_tags(config: &Config, contexts: &Contexts, state: &State) -> Result<(), Contradiction> {
    match clock::within(TAGS_WITHIN, discoverer::doubts(config, contexts, state)).await {
        Some(Ok(doubts)) => refuse_contradictions(config, &doubts),
        Some(Err(error)) => {
            debug!(%error, "the tags of services cannot be compared with the configuration yet");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Refuses a configuration that lists a service otherwise than its tag says.
pub(crate) fn refuse_contradictions(config: &Config, doubts: &[(ServiceKey, Doubt)]) -> Result<(), Contradiction> {
    let contradictions = doubts.iter().filter_map(|(key, doubt)| match doubt {
        Doubt::ListedOtherwise { .. } => {
            Some(format!("{}: {}; {}", config.name_of(key), doubt.message(), doubt.remedy()))
        }
        Doubt::UnknownPolicy { .. } | Doubt::NoRepository => None,
    });
    let contradictions: Vec<String> = contradictions.collect();
    if contradictions.is_empty() { Ok(()) } else { Err(Contradiction(contradictions)) }
}

/// Lets operators steer. A daemon that cannot be steered still deploys; one whose operators would steer another one does not start.
async fn open_control(path: &Path) -> Result<Option<Socket>, RunError> {
    match Socket::open(path).await {
        Ok(socket) => Ok(Some(socket)),
        Err(taken @ NotOpened::Taken(_)) => Err(RunError::Control(taken)),
        Err(NotOpened::Failed { path, source }) => {
            warn!(
                path = %path.display(), error = %source,
                "the control socket cannot be opened: deploy, hold, release and rollback do not reach this daemon; create its folder for this user, or set another [control] socket"
            );
            Ok(None)
        }
    }
}

/// The state to begin with, and a word about it.
pub(crate) fn begin(config: &Arc<Config>, found: Found, clock: &dyn Clock) -> State {
    let found = match found {
        Found::State(state) => Some(*state),
        Found::Missing => None,
    };
    let beginning = deployer::begin(found, config, clock.now());
    match (beginning.fresh, config.state.when_missing) {
        (true, WhenMissing::Ignore) => info!("there is no state yet: pushes made before this start are not deployed"),
        (true, WhenMissing::Reconcile) => {
            info!("there is no state yet: what ECR holds is compared with what the services run");
        }
        (false, _) => {}
    }
    for (aws, since) in &beginning.gaps {
        warn!(%aws, %since, "CloudTrail was not read for longer than it remembers: what ECR holds is compared with what the services run");
    }
    beginning.state
}

/// Says what is allowed but probably not meant.
fn warn_of_doubtful(config: &Config) {
    if config.repositories.is_empty() && config.discover.is_empty() {
        warn!(
            "there is neither a [[repository]] nor a [[discover]] in the configuration: nothing will ever be deployed"
        );
    }
    if !config.discover.is_empty() && config.policies.is_empty() {
        warn!(
            "there is a [[discover]] and no [policy.NAME] in the configuration: no service that is found is followed"
        );
    }
    if config.poll.overlap < SAFE_OVERLAP {
        warn!(
            overlap = %humantime::format_duration(config.poll.overlap),
            "poll.overlap is shorter than CloudTrail may take to deliver an event: such pushes are seen only by the hourly look at late events; 30m is safe"
        );
    }
}

fn status_line(config: &Config) -> String {
    format!(
        "watching {} for {}",
        counted(config.repositories.len(), "repository", "repositories"),
        counted(config.services().count(), "service", "services")
    )
}

/// Tells systemd, if it is there.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "systemd could not be told");
    }
}

/// The sources of pushes, and what they need.
#[derive(Debug)]
struct Tasks {
    shared: Shared,
    queues: queue::Shared,
    looks: mpsc::Sender<Look>,
    running: Vec<(ContextName, JoinHandle<()>)>,
}

impl Tasks {
    fn start(&mut self, config: &Config, contexts: &Contexts, state: &State) {
        let polled = config.polled_contexts();
        self.shared.health.expect(&polled, config.poll.interval);
        self.shared.health.expect_queues(&config.contexts_with_queues());
        for scheduler in scheduler::all(config, contexts, state, &self.shared) {
            self.running.push((scheduler.context.clone(), tokio::spawn(scheduler.run())));
        }
        for auditor in scheduler::auditors(config, contexts, state, &self.shared) {
            self.running.push((auditor.context().clone(), tokio::spawn(auditor.run())));
        }
        for reader in queue::readers(config, contexts, &self.queues) {
            self.running.push((reader.context().clone(), tokio::spawn(reader.run())));
        }
        for discoverer in discoverer::all(config, contexts) {
            self.running.push((discoverer.context().clone(), tokio::spawn(discoverer.run(self.looks.clone()))));
        }
    }

    /// Ends the sources. They hold nothing that must be kept.
    fn end(&mut self) {
        for (_, task) in self.running.drain(..) {
            task.abort();
        }
    }

    fn ended(&self) -> bool {
        self.running.iter().any(|(_, task)| task.is_finished())
    }
}

/// Keeps the tasks running.
#[derive(Debug)]
struct Supervisor {
    source: Source,
    config: Arc<Config>,
    /// The path in force, whatever a reload says.
    state_path: PathBuf,
    tasks: Tasks,
    reloads: mpsc::Sender<Reload>,
    common: aws::Common,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    notifier: Notifier,
}

impl Supervisor {
    async fn supervise(
        mut self,
        wishes: &mut mpsc::UnboundedReceiver<Wish>,
        mut deployer: JoinHandle<()>,
        mut http: JoinHandle<()>,
        stop: &watch::Sender<bool>,
    ) -> Result<(), RunError> {
        let watchdog = sd_notify::watchdog_enabled()
            .map_or(Duration::from_secs(10), |within| within / 3)
            .max(Duration::from_millis(100));
        loop {
            tokio::select! {
                wish = wishes.recv() => match wish {
                    Some(Wish::Reload) => self.reload().await,
                    Some(Wish::Stop) | None => break,
                },
                _ = &mut deployer => return Err(RunError::TaskEnded("deployer")),
                _ = &mut http => return Err(RunError::TaskEnded("HTTP")),
                () = clock::sleep(watchdog) => {
                    if self.tasks.ended() {
                        return Err(RunError::TaskEnded("scheduler"));
                    }
                    self.feed_watchdog();
                }
            }
        }
        notify(&[NotifyState::Stopping, NotifyState::Status("writing down what is under way")]);
        info!("asked to stop");
        self.tasks.end();
        let _ = stop.send(true);
        let notifier = self.notifier.clone();
        let to_the_end = async {
            let ended = deployer.await.map_err(|_| RunError::TaskEnded("deployer"));
            notifier.finish(LAST_NOTIFICATIONS_WITHIN).await;
            ended
        };
        tokio::select! {
            ended = to_the_end => ended,
            _ = wishes_again(wishes) => Err(RunError::Forced),
        }
    }

    fn feed_watchdog(&self) {
        match self.health.alive() {
            Ok(()) => notify(&[NotifyState::Watchdog]),
            Err(text) => error!(reason = text, "systemd's watchdog is not fed"),
        }
    }

    /// Reads the configuration again. A bad one changes nothing.
    async fn reload(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
        match self.replace().await {
            Ok(()) => {
                self.metrics.reloaded(Some(self.tasks.shared.clock.now()));
                info!(
                    repositories = self.config.repositories.len(),
                    services = self.config.services().count(),
                    "the configuration was reloaded"
                );
            }
            Err(text) => {
                self.metrics.reloaded(None);
                error!(error = text, "the configuration was not reloaded: the one in force stays");
            }
        }
        notify(&[NotifyState::Ready, NotifyState::Status(&status_line(&self.config))]);
    }

    async fn replace(&mut self) -> Result<(), String> {
        let source = self.source.clone();
        let config = beside(move || source.load()).await?.map_err(|error| chain(&error))?;
        let contexts = aws::connect(&config.aws, &self.common, Patience::Short).await.map_err(|error| chain(&error))?;
        let path = self.state_path.clone();
        let state = match beside(move || state_store::read(&path)).await?.map_err(|error| chain(&error))? {
            Found::State(state) => *state,
            Found::Missing => return Err("the state file is gone".to_owned()),
        };
        self.warn_of_fixed(&config);
        warn_of_doubtful(&config);
        let config = Arc::new(config);
        let notifier = self.notifier.reload(&config.notify, &contexts, &self.metrics);
        self.notifier = notifier.clone();
        let reload = Reload { config: Arc::clone(&config), contexts, notifier };
        // First the deployer, then the schedulers: what they read from here on is judged by the new configuration.
        let contexts = reload.contexts.clone();
        self.reloads.send(reload).await.map_err(|_| "the deployer has ended".to_owned())?;
        self.tasks.end();
        self.config = config;
        self.tasks.start(&self.config, &contexts, &state);
        Ok(())
    }

    /// What is taken up only at a start.
    fn warn_of_fixed(&self, new: &Config) {
        let fixed: [(&str, PathBuf, PathBuf); 2] = [
            ("state.path", self.state_path.clone(), new.state.path.clone()),
            ("control.socket", self.config.control.socket.clone(), new.control.socket.clone()),
        ];
        for (key, old, new) in fixed {
            if old != new {
                warn!(key, "a change of this key takes effect at the next start");
            }
        }
        if self.config.http.listen != new.http.listen {
            warn!(key = "http.listen", "a change of this key takes effect at the next start");
        }
    }
}

/// Does something on another thread: reading a large file takes its time, in which everything else goes on.
async fn beside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.map_err(|died| died.to_string())
}

/// Resolves when a stop is asked for again.
async fn wishes_again(wishes: &mut mpsc::UnboundedReceiver<Wish>) {
    while let Some(wish) = wishes.recv().await {
        if wish == Wish::Stop {
            return;
        }
    }
    std::future::pending::<()>().await;
}
