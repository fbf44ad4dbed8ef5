//! How rollouts ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::printable;
use super::super::settings::RepositoryKey;
use super::super::types::TaskDefinitionArn;
use super::Target;

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The end.
    pub result: OutcomeKind,
    /// The revision, if one was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<TaskDefinitionArn>,
    /// The digests, by repository.
    pub targets: BTreeMap<RepositoryKey, Target>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What to know about it.
    #[serde(default, deserialize_with = "printable::text", skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The ends a rollout can have: a closed set, the same in metrics, log and status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// My deployment is complete.
    Completed,
    /// ECS gave it up.
    Failed,
    /// It was not stable in time.
    TimedOut,
    /// What ran before runs again.
    RolledBack,
    /// Something newer took its place: a push, or another deployer.
    Superseded,
    /// ECS refused it for good.
    Refused,
}

impl OutcomeKind {
    /// Every kind there is.
    pub const ALL: [Self; 6] =
        [Self::Completed, Self::Failed, Self::TimedOut, Self::RolledBack, Self::Superseded, Self::Refused];

    /// The kind as it stands in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
            Self::Refused => "refused",
        }
    }
}
