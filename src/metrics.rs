//! The metrics: what is recorded, and how. The struct owns its registry; the table of all metrics is in `families`.
//!
//! Labels come only from the configuration or from closed sets, so that nobody who pushes an image can make new series.

mod families;
mod series;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus::core::Collector as _;
use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::aws::Fault;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::task::{TaskKind, TaskOutcome};
use crate::domain::types::{ContextName, RepositoryName, ServiceKey};
use crate::domain::waiting::Gate;
use crate::domain::words::{described, words};
use crate::engine::ServiceCounts;

use families::Families;
pub use families::{Kind, Label, METRICS, Metric, NAMESPACE, Values};
pub use series::Detail;
use series::Expected;

/// The `repository` label of pushes to repositories that are not in the configuration. No ECR repository can have this name.
pub const OTHER_REPOSITORIES: &str = "_other";
/// The `repository` label of histograms that are not kept by repository. No ECR repository can have this name.
pub const ALL_REPOSITORIES: &str = "_all";
/// The `outcome` label of a push that is deployed.
const DEPLOYED: &str = "deployed";
/// The `outcome` label of a call that AWS answered as it should.
const ANSWERED: &str = "ok";

words! {
    /// How a poll ends.
    pub enum PollOutcome {
        Ok = "ok", "Every page was read.";
        Error = "error", "A page could not be read.";
    }
}

words! {
    /// How a write of the state ends.
    pub enum CommitOutcome {
        Ok = "ok", "The state is on the disk.";
        Error = "error", "The state could not be written: nothing is deployed until it can.";
    }
}

words! {
    /// What a message of a queue is.
    pub enum MessageOutcome {
        Push = "push", "A push that nobody had reported before.";
        Duplicate = "duplicate", "A push that was known already: the message came before, or CloudTrail was faster.";
        Foreign = "foreign", "An event of another kind, account or Region, or of a repository that is not in the configuration.";
        Malformed = "malformed", "No event that can be read.";
    }
}

words! {
    /// What becomes of a notification.
    pub enum DeliveryOutcome {
        Sent = "sent", "The receiver took it.";
        Failed = "failed", "The receiver refused it for good, or did not take it for an hour.";
        Dropped = "dropped", "Too many waited for the receiver and it was the oldest, or the program stopped.";
    }
}

words! {
    /// What becomes of a push to a schedule.
    pub enum ScheduleOutcome {
        Updated = "updated", "The next task runs it.";
        Refused = "refused", "There is no such schedule or rule, it runs no task of ECS, or none of its containers has an image of the repository.";
        Failed = "failed", "AWS did not take it. It is tried again.";
    }
}

/// What becomes of a push.
fn push_outcomes() -> Vec<(&'static str, &'static str)> {
    [vec![(DEPLOYED, "A service is rolled to it.")], described::<SkipReason>()].concat()
}

/// How a call to AWS ends.
fn call_outcomes() -> Vec<(&'static str, &'static str)> {
    [vec![(ANSWERED, "AWS answered.")], described::<Fault>()].concat()
}

/// All metrics of the program.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    expected: Mutex<Expected>,
}

