//! What operators permitted, and what gates refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::printable;
use super::super::skip::SkipReason;
use super::super::types::Digest;

/// A digest that an operator approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The digest of the image.
    pub digest: Digest,
    /// The operator who gave the command.
    #[serde(deserialize_with = "printable::text")]
    pub by: String,
    /// The time at which it was said.
    pub at: Timestamp,
}

/// An operator asked for a deployment outside of the windows: of what was pushed until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPass {
    /// The operator who gave the command.
    #[serde(deserialize_with = "printable::text")]
    pub by: String,
    /// The time at which it was said.
    pub at: Timestamp,
}

/// A digest that a gate refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRefusal {
    /// The digest of the image.
    pub digest: Digest,
    /// Why it is not deployed.
    pub reason: SkipReason,
    /// The time at which it was said.
    pub at: Timestamp,
}
