//! The tables `[aws.NAME]`: how each account and Region is reached.

use std::collections::BTreeMap;

use super::AwsSettings;
use super::keys;
use super::reader::{Found, Table, is_http};
use crate::domain::types::ContextName;

/// LookupEvents requests per second that CloudTrail allows in an account and Region.
const MOST_LOOKUPS: f64 = 2.0;
/// Fewer, and a scan of several pages would take longer than anybody waits.
const FEWEST_LOOKUPS: f64 = 0.01;

/// The contexts of `[aws]` by their names.
pub(super) fn contexts(table: &Table<'_>) -> BTreeMap<ContextName, AwsSettings> {
    let mut contexts = BTreeMap::new();
    for (name, below) in table.named_tables() {
        match ContextName::parse(name.value) {
            Ok(name) => {
                let settings = context(&below);
                let shares = |other: &&AwsSettings| settings.queue.is_some() && other.queue == settings.queue;
                if contexts.values().find(shares).is_some() {
                    let text = "is also that of another [aws.NAME], which would take away the messages of this one: give each a queue of its own";
                    below.wrong(below.span.start, "queue", text);
                }
                contexts.insert(name, settings);
            }
            Err(error) => table.wrong(name.at, name.value, error.to_string()),
        }
    }
    contexts
}

fn context(table: &Table<'_>) -> AwsSettings {
    let keys::Aws { region, profile, role_arn, external_id, endpoint_url, queue, max_lookups_per_second: lookups } =
        keys::Aws::read(table);
    if let Some(role) = &role_arn
        && !(role.value.starts_with("arn:") && role.value.contains(":role/"))
    {
        table.wrong(
            role.at,
            "role_arn",
            format!("expected a role ARN like \"arn:aws:iam::111111111111:role/ecs-deployd\", found {:?}", role.value),
        );
    }
    if let (Some(id), None) = (&external_id, &role_arn) {
        table.wrong(id.at, "external_id", "is used only when a role is assumed: add role_arn, or remove it");
    }
    if let Some(url) = &endpoint_url
        && !is_http(&url.value)
    {
        table.wrong(url.at, "endpoint_url", format!("expected a URL with http:// or https://, found {:?}", url.value));
    }
    if let Some(at) = lookups.at
        && !(FEWEST_LOOKUPS..=MOST_LOOKUPS).contains(&lookups.value)
    {
        table.wrong(
            at,
            "max_lookups_per_second",
            format!("must be at least {FEWEST_LOOKUPS} and at most {MOST_LOOKUPS}, which CloudTrail allows for an account and Region; found {}", lookups.value),
        );
    }
    table.report_unknown();
    AwsSettings {
        region: region.map(|region| region.value.as_str().to_owned()),
        profile: text(profile),
        role_arn: text(role_arn),
        external_id: text(external_id),
        endpoint_url: text(endpoint_url),
        queue: queue.map(|queue| queue.value),
        max_lookups_per_second: lookups.value,
    }
}

fn text(found: Option<Found<String>>) -> Option<String> {
    found.map(|found| found.value)
}
