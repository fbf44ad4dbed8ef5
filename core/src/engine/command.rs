//! What operators command for a service.

use super::effect::{CommandId, Read};
use super::event::ServiceEvent;
use super::observation::{Location, Unlocated};
use super::service::{Command, Handler};
use super::workflow::{Recorded, Turn, Workflow};
use crate::domain::operator_command::{self, Refused};
use crate::domain::settings::RepositoryKey;
use crate::domain::state::{Direction, OperatorCommand, OutcomeKind};
use crate::domain::types::ServiceKey;

/// Commands to a service that wait for its decision. That may take as long as a call is denied.
const COMMANDS: usize = 16;

impl Handler<'_> {
    /// Carries out a command, or begins to.
    pub(super) fn command(&mut self, command: Command) {
        let repositories: Vec<RepositoryKey> = self.rules.of(self.key).into_keys().collect();
        let now = self.now.time;
        // Whatever waits at a gate is looked at with what the operator says.
        self.service.gate = None;
        match &command.request {
            OperatorCommand::Hold { reason } => {
                let may_be_updated = self.service.workflow.may_be_updated();
                let (by, reason) = (&command.by, reason.as_deref());
                let answer = operator_command::hold(self.record_mut(), by, reason, may_be_updated, now);
                self.answer(command, Ok(answer));
            }
            OperatorCommand::Release => {
                let answer = operator_command::release(self.record_mut(), &repositories, now);
                self.answer(command, Ok(answer));
            }
            OperatorCommand::Deploy => match operator_command::deploy(self.record_mut(), &repositories, now) {
                Ok(()) => self.await_decision(command),
                Err(refused) => self.answer(command, Err(refused)),
            },
            OperatorCommand::DeployNow => {
                let answer = operator_command::deploy_now(self.record_mut(), &repositories, &command.by, now);
                match answer {
                    Ok(()) => self.await_decision(command),
                    Err(refused) => self.answer(command, Err(refused)),
                }
            }
            OperatorCommand::Approve { .. } | OperatorCommand::Reject { .. } => self.approve_or_reject(command),
            OperatorCommand::Rollback { .. } if self.rules.region(&self.key.aws).is_none() => {
                let refused = Refused("its AWS context is not in the configuration".to_owned());
                self.answer(command, Err(refused));
            }
            OperatorCommand::Rollback { to } => {
                let (id, service, to) = (command.id, self.key.clone(), to.clone());
                self.await_decision(command);
                self.ask(Read::Locate { command: id, service, to });
            }
        }
    }

    /// A command that is answered when its service is decided about. Where too many wait for that, the oldest is answered now.
    fn await_decision(&mut self, command: Command) {
        self.service.commands.push(command);
        if self.service.commands.len() > COMMANDS {
            let oldest = self.service.commands.remove(0);
            self.answer(
                oldest,
                Err(Refused("newer commands wait for the same decision; `status` says what it waits for".to_owned())),
            );
        }
    }

    /// What the service runs is known: it is set back, if there is something to go back to.
    pub(super) fn located(&mut self, command: Command, answer: Result<Location, Unlocated>) {
        let answer =
            answer.map_err(|why| refused(self.key, why)).and_then(|location| self.roll_back(&command.by, location));
        self.answer(command, answer);
    }

    fn roll_back(&mut self, by: &str, location: Location) -> Result<String, Refused> {
        if self.service.workflow.is_in_flight() {
            return Err(Refused("a rollout is just being begun; try again in a moment".to_owned()));
        }
        let now = self.now.time;
        let Location { current, to } = location;
        let back = operator_command::rollback(self.record_mut(), &current, to, by, now)?;
        let because = match &back.direction {
            Direction::Back { because } => because.clone(),
            Direction::Forward => String::new(),
        };
        let answer = format!("going back from {} to {}", current.short(), back.base.short());
        self.end(OutcomeKind::Superseded, format!("rollback {because}"));
        self.begin_back(back.split().0);
        Ok(answer)
    }

    /// The command of this name that waits.
    pub(super) fn take_command(&mut self, id: CommandId) -> Option<Command> {
        let place = self.service.commands.iter().position(|command| command.id == id)?;
        Some(self.service.commands.remove(place))
    }

    /// The service left the configuration: nothing new is begun for it. What ECS may roll already is watched to its end, where it can be
    /// reached; a rollback is not left half-way.
    pub(super) fn leave(&mut self) {
        let has_pending = self.record().is_some_and(|known| !known.pending.is_empty());
        if has_pending {
            self.emit(ServiceEvent::PendingDropped);
            self.record_mut().pending.clear();
        }
        self.service.gate = None;
        self.waits_no_longer();
        for command in std::mem::take(&mut self.service.commands) {
            self.answer(command, Err(Refused("the service left the configuration".to_owned())));
        }
        let may_be_told = match &self.service.workflow {
            Workflow::Idle => return,
            Workflow::Verifying { intent, recorded, .. } => !intent.is_forward() || *recorded != Recorded::Intended,
            Workflow::Registering { intent, .. } => !intent.is_forward(),
            Workflow::Updating { intent, turn, .. } => !intent.is_forward() || matches!(turn, Turn::UnderWay { .. }),
            // What a task has begun is waited for.
            Workflow::Tasking { tasking, .. } => !tasking.is_unbegun(),
            Workflow::Rolling { .. } => true,
        };
        if !may_be_told || self.rules.region(&self.key.aws).is_none() {
            self.leave_configuration();
        }
    }

    /// Ends a rollout that ECS does not know of, if an operator holds its service or the service left the configuration.
    pub(super) fn ends_as_unwanted(&mut self) -> bool {
        let is_gone = !self.rules.has(self.key);
        let is_held = self.record().is_some_and(|known| known.service_hold.is_some());
        if is_gone {
            self.leave_configuration();
        } else if is_held {
            self.replan("an operator holds the service".to_owned());
        }
        is_gone || is_held
    }

    /// Ends a rollout of a service that left the configuration, which ECS does not know of or which cannot be reached.
    pub(super) fn leave_configuration(&mut self) {
        self.service.stop = None;
        let ended = self.end(OutcomeKind::Superseded, "the service left the configuration".to_owned());
        if self.rules.region(&self.key.aws).is_some() {
            self.restore(ended.and_then(|rollout| rollout.supersedes));
        }
    }
}

fn refused(key: &ServiceKey, why: Unlocated) -> Refused {
    match why {
        Unlocated::NoService => Refused(key.absence().to_owned()),
        Unlocated::NotARevision(refused) => refused,
        Unlocated::UnknownRevision(revision) => Refused(format!("ECS does not know {revision}")),
        Unlocated::Failed(error) => Refused(error.to_string()),
    }
}
