//! Gates: what has to be so before a rollout begins.
//!
//! Each gate is one file, a pure function of configuration, evidence and time. It is open, it waits, with a reason for people and the time at
//! which it is worth to ask again, or it refuses, with a skip reason. All gates of a service are judged with the evidence of the moment in
//! which its rollout would begin. Going back asks no gate.

pub mod after;
pub mod approval;
pub mod copy;
pub mod scan;
pub mod signature;
mod through;
pub mod window;
mod zoned;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::settings::RepositoryKey;
use super::skip::SkipReason;
use super::state::{Approval, PushRef, ServiceState, WindowPass};
use super::types::{Digest, ServiceKey};
use super::view::{ImageView, ServiceView};
use super::waiting::{Gate, Waiting};

pub use approval::Approvals;
pub use scan::ScanLevel;
pub use through::{GatedPlan, Passage, Promoted, plan};
pub use window::{Freeze, Window};

/// The gates of a service: a part of `[deploy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gates {
    /// The services that have to run a digest first.
    pub after: Vec<ServiceKey>,
    /// For how long, without a break.
    pub bake: Duration,
    /// Rollouts begin within one of these only; none: at any time.
    pub windows: Vec<Window>,
    /// Days on which no rollout begins.
    pub freezes: Vec<Freeze>,
    /// Whether an operator has to approve each digest.
    pub approval: Approvals,
    /// The findings of ECR's scan that an image is refused for.
    pub scan: ScanLevel,
    /// How long the end of a scan, or a signature, is waited for.
    pub scan_timeout: Duration,
    /// The ARNs of the signing profiles that must have signed an image.
    pub signed_by: Vec<String>,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            after: Vec::new(),
            bake: Duration::ZERO,
            windows: Vec::new(),
            freezes: Vec::new(),
            approval: Approvals::None,
            scan: ScanLevel::Off,
            scan_timeout: Duration::from_mins(30),
            signed_by: Vec::new(),
        }
    }
}

impl Gates {
    /// Whether a gate judges the digest, so that a revision must name that digest and no tag.
    #[must_use]
    pub fn judge_the_digest(&self) -> bool {
        !self.after.is_empty()
            || self.approval == Approvals::Required
            || self.scan != ScanLevel::Off
            || !self.signed_by.is_empty()
    }

    /// Whether there is no gate that could be closed.
    #[must_use]
    pub fn are_open(&self) -> bool {
        !self.judge_the_digest() && self.windows.is_empty() && self.freezes.is_empty()
    }

    /// What has to be asked about an image.
    fn request(&self, subject: &Subject<'_>) -> Option<ImageRequest> {
        let (scan, signatures) = (self.scan != ScanLevel::Off, !self.signed_by.is_empty());
        (scan || signatures).then(|| ImageRequest {
            repository: subject.repository.clone(),
            digest: subject.digest.clone(),
            index: subject.image.is_some_and(ImageView::is_index),
            scan,
            signatures,
        })
    }
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The gate is open: the rollout may begin.
    Open,
    /// The gate is closed for now.
    Wait(Wait),
    /// Never: the push is skipped.
    Refuse(Refusal),
    /// This has to be asked first.
    Ask(ImageRequest),
}

/// A gate that is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The gate that is closed.
    pub gate: Gate,
    /// What is waited for, for people.
    pub why: String,
    /// When it opens by itself, as far as that is known.
    pub until: Option<Timestamp>,
    /// Whether it can open without anything that this program gets to know of: then AWS is asked again, less and less often.
    pub ask_again: bool,
}

/// A gate that stays closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The skip reason of the push.
    pub reason: SkipReason,
    /// The particulars, with the remedy.
    pub why: String,
}

/// What is asked of ECR about one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRequest {
    /// The repository that was pushed to.
    pub repository: RepositoryKey,
    /// The digest of the image.
    pub digest: Digest,
    /// Whether it is the digest of an index, the images of which are scanned one by one.
    pub index: bool,
    /// Whether the scan is asked for.
    pub scan: bool,
    /// Whether the signatures are asked for.
    pub signatures: bool,
}

/// What ECR answered about one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageReport {
    /// The scan of the image; of an index: of each of its images.
    pub scans: Vec<scan::Report>,
    /// The signatures, by signing profile.
    pub signatures: Vec<signature::Signature>,
}

/// What the gates of a service judge.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What operators call the service.
    pub service: &'a str,
    /// The repository of the image.
    pub repository: &'a RepositoryKey,
    /// The digest that would be rolled out.
    pub digest: &'a Digest,
    /// The push that asks for it.
    pub push: &'a PushRef,
    /// The image in ECR.
    pub image: Option<&'a ImageView>,
}

/// A service that another one comes after.
#[derive(Debug, Clone, Copy)]
pub struct Other<'a> {
    /// What operators call it.
    pub name: &'a str,
    /// What is on record of it.
    pub known: Option<&'a ServiceState>,
    /// What ECS says of it; `None` where ECS was not asked.
    pub seen: Option<Option<&'a ServiceView>>,
}

/// What the gates go by.
#[derive(Debug, Clone, Default)]
pub struct Evidence<'a> {
    /// The services that the service comes after.
    pub others: Vec<Other<'a>>,
    /// What was approved, by repository.
    pub approved: Option<&'a BTreeMap<RepositoryKey, Approval>>,
    /// Whether an operator has windows and freezes passed.
    pub passes_windows: Option<&'a WindowPass>,
    /// What waits for this service already.
    pub waiting: Option<&'a Waiting>,
    /// What ECR said of images, and is fresh.
    pub found: BTreeMap<(RepositoryKey, Digest), ImageReport>,
}

impl Evidence<'_> {
    /// Since when the digest waits at a gate: from now on, if it does not wait there yet.
    fn since(&self, gate: Gate, digest: &Digest, now: Timestamp) -> Timestamp {
        let there = self.waiting.filter(|waiting| waiting.gate == gate && &waiting.digest == digest);
        there.map_or(now, |waiting| waiting.since.min(now))
    }
}

/// Judges all gates, in the order in which a push goes through them: what is refused is refused before an operator is asked for an approval,
/// and an approval is asked for before the window opens.
#[must_use]
pub fn judge(gates: &Gates, subject: &Subject<'_>, evidence: &Evidence<'_>, now: Timestamp) -> Verdict {
    let after = after::judge(&evidence.others, gates.bake, subject.digest, now);
    if after != Verdict::Open {
        return after;
    }
    if let Some(request) = gates.request(subject) {
        let Some(found) = evidence.found.get(&(subject.repository.clone(), subject.digest.clone())) else {
            return Verdict::Ask(request);
        };
        let since = |gate| evidence.since(gate, subject.digest, now);
        let scanned = scan::judge(gates.scan, gates.scan_timeout, since(Gate::Scan), &found.scans, now);
        let signed =
            || signature::judge(&gates.signed_by, gates.scan_timeout, since(Gate::Signature), &found.signatures, now);
        let verdict = if scanned == Verdict::Open { signed() } else { scanned };
        if verdict != Verdict::Open {
            return verdict;
        }
    }
    let approved = evidence.approved.and_then(|approved| approved.get(subject.repository));
    let approval = approval::judge(gates.approval, subject, approved);
    if approval != Verdict::Open {
        return approval;
    }
    let passes = evidence.passes_windows.is_some_and(|pass| subject.push.is_command() || subject.push.at <= pass.at);
    if passes { Verdict::Open } else { window::judge(&gates.windows, &gates.freezes, now) }
}

#[cfg(test)]
mod tests;
