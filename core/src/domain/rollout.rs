//! How a rollout goes: judged by *its own* deployment id, never by whether the service is stable, for a service is also stable after ECS
//! has rolled it back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::state::{Phase, Rollout};
use super::types::{DeploymentId, TaskDefinitionArn};
use super::view::{DeploymentView, Fate, RolloutState, ServiceView, Strategy};

/// This machine's clock and that of ECS.
const CLOCKS_APART: SignedDuration = SignedDuration::from_mins(1);
/// At most this many different lines of a service's log are quoted.
const EVENTS_TOLD: usize = 3;
/// How long ECS is given to begin its own rollback after it has given a deployment up (decision 40).
const OWN_ROLLBACK: SignedDuration = SignedDuration::from_mins(1);
/// From when on an answer without the rollout's deployment is believed (decision 17).
const SETTLED_AFTER: Duration = Duration::from_secs(20);

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The deployment is neither complete nor given up.
    InProgress(Counts),
    /// My deployment is complete.
    Completed(Counts),
    /// The same revision is rolled out by another deployment, because somebody forced a new one: that one is watched from here on.
    Adopted(DeploymentId),
    /// ECS gave it up, or what ran before took its place.
    Failed(String),
    /// It was not stable in time.
    TimedOut(String),
    /// Another deployer took over.
    Superseded(String),
    /// Somebody set the service back: to what ran before, or to another older revision. That stays.
    TakenBack(String),
    /// The service is gone.
    Gone(String),
}

/// Task counts of a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Tasks it shall run.
    pub desired: i32,
    /// The number of tasks that run.
    pub running: i32,
    /// Tasks that are starting.
    pub pending: i32,
    /// Tasks that failed in a row.
    pub failed: i32,
}

impl Counts {
    /// The counts of a deployment.
    #[must_use]
    pub fn of(deployment: &DeploymentView) -> Self {
        Self {
            desired: deployment.desired,
            running: deployment.running,
            pending: deployment.pending,
            failed: deployment.failed,
        }
    }
}

/// How long a rollout has been rolling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed {
    /// Since it last made progress, or since UpdateService was answered. What was before this process is by the wall clock, which may
    /// have jumped.
    pub rolling: Duration,
    /// Of which this process has watched: by a clock that does not jump.
    pub watched: Duration,
}

/// Judges a rollout that is rolling. `None` if it is not.
#[must_use]
pub fn progress(
    rollout: &Rollout,
    service: Option<&ServiceView>,
    elapsed: Elapsed,
    timeout: Duration,
) -> Option<Progress> {
    let Phase::Rolling { revision, deployment, .. } = &rollout.phase else { return None };
    // ECS is eventually consistent: right after UpdateService an answer may still be from before it.
    let fresh = elapsed.watched < SETTLED_AFTER;
    let Some(service) = service.filter(|service| service.active) else {
        return Some(match fresh {
            true => Progress::InProgress(Counts::default()),
            false => Progress::Gone("the service was deleted or is being drained".to_owned()),
        });
    };
    Some(match service.deployment(deployment) {
        Some(mine) if mine.state == Some(RolloutState::Failed) => Progress::Failed(failure(mine, service, rollout)),
        // ECS marks what it gives up itself as failed: this was somebody's decision.
        Some(mine) if !mine.primary => displaced(rollout, service, revision, true),
        Some(mine) if is_complete(mine, service) => Progress::Completed(Counts::of(mine)),
        // In a deployment that shifts traffic what ran before still serves: ECS itself decides when it is given up.
        Some(mine) if service.strategy == Strategy::Rolling && !service.breaker && keeps_stopping(mine) => {
            Progress::Failed(keep_stopping(mine, service, rollout))
        }
        // ECS's own waiting is no failure to get stable.
        Some(mine) if elapsed.rolling >= timeout + service.bake => {
            Progress::TimedOut(not_stable(mine, service, rollout, timeout + service.bake))
        }
        Some(mine) => Progress::InProgress(Counts::of(mine)),
        None if fresh => Progress::InProgress(Counts::default()),
        None => displaced(rollout, service, revision, false),
    })
}

