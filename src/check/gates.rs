//! Whether ECR may be asked what the gates `scan` and `signed_by` ask, and whether images are scanned on push.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};

use super::of_error;
use crate::aws::{AwsContext, AwsError, Contexts, Fault};
use crate::config::Config;
use crate::domain::finding::{Finding, Severity};
use crate::domain::gate::{Gates, ScanLevel};
use crate::domain::settings::{RepositoryKey, RepositoryRule};
use crate::domain::types::Digest;

/// Repositories that are asked about at the same time.
const TOGETHER: usize = 4;
/// The digest of no image.
const NOWHERE: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// What is wrong, by the repository that it is about. The calls are tried with these images; where a repository has none, with one that is
/// nowhere, since whether a call is allowed is judged before what it names.
pub(super) async fn findings<'a>(
    config: &'a Config,
    contexts: &Contexts,
    images: &BTreeMap<RepositoryKey, Digest>,
) -> Vec<(&'a RepositoryKey, Finding)> {
    let asked = config.repositories.iter().filter_map(|(key, rule)| {
        let context = contexts.get(&key.aws)?;
        let asks = Asks::of(rule);
        let digest = images.get(key).cloned().or_else(|| Digest::parse(NOWHERE).ok())?;
        asks.is_any().then_some(async move { (key, of_repository(context, key, asks, &digest).await) })
    });
    let answers: Vec<_> = stream::iter(asked).buffered(TOGETHER).collect().await;
    answers.into_iter().flat_map(|(key, found)| found.into_iter().map(move |finding| (key, finding))).collect()
}

/// What the gates of a repository's services ask.
#[derive(Debug, Clone, Copy)]
struct Asks {
    scans: bool,
    signatures: bool,
}

impl Asks {
    fn of(rule: &RepositoryRule) -> Self {
        let any = |asks: fn(&Gates) -> bool| rule.services.iter().any(|service| asks(&service.deploy.gates));
        Self { scans: any(|gates| gates.scan != ScanLevel::Off), signatures: any(|gates| !gates.signed_by.is_empty()) }
    }

    fn is_any(self) -> bool {
        self.scans || self.signatures
    }
}

async fn of_repository(context: &AwsContext, key: &RepositoryKey, asks: Asks, digest: &Digest) -> Vec<Finding> {
    let subject = format!("repository {}", key.name);
    let (ecr, name) = (&context.ecr, &key.name);
    let mut errors: Vec<AwsError> = Vec::new();
    let mut found = Vec::new();
    if asks.scans {
        errors.extend(ecr.scan(name, digest).await.err());
        errors.extend(ecr.images_of_index(name, digest).await.err());
        match ecr.is_scanned(name).await {
            Ok(Some(false)) => found.push(not_scanned(&subject)),
            Ok(Some(true) | None) => {}
            Err(error) => errors.push(error),
        }
    }
    if asks.signatures {
        errors.extend(ecr.signatures(name, digest).await.err());
    }
    // What is wrong with all calls, or with the repository, is said elsewhere; the image may be none that is scanned.
    let denied = errors.iter().filter(|error| error.fault == Fault::Denied);
    found.extend(denied.map(|error| of_error(&subject, error)));
    found
}

fn not_scanned(subject: &str) -> Finding {
    let message = "its images are not scanned on push, and services that follow it have the gate `scan`: each push is skipped \
                   (scan_missing) unless somebody scans the image before";
    let remedy = "turn scanning on push on (ecr put-registry-scanning-configuration), or set scan = \"off\"";
    Finding::new(Severity::Warning, "not_scanned", subject.to_owned(), message, remedy)
}
