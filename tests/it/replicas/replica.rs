//! One of several replicas: it stands by, works while it holds the lease, and stands by again, as the daemon does.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use ecs_deployd::aws;
use ecs_deployd::clock::Clock;
use ecs_deployd::config::Config;
use ecs_deployd::deployer::{self, Deployer, Inbox, Parts};
use ecs_deployd::health::Health;
use ecs_deployd::lease::{Keeper, Tenure, Watch};
use ecs_deployd::metrics::Metrics;
use ecs_deployd::notify::{LAST_WITHIN, Notifier};
use ecs_deployd::scheduler::{self, Shared};
use ecs_deployd::state_store::Loaded;
use ecs_deployd::state_store::table::{TableError, TableStore};
use ecs_deployd::table_commands;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::harness::parse;
use crate::world::{Door, SharedTable, World};

pub const LEASE: Duration = Duration::from_secs(30);

/// A clock that nobody sets.
#[derive(Debug)]
struct Apart(World, SignedDuration);

impl Clock for Apart {
    fn now(&self) -> Timestamp {
        self.0.now() + self.1
    }
}

/// Runs a future as a process does that may be frozen: then nothing of it goes on.
async fn freezable<F: Future>(door: Door, future: F) -> F::Output {
    let mut future = pin!(future);
    let mut thawing: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    std::future::poll_fn(move |context| {
        if door.frozen.is() && thawing.is_none() {
            let door = door.clone();
            thawing = Some(Box::pin(async move { door.thawed().await }));
        }
        if let Some(thaw) = &mut thawing {
            match thaw.as_mut().poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => thawing = None,
            }
        }
        future.as_mut().poll(context)
    })
    .await
}

/// A process.
#[derive(Debug)]
pub struct Replica {
    task: JoinHandle<()>,
    keeper: JoinHandle<()>,
    stop: watch::Sender<bool>,
    active: Arc<AtomicBool>,
    work: Arc<std::sync::Mutex<Vec<tokio::task::AbortHandle>>>,
    notifiers: Arc<std::sync::Mutex<Vec<Notifier>>>,
}

static LIVES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl Replica {
    pub fn start(world: &World, table: &SharedTable, door: Door, apart: SignedDuration, config: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let active = Arc::new(AtomicBool::new(false));
        let work = Arc::new(std::sync::Mutex::new(Vec::new()));
        let notifiers = Arc::new(std::sync::Mutex::new(Vec::new()));
        let life = LIVES.fetch_add(1, Ordering::Relaxed);
        let me = format!("replica-{}-{life}", door.replica);
        let clock = Arc::new(Apart(world.clone(), apart));
        let (keeper, keeping) = Keeper::new(table.door(door.clone()), me, LEASE, clock.clone());
        let keeping = tokio::spawn(freezable(door.clone(), keeping));
        let running = Running {
            world: world.for_replica(door.clone()),
            table: table.clone(),
            door: door.clone(),
            clock,
            config: Arc::new(parse(config)),
            active: Arc::clone(&active),
            work: Arc::clone(&work),
            notifiers: Arc::clone(&notifiers),
        };
        let task = tokio::spawn(freezable(door, running.run(keeper, stopped)));
        Self { task, keeper: keeping, stop, active, work, notifiers }
    }

    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Dies on the spot.
    pub async fn kill(self) {
        self.task.abort();
        self.keeper.abort();
        for task in self.work.lock().unwrap().drain(..) {
            task.abort();
        }
        let _ = self.task.await;
        let _ = self.keeper.await;
        let notifiers = std::mem::take(&mut *self.notifiers.lock().unwrap());
        for notifier in notifiers {
            notifier.finish(Duration::ZERO).await;
        }
    }

    /// Stops as on SIGTERM.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
        self.keeper.abort();
    }
}

struct Running {
    world: World,
    table: SharedTable,
    door: Door,
    clock: Arc<Apart>,
    config: Arc<Config>,
    active: Arc<AtomicBool>,
    work: Arc<std::sync::Mutex<Vec<tokio::task::AbortHandle>>>,
    /// Those that may still have something to tell.
    notifiers: Arc<std::sync::Mutex<Vec<Notifier>>>,
}

