//! What the operator gets to know of it: a line in the log, a count in a metric.

use std::time::Duration;

use jiff::Timestamp;
use tracing::{debug, error, info, warn};

use crate::domain::intake::{Fate, Verdict};
use crate::domain::plan::Plan;
use crate::domain::rollout::{Counts, Resume};
use crate::domain::state::{Direction, OutcomeKind, Rollout};
use crate::domain::types::{ContextName, ServiceKey};
use crate::logging::log_at;
use crate::metrics::Metrics;

/// A push event was read.
pub(super) fn seen(metrics: &Metrics, context: &ContextName, verdict: &Verdict, now: Timestamp) {
    let repository = verdict.repository.as_ref().map_or("?", |name| name.as_str());
    let tag = verdict.tag.as_ref().map_or("", |tag| tag.as_str());
    let configured = verdict.configured.as_ref().map(|key| &key.name);
    let event = verdict.event.id.as_str();
    match &verdict.fate {
        Fate::Skip { reason, detail } => {
            metrics.push_skipped(configured, *reason);
            log_at!(reason.level(), aws = %context, repository, tag, %reason, detail, event, "push skipped");
        }
        Fate::Wanted(services) => {
            let after = Duration::try_from(now.duration_since(verdict.event.time)).unwrap_or_default();
            if let Some(repository) = configured {
                metrics.push_seen(repository, after);
            }
            info!(
                aws = %context, repository, tag, event, pushed_at = %verdict.event.time, seen_after = ?after, services = services.len(),
                "push seen"
            );
        }
    }
}

/// A service was planned.
pub(super) fn planned(metrics: &Metrics, key: &ServiceKey, plan: &Plan) {
    for skip in &plan.skips {
        let tag = skip.push.tag.as_ref().map_or("", |tag| tag.as_str());
        info!(
            aws = %key.aws, cluster = %key.cluster, service = %key.service,
            repository = %skip.repository.name, tag, reason = %skip.reason,
            detail = skip.detail, event = %skip.push.event, "push skipped"
        );
    }
    for warning in &plan.warnings {
        warn!(aws = %key.aws, cluster = %key.cluster, service = %key.service, warning, "it is rolled all the same");
    }
    if let Some(reason) = &plan.refused {
        metrics.deployment_refused(key);
        error!(aws = %key.aws, cluster = %key.cluster, service = %key.service, reason, "deployment refused");
    }
    if let Some(roll) = &plan.roll {
        for (repository, target) in &roll.rollout.targets {
            let tag = target.push.tag.as_ref().map_or("", |tag| tag.as_str());
            info!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service,
                repository = %repository.name, tag, digest = %target.digest,
                from = %roll.rollout.replaces, "deploying"
            );
        }
        let way_back = &roll.rollout.way_back;
        debug!(
            aws = %key.aws, cluster = %key.cluster, service = %key.service,
            revision = %way_back.revision, pinned = ?way_back.pinned,
            "the way back is written down"
        );
    }
}

/// An unfinished rollout was looked at.
pub(super) fn resumed(key: &ServiceKey, resume: &Resume) {
    let what = match resume {
        Resume::Register => "its revision is not registered yet",
        Resume::Update(_) => "its revision is registered, the service is not updated yet",
        Resume::Watch(..) => "the service is updated, it is watched",
        Resume::Replan(_) => "the service was changed meanwhile, it is decided anew",
        Resume::Failed(..) => "ECS gave its revision up",
        Resume::Gone(_) => "the service is gone",
    };
    info!(aws = %key.aws, cluster = %key.cluster, service = %key.service, what, "took up an unfinished rollout");
}

/// A rollout is under way.
pub(super) fn progress(key: &ServiceKey, rollout: &Rollout, counts: Counts, elapsed: Duration) {
    let Counts { desired, running, pending, failed } = counts;
    let back = matches!(rollout.direction, Direction::Back { .. });
    let elapsed = elapsed.as_secs();
    debug!(
        aws = %key.aws, cluster = %key.cluster, service = %key.service, back, desired, running, pending, failed, elapsed,
        "rolling"
    );
}

/// A rollout ended.
pub(super) fn ended(key: &ServiceKey, rollout: &Rollout, kind: OutcomeKind, detail: &str, took: Duration) {
    let revision = rollout.phase.revision().map(|revision| revision.short());
    let (outcome, took) = (kind.as_str(), took.as_secs());
    let back = matches!(rollout.direction, Direction::Back { .. });
    match kind {
        OutcomeKind::Completed => {
            let detail = Some(detail).filter(|detail| !detail.is_empty());
            info!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service, revision, outcome, detail, took_seconds = took,
                "deployment ended"
            );
        }
        OutcomeKind::Superseded | OutcomeKind::RolledBack => {
            warn!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service, revision, outcome, detail, took_seconds = took,
                "deployment ended"
            );
        }
        OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::Refused => {
            error!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service, revision, outcome, detail, back, took_seconds = took,
                "deployment ended"
            );
        }
    }
}
