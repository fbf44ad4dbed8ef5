//! What was found out about a service with pending pushes becomes a plan.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::effect::Answer;
use super::event::ServiceEvent;
use super::now::Moment;
use super::observation::{AtGates, Observation, ObservationRequest};
use super::service::{Call, Command, Handler, Observing};
use super::workflow::{Ending, Turn, Workflow};
use crate::domain::aws_error::AwsError;
use crate::domain::gate::GatedPlan;
use crate::domain::operator_command::Refused;
use crate::domain::plan::{Plan, Pushes, Roll, ServiceSnapshot};
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::state::{Outcome, OutcomeKind, PushRef};

impl Handler<'_> {
    /// The answer to what was asked about the service.
    pub(super) fn observed(
        &mut self,
        request: ObservationRequest,
        answer: Result<Observation, AwsError>,
        asked_at: Moment,
    ) {
        if std::mem::take(&mut self.service.observing) == Observing::Outdated {
            return;
        }
        let Observation { snapshot, unanswered, at_gates } = match answer {
            Ok(observation) => observation,
            Err(error) => {
                self.commands_undecided(&error);
                return self.failed(Call::Observe, &error);
            }
        };
        if request.has_rollback_target && self.service.workflow == Workflow::Idle {
            // What runs was not asked, as the rollout under way knew where to go back to. That one is over: it is asked now.
            return;
        }
        if self.doubts_absence(Call::Observe, snapshot.missing) {
            return;
        }
        self.succeeded(Call::Observe);
        let mut pushes = request.pushes;
        pushes.retain(|repository, _| !unanswered.contains_key(repository));
        for repository in pushes.keys() {
            self.succeeded(Call::Resolve(repository));
        }
        for (repository, error) in &unanswered {
            self.failed(Call::Resolve(repository), error);
        }
        if let Some(error) = unanswered.values().next().filter(|_| pushes.is_empty()) {
            self.commands_undecided(error);
        } else {
            self.decide(&pushes, &snapshot, &at_gates, asked_at);
        }
    }

    /// Decides these pushes. What is known of the rollout under way comes first: it may be complete, or have failed.
    fn decide(&mut self, pushes: &Pushes, snapshot: &ServiceSnapshot, at_gates: &AtGates, asked_at: Moment) {
        self.saw_management(snapshot.service.as_ref());
        let was_idle = self.service.workflow == Workflow::Idle;
        self.judge(snapshot.service.as_ref(), asked_at);
        if !was_idle && self.service.workflow == Workflow::Idle {
            return;
        }
        if !self.may_supersede(snapshot) {
            let again = self.now.moment.plus(self.rules.settings(self.key).observe_interval);
            self.service.observing = Observing::Again(again);
            return;
        }
        let gated = self.plan(pushes, snapshot, at_gates);
        gated.write_down(pushes, self.record_mut());
        self.tell_skips(&gated.plan);
        self.wait_at_gates(&gated, pushes);
        self.answer_deploys(&gated);
        if let Some(roll) = &gated.plan.roll {
            self.note_missed(roll);
        }
        if let Some(Roll { rollout, registration }) = gated.plan.roll {
            self.emit(ServiceEvent::RolloutDecided {
                targets: rollout.targets.clone(),
                from: rollout.replaces.clone(),
                rollback_target: rollout.rollback_target.revision.clone(),
                pinned: rollout.rollback_target.pinned.clone(),
            });
            let asked = |repository: &RepositoryKey, push: &PushRef| {
                pushes.get(repository).is_some_and(|pushes| pushes.iter().any(|asked| asked.event == push.event))
            };
            for (repository, target) in rollout.targets.iter().filter(|(key, target)| asked(key, &target.push)) {
                self.settle(&target.push, repository, None);
            }
            self.begin_forward(rollout.split().0, registration, Turn::Waiting { verified_at: asked_at });
        }
    }

    /// Whether a new rollout may take the place of the one under way: there is none, or the facts show that ECS rolls that one, and
    /// nothing is being found out that may end it.
    fn may_supersede(&self, snapshot: &ServiceSnapshot) -> bool {
        match &self.service.workflow {
            Workflow::Idle => true,
            Workflow::Rolling { revision, watch, .. } => {
                let seen = snapshot.service.as_ref().map(|service| &service.task_definition);
                let open = match watch.ending {
                    Ending::NotYet | Ending::Baking | Ending::Confirming { baking: true, .. } => true,
                    Ending::Confirming { baking: false, .. } | Ending::Diagnosing { .. } => false,
                };
                open && seen == Some(revision)
            }
            Workflow::Verifying { .. }
            | Workflow::Registering { .. }
            | Workflow::Updating { .. }
            | Workflow::Tasking { .. } => false,
        }
    }

    fn tell_skips(&mut self, plan: &Plan) {
        for skip in &plan.skips {
            self.emit(ServiceEvent::PushSkipped {
                repository: skip.repository.clone(),
                push: skip.push.clone(),
                reason: skip.reason,
                detail: skip.detail.clone(),
            });
            self.settle(&skip.push, &skip.repository, Some(skip.reason));
        }
        for warning in &plan.warnings {
            self.emit(ServiceEvent::Warned(warning.clone()));
        }
        if let Some(reason) = &plan.refused {
            self.emit(ServiceEvent::Refused(refusal(reason.clone(), self.now.time)));
        }
    }

    /// The service has decided about a push.
    pub(super) fn settle(&mut self, push: &PushRef, repository: &RepositoryKey, skipped: Option<SkipReason>) {
        if let Some(event) = self.out.unsettled.decided(push, repository, skipped) {
            self.out.emit(event, self.rules);
        }
    }

    /// Answers those who asked for a deployment with what was decided.
    fn answer_deploys(&mut self, gated: &GatedPlan) {
        let plan = &gated.plan;
        let targets = plan.roll.iter().flat_map(|roll| roll.rollout.targets.values()).map(|target| &target.push);
        let waits = gated.kept.values().flatten().filter(|_| gated.requests.is_empty());
        if plan.skips.iter().map(|skip| &skip.push).chain(targets).chain(waits).any(PushRef::is_reconciliation) {
            self.answer_all_deploys(&told(gated));
        }
    }

    /// Answers those who asked for a deployment that it cannot be decided yet.
    fn commands_undecided(&mut self, error: &AwsError) {
        self.answer_all_deploys(&Err(Refused(format!("not decided yet, it is tried again: {error}"))));
    }

    /// Whoever asked for a deployment gets this answer.
    pub(super) fn answer_all_deploys(&mut self, answer: &Answer) {
        let is_deploy = |command: &mut Command| command.request.deploys();
        let deploys: Vec<Command> = self.service.commands.extract_if(.., is_deploy).collect();
        for command in deploys {
            self.answer(command, answer.clone());
        }
    }

    /// Answers a command, once what the answer says is durable.
    pub(super) fn answer(&mut self, command: Command, answer: Answer) {
        let Command { id, request, by } = command;
        self.emit(ServiceEvent::CommandAnswered { command: request, by, answer: answer.clone() });
        self.out.durability.reply(id, answer);
    }
}

