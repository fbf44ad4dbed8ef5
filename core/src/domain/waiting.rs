//! What waits, where, and for what.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::deployment::HookTarget;
use super::types::{Digest, RepositoryName, Tag};
use super::words::{words, words_in_json};

words! {
    /// Where something waits: a closed set, the same in metrics, status and notifications.
    pub enum Gate {
        After = "after", "A service that comes first and has not run the digest for long enough: `after` and `bake`.";
        Window = "window", "The next of `windows`, or the end of a `freeze`.";
        Approval = "approval", "An operator's approval of the digest.";
        Scan = "scan", "The end of ECR's scan of the image.";
        Signature = "signature", "The signature of a signing profile.";
        Pause = "pause", "A lifecycle hook of ECS, at which its deployment waits for an answer.";
    }
}

words_in_json!(Gate);

/// Something that waits for one service. It is kept in the state, so that it is reported once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The gate where it waits.
    pub gate: Gate,
    /// Since when it waits.
    pub since: Timestamp,
    /// The repository of what waits.
    pub repository: RepositoryName,
    /// The tag of what waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The digest of what waits.
    pub digest: Digest,
    /// What is waited for, for people.
    pub reason: String,
    /// When the waiting ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The lifecycle stage of ECS's deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The hook that ECS waits at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Hook>,
    /// Whether it was reported to people already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reported: bool,
}

/// The hook that ECS waits at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The id that ContinueServiceDeployment takes.
    pub id: String,
    /// What acts at it.
    pub target: HookTarget,
    /// The service deployment that waits.
    pub service_deployment: String,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        write!(f, "{}{tag} waits since {:.0}: {}", self.repository, self.since, self.why())
    }
}

impl Waiting {
    /// What is waited for, and until when, for people.
    #[must_use]
    pub fn why(&self) -> String {
        let reason = &self.reason;
        match (self.until, self.gate) {
            // A window says itself when it opens.
            (None, _) | (Some(_), Gate::Window) => reason.clone(),
            (Some(until), Gate::After) => format!("{reason}; the gate opens at {until:.0}"),
            (Some(until), Gate::Approval | Gate::Scan | Gate::Signature | Gate::Pause) => {
                format!("{reason}; the waiting ends by itself at {until:.0}")
            }
        }
    }

    /// The image that waits, for people.
    #[must_use]
    pub fn image(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        format!("{}{tag} ({})", self.repository, self.digest)
    }

    /// Whether both mean the same waiting, whatever was seen of it since.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        (self.gate, &self.repository, &self.digest, &self.hook)
            == (other.gate, &other.repository, &other.digest, &other.hook)
    }

    /// Whether an operator means what waits by a tag or a digest.
    #[must_use]
    pub fn is_called(&self, named: &str) -> bool {
        self.digest.as_str() == named || self.tag.as_ref().is_some_and(|tag| tag.as_str() == named)
    }
}
