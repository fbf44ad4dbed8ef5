//! What operators say of what waits at a gate, and who permitted a rollout.

use std::collections::BTreeMap;

use super::event::ServiceEvent;
use super::service::{Command, Handler};
use crate::domain::gate::Approvals;
use crate::domain::operator_command::{self, Refused};
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{OperatorCommand, ServiceState, Target};

impl Handler<'_> {
    /// An operator approves or rejects what waits: at a hook of ECS, or at a gate.
    pub(super) fn approve_or_reject(&mut self, command: Command) {
        match self.is_meant_for_gate(&command) {
            Ok(true) => {
                let answer = self.answer_at_gate(&command);
                self.answer(command, answer);
            }
            Ok(false) => self.answer_waiting(command),
            Err(refused) => self.answer(command, Err(refused)),
        }
    }

    fn is_meant_for_gate(&self, command: &Command) -> Result<bool, Refused> {
        let Some(record) = self.record() else { return Ok(false) };
        match (&record.gated, &record.waiting, named_image(&command.request)) {
            (None, _, _) => Ok(false),
            (Some(_), None, _) => Ok(true),
            (Some(gated), Some(paused), Some(image)) => Ok(gated.is_called(image) && !paused.is_called(image)),
            (Some(gated), Some(paused), None) => Err(Refused(format!(
                "two images wait: {} at a hook of ECS, and {} for its rollout; say which with --image",
                paused.image(),
                gated.image()
            ))),
        }
    }

    fn answer_at_gate(&mut self, command: &Command) -> Result<String, Refused> {
        let (now, by) = (self.now.time, &command.by);
        let Some(waiting) = self.record().and_then(|record| record.gated.clone()) else {
            return Err(Refused("nothing waits for an approval".to_owned()));
        };
        if let Some(image) = named_image(&command.request)
            && !waiting.is_called(image)
        {
            return Err(Refused(format!("another image waits: {}", waiting.image())));
        }
        match &command.request {
            OperatorCommand::Reject { reason } => {
                let answer = operator_command::reject(self.record_mut(), by, reason.as_deref(), now)?;
                let (repository, digest) = (waiting.repository.clone(), waiting.digest);
                self.emit(ServiceEvent::DigestHeld { repository, digest });
                Ok(answer)
            }
            OperatorCommand::Approve { .. }
            | OperatorCommand::Deploy
            | OperatorCommand::DeployNow
            | OperatorCommand::Hold { .. }
            | OperatorCommand::Release
            | OperatorCommand::Rollback { .. } => {
                if self.rules.settings(self.key).gates.approval != Approvals::Required {
                    return Err(Refused(format!("it does not wait for an approval: {waiting}")));
                }
                operator_command::approve(self.record_mut(), by, now)
            }
        }
    }
}

/// The image that an operator means.
fn named_image(command: &OperatorCommand) -> Option<&String> {
    match command {
        OperatorCommand::Approve { image } => image.as_ref(),
        OperatorCommand::Deploy
        | OperatorCommand::DeployNow
        | OperatorCommand::Hold { .. }
        | OperatorCommand::Release
        | OperatorCommand::Rollback { .. }
        | OperatorCommand::Reject { .. } => None,
    }
}

/// Who permitted what a rollout brings, for its record.
pub(super) fn permitted(known: &ServiceState, targets: &BTreeMap<RepositoryKey, Target>) -> Vec<String> {
    let approved = targets.iter().filter_map(|(repository, target)| {
        let approval = known.approved.get(repository).filter(|approval| approval.digest == target.digest)?;
        Some(format!("approved by {}", approval.by))
    });
    let passed = known.passes_windows.iter().map(|pass| format!("ordered with deploy --now by {}", pass.by));
    let mut permitted: Vec<String> = approved.chain(passed).collect();
    permitted.dedup();
    permitted
}
