//! The log: the third subscriber of what happens. One place says what an operator reads, and at which level.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::domain::audit::{Change, Concern};
use crate::domain::discovery::Discovered;
use crate::domain::level::Level;
use crate::domain::notification::HeldPush;
use crate::domain::state::{Outcome, OutcomeKind};
use crate::domain::task::TaskOutcome;
use crate::domain::types::{ContextName, ServiceKey};
use crate::engine::{DiscoveryEvent, EndedTask, Event, Missed, PushSkipped, ResumedAt, ServiceEvent};
use crate::logging::log_at;

/// A line about one service, at a level that is written down or at one that is found out.
macro_rules! of_service {
    (at $level:expr, $key:expr, $($rest:tt)*) => {
        log_at!($level, aws = %$key.aws, cluster = %$key.cluster, service = %$key.service, $($rest)*)
    };
    ($level:ident, $key:expr, $($rest:tt)*) => {
        $level!(aws = %$key.aws, cluster = %$key.cluster, service = %$key.service, $($rest)*)
    };
}

/// Writes what happened into the log.
pub(super) fn tell(event: &Event) {
    match event {
        Event::Service(key, event) => of_service(key, event),
        Event::Discovery(event) => discovered(event),
        Event::PushSkipped(skipped) => push_skipped(skipped),
        Event::PushSeen { aws, repository, tag, event, pushed_at, seen_after, services, source } => {
            let tag = tag.as_ref().map_or("", |tag| tag.as_str());
            let seen_after = Duration::try_from(*seen_after).unwrap_or_default();
            info!(%aws, %repository, tag, %event, %pushed_at, ?seen_after, by = %source, services, "push seen");
        }
        Event::HistoryGap { aws, since } => {
            warn!(%aws, %since, "CloudTrail was not read for longer than it remembers: what ECR holds is compared with what the services run");
        }
        Event::Changed { aws, change, concern, .. } => changed(aws, change, *concern),
        Event::StateUnwritable(error) => {
            error!(%error, "the state cannot be written: nothing is deployed until it can");
        }
        Event::StateWritable => info!("the state can be written again"),
        Event::CommandUnknown { named, command, by, refused } => {
            warn!(service = named, command = command.as_str(), by, %refused, "command refused");
        }
        Event::PushToldAgain { aws, repository, source, after } => {
            let after = Duration::try_from(*after).unwrap_or_default();
            debug!(%aws, %repository, by = %source, ?after, "a push was reported again");
        }
        Event::PushMissed(missed) => {
            let Missed { repository, tag, digest, pushed_at, .. } = missed;
            let tag = tag.as_ref().map_or("", |tag| tag.as_str());
            warn!(
                aws = %repository.aws, repository = %repository.name, tag, %digest, %pushed_at,
                "a comparison with ECR has found a push that nobody reported"
            );
        }
        Event::NotCompared { repository, error } => {
            debug!(aws = %repository.aws, repository = %repository.name, %error, "ECR cannot be compared now");
        }
        Event::PushSettled { .. } | Event::MessageTaken { .. } => {}
    }
}

/// What a service that is followed because of its tag has come to.
macro_rules! of_discovered {
    ($key:expr, $known:expr, $message:literal) => {
        of_service!(info, $key, tag = $known.tag, policy = $known.policy, repositories = names($known), $message)
    };
}

fn discovered(event: &DiscoveryEvent) {
    match event {
        DiscoveryEvent::Found(key, known) => of_discovered!(key, known, "found the service by its tag"),
        DiscoveryEvent::Changed(key, known) => {
            of_discovered!(key, known, "the service that was found by its tag has changed");
        }
        DiscoveryEvent::Gone(key, known) => {
            of_discovered!(key, known, "the service has the tag no longer: it is left as it is");
        }
        DiscoveryEvent::Doubted(key, doubt) => {
            of_service!(warn, key, remedy = doubt.remedy(), "{}", doubt.message());
        }
        DiscoveryEvent::Followed(..) => {}
    }
}

