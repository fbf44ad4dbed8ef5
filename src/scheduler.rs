//! The polling loop of one AWS context: the only reader of CloudTrail.
//!
//! A scan reads one window of the event history, page by page, with the window's ends frozen, for a token belongs to its window. Each
//! page is handed on as it comes, newest events first; only the last one moves the cursor.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::aws::{AwsError, CloudTrail, Contexts, Fault, LookupPage, Window};
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::audit::Change;
use crate::domain::event::{self, Reading};
use crate::domain::state::{ContextState, EVENT_HISTORY, State};
use crate::domain::types::ContextName;
use crate::health::Health;
use crate::metrics::{Metrics, PollOutcome};

mod audit;

pub use audit::{Auditor, auditors};

/// CloudTrail promises no time of delivery: events may come hours late. So once in a while a poll reads this much of the past again,
/// instead of the overlap.
const LATEST: SignedDuration = SignedDuration::from_hours(24);
/// As far back as an event can be read again, beyond the overlap.
pub const READ_AGAIN: SignedDuration = SignedDuration::from_hours(26);
const LATEST_EVERY: Duration = Duration::from_secs(60 * 60);
/// Attempts at one page before the poll is given up; the next poll reads it again.
const ATTEMPTS: u32 = 5;
/// Scans begun anew within one poll because a token went stale.
const RESTARTS: u32 = 3;

/// What a scan read: one page of it.
#[derive(Debug)]
pub struct Batch {
    /// Where it was read.
    pub context: ContextName,
    /// The readings, newest first.
    pub readings: Vec<Reading>,
    /// With the last page: everything up to here was read.
    pub scanned_to: Option<Timestamp>,
    /// Changes to ECS.
    pub changes: Vec<Change>,
    /// With the last of those: all of them up to here were read.
    pub audited_to: Option<Timestamp>,
}

/// How a context is polled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Polling {
    /// From the beginning of one poll to that of the next.
    pub interval: Duration,
    /// How much of the past each poll reads again.
    pub overlap: Duration,
    /// LookupEvents requests per second.
    pub rate: f64,
}

/// The scheduler of one context.
#[derive(Debug)]
pub struct Scheduler {
    /// The context's name.
    pub context: ContextName,
    /// Its event history.
    pub cloudtrail: Arc<dyn CloudTrail>,
    /// How it is polled.
    pub polling: Polling,
    /// Up to where it was read before.
    pub cursor: Option<Timestamp>,
    /// The first start: events from before its overlap are of no use.
    pub baseline: Option<Timestamp>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Where it shows that it lives.
    pub health: Arc<Health>,
    /// Where the pages go.
    pub batches: mpsc::Sender<Batch>,
    /// Reads changes to ECS, too, where that is wanted.
    pub auditor: Option<Auditor>,
}

/// What all schedulers share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// Where they count.
    pub metrics: Arc<Metrics>,
    /// Where they show that they live.
    pub health: Arc<Health>,
    /// Where the pages go.
    pub batches: mpsc::Sender<Batch>,
}

/// The schedulers of a configuration, one for each context that a repository lives in, going on from where the state says.
#[must_use]
pub fn all(config: &Config, contexts: &Contexts, state: &State, shared: &Shared) -> Vec<Scheduler> {
    let one = |name: &ContextName| {
        let known = state.contexts.get(name);
        Some(Scheduler {
            context: name.clone(),
            cloudtrail: Arc::clone(&contexts.get(name)?.cloudtrail),
            polling: Polling {
                interval: config.poll.interval,
                overlap: config.poll.overlap,
                rate: config.aws.get(name)?.max_lookups_per_second,
            },
            cursor: known.map(ContextState::read_from),
            baseline: known.map(|known| known.baseline),
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metrics),
            health: Arc::clone(&shared.health),
            batches: shared.batches.clone(),
            auditor: Auditor::of(name, config, contexts, state, shared),
        })
    };
    config.polled_contexts().into_iter().filter_map(one).collect()
}

/// Why a poll ended early.
enum Interrupted {
    /// CloudTrail could not be read.
    Failed(AwsError),
    /// The first answer showed that the clock was wrong: the window is not the one that was meant.
    ClockCorrected,
    /// Nobody takes the pages any more.
    Closed,
}

