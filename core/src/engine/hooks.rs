//! Where ECS itself waits: the stages of its deployments, their hooks, and what operators do about these.

use std::time::Duration;

use super::effect::RolloutId;
use super::event::ServiceEvent;
use super::now::Moment;
use super::service::{Call, Command, Handler};
use super::workflow::Workflow;
use crate::domain::aws_error::AwsError;
use crate::domain::deployment::{HookAction, HookTarget, ServiceDeploymentView};
use crate::domain::operator_command::Refused;
use crate::domain::state::{DigestHold, OperatorCommand, OutcomeKind};
use crate::domain::types::DeploymentId;
use crate::domain::view::{Fate, ServiceView};
use crate::domain::waiting::{Gate, Hook, Waiting};

/// ECS is eventually consistent: for so long it may say that it waits at a hook at which it goes on.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
/// ECS begins to go back by itself within this time after it was told to.
const ECS_GOES_BACK_WITHIN: Duration = Duration::from_secs(60);

/// What an operator has answered to a hook.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HookAnswer {
    pub(super) action: HookAction,
    pub(super) hook: Hook,
    pub(super) command: Command,
    pub(super) call: HookCall,
}

/// The call that gives the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HookCall {
    /// It waits for the disk.
    Due,
    /// It is under way.
    UnderWay,
}

