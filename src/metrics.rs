//! The metrics: what is recorded, and how. The struct owns its registry; the table of all metrics is in `families`.
//!
//! Labels come only from the configuration or from closed sets, so that nobody who pushes an image can make new series.

mod families;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus::core::Collector as _;
use prometheus::{Encoder as _, Registry, TextEncoder};

use crate::aws::Fault;
use crate::domain::audit::EventName;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::task::{TaskKind, TaskOutcome};
use crate::domain::types::{ContextName, EcsName, RepositoryName, ServiceKey};
use crate::domain::waiting::Gate;
use crate::domain::words::{described, words};
use crate::engine::ServiceCounts;

use families::Families;
pub use families::{Kind, Label, METRICS, Metric, NAMESPACE, Values};

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
        Push = "push", "A push that nobody had told of before.";
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

/// What the gauges are about: what leaves the configuration must not stand in them as it was.
#[derive(Debug, Default)]
struct Expected {
    contexts: BTreeSet<ContextName>,
    repositories: BTreeSet<RepositoryName>,
    services: BTreeSet<(EcsName, EcsName)>,
    /// The schedules, as the configuration names them.
    schedules: BTreeMap<ServiceKey, String>,
    queues: BTreeSet<ContextName>,
    detail: Detail,
}

/// Which series there are by service and by repository. Each takes memory here and in whatever reads them, so that thousands of services
/// have those that tell something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Detail {
    /// Series whose value is 0 are there: a counter before its first count, a gauge while there is nothing to tell.
    pub zeros: bool,
    /// Histograms are kept by service and by repository.
    pub histograms: bool,
}

impl Default for Detail {
    fn default() -> Self {
        Self { zeros: true, histograms: true }
    }
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

    /// Makes the series of what is configured appear, so that a rate can be taken before anything happens, and the gauges of what is not
    /// any more disappear.
    pub fn expect(
        &self,
        contexts: &[&ContextName],
        repositories: &[&RepositoryName],
        services: &[&ServiceKey],
        detail: Detail,
    ) {
        for context in contexts {
            for outcome in PollOutcome::ALL {
                self.families.polls_total.appear([context.as_str(), outcome.as_str()]);
            }
            self.families.lookup_requests_total.appear([context.as_str()]);
        }
        for repository in repositories.iter().filter(|_| detail.zeros) {
            self.families.pushes_total.appear([repository.as_str(), DEPLOYED]);
        }
        for repository in repositories.iter().filter(|_| detail.zeros && detail.histograms) {
            let _ = self.families.push_delivery_seconds.with([repository.as_str()]);
        }
        for key in services.iter().filter(|_| detail.zeros) {
            let [cluster, service] = labels(key);
            for kind in OutcomeKind::ALL {
                self.families.deployments_total.appear([cluster, service, kind.as_str()]);
            }
            for gauge in self.of_services() {
                let _ = gauge.with([cluster, service]);
            }
        }
        let services = services.iter().map(|key| (key.cluster.clone(), key.service.clone())).collect();
        let repositories = repositories.iter().map(|name| (*name).clone()).collect();
        let contexts = contexts.iter().map(|name| (*name).clone()).collect();
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let (queues, schedules) = (expected.queues.clone(), expected.schedules.clone());
        let now = Expected { contexts, repositories, services, schedules, queues, detail };
        let before = std::mem::replace(&mut *expected, now);
        if before.detail.histograms != detail.histograms {
            let Families {
                push_delivery_seconds,
                push_detection_seconds,
                deployment_duration_seconds,
                push_to_stable_seconds,
                ..
            } = &self.families;
            push_delivery_seconds.clear();
            push_detection_seconds.clear();
            deployment_duration_seconds.clear();
            push_to_stable_seconds.clear();
        }
        if before.detail.zeros && !detail.zeros {
            for gauge in self.of_services() {
                // What is not 0 is told again when the services are counted anew.
                gauge.clear();
            }
        }
        for gone in before.contexts.difference(&expected.contexts) {
            for gauge in self.of_contexts() {
                gauge.remove([gone.as_str()]);
            }
        }
        for (cluster, service) in before.services.difference(&expected.services) {
            self.forget_service([cluster.as_str(), service.as_str()]);
        }
        for repository in before.repositories.difference(&expected.repositories) {
            for (outcome, _) in push_outcomes() {
                self.families.pushes_total.remove([repository.as_str(), outcome]);
            }
            self.families.push_delivery_seconds.remove([repository.as_str()]);
            for source in PushSource::ALL {
                self.families.push_detection_seconds.remove([repository.as_str(), source.as_str()]);
            }
        }
    }

