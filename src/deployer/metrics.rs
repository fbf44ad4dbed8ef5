//! The metrics: the fourth subscriber of what happens.

use std::time::Duration;

use crate::config::{Config, FEW_SERVICES};
use crate::domain::aws_error::Fault;
use crate::domain::skip::SkipReason;
use crate::domain::source::PushSource;
use crate::domain::state::OutcomeKind;
use crate::domain::types::{RepositoryName, ServiceKey};
use crate::engine::{DiscoveryEvent, Event, ServiceEvent, Taken};
use crate::metrics::{Detail, MessageOutcome, Metrics, ScheduleOutcome};

/// Makes the series of what is configured appear.
pub(super) fn expect(metrics: &Metrics, config: &Config) {
    let contexts = config.polled_contexts();
    let repositories: Vec<_> = config.repositories.keys().map(|key| &key.name).collect();
    let services = config.services().map(|(_, rule)| &rule.key).filter(|key| key.schedule().is_none());
    let services: Vec<_> = services.collect();
    let detail = Detail { zeros: config.names.count() <= FEW_SERVICES, histograms: config.service_histograms() };
    metrics.expect(&contexts, &repositories, &services, detail);
    metrics.expect_schedules(config.names.schedules());
    metrics.expect_queues(&config.contexts_with_queues());
    if let Some(audit) = &config.audit {
        metrics.expect_audits(&config.audited_contexts(), &audit.events);
    }
}

/// Counts an event in the metrics that tell of it.
pub(super) fn count(metrics: &Metrics, event: &Event) {
    match event {
        Event::PushSkipped(skipped) => {
            metrics.push_skipped(skipped.configured.as_ref().map(|key| &key.name), skipped.reason);
        }
        Event::PushSeen { repository, seen_after, source, .. } => {
            let after = Duration::try_from(*seen_after).unwrap_or_default();
            metrics.push_detected(repository, *source, after);
            told(metrics, repository, *source, after);
        }
        Event::PushToldAgain { repository, source, after, .. } => {
            told(metrics, repository, *source, Duration::try_from(*after).unwrap_or_default());
        }
        Event::PushMissed(missed) => {
            let after = Duration::try_from(missed.seen_after).unwrap_or_default();
            metrics.push_detected(&missed.repository.name, PushSource::Reconcile, after);
        }
        Event::MessageTaken { aws, taken } => {
            let outcome = match taken {
                Taken::New => MessageOutcome::Push,
                Taken::Duplicate => MessageOutcome::Duplicate,
                Taken::Foreign => MessageOutcome::Foreign,
            };
            metrics.queue_message(aws, outcome);
        }
        Event::PushSettled { repository, skipped: Some(reason) } => metrics.push_skipped(Some(repository), *reason),
        Event::PushSettled { repository, skipped: None } => metrics.push_deployed(repository),
        Event::Changed { aws, change, .. } => metrics.audited(aws, change.name.as_str()),
        // What waits and what is held counts for schedules as for services.
        Event::Service(key, ServiceEvent::Counted(counts)) => metrics.service_counts(key, *counts),
        Event::Service(key, event) if key.schedule().is_some() => of_schedule(metrics, key, event),
        Event::Service(key, event) => match event {
            ServiceEvent::RolloutEnded { outcome, took, .. } => metrics.deployment_ended(key, outcome.result, *took),
            ServiceEvent::Refused(_) => metrics.deployment_refused(key),
            ServiceEvent::TaskEnded(task) => metrics.task_ended(key, task.kind, task.outcome),
            ServiceEvent::PushStable(after) => metrics.push_stable(key, *after),
            ServiceEvent::Counted(_)
            | ServiceEvent::Waits(_)
            | ServiceEvent::WaitsLong(_)
            | ServiceEvent::WaitsNoLonger(_)
            | ServiceEvent::PushSkipped { .. }
            | ServiceEvent::HeldPushedAgain(_)
            | ServiceEvent::Warned(_)
            | ServiceEvent::RolloutDecided { .. }
            | ServiceEvent::Resumed(_)
            | ServiceEvent::RevisionRegistered(_)
            | ServiceEvent::ServiceUpdated { .. }
            | ServiceEvent::DeploymentAdopted(_)
            | ServiceEvent::RolloutProgressed { .. }
            | ServiceEvent::DigestHeld { .. }
            | ServiceEvent::RollbackBegun { .. }
            | ServiceEvent::CallFailed { .. }
            | ServiceEvent::CallsRecovered
            | ServiceEvent::Unexplained { .. }
            | ServiceEvent::CommandAnswered { .. }
            | ServiceEvent::Proven(_)
            | ServiceEvent::MonitoringBegun(_)
            | ServiceEvent::TaskStarted { .. }
            | ServiceEvent::PendingDropped => {}
        },
        Event::Discovery(DiscoveryEvent::Followed(aws, services)) => metrics.discovered(aws, *services),
        Event::Discovery(
            DiscoveryEvent::Found(..)
            | DiscoveryEvent::Changed(..)
            | DiscoveryEvent::Gone(..)
            | DiscoveryEvent::Doubted(..),
        ) => {}
        Event::NotCompared { .. }
        | Event::HistoryGap { .. }
        | Event::StateUnwritable(_)
        | Event::StateWritable
        | Event::CommandUnknown { .. } => {}
    }
}

