//! How far an unfinished rollout got, by what ECS says.

use std::time::Duration;

use super::effect::{Read, RolloutId};
use super::event::{ResumedAt, ServiceEvent};
use super::observation::Inspected;
use super::service::{Call, Handler};
use super::workflow::{Inspection, Turn, Workflow};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::rollout::{self, Resume, Tried};
use crate::domain::state::{OutcomeKind, Phase, Rollout};
use crate::domain::types::TaskDefinitionArn;
use crate::domain::view::{Fate, RevisionWrite, ServiceView};

impl Handler<'_> {
    /// Asks ECS how far the rollout got, if that is to be done.
    pub(super) fn inspect(&mut self) {
        let Some(rollout) = self.service.workflow.rollout() else { return };
        let Workflow::Verifying { inspection, .. } = &mut self.service.workflow else { return };
        if matches!(inspection, Inspection::UnderWay(_)) {
            return;
        }
        *inspection = Inspection::UnderWay(self.now.moment);
        let id = RolloutId { service: self.key.clone(), decided_at: rollout.decided_at };
        self.ask(Read::Inspect { id, rollout: Box::new(rollout) });
    }

    /// The answer of ECS.
    pub(super) fn inspected(&mut self, id: &RolloutId, answer: Result<Inspected, AwsError>) {
        if !self.is_of_rollout(id) {
            return;
        }
        let Workflow::Verifying { inspection, .. } = &mut self.service.workflow else { return };
        let asked_at = match std::mem::replace(inspection, Inspection::Due) {
            Inspection::UnderWay(asked_at) => asked_at,
            Inspection::Due | Inspection::Again(_) => self.now.moment,
        };
        let found = answer.and_then(|found| {
            let tried = self.was_tried(found.deployments.as_ref())?;
            Ok((found, tried))
        });
        match found {
            Ok((found, _)) if self.doubts_absence(Call::Inspect, found.missing) => {}
            Ok((found, tried)) => {
                self.succeeded(Call::Inspect);
                self.verified(found, tried, Turn::Waiting { verified_at: asked_at });
            }
            Err(error) => self.failed(Call::Inspect, &error),
        }
    }

    /// Whether ECS rolled the revision before, and runs another one by now. The answer costs a permission of its own: without it the update
    /// is made (again), and what ECS gave up once it gives up twice.
    fn was_tried(
        &mut self,
        deployments: Option<&Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>>,
    ) -> Result<bool, AwsError> {
        let Some(rollout) = self.service.workflow.rollout() else { return Ok(false) };
        let deployed = match deployments {
            None => return Ok(false),
            Some(Ok(deployed)) => deployed,
            Some(Err(error)) if matches!(error.fault, Fault::Denied | Fault::Refused) => {
                let what = "whether the service was updated before";
                self.emit(ServiceEvent::Unexplained { what, error: error.clone() });
                return Ok(false);
            }
            Some(Err(error)) => return Err(error.clone()),
        };
        match rollout::was_tried(&rollout, deployed) {
            Tried::No => Ok(false),
            Tried::Yes => Ok(true),
            Tried::NotVisibleYet => {
                let message = "the answer is older than the service's latest deployment";
                Err(AwsError::unusable("ecs", "DescribeServices", message))
            }
        }
    }

    fn verified(&mut self, found: Inspected, tried: bool, turn: Turn) {
        let Some(rollout) = self.service.workflow.rollout() else { return };
        let resume = rollout::resume(&rollout, found.service.as_ref(), found.registered.as_ref(), tried);
        self.saw_management(found.service.as_ref());
        if matches!(resume, Resume::Register | Resume::Update(_))
            && let Some(time) = self.time_for_ecs(&rollout, found.service.as_ref())
        {
            return self.inspect_again_within(time);
        }
        self.emit(ServiceEvent::Resumed(found_of(&resume)));
        let gone = || format!("the revision {} is gone", rollout.base.short());
        match resume {
            Resume::Register | Resume::Update(_) if rollout.is_forward() && !self.rules.has(self.key) => {
                self.leave_configuration();
            }
            Resume::Register => match found.registration {
                Some(registration) => self.register_next(registration, turn),
                None if rollout.is_forward() => self.replan(gone()),
                None => drop(self.end(OutcomeKind::Failed, gone())),
            },
            Resume::Update(revision) => {
                if rollout.is_forward() && rollout.phase == Phase::Intended {
                    self.out.registrations.add(&self.key.aws, &rollout, revision.clone());
                    self.registered_before(revision, turn);
                } else {
                    self.update_next(revision, turn);
                }
            }
            Resume::Watch(revision, deployment) => self.rolling(revision, deployment),
            Resume::Replan(why) => self.replan(why),
            Resume::Failed(revision, why) => {
                self.update_next(revision, turn);
                self.rollout_failed(OutcomeKind::Failed, &why);
            }
            Resume::Gone(why) => drop(self.end(OutcomeKind::Failed, why)),
        }
    }

    /// How long ECS may still take to begin its own rollback, where it was asked to or is about to. An update in that time would override
    /// what ECS does.
    fn time_for_ecs(&self, rollout: &Rollout, service: Option<&ServiceView>) -> Option<Duration> {
        let asked_to =
            self.service.ecs_goes_back_until.filter(|until| !rollout.is_forward() && self.now.moment < *until);
        let asked_to = asked_to.map(|until| until.since(self.now.moment));
        asked_to.or_else(|| rollout::time_for_own_rollback(rollout, service, self.now.time))
    }

    /// Whether ECS has begun its own rollback is asked again after the observe interval, and at the end of this time at the latest.
    fn inspect_again_within(&mut self, time: Duration) {
        let at = self.now.moment.plus(self.rules.settings(self.key).observe_interval.min(time));
        if let Workflow::Verifying { inspection, .. } = &mut self.service.workflow {
            *inspection = Inspection::Again(at);
        }
    }

    fn register_next(&mut self, registration: crate::domain::task_definition::Registration, turn: Turn) {
        let Some(intent) = self.service.workflow.intent().cloned() else { return };
        match self.out.registrations.get(&self.key.aws, &intent).cloned() {
            Some(revision) => self.registered_before(revision, turn),
            None => self.enter(Workflow::Registering {
                intent: Box::new(intent),
                registration: Box::new(registration),
                turn,
            }),
        }
    }

    /// Uses the revision that the service waits to register, if it is there by now. What was verified is as old as it was.
    pub(super) fn share_registration(&mut self) {
        let Workflow::Registering { intent, turn: turn @ Turn::Waiting { .. }, .. } = &self.service.workflow else {
            return;
        };
        let Some(revision) = self.out.registrations.get(&self.key.aws, intent.as_ref()).cloned() else { return };
        let (intent, turn) = (intent.clone(), *turn);
        self.revision_is_there(intent, revision, turn);
    }

    /// The revision is there, and nothing was done with it yet.
    fn registered_before(&mut self, revision: TaskDefinitionArn, turn: Turn) {
        if let Some(intent) = self.service.workflow.intent().cloned() {
            self.revision_is_there(Box::new(intent), revision, turn);
        }
    }

    /// The service is to be set to the revision.
    fn update_next(&mut self, revision: TaskDefinitionArn, turn: Turn) {
        let Some(intent) = self.service.workflow.intent().cloned() else { return };
        let by = RevisionWrite::UpdateService;
        self.enter(Workflow::Updating { intent: Box::new(intent), revision, by, turn });
    }
}

fn found_of(resume: &Resume) -> ResumedAt {
    match resume {
        Resume::Register => ResumedAt::NotRegistered,
        Resume::Update(_) => ResumedAt::NotUpdated,
        Resume::Watch(..) => ResumedAt::Updated,
        Resume::Replan(_) => ResumedAt::Overtaken,
        Resume::Failed(..) => ResumedAt::GivenUp,
        Resume::Gone(_) => ResumedAt::ServiceGone,
    }
}