    /// Makes the series of the schedules appear, and those of what is not configured any more disappear.
    pub fn expect_schedules(&self, schedules: &BTreeMap<ServiceKey, String>) {
        let series = &self.families.schedule_updates_total;
        for text in schedules.values() {
            for outcome in ScheduleOutcome::ALL {
                series.appear([text, outcome.as_str()]);
            }
        }
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut expected.schedules, schedules.clone());
        let still: BTreeSet<&String> = schedules.values().collect();
        for gone in before.values().filter(|text| !still.contains(text)) {
            for outcome in ScheduleOutcome::ALL {
                series.remove([gone, outcome.as_str()]);
            }
        }
    }

    /// Something became of a push to a schedule.
    pub fn schedule_updated(&self, key: &ServiceKey, outcome: ScheduleOutcome) {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = expected.schedules.get(key) {
            self.families.schedule_updates_total.with([text, outcome.as_str()]).inc();
        }
    }

    /// A service left the configuration. Services come and go, and their series with them.
    fn forget_service(&self, [cluster, service]: [&str; 2]) {
        for gauge in self.of_services() {
            gauge.remove([cluster, service]);
        }
        for outcome in OutcomeKind::ALL {
            self.families.deployments_total.remove([cluster, service, outcome.as_str()]);
        }
        self.families.deployment_duration_seconds.remove([cluster, service]);
        self.families.push_to_stable_seconds.remove([cluster, service]);
    }

    /// The gauges that stand for a context as long as it is configured.
    fn of_contexts(&self) -> [&families::Gauge<1>; 4] {
        let Families {
            last_successful_poll_timestamp_seconds,
            reread_lag_seconds,
            unread_history_seconds,
            discovered_services,
            ..
        } = &self.families;
        [last_successful_poll_timestamp_seconds, reread_lag_seconds, unread_history_seconds, discovered_services]
    }

    /// The gauges that stand for a service as long as it is configured.
    fn of_services(&self) -> [&families::Gauge<2>; 3] {
        let Families { deployments_in_progress, held, undecided, .. } = &self.families;
        [deployments_in_progress, held, undecided]
    }

    /// The `repository` label of a histogram.
    fn histogram_of<'a>(&self, repository: &'a RepositoryName) -> &'a str {
        if self.detail().histograms { repository.as_str() } else { ALL_REPOSITORIES }
    }

    fn detail(&self) -> Detail {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).detail
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

    /// CloudTrail has told of a push, some time after it was made.
    pub fn push_delivered(&self, repository: &RepositoryName, after: Duration) {
        self.families.push_delivery_seconds.with([self.histogram_of(repository)]).observe(after.as_secs_f64());
    }

    /// A push was seen for the first time, some time after it was made.
    pub fn push_detected(&self, repository: &RepositoryName, source: PushSource, after: Duration) {
        let labels = [self.histogram_of(repository), source.as_str()];
        self.families.push_detection_seconds.with(labels).observe(after.as_secs_f64());
    }

    /// Makes the series of the queues appear, and those of queues that are not read any more disappear.
    pub fn expect_queues(&self, contexts: &[&ContextName]) {
        for context in contexts {
            for outcome in MessageOutcome::ALL {
                self.families.queue_messages_total.appear([context.as_str(), outcome.as_str()]);
            }
        }
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<ContextName> = contexts.iter().map(|name| (*name).clone()).collect();
        for gone in std::mem::replace(&mut expected.queues, now.clone()).difference(&now) {
            self.families.last_successful_queue_receive_timestamp_seconds.remove([gone.as_str()]);
        }
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
        let [cluster, name] = labels(service);
        self.families.deployments_total.with([cluster, name, outcome.as_str()]).inc();
        if self.detail().histograms {
            self.families.deployment_duration_seconds.with([cluster, name]).observe(took.as_secs_f64());
        }
    }

    /// A one-off task was seen to have ended.
    pub fn task_ended(&self, service: &ServiceKey, kind: TaskKind, outcome: TaskOutcome) {
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
        if self.detail().histograms {
            self.families.push_to_stable_seconds.with(labels(service)).observe(after.as_secs_f64());
        }
    }

    /// A request to AWS was answered, or failed.
    pub fn aws_request(&self, api: &str, operation: &str, fault: Option<Fault>, took: Duration) {
        let outcome = fault.map_or(ANSWERED, Fault::as_str);
        self.families.aws_requests_total.with([api, operation, outcome]).inc();
        self.families.aws_request_duration_seconds.with([api, operation, outcome]).observe(took.as_secs_f64());
    }

    /// The calls so far, as `api:operation`, whatever came of them.
    #[must_use]
    pub fn calls_made(&self) -> BTreeSet<String> {
        let series = self.families.aws_requests_total.series();
        series.iter().map(|labels| format!("{}:{}", labels["api"], labels["operation"])).collect()
    }

    /// Makes the series of the receivers appear.
    pub fn expect_receivers<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            for outcome in DeliveryOutcome::ALL {
                self.families.notifications_total.appear([name, outcome.as_str()]);
            }
        }
    }

    /// A notification to a receiver was sent, or not.
    pub fn notified(&self, receiver: &str, outcome: DeliveryOutcome) {
        self.families.notifications_total.with([receiver, outcome.as_str()]).inc();
    }

    /// Makes the series of the calls that are followed appear.
    pub fn expect_audits(&self, contexts: &[&ContextName], events: &[EventName]) {
        for context in contexts {
            for event in events {
                self.families.audit_events_total.appear([context.as_str(), event.as_str()]);
            }
        }
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
