//! A daemon that is one of several: it stands by until the lease is its own, works as long as that is so, and stands by again.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::{Mutex, watch};
use tracing::{error, info, warn};

use super::supervisor::{End, Kept, Supervisor};
use super::work::Work;
use super::{Process, RunError, begin, look_every, notify, wishes_again};
use crate::aws::table::Table;
use crate::aws::{self, Common, RegionWait};
use crate::clock::{self, Instant};
use crate::config::{Config, TableSettings};
use crate::deployer::Request;
use crate::domain::operator_command::Refused;
use crate::lease::{Keeper, Tenure, Watch, this_process};
use crate::metrics::Detail;
use crate::notify::LAST_WITHIN;
use crate::signals::Wish;
use crate::state_store::table::{self, TableError, TableStore};
use crate::state_store::{Loaded, StateStoreError};
use crate::status::Status;
use crate::table_commands;
use crate::wording::chain;

/// How long a start waits for the first answer about the table, so that it says what is wrong before it says that it has begun.
const FIRST_LOOK_WITHIN: Duration = Duration::from_secs(5);
/// A table that cannot be used for a while is tried this often.
const AGAIN_IN: Duration = Duration::from_secs(5);
/// What a table says is shown to whoever asks within this time: reading all of it costs.
const FRESH: Duration = Duration::from_secs(10);

/// How a wait ends.
enum Waited<T> {
    For(T),
    Stop,
}

/// The table, where the configuration names one that is not known to be of no use.
///
/// # Errors
/// It cannot be used, and that will not go away by itself.
pub(super) async fn table(config: &Config, common: &Common) -> Result<Option<Arc<dyn Table>>, RunError> {
    let Some(settings) = config.state.place.table() else { return Ok(None) };
    let Some(aws) = config.aws.get(&settings.aws) else { return Ok(None) };
    let table = aws::connect_table(&settings.aws, aws, &settings.name, common, RegionWait::Endless).await?;
    match clock::within(FIRST_LOOK_WITHIN, table::inspect(table.as_ref())).await {
        Some(Err(error)) if !error.may_pass() => Err(StateStoreError::from(error).into()),
        Some(_) | None => Ok(Some(table)),
    }
}

impl Process {
    /// The state is in a table, which several replicas share.
    pub(super) async fn run_as_replica(&mut self, table: Arc<dyn Table>) -> Result<(), RunError> {
        let Some(settings) = self.config.state.place.table().cloned() else { return Ok(()) };
        self.tell_ready();
        if matches!(self.inspect(&table).await?, Waited::Stop) {
            return Ok(());
        }
        let me = this_process(self.clock.as_ref());
        let keeper = Keeper::start(Arc::clone(&table), me, settings.lease, Arc::clone(&self.clock));
        let snapshots = Arc::new(Snapshots { table: Arc::clone(&table), last: Mutex::default() });
        // When this replica first was active without a state.
        let mut first_begun = None;
        loop {
            self.health.expect(&[], self.config.poll.interval);
            self.health.expect_queues(&[]);
            self.metrics.leads(false);
            let tenure = match self.stand_by(&settings, keeper.standing(), &snapshots).await? {
                Waited::For(tenure) => tenure,
                Waited::Stop => return self.leave(keeper).await,
            };
            let store = match self.open(&table, &tenure, &keeper).await {
                Ok(Waited::For(store)) => store,
                Ok(Waited::Stop) => return self.leave(keeper).await,
                Err(error @ TableError::Fenced { .. }) => {
                    warn!(error = chain(&error), "the lease was lost before the state was read");
                    continue;
                }
                Err(error) => {
                    keeper.give_back().await;
                    return Err(StateStoreError::from(error).into());
                }
            };
            let (store, found) = store;
            // What was pushed since the first time counts, although nothing of that could be written down.
            let now = match found {
                Loaded::Missing => *first_begun.get_or_insert_with(|| self.clock.now()),
                Loaded::State(_) => self.clock.now(),
            };
            let state = begin(&self.config, found, now);
            let store = Arc::new(store);
            // A reload while this replica stood by may have brought contexts that have no clients yet.
            match aws::connect(&self.config.aws, &self.common, RegionWait::Short).await {
                Ok(contexts) => self.contexts = contexts,
                Err(error) => warn!(error = chain(&error), "the clients of before are used"),
            }
            let contexts = aws::fenced(self.contexts.clone(), &tenure);
            let work = Work::begin(self, contexts, Arc::<TableStore>::clone(&store), state);
            self.metrics.leads(true);
            let desk =
                tokio::spawn(table_commands::serve(Arc::clone(&table), tenure.fence().clone(), work.asks.clone()));
            let kept = Kept::Table { store, tenure, standing: keeper.standing() };
            let mut supervisor = Supervisor { process: self, work, kept };
            let end = supervisor.supervise().await;
            desk.abort();
            match end? {
                End::Stopped => return supervisor.stop(Some(keeper)).await,
                End::LeaseLost => supervisor.abandon().await,
            }
        }
    }