impl Scheduler {
    /// Polls for ever, or until nobody takes the pages any more.
    pub async fn run(mut self) {
        let mut budget = Budget::new(self.polling.rate);
        let mut complaint: Option<String> = None;
        // Should the first poll fail, the next one goes back to here.
        let begun = self.clock.now();
        self.cursor.get_or_insert(begun);
        // What came late while nobody polled is looked for with the second poll, which delays nothing.
        let mut late = Late { read_to: self.cursor.unwrap_or(begun), due: clock::instant() };
        if self.baseline.is_none_or(|baseline| late.read_to <= baseline) {
            late.due += LATEST_EVERY;
        }
        self.baseline.get_or_insert(begun);
        let mut first = true;
        loop {
            self.health.scheduler_lives(&self.context);
            let begun = clock::instant();
            let read_late = (!std::mem::take(&mut first) && late.due <= begun).then_some(late.read_to);
            match self.poll(&mut budget, read_late).await {
                Ok(scanned_to) => {
                    self.cursor = Some(scanned_to);
                    if read_late.is_some() {
                        late = Late { read_to: scanned_to, due: begun + LATEST_EVERY };
                    }
                    self.metrics.polled(&self.context, PollOutcome::Ok, self.clock.now());
                    self.health.polled(&self.context);
                    if complaint.take().is_some() {
                        info!(aws = %self.context, "CloudTrail can be read again");
                    }
                }
                Err(Interrupted::Failed(error)) => {
                    self.metrics.polled(&self.context, PollOutcome::Error, self.clock.now());
                    self.complain(&mut complaint, &error);
                }
                // A clock that is corrected again and again; the next poll reads from the same place.
                Err(Interrupted::ClockCorrected) => {}
                Err(Interrupted::Closed) => return,
            }
            let next = begun + self.polling.interval;
            if let Some(auditor) = &mut self.auditor
                && auditor.until(next, &mut budget).await.is_err()
            {
                return;
            }
            clock::sleep_until(next).await;
        }
    }

    /// Polls once.
    ///
    /// # Errors
    /// CloudTrail could not be read.
    pub async fn poll_once(mut self) -> Result<(), AwsError> {
        self.cursor.get_or_insert(self.clock.now());
        match self.poll(&mut Budget::new(self.polling.rate), None).await {
            Ok(_) | Err(Interrupted::ClockCorrected | Interrupted::Closed) => Ok(()),
            Err(Interrupted::Failed(error)) => Err(error),
        }
    }

    /// Says what is wrong once, and again when it changes.
    fn complain(&self, complaint: &mut Option<String>, error: &AwsError) {
        let text = error.to_string();
        self.health.not_polled(&self.context, &text);
        if complaint.as_ref() == Some(&text) {
            debug!(aws = %self.context, error = %text, "CloudTrail still cannot be read");
            return;
        }
        let remedy = error.remedy().unwrap_or_else(|| "the next poll tries again".to_owned());
        warn!(aws = %self.context, error = %text, remedy, "CloudTrail cannot be read; nothing is lost, the next successful poll reads from the same place");
        *complaint = Some(text);
    }

    async fn poll(&self, budget: &mut Budget, read_late: Option<Timestamp>) -> Result<Timestamp, Interrupted> {
        let mut restarts = 0;
        loop {
            let now = self.clock.now();
            match self.scan(self.window(now, read_late), now, budget, read_late.is_some()).await {
                Err(Interrupted::Failed(error)) if error.code == "InvalidNextTokenException" && restarts < RESTARTS => {
                    debug!(aws = %self.context, "the page token went stale; the scan begins anew");
                }
                Err(Interrupted::ClockCorrected) if restarts < RESTARTS => {
                    debug!(aws = %self.context, "the clock was corrected; the scan begins anew");
                }
                Err(other) => return Err(other),
                Ok(()) => return Ok(now),
            }
            restarts += 1;
        }
    }

    fn window(&self, now: Timestamp, read_late: Option<Timestamp>) -> Window {
        let mut window = window(now, self.cursor, self.polling.overlap);
        if let Some(read_to) = read_late {
            // A start that lies ahead is one by a clock that was wrong.
            let baseline = self.baseline.map(|baseline| baseline.min(now));
            window.start = window.start.min(first_of_late(now, read_to, baseline, self.polling.overlap));
        }
        window
    }