fn is_complete(mine: &DeploymentView, service: &ServiceView) -> bool {
    match mine.state {
        Some(state) => state == RolloutState::Completed,
        // Behind a Classic Load Balancer ECS gives no rolloutState.
        None => {
            service.deployments.len() == 1
                && mine.pending == 0
                && mine.running == mine.desired
                && mine.desired == service.desired
        }
    }
}

/// Says of a deployment that has made no progress how far it got.
#[must_use]
pub fn not_stable(mine: &DeploymentView, service: &ServiceView, rollout: &Rollout, within: Duration) -> String {
    format!(
        "not stable, and no progress for {}: {} of {} tasks run, {} starting, {} failed{}",
        humantime::format_duration(Duration::from_secs(within.as_secs())),
        mine.running,
        mine.desired,
        mine.pending,
        mine.failed,
        last_events(service, rollout),
    )
}

/// Why a deployment whose tasks keep stopping has failed.
#[must_use]
pub fn keep_stopping(mine: &DeploymentView, service: &ServiceView, rollout: &Rollout) -> String {
    format!("its tasks keep stopping: {} failed in a row{}", mine.failed, last_events(service, rollout))
}

/// Whether as many tasks of a deployment failed in a row as a circuit breaker would call a failure.
#[must_use]
pub fn keeps_stopping(mine: &DeploymentView) -> bool {
    mine.failed >= too_many(mine.desired)
}

/// Where a service has no circuit breaker, this many tasks that failed in a row are what that would call a failure: half of the desired
/// count, at least 3 and at most 200 (Amazon ECS Developer Guide, "How the deployment circuit breaker works"). ECS counts from 0 again
/// when a task runs.
#[must_use]
pub(super) fn too_many(desired: i32) -> i32 {
    (desired / 2 + desired % 2).clamp(3, 200)
}

fn failure(mine: &DeploymentView, service: &ServiceView, rollout: &Rollout) -> String {
    let reason = if mine.reason.is_empty() { "ECS reports the deployment as FAILED" } else { mine.reason.as_str() };
    format!("{reason} ({} tasks failed){}", mine.failed, last_events(service, rollout))
}

/// What the service's own log says of the time of the rollout, newest first, each text once. The newest line alone often says only that ECS
/// gave it up, and the one before it why.
#[must_use]
pub fn last_events(service: &ServiceView, rollout: &Rollout) -> String {
    // The clocks differ by a little.
    let begun = rollout.decided_at.checked_sub(CLOCKS_APART).unwrap_or(rollout.decided_at);
    let of_the_rollout = service.events.iter().filter(|event| event.at >= begun);
    let mut texts: Vec<&str> = Vec::new();
    for event in of_the_rollout {
        if !texts.contains(&event.message.as_str()) && texts.len() < EVENTS_TOLD {
            texts.push(&event.message);
        }
    }
    if texts.is_empty() { String::new() } else { format!("; last service events: {}", texts.join(" | ")) }
}

/// Another deployment is PRIMARY. `by_hand` says that ECS had not given mine up.
fn displaced(rollout: &Rollout, service: &ServiceView, revision: &TaskDefinitionArn, by_hand: bool) -> Progress {
    match service.primary() {
        Some(primary) if &primary.task_definition == revision => Progress::Adopted(primary.id.clone()),
        Some(primary) if primary.task_definition == rollout.rollback_target.revision && !by_hand => {
            Progress::Failed(format!(
                "the service was put back to {} before the rollout was complete{}",
                primary.task_definition.short(),
                last_events(service, rollout)
            ))
        }
        Some(primary)
            if primary.task_definition == rollout.rollback_target.revision
                || is_older(&primary.task_definition, revision) =>
        {
            Progress::TakenBack(format!(
                "somebody set the service back to {} (deployment {})",
                primary.task_definition.short(),
                primary.id
            ))
        }
        Some(primary) => Progress::Superseded(format!(
            "another deployer set the service to {} (deployment {})",
            primary.task_definition.short(),
            primary.id
        )),
        None => Progress::Gone("the service has no PRIMARY deployment".to_owned()),
    }
}

/// Whether a revision of the same family was registered before another one. Somebody who sets a service to an older revision sets it back
/// (decision 26).
fn is_older(this: &TaskDefinitionArn, other: &TaskDefinitionArn) -> bool {
    this.family() == other.family() && this.revision() < other.revision()
}

