//! `[[discover]]` and `[policy.NAME]`: services that opt in by a tag, and what they follow.

use std::collections::{BTreeMap, BTreeSet};

use super::NamedPolicy;
use super::gates::Promotions;
use super::reader::{Setting, Table};
use super::{build, given, keys, notify};
use crate::domain::discovery::DiscoverRule;
use crate::domain::settings::DeploySettings;
use crate::domain::types::ContextName;

/// A tag's key has at most so many characters, and its value so many (Amazon ECS API Reference, `Tag`).
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

/// Reads the policies by their names.
pub(super) fn policies(
    table: &Table<'_>,
    defaults: &DeploySettings,
    promotions: &mut Promotions,
) -> BTreeMap<String, NamedPolicy> {
    let mut policies = BTreeMap::new();
    for (name, below) in table.named_tables() {
        if !is_of_tags(name.value, LONGEST_VALUE) {
            table.wrong(
                name.at,
                name.value,
                format!("expected what a tag's value can be: 1 to {LONGEST_VALUE} letters, digits, spaces and _ . : / = + - @"),
            );
        }
        let keys::NamedPolicy {} = keys::NamedPolicy::read(&below);
        let policy = build::policy(&below);
        build::require_policy(&below, policy.as_ref());
        let (deploy, given) = build::deploy(&below, defaults);
        promotions.of_policy(name.value, given, below.name(""));
        below.report_unknown();
        policies.extend(policy.map(|policy| (name.value.to_owned(), NamedPolicy { policy, deploy })));
    }
    policies
}

/// Reads the rules. `context` gives the context that a key `aws` names.
pub(super) fn rules(
    tables: Vec<Table<'_>>,
    mut context: impl FnMut(&Table<'_>, Setting<ContextName>) -> ContextName,
) -> Vec<DiscoverRule> {
    let mut known = BTreeSet::new();
    let mut rules = Vec::new();
    for table in tables {
        let keys::Discover { aws, tag, clusters, every } = keys::Discover::read(&table);
        let aws = context(&table, aws);
        if let Some(at) = tag.at
            && !is_of_tags(&tag.value, LONGEST_KEY)
        {
            table.wrong(
                at,
                "tag",
                format!("expected the key of a tag: 1 to {LONGEST_KEY} letters, digits, spaces and _ . : / = + - @, found {:?}", tag.value),
            );
        }
        if !known.insert((aws.clone(), tag.value.clone())) {
            table.report(
                table.span.start,
                &table.name("tag"),
                format!(
                    "{:?} is looked for in aws context {aws} by another [[discover]]: put the clusters into one",
                    tag.value
                ),
            );
        }
        if let Some(at) = clusters.at
            && clusters.value.0.is_empty()
        {
            table.wrong(at, "clusters", "is empty: no service would ever be found; [\"*\"] looks at all clusters");
        }
        let clusters = notify::globs(&table, "clusters", &clusters.value, given::cluster_glob);
        table.report_unknown();
        rules.push(DiscoverRule { aws, tag: tag.value, clusters, every: every.value });
    }
    rules
}

fn is_of_tags(text: &str, longest: usize) -> bool {
    let length = text.chars().count();
    (1..=longest).contains(&length) && text.chars().all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c))
}