    async fn scan(&self, window: Window, now: Timestamp, budget: &mut Budget, late: bool) -> Result<(), Interrupted> {
        let mut next: Option<String> = None;
        let correction = self.clock.correction();
        loop {
            let page = self.page(window, next.as_ref(), budget).await.map_err(Interrupted::Failed)?;
            if next.is_none() && self.clock.correction() != correction {
                return Err(Interrupted::ClockCorrected);
            }
            if page.next.is_some() && page.next == next {
                let error =
                    AwsError::unusable("cloudtrail", "LookupEvents", "the token of the next page is that of this page");
                return Err(Interrupted::Failed(error));
            }
            let readings: Vec<Reading> =
                page.records.iter().map(event::read).filter(|reading| *reading != Reading::Foreign).collect();
            debug!(aws = %self.context, events = page.records.len(), pushes = readings.len(), more = page.next.is_some(), "read a page of events");
            let scanned_to = page.next.is_none().then_some(now);
            let batch =
                Batch { context: self.context.clone(), readings, scanned_to, changes: Vec::new(), audited_to: None };
            self.batches.send(batch).await.map_err(|_| Interrupted::Closed)?;
            self.health.scheduler_lives(&self.context);
            if late {
                // The newest events come first: a long look back is no reason to call the context unpolled.
                self.health.polled(&self.context);
            }
            next = page.next;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// One page, tried several times. Every attempt takes from the budget.
    async fn page(&self, window: Window, next: Option<&String>, budget: &mut Budget) -> Result<LookupPage, AwsError> {
        let mut attempt = 1;
        loop {
            budget.take().await;
            self.metrics.lookup(&self.context);
            match self.cloudtrail.lookup(event::PUT_IMAGE, window, next.cloned()).await {
                Err(error) if attempt < ATTEMPTS && matches!(error.fault, Fault::Throttled | Fault::Unavailable) => {
                    debug!(aws = %self.context, attempt, error = %error, "a page of events could not be read");
                    clock::sleep(Duration::from_secs(1 << (attempt - 1))).await;
                    self.health.scheduler_lives(&self.context);
                    attempt += 1;
                }
                other => return other,
            }
        }
    }
}

/// The window of a scan: from the cursor less the overlap to now. A cursor from a clock that was ahead does not move it into the future.
fn window(now: Timestamp, cursor: Option<Timestamp>, overlap: Duration) -> Window {
    let from = cursor.map_or(now, |cursor| cursor.min(now));
    let overlap = SignedDuration::try_from(overlap).unwrap_or(EVENT_HISTORY);
    let start = from
        .checked_sub(overlap)
        .unwrap_or(Timestamp::MIN)
        .max(now.checked_sub(EVENT_HISTORY).unwrap_or(Timestamp::MIN));
    // Event times are whole seconds and both ends belong to the window: the second that has begun is read too.
    let end = now.checked_add(SignedDuration::from_millis(999)).unwrap_or(now);
    Window { start, end }
}

/// The polls that read late events, too.
#[derive(Debug, Clone, Copy)]
struct Late {
    /// Up to where the last one read.
    read_to: Timestamp,
    due: Instant,
}

/// Where such a poll begins: not before what the first start read, nor before what CloudTrail remembers.
fn first_of_late(now: Timestamp, read_to: Timestamp, baseline: Option<Timestamp>, overlap: Duration) -> Timestamp {
    let before = |time: Timestamp, span: SignedDuration| time.checked_sub(span).unwrap_or(Timestamp::MIN);
    let overlap = SignedDuration::try_from(overlap).unwrap_or(EVENT_HISTORY);
    let first = baseline.map_or(now, |baseline| before(baseline, overlap));
    before(read_to.min(now), LATEST).max(first).max(before(now, EVENT_HISTORY))
}

/// The spacing of LookupEvents requests. CloudTrail allows 2 per account and Region, to everyone in it together.
#[derive(Debug)]
struct Budget {
    spacing: Duration,
    last: Option<Instant>,
}

impl Budget {
    fn new(rate: f64) -> Self {
        Self { spacing: Duration::from_secs_f64(1.0 / rate), last: None }
    }

    /// Waits until another request fits.
    async fn take(&mut self) {
        if let Some(last) = self.last {
            clock::sleep_until(last + self.spacing).await;
        }
        self.last = Some(clock::instant());
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
