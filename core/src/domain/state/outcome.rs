//! How rollouts ended, as the state keeps it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::level::Level;
use super::super::printable;
use super::super::settings::RepositoryKey;
use super::super::types::TaskDefinitionArn;
use super::super::words::words;
use super::Target;

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How the rollout ended.
    pub result: OutcomeKind,
    /// The revision, if one was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<TaskDefinitionArn>,
    /// The digests, by repository.
    pub targets: BTreeMap<RepositoryKey, Target>,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// When the rollout ended.
    pub ended_at: Timestamp,
    /// What to know about it.
    #[serde(default, deserialize_with = "printable::text", skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

macro_rules! outcomes {
    ($($variant:ident = $text:literal {
        meaning: $meaning:literal,
        remedy: $remedy:literal,
        level: $level:ident,
    })+) => {
        /// How a rollout ends: a closed set, the same in metrics, in the log, in JSON and in the documents.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum OutcomeKind {
            $(
                #[doc = $meaning]
                #[serde(rename = $text)]
                $variant,
            )+
        }

        words!(for OutcomeKind { $($variant = $text, $meaning;)+ });

        impl OutcomeKind {
            /// What an operator does about it. Empty where nothing is to be done.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$variant => $remedy),+ }
            }

            /// The level of the log event, and the severity of the notification.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level),+ }
            }

            /// Whether the rollout did not do what it was for.
            #[must_use]
            pub fn is_failure(self) -> bool {
                self.level() == Level::Error
            }
        }
    };
}

outcomes! {
    Completed = "completed" {
        meaning: "ECS reports the deployment that this program started as complete.",
        remedy: "",
        level: Info,
    }
    Failed = "failed" {
        meaning: "ECS gave the deployment up, its tasks keep stopping, or the service is gone. The digest is held for the service.",
        remedy: "Read the reasons in the detail; push a corrected image, or release the hold.",
        level: Error,
    }
    TimedOut = "timed_out" {
        meaning: "The deployment was not stable within `timeout`. The digest is held for the service.",
        remedy: "Look at the tasks and the load balancer; push a corrected image, or lengthen `timeout` and release the hold.",
        level: Error,
    }
    RolledBack = "rolled_back" {
        meaning: "What ran before runs again, after a failure or on an operator's command.",
        remedy: "Push a corrected image, or release the hold.",
        level: Warn,
    }
    Superseded = "superseded" {
        meaning: "A newer push or another deployer took the place of the rollout.",
        remedy: "",
        level: Warn,
    }
    Refused = "refused" {
        meaning: "The service must not be rolled as it is set up, or ECS refuses the revision or the update for good.",
        remedy: "Change what the detail names, and push again or ask for a deployment.",
        level: Error,
    }
}