    /// Waits until the table can be used. What will not go away by itself ends the process.
    async fn inspect(&mut self, table: &Arc<dyn Table>) -> Result<Waited<()>, RunError> {
        loop {
            match table::inspect(table.as_ref()).await {
                Ok(()) => return Ok(Waited::For(())),
                Err(error) if error.may_pass() => warn!(error = chain(&error), "the table is awaited"),
                Err(error) => return Err(StateStoreError::from(error).into()),
            }
            if let Waited::Stop = self.pause().await {
                return Ok(Waited::Stop);
            }
        }
    }

    /// Reads the state, as long as it takes and the lease lasts.
    async fn open(
        &mut self,
        table: &Arc<dyn Table>,
        tenure: &Arc<Tenure>,
        keeper: &Keeper,
    ) -> Result<Waited<(TableStore, Loaded)>, TableError> {
        loop {
            let (table, clock) = (Arc::clone(table), Arc::clone(&self.clock));
            let name = table.name().to_owned();
            match TableStore::open(table, tenure.fence().clone(), Some(keeper.doubts()), clock).await {
                _ if !tenure.is_valid() => return Err(TableError::Fenced { table: name }),
                Ok(opened) => return Ok(Waited::For(opened)),
                Err(error) if error.may_pass() => warn!(error = chain(&error), "the state is read again"),
                Err(error) => return Err(error),
            }
            if let Waited::Stop = self.pause().await {
                return Ok(Waited::Stop);
            }
        }
    }

