//! The real scheduler, and the state that its pages are taken into.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::clock::Clock as _;
use ecs_deployd::config::Config;
use ecs_deployd::domain::routing::{self, Fate, Told};
use ecs_deployd::domain::skip::SkipReason;
use ecs_deployd::domain::source::PushSource;
use ecs_deployd::domain::state::{ContextState, State};
use ecs_deployd::domain::types::ContextName;
use ecs_deployd::health::Health;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::scheduler::{Polling, Scheduler};
use jiff::SignedDuration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::account::{Account, DAY, at};

/// Takes what is read into a state, as the deployer does.
#[derive(Debug)]
pub struct Reading {
    account: Account,
    config: Config,
    state: State,
    pages: mpsc::Receiver<ecs_deployd::scheduler::Batch>,
    scheduler: JoinHandle<()>,
    metrics: Arc<Metrics>,
    /// When each push was decided, by its place in the history, and how often.
    pub decided: BTreeMap<usize, (i64, u32)>,
    keeps: bool,
    polling: Polling,
    /// The most that was held at once: identifiers, fingerprints, spans.
    pub most_held: (usize, usize, usize),
    forgotten_at: i64,
}

fn context() -> ContextName {
    ContextName::parse("default").unwrap()
}

pub const POLLING: Polling =
    Polling { interval: Duration::from_secs(30), overlap: Duration::from_secs(1800), rate: 1.0 };

impl Reading {
    /// Begins with a state whose cursor is so many seconds old.
    pub fn start(account: &Account, down: Option<i64>, polling: Polling) -> Self {
        let config = "[[repository]]\nname = \"ours\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"hello\"\n";
        let config = crate::harness::parse(config);
        let now = account.now();
        let mut known = ContextState::new(now - SignedDuration::from_secs(down.map_or(0, |down| down + 100 * DAY)));
        known.cursor = down.map(|down| now - SignedDuration::from_secs(down));
        known.follow(config.repositories.keys().map(|key| &key.name), now);
        let state = State { contexts: BTreeMap::from([(context(), known)]), ..State::default() };
        let metrics = Arc::new(Metrics::new("test", "test", now).unwrap());
        let (scheduler, pages) = spawn(account, &state, polling, &metrics);
        Self {
            account: account.clone(),
            config,
            state,
            pages,
            scheduler,
            metrics,
            decided: BTreeMap::new(),
            keeps: true,
            polling,
            most_held: (0, 0, 0),
            forgotten_at: 0,
        }
    }

    /// The process dies, and another one goes on from what is in the state.
    pub fn restart(&mut self) {
        self.scheduler.abort();
        let text = ecs_deployd::state_store::render(&self.state);
        let ecs_deployd::state_store::Loaded::State(state) = read(&text) else { panic!("there is a state") };
        self.state = *state;
        (self.scheduler, self.pages) = spawn(&self.account, &self.state, self.polling, &self.metrics);
    }

    pub async fn until(&mut self, second: i64) {
        while self.account.seconds() < second {
            let left = Duration::from_secs(u64::try_from(second - self.account.seconds()).unwrap());
            if let Some(Some(batch)) = ecs_deployd::clock::within(left, self.pages.recv()).await {
                self.take(batch);
            }
        }
    }

    fn take(&mut self, batch: ecs_deployd::scheduler::Batch) {
        let now = self.account.seconds();
        let opening = self.known().cursor.is_none();
        let told = Told { by: PushSource::CloudTrail, at: at(now), opening };
        for reading in &batch.parsed_events {
            let rules = &self.config.repositories;
            let Some(verdict) = routing::take(&mut self.state, rules, &batch.context, reading, told) else {
                continue;
            };
            let again = matches!(verdict.fate, Fate::Skip { reason: SkipReason::Duplicate, .. });
            if !again && self.keeps {
                let place = verdict.event.id.as_str()[1..].parse().unwrap();
                self.decided.entry(place).or_insert((now, 0)).1 += 1;
            }
        }
        let overlap = SignedDuration::try_from(self.polling.overlap).unwrap();
        let known = self.state.contexts.get_mut(&batch.context).unwrap();
        if let Some(progress) = batch.progress {
            known.advance(progress);
        }
        if now - self.forgotten_at >= 60 {
            known.forget(overlap);
            self.forgotten_at = now;
        }
        let held = (known.seen.len(), known.unconfigured.len(), known.unread.len());
        let most = self.most_held;
        self.most_held = (most.0.max(held.0), most.1.max(held.1), most.2.max(held.2));
    }

    pub fn known(&self) -> &ContextState {
        &self.state.contexts[&context()]
    }

    fn caught_up(&self) -> bool {
        self.known().unread.is_empty()
            && self
                .known()
                .cursor
                .is_some_and(|cursor| self.account.now().duration_since(cursor) < SignedDuration::from_mins(5))
    }

    /// Reads until everything is caught up with; how long that took.
    pub async fn catch_up(&mut self, within: i64) -> i64 {
        let begun = self.account.seconds();
        while !self.caught_up() {
            let now = self.account.seconds();
            assert!(now - begun < within, "not caught up within {within} s: {:?}", self.known().progress());
            self.until(now + 10).await;
        }
        self.account.seconds() - begun
    }

    /// By how much pushes of ours were seen later than CloudTrail delivered them, of those delivered between two times: all delays, sorted.
    pub fn delays(&self, from: i64, to: i64) -> Vec<i64> {
        let ours = self.account.events.iter().enumerate().filter(|(_, event)| event.ours);
        let mut delays: Vec<i64> = ours
            .filter(|(_, event)| event.visible - event.time <= 900 && event.visible >= from && event.visible < to)
            .map(|(place, event)| self.decided.get(&place).map_or(i64::MAX, |(seen, _)| seen - event.visible))
            .collect();
        delays.sort_unstable();
        delays
    }

    /// Every push that was delivered by then, and made after another time, was decided exactly once.
    pub fn assert_each_once(&self, made_from: i64, delivered_by: i64) {
        for (place, event) in self.account.events.iter().enumerate() {
            let times = self.decided.get(&place).map_or(0, |(_, times)| *times);
            assert!(times <= 1, "{event:?} was decided {times} times");
            if event.time >= made_from && event.visible <= delivered_by {
                assert_eq!(times, 1, "{event:?}: {:?}", self.known().progress());
            }
        }
    }

    pub fn gauge(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.metrics.render().unwrap()).unwrap();
        let series = format!("ecs_deployd_{name}{{aws=\"default\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap()
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.scheduler.abort();
    }
}

fn read(text: &[u8]) -> ecs_deployd::state_store::Loaded {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    std::fs::write(&path, text).unwrap();
    ecs_deployd::state_store::read(&path).unwrap()
}

fn spawn(
    account: &Account,
    state: &State,
    polling: Polling,
    metrics: &Arc<Metrics>,
) -> (JoinHandle<()>, mpsc::Receiver<ecs_deployd::scheduler::Batch>) {
    let (batches, pages) = mpsc::channel(4);
    let scheduler = Scheduler {
        context: context(),
        cloudtrail: Arc::new(account.clone()),
        polling,
        known: state.contexts[&context()].clone(),
        clock: Arc::new(account.clone()),
        metrics: Arc::clone(metrics),
        health: Arc::new(Health::new()),
        batches,
        auditor: None,
    };
    (tokio::spawn(scheduler.run()), pages)
}