impl Metrics {
    /// Makes and registers every metric.
    ///
    /// # Errors
    /// A name is registered twice, which would be a defect of the table.
    pub fn new(version: &str, commit: &str, now: Timestamp) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some(NAMESPACE.to_owned()), None)?;
        let families = Families::register(&registry)?;
        families.build_info.with([version, commit]).set(1.0);
        families.clock_offset_seconds.with([]).set(0.0);
        families.leader.with([]).set(0.0);
        for outcome in CommitOutcome::ALL {
            families.state_commits_total.appear([outcome.as_str()]);
        }
        let metrics = Self { registry, families, expected: Mutex::default() };
        metrics.reloaded(Some(now));
        Ok(metrics)
    }

    /// Something became of a push to a schedule.
    pub fn schedule_updated(&self, key: &ServiceKey, outcome: ScheduleOutcome) {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = expected.schedules.get(key) {
            self.families.schedule_updates_total.with([text, outcome.as_str()]).inc();
        }
    }

    /// Counts a poll that has ended.
    pub fn polled(&self, context: &ContextName, outcome: PollOutcome, now: Timestamp) {
        self.families.polls_total.with([context.as_str(), outcome.as_str()]).inc();
        match outcome {
            PollOutcome::Ok => {
                self.families.last_successful_poll_timestamp_seconds.with([context.as_str()]).set(seconds(now));
            }
            PollOutcome::Error => {}
        }
    }

    /// How far behind the reading is, and how much of the history is still to be read.
    pub fn reading(&self, context: &ContextName, lag: SignedDuration, backlog: SignedDuration) {
        self.families.reread_lag_seconds.with([context.as_str()]).set(lag.as_secs_f64());
        self.families.unread_history_seconds.with([context.as_str()]).set(backlog.as_secs_f64());
    }

    /// A LookupEvents request is sent.
    pub fn lookup(&self, context: &ContextName) {
        self.families.lookup_requests_total.with([context.as_str()]).inc();
    }

    /// A push was not deployed. `repository` is `None` unless it is in the configuration.
    pub fn push_skipped(&self, repository: Option<&RepositoryName>, reason: SkipReason) {
        self.families.pushes_total.with([repository_label(repository), reason.as_str()]).inc();
    }

    /// A push is deployed.
    pub fn push_deployed(&self, repository: &RepositoryName) {
        self.families.pushes_total.with([repository.as_str(), DEPLOYED]).inc();
    }

    /// CloudTrail has reported a push, some time after it was made.
    pub fn push_delivered(&self, repository: &RepositoryName, after: Duration) {
        self.families.push_delivery_seconds.with([self.histogram_of(repository)]).observe(after.as_secs_f64());
    }

    /// A push was seen for the first time, some time after it was made.
    pub fn push_detected(&self, repository: &RepositoryName, source: PushSource, after: Duration) {
        let labels = [self.histogram_of(repository), source.as_str()];
        self.families.push_detection_seconds.with(labels).observe(after.as_secs_f64());
    }

    /// A message of a queue was read.
    pub fn queue_message(&self, context: &ContextName, outcome: MessageOutcome) {
        self.families.queue_messages_total.with([context.as_str(), outcome.as_str()]).inc();
    }

    /// A queue has answered.
    pub fn queue_received(&self, context: &ContextName, now: Timestamp) {
        self.families.last_successful_queue_receive_timestamp_seconds.with([context.as_str()]).set(seconds(now));
    }

    /// What is counted of a service now. A series of what is not in the configuration any more ends, and that of a gate with the waiting.
    pub fn service_counts(&self, service: &ServiceKey, counts: ServiceCounts) {
        let [in_progress, held, undecided] = self.of_services();
        let zeros = self.detail().zeros;
        for (gauge, value) in [(in_progress, counts.rolling), (held, counts.held), (undecided, counts.undecided)] {
            match value > 0 && counts.configured || counts.rolling > 0 || zeros && counts.configured {
                true => gauge.with(labels(service)).set(number(value)),
                false => gauge.remove(labels(service)),
            }
        }
        for gate in Gate::ALL {
            let [cluster, name] = labels(service);
            let labels = [cluster, name, gate.as_str()];
            match counts.waiting == Some(gate) || counts.gated == Some(gate) {
                true => self.families.waiting.with(labels).set(1.0),
                false => self.families.waiting.remove(labels),
            }
        }
    }

    /// Counts a deployment that has ended.
    pub fn deployment_ended(&self, service: &ServiceKey, outcome: OutcomeKind, took: Duration) {
        if self.has_left(service) {
            return;
        }
        let [cluster, name] = labels(service);
        self.families.deployments_total.with([cluster, name, outcome.as_str()]).inc();
        if self.detail().histograms {
            self.families.deployment_duration_seconds.with([cluster, name]).observe(took.as_secs_f64());
        }
    }

    /// A one-off task was seen to have ended.
    pub fn task_ended(&self, service: &ServiceKey, kind: TaskKind, outcome: TaskOutcome) {
        if self.has_left(service) {
            return;
        }
        let [cluster, name] = labels(service);
        self.families.tasks_total.with([cluster, name, kind.as_str(), outcome.as_str()]).inc();
    }

    /// A deployment was refused before it began.
    pub fn deployment_refused(&self, service: &ServiceKey) {
        let [cluster, name] = labels(service);
        self.families.deployments_total.with([cluster, name, OutcomeKind::Refused.as_str()]).inc();
    }

    /// A service runs a push completely.
    pub fn push_stable(&self, service: &ServiceKey, after: Duration) {
        if self.detail().histograms && !self.has_left(service) {
            self.families.push_to_stable_seconds.with(labels(service)).observe(after.as_secs_f64());
        }
    }

    /// A request to AWS was answered, or failed.
    pub fn aws_request(&self, api: &str, operation: &str, fault: Option<Fault>, took: Duration) {
        let outcome = fault.map_or(ANSWERED, Fault::as_str);
        self.families.aws_requests_total.with([api, operation, outcome]).inc();
        self.families.aws_request_duration_seconds.with([api, operation, outcome]).observe(took.as_secs_f64());
    }

    /// A notification to a receiver was sent, or not.
    pub fn notified(&self, receiver: &str, outcome: DeliveryOutcome) {
        self.families.notifications_total.with([receiver, outcome.as_str()]).inc();
    }

    /// So many services of a context are followed because they were found by a tag.
    pub fn discovered(&self, context: &ContextName, services: usize) {
        self.families.discovered_services.with([context.as_str()]).set(number(services));
    }

    /// A change to ECS was read.
    pub fn audited(&self, context: &ContextName, event: &str) {
        self.families.audit_events_total.with([context.as_str(), event]).inc();
    }

    /// Whether this replica is the active one.
    pub fn leads(&self, leads: bool) {
        self.families.leader.with([]).set(if leads { 1.0 } else { 0.0 });
    }

    /// The state was written, or not.
    pub fn committed(&self, ok: bool) {
        let outcome = if ok { CommitOutcome::Ok } else { CommitOutcome::Error };
        self.families.state_commits_total.with([outcome.as_str()]).inc();
    }

    /// What has to be added to the machine's time to have AWS's.
    pub fn clock_offset(&self, offset: SignedDuration) {
        self.families.clock_offset_seconds.with([]).set(offset.as_secs_f64());
    }

    /// The configuration was loaded at a time, or could not be.
    pub fn reloaded(&self, at: Option<Timestamp>) {
        self.families.config_last_reload_successful.with([]).set(if at.is_some() { 1.0 } else { 0.0 });
        if let Some(at) = at {
            self.families.config_last_reload_success_timestamp_seconds.with([]).set(seconds(at));
        }
    }

    /// Everything, in Prometheus's text format.
    ///
    /// # Errors
    /// A metric cannot be written.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut families = self.registry.gather();
        families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

fn labels(key: &ServiceKey) -> [&str; 2] {
    [key.cluster.as_str(), key.service.as_str()]
}

fn repository_label(repository: Option<&RepositoryName>) -> &str {
    repository.map_or(OTHER_REPOSITORIES, RepositoryName::as_str)
}

/// A count as the value of a gauge.
fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since the epoch fit into 53 bits for the next 285 000 years"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