/// A service that ECS cannot, or must not, roll: the outcome of a deployment that never began.
fn refusal(reason: String, now: Timestamp) -> Outcome {
    Outcome {
        result: OutcomeKind::Refused,
        revision: None,
        targets: BTreeMap::new(),
        decided_at: now,
        ended_at: now,
        detail: reason,
    }
}

/// What a plan means to whoever asked for it.
fn told(gated: &GatedPlan) -> Answer {
    let plan = &gated.plan;
    if let Some(roll) = &plan.roll {
        let targets = roll.rollout.targets.iter().map(|(repository, target)| {
            let tag = target.push.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
            format!("{}{tag} ({})", repository.name, target.digest)
        });
        return Ok(format!("rolling to {}", targets.collect::<Vec<_>>().join(" and ")));
    }
    if let Some(waiting) = gated.waiting() {
        return Ok(format!("it waits: {waiting}"));
    }
    if let Some(reason) = &plan.refused {
        return Err(Refused(reason.clone()));
    }
    let reasons: Vec<String> = plan.skips.iter().map(|skip| format!("{}: {}", skip.reason, skip.detail)).collect();
    let text = reasons.join("; ");
    let all_well = plan.skips.iter().all(|skip| skip.reason == SkipReason::AlreadyDeployed);
    if all_well { Ok(format!("nothing to do: {text}")) } else { Err(Refused(text)) }
}
