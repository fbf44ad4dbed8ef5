//! `[[repository.schedule]]`: scheduled tasks that follow the image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::gates::{self, Promotion};
use super::reader::{Setting, Table};
use super::{build, keys};
use crate::domain::policy::Policy;
use crate::domain::settings::{DeploySettings, ServiceRule};
use crate::domain::types::{ContextName, ServiceKey};

/// What a schedule does not say itself.
pub(super) struct Inherited<'a> {
    /// The context of the repository.
    pub(super) context: &'a ContextName,
    /// The policy of the repository.
    pub(super) policy: Option<&'a Arc<dyn Policy>>,
    /// What `[deploy]` says for all services.
    pub(super) deploy: &'a DeploySettings,
}

/// Reads a schedule, which stands among the services of its repository: decisions do not tell them apart. `context` gives the context that a key
/// `aws` names; `known` are the schedules that were read, as they are written.
pub(super) fn schedule(
    table: &Table<'_>,
    mut context: impl FnMut(&Table<'_>, Setting<ContextName>) -> ContextName,
    inherited: &Inherited<'_>,
    known: &mut BTreeMap<ServiceKey, String>,
) -> Option<(ServiceRule, Promotion)> {
    let keys::Schedule { scheduler, rule, aws, container } = keys::Schedule::read(table);
    let context = match aws {
        Some(found) => context(table, Setting { value: found.value, at: Some(found.at) }),
        None => inherited.context.clone(),
    };
    let policy = build::policy(table);
    let (gates, given) = gates::read(table, &inherited.deploy.gates);
    // Nothing rolls, so that there is nothing to keep under watch.
    let deploy = DeploySettings { gates, monitor: Duration::ZERO, ..inherited.deploy.clone() };
    gates::refuse_tags(table, &deploy, None, &given);
    table.report_unknown();
    let (name, text, at) = match (scheduler, rule) {
        (Some(found), None) => (found.value.name, found.value.text, found.at),
        (None, Some(found)) => (found.value.name, found.value.text, found.at),
        (Some(_), Some(found)) => {
            table.wrong(found.at, "rule", "stands beside scheduler: give exactly one of scheduler and rule");
            return None;
        }
        (None, None) => {
            // What is there and wrong was reported.
            if !table.has("scheduler") && !table.has("rule") {
                table.missing("scheduler", "is missing: name a schedule with exactly one of scheduler and rule");
            }
            return None;
        }
    };
    let key = ServiceKey::of_schedule(context, &name);
    if known.iter().any(|(other, known)| other.aws == key.aws && *known == text && *other != key) {
        table.wrong(
            at,
            "scheduler",
            format!("a schedule and a rule are both called {text}: write the group or the bus of one of them"),
        );
    }
    known.entry(key.clone()).or_insert(text);
    let rule = ServiceRule {
        key,
        container: container.map(|found| found.value.0),
        policy: policy.or_else(|| inherited.policy.cloned())?,
        deploy,
        before: Vec::new(),
        verify: Vec::new(),
        known_since: None,
    };
    Some((rule, given))
}
