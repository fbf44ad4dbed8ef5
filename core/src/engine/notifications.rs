//! The notifications: the second subscriber of what happens.

use super::event::{Event, ServiceEvent};
use super::rules::Rules;
use crate::domain::notification::Notification;
use crate::domain::waiting::Gate;

/// The notification about something that happened, where there is one.
pub(super) fn of(event: &Event, rules: &Rules) -> Option<Notification> {
    match event {
        Event::Service(key, event) => match event {
            ServiceEvent::RolloutEnded { outcome, .. } | ServiceEvent::Refused(outcome) => {
                Some(Notification::of_deployment(rules.named(key), outcome))
            }
            ServiceEvent::Waits(waiting) => match waiting.gate {
                Gate::Approval | Gate::Pause => Some(Notification::of_waiting(rules.named(key), waiting)),
                // These open by themselves: people hear of what waits for long.
                Gate::After | Gate::Window | Gate::Scan | Gate::Signature => None,
            },
            ServiceEvent::WaitsLong(waiting) => Some(Notification::of_waiting(rules.named(key), waiting)),
            ServiceEvent::HeldPushedAgain(push) => Some(Notification::of_held_push(rules.named(key), push)),
            ServiceEvent::PushSkipped { .. }
            | ServiceEvent::Warned(_)
            | ServiceEvent::RolloutDecided { .. }
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
            | ServiceEvent::CommandAnswered { .. }
            | ServiceEvent::PendingDropped
            | ServiceEvent::Proven(_)
            | ServiceEvent::MonitoringBegun(_)
            | ServiceEvent::TaskStarted { .. }
            | ServiceEvent::TaskEnded(_)
            | ServiceEvent::WaitsNoLonger(_)
            | ServiceEvent::Counted(_) => None,
        },
        Event::Changed { aws, change, watched, concern } => {
            Some(Notification::of_change(aws, change.as_ref().clone(), watched.clone(), *concern))
        }
        Event::Discovery(_)
        | Event::PushSkipped(_)
        | Event::PushSeen { .. }
        | Event::PushToldAgain { .. }
        | Event::PushMissed(_)
        | Event::NotCompared { .. }
        | Event::MessageTaken { .. }
        | Event::PushSettled { .. }
        | Event::HistoryGap { .. }
        | Event::StateUnwritable(_)
        | Event::StateWritable
        | Event::CommandUnknown { .. } => None,
    }
}
