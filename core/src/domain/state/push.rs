//! A push as it is kept on record, and which of two is the newer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::source::FirstSeen;
use crate::domain::types::{Digest, EventId, Tag};

/// One push, as far as it matters later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushRef {
    /// The event that reported it.
    pub event: EventId,
    /// The tag; `None` where the record did not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// When it was pushed.
    pub at: Timestamp,
    /// The digest that the record reported, as long as the push is not decided: ECR may say by then that the tag has moved on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When it was first seen, and by which source, where there are others beside CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<FirstSeen>,
}

impl PushRef {
    /// Stands for the event where nobody pushed, and events cannot tell what there is to deploy.
    pub const RECONCILIATION: &str = "reconcile";
    /// Stands for the event where an operator asked.
    pub const COMMAND: &str = "order";

    /// Asks for what the policy selects in ECR, as if it had been pushed at this time.
    #[must_use]
    pub fn reconciliation(at: Timestamp) -> Self {
        Self::of_nobody(Self::RECONCILIATION, at)
    }

    /// The same, commanded by an operator, who may well want back what another deployer replaced.
    #[must_use]
    pub fn commanded(at: Timestamp) -> Self {
        Self::of_nobody(Self::COMMAND, at)
    }

    fn of_nobody(event: &str, at: Timestamp) -> Self {
        #[expect(clippy::expect_used, reason = "constants of graphic ASCII characters")]
        let event = EventId::parse(event).expect("a constant");
        Self { event, tag: None, at, digest: None, seen: None }
    }

    /// Whether nobody pushed: the service was compared with ECR.
    #[must_use]
    pub fn is_reconciliation(&self) -> bool {
        self.event.as_str() == Self::RECONCILIATION || self.is_command()
    }

    /// Whether an operator asked for it.
    #[must_use]
    pub fn is_command(&self) -> bool {
        self.event.as_str() == Self::COMMAND
    }

    /// Whether this push is older than another one.
    ///
    /// CloudTrail's times are whole seconds and its events come in any order, so of two pushes in one second nobody can say which was
    /// first. The answer must not depend on which event came first either: the longer tag, then the greater one, counts as the newer
    /// (`release-10` after `release-9`; decision 5).
    #[must_use]
    pub fn is_older_than(&self, other: &Self) -> bool {
        self.rank() < other.rank()
    }

    /// The same, unless it cannot be known yet: a push without a tag brings what is the newest in ECR, which may be an image of the very
    /// second of the other one.
    #[must_use]
    pub fn is_surely_older_than(&self, other: &Self) -> bool {
        self.is_older_than(other) && (self.tag.is_some() || self.at < other.at)
    }

    /// What orders pushes: the greater is the newer.
    #[must_use]
    pub fn rank(&self) -> impl Ord + use<> {
        let tag = self.tag.as_ref().map_or("", Tag::as_str);
        (self.at, tag.len(), tag.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::settings::RepositoryKey;
    use crate::domain::state::ServiceState;

    #[test]
    fn of_two_pushes_in_one_second_the_tag_decides_whichever_event_comes_first() {
        let tagged = |tag: &str| PushRef {
            event: EventId::parse(tag).unwrap(),
            tag: Some(Tag::parse(tag).unwrap()),
            at: Timestamp::from_second(5).unwrap(),
            digest: None,
            seen: None,
        };
        for (older, newer) in [("release-9", "release-10"), ("release-1", "release-2")] {
            assert!(tagged(older).is_older_than(&tagged(newer)));
            assert!(!tagged(newer).is_older_than(&tagged(older)));
        }
        assert!(!tagged("latest").is_older_than(&tagged("latest")));
        let key = RepositoryKey::try_from("default/hello".to_owned()).unwrap();
        for order in [["release-9", "release-10"], ["release-10", "release-9"]] {
            let mut state = ServiceState::default();
            for tag in order {
                state.add_pending(&key, tagged(tag));
            }
            assert_eq!(state.pending[&key][0], tagged("release-10"));
        }
    }
}
