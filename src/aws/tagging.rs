//! The AWS Resource Groups Tagging API.

use async_trait::async_trait;
use aws_sdk_resourcegroupstagging::Client;
use aws_sdk_resourcegroupstagging::types::TagFilter;

use super::call::Caller;
use super::{AwsError, TaggedPage, Tagging};

/// GetResources gives at most 100 resources a page.
const PAGE: i32 = 100;

#[derive(Debug)]
pub(super) struct SdkTagging {
    pub(super) client: Client,
    pub(super) caller: Caller,
}

#[async_trait]
impl Tagging for SdkTagging {
    async fn tagged_services(&self, tag: &str, next: Option<String>) -> Result<TaggedPage, AwsError> {
        let request = self
            .client
            .get_resources()
            .tag_filters(TagFilter::builder().key(tag).build())
            .resource_type_filters("ecs:service")
            .resources_per_page(PAGE)
            .set_pagination_token(next);
        let answer = self.caller.call("GetResources", request.send()).await?;
        let mut services = Vec::new();
        for resource in answer.resource_tag_mapping_list() {
            let value = resource.tags().iter().find(|one| one.key() == tag).map(|one| one.value().to_owned());
            services.extend(resource.resource_arn().map(str::to_owned).zip(value));
        }
        // The last page has a token that is empty.
        Ok(TaggedPage { services, next: answer.pagination_token.filter(|token| !token.is_empty()) })
    }
}
