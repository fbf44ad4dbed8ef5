//! Reads who changed what in ECS, in the time that the polling for pushes leaves, and from the same budget of requests.

use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{Batch, Budget, Closed, Shared, failure_of, page_of};
use crate::aws::{AwsError, CloudTrail, Contexts};
use crate::clock::{self, Clock, Instant};
use crate::config::Config;
use crate::domain::audit;
use crate::domain::polling::{Auditing, Failure, Moment};
use crate::domain::state::{AuditState, State};
use crate::domain::types::ContextName;
use crate::health::Health;
use crate::metrics::Metrics;

/// The auditor of one context.
#[derive(Debug)]
pub struct Auditor {
    context: ContextName,
    cloudtrail: Arc<dyn CloudTrail>,
    begun: Instant,
    auditing: Auditing,
    rate: f64,
    last_error: Option<String>,
    failures: u32,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    batches: mpsc::Sender<Batch>,
}

/// Failures in a row that are passed over in silence where they may pass.
const FAILURES_PASSED_OVER: u32 = 3;

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
        let new = AuditState::new(shared.clock.now());
        let known = state.audits.get(name).unwrap_or(&new);
        Some(Self {
            context: name.clone(),
            cloudtrail: Arc::clone(&contexts.get(name)?.cloudtrail),
            begun: clock::instant(),
            auditing: Auditing::new(settings.events.clone(), settings.interval, config.poll.overlap, known),
            rate: config.aws.get(name)?.max_lookups_per_second,
            last_error: None,
            failures: 0,
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
            clock::sleep_until(self.due()).await;
            budget.ready().await;
            if self.step(&mut budget).await.is_err() {
                return;
            }
        }
    }

    /// When its next request is due.
    pub(super) fn due(&self) -> Instant {
        self.begun + self.auditing.due()
    }

    /// Sends one request for changes to ECS.
    pub(super) async fn step(&mut self, budget: &mut Budget) -> Result<(), Closed> {
        let Some((name, request)) = self.auditing.next(self.moment()) else { return Ok(()) };
        budget.spend();
        self.metrics.lookup(&self.context);
        let page = match self.cloudtrail.lookup(name.as_str(), &request).await {
            Ok(page) => page,
            Err(error) => {
                self.auditing.failed(failure_of(&error), self.moment());
                self.report_failure(&error);
                return Ok(());
            }
        };
        self.failures = 0;
        if self.last_error.take().is_some() {
            self.health.audited(&self.context, None);
            info!(aws = %self.context, "changes to ECS can be read again");
        }
        let progress = self.auditing.answered(&page_of(&page), self.moment());
        let changes = page.records.iter().filter_map(|record| audit::read(&name, record)).collect();
        let batch = Batch {
            context: self.context.clone(),
            parsed_events: Vec::new(),
            progress: None,
            changes,
            audited: Some(progress),
        };
        self.batches.send(batch).await.map_err(|_| Closed)
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), elapsed: self.begun.elapsed() }
    }

    /// Says what is wrong once, and again when it changes. What may pass has to last for a while.
    fn report_failure(&mut self, error: &AwsError) {
        self.failures += 1;
        let text = error.to_string();
        let passes = failure_of(error) != Failure::Lasting;
        if self.last_error.as_ref() == Some(&text) || (passes && self.failures < FAILURES_PASSED_OVER) {
            debug!(aws = %self.context, error = text, "changes to ECS cannot be read");
            return;
        }
        self.health.audited(&self.context, Some(&text));
        let remedy = error.remedy().unwrap_or_else(|| "the next request reads on from the same place".to_owned());
        warn!(aws = %self.context, error = text, remedy, "changes to ECS cannot be read; deployments go on");
        self.last_error = Some(text);
    }
}

/// The auditors of contexts in which nothing else is read: services live there, and no repository.
#[must_use]
pub fn auditors(config: &Config, contexts: &Contexts, state: &State, shared: &Shared) -> Vec<Auditor> {
    let polled = config.polled_contexts();
    let alone = config.audited_contexts().into_iter().filter(|name| !polled.contains(name));
    alone.filter_map(|name| Auditor::of(name, config, contexts, state, shared)).collect()
}
