//! Reads who changed what in ECS, in the time that the polling for pushes leaves, and from the same budget of requests.
//!
//! LookupEvents takes one attribute, so each event name is a scan of its own. A round goes through all of them, one request at a time; a
//! poll for pushes waits for one request at most.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{Batch, Budget, Shared, window};
use crate::aws::{AwsError, CloudTrail, Contexts, Window};
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::audit::{self, EventName};
use crate::domain::state::{AuditState, State};
use crate::domain::types::ContextName;
use crate::health::Health;
use crate::metrics::Metrics;

/// The auditor of one context.
#[derive(Debug)]
pub struct Auditor {
    context: ContextName,
    cloudtrail: Arc<dyn CloudTrail>,
    events: Vec<EventName>,
    interval: Duration,
    overlap: Duration,
    rate: f64,
    cursor: Timestamp,
    due: Instant,
    round: Option<Round>,
    complaint: Option<String>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    batches: mpsc::Sender<Batch>,
}

/// A scan of all event names; its window is frozen, for a token belongs to its window.
#[derive(Debug)]
struct Round {
    begun: Instant,
    now: Timestamp,
    window: Window,
    event: usize,
    next: Option<String>,
}

/// Nobody takes the pages any more.
#[derive(Debug)]
pub(super) struct Closed;

impl Auditor {
    /// The auditor of a context, going on from where the state says; none, if nobody wants to know.
    pub(super) fn of(
        name: &ContextName,
        config: &Config,
        contexts: &Contexts,
        state: &State,
        shared: &Shared,
    ) -> Option<Self> {
        let settings = config.audit.as_ref()?;
        if !config.audited_contexts().contains(&name) {
            return None;
        }
        Some(Self {
            context: name.clone(),
            cloudtrail: Arc::clone(&contexts.get(name)?.cloudtrail),
            events: settings.events.clone(),
            interval: settings.interval,
            overlap: config.poll.overlap,
            rate: config.aws.get(name)?.max_lookups_per_second,
            cursor: state.audits.get(name).map_or_else(|| shared.clock.now(), AuditState::read_from),
            due: clock::instant(),
            round: None,
            complaint: None,
            clock: Arc::clone(&shared.clock),
            metrics: Arc::clone(&shared.metrics),
            health: Arc::clone(&shared.health),
            batches: shared.batches.clone(),
        })
    }

    /// The context that is audited.
    #[must_use]
    pub fn context(&self) -> &ContextName {
        &self.context
    }

    /// Goes on for ever, in a context in which nothing else is read.
    pub async fn run(mut self) {
        let mut budget = Budget::new(self.rate);
        loop {
            let far = clock::instant() + self.interval;
            if self.until(far, &mut budget).await.is_err() {
                return;
            }
            clock::sleep_until(self.due).await;
        }
    }

    /// Goes on until a moment: where it is due, with one request at least, so that it goes on at all.
    pub(super) async fn until(&mut self, end: Instant, budget: &mut Budget) -> Result<(), Closed> {
        while self.due <= clock::instant() {
            self.step(budget).await?;
            if clock::instant() + budget.spacing >= end {
                break;
            }
        }
        Ok(())
    }

    /// One request.
    async fn step(&mut self, budget: &mut Budget) -> Result<(), Closed> {
        let mut round = self.round.take().unwrap_or_else(|| self.begin());
        let Some(name) = self.events.get(round.event) else { return Ok(()) };
        budget.take().await;
        self.metrics.lookup(&self.context);
        let page = match self.cloudtrail.lookup(name.as_str(), round.window, round.next.clone()).await {
            Ok(page) => page,
            Err(error) => {
                self.complain(&error);
                self.due = clock::instant() + self.interval;
                return Ok(());
            }
        };
        if self.complaint.take().is_some() {
            self.health.audited(&self.context, None);
            info!(aws = %self.context, "changes to ECS can be read again");
        }
        let changes = page.records.iter().filter_map(|record| audit::read(name, record)).collect();
        if page.next.is_none() || page.next == round.next {
            round.event += 1;
            round.next = None;
        } else {
            round.next = page.next;
        }
        let ended = round.event == self.events.len();
        let audited_to = ended.then_some(round.now);
        if ended {
            self.cursor = round.now;
            self.due = round.begun + self.interval;
        } else {
            self.round = Some(round);
        }
        let batch =
            Batch { context: self.context.clone(), readings: Vec::new(), scanned_to: None, changes, audited_to };
        self.batches.send(batch).await.map_err(|_| Closed)
    }

    fn begin(&self) -> Round {
        let now = self.clock.now();
        let window = window(now, Some(self.cursor), self.overlap);
        Round { begun: clock::instant(), now, window, event: 0, next: None }
    }

    /// Says what is wrong once, and again when it changes.
    fn complain(&mut self, error: &AwsError) {
        let text = error.to_string();
        self.health.audited(&self.context, Some(&text));
        if self.complaint.as_ref() == Some(&text) {
            debug!(aws = %self.context, error = text, "changes to ECS still cannot be read");
            return;
        }
        let remedy = error.remedy().unwrap_or_else(|| "the next round reads from the same place".to_owned());
        warn!(aws = %self.context, error = text, remedy, "changes to ECS cannot be read; deployments go on");
        self.complaint = Some(text);
    }
}

/// The auditors of contexts in which nothing else is read: services live there, and no repository.
#[must_use]
pub fn auditors(config: &Config, contexts: &Contexts, state: &State, shared: &Shared) -> Vec<Auditor> {
    let polled = config.polled_contexts();
    let alone = config.audited_contexts().into_iter().filter(|name| !polled.contains(name));
    alone.filter_map(|name| Auditor::of(name, config, contexts, state, shared)).collect()
}
