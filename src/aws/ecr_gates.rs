//! Amazon ECR: what gates need to know of an image, its scan and its signatures.

use aws_sdk_ecr::types::{
    EnhancedImageScanFinding, ImageIdentifier, ImageScanFindings, ImageSigningStatus, ScanFrequency,
};
use serde_json::Value;

use super::AwsError;
use super::call::Caller;
use crate::domain::gate::scan::{Progress, Report, Severity};
use crate::domain::gate::signature::{self, Signature};
use crate::domain::printable::{LONGEST, printable};
use crate::domain::types::{Digest, RepositoryName};

/// Findings that ECR gives a page at most.
const PAGE: i32 = 1000;
/// Pages that are read for the names of findings. The counts are in the first one.
const PAGES: usize = 5;
/// The error of an image that was never scanned.
const SCAN_NOT_FOUND: &str = "ScanNotFoundException";
/// Media types of an index, by which ECR gives its manifest.
const INDEX: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

fn id(digest: &Digest) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest.as_str()).build()
}

/// Asks what the scan of an image found, by DescribeImageScanFindings.
pub(super) async fn scan(
    client: &aws_sdk_ecr::Client,
    caller: &Caller,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Report, AwsError> {
    let mut report = Report::of(Progress::NotBegun);
    let mut next = None;
    for _ in 0..PAGES {
        let request = client
            .describe_image_scan_findings()
            .repository_name(repository.as_str())
            .image_id(id(digest))
            .max_results(PAGE)
            .set_next_token(next);
        let answer = match caller.call("DescribeImageScanFindings", request.send()).await {
            Err(error) if error.code == SCAN_NOT_FOUND => return Ok(Report::of(Progress::NotBegun)),
            other => other?,
        };
        let status = answer.image_scan_status.as_ref();
        let word = status.and_then(|status| status.status.as_ref()).map_or("", |word| word.as_str());
        report.progress = progress(word, status.and_then(|status| status.description.as_deref()));
        if let Some(findings) = answer.image_scan_findings {
            add(&mut report, findings);
        }
        next = answer.next_token.filter(|token| !token.is_empty());
        if next.is_none() {
            break;
        }
    }
    report.names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    Ok(report)
}

/// What a status means (Amazon ECR API Reference, `ImageScanStatus`). `ACTIVE` is that of enhanced scanning, which goes on.
fn progress(status: &str, description: Option<&str>) -> Progress {
    let described = description.map(|text| format!(" ({})", printable(text, LONGEST))).unwrap_or_default();
    match status {
        "COMPLETE" | "ACTIVE" => Progress::Done,
        "FAILED"
        | "UNSUPPORTED_IMAGE"
        | "SCAN_ELIGIBILITY_EXPIRED"
        | "FINDINGS_UNAVAILABLE"
        | "LIMIT_EXCEEDED"
        | "IMAGE_ARCHIVED" => Progress::Impossible(format!("{status}{described}")),
        // IN_PROGRESS, PENDING, and what ECR may add.
        "" => Progress::NotBegun,
        other => Progress::UnderWay(printable(other, LONGEST)),
    }
}

/// The severity by ECR's word for it. INFORMATIONAL, UNDEFINED and UNTRIAGED refuse no image.
fn severity_of(word: &str) -> Option<Severity> {
    match word {
        "LOW" => Some(Severity::Low),
        "MEDIUM" => Some(Severity::Medium),
        "HIGH" => Some(Severity::High),
        "CRITICAL" => Some(Severity::Critical),
        _ => None,
    }
}

fn add(report: &mut Report, findings: ImageScanFindings) {
    // Each page has the counts of all findings.
    report.counts = findings
        .finding_severity_counts
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(severity, count)| Some((severity_of(severity.as_str())?, u64::try_from(count).ok()?)))
        .collect();
    let basic = findings.findings.unwrap_or_default().into_iter().filter_map(|finding| {
        let severity = severity_of(finding.severity?.as_str())?;
        Some((severity, printable(&finding.name?, LONGEST)))
    });
    report.names.extend(basic);
    let enhanced = findings.enhanced_findings.unwrap_or_default();
    report.names.extend(enhanced.into_iter().filter_map(of_enhanced));
}

fn of_enhanced(finding: EnhancedImageScanFinding) -> Option<(Severity, String)> {
    let severity = severity_of(&finding.severity?)?;
    let vulnerability = finding.package_vulnerability_details.and_then(|details| details.vulnerability_id);
    let name = vulnerability.or(finding.title).or(finding.finding_arn)?;
    Some((severity, printable(&name, LONGEST)))
}

