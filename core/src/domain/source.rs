//! Who tells of pushes: a closed set, the same in metrics, the log and JSON.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::words::{words, words_in_json};

words! {
    /// Who tells of a push.
    pub enum PushSource {
        CloudTrail = "cloudtrail", "CloudTrail's event history: it knows of every push, and tells of it minutes later.";
        Queue = "queue", "The SQS queue of the context, which an EventBridge rule fills: it tells within seconds, and may miss a push.";
        Reconcile = "reconcile", "The comparison of ECR with what was decided, which finds a push that nobody reported.";
    }
}

words_in_json!(PushSource);

impl PushSource {
    /// The source for people, as the one by which a push is seen.
    #[must_use]
    pub fn named(self) -> &'static str {
        match self {
            Self::CloudTrail => "CloudTrail",
            Self::Queue => "the queue",
            Self::Reconcile => "the comparison with ECR",
        }
    }
}

/// When a push was first seen, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstSeen {
    /// The time at which it was seen.
    pub at: Timestamp,
    /// The source that saw it.
    pub by: PushSource,
}

impl FirstSeen {
    /// How long that was after the push. Clocks differ: it is never negative.
    #[must_use]
    pub fn after(&self, pushed_at: Timestamp) -> SignedDuration {
        self.at.duration_since(pushed_at).max(SignedDuration::ZERO)
    }
}

impl fmt::Display for FirstSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}", self.by.named())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::test_support::at;

    #[test]
    fn a_push_is_seen_no_earlier_than_it_is_made() {
        let seen = FirstSeen { at: at(2), by: PushSource::Queue };
        assert_eq!((seen.after(at(0)), seen.after(at(5))), (SignedDuration::from_secs(2), SignedDuration::ZERO));
        assert_eq!(serde_json::to_value(seen).unwrap()["by"], "queue");
    }
}
