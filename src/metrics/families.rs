//! The table of metrics. A metric is declared once, at the end of this file: its name, its type, its labels and its help text. Its
//! registration, the arity of its labels and its row in the reference documents derive from that.

use prometheus::core::Collector;
use prometheus::{
    Gauge as OneGauge, GaugeVec, Histogram as OneHistogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    Opts, Registry,
};

use super::{
    CommitOutcome, DeliveryOutcome, MessageOutcome, PollOutcome, ScheduleOutcome, call_outcomes, push_outcomes,
};
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::task::{TaskKind, TaskOutcome};
use crate::domain::waiting::Gate;
use crate::domain::words::described;

/// What every name begins with.
pub const NAMESPACE: &str = "ecs_deployd";

/// The type of a metric, in Prometheus's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from 0 at the start of the process.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts observations in buckets.
    Histogram,
}

impl Kind {
    /// The type as it stands after `# TYPE`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label, and where its values come from. They are bounded, so that nobody who pushes an image can make new series.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// The name of the label.
    pub name: &'static str,
    /// The values that it may have.
    pub values: Values,
}

/// The values of a label.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// Values that the configuration or the build bounds; the text tells which.
    Bounded(&'static str),
    /// A closed set of words, each with its meaning.
    Words(fn() -> Vec<(&'static str, &'static str)>),
}

impl Label {
    const fn bounded(name: &'static str, from: &'static str) -> Self {
        Self { name, values: Values::Bounded(from) }
    }

    const fn words(name: &'static str, words: fn() -> Vec<(&'static str, &'static str)>) -> Self {
        Self { name, values: Values::Words(words) }
    }
}

/// The declaration of a metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name without the namespace.
    pub name: &'static str,
    /// The type of the metric.
    pub kind: Kind,
    /// The labels, in the order in which values are given.
    pub labels: &'static [Label],
    /// The help text in the exposition.
    pub help: &'static str,
    /// What is to be known for queries. Empty where the help text is enough.
    pub note: &'static str,
    /// The upper bounds of a histogram's buckets; empty for other types.
    pub buckets: &'static [f64],
}

impl Metric {
    /// The name as it is exposed.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{NAMESPACE}_{}", self.name)
    }

    /// The unit, which by Prometheus's convention the name tells; empty for a plain number.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        if self.name.ends_with("_timestamp_seconds") {
            "seconds since 1970-01-01T00:00:00Z"
        } else if self.name.ends_with("_seconds") {
            "seconds"
        } else {
            ""
        }
    }
}

/// A registered metric with `N` labels.
pub(super) trait Family: Sized {
    /// The type of the metric.
    const KIND: Kind;

    /// Makes it, and registers it.
    fn register(registry: &Registry, metric: &Metric) -> prometheus::Result<Self>;
}

fn added<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn names(metric: &Metric) -> Vec<&'static str> {
    metric.labels.iter().map(|label| label.name).collect()
}

/// A counter for each combination of label values.
#[derive(Debug)]
pub(super) struct Counter<const N: usize>(IntCounterVec);

impl<const N: usize> Counter<N> {
    /// Makes the series disappear.
    pub(super) fn remove(&self, values: [&str; N]) {
        let _ = self.0.remove_label_values(&values);
    }

    /// The counter with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> IntCounter {
        self.0.with_label_values(&values)
    }

    /// Makes the series appear with the value 0, so that a rate can be taken before anything happens.
    pub(super) fn appear(&self, values: [&str; N]) {
        self.with(values).inc_by(0);
    }
}

impl<const N: usize> Family for Counter<N> {
    const KIND: Kind = Kind::Counter;

    fn register(registry: &Registry, metric: &Metric) -> prometheus::Result<Self> {
        added(registry, IntCounterVec::new(Opts::new(metric.name, metric.help), &names(metric))?).map(Self)
    }
}

