//! The gate `signed_by`: whether signing profiles have signed an image (Amazon ECR managed signing, DescribeImageSigningStatus).

use std::time::Duration;

use jiff::Timestamp;

use super::scan::given_up;
use super::{Refusal, Verdict, Wait};
use crate::domain::skip::SkipReason;
use crate::domain::waiting::Gate;

/// How far one signature got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The signing status `COMPLETE`.
    Complete,
    /// `IN_PROGRESS`, and what ECR may add.
    UnderWay,
    /// `FAILED`, with what ECR says of it.
    Failed(String),
}

/// The signature of one signing profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The ARN of the signing profile.
    pub profile: String,
    /// How far it got.
    pub progress: Progress,
}

/// Judges the signatures of an image. `since` is when they were first waited for.
#[must_use]
pub fn judge(
    wanted: &[String],
    timeout: Duration,
    since: Timestamp,
    signatures: &[Signature],
    now: Timestamp,
) -> Verdict {
    let unsigned = |why: String| Verdict::Refuse(Refusal { reason: SkipReason::Unsigned, why });
    let mut pending = None;
    for profile in wanted {
        match signatures.iter().find(|one| &one.profile == profile).map(|one| &one.progress) {
            Some(Progress::Complete) => {}
            Some(Progress::Failed(why)) => return unsigned(format!("{profile} could not sign the image: {why}")),
            Some(Progress::UnderWay) => pending = Some(format!("{profile} is signing the image")),
            None => pending = Some(format!("{profile} has not signed the image")),
        }
    }
    let Some(pending) = pending else { return Verdict::Open };
    match given_up(timeout, since, now) {
        true => unsigned(format!(
            "{pending}, and {} are over: look at the registry's signing configuration, sign the image, then release the service",
            humantime::format_duration(timeout)
        )),
        false => Verdict::Wait(Wait { gate: Gate::Signature, why: pending, until: None, ask_again: true }),
    }
}
