//! The tags of services, as the resource groups tagging API tells them.

use async_trait::async_trait;
use ecs_deployd::aws::{AwsError, TaggedPage, Tagging};

use super::faults::with_fate;
use super::{ACCOUNT, REGION, World};

/// Services on a page.
const PAGE: usize = 100;

impl World {
    /// Somebody gives a service a tag, or another value to one that it has.
    pub fn tag(&self, cluster: &str, service: &str, tag: &str, value: &str) {
        let mut inner = self.lock();
        let tags = inner.tags.entry((cluster.to_owned(), service.to_owned())).or_default();
        tags.insert(tag.to_owned(), value.to_owned());
    }

    /// Somebody takes a tag from a service.
    pub fn untag(&self, cluster: &str, service: &str, tag: &str) {
        if let Some(tags) = self.lock().tags.get_mut(&(cluster.to_owned(), service.to_owned())) {
            tags.remove(tag);
        }
    }
}

#[async_trait]
impl Tagging for World {
    async fn tagged_services(&self, tag: &str, next: Option<String>) -> Result<TaggedPage, AwsError> {
        let fate = self.call("GetResources", format!("{tag} {next:?}")).await;
        let all: Vec<(String, String)> = {
            let inner = self.lock();
            let has_tag = inner.tags.iter().filter_map(|(name, tags)| Some((name, tags.get(tag)?)));
            has_tag
                .map(|((cluster, service), value)| {
                    (format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{service}"), value.clone())
                })
                .collect()
        };
        let begin: usize = next.and_then(|token| token.parse().ok()).unwrap_or_default();
        let end = all.len().min(begin + PAGE);
        let page = TaggedPage {
            services: all.get(begin..end).unwrap_or_default().to_vec(),
            next: (end < all.len()).then(|| end.to_string()),
        };
        with_fate(fate, "tag", "GetResources", || Ok(page)).await
    }
}
