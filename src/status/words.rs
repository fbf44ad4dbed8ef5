//! The words in the JSON of `status`, `plan` and `history`: closed sets, so that a reader compares variants and the compiler knows them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::skip::SkipReason;
use crate::domain::state::{Decision, Direction, Phase};
use crate::domain::words::{Word as _, described, words, words_in_json};

words! {
    /// Where a status comes from.
    pub enum Origin {
        Daemon = "daemon", "The running daemon.";
        StateFile = "state_file", "The state file: as things were when it was written.";
        Table = "table", "The table of several replicas: as things were when it was written last.";
    }
}

words! {
    /// Where a rollout goes.
    pub enum Way {
        Forward = "forward", "To a pushed image.";
        Back = "back", "To what ran before.";
    }
}

impl Way {
    /// The word for a direction.
    #[must_use]
    pub fn of_direction(direction: &Direction) -> Self {
        match direction {
            Direction::Forward => Self::Forward,
            Direction::Back { .. } => Self::Back,
        }
    }
}

words! {
    /// How far a rollout got.
    pub enum Step {
        Intended = "intended", "It is decided, and the revision is about to be registered.";
        Registered = "registered", "The revision is registered, and the service is about to be updated.";
        Before = "before", "A one-off task runs before the service is updated.";
        Rolling = "rolling", "ECS rolls it out.";
        Monitoring = "monitoring", "ECS has completed it, and it stays under watch.";
        Verify = "verify", "ECS has completed it, and a one-off task verifies it.";
    }
}

impl Step {
    /// The word for a phase.
    #[must_use]
    pub fn of_phase(phase: &Phase) -> Self {
        match phase {
            Phase::Intended => Self::Intended,
            Phase::Registered { .. } => Self::Registered,
            Phase::Task { rolled: None, .. } => Self::Before,
            Phase::Task { rolled: Some(_), .. } => Self::Verify,
            Phase::Rolling { monitored: None, .. } => Self::Rolling,
            Phase::Rolling { monitored: Some(_), .. } => Self::Monitoring,
        }
    }
}

words_in_json!(Origin, Way, Step);

/// Declares a word that is one of a few of its own, or a skip reason.
macro_rules! or_skipped {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $text:literal, $meaning:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = $meaning] $variant,)+
            /// No deployment, for this reason.
            Skipped(SkipReason),
        }

        impl $name {
            /// The word as it stands in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Skipped(reason) => reason.as_str(),
                }
            }

            /// Every word with its meaning: its own ones, then the skip reasons.
            #[must_use]
            pub fn described() -> Vec<(&'static str, &'static str)> {
                [vec![$(($text, $meaning)),+], described::<SkipReason>()].concat()
            }

            fn of(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    reason => SkipReason::of(reason).map(Self::Skipped),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::of(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is neither a decision nor a skip reason")))
            }
        }
    };
}

or_skipped! {
    /// What was decided about a push, for one service or for all.
    PushDecision {
        Deploy = "deploy", "The service is rolled to it.";
    }
}

impl PushDecision {
    /// The word for a decision.
    #[must_use]
    pub fn of_decision(decision: &Decision) -> Self {
        decision.skipped.map_or(Self::Deploy, Self::Skipped)
    }
}

or_skipped! {
    /// What would be decided about a push.
    PushForecast {
        Deploy = "deploy", "The service would be rolled to it.";
        Waits = "waits", "It waits at a gate, which the detail names.";
        Unknown = "unknown", "AWS could not be asked.";
    }
}

or_skipped! {
    /// How a service compares with what its policies select in ECR.
    Comparison {
        Same = "same", "The service runs what the policies select, or nothing is selected.";
        Differs = "differs", "A deployment would change the images that are listed.";
        Unknown = "unknown", "AWS could not be asked.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for (text, _) in PushForecast::described() {
            let read: PushForecast = serde_json::from_value(text.into()).unwrap();
            assert_eq!((serde_json::to_value(read).unwrap(), read.to_string()), (text.into(), text.to_owned()));
        }
        assert_eq!(Comparison::of("held"), Some(Comparison::Skipped(SkipReason::Held)));
        assert!(serde_json::from_str::<PushDecision>("\"unknown\"").is_err());
        assert!(serde_json::from_str::<Step>("\"forward\"").is_err());
    }
}
