//! How a service stands: the one word that matters most.

use super::{OutcomeStatus, ServiceStatus, Way};
use crate::domain::state::OutcomeKind;

/// How a service stands, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// A call to AWS keeps failing.
    CallFails,
    /// ECS was asked and shows no such service, or could not be asked.
    Unseen,
    /// It is rolled back.
    Back,
    /// The service or a digest of it is held.
    Held,
    /// The last deployment failed.
    Failed,
    /// It is rolled to a new image.
    Rolling,
    /// Pushes wait for a decision.
    Undecided,
    /// Somebody else set it to something else.
    Changed,
    /// It runs what was deployed last.
    Steady,
    /// Nothing was deployed to it here.
    Untouched,
}

impl ServiceStatus {
    /// Which of the standings matters most.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match &self.rollout {
            _ if self.last_error.is_some() => Standing::CallFails,
            Some(rollout) if rollout.direction == Way::Back => Standing::Back,
            Some(_) => Standing::Rolling,
            None if self.runs.as_ref().is_some_and(|runs| runs.last_error.is_some()) => Standing::Unseen,
            None if self.service_hold.is_some() || !self.held.is_empty() => Standing::Held,
            None if self.last_failure().is_some() => Standing::Failed,
            None if self.undecided > 0 || self.waiting.is_some() => Standing::Undecided,
            None if self.is_changed_by_others() => Standing::Changed,
            None if self.deployed.is_some() => Standing::Steady,
            None => Standing::Untouched,
        }
    }

    /// Whether ECS says that somebody else set it to something else than what was deployed here last.
    #[must_use]
    pub fn is_changed_by_others(&self) -> bool {
        let seen = self.runs.as_ref().and_then(|runs| runs.revision.as_ref());
        let ours = self.deployed.as_ref().map(|deployed| &deployed.revision);
        let failed = self.history.first().filter(|last| last.result != OutcomeKind::Completed);
        let left = failed.and_then(|last| last.revision.as_ref());
        matches!((seen, ours), (Some(seen), Some(ours)) if seen != ours && Some(seen) != left) && self.rollout.is_none()
    }

    /// How the last rollout ended, if it ended badly.
    #[must_use]
    pub fn last_failure(&self) -> Option<&OutcomeStatus> {
        self.history.first().filter(|last| last.result.is_failure())
    }
}