/// A gauge for each combination of label values.
#[derive(Debug)]
pub(super) struct Gauge<const N: usize>(GaugeVec);

impl<const N: usize> Gauge<N> {
    /// The gauge with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> OneGauge {
        self.0.with_label_values(&values)
    }

    /// Makes the series disappear.
    pub(super) fn remove(&self, values: [&str; N]) {
        let _ = self.0.remove_label_values(&values);
    }

    /// Makes all series disappear.
    pub(super) fn clear(&self) {
        self.0.reset();
    }
}

impl<const N: usize> Family for Gauge<N> {
    const KIND: Kind = Kind::Gauge;

    fn register(registry: &Registry, metric: &Metric) -> prometheus::Result<Self> {
        added(registry, GaugeVec::new(Opts::new(metric.name, metric.help), &names(metric))?).map(Self)
    }
}

/// A histogram for each combination of label values.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize>(HistogramVec);

impl<const N: usize> Histogram<N> {
    /// Makes the series disappear.
    pub(super) fn remove(&self, values: [&str; N]) {
        let _ = self.0.remove_label_values(&values);
    }

    /// The histogram with these label values.
    pub(super) fn with(&self, values: [&str; N]) -> OneHistogram {
        self.0.with_label_values(&values)
    }

    /// Makes all series disappear.
    pub(super) fn clear(&self) {
        self.0.reset();
    }
}

impl<const N: usize> Family for Histogram<N> {
    const KIND: Kind = Kind::Histogram;

    fn register(registry: &Registry, metric: &Metric) -> prometheus::Result<Self> {
        let options = HistogramOpts::new(metric.name, metric.help).buckets(metric.buckets.to_vec());
        added(registry, HistogramVec::new(options, &names(metric))?).map(Self)
    }
}

