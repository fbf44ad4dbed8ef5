//! The reading of busy accounts: the real scheduler and the real state against an event history of up to a million pushes.
//!
//! `LOOKUP_TABLE=1 cargo test --test it polling::table -- --nocapture` prints by how much pushes are seen later than CloudTrail delivers
//! them, for accounts of different sizes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, CloudTrail, Fault, LookupPage};
use ecs_deployd::clock::{Clock, Instant, instant};
use ecs_deployd::config::Config;
use ecs_deployd::domain::event::Record;
use ecs_deployd::domain::polling::Request;
use ecs_deployd::domain::routing::{self, Fate, Told};
use ecs_deployd::domain::skip::SkipReason;
use ecs_deployd::domain::source::PushSource;
use ecs_deployd::domain::state::{ContextState, State};
use ecs_deployd::domain::types::ContextName;
use ecs_deployd::health::Health;
use ecs_deployd::metrics::Metrics;
use ecs_deployd::scheduler::{Polling, Scheduler};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::world::rng::Rng;

const EPOCH: i64 = 1_800_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(EPOCH + second).unwrap()
}

/// One push, in seconds since the epoch of the test.
#[derive(Debug, Clone, Copy)]
struct Pushed {
    time: i64,
    visible: i64,
    ours: bool,
}

/// The event history of an account, and its clock.
#[derive(Debug, Clone)]
struct Account {
    begun: Instant,
    events: Arc<Vec<Pushed>>,
    faults: Faults,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Debug, Clone, Copy)]
struct Call {
    at: Instant,
    /// Its token was not valid any more.
    refused: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    every_second_is_throttled: bool,
    token_life: Option<i64>,
    /// Pages of more events than this are never answered in time.
    in_time: Option<u8>,
}

impl Account {
    /// So many pushes a day from one time to another, one in `one_in` of them ours; CloudTrail delivers after 2 to 8 minutes, one in twenty after up to
    /// 15, and one in `late` after up to 10 hours.
    fn new(from: i64, to: i64, a_day: i64, one_in: u64, late: u64) -> Self {
        let mut rng = Rng::new(u64::try_from(a_day).unwrap());
        let count = (to - from) * a_day / DAY;
        let seconds = |rng: &mut Rng, below: i64| i64::try_from(rng.below(u64::try_from(below).unwrap())).unwrap();
        let mut events: Vec<Pushed> = (0..count)
            .map(|number| {
                let delay = match (rng.below(late), rng.below(20)) {
                    (0, _) => 900 + seconds(&mut rng, 9 * HOUR),
                    (_, 0) => 480 + seconds(&mut rng, 420),
                    _ => 120 + seconds(&mut rng, 360),
                };
                let time = from + seconds(&mut rng, to - from);
                Pushed { time, visible: time + delay, ours: u64::try_from(number).unwrap() % one_in == 0 }
            })
            .collect();
        events.sort_by_key(|event| event.time);
        Self { begun: instant(), events: Arc::new(events), faults: Faults::default(), calls: Arc::default() }
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_secs()).unwrap()
    }

    fn lookups(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn page(&self, request: &Request) -> Result<LookupPage, AwsError> {
        let fails = |fault, code: &str| AwsError {
            api: "cloudtrail",
            operation: "LookupEvents",
            fault,
            code: code.to_owned(),
            message: "simulated".to_owned(),
        };
        let now = self.seconds();
        let (start, end) = (request.window.start.as_second() - EPOCH, request.window.end.as_second() - EPOCH);
        let mut index = self.events.partition_point(|event| event.time <= end);
        if let Some(token) = &request.token {
            let parts: Vec<i64> = token.split('@').map(|part| part.parse().unwrap()).collect();
            let [of_start, of_end, of_index, given] = parts[..] else { panic!("{token}") };
            if (of_start, of_end) != (start, end) || self.faults.token_life.is_some_and(|life| now - given > life) {
                return Err(fails(Fault::Refused, "InvalidNextTokenException"));
            }
            index = usize::try_from(of_index).unwrap();
        }
        let mut records = Vec::new();
        while index > 0 && self.events[index - 1].time >= start {
            let event = self.events[index - 1];
            if event.visible <= now && now - event.time <= 90 * DAY {
                if records.len() == usize::from(request.limit) {
                    let next = Some(format!("{start}@{end}@{index}@{now}"));
                    return Ok(LookupPage { records, next });
                }
                records.push(record(index - 1, event));
            }
            index -= 1;
        }
        Ok(LookupPage { records, next: None })
    }
}

