//! What operators permitted, and what gates refused.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::printable;
use super::super::skip::SkipReason;
use super::super::types::Digest;

/// A digest that an operator approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The digest.
    pub digest: Digest,
    /// The operator.
    #[serde(deserialize_with = "printable::text")]
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// An operator ordered a deployment outside of the windows: of what was pushed until then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowPass {
    /// The operator.
    #[serde(deserialize_with = "printable::text")]
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A digest that a gate refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRefusal {
    /// The digest.
    pub digest: Digest,
    /// Why.
    pub reason: SkipReason,
    /// When.
    pub at: Timestamp,
}
