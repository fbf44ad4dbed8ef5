//! The beginnings and ends of rollouts, on which all other transitions are built.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::approvals;
use super::event::ServiceEvent;
use super::service::Handler;
use super::workflow::{Inspection, Recorded, Turn, Watch, Workflow};
use crate::domain::plan;
use crate::domain::settings::{OnFailure, RepositoryKey, ServiceRule};
use crate::domain::state::{
    Approval, Deployed, DigestHold, Direction, FailedInPlace, Intent, Outcome, OutcomeKind, PushRef,
    ReplacedExternally, Rollout,
};
use crate::domain::task_definition::Registration;
use crate::domain::types::{DeploymentId, TaskDefinitionArn};

/// The detail of a rollout that started no task.
const UNPROVEN: &str = "updated, unproven: the desired count is 0, so no task has run the image yet";

impl Handler<'_> {
    /// Begins a rollout to pushed images. A revision that was registered for another service already is used. The facts are as old as `turn`
    /// says.
    pub(super) fn begin_forward(&mut self, intent: Intent, registration: Registration, turn: Turn) {
        self.end_overtaken_holds(&intent);
        let known = self.out.registrations.get(&self.key.aws, &intent).cloned();
        let intent = Box::new(intent);
        match known {
            Some(revision) => self.revision_is_there(intent, revision, turn),
            None => self.enter(Workflow::Registering { intent, registration: Box::new(registration), turn }),
        }
    }

    /// Begins to go back. ECS may have gone back by itself, so that it is looked at first.
    pub(super) fn begin_back(&mut self, intent: Intent) {
        self.enter(Workflow::Verifying {
            intent: Box::new(intent),
            recorded: Recorded::Intended,
            inspection: Inspection::Due,
        });
    }

    /// ECS still rolls a rollout that was to be superseded: it is watched again.
    pub(super) fn restore(&mut self, superseded: Option<Box<Rollout>>) {
        if let Some(superseded) = superseded {
            let workflow = Workflow::resumed(*superseded, self.now);
            if let Some(intent) = workflow.intent().cloned() {
                self.end_overtaken_holds(&intent);
            }
            self.enter(workflow);
        }
    }

    /// A newer push ends the hold of an older digest.
    fn end_overtaken_holds(&mut self, intent: &Intent) {
        if intent.is_forward() {
            self.record_mut().held.retain(|repository, _| !intent.targets.contains_key(repository));
        }
    }

    /// ECS rolls the revision. What it takes the place of is superseded from this moment on.
    ///
    /// Example: A rolls, and B is pushed. While the revision of B is registered, A is still judged, and may complete or fail. Once ECS rolls
    /// B, A ends as superseded.
    pub(super) fn rolling(&mut self, revision: TaskDefinitionArn, deployment: DeploymentId) {
        let Some(mut intent) = self.service.workflow.intent().cloned() else { return };
        let superseded = intent.supersedes.take();
        let (since, watch) = (self.now.time, Box::new(Watch::new(self.now)));
        self.enter(Workflow::Rolling { intent: Box::new(intent), revision, deployment, since, watch });
        if superseded.is_some() {
            self.end_waiting();
        }
        if let Some(superseded) = superseded {
            self.ended(&superseded, OutcomeKind::Superseded, "a newer push took its place".to_owned());
        }
    }

    /// Ends the rollout under way, and gives its record.
    pub(super) fn end(&mut self, kind: OutcomeKind, detail: String) -> Option<Rollout> {
        let rollout = self.service.workflow.rollout()?;
        self.enter(Workflow::Idle);
        self.end_waiting();
        self.ended(&rollout, kind, detail);
        Some(rollout)
    }

    fn ended(&mut self, rollout: &Rollout, kind: OutcomeKind, detail: String) {
        let took = Duration::try_from(self.now.time.duration_since(rollout.decided_at)).unwrap_or_default();
        let detail = self.with_permissions(rollout, kind, detail);
        let outcome = Outcome {
            result: kind,
            revision: rollout.phase.revision().cloned(),
            targets: rollout.targets.clone(),
            decided_at: rollout.decided_at,
            ended_at: self.now.time,
            detail,
        };
        self.emit(ServiceEvent::RolloutEnded { outcome, back: !rollout.is_forward(), took });
    }

    /// Adds who permitted the rollout. What is not to be decided again needs a permission of its own from here on.
    fn with_permissions(&mut self, rollout: &Rollout, kind: OutcomeKind, detail: String) -> String {
        let Some(known) = self.record().filter(|_| rollout.is_forward()) else { return detail };
        let permitted = approvals::permitted(known, &rollout.targets);
        if permitted.is_empty() {
            return detail;
        }
        if kind != OutcomeKind::Superseded {
            let record = self.record_mut();
            record.passes_windows = None;
            let is_of = |repository: &RepositoryKey, approval: &Approval| {
                rollout.targets.get(repository).is_some_and(|target| target.digest == approval.digest)
            };
            record.approved.retain(|repository, approval| !is_of(repository, approval));
        }
        Some(detail).filter(|detail| !detail.is_empty()).into_iter().chain(permitted).collect::<Vec<_>>().join("; ")
    }

    /// Ends a rollout that was not sent to ECS, and restores what it was to supersede.
    pub(super) fn abandon(&mut self, kind: OutcomeKind, detail: String) {
        let ended = self.end(kind, detail);
        self.restore(ended.and_then(|rollout| rollout.supersedes));
    }

    /// Ends a rollout that was not sent to ECS: its pushes are decided anew.
    pub(super) fn replan(&mut self, why: String) {
        let Some(rollout) = self.end(OutcomeKind::Superseded, why) else { return };
        self.pend_again(&rollout);
        self.restore(rollout.supersedes);
    }

    /// What a rollout was to bring is pending again, except for what the rollout before it brings as well.
    pub(super) fn pend_again(&mut self, rollout: &Rollout) {
        if !rollout.is_forward() || !self.rules.has(self.key) {
            return;
        }
        let comes_after = |rule: &&ServiceRule| !rule.deploy.gates.after.is_empty();
        let rules = self.rules.of(self.key);
        let promoted: BTreeSet<RepositoryKey> =
            rules.iter().filter(|(_, rule)| comes_after(rule)).map(|(repository, _)| repository.clone()).collect();
        let record = self.record_mut();
        for (repository, target) in &rollout.targets {
            let carried = rollout.supersedes.as_ref().is_some_and(|old| old.targets.get(repository) == Some(target));
            if !carried {
                record.decided.remove(repository);
                // What is promoted is this digest, wherever the tag points to by then.
                let digest = promoted.contains(repository).then(|| target.digest.clone());
                record.add_pending(repository, PushRef { digest, ..target.push.clone() });
            }
        }
    }

    /// The rollout under way is complete.
    pub(super) fn completed(&mut self) {
        let now = self.now.time;
        let Some(rollout) = self.service.workflow.rollout() else { return };
        let Some(revision) = rollout.phase.revision().cloned() else { return };
        let unproven = self.runs_no_task().then(|| Box::new(rollout.clone()));
        let record = self.record_mut();
        if let Direction::Back { because } = &rollout.direction {
            record.deployed = Some(Deployed {
                revision,
                targets: rollout.rollback_target.targets.clone(),
                since: now,
                // What its containers name was not looked at, so that the tasks have to be asked.
                names_tags: true,
                rollback_target: None,
                unproven: None,
                pinned: rollout.rollback_target.pinned.clone(),
            });
            self.end(OutcomeKind::RolledBack, because.clone());
            return;
        }
        // What another repository brought is still there if nobody else changed the service since.
        let from_ours = rollout.replaces == rollout.rollback_target.revision || record.made(&rollout.replaces);
        record.prepared.retain(|repository, _| !rollout.targets.contains_key(repository));
        let before = record
            .deployed
            .take()
            .filter(|deployed| from_ours && deployed.revision == rollout.rollback_target.revision);
        let mut targets = before.map(|deployed| deployed.targets).unwrap_or_default();
        targets.extend(rollout.targets.clone());
        record.deployed = Some(Deployed {
            revision,
            targets,
            since: now,
            names_tags: rollout.names_tags,
            rollback_target: Some(rollout.rollback_target.clone()),
            unproven: unproven.clone(),
            pinned: BTreeMap::new(),
        });
        for target in rollout.targets.values().filter(|target| !target.push.is_reconciliation()) {
            let after = Duration::try_from(now.duration_since(target.push.at)).unwrap_or_default();
            self.emit(ServiceEvent::PushStable(after));
        }
        let detail = if unproven.is_some() { UNPROVEN.to_owned() } else { String::new() };
        self.end(OutcomeKind::Completed, detail);
    }

    fn runs_no_task(&self) -> bool {
        let Workflow::Rolling { watch, .. } = &self.service.workflow else { return false };
        watch.counts.is_some_and(|counts| counts.desired == 0)
    }

    /// Another deployer replaced the rollout under way: it is not brought back because its push is reported once more.
    pub(super) fn replaced_externally(&mut self, why: String) {
        let at = self.now.time;
        if let Some(intent) = self.service.workflow.intent().filter(|intent| intent.is_forward()).cloned() {
            let record = self.record_mut();
            for (repository, target) in &intent.targets {
                record
                    .replaced_externally
                    .insert(repository.clone(), ReplacedExternally { digest: target.digest.clone(), at });
            }
        }
        self.end(OutcomeKind::Superseded, why);
    }

    /// Somebody set the service back: that stays, and what was rolled out is held.
    pub(super) fn taken_back(&mut self, why: String) {
        self.hold_digests(&why);
        self.end(OutcomeKind::Superseded, why);
    }

    /// The rollout under way has failed: what it brought is held, and the service goes back to what ran before.
    pub(super) fn rollout_failed(&mut self, kind: OutcomeKind, why: &str) {
        let on_failure = self.rules.settings(self.key).on_failure;
        self.stop_instead();
        self.hold_digests(&format!("its rollout failed: {why}"));
        let Some(failed) = self.end(kind, why.to_owned()) else { return };
        if let Some(revision) = failed.phase.revision() {
            self.out.registrations.forget(revision);
        }
        let back = plan::roll_back(&failed, why, self.now.time).filter(|_| on_failure == OnFailure::Rollback);
        match (back, failed.phase.revision()) {
            (Some(back), _) => {
                let (revision, pinned) = (back.base.clone(), back.images.clone());
                self.emit(ServiceEvent::RollbackBegun { revision, pinned });
                self.begin_back(back.split().0);
            }
            (None, Some(revision)) => {
                let (targets, rollback_target) = (failed.targets.clone(), failed.rollback_target.clone());
                self.record_mut().failed_in_place =
                    Some(FailedInPlace { revision: revision.clone(), targets, rollback_target });
            }
            (None, None) => {}
        }
    }

    /// Holds what the rollout under way brings.
    fn hold_digests(&mut self, reason: &str) {
        if let Some(intent) = self.service.workflow.intent().filter(|intent| intent.is_forward()).cloned() {
            self.hold_targets(&intent, reason);
        }
    }

    /// Holds what a rollout brings.
    pub(super) fn hold_targets(&mut self, intent: &Intent, reason: &str) {
        let now = self.now.time;
        let took = now.duration_since(intent.decided_at);
        for (repository, target) in &intent.targets {
            let hold = DigestHold::new(target, took, reason.to_owned(), now);
            self.record_mut().held.insert(repository.clone(), hold);
            let (repository, digest) = (repository.name.clone(), target.digest.clone());
            self.emit(ServiceEvent::DigestHeld { repository, digest });
        }
    }
}