macro_rules! families {
    (@metric $name:ident $kind:ident [$($label:ident),*] [$($buckets:ident)?] $help:literal [$($note:literal)?]) => {
        Metric {
            name: stringify!($name),
            kind: <$kind<{ <[&str]>::len(&[$(stringify!($label)),*]) }> as Family>::KIND,
            labels: &[$($label),*],
            help: $help,
            note: concat!($($note)?),
            buckets: families!(@buckets $($buckets)?),
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
    ($($name:ident: $kind:ident[$($label:ident),*] $(in $buckets:ident)?, $help:literal $(, $note:literal)?;)+) => {
        /// Every metric, registered with its registry.
        #[derive(Debug)]
        pub(super) struct Families {
            $(pub(super) $name: $kind<{ <[&str]>::len(&[$(stringify!($label)),*]) }>,)+
        }

        impl Families {
            /// Makes and registers every metric.
            ///
            /// # Errors
            /// The table holds a name or a label that Prometheus does not take, or a name twice.
            pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
                Ok(Self {
                    $($name: Family::register(
                        registry,
                        &families!(@metric $name $kind [$($label),*] [$($buckets)?] $help [$($note)?]),
                    )?,)+
                })
            }
        }

        /// The declarations of all metrics of this program. Those of the process itself (`process_*`) come from the library.
        pub static METRICS: &[Metric] =
            &[$(families!(@metric $name $kind [$($label),*] [$($buckets)?] $help [$($note)?])),+];
    };
}

const PUSH: &[f64] = &[5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0];
const DETECTION: &[f64] =
    &[0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0];
const ROLLOUT: &[f64] = &[5.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0];
const REQUEST: &[f64] = &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const VERSION: Label = Label::bounded("version", "the version of the program");
const COMMIT: Label = Label::bounded("commit", "the commit that it is built from");
const AWS: Label = Label::bounded("aws", "an AWS context of the configuration");
const CLUSTER: Label = Label::bounded("cluster", "a cluster of the configuration");
const SERVICE: Label = Label::bounded("service", "a service of the configuration");
const SCHEDULE: Label = Label::bounded("schedule", "a schedule or a rule, as the configuration names it");
const SCHEDULE_OUTCOME: Label = Label::words("outcome", described::<ScheduleOutcome>);
const REPOSITORY: Label = Label::bounded("repository", "a repository of the configuration, or `_other`");
const REPOSITORIES: Label =
    Label::bounded("repository", "a repository of the configuration, or `_all` without `[http] service_histograms`");
const RECEIVER: Label = Label::bounded("receiver", "the name of a `[[notify]]`");
const EVENT: Label = Label::bounded("event", "a name in `[audit] events`");
const API: Label = Label::bounded("api", "an AWS service, such as `ecs`");
const OPERATION: Label = Label::bounded("operation", "an operation of that service, such as `UpdateService`");
const POLL_OUTCOME: Label = Label::words("outcome", described::<PollOutcome>);
const MESSAGE_OUTCOME: Label = Label::words("outcome", described::<MessageOutcome>);
const SOURCE: Label = Label::words("source", described::<PushSource>);
const PUSH_OUTCOME: Label = Label::words("outcome", push_outcomes);
const DEPLOYMENT_OUTCOME: Label = Label::words("outcome", described::<OutcomeKind>);
const CALL_OUTCOME: Label = Label::words("outcome", call_outcomes);
const TASK_KIND: Label = Label::words("kind", described::<TaskKind>);
const TASK_OUTCOME: Label = Label::words("outcome", described::<TaskOutcome>);
const GATE: Label = Label::words("gate", described::<Gate>);
const COMMIT_OUTCOME: Label = Label::words("outcome", described::<CommitOutcome>);
const DELIVERY_OUTCOME: Label = Label::words("outcome", described::<DeliveryOutcome>);

// NAME: TYPE[LABELS] in BUCKETS, "help text", "what is to be known for queries";
families! {
    build_info: Gauge[VERSION, COMMIT],
        "A metric with a constant value of 1, labelled with the version and commit.";
    polls_total: Counter[AWS, POLL_OUTCOME],
        "Polls of CloudTrail, by outcome.";
    last_successful_poll_timestamp_seconds: Gauge[AWS],
        "When CloudTrail was last read to the end of its pages, in seconds since the epoch.",
        "Absent until the first complete poll.";
    reread_lag_seconds: Gauge[AWS],
        "How far behind the reading of CloudTrail is: the age of the time up to which every push is read, or for how long late events are being looked for already.";
    unread_history_seconds: Gauge[AWS],
        "How much of CloudTrail's event history is still to be read in the background, in seconds of its time.";
    lookup_requests_total: Counter[AWS],
        "LookupEvents requests sent, retries and pages included.";
    pushes_total: Counter[REPOSITORY, PUSH_OUTCOME],
        "Push events read, by what became of them: deployed, or the reason why not.",
        "A push counts once, whatever the number of its services: `deployed` if one of them deploys it, else the reason that was decided last. `duplicate` counts every re-reading, so it grows all the time. Pushes whose services leave the configuration before they are decided are not counted.";
    push_delivery_seconds: Histogram[REPOSITORIES] in PUSH,
        "From the push to when CloudTrail was seen to tell of it.";
    push_detection_seconds: Histogram[REPOSITORIES, SOURCE] in DETECTION,
        "From the push to when it was first seen, by the source that saw it first.",
        "The series of a source appears with the first push that it is the first to tell of.";
    queue_messages_total: Counter[AWS, MESSAGE_OUTCOME],
        "Messages of the queue, by what they were. Each is deleted once what it brought is durable.",
        "A message that is delivered twice counts twice.";
    last_successful_queue_receive_timestamp_seconds: Gauge[AWS],
        "When the queue last answered, in seconds since the epoch: every 20 seconds where it has no messages.",
        "Absent until the first answer, and in contexts without a queue.";
    deployments_total: Counter[CLUSTER, SERVICE, DEPLOYMENT_OUTCOME],
        "Ended deployments, by outcome.",
        "A failed deployment that is rolled back counts twice: as `failed` or `timed_out`, and as `rolled_back`. With more than 200 services a series appears with its first count.";
    deployments_in_progress: Gauge[CLUSTER, SERVICE],
        "Deployments of the service that are under way.",
        "0 or 1, unless two AWS contexts have clusters and services of the same names: those are counted together. With more than 200 services absent while it is 0.";
    deployment_duration_seconds: Histogram[CLUSTER, SERVICE] in ROLLOUT,
        "From the decision to the end of a deployment.",
        "Absent without `[http] service_histograms`.";
    push_to_stable_seconds: Histogram[CLUSTER, SERVICE] in PUSH,
        "From the push to when the service ran it completely.",
        "Absent without `[http] service_histograms`.";
    held: Gauge[CLUSTER, SERVICE],
        "Services of this name for which a digest is held, or which an operator holds.",
        "0 or 1, unless two AWS contexts have clusters and services of the same names: those are counted together. With more than 200 services absent while it is 0.";
    undecided: Gauge[CLUSTER, SERVICE],
        "Pushes to the service that wait for a decision: seconds, unless AWS cannot be asked.",
        "With more than 200 services absent while it is 0.";
    waiting: Gauge[CLUSTER, SERVICE, GATE],
        "1 while something waits at the gate for the service.",
        "Absent while nothing waits.";
    tasks_total: Counter[CLUSTER, SERVICE, TASK_KIND, TASK_OUTCOME],
        "One-off tasks before and after deployments, by outcome.",
        "A task counts once, when its end is seen.";
    aws_requests_total: Counter[API, OPERATION, CALL_OUTCOME],
        "Requests to AWS, by outcome.",
        "Before a rollback ECR may be asked about repositories that the role has no permission for: such a DescribeImages with the outcome `denied` is harmless.";
    aws_request_duration_seconds: Histogram[API, OPERATION, CALL_OUTCOME] in REQUEST,
        "From sending a request to AWS to its answer.";
    state_commits_total: Counter[COMMIT_OUTCOME],
        "Writes of the state, by outcome.";
    leader: Gauge[],
        "1 on the active replica, 0 on the others.",
        "A daemon whose state is a file is always the active one.";
    notifications_total: Counter[RECEIVER, DELIVERY_OUTCOME],
        "Notifications to receivers, by outcome: sent, failed (given up), dropped (too many waited, or the program stopped).";
    audit_events_total: Counter[AWS, EVENT],
        "Changes to ECS that were read, by the name of the call.";
    schedule_updates_total: Counter[SCHEDULE, SCHEDULE_OUTCOME],
        "Pushes to schedules and rules, by what became of them.",
        "What failed is tried again, and counts as `updated` when it succeeds.";
    discovered_services: Gauge[AWS],
        "Services that are followed because they were found by a tag.",
        "Absent without a `[[discover]]`, and until the first look. A service that is listed, or whose tag names no policy, does not count.";
    clock_offset_seconds: Gauge[],
        "AWS's time less the machine's clock, as AWS's answers show it; 0 below five seconds.";
    config_last_reload_successful: Gauge[],
        "1 if the last reload of the configuration succeeded, or 0.";
    config_last_reload_success_timestamp_seconds: Gauge[],
        "When the configuration was last loaded, in seconds since the epoch.";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules are those of <https://prometheus.io/docs/practices/naming/>.
    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in METRICS {
            let is_total = metric.name.ends_with("_total");
            assert_eq!(
                is_total,
                metric.kind == Kind::Counter,
                "{}: counters, and only they, end with _total",
                metric.name
            );
            let is_seconds = metric.name.ends_with("_seconds");
            assert!(metric.kind != Kind::Histogram || is_seconds, "{}: the name tells the unit", metric.name);
            assert_eq!(metric.buckets.is_empty(), metric.kind != Kind::Histogram, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}: the help is a sentence", metric.name);
        }
    }
}