fn record(index: usize, event: Pushed) -> Record {
    let repository = if event.ours { "ours" } else { "others" };
    let time = at(event.time);
    let body = format!(
        r#"{{"eventSource":"ecr.amazonaws.com","eventName":"PutImage","eventTime":"{time}","eventID":"e{index}","requestParameters":{{"repositoryName":"{repository}","imageTag":"latest"}},"responseElements":null}}"#
    );
    Record { id: Some(format!("e{index}")), time: Some(time), body: Some(body) }
}

#[async_trait]
impl CloudTrail for Account {
    async fn lookup(&self, _: &str, request: &Request) -> Result<LookupPage, AwsError> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(Call { at: instant(), refused: false });
            calls.len()
        };
        ecs_deployd::clock::sleep(Duration::from_millis(100)).await;
        if self.faults.in_time.is_some_and(|most| request.limit > most) {
            ecs_deployd::clock::sleep(Duration::from_secs(15)).await;
            return Err(AwsError::timed_out("cloudtrail", "LookupEvents"));
        }
        if self.faults.every_second_is_throttled && number.is_multiple_of(2) {
            let error = AwsError::timed_out("cloudtrail", "LookupEvents");
            return Err(AwsError { fault: Fault::Throttled, code: "ThrottlingException".to_owned(), ..error });
        }
        let page = self.page(request);
        if page.is_err() {
            self.calls.lock().unwrap()[number - 1].refused = true;
        }
        page
    }
}

impl Clock for Account {
    fn now(&self) -> Timestamp {
        at(0) + SignedDuration::try_from(self.begun.elapsed()).unwrap()
    }
}

/// Takes what is read into a state, as the deployer does.
#[derive(Debug)]
struct Reading {
    account: Account,
    config: Config,
    state: State,
    pages: mpsc::Receiver<ecs_deployd::scheduler::Batch>,
    scheduler: JoinHandle<()>,
    metrics: Arc<Metrics>,
    /// When each push was decided, by its place in the history, and how often.
    decided: BTreeMap<usize, (i64, u32)>,
    keeps: bool,
    polling: Polling,
    /// The most that was held at once: identifiers, fingerprints, spans.
    most_held: (usize, usize, usize),
    forgotten_at: i64,
}

fn context() -> ContextName {
    ContextName::parse("default").unwrap()
}

const POLLING: Polling = Polling { interval: Duration::from_secs(30), overlap: Duration::from_secs(1800), rate: 1.0 };

