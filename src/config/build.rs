//! The tables of the configuration, one function each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::given;
use super::reader::{Finding, Findings, Found, Table, is_http};
use super::{
    AuditSettings, AwsSettings, Config, ControlSettings, HttpSettings, PollSettings, ServiceNames, StateSettings,
    WhenMissing,
};
use crate::domain::audit::EventName;
use crate::domain::intake::Rules;
use crate::domain::policy::{Order, PatternPolicy, Policy, TagsPolicy, VersionPolicy};
use crate::domain::settings::{Base, DeploySettings, DowntimeMode, OnFailure, PinMode, RepositoryRule, ServiceRule};
use crate::domain::types::{ContextName, EcsName, Region, ServiceKey};

/// CloudTrail keeps its event history for 90 days.
const LONGEST_OVERLAP: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// LookupEvents requests per second that CloudTrail allows in an account and Region.
const MOST_LOOKUPS: f64 = 2.0;
/// Event names that are followed at most.
const MOST_EVENTS: usize = 25;
/// From one look at changes to ECS to the next.
const AUDIT_EVERY: Duration = Duration::from_secs(5 * 60);
/// Fewer, and a scan of several pages would take longer than anybody waits.
const FEWEST_LOOKUPS: f64 = 0.01;

/// Reads the whole text.
pub(super) fn config(text: &str) -> Result<Config, Vec<Finding>> {
    let findings = Findings::default();
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        findings.add(error.span().map_or(0, |span| span.start), "", error.message());
    }
    if !errors.is_empty() {
        return Err(findings.into_inner());
    }
    let config = from_root(&Table::root(&root, &findings), &findings);
    let findings = findings.into_inner();
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

fn from_root(root: &Table<'_>, findings: &Findings) -> Config {
    let mut aws = contexts(&root.table("aws"));
    let deploy = deploy_defaults(root.table("deploy"));
    let repositories = repositories(root, findings, &mut aws, &deploy);
    let notify = super::notify::receivers(root.tables("notify"), |table| match table.has("aws") {
        true => context_name(table, &mut aws),
        false => default_context(&mut aws),
    });
    let audit = audit(root.table("audit"));
    let names = ServiceNames::new(&repositories);
    let config = Config {
        aws,
        poll: poll(root.table("poll")),
        state: state(root.table("state")),
        http: http(root.table("http")),
        control: control(root.table("control")),
        repositories,
        notify,
        audit: root.has("audit").then_some(audit),
        names,
    };
    root.report_unknown();
    config
}

fn contexts(table: &Table<'_>) -> BTreeMap<ContextName, AwsSettings> {
    let mut contexts = BTreeMap::new();
    for (name, below) in table.named_tables() {
        match ContextName::parse(name.value) {
            Ok(name) => {
                contexts.insert(name, context(below));
            }
            Err(error) => table.wrong(name.at, name.value, error.to_string()),
        }
    }
    contexts
}

fn context(table: Table<'_>) -> AwsSettings {
    let role = table.text("role_arn");
    if let Some(role) = &role
        && !(role.value.starts_with("arn:") && role.value.contains(":role/"))
    {
        table.wrong(
            role.at,
            "role_arn",
            format!("expected a role ARN like \"arn:aws:iam::111111111111:role/ecs-deployd\", found {:?}", role.value),
        );
    }
    let external_id = table.text("external_id");
    if let (Some(id), None) = (&external_id, &role) {
        table.wrong(id.at, "external_id", "is used only when a role is assumed: add role_arn, or remove it");
    }
    let endpoint_url = table.text("endpoint_url");
    if let Some(url) = &endpoint_url
        && !is_http(url.value)
    {
        table.wrong(url.at, "endpoint_url", format!("expected a URL with http:// or https://, found {:?}", url.value));
    }
    let lookups = table.number("max_lookups_per_second");
    if let Some(lookups) = &lookups
        && !(FEWEST_LOOKUPS..=MOST_LOOKUPS).contains(&lookups.value)
    {
        table.wrong(
            lookups.at,
            "max_lookups_per_second",
            format!("must be at least {FEWEST_LOOKUPS} and at most {MOST_LOOKUPS}, which CloudTrail allows for an account and Region; found {}", lookups.value),
        );
    }
    let settings = AwsSettings {
        region: table.parsed("region", Region::parse).map(|region| region.value.as_str().to_owned()),
        profile: text(table.text("profile")),
        role_arn: text(role),
        external_id: text(external_id),
        endpoint_url: text(endpoint_url),
        max_lookups_per_second: lookups.map_or(AwsSettings::default().max_lookups_per_second, |found| found.value),
    };
    table.finish();
    settings
}

