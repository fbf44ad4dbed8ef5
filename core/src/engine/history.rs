//! The history in the state: the first subscriber of what happens to a service.

use jiff::Timestamp;

use super::event::{PushSkipped, ServiceEvent};
use crate::domain::event::shorten;
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::state::{CommandRecord, Decision, PushRef, State};
use crate::domain::types::ServiceKey;

/// Writes into the state what people ask for later.
pub(super) fn record(state: &mut State, key: &ServiceKey, event: &ServiceEvent, now: Timestamp) {
    match event {
        ServiceEvent::PushSkipped { repository, push, reason, detail } => {
            state.note_decision(decision(Some(key), repository, push, Some(*reason), detail, now));
        }
        ServiceEvent::RolloutDecided { targets, .. } => {
            for (repository, target) in targets {
                let digest = target.digest.to_string();
                state.note_decision(decision(Some(key), repository, &target.push, None, &digest, now));
            }
        }
        ServiceEvent::RolloutEnded { outcome, .. } | ServiceEvent::Refused(outcome) => {
            state.services.get_or_default(key.clone()).remember(outcome.clone());
        }
        ServiceEvent::CommandAnswered { command, by, answer } => {
            let answer = match answer {
                Ok(text) => text.clone(),
                Err(refused) => format!("refused: {refused}"),
            };
            let given = CommandRecord { at: now, by: by.clone(), command: command.clone(), answer };
            state.services.get_or_default(key.clone()).note_command(given);
        }
        ServiceEvent::HeldPushedAgain(_)
        | ServiceEvent::Warned(_)
        | ServiceEvent::Resumed(_)
        | ServiceEvent::RevisionRegistered(_)
        | ServiceEvent::ServiceUpdated { .. }
        | ServiceEvent::DeploymentAdopted(_)
        | ServiceEvent::RolloutProgressed { .. }
        | ServiceEvent::PushStable(_)
        | ServiceEvent::DigestHeld { .. }
        | ServiceEvent::RollbackBegun { .. }
        | ServiceEvent::CallFailed { .. }
        | ServiceEvent::CallsRecovered
        | ServiceEvent::Unexplained { .. }
        | ServiceEvent::PendingDropped
        | ServiceEvent::Proven(_)
        | ServiceEvent::MonitoringBegun(_)
        | ServiceEvent::TaskStarted { .. }
        | ServiceEvent::TaskEnded(_)
        | ServiceEvent::Waits(_)
        | ServiceEvent::WaitsLong(_)
        | ServiceEvent::WaitsNoLonger(_)
        | ServiceEvent::Counted(_) => {}
    }
}

/// Writes down a push that concerns no service. Repetitions of what was read before and the parts of multi-architecture images are left
/// out, as they come in numbers that would push out what matters; so are repositories that are not in the configuration.
pub(super) fn record_skipped(state: &mut State, skipped: &PushSkipped, now: Timestamp) {
    let of_others = skipped.configured.is_none() && skipped.repository.is_some();
    if !skipped.reason.is_listed() || of_others {
        return;
    }
    state.note_decision(Decision {
        aws: skipped.aws.clone(),
        repository: skipped.repository.clone(),
        tag: skipped.tag.clone(),
        event: skipped.event.clone(),
        pushed_at: skipped.pushed_at,
        decided_at: now,
        service: None,
        skipped: Some(skipped.reason),
        detail: shorten(&skipped.detail),
        seen: None,
    });
}

fn decision(
    service: Option<&ServiceKey>,
    repository: &RepositoryKey,
    push: &PushRef,
    skipped: Option<SkipReason>,
    detail: &str,
    now: Timestamp,
) -> Decision {
    Decision {
        aws: repository.aws.clone(),
        repository: Some(repository.name.clone()),
        tag: push.tag.clone(),
        event: push.event.clone(),
        pushed_at: push.at,
        decided_at: now,
        service: service.cloned(),
        skipped,
        detail: shorten(detail),
        seen: push.seen,
    }
}
