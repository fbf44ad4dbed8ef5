//! The reading of one AWS context: the only reader of CloudTrail.
//!
//! What is read next is decided in [`crate::domain::polling`]; here the requests are sent, one at a time and within the budget, and the pages
//! handed on, each with how far the events are read once it is durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::aws::{AwsError, CloudTrail, Contexts, Fault, LookupPage};
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::audit::Change;
use crate::domain::event::{self, ParsedEvent};
use crate::domain::opening::Correction;
use crate::domain::polling::{Demand, Failure, Moment, Next, Page, Reader, Request};
use crate::domain::state::{AuditProgress, ContextState, ReadingProgress, State};
use crate::domain::types::ContextName;
use crate::health::Health;
use crate::metrics::{Metrics, PollOutcome};

mod audit;

pub use crate::domain::polling::Polling;
pub use audit::{Auditor, auditors};

/// After so many requests for pushes one for changes has its turn, if one waits.
const AUDIT_SHARE: u32 = 4;
/// The warning that the budget is too small ends when the events take less than this part of it.
const RELIEF: f64 = 0.8;

/// One page of what was read.
#[derive(Debug)]
pub struct Batch {
    /// Where it was read.
    pub context: ContextName,
    /// The parsed events, newest first.
    pub parsed_events: Vec<ParsedEvent>,
    /// How far the events are read with it, where that has changed: it belongs into the state together with what the readings change there.
    pub progress: Option<ReadingProgress>,
    /// The changes to ECS that were read.
    pub changes: Vec<Change>,
    /// How far the changes are read with it.
    pub audited: Option<AuditProgress>,
}

/// The scheduler of one context.
#[derive(Debug)]
pub struct Scheduler {
    /// The name of the AWS context.
    pub context: ContextName,
    /// The event history of the context.
    pub cloudtrail: Arc<dyn CloudTrail>,
    /// How it is polled.
    pub polling: Polling,
    /// How far it was read before.
    pub known: ContextState,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// The metrics that it counts in.
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
    /// The metrics that they count in.
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
        Some(Scheduler {
            context: name.clone(),
            cloudtrail: Arc::clone(&contexts.get(name)?.cloudtrail),
            polling: Polling {
                interval: config.poll.interval,
                overlap: config.poll.overlap,
                rate: config.aws.get(name)?.max_lookups_per_second,
            },
            known: state.contexts.get(name).cloned().unwrap_or_else(|| ContextState::new(shared.clock.now())),
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metrics),
            health: Arc::clone(&shared.health),
            batches: shared.batches.clone(),
            auditor: Auditor::of(name, config, contexts, state, shared),
        })
    };
    config.polled_contexts().into_iter().filter_map(one).collect()
}

/// Nobody takes the pages any more.
#[derive(Debug)]
struct Closed;

/// What came of one request.
enum Came {
    /// A page was handed on. Whether the poll has ended with it.
    Page { polled: bool },
    /// It failed. Whether that ends the poll.
    Failure { error: AwsError, ends_poll: bool },
    /// The clock was wrong when it was sent: its page is not used, and the poll begins anew.
    Misdated,
}

/// The reading from the start of the scheduler to its end.
#[derive(Debug)]
struct Course {
    reader: Reader,
    begun: Instant,
    /// When it began, by the clock as the reader knows it.
    started_at: Timestamp,
    /// The correction of the clock that the reader knows of.
    correction: SignedDuration,
}

/// What is wrong, and was said.
#[derive(Debug, Default)]
struct Warned {
    unreadable: Option<String>,
    /// The events take more requests than there are.
    strained: bool,
    catching_up: bool,
}

impl Scheduler {
    /// Polls for ever, or until nobody takes the pages any more.
    pub async fn run(mut self) {
        let mut course = self.course(Reader::new(&self.known, self.polling));
        let mut budget = Budget::new(self.polling.rate);
        let mut warned = Warned::default();
        let mut since_audit = 0;
        loop {
            self.health.scheduler_lives(&self.context);
            budget.ready().await;
            self.follow_clock(&mut course);
            let at = self.moment(course.begun);
            let audit_due = self.auditor.as_ref().map(Auditor::due);
            if let Some(auditor) = &mut self.auditor
                && auditor.due() <= clock::instant()
                && (since_audit >= AUDIT_SHARE || !course.reader.is_due(at))
            {
                since_audit = 0;
                if auditor.step(&mut budget).await.is_err() {
                    return;
                }
                continue;
            }
            match course.reader.next(at) {
                Next::Wait(until) => {
                    let until = course.begun + until;
                    clock::sleep_until(audit_due.map_or(until, |due| due.min(until))).await;
                }
                Next::Ask(request) => {
                    since_audit += 1;
                    budget.spend();
                    match self.lookup(&mut course, &request).await {
                        Ok(came) => self.judge(&course.reader, &came, &mut warned),
                        Err(Closed) => return,
                    }
                }
            }
        }
    }

