//! The listings that `init` and discovery read.

use async_trait::async_trait;
use aws_sdk_ecr::types::ImageTagMutability;

use super::call::Caller;
use super::{AwsError, Inventory};
use crate::domain::types::{EcsName, RepositoryName};
use crate::domain::view::RepositoryView;

/// Pages of 100 that are read at most: a bound, so that an answer that always names a next page ends, too.
const PAGES: usize = 100;

#[derive(Debug)]
pub(super) struct SdkInventory {
    pub(super) ecr: aws_sdk_ecr::Client,
    pub(super) ecs: aws_sdk_ecs::Client,
    pub(super) ecr_caller: Caller,
    pub(super) ecs_caller: Caller,
}

#[async_trait]
impl Inventory for SdkInventory {
    async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        let (mut names, mut next) = (Vec::new(), None);
        for _ in 0..PAGES {
            let request = self.ecs.list_clusters().max_results(100).set_next_token(next);
            let answer = self.ecs_caller.call("ListClusters", request.send()).await?;
            names.extend(answer.cluster_arns().iter().map(|arn| name_of(arn)));
            next = answer.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(names)
    }

    async fn services(&self, cluster: &EcsName) -> Result<Vec<String>, AwsError> {
        let (mut names, mut next) = (Vec::new(), None);
        for _ in 0..PAGES {
            let request = self.ecs.list_services().cluster(cluster.as_str()).max_results(100).set_next_token(next);
            let answer = self.ecs_caller.call("ListServices", request.send()).await?;
            names.extend(answer.service_arns().iter().map(|arn| name_of(arn)));
            next = answer.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(names)
    }

    async fn lifecycle_policy(&self, repository: &RepositoryName) -> Result<Option<String>, AwsError> {
        let request = self.ecr.get_lifecycle_policy().repository_name(repository.as_str());
        match self.ecr_caller.call("GetLifecyclePolicy", request.send()).await {
            Ok(answer) => Ok(answer.lifecycle_policy_text),
            Err(error) if error.code == "LifecyclePolicyNotFoundException" => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn repositories(&self) -> Result<Vec<RepositoryView>, AwsError> {
        let (mut found, mut next) = (Vec::new(), None);
        for _ in 0..PAGES {
            let request = self.ecr.describe_repositories().max_results(100).set_next_token(next);
            let answer = self.ecr_caller.call("DescribeRepositories", request.send()).await?;
            for repository in answer.repositories.unwrap_or_default() {
                let filters = repository.image_tag_mutability_exclusion_filters.unwrap_or_default();
                let immutable = matches!(
                    repository.image_tag_mutability,
                    Some(ImageTagMutability::Immutable | ImageTagMutability::ImmutableWithExclusion)
                );
                let except = filters.into_iter().map(|filter| filter.filter).collect();
                found.extend(repository.repository_name.map(|name| RepositoryView { name, immutable, except }));
            }
            next = answer.next_token;
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

fn name_of(arn: &str) -> String {
    arn.rsplit('/').next().unwrap_or(arn).to_owned()
}
