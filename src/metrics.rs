//! Every metric, in one place. The struct owns its registry.
//!
//! Labels come only from the configuration or from closed sets, so that nobody who pushes an image can make new series.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::domain::audit::EventName;
use crate::domain::skip::SkipReason;
use crate::domain::state::OutcomeKind;
use crate::domain::types::{ContextName, EcsName, RepositoryName, ServiceKey};
use crate::domain::waiting::Gate;
use crate::engine::ServiceCounts;

/// The `repository` label of pushes to repositories that are not in the configuration. No ECR repository can have this name.
pub const OTHER_REPOSITORIES: &str = "_other";

/// The metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    polls: IntCounterVec,
    last_successful_poll: GaugeVec,
    reread_lag: GaugeVec,
    unread_history: GaugeVec,
    lookup_requests: IntCounterVec,
    pushes: IntCounterVec,
    push_delivery: HistogramVec,
    deployments: IntCounterVec,
    deployments_in_progress: IntGaugeVec,
    deployment_duration: HistogramVec,
    push_to_stable: HistogramVec,
    held: IntGaugeVec,
    undecided: IntGaugeVec,
    waiting: IntGaugeVec,
    aws_requests: IntCounterVec,
    aws_request_duration: HistogramVec,
    state_commits: IntCounterVec,
    notifications: IntCounterVec,
    audit_events: IntCounterVec,
    clock_offset: Gauge,
    reload_successful: Gauge,
    reload_success_timestamp: Gauge,
    expected: Mutex<Expected>,
}

/// What the gauges are about: what leaves the configuration must not stand in them as it was.
#[derive(Debug, Default)]
struct Expected {
    contexts: BTreeSet<ContextName>,
    services: BTreeSet<(EcsName, EcsName)>,
}

/// How a poll ended, in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollOutcome {
    /// Every page was read.
    Ok,
    /// A page could not be read.
    Error,
}