    /// Polls once: reads everything from the cursor to now.
    ///
    /// # Errors
    /// CloudTrail could not be read.
    pub async fn poll_once(self) -> Result<(), AwsError> {
        let mut course = self.course(Reader::once(&self.known, self.polling));
        let mut budget = Budget::new(self.polling.rate);
        loop {
            budget.ready().await;
            self.follow_clock(&mut course);
            match course.reader.next(self.moment(course.begun)) {
                Next::Wait(until) => clock::sleep_until(course.begun + until).await,
                Next::Ask(request) => {
                    budget.spend();
                    match self.lookup(&mut course, &request).await {
                        Ok(Came::Page { polled: true }) | Err(Closed) => return Ok(()),
                        Ok(Came::Failure { error, ends_poll: true }) => return Err(error),
                        Ok(_) => {}
                    }
                }
            }
        }
    }

    fn course(&self, reader: Reader) -> Course {
        let correction = self.clock.correction();
        Course { reader, begun: clock::instant(), started_at: self.clock.now(), correction }
    }

    /// Tells the reader if the clock was corrected. Whether a poll that was under way begins anew for that.
    fn follow_clock(&self, course: &mut Course) -> bool {
        let correction = self.clock.correction();
        let by = correction - std::mem::replace(&mut course.correction, correction);
        if by.is_zero() {
            return false;
        }
        let anew =
            course.reader.clock_corrected(Correction { by, started_at: course.started_at, now: self.clock.now() });
        course.started_at = course.started_at.checked_add(by).unwrap_or(course.started_at);
        anew
    }

    fn moment(&self, begun: Instant) -> Moment {
        Moment { now: self.clock.now(), elapsed: begun.elapsed() }
    }

    /// Sends one request and hands its page on at once, before the scan has ended (decision 1).
    async fn lookup(&self, course: &mut Course, request: &Request) -> Result<Came, Closed> {
        self.metrics.lookup(&self.context);
        let page = match self.cloudtrail.lookup(event::PUT_IMAGE, request).await {
            Ok(page) => page,
            Err(error) => return Ok(self.failed(course, error)),
        };
        if self.follow_clock(course) {
            debug!(aws = %self.context, "the clock was corrected; the poll begins anew");
            return Ok(Came::Misdated);
        }
        let took = course.reader.answered(&page_of(&page), self.moment(course.begun));
        if took.circles {
            return Ok(self.failed(course, circles()));
        }
        let parsed_events: Vec<ParsedEvent> =
            page.records.iter().map(event::read).filter(|reading| *reading != ParsedEvent::Foreign).collect();
        debug!(aws = %self.context, events = page.records.len(), pushes = parsed_events.len(), more = page.next.is_some(), "read a page of events");
        if !parsed_events.is_empty() || took.progress.is_some() {
            let batch = Batch {
                context: self.context.clone(),
                parsed_events,
                progress: took.progress,
                changes: Vec::new(),
                audited: None,
            };
            self.batches.send(batch).await.map_err(|_| Closed)?;
        }
        Ok(Came::Page { polled: took.polled })
    }

    fn failed(&self, course: &mut Course, error: AwsError) -> Came {
        debug!(aws = %self.context, %error, "a page of events could not be read");
        let ends_poll = course.reader.failed(failure_of(&error), self.moment(course.begun));
        Came::Failure { error, ends_poll }
    }

