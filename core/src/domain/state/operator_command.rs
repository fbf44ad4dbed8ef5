//! The commands of operators, as the state keeps them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::printable;

/// What an operator commands for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum OperatorCommand {
    /// Roll to what the policies select in ECR now.
    Deploy,
    /// The same outside of windows and in freezes.
    DeployNow,
    /// Deploy nothing until a release.
    Hold {
        /// Why, for the others.
        #[serde(default, deserialize_with = "printable::optional_text", skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// End every hold, and roll to what the policies select in ECR now.
    Release,
    /// Go back to what ran before, or to a revision, and hold what runs now.
    Rollback {
        /// The revision: a number, `family:number` or an ARN.
        #[serde(default, deserialize_with = "printable::optional_text", skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Let go what waits for an approval.
    Approve {
        /// The tag or digest that is meant.
        #[serde(default, deserialize_with = "printable::optional_text", skip_serializing_if = "Option::is_none")]
        image: Option<String>,
    },
    /// Hold what waits for an approval.
    Reject {
        /// Why, for the others.
        #[serde(default, deserialize_with = "printable::optional_text", skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl OperatorCommand {
    /// Whether it rolls the service to what its policies select.
    #[must_use]
    pub fn deploys(&self) -> bool {
        match self {
            Self::Deploy | Self::DeployNow => true,
            Self::Hold { .. } | Self::Release | Self::Rollback { .. } | Self::Approve { .. } | Self::Reject { .. } => {
                false
            }
        }
    }

    /// The command as it stands in the log, in the history and on the command line.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::DeployNow => "deploy --now",
            Self::Hold { .. } => "hold",
            Self::Release => "release",
            Self::Rollback { .. } => "rollback",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
        }
    }
}

/// A command that an operator gave, and the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// When the command was given.
    pub at: Timestamp,
    /// The operator who gave the command.
    #[serde(deserialize_with = "printable::text")]
    pub by: String,
    /// The command that was given.
    #[serde(rename = "order")]
    pub command: OperatorCommand,
    /// What came of it at once.
    #[serde(deserialize_with = "printable::text")]
    pub answer: String,
}