/// BatchGetRepositoryScanningConfiguration. `None` where ECR does not tell.
pub(super) async fn is_scanned(
    client: &aws_sdk_ecr::Client,
    caller: &Caller,
    repository: &RepositoryName,
) -> Result<Option<bool>, AwsError> {
    let request = client.batch_get_repository_scanning_configuration().repository_names(repository.as_str());
    let answer = caller.call("BatchGetRepositoryScanningConfiguration", request.send()).await?;
    let found = answer.scanning_configurations.unwrap_or_default();
    Ok(found.into_iter().next().and_then(|one| {
        let frequency = one.scan_frequency?;
        Some(one.scan_on_push || frequency != ScanFrequency::Manual)
    }))
}

/// The images of an index, by BatchGetImage of the index alone. What only attests something of them is none.
pub(super) async fn children(
    client: &aws_sdk_ecr::Client,
    caller: &Caller,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Digest>, AwsError> {
    let request = client
        .batch_get_image()
        .repository_name(repository.as_str())
        .image_ids(id(digest))
        .set_accepted_media_types(Some(INDEX.map(str::to_owned).into()));
    let answer = caller.call("BatchGetImage", request.send()).await?;
    let manifest = answer.images.unwrap_or_default().into_iter().find_map(|image| image.image_manifest);
    let manifest: Value = manifest
        .and_then(|text| serde_json::from_str(&text).ok())
        .ok_or_else(|| caller.unusable("BatchGetImage", format!("the index {digest} has no manifest")))?;
    Ok(images_of(&manifest))
}

fn images_of(index: &Value) -> Vec<Digest> {
    const REFERENCE: &str = "vnd.docker.reference.type";
    let parts = index["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
    let images = parts.iter().filter(|part| part["annotations"][REFERENCE].as_str().is_none());
    images.filter_map(|part| Digest::parse(part["digest"].as_str()?).ok()).collect()
}

/// Asks for the signatures of an image, by DescribeImageSigningStatus.
pub(super) async fn signatures(
    client: &aws_sdk_ecr::Client,
    caller: &Caller,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Signature>, AwsError> {
    let request = client.describe_image_signing_status().repository_name(repository.as_str()).image_id(id(digest));
    let answer = caller.call("DescribeImageSigningStatus", request.send()).await?;
    Ok(answer.signing_statuses.unwrap_or_default().iter().filter_map(signature).collect())
}

fn signature(status: &ImageSigningStatus) -> Option<Signature> {
    let word = status.status.as_ref().map_or("", |word| word.as_str());
    let why = || {
        let parts = [status.failure_code.as_deref(), status.failure_reason.as_deref()];
        let told: Vec<String> = parts.into_iter().flatten().map(|text| printable(text, LONGEST)).collect();
        if told.is_empty() { "ECR does not say why".to_owned() } else { told.join(": ") }
    };
    let progress = match word {
        "COMPLETE" => signature::Progress::Complete,
        "FAILED" => signature::Progress::Failed(why()),
        _ => signature::Progress::UnderWay,
    };
    Some(Signature { profile: status.signing_profile_arn.clone()?, progress })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn every_status_of_a_scan_is_an_end_or_is_waited_for() {
        for status in ["COMPLETE", "ACTIVE"] {
            assert_eq!(progress(status, None), Progress::Done, "{status}");
        }
        for status in ["IN_PROGRESS", "PENDING", "SOMETHING_NEW"] {
            assert_eq!(progress(status, None), Progress::UnderWay(status.to_owned()));
        }
        let impossible = [
            "FAILED",
            "UNSUPPORTED_IMAGE",
            "SCAN_ELIGIBILITY_EXPIRED",
            "FINDINGS_UNAVAILABLE",
            "LIMIT_EXCEEDED",
            "IMAGE_ARCHIVED",
        ];
        for status in impossible {
            let described = progress(status, Some("why"));
            assert_eq!(described, Progress::Impossible(format!("{status} (why)")), "{status}");
        }
    }

    #[test]
    fn the_images_of_an_index_count_and_attestations_do_not() {
        let index = json!({"manifests": [
            {"digest": digest("a"), "platform": {"architecture": "amd64"}},
            {"digest": digest("b"), "platform": {"architecture": "arm64"}},
            {"digest": digest("c"), "platform": {"architecture": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        ]});
        let found: Vec<String> = images_of(&index).iter().map(ToString::to_string).collect();
        assert_eq!(found, [digest("a"), digest("b")]);
        assert!(images_of(&json!({})).is_empty());
    }
}