impl Running {
    async fn run(self, keeper: Keeper, mut stop: watch::Receiver<bool>) {
        loop {
            let mut standing = keeper.standing();
            let tenure = tokio::select! {
                biased;
                () = told(&mut stop) => None,
                tenure = active(&mut standing) => Some(tenure),
            };
            let Some(tenure) = tenure else { return keeper.give_back().await };
            let opened = TableStore::open(
                self.table.door(self.door.clone()),
                tenure.fence().clone(),
                Some(keeper.doubts()),
                self.clock.clone(),
            );
            let (store, found) = match opened.await {
                _ if !tenure.is_valid() => continue,
                Ok(opened) => opened,
                Err(error) if error.may_pass() || matches!(error, TableError::Fenced { .. }) => {
                    ecs_deployd::clock::sleep(Duration::from_secs(5)).await;
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            self.active.store(true, Ordering::Relaxed);
            let term = tenure.fence().term;
            let (end, ended) = watch::channel(false);
            let (mut deployer, notifier) = self.begin(store, found, &tenure, ended);
            let is_lost = tokio::select! {
                biased;
                () = lost(&mut standing, term) => true,
                () = told(&mut stop) => false,
            };
            if is_lost {
                self.active.store(false, Ordering::Relaxed);
                self.abort();
                let _ = deployer.await;
                drop(tokio::spawn(freezable(self.door.clone(), notifier.finish(LAST_WITHIN))));
            } else {
                let _ = end.send(true);
                let _ = (&mut deployer).await;
                self.active.store(false, Ordering::Relaxed);
                self.abort();
                keeper.give_back().await;
                return notifier.finish(LAST_WITHIN).await;
            }
        }
    }

    fn abort(&self) {
        for task in self.work.lock().unwrap().drain(..) {
            task.abort();
        }
    }

    fn begin(
        &self,
        store: TableStore,
        found: Loaded,
        tenure: &Arc<Tenure>,
        ended: watch::Receiver<bool>,
    ) -> (JoinHandle<()>, Notifier) {
        let found = match found {
            Loaded::State(state) => Some(*state),
            Loaded::Missing => None,
        };
        let clock: Arc<dyn Clock> = Arc::new(self.world.clock());
        let config = Arc::clone(&self.config);
        let state = deployer::begin(found, &config, clock.now()).state;
        let metrics = Arc::new(Metrics::new("test", "test", clock.now()).unwrap());
        let health = Arc::new(Health::new());
        let contexts = aws::fenced(self.world.contexts(), tenure);
        let (batches, pages) = mpsc::channel(4);
        let (_, reloads) = mpsc::channel(1);
        let (asks, requests) = mpsc::channel(4);
        let shared =
            Shared { clock: Arc::clone(&clock), metrics: Arc::clone(&metrics), health: Arc::clone(&health), batches };
        let mut work = self.work.lock().unwrap();
        for scheduler in scheduler::all(&config, &contexts, &state, &shared) {
            work.push(tokio::spawn(freezable(self.door.clone(), scheduler.run())).abort_handle());
        }
        let desk = table_commands::serve(self.table.door(self.door.clone()), tenure.fence().clone(), asks);
        work.push(tokio::spawn(freezable(self.door.clone(), desk)).abort_handle());
        let notifier = Notifier::start(&config.notify, &contexts, &metrics);
        self.notifiers.lock().unwrap().push(notifier.clone());
        let parts = Parts {
            config,
            contexts,
            state_store: Arc::new(store),
            state,
            clock,
            metrics,
            health,
            notifier: notifier.clone(),
        };
        let (_, looks) = mpsc::channel(1);
        let (_, deliveries) = mpsc::channel(1);
        let inbox = Inbox { batches: pages, deliveries, reloads, looks, requests, stop: ended };
        let deployer = tokio::spawn(freezable(self.door.clone(), Deployer::new(parts).run(inbox)));
        work.push(deployer.abort_handle());
        (deployer, notifier)
    }
}

async fn active(standing: &mut watch::Receiver<Watch>) -> Arc<Tenure> {
    loop {
        if let Watch::Active(tenure) = &*standing.borrow_and_update() {
            return Arc::clone(tenure);
        }
        if standing.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn lost(standing: &mut watch::Receiver<Watch>, term: u64) {
    let _ = standing.wait_for(|now| !matches!(now, Watch::Active(held) if held.fence().term == term)).await;
}
