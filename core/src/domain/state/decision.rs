//! What was decided about pushes, for people who ask later.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::printable;
use super::super::skip::SkipReason;
use super::super::source::FirstSeen;
use super::super::types::{ContextName, EventId, RepositoryName, ServiceKey, Tag};

/// What was decided about one push: for one service, or for all that it could have concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The AWS context that the repository lives in.
    pub aws: ContextName,
    /// The repository, as far as the record named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryName>,
    /// The tag, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The event that reported the push.
    pub event: EventId,
    /// When it was pushed.
    pub pushed_at: Timestamp,
    /// When this was decided.
    pub decided_at: Timestamp,
    /// The service; none, if the push concerned none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceKey>,
    /// Why it was not deployed; nothing, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkipReason>,
    /// The particulars: the digest that was deployed, or why it was skipped.
    #[serde(default, deserialize_with = "printable::text", skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// When the push was first seen, and by which source, where there are others beside CloudTrail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<FirstSeen>,
}

impl Decision {
    /// The decision in a word: `deploy`, or the reason for the skip.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.skipped.map_or("deploy", SkipReason::as_str)
    }
}
