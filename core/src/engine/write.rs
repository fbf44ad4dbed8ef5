//! The answers to the two writes: a revision registered, a service updated.

use super::effect::RolloutId;
use super::event::ServiceEvent;
use super::observation::Seen;
use super::service::{Call, Handler};
use super::workflow::{Inspection, Recorded, Turn, Workflow};
use crate::domain::aws_error::{AwsError, Cause, Fault};
use crate::domain::schedule::Operations;
use crate::domain::state::OutcomeKind;
use crate::domain::types::TaskDefinitionArn;
use crate::domain::view::DeploymentView;

/// Refusals of one rollout that are taken for passing ones.
const REFUSALS_THAT_MAY_PASS: u32 = 3;

/// The services by which schedules are written.
const WRITTEN_BY: [&str; 2] = ["scheduler", "events"];

impl Handler<'_> {
    /// The revision was registered, or not.
    pub(super) fn registered(&mut self, id: &RolloutId, answer: &Result<TaskDefinitionArn, AwsError>) {
        if !self.is_of_rollout(id) {
            return;
        }
        let (intent, turn) = match &self.service.workflow {
            Workflow::Registering { intent, turn, .. } => (intent.clone(), *turn),
            Workflow::Tasking { .. } => return self.task_registered(answer),
            Workflow::Idle | Workflow::Verifying { .. } | Workflow::Updating { .. } | Workflow::Rolling { .. } => {
                return;
            }
        };
        match answer {
            Ok(revision) => {
                self.succeeded(Call::Write);
                self.emit(ServiceEvent::RevisionRegistered(revision.clone()));
                self.out.registrations.add(&self.key.aws, intent.as_ref(), revision.clone());
                let turn = turn.next(self.now.moment);
                self.revision_is_there(intent, revision.clone(), turn);
            }
            Err(error) => self.write_failed(error),
        }
    }

    /// The service was updated, or not.
    pub(super) fn updated(
        &mut self,
        id: &RolloutId,
        revision: TaskDefinitionArn,
        answer: Result<DeploymentView, AwsError>,
    ) {
        if !self.is_of_rollout(id) || !matches!(self.service.workflow, Workflow::Updating { .. }) {
            return;
        }
        match answer {
            Ok(primary) if primary.task_definition == revision => {
                self.succeeded(Call::Write);
                self.emit(ServiceEvent::ServiceUpdated { revision: revision.clone(), deployment: primary.id.clone() });
                self.rolling(revision, primary.id);
                if self.key.schedule().is_some() {
                    // Nothing rolls: the next task runs what is written.
                    self.completed();
                }
            }
            // Somebody else was quicker, or the answer is an old one: what goes on is looked at, after a pause.
            Ok(primary) => {
                let now = primary.task_definition.short();
                let error = match self.key.schedule().map(|name| name.operations()) {
                    Some(Operations { api, write, .. }) => AwsError::unusable(api, write, format!("it names {now}")),
                    None => AwsError::unusable("ecs", "UpdateService", format!("its PRIMARY deployment rolls {now}")),
                };
                self.write_failed(&error);
            }
            Err(error) if error.fault == Fault::Refused && self.update_otherwise() => {}
            Err(error) => self.write_failed(&error),
        }
    }

    /// Tries the other operation that the service has for its revision, if it has one. Whether it does.
    fn update_otherwise(&mut self) -> bool {
        let management = self.service.management.clone();
        let now = self.now.moment;
        let Workflow::Updating { by, turn, .. } = &mut self.service.workflow else { return false };
        let next = management.and_then(|management| management.after_refusal_of(by));
        next.map(|next| (*by, *turn) = (next, turn.next(now))).is_some()
    }

    /// A service that waited for its update was looked at once more.
    pub(super) fn rechecked(&mut self, id: &RolloutId, answer: Result<Option<Seen>, AwsError>) {
        if !self.is_of_rollout(id) {
            return;
        }
        let now = self.now.moment;
        let Workflow::Updating { intent, turn: turn @ Turn::Rechecking, .. } = &mut self.service.workflow else {
            return;
        };
        match answer {
            Ok(Some(Ok(service))) if service.active && intent.may_follow(&service.task_definition) => {
                *turn = Turn::Waiting { verified_at: now };
            }
            Ok(_) => self.doubt(),
            Err(error) => {
                self.doubt();
                self.failed(Call::Inspect, &error);
            }
        }
    }

    /// How far the rollout got has to be asked before anything is done.
    pub(super) fn doubt(&mut self) {
        let (intent, recorded) = match &self.service.workflow {
            Workflow::Registering { intent, .. } => (intent.clone(), Recorded::Intended),
            Workflow::Updating { intent, revision, .. } => (intent.clone(), Recorded::Registered(revision.clone())),
            Workflow::Idle | Workflow::Verifying { .. } | Workflow::Tasking { .. } | Workflow::Rolling { .. } => return,
        };
        // The record says the same as before.
        self.service.workflow = Workflow::Verifying { intent, recorded, inspection: Inspection::Due };
    }

    /// Whether a refusal counts as a passing one still.
    fn may_pass(&self, error: &AwsError) -> bool {
        error.may_pass() && self.service.refusals < REFUSALS_THAT_MAY_PASS
    }

    /// A write failed: for good, for now, or perhaps not at all. Whatever is tried again is looked at first.
    fn write_failed(&mut self, error: &AwsError) {
        if let (Cause::LostRevision, Workflow::Updating { revision, .. }) = (error.cause, &self.service.workflow) {
            // Somebody has deregistered it: the next rollout that wants the same images registers another one.
            self.out.registrations.forget(revision);
        }
        self.doubt();
        match error.fault {
            Fault::Refused if self.may_pass(error) => {
                self.service.refusals += 1;
                let passing = AwsError { fault: Fault::Unavailable, ..error.clone() };
                self.failed(Call::Write, &passing);
            }
            // EventBridge may take it when an operator has changed something: it is tried again as after a denial.
            Fault::Refused | Fault::NotFound if WRITTEN_BY.contains(&error.api) => self.failed(Call::Write, error),
            Fault::Refused => self.abandon(OutcomeKind::Refused, error.to_string()),
            Fault::NotFound => self.abandon(OutcomeKind::Failed, error.to_string()),
            Fault::Denied | Fault::Credentials => {
                self.failed(Call::Write, error);
                // It may take long: what ECS rolls meanwhile is watched meanwhile.
                if let Some(rollout) = self.service.workflow.rollout().filter(|rollout| rollout.supersedes.is_some()) {
                    self.pend_again(&rollout);
                    self.restore(rollout.supersedes);
                }
            }
            Fault::Throttled | Fault::Unavailable => self.failed(Call::Write, error),
        }
    }
}
