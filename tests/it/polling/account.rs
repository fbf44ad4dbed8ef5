//! The event history of a busy account, as LookupEvents tells it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, CloudTrail, Fault, LookupPage, error_of_code};
use ecs_deployd::clock::{Clock, Instant, instant};
use ecs_deployd::domain::event::Record;
use ecs_deployd::domain::polling::Request;
use jiff::{SignedDuration, Timestamp};

use crate::world::rng::Rng;

pub const EPOCH: i64 = 1_800_000_000;
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(EPOCH + second).unwrap()
}

/// One push, in seconds since the epoch of the test.
#[derive(Debug, Clone, Copy)]
pub struct Pushed {
    pub time: i64,
    pub visible: i64,
    pub ours: bool,
}

/// The event history of an account, and its clock.
#[derive(Debug, Clone)]
pub struct Account {
    pub begun: Instant,
    pub events: Arc<Vec<Pushed>>,
    pub faults: Faults,
    pub calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub at: Instant,
    /// Its token was not valid any more.
    pub refused: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    pub every_second_is_throttled: bool,
    pub token_life: Option<i64>,
    /// Pages of more events than this are never answered in time.
    pub in_time: Option<u8>,
}

impl Account {
    /// So many pushes a day from one time to another, one in `one_in` of them ours; CloudTrail delivers after 2 to 8 minutes, one in twenty after up to
    /// 15, and one in `late` after up to 10 hours.
    pub fn new(from: i64, to: i64, a_day: i64, one_in: u64, late: u64) -> Self {
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

    pub fn seconds(&self) -> i64 {
        i64::try_from(self.begun.elapsed().as_secs()).unwrap()
    }

    pub fn lookups(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    fn page(&self, request: &Request) -> Result<LookupPage, AwsError> {
        let fails = |fault, code: &str| error_of_code("cloudtrail", "LookupEvents", fault, code, "simulated");
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