/// What has to be done for a rollout of which only the intention is certain: after a restart, after an answer that was lost, after waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// The revision is not there: register it.
    Register,
    /// The revision is there: update the service to it.
    Update(TaskDefinitionArn),
    /// The service runs it: watch this deployment.
    Watch(TaskDefinitionArn, DeploymentId),
    /// The service runs something else by now: decide anew.
    Replan(String),
    /// ECS tried the revision and gave it up.
    Failed(TaskDefinitionArn, String),
    /// The service is gone.
    Gone(String),
}

/// Decides it. `registered` is the revision that was found to be the intended one; `given_up` says that ECS rolled it once and runs
/// another one by now.
#[must_use]
pub fn resume(
    rollout: &Rollout,
    service: Option<&ServiceView>,
    registered: Option<&TaskDefinitionArn>,
    given_up: bool,
) -> Resume {
    let Some(service) = service.filter(|service| service.active) else {
        return Resume::Gone("the service was deleted or is being drained".to_owned());
    };
    let intended = registered.or_else(|| rollout.phase.revision());
    let primary = service.primary();
    if let (Some(revision), Some(primary)) = (intended, primary)
        && &primary.task_definition == revision
    {
        return Resume::Watch(revision.clone(), primary.id.clone());
    }
    if let Some(revision) = intended
        && let Some(given_up) = service.deployments.iter().find(|deployment| {
            &deployment.task_definition == revision && deployment.state == Some(RolloutState::Failed)
        })
    {
        return Resume::Failed(revision.clone(), failure(given_up, service, rollout));
    }
    if let (Some(revision), true) = (intended, given_up) {
        let now = service.task_definition.short();
        return Resume::Failed(
            revision.clone(),
            format!("it was rolled out and undone before ECS was asked again: {now} runs"),
        );
    }
    match (rollout.may_follow(&service.task_definition), intended) {
        (true, Some(revision)) => Resume::Update(revision.clone()),
        (true, None) => Resume::Register,
        (false, _) => Resume::Replan(format!(
            "the service runs {} and no longer {}, as it did when this was decided",
            service.task_definition.short(),
            rollout.replaces.short()
        )),
    }
}

/// How long ECS may still take to go back by itself, where it is about to: it has given up the deployment that a rollback is from, and the
/// service is set to have it undone. To update the service in that gap would override what ECS is doing.
#[must_use]
pub fn time_for_own_rollback(rollout: &Rollout, service: Option<&ServiceView>, now: Timestamp) -> Option<Duration> {
    let service = service.filter(|service| service.active && service.rolls_back && !rollout.is_forward())?;
    let given_up = service.primary().filter(|primary| primary.state == Some(RolloutState::Failed))?;
    // A clock that was set back meanwhile makes nobody wait.
    let since = now.duration_since(rollout.decided_at);
    let waits = given_up.task_definition == rollout.replaces && !since.is_negative() && since < OWN_ROLLBACK;
    waits.then(|| Duration::try_from(OWN_ROLLBACK - since).unwrap_or_default())
}

/// Whether an update was made before its answer was lost, and undone since: by the circuit breaker or by an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It was not made.
    No,
    /// It was made, and the service runs something else by now.
    Yes,
    /// It was made just now: ECS is eventually consistent, and DescribeServices does not show it yet.
    NotVisibleYet,
}

/// Judges it by the deployments of the service, newest first.
#[must_use]
pub fn was_tried(rollout: &Rollout, deployed: &[(TaskDefinitionArn, Fate)]) -> Tried {
    match deployed.iter().position(|(other, _)| Some(other) == rollout.phase.revision()) {
        None => Tried::No,
        Some(0) if deployed[0].1 != Fate::GivenUp => Tried::NotVisibleYet,
        Some(_) => Tried::Yes,
    }
}

/// AWS refuses requests that are signed by a clock that differs by more than this.
const LARGEST_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// A time before a decision by any clock: this machine's may be ahead of that of ECS, which tells when its deployments were created.
#[must_use]
pub fn long_before(decided_at: Timestamp) -> Timestamp {
    decided_at.checked_sub(LARGEST_SKEW).unwrap_or(decided_at)
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;
