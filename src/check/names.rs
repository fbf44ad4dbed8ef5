//! Names that are not there, and those that may be meant.

use crate::aws::AwsContext;
use crate::domain::finding::{Finding, Severity, nearest};
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::types::ServiceKey;
use crate::domain::view::RepositoryView;
use crate::observer::Observer;

/// A service that is not there.
pub(super) async fn missing(observer: &Observer, context: &AwsContext, key: &ServiceKey, subject: String) -> Finding {
    let remedy = |wanted: &str, names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        nearest(wanted, &names).unwrap_or_else(|| "correct the name, the Region or the account".to_owned())
    };
    // A wrong name is reported to callers who may not list the clusters, too.
    let lacks_cluster = observer.lacks_cluster(key).await;
    let names = match context.inventory.clusters().await {
        Err(_) if lacks_cluster => Ok(Vec::new()),
        other => other,
    };
    match names {
        Ok(names) if !names.iter().any(|name| name == key.cluster.as_str()) => {
            let message = format!("there is no cluster {}", key.cluster);
            return Finding::new(
                Severity::Error,
                "unknown_cluster",
                subject,
                message,
                remedy(key.cluster.as_str(), &names),
            );
        }
        Ok(_) | Err(_) => {}
    }
    let message = format!("there is no service {} in the cluster {}, or it is being deleted", key.service, key.cluster);
    let remedy = match context.inventory.services(&key.cluster).await {
        Ok(names) => remedy(key.service.as_str(), &names),
        Err(error) => error.remedy().map_or_else(
            || "correct the name".to_owned(),
            |remedy| format!("correct the name; to be told the nearest one, {remedy}"),
        ),
    };
    Finding::new(Severity::Error, "unknown_service", subject, message, remedy)
}

/// A repository that is not there.
pub(super) fn unknown_repository(key: &RepositoryKey, remedy: impl Into<String>) -> Finding {
    let message = "there is no such repository in this account and Region";
    Finding::new(Severity::Error, "unknown_repository", format!("repository {}", key.name), message, remedy)
}

/// What is wrong with a repository, as far as a list of those that are there tells.
pub(super) fn of_repository(
    key: &RepositoryKey,
    services: &[ServiceRule],
    there: &[RepositoryView],
) -> Option<Finding> {
    let subject = format!("repository {}", key.name);
    let Some(repository) = there.iter().find(|one| one.name == key.name.as_str()) else {
        let names: Vec<&str> = there.iter().map(|one| one.name.as_str()).collect();
        let remedy = nearest(key.name.as_str(), &names).unwrap_or_else(|| "create it".to_owned());
        return Some(unknown_repository(key, remedy));
    };
    let literal = services.iter().find_map(|service| service.policy.literals())?;
    if !literal.iter().all(|tag| repository.fixes(tag)) {
        return None;
    }
    let tags: Vec<&str> = literal.iter().map(|tag| tag.as_str()).collect();
    let message =
        format!("its tags are immutable, and the policy admits only {}: each can be pushed once", tags.join(", "));
    let remedy = "make the tags mutable, or give each push a tag of its own and a policy that admits it";
    Some(Finding::new(Severity::Warning, "immutable_tags", subject, message, remedy))
}
