//! The gate `approval`: an operator approves each digest.

use super::{Subject, Verdict, Wait};
use crate::domain::state::Approval;
use crate::domain::waiting::Gate;
use crate::domain::words::words;

words! {
    /// Whether a rollout waits for an operator.
    pub enum Approvals {
        None = "none", "It does not.";
        Required = "required", "It waits for `ecs-deployd approve`, which is bound to the digest.";
    }
}

/// Whether the digest was approved.
#[must_use]
pub fn judge(approvals: Approvals, subject: &Subject<'_>, approved: Option<&Approval>) -> Verdict {
    let is_approved = approved.is_some_and(|approval| &approval.digest == subject.digest);
    match approvals {
        Approvals::Required if !is_approved => Verdict::Wait(Wait {
            gate: Gate::Approval,
            why: format!(
                "approve it with: {}, or hold it with: ecs-deployd reject {}",
                command(subject),
                subject.service
            ),
            until: None,
            ask_again: false,
        }),
        Approvals::None | Approvals::Required => Verdict::Open,
    }
}

/// The command that approves what waits, and nothing else.
fn command(subject: &Subject<'_>) -> String {
    format!("ecs-deployd approve {} --image {}", subject.service, subject.digest)
}
