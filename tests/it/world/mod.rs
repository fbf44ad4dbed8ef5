//! A stateful AWS: the services are faked, not the calls.
//!
//! Time is tokio's, paused in tests: a day passes in no time, and every run is the same.

mod clock;
mod disk;
mod ecr;
mod ecs;
mod faults;
mod frozen;
mod gates;
mod inventory;
mod limits;
mod one_off;
mod queue;
pub mod rng;
mod schedules;
mod table;
mod tagging;
mod topics;
mod trail;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecs_deployd::aws::{AwsContext, Contexts};
use ecs_deployd::clock::Instant;
use ecs_deployd::domain::types::{ContextName, Region};
use jiff::Timestamp;
use serde_json::Value;

pub use disk::Disk;
pub use ecr::{image_uri, manifest_digest};
pub use ecs::{Health, LifecycleHook, Service, Started};
pub use faults::{Fate, Weather};
pub use frozen::Frozen;
pub use one_off::{Job, TaskEnd};
pub use queue::{QUEUE, edited};
pub use table::{FrozenAt, LATEST, REAL_PAGE, SharedTable, TableWeather, Units};

pub const ACCOUNT: &str = "111111111111";
/// The account of a second context.
pub const OTHER_ACCOUNT: &str = "222222222222";
pub const REGION: &str = "eu-west-1";

/// The world outside the process.
#[derive(Debug, Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
    /// Whose calls these are.
    others: bool,
    /// The replica that makes them, where there are several.
    door: Option<Door>,
    /// Another account, as a context of this name.
    beside: Option<Box<(ContextName, World)>>,
}

/// A replica, as the world sees it.
#[derive(Debug, Clone)]
pub struct Door {
    pub replica: usize,
    /// Its process is stopped: what it has not begun to do, it does not begin.
    pub frozen: Frozen,
}

impl Door {
    /// Waits until the process goes on.
    pub async fn thawed(&self) {
        self.frozen.thawed().await;
    }
}

#[derive(Debug)]
pub struct Inner {
    account: &'static str,
    begun: Instant,
    epoch: Timestamp,
    latency: Duration,
    calls: Vec<Call>,
    fates: Vec<(usize, Fate)>,
    broken: BTreeMap<&'static str, Fate>,
    /// Services that the role must not touch, by cluster and name.
    forbidden: std::collections::BTreeSet<(String, String)>,
    /// Repositories that cannot be asked.
    silent: std::collections::BTreeSet<String>,
    weather: Option<faults::Weather>,
    ahead: jiff::SignedDuration,
    limits: limits::Limits,
    witness: Option<Arc<Disk>>,
    /// The replica that is frozen at its next call of these.
    freezes: Option<(usize, &'static [&'static str], Frozen)>,
    trace: bool,
    serial: u64,
    events: Vec<trail::Stored>,
    page_size: usize,
    overlapping_pages: bool,
    token_life: Option<jiff::SignedDuration>,
    repositories: BTreeMap<String, ecr::Repository>,
    health: BTreeMap<String, ecs::Health>,
    families: BTreeMap<String, Vec<Value>>,
    services: BTreeMap<(String, String), ecs::Service>,
    topics: BTreeMap<String, topics::Topic>,
    /// Schedules, by group and name.
    schedules: BTreeMap<(String, String), serde_json::Map<String, Value>>,
    /// The targets of rules, by bus and name.
    rules: BTreeMap<(String, String), Vec<Value>>,
    one_off: one_off::OneOff,
    queue: queue::PushQueue,
    /// The tags of services, by cluster and name.
    tags: BTreeMap<(String, String), BTreeMap<String, String>>,
    at_gates: gates::AtGates,
}

/// One call that was made, in order.
#[derive(Debug, Clone)]
pub struct Call {
    pub operation: &'static str,
    pub detail: String,
    pub at: Duration,
    /// Somebody else's than the daemon's.
    pub others: bool,
    /// The replica that made it, where there are several.
    pub replica: Option<usize>,
}

impl World {
    pub fn new() -> Self {
        Self::of_account(ACCOUNT, 0)
    }

    /// A second account, which is reached by a context of this name. It has its own repositories, services, events and faults.
    pub fn and_account(&mut self, name: &str) -> Self {
        // No two events have one id, whichever account they are of.
        let other = Self::of_account(OTHER_ACCOUNT, 500_000);
        self.beside = Some(Box::new((ContextName::parse(name).unwrap(), other.clone())));
        other
    }