fn names(known: &Discovered) -> String {
    known.repositories.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn push_skipped(skipped: &PushSkipped) {
    let PushSkipped { aws, repository, tag, event, reason, detail, .. } = skipped;
    let repository = repository.as_ref().map_or("?", |name| name.as_str());
    let tag = tag.as_ref().map_or("", |tag| tag.as_str());
    log_at!(reason.level(), %aws, repository, tag, %reason, detail, %event, "push skipped");
}

fn changed(aws: &ContextName, change: &Change, concern: Concern) {
    let Change { event, name, who, source, agent, target, error, .. } = change;
    let (event, at) = (event.id.as_str(), event.time);
    match concern {
        Concern::Watched if !change.scales => {
            warn!(%aws, call = %name, target, who, %at, from = source, agent, error, event, "somebody else than ecs-deployd changed a service of the configuration");
        }
        Concern::Watched | Concern::Ours | Concern::Others => {
            let ours = concern == Concern::Ours;
            info!(%aws, call = %name, target, who, %at, from = source, agent, error, ours, event, "ECS was changed");
        }
    }
}

fn of_service(key: &ServiceKey, event: &ServiceEvent) {
    match event {
        ServiceEvent::PushSkipped { repository, push, reason, detail } => {
            let tag = push.tag.as_ref().map_or("", |tag| tag.as_str());
            of_service!(info, key, repository = %repository.name, tag, %reason, detail, event = %push.event, "push skipped");
        }
        ServiceEvent::HeldPushedAgain(push) => {
            let HeldPush { repository, tag, digest, event, reason, release, .. } = push;
            let tag = tag.as_ref().map_or("", |tag| tag.as_str());
            of_service!(warn, key, %repository, tag, %digest, held_because = reason, remedy = release, %event, "a push failed as ECR has the image already, and the image is held: to try it again, release the service");
        }
        ServiceEvent::Warned(warning) => of_service!(warn, key, warning, "the service is rolled in spite of a warning"),
        ServiceEvent::Refused(outcome) => {
            of_service!(error, key, reason = outcome.detail, "deployment refused");
        }
        ServiceEvent::RolloutDecided { targets, from, rollback_target, pinned } => {
            for (repository, target) in targets {
                let tag = target.push.tag.as_ref().map_or("", |tag| tag.as_str());
                of_service!(info, key, repository = %repository.name, tag, digest = %target.digest, %from, "deploying");
            }
            of_service!(debug, key, revision = %rollback_target, ?pinned, "the rollback target is recorded");
        }
        ServiceEvent::Resumed(found) => {
            let what = what(*found);
            of_service!(info, key, what, "took up an unfinished rollout");
        }
        ServiceEvent::RevisionRegistered(revision) => {
            of_service!(info, key, %revision, "registered the new revision");
        }
        ServiceEvent::ServiceUpdated { revision, .. } if key.schedule().is_some() => {
            of_service!(info, key, %revision, "set the schedule to the revision, which its next task runs");
        }
        ServiceEvent::ServiceUpdated { revision, deployment } => {
            of_service!(info, key, %revision, %deployment, "updated the service; ECS rolls it out");
        }
        ServiceEvent::DeploymentAdopted(deployment) => {
            of_service!(info, key, %deployment, "a new deployment of the same revision is watched from here on");
        }
        ServiceEvent::RolloutProgressed { back, counts, elapsed } => {
            let (desired, running, pending, failed) = (counts.desired, counts.running, counts.pending, counts.failed);
            let elapsed = elapsed.as_secs();
            of_service!(debug, key, back, desired, running, pending, failed, elapsed, "rolling");
        }
        ServiceEvent::RolloutEnded { outcome, back, took } => ended(key, outcome, *back, *took),
        ServiceEvent::DigestHeld { repository, digest } => {
            of_service!(warn, key, %repository, %digest, "the digest is held for the service until a newer push");
        }
        ServiceEvent::RollbackBegun { revision, pinned } => {
            of_service!(info, key, %revision, ?pinned, "going back to what ran before");
        }
        ServiceEvent::CallFailed { error, repeated: true, .. } => {
            of_service!(debug, key, %error, "still failing");
        }
        ServiceEvent::CallFailed { error, retry_in, repeated: false } => {
            let remedy = error.remedy().unwrap_or_else(|| "none needed: it is tried again".to_owned());
            of_service!(warn, key, %error, remedy, ?retry_in, "a call to AWS failed");
        }
        ServiceEvent::CallsRecovered => of_service!(info, key, "calls to AWS work again"),
        ServiceEvent::Unexplained { what, error } => of_service!(debug, key, what, %error, "this is not known"),
        ServiceEvent::CommandAnswered { command, by, answer: Ok(answer) } => {
            of_service!(info, key, command = command.as_str(), by, answer, "command carried out");
        }
        ServiceEvent::CommandAnswered { command, by, answer: Err(refused) } => {
            of_service!(warn, key, command = command.as_str(), by, %refused, "command refused");
        }
        ServiceEvent::TaskStarted { kind, number, command, arn } => {
            of_service!(info, key, kind = kind.as_str(), number, command, task = arn, "started a task");
        }
        ServiceEvent::TaskEnded(ended) => task_ended(key, ended),
        ServiceEvent::MonitoringBegun(monitor) => {
            of_service!(info, key, ?monitor, "ECS has completed the rollout; it stays under watch");
        }
        ServiceEvent::Proven(counts) => {
            of_service!(
                info,
                key,
                desired = counts.desired,
                running = counts.running,
                "tasks run the image that was unproven"
            );
        }
        ServiceEvent::Waits(waiting) => {
            let tag = waiting.tag.as_ref().map_or("", |tag| tag.as_str());
            of_service!(
                info, key, gate = waiting.gate.as_str(), repository = %waiting.repository, tag, digest = %waiting.digest,
                stage = waiting.stage, until = waiting.until.map(tracing::field::display), reason = waiting.reason, "waiting"
            );
        }
        ServiceEvent::WaitsLong(waiting) => {
            let (gate, since) = (waiting.gate.as_str(), waiting.since);
            of_service!(warn, key, gate, %since, digest = %waiting.digest, reason = waiting.reason, "waiting for long");
        }
        ServiceEvent::WaitsNoLonger(gate) => of_service!(info, key, gate = gate.as_str(), "waits no longer"),
        ServiceEvent::PendingDropped => {
            of_service!(info, key, "no longer in the configuration: its undecided pushes are dropped");
        }
        ServiceEvent::PushStable(_) | ServiceEvent::Counted(_) => {}
    }
}

fn task_ended(key: &ServiceKey, ended: &EndedTask) {
    let EndedTask { kind, number, outcome, command, arn, log, why, took } = ended;
    let (kind, took_seconds) = (kind.as_str(), took.as_secs());
    let level = match outcome {
        TaskOutcome::Succeeded => Level::Info,
        TaskOutcome::Failed | TaskOutcome::TimedOut | TaskOutcome::NotStarted => Level::Error,
    };
    of_service!(
        at level, key, kind, number, command, outcome = outcome.as_str(), why, task = arn, log, took_seconds, "a task ended"
    );
}

fn what(found: ResumedAt) -> &'static str {
    match found {
        ResumedAt::NotRegistered => "its revision is not registered yet",
        ResumedAt::NotUpdated => "its revision is registered, the service is not updated yet",
        ResumedAt::Updated => "the service is updated, it is watched",
        ResumedAt::Overtaken => "the service was changed meanwhile, it is decided anew",
        ResumedAt::GivenUp => "ECS gave its revision up",
        ResumedAt::ServiceGone => "the service is gone",
    }
}

fn ended(key: &ServiceKey, outcome: &Outcome, back: bool, took: Duration) {
    let revision = outcome.revision.as_ref().map(|revision| revision.short());
    let (result, detail, took_seconds) = (outcome.result.as_str(), outcome.detail.as_str(), took.as_secs());
    match outcome.result {
        OutcomeKind::Completed => {
            let detail = Some(detail).filter(|detail| !detail.is_empty());
            of_service!(info, key, revision, outcome = result, detail, took_seconds, "deployment ended");
        }
        OutcomeKind::Superseded | OutcomeKind::RolledBack => {
            of_service!(warn, key, revision, outcome = result, detail, took_seconds, "deployment ended");
        }
        OutcomeKind::Failed | OutcomeKind::TimedOut | OutcomeKind::Refused => {
            of_service!(error, key, revision, outcome = result, detail, back, took_seconds, "deployment ended");
        }
    }
}