impl Reading {
    /// Begins with a state whose cursor is so many seconds old.
    fn start(account: &Account, down: Option<i64>, polling: Polling) -> Self {
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
    fn restart(&mut self) {
        self.scheduler.abort();
        let text = ecs_deployd::state_store::render(&self.state);
        let ecs_deployd::state_store::Found::State(state) = read(&text) else { panic!("there is a state") };
        self.state = *state;
        (self.scheduler, self.pages) = spawn(&self.account, &self.state, self.polling, &self.metrics);
    }

    async fn until(&mut self, second: i64) {
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

    fn known(&self) -> &ContextState {
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
    async fn catch_up(&mut self, within: i64) -> i64 {
        let begun = self.account.seconds();
        while !self.caught_up() {
            let now = self.account.seconds();
            assert!(now - begun < within, "not caught up within {within} s: {:?}", self.known().progress());
            self.until(now + 10).await;
        }
        self.account.seconds() - begun
    }

    /// By how much pushes of ours were seen later than CloudTrail delivered them, of those delivered between two times: all delays, sorted.
    fn delays(&self, from: i64, to: i64) -> Vec<i64> {
        let ours = self.account.events.iter().enumerate().filter(|(_, event)| event.ours);
        let mut delays: Vec<i64> = ours
            .filter(|(_, event)| event.visible - event.time <= 900 && event.visible >= from && event.visible < to)
            .map(|(place, event)| self.decided.get(&place).map_or(i64::MAX, |(seen, _)| seen - event.visible))
            .collect();
        delays.sort_unstable();
        delays
    }

    /// Every push that was delivered by then, and made after another time, was decided exactly once.
    fn assert_each_once(&self, made_from: i64, delivered_by: i64) {
        for (place, event) in self.account.events.iter().enumerate() {
            let times = self.decided.get(&place).map_or(0, |(_, times)| *times);
            assert!(times <= 1, "{event:?} was decided {times} times");
            if event.time >= made_from && event.visible <= delivered_by {
                assert_eq!(times, 1, "{event:?}: {:?}", self.known().progress());
            }
        }
    }

    fn gauge(&self, name: &str) -> f64 {
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

fn read(text: &[u8]) -> ecs_deployd::state_store::Found {
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

fn worst(delays: &[i64]) -> i64 {
    *delays.last().unwrap()
}

#[tokio::test(start_paused = true)]
async fn in_an_account_with_five_thousand_pushes_a_day_every_push_is_seen_by_the_next_poll() {
    let account = Account::new(-2 * DAY, 4 * HOUR, 5_000, 5, 50);
    let mut reading = Reading::start(&account, Some(60), POLLING);
    reading.until(3 * HOUR).await;
    let delays = reading.delays(60, 3 * HOUR - 60);
    assert!(delays.len() > 100 && worst(&delays) <= 34, "{delays:?}");
    // What comes later than the overlap is found within the hour.
    reading.assert_each_once(0, 2 * HOUR - 600);
    let calls = account.calls.lock().unwrap();
    assert!(calls.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_millis(999)), "the budget");
    drop(calls);
    // A poll takes two pages for the fresh part and two for the rest of the overlap; once an hour a day is read again: 105 pages.
    let an_hour = account.lookups() / 3;
    assert!(an_hour < 120 * 5 + 120, "{an_hour}");
    assert!(reading.gauge("reread_lag_seconds") < 120.0);
}

#[tokio::test(start_paused = true)]
async fn after_three_days_the_time_is_read_once_and_new_pushes_come_first() {
    let account = Account::new(-5 * DAY, 2 * HOUR, 5_000, 5, 200);
    let mut reading = Reading::start(&account, Some(3 * DAY), POLLING);
    reading.until(120).await;
    assert!(
        reading.gauge("reread_lag_seconds") >= 3.0 * 86_400.0 && reading.gauge("unread_history_seconds") > 86_400.0
    );
    let took = reading.catch_up(HOUR).await;
    // Three days and the one before, for late events: 20,000 pushes, 400 pages, beside five for every poll.
    let lookups = i64::try_from(account.lookups()).unwrap();
    assert!(lookups < 400 * 105 / 100 + took / 30 * 6 + 10, "{lookups} lookups in {took} s");
    assert!(took < 700, "{took} s");
    reading.until(2 * HOUR - 60).await;
    let delays = reading.delays(60, 2 * HOUR - 120);
    assert!(delays.len() > 20 && worst(&delays) <= 36, "{delays:?}");
    reading.assert_each_once(-3 * DAY, 0);
    assert_eq!(reading.gauge("unread_history_seconds"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn with_every_second_lookup_throttled_a_catch_up_ends_and_so_do_polls() {
    let mut account = Account::new(-4 * DAY, 3 * HOUR, 5_000, 5, 200);
    account.faults.every_second_is_throttled = true;
    let mut reading = Reading::start(&account, Some(3 * DAY), POLLING);
    let took = reading.catch_up(2 * HOUR).await;
    assert!(took < 3600, "{took} s");
    reading.until(3 * HOUR - 60).await;
    let delays = reading.delays(60, 3 * HOUR - 200);
    assert!(worst(&delays) <= 60, "{delays:?}");
    reading.assert_each_once(-3 * DAY, 0);
}

#[tokio::test(start_paused = true)]
async fn page_tokens_that_live_for_seconds_hold_nothing_up() {
    for life in [20, 5] {
        let mut account = Account::new(-4 * DAY, HOUR, 5_000, 5, 200);
        account.faults.token_life = Some(life);
        let polling = Polling { rate: 0.1, interval: Duration::from_secs(60), ..POLLING };
        let mut reading = Reading::start(&account, Some(2 * DAY), polling);
        reading.catch_up(6 * HOUR).await;
        reading.assert_each_once(-2 * DAY, 0);
        let refused = account.calls.lock().unwrap().iter().filter(|call| call.refused).count();
        assert!(life < 10 || refused == 0, "a token that may have expired is not tried: {refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_that_are_too_large_to_come_in_time_are_made_smaller() {
    let mut account = Account::new(-DAY, HOUR, 5_000, 5, 200);
    account.faults.in_time = Some(20);
    let mut reading = Reading::start(&account, Some(6 * HOUR), POLLING);
    reading.catch_up(HOUR).await;
    reading.assert_each_once(-6 * HOUR, 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_with_hundreds_of_pushes_is_read_to_its_end() {
    let mut account = Account::new(-DAY, HOUR, 5_000, 5, 200);
    let crowd = (0..400).map(|_| Pushed { time: -5 * HOUR, visible: -4 * HOUR, ours: true });
    let mut events: Vec<Pushed> = account.events.iter().copied().chain(crowd).collect();
    events.sort_by_key(|event| event.time);
    account.events = Arc::new(events);
    account.faults.every_second_is_throttled = true;
    let mut reading = Reading::start(&account, Some(6 * HOUR), POLLING);
    reading.catch_up(HOUR).await;
    reading.assert_each_once(-6 * HOUR, 0);
}

#[tokio::test(start_paused = true)]
async fn restarts_in_the_middle_of_a_catch_up_cost_a_page_each() {
    let account = Account::new(-11 * DAY, 3 * HOUR, 5_000, 5, 200);
    let mut reading = Reading::start(&account, Some(10 * DAY), POLLING);
    for restart in 1..20 {
        reading.until(restart * 60).await;
        reading.restart();
    }
    let took = 19 * 60 + reading.catch_up(HOUR).await;
    assert!(took < 2400, "{took} s");
    let ours = account.events.iter().enumerate().filter(|(_, event)| event.ours && event.time >= -10 * DAY);
    for (place, event) in ours.filter(|(_, event)| event.visible <= 0) {
        assert_eq!(reading.decided[&place].1, 1, "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_twenty_thousand_pushes_a_day_to_our_repositories_none_is_decided_twice() {
    let account = Account::new(-2 * DAY, 27 * HOUR, 26_000, 1, 50);
    let polling = Polling { interval: Duration::from_secs(300), ..POLLING };
    let mut reading = Reading::start(&account, None, polling);
    reading.until(27 * HOUR).await;
    // What comes up to ten hours late is found, too, though not by the next poll.
    reading.assert_each_once(0, 25 * HOUR);
    assert!(reading.most_held.0 > 20_000);
}

/// 90 days and as many pushes as `CATCH_UP_EVENTS` says, 100,000 if nothing.
#[tokio::test(start_paused = true)]
async fn a_catch_up_of_ninety_days_holds_no_more_than_a_day_and_new_pushes_are_seen_meanwhile() {
    let events = std::env::var("CATCH_UP_EVENTS").map_or(100_000, |text| text.parse::<i64>().unwrap());
    let account = Account::new(-91 * DAY, 9 * HOUR, events / 90, 10, 200);
    let mut reading = Reading::start(&account, Some(90 * DAY - 2 * HOUR), POLLING);
    let took = reading.catch_up(9 * HOUR).await;
    let delays = reading.delays(60, took - 120);
    eprintln!(
        "{events} pushes in 90 days: caught up after {took} s and {} lookups; held at most {:?}; new pushes seen after {} s, at worst {} s",
        account.lookups(),
        reading.most_held,
        delays[delays.len() / 2],
        worst(&delays)
    );
    assert!(worst(&delays) <= 40, "{delays:?}");
    // A day and some hours of it, and what is read from one commit to the next.
    let a_day = usize::try_from(events / 90).unwrap();
    assert!(
        reading.most_held.0 + reading.most_held.1 < a_day * 2 + 3_000 && reading.most_held.2 <= 1,
        "{:?}",
        reading.most_held
    );
    reading.assert_each_once(-89 * DAY, 0);
}

#[tokio::test(start_paused = true)]
async fn table() {
    if std::env::var_os("LOOKUP_TABLE").is_none() {
        return;
    }
    eprintln!(
        "| pushes an hour | requests/s | delay: median | 95 of 100 | worst | overlap read every | a day read again in |"
    );
    eprintln!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for rate in [1.0, 2.0] {
        for an_hour in [10, 200, 1_000, 2_000, 4_000, 8_000, 16_000, 40_000] {
            let account = Account::new(-2 * DAY, 8 * HOUR, an_hour * 24, 10, 1_000_000_000);
            let mut reading = Reading::start(&account, Some(60), Polling { rate, ..POLLING });
            let (mut cursors, mut last) = (0, None);
            let mut rereads = Vec::new();
            for second in (0..8 * HOUR).step_by(30) {
                reading.until(second).await;
                let known = reading.known();
                if second >= 2 * HOUR && last != known.cursor {
                    cursors += 1;
                }
                last = known.cursor;
                if known.reread.is_none()
                    != rereads.last().is_none_or(|(_, ended): &(i64, Option<i64>)| ended.is_some())
                {
                    match known.reread {
                        Some(_) => rereads.push((second, None)),
                        None => rereads.last_mut().unwrap().1 = Some(second),
                    }
                }
            }
            let delays = reading.delays(2 * HOUR, 7 * HOUR);
            let every = if cursors == 0 { "never".to_owned() } else { format!("{} s", 6 * HOUR / cursors) };
            let took = match rereads.first() {
                None => "a page".to_owned(),
                Some((begun, Some(ended))) => format!("{} s", ended - begun),
                Some((_, None)) => "more than 7 h".to_owned(),
            };
            let part = |hundredths: usize| delays.get(delays.len() * hundredths / 100).copied().unwrap_or_default();
            eprintln!(
                "| {an_hour} | {rate} | {} s | {} s | {} s | {every} | {took} |",
                part(50),
                part(95),
                worst(&delays)
            );
        }
    }
}