    fn of_account(account: &'static str, serial: u64) -> Self {
        let inner = Inner {
            account,
            begun: tokio_now(),
            epoch: "2026-11-22T10:00:00Z".parse().unwrap(),
            latency: Duration::from_millis(1),
            calls: Vec::new(),
            fates: Vec::new(),
            broken: BTreeMap::new(),
            forbidden: std::collections::BTreeSet::new(),
            silent: std::collections::BTreeSet::new(),
            weather: None,
            ahead: jiff::SignedDuration::ZERO,
            limits: limits::Limits::default(),
            witness: None,
            freezes: None,
            trace: false,
            serial,
            events: Vec::new(),
            page_size: 50,
            overlapping_pages: false,
            token_life: None,
            repositories: BTreeMap::new(),
            health: BTreeMap::new(),
            families: BTreeMap::new(),
            services: BTreeMap::new(),
            topics: BTreeMap::new(),
            schedules: BTreeMap::new(),
            rules: BTreeMap::new(),
            one_off: one_off::OneOff::default(),
            queue: queue::PushQueue::default(),
            tags: BTreeMap::new(),
            at_gates: gates::AtGates::default(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), others: false, door: None, beside: None }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// The same world, for somebody else than the daemon.
    pub fn for_others(&self) -> Self {
        let beside = self.beside.clone().map(|mut beside| {
            beside.1.others = true;
            beside
        });
        Self { others: true, beside, ..self.clone() }
    }

    /// The same world, for one of several replicas.
    pub fn for_replica(&self, door: Door) -> Self {
        Self { door: Some(door), ..self.clone() }
    }

    /// Freezes a replica that has decided to make one of these calls, before that is sent.
    pub fn freeze_at_call(&self, replica: usize, operations: &'static [&'static str], frozen: Frozen) {
        self.lock().freezes = Some((replica, operations, frozen));
    }

    /// What was to be frozen is not.
    pub fn freeze_nobody(&self) {
        self.lock().freezes = None;
    }

    /// The doors to it.
    pub fn contexts(&self) -> Contexts {
        let context = AwsContext {
            region: Region::parse(REGION).unwrap(),
            cloudtrail: Arc::new(self.clone()),
            ecr: Arc::new(self.clone()),
            ecs: Arc::new(self.clone()),
            inventory: Arc::new(self.clone()),
            topics: Arc::new(self.clone()),
            queue: Arc::new(self.clone()),
            identity: Arc::new(self.clone()),
            tagging: Arc::new(self.clone()),
            schedules: Arc::new(self.clone()),
        };
        let mut contexts = Contexts::from([(ContextName::parse("default").unwrap(), context.rate_limited())]);
        if let Some((name, other)) = self.beside.as_deref() {
            contexts.extend(other.contexts().into_values().map(|context| (name.clone(), context)));
        }
        contexts
    }

    /// Every call takes this long to be answered.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Says every call as it is made.
    pub fn set_trace(&self, trace: bool) {
        self.lock().trace = trace;
    }

    /// From here on no write may be made that is not intended on this disk.
    pub fn set_witness(&self, disk: &Arc<Disk>) {
        self.lock().witness = Some(Arc::clone(disk));
    }

    /// What calls meet with at random; nothing, if `None`.
    pub fn set_weather(&self, weather: Option<Weather>) {
        self.lock().weather = weather;
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        self.lock().calls.clear();
    }

    /// How often each operation was called.
    pub fn count(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for call in &self.lock().calls {
            *counts.entry(call.operation).or_default() += 1;
        }
        counts
    }

    /// Waits until something is so, looking every so often (in simulated time).
    pub async fn until(&self, what: &str, within: Duration, mut so: impl FnMut(&Self) -> bool) {
        let end = tokio_now() + within;
        while !so(self) {
            assert!(tokio_now() < end, "{what}: not within {within:?}; calls: {:#?}", self.calls());
            ecs_deployd::clock::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Begins a call: it is written down, takes its time, and has its fate.
    async fn call(&self, operation: &'static str, detail: String) -> Option<Fate> {
        if let Some(door) = &self.door {
            let is_due = |(replica, operations, _): &mut (usize, &[&str], Frozen)| {
                *replica == door.replica && operations.contains(&operation)
            };
            if let Some((.., frozen)) = self.lock().freezes.take_if(is_due) {
                frozen.set(true);
            }
            door.thawed().await;
        }
        let (latency, fate) = {
            let mut inner = self.lock();
            let at = inner.begun.elapsed();
            let number = inner.calls.len();
            let replica = self.door.as_ref().map(|door| door.replica);
            inner.calls.push(Call { operation, detail, at, others: self.others, replica });
            let struck = inner.fates.iter().find(|(wanted, _)| *wanted == number).map(|(_, fate)| *fate);
            let broken = inner.broken.get(operation).copied();
            let refused = inner.limits.refuse(operation, at).or_else(|| inner.refuse_clock()).map(Fate::Fails);
            let fate =
                struck.or(broken).or(refused).or_else(|| inner.weather.as_mut().and_then(|weather| weather.fate()));
            if inner.trace {
                eprintln!("{:>12.3}s  {operation} {} {fate:?}", at.as_secs_f64(), inner.calls[number].detail);
            }
            (inner.latency, fate)
        };
        ecs_deployd::clock::sleep(latency).await;
        fate
    }
}

impl Inner {
    fn now(&self) -> Timestamp {
        self.epoch + jiff::SignedDuration::try_from(self.begun.elapsed()).unwrap()
    }

    fn next(&mut self, prefix: &str) -> String {
        self.serial += 1;
        format!("{prefix}{:06}", self.serial)
    }
}

fn tokio_now() -> Instant {
    ecs_deployd::clock::instant()
}