fn text(found: Option<Found<&str>>) -> Option<String> {
    found.map(|found| found.value.to_owned())
}

fn poll(table: Table<'_>) -> PollSettings {
    let overlap = table.duration("overlap");
    if let Some(found) = &overlap
        && found.value > LONGEST_OVERLAP
    {
        table.wrong(
            found.at,
            "overlap",
            "must be at most 90 days, which is as far back as CloudTrail's event history goes",
        );
    }
    let settings = PollSettings {
        interval: table.duration("interval").map_or(Duration::from_secs(30), |found| found.value),
        overlap: overlap.map_or(Duration::from_secs(30 * 60), |found| found.value),
    };
    table.finish();
    settings
}

fn state(table: Table<'_>) -> StateSettings {
    let words = [("ignore", WhenMissing::Ignore), ("reconcile", WhenMissing::Reconcile)];
    let settings = StateSettings {
        path: table.path("path", "/var/lib/ecs-deployd/state.json"),
        when_missing: table.word("when_missing", &words).map_or(WhenMissing::Ignore, |found| found.value),
    };
    table.finish();
    settings
}

fn http(table: Table<'_>) -> HttpSettings {
    let listen = table.parsed("listen", |text| {
        text.parse().map_err(|_| format!("expected an address and port like \"127.0.0.1:9797\", found {text:?}"))
    });
    let settings = listen.map_or_else(HttpSettings::default, |found| HttpSettings { listen: found.value });
    table.finish();
    settings
}

fn control(table: Table<'_>) -> ControlSettings {
    let settings = ControlSettings { socket: table.path("socket", "/run/ecs-deployd/control.sock") };
    table.finish();
    settings
}

fn audit(table: Table<'_>) -> AuditSettings {
    let mut events = Vec::new();
    match table.texts("events") {
        None => events.extend(EventName::DEFAULT.into_iter().filter_map(|name| EventName::parse(name).ok())),
        Some(texts) => {
            if texts.value.is_empty() || texts.value.len() > MOST_EVENTS {
                table.wrong(
                    texts.at,
                    "events",
                    format!("expected 1 to {MOST_EVENTS} names, each of which is a request of its own; without this key the usual ones are followed"),
                );
            }
            for text in texts.value {
                match EventName::parse(text.value) {
                    Ok(name) if events.contains(&name) => {
                        table.wrong(text.at, "events", format!("{name} is listed twice"));
                    }
                    Ok(name) => events.push(name),
                    Err(error) => table.wrong(text.at, "events", error),
                }
            }
        }
    }
    let interval = table.duration("interval").map_or(AUDIT_EVERY, |found| found.value);
    table.finish();
    AuditSettings { events, interval }
}

fn deploy_defaults(table: Table<'_>) -> DeploySettings {
    let settings = deploy(&table, &DeploySettings::default());
    table.finish();
    settings
}

