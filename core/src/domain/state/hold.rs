//! What is not deployed, on purpose.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::super::printable;
use super::super::skip::SkipReason;
use super::super::types::Digest;
use super::{PushRef, Target};

/// A service that an operator holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceHold {
    /// When the hold began.
    pub since: Timestamp,
    /// The operator who holds it.
    #[serde(deserialize_with = "printable::text")]
    pub by: String,
    /// Why, if the operator said so.
    #[serde(default, deserialize_with = "printable::text", skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl fmt::Display for ServiceHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held by {} since {:.0}", self.by, self.since)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// A digest that another deployer replaced while it was rolled out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedExternally {
    /// The digest of the image.
    pub digest: Digest,
    /// When that was seen.
    pub at: Timestamp,
}

/// A digest that must not be deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestHold {
    /// The digest of the image.
    pub digest: Digest,
    /// When the hold began.
    pub since: Timestamp,
    /// Why it is held, for people.
    #[serde(deserialize_with = "printable::text")]
    pub reason: String,
    /// When it was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_at: Option<Timestamp>,
    /// An operator rejected it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub rejected: bool,
    /// Up to when it was tried, by the clock that pushes go by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_until: Option<Timestamp>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl DigestHold {
    /// Why a push of the digest is skipped.
    #[must_use]
    pub fn skip_reason(&self) -> SkipReason {
        if self.rejected { SkipReason::Rejected } else { SkipReason::Held }
    }

    /// Holds what a push asked for and a rollout of this length could not do.
    #[must_use]
    pub fn new(target: &Target, took: SignedDuration, reason: String, now: Timestamp) -> Self {
        let pushed_at = target.image_pushed_at.map_or(target.push.at, |at| at.max(target.push.at));
        // CloudTrail's clock goes by itself (decision 27): if this machine's is behind, a push from before the failure must not look as if it came after.
        let tried_until = pushed_at.checked_add(took).map_or(now, |tried| tried.max(now));
        Self {
            digest: target.digest.clone(),
            since: now,
            reason,
            pushed_at: Some(pushed_at),
            rejected: false,
            tried_until: Some(tried_until),
        }
    }

    /// Whether a push of the same digest ends it: it must have come after the failure, for an image may be pushed under several tags.
    ///
    /// Example: A is pushed as `latest` at 10:00 and as `release-7` at 10:01, and its rollout fails at 10:04. The event of `release-7`, which
    /// arrives at 10:06, ends nothing. A push of A at 10:20 does.
    #[must_use]
    pub fn is_ended_by(&self, push: &PushRef) -> bool {
        push.at > self.tried_until.unwrap_or(self.since)
    }

    /// Whether a push of something else ends it: it must be newer than the push of what is held.
    ///
    /// Example: the service runs A, and B fails. A push of A, made to undo the push of B, is `already_deployed` and ends the hold of B.
    #[must_use]
    pub fn is_overtaken_by(&self, push: &PushRef) -> bool {
        push.at > self.pushed_at.unwrap_or(self.since)
    }
}
