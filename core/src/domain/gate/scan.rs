//! The gate `scan`: what ECR's scan of an image found.
//!
//! The states are those of DescribeImageScanFindings (Amazon ECR API Reference, `ImageScanStatus`). Of a multi-architecture image each image of
//! the index is scanned by itself, and the worst of them counts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Refusal, Verdict, Wait};
use crate::domain::aws_error::{AwsError, Fault};
use crate::domain::skip::SkipReason;
use crate::domain::waiting::Gate;
use crate::domain::words::words;

/// Findings that are told by name.
const NAMED: usize = 5;

words! {
    /// The findings that an image is refused for.
    pub enum ScanLevel {
        Off = "off", "None: the scan is not asked for.";
        Critical = "critical", "Those of the severity CRITICAL.";
        High = "high", "HIGH and worse.";
        Medium = "medium", "MEDIUM and worse.";
        Low = "low", "LOW and worse.";
    }
}

impl ScanLevel {
    /// The least severity that an image is refused for.
    fn least(self) -> Option<Severity> {
        match self {
            Self::Off => None,
            Self::Critical => Some(Severity::Critical),
            Self::High => Some(Severity::High),
            Self::Medium => Some(Severity::Medium),
            Self::Low => Some(Severity::Low),
        }
    }
}

/// A severity that ECR gives a finding; the others (INFORMATIONAL, UNDEFINED, UNTRIAGED) refuse no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Findings of the severity `LOW`.
    Low,
    /// Findings of the severity `MEDIUM`.
    Medium,
    /// Findings of the severity `HIGH`.
    High,
    /// Findings of the severity `CRITICAL`.
    Critical,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}

/// How far the scan of one image got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is complete; enhanced scanning goes on with what is found later.
    Done,
    /// It is under way, or about to be. ECR's word for it.
    UnderWay(String),
    /// There is no scan of the image yet.
    NotBegun,
    /// There is none, and the repository is not scanned on push.
    Off,
    /// There will be none: ECR's word for it, and its description.
    Impossible(String),
}

/// The scan of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How far it got.
    pub progress: Progress,
    /// The number of findings of each severity.
    pub counts: BTreeMap<Severity, u64>,
    /// Findings by name, the worst first.
    pub names: Vec<(Severity, String)>,
}

/// The reports of scans that have not begun, once it was asked whether pushes to the repository are scanned (`None`: ECR does not tell): where
/// they are not, none will begin. What is not known for sure refuses nothing: the scan is waited for.
///
/// # Errors
/// It was asked in vain, and may be known the next time.
pub fn with_scanning(
    mut reports: Vec<Report>,
    is_scanned: Result<Option<bool>, AwsError>,
) -> Result<Vec<Report>, AwsError> {
    let is_off = match is_scanned {
        Ok(told) => told == Some(false),
        Err(error) => match error.fault {
            Fault::Denied | Fault::Refused | Fault::NotFound => false,
            Fault::Throttled | Fault::Credentials | Fault::Unavailable => return Err(error),
        },
    };
    for report in reports.iter_mut().filter(|report| is_off && report.progress == Progress::NotBegun) {
        report.progress = Progress::Off;
    }
    Ok(reports)
}

impl Report {
    /// A scan that found nothing.
    #[must_use]
    pub fn of(progress: Progress) -> Self {
        Self { progress, counts: BTreeMap::new(), names: Vec::new() }
    }
}

/// Judges the scans of an image. `since` is when they were first waited for.
#[must_use]
pub fn judge(level: ScanLevel, timeout: Duration, since: Timestamp, reports: &[Report], now: Timestamp) -> Verdict {
    let Some(least) = level.least() else { return Verdict::Open };
    let missing = |why: String| Verdict::Refuse(Refusal { reason: SkipReason::ScanMissing, why });
    if let Some(why) = findings(reports, least) {
        return Verdict::Refuse(Refusal { reason: SkipReason::ScanFindings, why });
    }
    let mut pending = reports.is_empty().then(|| "ECR tells of no image in the index".to_owned());
    for report in reports {
        match &report.progress {
            Progress::Done => {}
            Progress::Impossible(status) => {
                return missing(format!(
                    "ECR could not scan the image: {status}; build it from a supported image, or set scan = \"off\" for the service"
                ));
            }
            Progress::Off => {
                return missing(
                    "the image was not scanned, as the repository is not scanned on push: turn that on (ecr put-registry-scanning-configuration), \
                     scan the image (ecr start-image-scan), then release the service"
                        .to_owned(),
                );
            }
            Progress::UnderWay(status) => pending = Some(format!("ECR scans the image ({status})")),
            Progress::NotBegun => {
                pending.get_or_insert_with(|| "ECR has not begun to scan the image".to_owned());
            }
        }
    }
    let Some(pending) = pending else { return Verdict::Open };
    match given_up(timeout, since, now) {
        true => missing(format!(
            "{pending}, and did not end that within {}; when it has, release the service",
            humantime::format_duration(timeout)
        )),
        false => Verdict::Wait(Wait { gate: Gate::Scan, why: pending, until: None, ask_again: true }),
    }
}

/// Whether something is not waited for any longer.
pub(super) fn given_up(timeout: Duration, since: Timestamp, now: Timestamp) -> bool {
    SignedDuration::try_from(timeout).is_ok_and(|timeout| now.duration_since(since) >= timeout)
}

/// What was found of this severity or worse, if anything was.
fn findings(reports: &[Report], least: Severity) -> Option<String> {
    let mut counts: BTreeMap<Severity, u64> = BTreeMap::new();
    let mut names: Vec<(Severity, &str)> = Vec::new();
    for report in reports.iter().filter(|report| report.progress == Progress::Done) {
        for (severity, count) in report.counts.iter().filter(|(severity, _)| **severity >= least) {
            *counts.entry(*severity).or_default() += count;
        }
        names.extend(report.names.iter().filter(|(at, _)| *at >= least).map(|(at, name)| (*at, name.as_str())));
    }
    let worst_first = counts.iter().rev().filter(|(_, count)| **count > 0);
    let told: Vec<String> = worst_first.map(|(severity, count)| format!("{count} {}", severity.as_str())).collect();
    if told.is_empty() {
        return None;
    }
    names.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    names.dedup();
    names.truncate(NAMED);
    let names: Vec<&str> = names.into_iter().map(|(_, name)| name).collect();
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    Some(format!("ECR's scan found {}{names}", told.join(", ")))
}