fn deploy(table: &Table<'_>, default: &DeploySettings) -> DeploySettings {
    let timeout = table.duration("timeout");
    let observe_interval = table.duration("observe_interval");
    let pins = [("digest", PinMode::Digest), ("tag", PinMode::Tag)];
    let failures = [("rollback", OnFailure::Rollback), ("leave", OnFailure::Leave)];
    let downtimes = [("refuse", DowntimeMode::Refuse), ("warn", DowntimeMode::Warn), ("allow", DowntimeMode::Allow)];
    let bases = [("service", Base::Service), ("latest", Base::Latest)];
    let settings = DeploySettings {
        pin: table.word("pin", &pins).map_or(default.pin, |found| found.value),
        timeout: timeout.as_ref().map_or(default.timeout, |found| found.value),
        observe_interval: observe_interval.as_ref().map_or(default.observe_interval, |found| found.value),
        on_failure: table.word("on_failure", &failures).map_or(default.on_failure, |found| found.value),
        downtime: table.word("downtime", &downtimes).map_or(default.downtime, |found| found.value),
        base: table.word("base", &bases).map_or(default.base, |found| found.value),
    };
    if settings.observe_interval > settings.timeout
        && let Some(at) = observe_interval.map(|found| found.at).or(timeout.map(|found| found.at))
    {
        table.wrong(
            at,
            "observe_interval",
            format!(
                "is {}, longer than the timeout of {}: a rollout would time out before it is looked at",
                humantime::format_duration(settings.observe_interval),
                humantime::format_duration(settings.timeout)
            ),
        );
    }
    settings
}

/// What other repositories said of the same services.
#[derive(Default)]
struct Settled {
    settings: BTreeMap<ServiceKey, DeploySettings>,
    containers: BTreeSet<(ServiceKey, String)>,
}

fn repositories(
    root: &Table<'_>,
    findings: &Findings,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
    deploy: &DeploySettings,
) -> Rules {
    let mut rules = Rules::new();
    let mut settled = Settled::default();
    for table in root.tables("repository") {
        let at = table.span.start;
        let Some(rule) = repository(table, aws, deploy, &mut settled) else { continue };
        let key = rule.key();
        if rules.contains_key(&key) {
            findings.add(
                at,
                "repository.name",
                format!(
                    "{} of aws context {} is listed twice: put its services under one [[repository]]",
                    key.name, key.aws
                ),
            );
            continue;
        }
        rules.insert(key, rule);
    }
    rules
}

/// The context that a key names. `default` needs no table: it is the ambient credentials and Region.
fn context_name(table: &Table<'_>, aws: &mut BTreeMap<ContextName, AwsSettings>) -> Option<ContextName> {
    let found = table.parsed("aws", ContextName::parse)?;
    if found.value.as_str() == "default" {
        aws.entry(found.value.clone()).or_default();
    }
    if !aws.contains_key(&found.value) {
        let known: Vec<_> = aws.keys().map(ContextName::as_str).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("known: {}", known.join(", ")) };
        table.wrong(found.at, "aws", format!("there is no table [aws.{}]; {known}", found.value));
    }
    Some(found.value)
}

fn default_context(aws: &mut BTreeMap<ContextName, AwsSettings>) -> Option<ContextName> {
    let name = ContextName::parse("default").ok()?;
    aws.entry(name.clone()).or_default();
    Some(name)
}

fn repository(
    table: Table<'_>,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
    deploy: &DeploySettings,
    settled: &mut Settled,
) -> Option<RepositoryRule> {
    let name = table.parsed("name", given::repository);
    if !table.has("name") {
        table.missing("name", "is missing: the exact name of the ECR repository");
    }
    let context = if table.has("aws") { context_name(&table, aws) } else { default_context(aws) };
    let policy = policy(&table);
    if policy.is_none() && !table.has_any(&["tags", "semver", "regex"]) {
        table.missing("tags", "is missing: say which tags are deployed with exactly one of tags, semver and regex");
    }
    let mut services: Vec<ServiceRule> = Vec::new();
    let below = table.tables("service");
    if below.is_empty() && !table.has("service") {
        table.missing("service", "is missing: name at least one service under [[repository.service]]");
    }
    for below in below {
        let (at, key_name) = (below.span.start, below.name("service"));
        let Some(service) = service(below, aws, context.as_ref(), policy.as_ref(), deploy) else { continue };
        if services.iter().any(|other| other.key == service.key) {
            table.wrong(
                at,
                "service",
                format!(
                    "{} is listed twice under this repository; leave out container to match every container",
                    service.key
                ),
            );
            continue;
        }
        match settled.settings.get(&service.key) {
            Some(other) if !agree(other, &service.deploy) => table.report(
                at,
                &key_name,
                format!("{} stands under another repository with other settings: timeout, observe_interval, on_failure, downtime and base must agree", service.key),
            ),
            _ => {
                settled.settings.insert(service.key.clone(), service.deploy.clone());
            }
        }
        if let Some(container) = &service.container
            && !settled.containers.insert((service.key.clone(), container.clone()))
        {
            table.report(
                at,
                &key_name,
                format!("container {container} of {} stands under another repository, too: each push would replace the other's image", service.key),
            );
        }
        services.push(service);
    }
    table.finish();
    Some(RepositoryRule { aws: context?, name: name?.value, services })
}

