//! Amazon ECR: DescribeImages, which is no pull.

use async_trait::async_trait;
use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{DescribeImagesFilter, ImageDetail, ImageIdentifier, TagStatus};

use super::call::{Caller, timestamp};
use super::{AwsError, Ecr, Fault, ImagePage, REPOSITORY_NOT_FOUND, ecr_gates};
use crate::domain::gate::scan::Report;
use crate::domain::gate::signature::Signature;
use crate::domain::image::Registry;
use crate::domain::types::{AccountId, Digest, DnsSuffix, Region, RepositoryName, Tag};
use crate::domain::view::ImageView;

const OPERATION: &str = "DescribeImages";
/// ECR gives at most 1000 images a page.
const PAGE: i32 = 1000;

#[derive(Debug)]
pub(super) struct SdkEcr {
    pub(super) client: Client,
    pub(super) caller: Caller,
    /// The Region that the client asks.
    pub(super) region: Region,
    /// The DNS suffix of that Region's partition.
    pub(super) suffix: DnsSuffix,
}

impl SdkEcr {
    async fn describe(
        &self,
        repository: &RepositoryName,
        ids: Vec<ImageIdentifier>,
    ) -> Result<Vec<ImageView>, AwsError> {
        let request = self.client.describe_images().repository_name(repository.as_str()).set_image_ids(Some(ids));
        let answer = self.caller.call(OPERATION, request.send()).await?;
        Ok(answer.image_details.unwrap_or_default().into_iter().filter_map(|image| self.view(image)).collect())
    }

    fn view(&self, detail: ImageDetail) -> Option<ImageView> {
        let account = AccountId::parse(&detail.registry_id?).ok()?;
        Some(ImageView {
            registry: Registry { account, region: self.region.clone(), suffix: self.suffix.clone() },
            digest: Digest::parse(&detail.image_digest?).ok()?,
            tags: detail.image_tags.unwrap_or_default().iter().filter_map(|tag| Tag::parse(tag).ok()).collect(),
            pushed_at: detail.image_pushed_at.as_ref().and_then(timestamp),
            manifest_type: detail.image_manifest_media_type,
            artifact_type: detail.artifact_media_type,
            refers: detail.subject_manifest_digest.is_some(),
        })
    }

    /// One image that is gone fails the request for all of them: then each is asked for alone.
    async fn describe_those_there(
        &self,
        repository: &RepositoryName,
        ids: Vec<ImageIdentifier>,
    ) -> Result<Vec<ImageView>, AwsError> {
        match self.describe(repository, ids.clone()).await {
            Err(error) if is_gone(&error) && ids.len() > 1 => {
                let mut images = Vec::new();
                for id in ids {
                    match self.describe(repository, vec![id]).await {
                        Ok(found) => images.extend(found),
                        Err(error) if is_gone(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(images)
            }
            Err(error) if is_gone(&error) => Ok(Vec::new()),
            other => other,
        }
    }
}

#[async_trait]
impl Ecr for SdkEcr {
    async fn describe_tags(&self, repository: &RepositoryName, tags: &[Tag]) -> Result<Vec<ImageView>, AwsError> {
        let id = |tag: &Tag| ImageIdentifier::builder().image_tag(tag.as_str()).build();
        self.describe_those_there(repository, tags.iter().map(id).collect()).await
    }

    async fn describe_digests(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Vec<ImageView>, AwsError> {
        let id = |digest: &Digest| ImageIdentifier::builder().image_digest(digest.as_str()).build();
        self.describe_those_there(repository, digests.iter().map(id).collect()).await
    }

    async fn list_tagged(&self, repository: &RepositoryName, next: Option<String>) -> Result<ImagePage, AwsError> {
        let request = self
            .client
            .describe_images()
            .repository_name(repository.as_str())
            .filter(DescribeImagesFilter::builder().tag_status(TagStatus::Tagged).build())
            .max_results(PAGE)
            .set_next_token(next);
        let answer = self.caller.call(OPERATION, request.send()).await?;
        Ok(ImagePage {
            images: answer.image_details.unwrap_or_default().into_iter().filter_map(|image| self.view(image)).collect(),
            next: answer.next_token.filter(|token| !token.is_empty()),
        })
    }

    async fn scan(&self, repository: &RepositoryName, digest: &Digest) -> Result<Report, AwsError> {
        ecr_gates::scan(&self.client, &self.caller, repository, digest).await
    }

    async fn is_scanned(&self, repository: &RepositoryName) -> Result<Option<bool>, AwsError> {
        ecr_gates::is_scanned(&self.client, &self.caller, repository).await
    }

    async fn images_of_index(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Digest>, AwsError> {
        ecr_gates::children(&self.client, &self.caller, repository, digest).await
    }

    async fn signatures(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Signature>, AwsError> {
        ecr_gates::signatures(&self.client, &self.caller, repository, digest).await
    }
}

/// An image is not there. That its whole repository is not there is something else.
fn is_gone(error: &AwsError) -> bool {
    error.fault == Fault::NotFound && error.code != REPOSITORY_NOT_FOUND
}
