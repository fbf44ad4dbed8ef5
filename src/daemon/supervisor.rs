//! Keeps the tasks of an active daemon running, and takes them apart again.

use std::path::PathBuf;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::work::Work;
use super::{Process, RunError, look_every, notify, status_line, warn_of_doubtful, wishes_again};
use crate::aws::{self, Contexts, RegionWait};
use crate::clock;
use crate::deployer::Reload;
use crate::domain::state::State;
use crate::lease::{self, Keeper, Tenure, Watch};
use crate::notify::LAST_WITHIN;
use crate::signals::Wish;
use crate::state_store::table::TableStore;
use crate::state_store::{self, Loaded};
use crate::wording::chain;

/// Where the state in force is kept, whatever a reload says.
#[derive(Debug)]
pub(super) enum Kept {
    File(PathBuf),
    Table { store: Arc<TableStore>, tenure: Arc<Tenure>, standing: watch::Receiver<Watch> },
}

/// Why the work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The process was asked to stop.
    Stopped,
    /// The lease is not this replica's any more.
    LeaseLost,
}

/// The work, and what it is done with.
#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    pub(super) process: &'a mut Process,
    pub(super) work: Work,
    pub(super) kept: Kept,
}

impl Supervisor<'_> {
    /// Keeps the tasks running until the process is to stop, or the lease is lost.
    pub(super) async fn supervise(&mut self) -> Result<End, RunError> {
        let mut look_at = clock::instant() + look_every();
        loop {
            tokio::select! {
                biased;
                () = lost(&mut self.kept) => return Ok(End::LeaseLost),
                wish = self.process.wishes.recv() => match wish {
                    Some(Wish::Reload) => self.reload().await,
                    Some(Wish::Stop) | None => return Ok(End::Stopped),
                },
                _ = &mut self.work.deployer => return Err(RunError::TaskEnded("deployer")),
                _ = &mut self.process.http => return Err(RunError::TaskEnded("HTTP")),
                () = clock::sleep_until(look_at) => {
                    look_at = clock::instant() + look_every();
                    if self.work.has_ended() {
                        return Err(RunError::TaskEnded("scheduler"));
                    }
                    self.process.feed_watchdog();
                }
                Some(request) = self.process.requests.recv() => {
                    // Those who ask are few, and a deployer that hangs must not hold up this loop.
                    let asks = self.work.asks.clone();
                    tokio::spawn(async move { asks.send(request).await });
                }
            }
        }
    }

    /// Writes down what is under way, gives the lease back, and delivers what is still to be told.
    pub(super) async fn stop(self, keeper: Option<Keeper>) -> Result<(), RunError> {
        let Self { process, mut work, .. } = self;
        notify(&[NotifyState::Stopping, NotifyState::Status("writing down what is under way")]);
        info!("asked to stop");
        work.ask_to_stop();
        let to_the_end = async {
            let ended = (&mut work.deployer).await.map_err(|_| RunError::TaskEnded("deployer"));
            if let Some(keeper) = keeper {
                keeper.give_back().await;
            }
            work.notifier.clone().finish(LAST_WITHIN).await;
            ended
        };
        tokio::select! {
            biased;
            ended = to_the_end => ended,
            () = wishes_again(&mut process.wishes) => Err(RunError::Forced),
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
                let process = &self.process;
                process.metrics.reloaded(Some(process.clock.now()));
                info!(
                    repositories = process.config.repositories.len(),
                    services = process.config.services().count(),
                    "the configuration was reloaded"
                );
            }
            Err(text) => {
                self.process.metrics.reloaded(None);
                error!(error = text, "the configuration was not reloaded: the one in force stays");
            }
        }
        notify(&[NotifyState::Ready, NotifyState::Status(&status_line(&self.process.config))]);
    }

    async fn replace(&mut self) -> Result<(), String> {
        let source = self.process.source.clone();
        let config = beside(move || source.load()).await?.map_err(|error| chain(&error))?;
        let contexts =
            aws::connect(&config.aws, &self.process.common, RegionWait::Short).await.map_err(|error| chain(&error))?;
        let state = self.kept.state().await?;
        self.process.warn_of_fixed(&config);
        warn_of_doubtful(&config);
        let config = Arc::new(config);
        self.process.contexts = contexts.clone();
        let contexts = self.kept.fence(contexts);
        let notifier = self.work.notifier.reload(&config.notify, &contexts, &self.process.metrics);
        self.work.notifier = notifier.clone();
        let reload = Reload { config: Arc::clone(&config), contexts: contexts.clone(), notifier };
        // First the deployer, then the schedulers: what they read from here on is judged by the new configuration.
        self.work.reloads.send(reload).await.map_err(|_| "the deployer has ended".to_owned())?;
        self.process.config = config;
        self.work.restart_sources(&self.process.config, &contexts, &state);
        Ok(())
    }
}

/// Does something on another thread: reading a large file takes its time, in which everything else goes on.
pub(super) async fn beside<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(read).await.map_err(|died| died.to_string())
}

/// Resolves when the lease is lost.
async fn lost(kept: &mut Kept) {
    match kept {
        Kept::File(_) => std::future::pending().await,
        Kept::Table { standing, tenure, .. } => lease::lost(standing, tenure.fence().term).await,
    }
}

impl Kept {
    async fn state(&self) -> Result<State, String> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                match beside(move || state_store::read(&path)).await?.map_err(|error| chain(&error))? {
                    Loaded::State(state) => Ok(*state),
                    Loaded::Missing => Err("the state file is gone".to_owned()),
                }
            }
            Self::Table { store, .. } => Ok(store.last().await),
        }
    }

    fn fence(&self, contexts: Contexts) -> Contexts {
        match self {
            Self::File(_) => contexts,
            Self::Table { tenure, .. } => aws::fenced(contexts, tenure),
        }
    }
}

impl Process {
    /// What is taken up only at a start.
    pub(super) fn warn_of_fixed(&self, new: &crate::config::Config) {
        let old = &self.config;
        for (key, is_same) in [
            ("state", old.state.place == new.state.place),
            ("control.socket", old.control.socket == new.control.socket),
            ("http.listen", old.http.listen == new.http.listen),
        ] {
            if !is_same {
                warn!(key, "a change of this key takes effect at the next start");
            }
        }
    }
}