impl Handler<'_> {
    /// The service was seen. Where ECS tells more of its deployment, that is asked before the rollout is judged; the ARN to ask about.
    pub(super) fn stages_to_ask(&self, service: Option<&ServiceView>) -> Option<String> {
        let service = service.filter(|service| service.active && service.has_stages())?;
        let allowed = self.service.calls.stages.is_over(self.now.moment);
        service.lifecycle.service_deployment.clone().filter(|_| allowed)
    }

    /// What DescribeServiceDeployments says of the rollout. Without the permission to ask, DescribeServices has to do.
    pub(super) fn staged(
        &mut self,
        deployment: &DeploymentId,
        answer: Result<Option<ServiceDeploymentView>, AwsError>,
        service: &ServiceView,
        asked_at: Moment,
    ) {
        if !self.rolls(deployment) {
            return;
        }
        if let Workflow::Rolling { watch, .. } = &mut self.service.workflow {
            watch.stages_asked_at.take_if(|at| *at == asked_at);
        }
        match answer {
            Ok(seen) => {
                self.succeeded(Call::Stages);
                if let Workflow::Rolling { watch, .. } = &mut self.service.workflow {
                    watch.seen = seen;
                }
                self.note_waiting();
            }
            Err(error) => self.failed(Call::Stages, &error),
        }
        self.judge(Some(service), asked_at);
    }

    /// What waits at a hook of ECS is shown and reported once.
    fn note_waiting(&mut self) {
        let waiting = self.waiting_at_hook();
        let known = self.record().and_then(|record| record.waiting.as_ref());
        match (waiting, known) {
            (Some(waiting), Some(known)) if known.is_same(&waiting) => {}
            (Some(waiting), _) => {
                self.record_mut().waiting = Some(waiting.clone());
                self.emit(ServiceEvent::Waits(waiting));
            }
            (None, Some(known)) => {
                let gate = known.gate;
                self.record_mut().waiting = None;
                self.emit(ServiceEvent::WaitsNoLonger(gate));
            }
            (None, None) => {}
        }
    }

    /// Nothing waits any more, as the rollout is over.
    pub(super) fn end_waiting(&mut self) {
        if let Some(waiting) = self.record().and_then(|record| record.waiting.clone()) {
            self.record_mut().waiting = None;
            self.emit(ServiceEvent::WaitsNoLonger(waiting.gate));
        }
        if let Some(answer) = self.service.hook_answer.take() {
            self.answer(answer.command, Err(Refused("the rollout has ended".to_owned())));
        }
    }

    fn waiting_at_hook(&self) -> Option<Waiting> {
        let Workflow::Rolling { intent, watch, .. } = &self.service.workflow else { return None };
        let seen = watch.seen.as_ref()?;
        let hook = seen.waits_at()?;
        let named = Hook { id: hook.id.clone(), target: hook.target, service_deployment: seen.arn.clone() };
        let just_continued = watch
            .continued
            .as_ref()
            .is_some_and(|(continued, at)| *continued == named && self.now.moment.since(*at) < SETTLES_WITHIN);
        if just_continued {
            return None;
        }
        // A rollback brings what ran before, as far as that is known.
        let brings = if intent.is_forward() { &intent.targets } else { &intent.rollback_target.targets };
        let (repository, target) = brings.iter().chain(&intent.targets).next()?;
        let (name, stage) = (self.rules.named(self.key).name, seen.stage.clone().unwrap_or_default());
        let reason = match (hook.target, intent.is_forward()) {
            (HookTarget::Pause, true) => format!(
                "ECS pauses at {stage}; continue with: ecs-deployd approve {name}, or roll back with: ecs-deployd reject {name}"
            ),
            (HookTarget::Pause, false) => format!(
                "ECS pauses at {stage} in the rollback to {}; continue with: ecs-deployd approve {name}",
                intent.rollback_target.revision.short()
            ),
            (HookTarget::Lambda, _) => {
                format!("ECS waits at {stage} for the Lambda function of its lifecycle hook")
            }
        };
        let otherwise = hook.without_an_answer().map(|then| format!("; {then}")).unwrap_or_default();
        let reason = reason + &otherwise;
        Some(Waiting {
            gate: Gate::Pause,
            since: self.now.time,
            repository: repository.name.clone(),
            tag: target.push.tag.clone(),
            digest: target.digest.clone(),
            reason,
            until: hook.expires_at,
            stage: seen.stage.clone(),
            hook: Some(named),
            reported: false,
        })
    }

    /// An operator approves or rejects what waits.
    pub(super) fn answer_waiting(&mut self, command: Command) {
        match self.hook_to_answer(&command) {
            Err(refused) => self.answer(command, Err(refused)),
            Ok(hook) => {
                let action = match &command.request {
                    OperatorCommand::Reject { .. } => HookAction::Rollback,
                    OperatorCommand::Approve { .. }
                    | OperatorCommand::Deploy
                    | OperatorCommand::DeployNow
                    | OperatorCommand::Hold { .. }
                    | OperatorCommand::Release
                    | OperatorCommand::Rollback { .. } => HookAction::Continue,
                };
                self.out.durability.changed();
                self.service.hook_answer = Some(HookAnswer { action, hook, command, call: HookCall::Due });
            }
        }
    }

    fn hook_to_answer(&self, command: &Command) -> Result<Hook, Refused> {
        let name = &self.rules.named(self.key).name;
        let waiting = self.record().and_then(|record| record.waiting.clone());
        let Some(waiting) = waiting else { return Err(Refused(format!("nothing of {name} waits for an approval"))) };
        if let OperatorCommand::Approve { image: Some(image) } = &command.request
            && !waiting.is_called(image)
        {
            let tag = waiting.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            return Err(Refused(format!("another image waits: {}{tag} ({})", waiting.repository, waiting.digest)));
        }
        let goes_back = self.service.workflow.intent().is_some_and(|intent| !intent.is_forward());
        if goes_back && matches!(command.request, OperatorCommand::Reject { .. }) {
            return Err(Refused("a rollback waits there, which only an approval continues".to_owned()));
        }
        match waiting.hook {
            Some(hook) if self.service.hook_answer.is_none() => match hook.target {
                HookTarget::Pause => Ok(hook),
                HookTarget::Lambda => {
                    Err(Refused("ECS waits for a Lambda function, which alone can answer its hook".to_owned()))
                }
            },
            Some(_) => Err(Refused("an answer is being given; try again in a moment".to_owned())),
            None => Err(Refused("it does not wait for an approval".to_owned())),
        }
    }

    /// ECS took the answer to its hook, or did not.
    pub(super) fn hook_answered(&mut self, id: &RolloutId, answer: Result<(), AwsError>) {
        let Some(HookAnswer { action, hook, command, .. }) = self.service.hook_answer.take() else { return };
        if !self.is_of_rollout(id) {
            return self.answer(command, Err(Refused("the rollout has ended".to_owned())));
        }
        if let Err(error) = answer {
            let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
            return self.answer(command, Err(Refused(format!("{error}{remedy}"))));
        }
        match action {
            HookAction::Continue => {
                self.end_waiting();
                if let Workflow::Rolling { watch, .. } = &mut self.service.workflow {
                    watch.seen = None;
                    watch.continued = Some((hook, self.now.moment));
                }
                self.answer(command, Ok("approved; ECS goes on with the deployment".to_owned()));
            }
            HookAction::Rollback => {
                let reason = match &command.request {
                    OperatorCommand::Reject { reason: Some(reason) } => format!("rejected by {}: {reason}", command.by),
                    OperatorCommand::Reject { reason: None }
                    | OperatorCommand::Approve { .. }
                    | OperatorCommand::Deploy
                    | OperatorCommand::DeployNow
                    | OperatorCommand::Hold { .. }
                    | OperatorCommand::Release
                    | OperatorCommand::Rollback { .. } => format!("rejected by {}", command.by),
                };
                self.rejected(&reason);
                self.answer(command, Ok(format!("{reason}; ECS rolls the deployment back")));
            }
        }
    }

    /// The rollout was rejected: it has failed, its digests are held as rejected, and ECS goes back.
    fn rejected(&mut self, reason: &str) {
        let targets = self.service.workflow.intent().map(|intent| intent.targets.clone()).unwrap_or_default();
        self.rollout_failed(OutcomeKind::Failed, reason);
        // ECS itself goes back, as its hook was answered so.
        self.service.stop = None;
        self.service.ecs_goes_back_until = Some(self.now.moment.plus(ECS_GOES_BACK_WITHIN));
        for repository in targets.keys() {
            if let Some(hold) = self.record_mut().held.get_mut(repository) {
                *hold = DigestHold { rejected: true, reason: reason.to_owned(), ..hold.clone() };
            }
        }
    }

    /// Where the deployment of a rollout that failed may wait at a hook, and ECS itself would go back to the same revision, ECS is told to
    /// stop it: an update would wait at the same hook again.
    pub(super) fn stop_instead(&mut self) {
        let Workflow::Rolling { intent, watch, .. } = &self.service.workflow else { return };
        let rolls = |seen: &&ServiceDeploymentView| seen.fate == Fate::UnderWay;
        let Some(seen) = watch.seen.as_ref().filter(rolls).filter(|_| watch.monitoring.is_none()) else { return };
        let hooked = watch.hooked || !seen.hooks.is_empty();
        if hooked
            && intent.is_forward()
            && intent.rollback_target.pinned.is_empty()
            && intent.rollback_target.revision == intent.replaces
        {
            self.service.stop = Some((seen.arn.clone(), HookCall::Due));
        }
    }

    /// ECS took the request to stop a deployment, or did not: then the service is updated.
    pub(super) fn stopped(&mut self, answer: Result<(), AwsError>) {
        self.service.stop = None;
        match answer {
            Ok(()) => self.service.ecs_goes_back_until = Some(self.now.moment.plus(ECS_GOES_BACK_WITHIN)),
            Err(error) => self.emit(ServiceEvent::Unexplained { what: "whether ECS stops the deployment", error }),
        }
    }
}
