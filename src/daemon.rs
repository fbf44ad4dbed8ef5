//! `run`: puts the tasks together, and takes them apart again.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::admission;
use crate::aws::{self, ConnectError, Contexts};
use crate::clock::{self, Clock, CorrectedClock};
use crate::config::{Config, Source, StatePlace, WhenMissing};
use crate::control::{NotOpened, Socket};
use crate::deployer::{self, Request};
use crate::discoverer;
use crate::domain::discovery::Doubt;
use crate::domain::state::State;
use crate::domain::types::ServiceKey;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::signals::{self, Wish};
use crate::state_store::{Loaded, StateStore, StateStoreError};
use crate::wording::counted;

mod connecting;
mod replica;
mod supervisor;
mod work;

use supervisor::{Kept, Supervisor};
use work::Work;

/// CloudTrail delivers within 15 minutes, as a rule.
pub const SAFE_OVERLAP: Duration = Duration::from_secs(15 * 60);
/// How long a start waits for the tags of services, which may contradict the configuration.
const TAGS_WITHIN: Duration = Duration::from_secs(10);
/// Requests of operators that may wait for it.
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
        /// The address of the configuration.
        address: SocketAddr,
        /// Why that was not possible.
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
    let file = match &config.state.place {
        StatePlace::File(path) => {
            let (store, found) = StateStore::open(path)?;
            Some((path.clone(), store, begin(&config, found, clock.now())))
        }
        StatePlace::Table(_) => None,
    };
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
    let Some(contexts) = connecting::until_connected(&config.aws, &common, &mut wishes).await? else { return Ok(()) };
    let table = replica::table(&config, &common).await?;
    compare_tags(&config, &contexts, file.as_ref().map(|(_, _, state)| state)).await?;
    info!(
        version = env!("CARGO_PKG_VERSION"), config = %source.name(), state = %config.state.place, http = %address,
        repositories = config.repositories.len(), services = config.services().count(),
        contexts = config.polled_contexts().len(), "started"
    );
    warn_of_doubtful(&config);
    tokio::spawn(admission::warn_of_policies(Arc::clone(&config), contexts.clone()));
    if let Some(socket) = control {
        drop(tokio::spawn(socket.serve(asks, stopped)));
    }
    let mut process = Process { source, config, contexts, clock, common, metrics, health, wishes, requests, http };
    let ended = match (file, table) {
        (Some((path, store, state)), _) => process.run_alone(path, store, state).await,
        (None, Some(table)) => process.run_as_replica(table).await,
        (None, None) => Ok(()),
    };
    let _ = stop.send(true);
    ended
}

/// What lives as long as the process does.
#[derive(Debug)]
struct Process {
    source: Source,
    config: Arc<Config>,
    contexts: Contexts,
    clock: Arc<dyn Clock>,
    common: aws::Common,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    wishes: mpsc::UnboundedReceiver<Wish>,
    requests: mpsc::Receiver<Request>,
    http: JoinHandle<()>,
}

impl Process {
    /// The state is in a file, which is this process's alone.
    async fn run_alone(&mut self, path: PathBuf, store: StateStore, state: State) -> Result<(), RunError> {
        self.metrics.leads(true);
        let work = Work::begin(self, self.contexts.clone(), Arc::new(store), state);
        self.tell_ready();
        let mut supervisor = Supervisor { process: self, work, kept: Kept::File(path) };
        supervisor.supervise().await?;
        supervisor.stop(None).await
    }

    fn tell_ready(&self) {
        notify(&[NotifyState::Ready, NotifyState::Status(&status_line(&self.config))]);
    }

    /// Tells systemd's watchdog that every task goes through its loop.
    fn feed_watchdog(&self) {
        match self.health.alive() {
            Ok(()) => notify(&[NotifyState::Watchdog]),
            Err(text) => error!(reason = text, "systemd's watchdog is not fed"),
        }
    }
}

/// The tasks are looked at, and systemd's watchdog is told, this often.
fn look_every() -> Duration {
    sd_notify::watchdog_enabled().map_or(Duration::from_secs(10), |within| within / 3).max(Duration::from_millis(100))
}

/// Services that are listed in the configuration and found by their tag, with other values.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Contradiction(Vec<String>);

/// Compares the tags of services with the list in the configuration, as far as AWS can be asked now. What comes up later is told in the log.
async fn compare_tags(config: &Config, contexts: &Contexts, state: Option<&State>) -> Result<(), Contradiction> {
    let nothing = State::default();
    let state = state.unwrap_or(&nothing);
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

/// Opens the control socket. A daemon that operator commands do not reach still deploys; one whose commands would reach another daemon does
/// not start.
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
pub(crate) fn begin(config: &Arc<Config>, found: Loaded, now: Timestamp) -> State {
    let found = match found {
        Loaded::State(state) => Some(*state),
        Loaded::Missing => None,
    };
    let beginning = deployer::begin(found, config, now);
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

/// Resolves when a stop is asked for again.
async fn wishes_again(wishes: &mut mpsc::UnboundedReceiver<Wish>) {
    while let Some(wish) = wishes.recv().await {
        if wish == Wish::Stop {
            return;
        }
    }
    std::future::pending::<()>().await;
}