/// What belongs to a service and not to one of its images must be the same wherever the service stands.
fn agree(a: &DeploySettings, b: &DeploySettings) -> bool {
    DeploySettings { pin: b.pin, ..a.clone() } == *b
}

fn policy(table: &Table<'_>) -> Option<Arc<dyn Policy>> {
    let tags = table.texts("tags");
    let semver = table.text("semver");
    let regex = table.text("regex");
    let orders = [("numeric", Order::Numeric), ("alphabetical", Order::Alphabetical), ("pushed", Order::Pushed)];
    let order = table.word("order", &orders);
    let given: Vec<(&str, usize)> = [
        ("tags", tags.as_ref().map(|f| f.at)),
        ("semver", semver.as_ref().map(|f| f.at)),
        ("regex", regex.as_ref().map(|f| f.at)),
    ]
    .into_iter()
    .filter_map(|(name, at)| Some((name, at?)))
    .collect();
    if let [(first, _), (second, at), ..] = given[..] {
        table.wrong(at, second, format!("stands beside {first}: give exactly one of tags, semver and regex"));
        return None;
    }
    if let (Some(order), None) = (&order, &regex) {
        table.wrong(order.at, "order", "orders the capture `key` of a regex: add regex, or remove it");
    }
    if let Some(tags) = tags {
        if tags.value.is_empty() {
            table.wrong(
                tags.at,
                "tags",
                "is empty: no push would ever be deployed; name at least one tag or glob like \"release-*\"",
            );
            return None;
        }
        let globs: Vec<String> = tags.value.iter().map(|tag| tag.value.to_owned()).collect();
        return match TagsPolicy::new(&globs) {
            Ok(policy) => Some(Arc::new(policy)),
            Err((index, message)) => {
                table.wrong(tags.value[index].at, "tags", format!("{:?}: {message}", globs[index]));
                None
            }
        };
    }
    if let Some(range) = semver {
        return match VersionPolicy::new(range.value) {
            Ok(policy) => Some(Arc::new(policy)),
            Err(message) => {
                table.wrong(
                    range.at,
                    "semver",
                    format!("expected a version range like \">=1.4, <2\", found {:?}: {message}", range.value),
                );
                None
            }
        };
    }
    let pattern = regex?;
    match PatternPolicy::new(pattern.value, order.map_or(Order::Numeric, |order| order.value)) {
        Ok(policy) => Some(Arc::new(policy)),
        Err(message) => {
            table.wrong(pattern.at, "regex", message);
            None
        }
    }
}

fn service(
    table: Table<'_>,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
    repository_context: Option<&ContextName>,
    repository_policy: Option<&Arc<dyn Policy>>,
    defaults: &DeploySettings,
) -> Option<ServiceRule> {
    let name = |key: &'static str, parse: fn(&str) -> Result<EcsName, String>| {
        let found = table.parsed(key, parse);
        if !table.has(key) {
            table.missing(key, "is missing");
        }
        found.map(|found| found.value)
    };
    let cluster = name("cluster", given::cluster);
    let service = name("service", given::service);
    let context = if table.has("aws") { context_name(&table, aws) } else { repository_context.cloned() };
    let container = table.parsed("container", given::container).map(|found| found.value);
    let own_policy = policy(&table);
    let deploy = deploy(&table, defaults);
    table.finish();
    Some(ServiceRule {
        key: ServiceKey { aws: context?, cluster: cluster?, service: service? },
        container,
        policy: own_policy.or_else(|| repository_policy.cloned())?,
        deploy,
    })
}
