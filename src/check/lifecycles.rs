//! What `check` asks about lifecycle policies.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};

use crate::aws::{Contexts, Fault};
use crate::domain::finding::{Finding, Severity};
use crate::domain::lifecycle;
use crate::domain::settings::RepositoryKey;
use crate::domain::types::ContextName;
use crate::domain::view::RepositoryView;

/// Repositories that are asked about at the same time.
const TOGETHER: usize = 4;

/// What is worth saying about the lifecycle policies of these repositories, as far as they may be read; `views` tells whether their tags can
/// move. One note for each context in which they may not be read.
pub(super) async fn findings<'a>(
    contexts: &Contexts,
    repositories: impl Iterator<Item = &'a RepositoryKey>,
    views: &BTreeMap<RepositoryKey, RepositoryView>,
) -> (Vec<(&'a RepositoryKey, Finding)>, BTreeMap<ContextName, Finding>) {
    let asked = repositories.filter_map(|key| {
        let context = contexts.get(&key.aws)?;
        Some(async move { (key, context.inventory.lifecycle_policy(&key.name).await) })
    });
    let answers: Vec<_> = stream::iter(asked).buffered(TOGETHER).collect().await;
    let (mut found, mut denied) = (Vec::new(), BTreeMap::new());
    for (key, answer) in answers {
        match answer {
            Ok(Some(policy)) => {
                let tags_move = views.get(key).is_none_or(|view| !view.immutable || !view.except.is_empty());
                found.extend(lifecycle::of_policy(&key.name, &policy, tags_move).map(|finding| (key, finding)));
            }
            Err(error) if error.fault == Fault::Denied => {
                denied.insert(key.aws.clone(), not_checked(&key.aws));
            }
            // What is wrong with all calls, or with the repository, is said elsewhere.
            Ok(None) | Err(_) => {}
        }
    }
    (found, denied)
}

fn not_checked(aws: &ContextName) -> Finding {
    let message = "lifecycle policies cannot be read, so whether one expires images that still run is not checked";
    let remedy = "allow ecr:GetLifecyclePolicy, if check is to do that; the daemon does not need it";
    Finding::new(Severity::Note, "not_checked", format!("aws context {aws}"), message, remedy)
}
