//! A revision that was rolled out while the desired count was 0 has proven nothing: it is judged when tasks first run.

use std::time::Duration;

use super::event::ServiceEvent;
use super::now::Moment;
use super::service::Handler;
use super::workflow::Workflow;
use crate::domain::rollout::{self, Counts};
use crate::domain::state::{OutcomeKind, Phase, Rollout, ServiceState};
use crate::domain::types::DeploymentId;
use crate::domain::view::{DeploymentView, ServiceView};

/// The time between two looks at a service whose revision has proven nothing.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What was seen of tasks that run a revision for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Proving {
    /// Since when tasks are wanted.
    since: Moment,
    /// All of them ran at the last look.
    ran: bool,
}

/// The rollout of a service that has proven nothing, with the deployment that it is judged by.
pub(super) fn unproven(known: &ServiceState) -> Option<(&Rollout, &DeploymentId)> {
    let rollout = known.deployed.as_ref()?.unproven.as_deref()?;
    match &rollout.phase {
        Phase::Rolling { deployment, .. } => Some((rollout, deployment)),
        Phase::Intended | Phase::Registered { .. } | Phase::Task { .. } => None,
    }
}

impl Handler<'_> {
    /// The service was looked at to see whether tasks run its revision.
    pub(super) fn prove(&mut self, asked: &DeploymentId, service: Option<&ServiceView>, asked_at: Moment) {
        let known = self.record().and_then(unproven).filter(|(_, deployment)| *deployment == asked);
        let Some(rollout) =
            known.map(|(rollout, _)| rollout.clone()).filter(|_| self.service.workflow == Workflow::Idle)
        else {
            return;
        };
        let mine = service.and_then(|service| of_revision(service, &rollout));
        let (Some(service), Some(mine)) = (service, mine) else {
            // It is gone, or somebody set it to something else: there is nothing left to prove.
            return self.forget_unproven();
        };
        if mine.desired == 0 {
            self.service.proving = None;
            return;
        }
        let all_run = mine.running >= mine.desired && mine.pending == 0;
        let proving = self.service.proving.unwrap_or(Proving { since: asked_at, ran: false });
        if all_run && proving.ran {
            self.forget_unproven();
            return self.emit(ServiceEvent::Proven(Counts::of(mine)));
        }
        self.service.proving = Some(Proving { ran: all_run, ..proving });
        let timeout = self.rules.settings(self.key).timeout;
        if all_run {
            return;
        }
        let why = if rollout::keeps_stopping(mine) {
            rollout::keep_stopping(mine, service, &rollout)
        } else if asked_at.since(proving.since) >= timeout {
            rollout::not_stable(mine, service, &rollout, timeout)
        } else {
            return;
        };
        self.disproven(rollout, format!("tasks run it for the first time: {why}"));
    }

    fn forget_unproven(&mut self) {
        self.service.proving = None;
        if let Some(deployed) = &mut self.record_mut().deployed {
            deployed.unproven = None;
        }
    }

    /// The revision has failed as any other would.
    fn disproven(&mut self, rollout: Rollout, why: String) {
        self.forget_unproven();
        self.enter(Workflow::resumed(rollout, self.now));
        self.diagnose(OutcomeKind::Failed, why);
    }
}

fn of_revision<'a>(service: &'a ServiceView, rollout: &Rollout) -> Option<&'a DeploymentView> {
    let is_it = |primary: &&DeploymentView| Some(&primary.task_definition) == rollout.phase.revision();
    service.primary().filter(|_| service.active).filter(is_it)
}