/// A source has reported a push, for the first time or again.
fn told(metrics: &Metrics, repository: &RepositoryName, source: PushSource, after: Duration) {
    match source {
        PushSource::CloudTrail => metrics.push_delivered(repository, after),
        PushSource::Queue | PushSource::Reconcile => {}
    }
}

/// Whether a push is skipped for what the schedule itself is.
fn is_unfit(reason: SkipReason) -> bool {
    match reason {
        SkipReason::ServiceMissing | SkipReason::NoContainer | SkipReason::Downtime => true,
        SkipReason::Duplicate
        | SkipReason::FailedPush
        | SkipReason::Untagged
        | SkipReason::TagMismatch
        | SkipReason::NotConfigured
        | SkipReason::Superseded
        | SkipReason::LowerVersion
        | SkipReason::AlreadyDeployed
        | SkipReason::TagGone
        | SkipReason::Held
        | SkipReason::BeforeStart
        | SkipReason::Malformed
        | SkipReason::NotAnImage
        | SkipReason::Rejected
        | SkipReason::ScanFindings
        | SkipReason::ScanMissing
        | SkipReason::Unsigned => false,
    }
}

/// Counts what became of pushes to a schedule: each once, and once more if it was taken after all.
fn of_schedule(metrics: &Metrics, key: &ServiceKey, event: &ServiceEvent) {
    // A target that names a family alone is written by registering a revision.
    let not_taken = ["UpdateSchedule", "PutTargets", "RegisterTaskDefinition"];
    let outcome = if let ServiceEvent::RolloutEnded { outcome, back: false, .. } = event {
        match outcome.result {
            OutcomeKind::Completed => Some(ScheduleOutcome::Updated),
            OutcomeKind::Refused | OutcomeKind::Failed | OutcomeKind::TimedOut => Some(ScheduleOutcome::Failed),
            OutcomeKind::RolledBack | OutcomeKind::Superseded => None,
        }
    } else if let ServiceEvent::PushSkipped { push, reason, .. } = event {
        (is_unfit(*reason) && !push.is_command()).then_some(ScheduleOutcome::Refused)
    } else if let ServiceEvent::CallFailed { error, repeated: false, .. } = event {
        let is_not_taken = error.fault != Fault::Throttled && not_taken.contains(&error.operation);
        is_not_taken.then_some(ScheduleOutcome::Failed)
    } else {
        None
    };
    if let Some(outcome) = outcome {
        metrics.schedule_updated(key, outcome);
    }
}