const PUSH: &[f64] = &[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0];
const ROLLOUT: &[f64] = &[5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
const REQUEST: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Metrics {
    /// Makes and registers every metric.
    ///
    /// # Errors
    /// A name is registered twice, which would be a defect of this function.
    pub fn new(version: &str, commit: &str, now: Timestamp) -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("ecs_deployd".to_owned()), None)?;
        let build_info = IntGaugeVec::new(
            Opts::new("build_info", "A metric with a constant value of 1, labelled with the version and commit."),
            &["version", "commit"],
        )?;
        build_info.with_label_values(&[version, commit]).set(1);
        add(&registry, build_info)?;
        let service = &["cluster", "service"];
        let metrics = Self {
            polls: add(&registry, counter("polls_total", "Polls of CloudTrail, by outcome.", &["aws", "outcome"])?)?,
            last_successful_poll: add(
                &registry,
                gauge(
                    "last_successful_poll_timestamp_seconds",
                    "When CloudTrail was last read to the end of its pages, in seconds since the epoch.",
                    &["aws"],
                )?,
            )?,
            reread_lag: add(
                &registry,
                gauge(
                    "reread_lag_seconds",
                    "How far behind the reading of CloudTrail is: the age of the time up to which every push is read, or for how long late events are being looked for already.",
                    &["aws"],
                )?,
            )?,
            unread_history: add(
                &registry,
                gauge(
                    "unread_history_seconds",
                    "How much of CloudTrail's event history is still to be read in the background, in seconds of its time.",
                    &["aws"],
                )?,
            )?,
            lookup_requests: add(
                &registry,
                counter("lookup_requests_total", "LookupEvents requests sent, retries and pages included.", &["aws"])?,
            )?,
            pushes: add(
                &registry,
                counter(
                    "pushes_total",
                    "Push events read, by what became of them: deployed, or the reason why not.",
                    &["repository", "outcome"],
                )?,
            )?,
            push_delivery: add(
                &registry,
                histogram(
                    "push_delivery_seconds",
                    "From the push to when CloudTrail was seen to tell of it.",
                    &["repository"],
                    PUSH,
                )?,
            )?,
            deployments: add(
                &registry,
                counter("deployments_total", "Ended deployments, by outcome.", &["cluster", "service", "outcome"])?,
            )?,
            deployments_in_progress: add(
                &registry,
                IntGaugeVec::new(
                    Opts::new("deployments_in_progress", "Deployments of the service that are under way."),
                    service,
                )?,
            )?,
            deployment_duration: add(
                &registry,
                histogram(
                    "deployment_duration_seconds",
                    "From the decision to the end of a deployment.",
                    service,
                    ROLLOUT,
                )?,
            )?,
            push_to_stable: add(
                &registry,
                histogram(
                    "push_to_stable_seconds",
                    "From the push to when the service ran it completely.",
                    service,
                    PUSH,
                )?,
            )?,
            held: add(
                &registry,
                IntGaugeVec::new(
                    Opts::new("held", "Services of this name for which a digest is held, or which an operator holds."),
                    service,
                )?,
            )?,
            undecided: add(
                &registry,
                IntGaugeVec::new(
                    Opts::new(
                        "undecided",
                        "Pushes to the service that wait for a decision: seconds, unless AWS cannot be asked.",
                    ),
                    service,
                )?,
            )?,
            waiting: add(
                &registry,
                IntGaugeVec::new(
                    Opts::new("waiting", "1 while something waits at the gate for the service."),
                    &["cluster", "service", "gate"],
                )?,
            )?,
            aws_requests: add(
                &registry,
                counter("aws_requests_total", "Requests to AWS, by outcome.", &["api", "operation", "outcome"])?,
            )?,
            aws_request_duration: add(
                &registry,
                histogram(
                    "aws_request_duration_seconds",
                    "From sending a request to AWS to its answer.",
                    &["api", "operation", "outcome"],
                    REQUEST,
                )?,
            )?,
            state_commits: add(
                &registry,
                counter("state_commits_total", "Writes of the state file, by outcome.", &["outcome"])?,
            )?,
            notifications: add(
                &registry,
                counter(
                    "notifications_total",
                    "Notices to receivers, by outcome: sent, failed (given up), dropped (too many waited).",
                    &["receiver", "outcome"],
                )?,
            )?,
            audit_events: add(
                &registry,
                counter(
                    "audit_events_total",
                    "Changes to ECS that were read, by the name of the call.",
                    &["aws", "event"],
                )?,
            )?,
            clock_offset: add(
                &registry,
                Gauge::new(
                    "clock_offset_seconds",
                    "AWS's time less the machine's clock, as AWS's answers show it; 0 below five seconds.",
                )?,
            )?,
            reload_successful: add(
                &registry,
                Gauge::new(
                    "config_last_reload_successful",
                    "1 if the last reload of the configuration succeeded, or 0.",
                )?,
            )?,
            reload_success_timestamp: add(
                &registry,
                Gauge::new(
                    "config_last_reload_success_timestamp_seconds",
                    "When the configuration was last loaded, in seconds since the epoch.",
                )?,
            )?,
            expected: Mutex::default(),
            registry,
        };
        metrics.state_commits.with_label_values(&["ok"]).inc_by(0);
        metrics.state_commits.with_label_values(&["error"]).inc_by(0);
        metrics.reloaded(Some(now));
        Ok(metrics)
    }

    /// Makes the series of what is configured appear, so that a rate can be taken before anything happens, and the gauges of what is not
    /// any more disappear.
    pub fn expect(&self, contexts: &[&ContextName], repositories: &[&RepositoryName], services: &[&ServiceKey]) {
        for context in contexts {
            for outcome in ["ok", "error"] {
                self.polls.with_label_values(&[context.as_str(), outcome]).inc_by(0);
            }
            self.lookup_requests.with_label_values(&[context.as_str()]).inc_by(0);
        }
        for repository in repositories {
            self.pushes.with_label_values(&[repository.as_str(), "deployed"]).inc_by(0);
            let _ = self.push_delivery.with_label_values(&[repository.as_str()]);
        }
        for key in services {
            let [cluster, service] = labels(key);
            for kind in OutcomeKind::ALL {
                self.deployments.with_label_values(&[cluster, service, kind.as_str()]).inc_by(0);
            }
            for gauge in [&self.deployments_in_progress, &self.held, &self.undecided] {
                let _ = gauge.with_label_values(&[cluster, service]);
            }
        }
        let services = services.iter().map(|key| (key.cluster.clone(), key.service.clone())).collect();
        let now = Expected { contexts: contexts.iter().map(|name| (*name).clone()).collect(), services };
        let mut expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *expected, now);
        for gone in before.contexts.difference(&expected.contexts) {
            for gauge in [&self.last_successful_poll, &self.reread_lag, &self.unread_history] {
                let _ = gauge.remove_label_values(&[gone.as_str()]);
            }
        }
        for (cluster, service) in before.services.difference(&expected.services) {
            for gauge in [&self.deployments_in_progress, &self.held, &self.undecided] {
                let _ = gauge.remove_label_values(&[cluster.as_str(), service.as_str()]);
            }
        }
    }

    /// A poll ended.
    pub fn polled(&self, context: &ContextName, outcome: PollOutcome, now: Timestamp) {
        let text = match outcome {
            PollOutcome::Ok => "ok",
            PollOutcome::Error => "error",
        };
        self.polls.with_label_values(&[context.as_str(), text]).inc();
        if outcome == PollOutcome::Ok {
            self.last_successful_poll.with_label_values(&[context.as_str()]).set(seconds(now));
        }
    }

    /// How far behind the reading is, and how much of the history is still to be read.
    pub fn reading(&self, context: &ContextName, lag: SignedDuration, backlog: SignedDuration) {
        self.reread_lag.with_label_values(&[context.as_str()]).set(lag.as_secs_f64());
        self.unread_history.with_label_values(&[context.as_str()]).set(backlog.as_secs_f64());
    }

    /// A LookupEvents request is sent.
    pub fn lookup(&self, context: &ContextName) {
        self.lookup_requests.with_label_values(&[context.as_str()]).inc();
    }

    /// A push was not deployed. `repository` is `None` unless it is in the configuration.
    pub fn push_skipped(&self, repository: Option<&RepositoryName>, reason: SkipReason) {
        self.pushes.with_label_values(&[repository_label(repository), reason.as_str()]).inc();
    }

    /// A push is deployed.
    pub fn push_deployed(&self, repository: &RepositoryName) {
        self.pushes.with_label_values(&[repository.as_str(), "deployed"]).inc();
    }

    /// A push was seen, some time after it was made.
    pub fn push_seen(&self, repository: &RepositoryName, after: Duration) {
        self.push_delivery.with_label_values(&[repository.as_str()]).observe(after.as_secs_f64());
    }

    /// What is counted of a service now. A series of what is not in the configuration any more ends.
    pub fn service_counts(&self, service: &ServiceKey, counts: ServiceCounts) {
        let gauges = [
            (&self.deployments_in_progress, counts.rolling),
            (&self.held, counts.held),
            (&self.undecided, counts.undecided),
        ];
        for (gauge, value) in gauges {
            match counts.configured || counts.rolling > 0 {
                true => gauge.with_label_values(&labels(service)).set(i64::try_from(value).unwrap_or(i64::MAX)),
                false => drop(gauge.remove_label_values(&labels(service))),
            }
        }
    }

    /// A deployment ended.
    pub fn deployment_ended(&self, service: &ServiceKey, outcome: OutcomeKind, took: Duration) {
        let [cluster, name] = labels(service);
        self.deployments.with_label_values(&[cluster, name, outcome.as_str()]).inc();
        self.deployment_duration.with_label_values(&[cluster, name]).observe(took.as_secs_f64());
    }

    /// A deployment was refused before it began.
    pub fn deployment_refused(&self, service: &ServiceKey) {
        let [cluster, name] = labels(service);
        self.deployments.with_label_values(&[cluster, name, OutcomeKind::Refused.as_str()]).inc();
    }

    /// A service runs a push completely.
    pub fn push_stable(&self, service: &ServiceKey, after: Duration) {
        self.push_to_stable.with_label_values(&labels(service)).observe(after.as_secs_f64());
    }

    /// Whether something waits at a gate for a service. The series ends with the waiting.
    pub fn waits(&self, service: &ServiceKey, gate: Gate, waits: bool) {
        let [cluster, name] = labels(service);
        match waits {
            true => self.waiting.with_label_values(&[cluster, name, gate.as_str()]).set(1),
            false => drop(self.waiting.remove_label_values(&[cluster, name, gate.as_str()])),
        }
    }

    /// A request to AWS was answered, or not.
    pub fn aws_request(&self, api: &str, operation: &str, outcome: &str, took: Duration) {
        self.aws_requests.with_label_values(&[api, operation, outcome]).inc();
        self.aws_request_duration.with_label_values(&[api, operation, outcome]).observe(took.as_secs_f64());
    }

    /// Makes the series of the receivers appear.
    pub fn expect_receivers<'a>(&self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            for outcome in ["sent", "failed", "dropped"] {
                self.notifications.with_label_values(&[name, outcome]).inc_by(0);
            }
        }
    }

    /// A notice to a receiver was sent, or not.
    pub fn notified(&self, receiver: &str, outcome: &'static str) {
        self.notifications.with_label_values(&[receiver, outcome]).inc();
    }

    /// Makes the series of the calls that are followed appear.
    pub fn expect_audits(&self, contexts: &[&ContextName], events: &[EventName]) {
        for context in contexts {
            for event in events {
                self.audit_events.with_label_values(&[context.as_str(), event.as_str()]).inc_by(0);
            }
        }
    }

    /// A change to ECS was read.
    pub fn audited(&self, context: &ContextName, event: &str) {
        self.audit_events.with_label_values(&[context.as_str(), event]).inc();
    }

    /// The state file was written, or not.
    pub fn committed(&self, ok: bool) {
        self.state_commits.with_label_values(&[if ok { "ok" } else { "error" }]).inc();
    }

    /// What has to be added to the machine's time to have AWS's.
    pub fn clock_offset(&self, offset: SignedDuration) {
        self.clock_offset.set(offset.as_secs_f64());
    }

    /// The configuration was loaded at a time, or could not be.
    pub fn reloaded(&self, at: Option<Timestamp>) {
        self.reload_successful.set(if at.is_some() { 1.0 } else { 0.0 });
        if let Some(at) = at {
            self.reload_success_timestamp.set(seconds(at));
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

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GaugeVec> {
    GaugeVec::new(Opts::new(name, help), labels)
}

fn histogram(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
}

fn labels(key: &ServiceKey) -> [&str; 2] {
    [key.cluster.as_str(), key.service.as_str()]
}

fn repository_label(repository: Option<&RepositoryName>) -> &str {
    repository.map_or(OTHER_REPOSITORIES, RepositoryName::as_str)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since the epoch fit into 53 bits for the next 285 000 years"
)]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_configuration_leaves_the_gauges() {
        let metrics = Metrics::new("1", "c", Timestamp::UNIX_EPOCH).unwrap();
        let [first, second] = ["first", "second"].map(|name| ContextName::parse(name).unwrap());
        let key = ServiceKey::try_from("first/web/shop".to_owned()).unwrap();
        metrics.expect(&[&first, &second], &[], &[&key]);
        metrics.polled(&first, PollOutcome::Ok, Timestamp::UNIX_EPOCH);
        metrics.service_counts(&key, ServiceCounts { held: 1, configured: true, ..ServiceCounts::default() });
        metrics.polled(&second, PollOutcome::Ok, Timestamp::UNIX_EPOCH);
        metrics.expect(&[&second], &[], &[]);
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for gone in ["timestamp_seconds{aws=\"first\"}", "held{", "in_progress{", "undecided{"] {
            assert!(!text.contains(gone), "{gone} is still in\n{text}");
        }
        assert!(text.contains("timestamp_seconds{aws=\"second\"}"));
        assert!(text.contains("polls_total{aws=\"first\",outcome=\"ok\"} 1"), "counters count on");
    }
}