    /// Tells whoever watches what came of a request.
    fn judge(&self, reader: &Reader, came: &Came, warned: &mut Warned) {
        let now = self.clock.now();
        match came {
            Came::Page { polled: true } => {
                self.metrics.polled(&self.context, PollOutcome::Ok, now);
                self.health.polled(&self.context);
                if warned.unreadable.take().is_some() {
                    info!(aws = %self.context, "CloudTrail can be read again");
                }
                self.judge_demand(reader, warned);
            }
            Came::Failure { error, ends_poll: true } => {
                self.metrics.polled(&self.context, PollOutcome::Error, now);
                self.report_failure(&mut warned.unreadable, error);
            }
            Came::Page { polled: false } | Came::Failure { ends_poll: false, .. } | Came::Misdated => {}
        }
        self.metrics.reading(&self.context, reader.lag(now), reader.backlog());
        if reader.catches_up() != warned.catching_up {
            warned.catching_up = reader.catches_up();
            let unread = whole(reader.backlog());
            match warned.catching_up {
                true => info!(
                    aws = %self.context, %unread,
                    "catching up with pushes from a time in which CloudTrail was not read; new ones come first"
                ),
                false => info!(aws = %self.context, "caught up: every push that CloudTrail has delivered is read"),
            }
        }
    }

    /// Says what is wrong once, and again when it changes.
    fn report_failure(&self, last_error: &mut Option<String>, error: &AwsError) {
        let text = error.to_string();
        self.health.not_polled(&self.context, &text);
        if last_error.as_ref() == Some(&text) {
            debug!(aws = %self.context, error = %text, "CloudTrail still cannot be read");
            return;
        }
        let remedy = error.remedy().unwrap_or_else(|| "the next poll tries again".to_owned());
        warn!(aws = %self.context, error = %text, remedy, "CloudTrail cannot be read; nothing is lost, the next successful poll reads from the same place");
        *last_error = Some(text);
    }

    /// Says when the events take more requests than there are, and when they do not any more.
    fn judge_demand(&self, reader: &Reader, warned: &mut Warned) {
        let Some(demand) = reader.demand() else { return };
        let polling = reader.polling();
        if !warned.strained && demand.exceeds(polling) {
            warned.strained = true;
            warn!(
                aws = %self.context, pushes_a_day = demand.pushes_a_day.round(), requests_per_second = format!("{:.2}", demand.requests),
                max_lookups_per_second = polling.rate, delay = %whole(SignedDuration::try_from(demand.delay).unwrap_or(SignedDuration::MAX)),
                remedy = Demand::remedy(polling),
                "this account has more pushes than the requests suffice to read again as often as configured: pushes are seen later, and late events much later"
            );
        } else if warned.strained && demand.requests < polling.rate * RELIEF {
            warned.strained = false;
            info!(aws = %self.context, "the requests suffice for the pushes of this account again");
        }
    }
}

/// A span for people.
fn whole(span: SignedDuration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(span.as_secs().unsigned_abs()))
}

/// What a page says about the next one.
fn page_of(page: &LookupPage) -> Page {
    Page {
        events: page.records.len(),
        oldest: page.records.iter().rev().find_map(|record| record.time),
        next: page.next.clone(),
    }
}

fn circles() -> AwsError {
    AwsError::unusable("cloudtrail", "LookupEvents", "the token of the next page is that of this page")
}

/// What an error means for the next request.
fn failure_of(error: &AwsError) -> Failure {
    match error.fault {
        _ if error.code == "InvalidNextTokenException" => Failure::StaleToken,
        _ if error.is_time_out() => Failure::TimedOut,
        Fault::Throttled | Fault::Unavailable => Failure::Passing,
        Fault::Denied | Fault::Credentials | Fault::NotFound | Fault::Refused => Failure::Lasting,
    }
}

/// The LookupEvents requests of every second. CloudTrail allows 2 per account and Region, to everyone in it together.
///
/// Within any span of one second, or the longer one in which a single request fits, no more are sent than the rate allows. They need not be
/// even: where two a second are allowed, the second page of a poll follows the first one at once.
#[derive(Debug)]
struct Budget {
    span: Duration,
    /// The requests that fit into the span.
    at_once: usize,
    /// When the last ones were sent, oldest first.
    sent: VecDeque<Instant>,
}

impl Budget {
    fn new(rate: f64) -> Self {
        let at_once = rate.floor().max(1.0);
        Self { span: Duration::from_secs_f64(at_once / rate), at_once: at_once as usize, sent: VecDeque::new() }
    }

    /// Waits until another request fits.
    async fn ready(&self) {
        if let Some(first) = self.sent.front().filter(|_| self.sent.len() >= self.at_once) {
            clock::sleep_until(*first + self.span).await;
        }
    }

    /// A request is sent now.
    fn spend(&mut self) {
        self.sent.push_back(clock::instant());
        if self.sent.len() > self.at_once {
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
