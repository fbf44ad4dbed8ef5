//! ECR: repositories, images, and tags that move.

use std::collections::BTreeMap;

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, Ecr, Fault, ImagePage, REPOSITORY_NOT_FOUND};
use ecs_deployd::domain::gate::scan::Report;
use ecs_deployd::domain::gate::signature::Signature;
use ecs_deployd::domain::image::Registry;
use ecs_deployd::domain::types::{AccountId, Digest, DnsSuffix, Region, RepositoryName, Tag};
use ecs_deployd::domain::view::ImageView;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::faults::{error, with_fate};
use super::{ACCOUNT, Inner, REGION, World};

#[derive(Debug, Default)]
pub struct Repository {
    images: BTreeMap<String, Image>,
    tags: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Image {
    pushed_at: Timestamp,
    artifact_type: &'static str,
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.config.v1+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// The digest of a manifest.
pub fn manifest_digest(manifest: &str) -> String {
    let bytes = Sha256::digest(manifest.as_bytes());
    format!("sha256:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A repository's address.
pub fn image_uri(repository: &str) -> String {
    uri_of(ACCOUNT, repository)
}

fn uri_of(account: &str, repository: &str) -> String {
    format!("{account}.dkr.ecr.{REGION}.amazonaws.com/{repository}")
}

impl World {
    /// The address of a repository of this account.
    pub fn image_uri(&self, repository: &str) -> String {
        uri_of(self.lock().account, repository)
    }

    pub fn create_repository(&self, name: &str) {
        self.lock().repositories.entry(name.to_owned()).or_default();
    }

    /// Pushes an image; CloudTrail reports it at once. Gives the digest.
    pub fn push(&self, repository: &str, tag: &str, content: &str) -> String {
        self.push_late(repository, tag, content, SignedDuration::ZERO)
    }

    /// Pushes an image; CloudTrail reports it after a while.
    pub fn push_late(&self, repository: &str, tag: &str, content: &str, late: SignedDuration) -> String {
        self.lock().put_image(repository, Some(tag), content, IMAGE, late)
    }

    /// Pushes a multi-architecture image: the children without a tag, then the index.
    pub fn push_index(&self, repository: &str, tag: &str, content: &str, late: SignedDuration) -> String {
        let mut inner = self.lock();
        let mut images = Vec::new();
        for platform in ["amd64", "arm64"] {
            images.push(inner.put_image(repository, None, &format!("{content} for {platform}"), IMAGE, late));
        }
        let index = inner.put_image(repository, Some(tag), content, IMAGE, late);
        inner.at_gates.indexes.insert(index.clone(), images);
        index
    }

    /// Pushes the signature of an image under a tag of its own.
    pub fn push_signature(&self, repository: &str, tag: &str) {
        self.lock().put_image(repository, Some(tag), &format!("signature {tag}"), SIGNATURE, SignedDuration::ZERO);
    }

    pub fn has_tag(&self, repository: &str, tag: &str) -> bool {
        self.lock().repositories[repository].tags.contains_key(tag)
    }

    /// Deletes an image with its tags, as a lifecycle policy does.
    pub fn delete_image(&self, repository: &str, digest: &str) {
        let mut inner = self.lock();
        let repository = inner.repositories.get_mut(repository).unwrap();
        repository.images.remove(digest);
        repository.tags.retain(|_, of| of != digest);
    }

    pub fn delete_tag(&self, repository: &str, tag: &str) {
        self.lock().repositories.get_mut(repository).unwrap().tags.remove(tag);
    }
}

impl Inner {
    fn put_image(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        content: &str,
        artifact_type: &'static str,
        late: SignedDuration,
    ) -> String {
        let manifest = format!("{{\"schemaVersion\":2,\"x\":\"{content}\"}}");
        let digest = manifest_digest(&manifest);
        let pushed_at = self.now();
        let known = self.repositories.get_mut(repository).expect("the repository was created");
        known.images.entry(digest.clone()).or_insert(Image { pushed_at, artifact_type });
        if let Some(tag) = tag {
            known.tags.insert(tag.to_owned(), digest.clone());
        }
        self.record_push(repository, tag, &manifest, late);
        self.tell_queue(repository, tag, &digest);
        digest
    }

    /// What an image reference resolves to.
    pub(super) fn resolve(&self, image: &str) -> Option<String> {
        if let Some((_, digest)) = image.split_once('@') {
            return Some(digest.to_owned());
        }
        let (name, tag) = image.rsplit_once(':')?;
        let repository = name.split_once('/')?.1;
        self.repositories.get(repository)?.tags.get(tag).cloned()
    }

    fn repository(&self, name: &RepositoryName) -> Result<&Repository, AwsError> {
        if self.silent.contains(name.as_str()) {
            return Err(error("ecr", "DescribeImages", Fault::Denied, "AccessDeniedException"));
        }
        let gone = || error("ecr", "DescribeImages", Fault::NotFound, REPOSITORY_NOT_FOUND);
        self.repositories.get(name.as_str()).ok_or_else(gone)
    }

    fn image_view(&self, repository: &Repository, digest: &str) -> ImageView {
        ImageView {
            registry: Registry {
                account: AccountId::parse(self.account).unwrap(),
                region: Region::parse(REGION).unwrap(),
                suffix: DnsSuffix::parse("amazonaws.com").unwrap(),
            },
            digest: Digest::parse(digest).unwrap(),
            tags: repository
                .tags
                .iter()
                .filter(|(_, of)| *of == digest)
                .map(|(tag, _)| Tag::parse(tag).unwrap())
                .collect(),
            pushed_at: repository.images.get(digest).map(|image| image.pushed_at),
            manifest_type: self.at_gates.indexes.contains_key(digest).then(|| INDEX.to_owned()),
            artifact_type: repository.images.get(digest).map(|image| image.artifact_type.to_owned()),
            refers: false,
        }
    }
}

#[async_trait]
impl Ecr for World {
    async fn describe_tags(&self, repository: &RepositoryName, tags: &[Tag]) -> Result<Vec<ImageView>, AwsError> {
        let fate = self.call("DescribeImages", format!("{repository} {tags:?}")).await;
        with_fate(fate, "ecr", "DescribeImages", || {
            let inner = self.lock();
            let known = inner.repository(repository)?;
            let mut digests: Vec<&String> = tags.iter().filter_map(|tag| known.tags.get(tag.as_str())).collect();
            digests.sort();
            digests.dedup();
            Ok(digests.into_iter().map(|digest| inner.image_view(known, digest)).collect())
        })
        .await
    }

    async fn describe_digests(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Vec<ImageView>, AwsError> {
        let fate = self.call("DescribeImages", format!("{repository} {digests:?}")).await;
        with_fate(fate, "ecr", "DescribeImages", || {
            let inner = self.lock();
            let known = inner.repository(repository)?;
            let there = digests.iter().filter(|digest| known.images.contains_key(digest.as_str()));
            Ok(there.map(|digest| inner.image_view(known, digest.as_str())).collect())
        })
        .await
    }

    async fn list_tagged(&self, repository: &RepositoryName, next: Option<String>) -> Result<ImagePage, AwsError> {
        let fate = self.call("DescribeImages", format!("{repository} *")).await;
        with_fate(fate, "ecr", "DescribeImages", || {
            let inner = self.lock();
            let known = inner.repository(repository)?;
            let tagged: Vec<ImageView> = known
                .images
                .keys()
                .map(|digest| inner.image_view(known, digest))
                .filter(|image| !image.tags.is_empty())
                .collect();
            let offset = next.map_or(0, |next| next.parse().unwrap());
            let images: Vec<ImageView> = tagged.iter().skip(offset).take(3).cloned().collect();
            Ok(ImagePage { images, next: (offset + 3 < tagged.len()).then(|| (offset + 3).to_string()) })
        })
        .await
    }

    async fn scan(&self, _: &RepositoryName, digest: &Digest) -> Result<Report, AwsError> {
        self.scan_of(digest).await
    }

    async fn is_scanned(&self, _: &RepositoryName) -> Result<Option<bool>, AwsError> {
        self.scans_on_push().await
    }

    async fn images_of_index(&self, _: &RepositoryName, digest: &Digest) -> Result<Vec<Digest>, AwsError> {
        self.index_of(digest).await
    }

    async fn signatures(&self, _: &RepositoryName, digest: &Digest) -> Result<Vec<Signature>, AwsError> {
        self.signatures_of(digest).await
    }
}
