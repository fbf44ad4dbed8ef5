//! Which actions of the daemon's policy were not tried, so that nobody takes `check` for more than it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::aws::{AwsContext, Contexts, Tried};
use crate::config::Config;
use crate::domain::finding::{Finding, Severity};
use crate::domain::permission::{self, Untried, Usage};
use crate::domain::types::ContextName;
use crate::usage::{self, Seen};

/// The calls of each context that were tried.
pub type Calls = BTreeMap<ContextName, Arc<Tried>>;

/// A note for each context of which it is known what was tried. What is not in `seen` is asked for.
pub(super) async fn findings(
    config: &Config,
    contexts: &Contexts,
    calls: &Calls,
    mut seen: BTreeMap<ContextName, Seen>,
) -> Vec<(ContextName, Finding)> {
    let mut found = Vec::new();
    for (name, tried) in calls {
        let Some(context) = contexts.get(name) else { continue };
        let called = tried.operations();
        let Some(usage) = usage_of(config, name, context, seen.remove(name).unwrap_or_default()).await else {
            continue;
        };
        found.extend(note(name, &permission::untried(&usage, &called)).map(|finding| (name.clone(), finding)));
    }
    found
}

/// What is known of the usage. What keeps the rest from being known is a finding of its own.
async fn usage_of(config: &Config, name: &ContextName, context: &AwsContext, seen: Seen) -> Option<Usage> {
    let principal = context.identity.principal().await.ok()?;
    let none = Usage::none(principal.clone(), context.region.clone());
    match usage::of_seen(config, name, context, principal, seen).await {
        Ok(usage) => Some(usage),
        Err(_) => Some(usage::of_the_configuration(config, name, none)),
    }
}

fn note(name: &ContextName, untried: &Untried) -> Option<Finding> {
    let Untried { writes, idle } = untried;
    let of_writes = format!(
        "these actions of its policy were not tried, as AWS has no dry run for calls that change something: {}",
        writes.join(", ")
    );
    let of_idle = format!("there was nothing to try these on: {}", idle.join(", "));
    let message = match (writes.is_empty(), idle.is_empty()) {
        (true, true) => return None,
        (false, true) => of_writes,
        (true, false) => of_idle,
        (false, false) => format!("{of_writes}; {of_idle}"),
    };
    let mut remedy =
        "`aws iam simulate-principal-policy` tells whether a role may do it (docs/guides/iam.md)".to_owned();
    if writes.contains(&"sns:Publish") {
        remedy += "; `ecs-deployd notify --test` publishes to the topics";
    }
    Some(Finding::new(Severity::Note, "not_tried", format!("aws context {name}"), message, remedy))
}
