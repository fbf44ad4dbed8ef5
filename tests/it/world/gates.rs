//! What ECR says of images beside where they are: scans and signatures.

use std::collections::BTreeMap;

use ecs_deployd::aws::{AwsError, Fault};
use ecs_deployd::domain::gate::scan::{Progress, Report, Severity};
use ecs_deployd::domain::gate::signature::{self, Signature};
use ecs_deployd::domain::types::Digest;

use super::World;
use super::faults::{error, with_fate};

#[derive(Debug, Default)]
pub struct AtGates {
    scans: BTreeMap<String, Report>,
    /// The repositories are scanned by order only.
    scanned_by_order: bool,
    signatures: BTreeMap<String, Vec<Signature>>,
    /// The images of each index.
    pub(super) indexes: BTreeMap<String, Vec<String>>,
}

impl World {
    /// The scan of an image got so far.
    pub fn scan_is(&self, digest: &str, progress: Progress) {
        self.lock().at_gates.scans.insert(digest.to_owned(), Report::of(progress));
    }

    /// The scan of an image is done, and found these.
    pub fn scan_finds(&self, digest: &str, findings: &[(Severity, &str)]) {
        let mut report = Report::of(Progress::Done);
        for (severity, name) in findings {
            *report.counts.entry(*severity).or_default() += 1;
            report.names.push((*severity, (*name).to_owned()));
        }
        self.lock().at_gates.scans.insert(digest.to_owned(), report);
    }

    /// Nothing is scanned without a request.
    pub fn scan_by_order(&self) {
        self.lock().at_gates.scanned_by_order = true;
    }

    /// A profile signs an image, or is about to.
    pub fn signed(&self, digest: &str, profile: &str, progress: signature::Progress) {
        let signature = Signature { profile: profile.to_owned(), progress };
        self.lock().at_gates.signatures.insert(digest.to_owned(), vec![signature]);
    }

    /// The images of an index.
    pub fn images_of(&self, index: &str) -> Vec<String> {
        self.lock().at_gates.indexes[index].clone()
    }

    pub(super) async fn scan_of(&self, digest: &Digest) -> Result<Report, AwsError> {
        let fate = self.call("DescribeImageScanFindings", digest.to_string()).await;
        with_fate(fate, "ecr", "DescribeImageScanFindings", || {
            let known = self.lock().at_gates.scans.get(digest.as_str()).cloned();
            Ok(known.unwrap_or_else(|| Report::of(Progress::NotBegun)))
        })
        .await
    }

    pub(super) async fn scans_on_push(&self) -> Result<Option<bool>, AwsError> {
        let operation = "BatchGetRepositoryScanningConfiguration";
        let fate = self.call(operation, String::new()).await;
        with_fate(fate, "ecr", operation, || Ok(Some(!self.lock().at_gates.scanned_by_order))).await
    }

    pub(super) async fn index_of(&self, digest: &Digest) -> Result<Vec<Digest>, AwsError> {
        let fate = self.call("BatchGetImage", digest.to_string()).await;
        with_fate(fate, "ecr", "BatchGetImage", || {
            let gone = || error("ecr", "BatchGetImage", Fault::NotFound, "ImageNotFoundException");
            let images = self.lock().at_gates.indexes.get(digest.as_str()).cloned().ok_or_else(gone)?;
            Ok(images.iter().map(|digest| Digest::parse(digest).unwrap()).collect())
        })
        .await
    }

    pub(super) async fn signatures_of(&self, digest: &Digest) -> Result<Vec<Signature>, AwsError> {
        let fate = self.call("DescribeImageSigningStatus", digest.to_string()).await;
        with_fate(fate, "ecr", "DescribeImageSigningStatus", || {
            Ok(self.lock().at_gates.signatures.get(digest.as_str()).cloned().unwrap_or_default())
        })
        .await
    }
}
