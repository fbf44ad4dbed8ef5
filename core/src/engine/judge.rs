//! How a rollout that ECS rolls goes on, and how it ends.

use std::time::Duration;

use jiff::Timestamp;

use super::effect::Read;
use super::event::ServiceEvent;
use super::now::Moment;
use super::observation::Seen;
use super::service::{Call, Handler};
use super::workflow::{Ending, Watch, Workflow};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::deployment::{Milestones, ServiceDeploymentView, waits_on_purpose};
use crate::domain::rollout::{self, Elapsed, Progress};
use crate::domain::state::OutcomeKind;
use crate::domain::types::{DeploymentId, TaskDefinitionArn};
use crate::domain::view::{Fate, ServiceView, Strategy};

/// At most this many different reasons of stopped tasks are quoted.
const REASONS: usize = 3;
/// The detail of a deployment that shifts traffic and that ECS does not end.
const OVERDUE: &str = "all its tasks run, but ECS has not ended it in time";

impl Handler<'_> {
    /// The answer to a watch. One about a deployment that was superseded meanwhile says nothing about its successor.
    pub(super) fn watched(
        &mut self,
        deployment: &DeploymentId,
        answer: Result<Option<Seen>, AwsError>,
        asked_at: Moment,
    ) {
        match answer {
            Err(error) => self.failed(Call::Watch, &error),
            Ok(seen) if self.doubts_absence(Call::Watch, seen.is_none()) => {}
            Ok(seen) => {
                self.succeeded(Call::Watch);
                let seen = seen.and_then(Result::ok);
                match self.rolls(deployment) {
                    true => self.judge_or_ask(seen, deployment, asked_at),
                    false => self.prove(deployment, seen.as_ref(), asked_at),
                }
            }
        }
    }

    /// Judges the rollout under way; where ECS tells more of its stages, once that is known. That is asked about once at a time: the answer
    /// may wait for its place in ECS's rate limit for longer than it takes to the next look.
    fn judge_or_ask(&mut self, service: Option<ServiceView>, deployment: &DeploymentId, asked_at: Moment) {
        // Once ECS has completed it there are no stages any more.
        let stages = self.stages_to_ask(service.as_ref()).filter(|_| !self.is_monitored());
        match (stages, service) {
            (Some(arn), Some(seen)) => {
                let Workflow::Rolling { watch, .. } = &mut self.service.workflow else { return };
                if watch.stages_asked_at.is_some() {
                    return;
                }
                watch.stages_asked_at = Some(asked_at);
                let (service, deployment, seen) = (self.key.clone(), deployment.clone(), Box::new(seen));
                self.ask(Read::Stages { service, deployment, arn, seen, asked_at });
            }
            (_, service) => self.judge(service.as_ref(), asked_at),
        }
    }

    /// Judges the rollout under way by its own deployment, as it was when ECS was asked: the answer may have waited since.
    pub(super) fn judge(&mut self, service: Option<&ServiceView>, asked_at: Moment) {
        let Some(rollout) = self.service.workflow.rollout() else { return };
        let timeout = self.rules.settings(self.key).timeout;
        let Workflow::Rolling { watch, revision, deployment, since, .. } = &mut self.service.workflow else { return };
        let until_now = Duration::try_from(self.now.time.duration_since(*since)).unwrap_or_default();
        let rolling_for = until_now.saturating_sub(self.now.moment.since(asked_at));
        watch.note_progress(service, deployment, asked_at, self.now.time);
        let without_progress = watch.before.min(timeout / 2) + asked_at.since(watch.progressed);
        // What ECS has completed cannot be late any more.
        let rolling = if watch.monitoring.is_some() { Duration::ZERO } else { without_progress };
        let elapsed = Elapsed { rolling, watched: asked_at.since(watch.from) };
        let revision = revision.clone();
        self.keep_progress();
        let Some(progress) = rollout::progress(&rollout, service, elapsed, timeout) else { return };
        let Workflow::Rolling { watch, .. } = &mut self.service.workflow else { return };
        match progress {
            Progress::InProgress(counts) | Progress::Completed(counts) if watch.monitoring.is_some() => {
                watch.counts = Some(counts);
                self.monitor(service, asked_at);
            }
            Progress::InProgress(counts) => {
                watch.counts = Some(counts);
                let (back, elapsed) = (!rollout.is_forward(), rolling_for);
                self.emit(ServiceEvent::RolloutProgressed { back, counts, elapsed });
            }
            Progress::Completed(counts) => {
                watch.counts = Some(counts);
                match service {
                    // Until the end of its bake time ECS may go back by itself.
                    Some(ServiceView { strategy: Strategy::Shifting(_), bake, .. }) => {
                        self.confirm(elapsed.rolling >= timeout.saturating_add(*bake));
                    }
                    Some(ServiceView { strategy: Strategy::Rolling, .. }) | None => {
                        self.completed_by_ecs(asked_at);
                        self.monitor(service, asked_at);
                    }
                }
            }
            Progress::Adopted(deployment) => {
                self.emit(ServiceEvent::DeploymentAdopted(deployment.clone()));
                // It has just begun: it has its own time to get stable.
                self.rolling(revision, deployment);
            }
            Progress::Superseded(why) => self.replaced_externally(why),
            Progress::TakenBack(why) => self.taken_back(why),
            Progress::Gone(why) => drop(self.end(OutcomeKind::Failed, why)),
            Progress::Failed(why) => {
                let told = watch.seen.as_ref().and_then(ServiceDeploymentView::why_it_failed);
                let told = told.filter(|told| !why.contains(told.as_str())).map(|told| format!("; {told}"));
                self.diagnose(OutcomeKind::Failed, format!("{why}{}", told.unwrap_or_default()));
            }
            Progress::TimedOut(why) => self.diagnose(OutcomeKind::TimedOut, why),
        }
    }

    /// Keeps the time of the last progress on record, so that a restart does not make the rollout late.
    pub(super) fn keep_progress(&mut self) {
        let rollout = self.service.workflow.rollout();
        if self.record().is_some_and(|record| record.rollout != rollout) {
            self.record_mut().rollout = rollout;
        }
    }

    /// Asks whether ECS has let go of what the rollout replaces (Amazon ECS Developer Guide, "Amazon ECS blue/green deployments").
    fn confirm(&mut self, overdue: bool) {
        let Some(decided_at) = self.service.workflow.intent().map(|intent| intent.decided_at) else { return };
        let Some((watch, deployment)) = self.watch_mut() else { return };
        let baking = match watch.ending {
            Ending::Confirming { .. } | Ending::Diagnosing { .. } => return,
            Ending::NotYet => false,
            Ending::Baking => true,
        };
        watch.ending = Ending::Confirming { baking, overdue };
        let (service, since) = (self.key.clone(), rollout::long_before(decided_at));
        self.ask(Read::Deployments { service, deployment, since });
    }

    /// Asks why the tasks of a rollout stopped that has failed.
    pub(super) fn diagnose(&mut self, kind: OutcomeKind, why: String) {
        let Some((watch, deployment)) = self.watch_mut() else { return };
        if matches!(watch.ending, Ending::Diagnosing { .. }) {
            return;
        }
        watch.ending = Ending::Diagnosing { kind, why };
        let service = self.key.clone();
        self.ask(Read::StoppedTasks { service, deployment });
    }

    /// Why the tasks of a rollout stopped that has failed.
    pub(super) fn diagnosed(&mut self, deployment: &DeploymentId, answer: Result<Vec<String>, AwsError>) {
        if !self.rolls(deployment) {
            return;
        }
        let Some((Watch { ending: Ending::Diagnosing { kind, why }, .. }, _)) = self.watch_mut() else { return };
        let (kind, why) = (*kind, why.clone());
        let reasons = match answer {
            Ok(reasons) => in_short(reasons),
            Err(error) => {
                self.emit(ServiceEvent::Unexplained { what: "why the tasks stopped", error });
                String::new()
            }
        };
        self.rollout_failed(kind, &format!("{why}{reasons}"));
    }

    /// How the deployments of the service fared, asked because all tasks of the rollout run.
    pub(super) fn confirmed(
        &mut self,
        deployment: &DeploymentId,
        answer: Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>,
    ) {
        if !self.rolls(deployment) {
            return;
        }
        let Workflow::Rolling { revision, watch, .. } = &mut self.service.workflow else { return };
        let Ending::Confirming { baking, overdue } = watch.ending else { return };
        match answer {
            Ok(deployed) => match deployed.iter().find(|(other, _)| other == revision).map(|(_, fate)| fate) {
                None | Some(Fate::Successful) => self.completed_by_ecs(self.now.moment),
                Some(Fate::UnderWay | Fate::GivenUp) if overdue => {
                    self.rollout_failed(OutcomeKind::TimedOut, OVERDUE);
                }
                // What it was given up for shows in the next answer about the service.
                Some(Fate::UnderWay | Fate::GivenUp) => watch.ending = Ending::Baking,
            },
            // Without the permission to ask, what DescribeServices says has to do.
            Err(error) if matches!(error.fault, Fault::Denied | Fault::Refused | Fault::NotFound) => {
                self.emit(ServiceEvent::Unexplained { what: "whether the deployment still bakes", error });
                self.completed_by_ecs(self.now.moment);
            }
            // An error is no answer (decision 21): it is asked again with the next look at the service.
            Err(_) => watch.ending = if baking { Ending::Baking } else { Ending::NotYet },
        }
    }

    /// Whether ECS rolls this deployment for the rollout under way.
    pub(super) fn rolls(&self, asked: &DeploymentId) -> bool {
        matches!(&self.service.workflow, Workflow::Rolling { deployment, .. } if deployment == asked)
    }

    pub(super) fn watch_mut(&mut self) -> Option<(&mut Watch, DeploymentId)> {
        match &mut self.service.workflow {
            Workflow::Rolling { watch, deployment, .. } => Some((watch, deployment.clone())),
            Workflow::Idle
            | Workflow::Verifying { .. }
            | Workflow::Registering { .. }
            | Workflow::Updating { .. }
            | Workflow::Tasking { .. } => None,
        }
    }
}

impl Watch {
    /// Notes what the deployment has reached. The deadline for progress begins anew with each step forward, and does not run while ECS waits on
    /// purpose.
    fn note_progress(&mut self, service: Option<&ServiceView>, id: &DeploymentId, asked_at: Moment, now: Timestamp) {
        let Some((service, mine)) = service.and_then(|service| Some((service, service.deployment(id)?))) else {
            return;
        };
        self.hooked = !service.lifecycle.hooks.is_empty();
        // After a start the first look shows what was reached before, not what is new.
        let is_first = self.reached == Milestones::default() && !self.before.is_zero();
        let moved = self.reached.reach(mine, service, self.seen.as_ref()) && !is_first;
        if moved || waits_on_purpose(id, service, self.seen.as_ref()) {
            self.progressed = self.progressed.max(asked_at);
            self.progressed_at = Some(now);
            self.before = Duration::ZERO;
        }
    }
}

fn in_short(mut reasons: Vec<String>) -> String {
    reasons.sort();
    reasons.dedup();
    reasons.truncate(REASONS);
    if reasons.is_empty() { String::new() } else { format!("; stopped tasks: {}", reasons.join("; ")) }
}
