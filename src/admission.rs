//! Whether the policies admit any of the tags that are in ECR now: asked by `check`, and once when the daemon starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use crate::aws::{AwsError, Contexts};
use crate::clock;
use crate::config::Config;
use crate::domain::finding;
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::types::Tag;

/// Pages of a repository that are read, of up to 1000 images each. What a larger repository holds is not judged.
const PAGES: usize = 3;
/// The repositories that the daemon looks at are this far apart.
const UNHURRIED: Duration = Duration::from_millis(200);

/// The tags that are in these repositories now, those of the newest image first. A repository that cannot be asked, or has more images than
/// a few pages, has no entry.
pub async fn tags_of(contexts: &Contexts, repositories: BTreeSet<RepositoryKey>) -> BTreeMap<RepositoryKey, Vec<Tag>> {
    let mut found = BTreeMap::new();
    // One after the other: DescribeImages is shared with everybody in the account, and nobody waits for this.
    for repository in repositories {
        match all_tags(contexts, &repository).await {
            Ok(tags) => found.extend(tags.map(|tags| (repository, tags))),
            Err(error) => debug!(%repository, %error, "the tags of the repository are not known"),
        }
    }
    found
}

async fn all_tags(contexts: &Contexts, repository: &RepositoryKey) -> Result<Option<Vec<Tag>>, AwsError> {
    let Some(context) = contexts.get(&repository.aws) else { return Ok(None) };
    let (mut images, mut next) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page = context.ecr.list_tagged(&repository.name, next).await?;
        images.extend(page.images);
        next = page.next;
        if next.is_none() {
            images.sort_by_key(|image| std::cmp::Reverse(image.pushed_at));
            return Ok(Some(images.into_iter().flat_map(|image| image.tags).collect()));
        }
    }
    Ok(None)
}

/// Warns of policies that can admit no tag, and of those that admit none of the tags now in their repository.
///
/// One repository after the other, and not in a hurry: DescribeImages is shared with everybody in the account and with the deployer, and
/// nobody waits for this.
pub async fn warn_of_policies(config: Arc<Config>, contexts: Contexts) {
    let mut is_first = true;
    for (repository, rule) in &config.repositories {
        if !std::mem::take(&mut is_first) {
            clock::sleep(UNHURRIED).await;
        }
        let tags = tags_of(&contexts, BTreeSet::from([repository.clone()])).await.remove(repository);
        for service in &rule.services {
            warn_of_policy(&config, repository, service, tags.as_deref().unwrap_or_default());
        }
    }
}

fn warn_of_policy(config: &Config, repository: &RepositoryKey, rule: &ServiceRule, tags: &[Tag]) {
    let (name, policy) = (config.name_of(&rule.key), rule.policy.as_ref());
    let none_admitted = || finding::of_tags(&name, &repository.name, policy, tags);
    if let Some(doubt) = finding::of_futile_policy(&name, &repository.name, policy).or_else(none_admitted) {
        warn!(aws = %repository.aws, repository = %repository.name, service = %name, remedy = %doubt.remedy, "{}", doubt.message);
    }
}