    async fn pause(&mut self) -> Waited<()> {
        self.health.deployer_lives();
        self.feed_watchdog();
        let pause = clock::sleep(AGAIN_IN);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                wish = self.wishes.recv() => match wish {
                    Some(Wish::Reload) => self.reload(),
                    Some(Wish::Stop) | None => return Waited::Stop,
                },
                () = &mut pause => return Waited::For(()),
            }
        }
    }

    /// Answers and waits until the lease is this replica's.
    async fn stand_by(
        &mut self,
        settings: &TableSettings,
        mut standing: watch::Receiver<Watch>,
        snapshots: &Arc<Snapshots>,
    ) -> Result<Waited<Arc<Tenure>>, RunError> {
        let mut holder = None;
        let mut look_at = clock::instant() + look_every();
        loop {
            self.health.deployer_lives();
            match &*standing.borrow_and_update() {
                Watch::Active(tenure) => {
                    self.health.awaits(&settings.aws, None);
                    return Ok(Waited::For(Arc::clone(tenure)));
                }
                Watch::Standby { holder: named, last_error } => {
                    if *named != holder {
                        holder.clone_from(named);
                        info!(holder = holder.as_deref().unwrap_or("nobody"), "standing by");
                    }
                    let what = last_error.as_ref().map(|error| format!("the table {}: {error}", settings.name));
                    self.health.awaits(&settings.aws, what.as_deref());
                }
                Watch::Over => return Err(RunError::TaskEnded("lease")),
            }
            let status = format!("standing by; {} is active", holder.as_deref().unwrap_or("nobody"));
            notify(&[NotifyState::Status(&status)]);
            tokio::select! {
                biased;
                wish = self.wishes.recv() => match wish {
                    Some(Wish::Reload) => self.reload(),
                    Some(Wish::Stop) | None => return Ok(Waited::Stop),
                },
                changed = standing.changed() => changed.map_err(|_| RunError::TaskEnded("lease"))?,
                _ = &mut self.http => return Err(RunError::TaskEnded("HTTP")),
                () = clock::sleep_until(look_at) => {
                    look_at = clock::instant() + look_every();
                    self.feed_watchdog();
                }
                Some(request) = self.requests.recv() => self.answer(request, holder.clone(), snapshots),
            }
        }
    }

    /// A standby knows what the table says, and carries out nothing.
    fn answer(&self, request: Request, holder: Option<String>, snapshots: &Arc<Snapshots>) {
        match request {
            Request::Status(answer) | Request::Glance(answer) => {
                let (snapshots, config, clock) =
                    (Arc::clone(snapshots), Arc::clone(&self.config), Arc::clone(&self.clock));
                tokio::spawn(async move {
                    if let Some(contents) = snapshots.get().await {
                        // Who asked may have gone meanwhile.
                        let _ = answer.send(Status::of_table(&config, &contents, holder, clock.now()));
                    }
                });
            }
            Request::Command(command) => {
                let active =
                    holder.map_or_else(|| "none is active now".to_owned(), |holder| format!("{holder} is active"));
                let refused = format!(
                    "this replica stands by, and {active}; with [state] table in the configuration the command reaches that one"
                );
                let _ = command.answer.send(Err(Refused(refused)));
            }
        }
    }

    /// Takes another configuration for the time when this replica is active.
    fn reload(&mut self) {
        match self.source.load() {
            Ok(config) => {
                self.warn_of_fixed(&config);
                self.config = Arc::new(Config { state: self.config.state.clone(), ..config });
                self.metrics.reloaded(Some(self.clock.now()));
                info!("the configuration was reloaded; it is in force once this replica is active");
            }
            Err(problem) => {
                self.metrics.reloaded(None);
                error!(error = chain(&problem), "the configuration was not reloaded: the one in force stays");
            }
        }
    }

    /// A standby ends at once; one that has just been given the lease gives it back.
    async fn leave(&mut self, keeper: Keeper) -> Result<(), RunError> {
        notify(&[NotifyState::Stopping]);
        info!("asked to stop");
        tokio::select! {
            biased;
            () = keeper.give_back() => Ok(()),
            () = wishes_again(&mut self.wishes) => Err(RunError::Forced),
        }
    }
}

impl Supervisor<'_> {
    /// Drops everything that was about to be done. What waited for a commit is the next replica's to decide, and to tell. What is committed
    /// nobody else tells, so that it gets a last chance as at a stop; then it is dropped, and is not told at some later time.
    async fn abandon(self) {
        let Self { process, mut work, .. } = self;
        work.end_sources();
        work.deployer.abort();
        let _ = (&mut work.deployer).await;
        let notifier = work.notifier.clone();
        tokio::spawn(async move { notifier.finish(LAST_WITHIN).await });
        process.metrics.expect(&[], &[], &[], Detail::default());
    }
}

/// The table, read once for all who ask at about the same time.
#[derive(Debug)]
struct Snapshots {
    table: Arc<dyn Table>,
    last: Mutex<Option<(Instant, Arc<table::Contents>)>>,
}

impl Snapshots {
    /// With thousands of services it takes megabytes, so that it is kept no longer than it is shown.
    fn forget_later(this: &Arc<Self>) {
        let this = Arc::clone(this);
        drop(tokio::spawn(async move {
            clock::sleep(FRESH).await;
            this.last.lock().await.take_if(|(read, _)| read.elapsed() >= FRESH);
        }));
    }

    async fn get(self: Arc<Self>) -> Option<Arc<table::Contents>> {
        let mut last = self.last.lock().await;
        if let Some((read, contents)) = last.as_ref()
            && read.elapsed() < FRESH
        {
            return Some(Arc::clone(contents));
        }
        match table::read(self.table.as_ref()).await {
            Ok(contents) => {
                let contents = Arc::new(contents);
                *last = Some((clock::instant(), Arc::clone(&contents)));
                Self::forget_later(&self);
                Some(contents)
            }
            Err(error) => {
                warn!(error = chain(&error), "the status cannot be read");
                None
            }
        }
    }
}
