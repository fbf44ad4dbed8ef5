//! The tables of the configuration, one function each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

use super::contexts;
use super::gates::{self, Promotion, Promotions};
use super::keys;
use super::reader::{Finding, Findings, Setting, Table, Texts};
use super::{
    AuditSettings, AwsSettings, Config, ControlSettings, HttpSettings, PollSettings, ServiceNames, StatePlace,
    StateSettings, TableSettings, schedules,
};
use crate::domain::audit::EventName;
use crate::domain::gate::Gates;
use crate::domain::policy::{PatternPolicy, Policy, TagsPolicy, VersionPolicy};
use crate::domain::routing::Rules;
use crate::domain::settings::{DeploySettings, RepositoryRule, ServiceRule};
use crate::domain::task::TaskSpec;
use crate::domain::types::{ContextName, EcsName, ServiceKey};

/// CloudTrail keeps its event history for 90 days.
const LONGEST_OVERLAP: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A shorter lease would end between two renewals wherever an answer takes a second.
const SHORTEST_LEASE: Duration = Duration::from_secs(5);
/// Event names that are followed at most.
const MOST_EVENTS: usize = 25;

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
    let mut aws = contexts::contexts(&root.table(keys::Aws::SECTION));
    let mut promotions = Promotions::default();
    let deploy = deploy_defaults(&root.table(keys::Deploy::SECTION), &mut promotions);
    let (mut repositories, schedules) = repositories(root, findings, &mut aws, &deploy, &mut promotions);
    let mut policies = super::discover::policies(&root.table(keys::NamedPolicy::SECTION), &deploy, &mut promotions);
    let discover = super::discover::rules(root.tables(keys::Discover::SECTION), |table, name| {
        context_named(table, name, &mut aws)
    });
    let notify = super::notify::receivers(root.tables(keys::Notify::SECTION), |table, name| {
        context_named(table, name, &mut aws)
    });
    let audit = audit(&root.table(keys::Audit::SECTION));
    let state = state(&root.table(keys::State::SECTION), &mut aws);
    let names = ServiceNames::new(&repositories, schedules);
    promotions.resolve(&mut repositories, &mut policies, &names, findings);
    let config = Config {
        aws,
        poll: poll(&root.table(keys::Poll::SECTION)),
        state,
        http: http(&root.table(keys::Http::SECTION)),
        control: control(&root.table(keys::Control::SECTION)),
        repositories,
        discover,
        policies,
        notify,
        audit: root.has("audit").then_some(audit),
        names,
    };
    root.report_unknown();
    config
}

fn poll(table: &Table<'_>) -> PollSettings {
    let keys::Poll { interval, overlap, reconcile } = keys::Poll::read(table);
    if let Some(at) = overlap.at
        && overlap.value > LONGEST_OVERLAP
    {
        table.wrong(at, "overlap", "must be at most 90 days, which is as far back as CloudTrail's event history goes");
    }
    table.report_unknown();
    PollSettings { interval: interval.value, overlap: overlap.value, reconcile: reconcile.value.0 }
}

fn state(table: &Table<'_>, aws: &mut BTreeMap<ContextName, AwsSettings>) -> StateSettings {
    let keys::State { path, table: named, aws: context, lease, when_missing } = keys::State::read(table);
    table.report_unknown();
    if let Some(at) = lease.at
        && lease.value < SHORTEST_LEASE
    {
        table.wrong(at, "lease", format!("must be at least 5s, found {}", humantime::format_duration(lease.value)));
    }
    let Some(named) = named else {
        return StateSettings { place: StatePlace::File(path.value), when_missing: when_missing.value };
    };
    if path.at.is_some() {
        table.wrong(named.at, "table", "stands beside path: the state is in a table or in a file; remove one of them");
    }
    if !is_table_name(&named.value) {
        let wrong = format!("expected a table's name: 3 to 255 letters, digits, _, - and ., found {:?}", named.value);
        table.wrong(named.at, "table", wrong);
    }
    let aws = context_named(table, context, aws);
    let place = StatePlace::Table(TableSettings { name: named.value, aws, lease: lease.value });
    StateSettings { place, when_missing: when_missing.value }
}

/// Amazon DynamoDB Developer Guide, "Supported data types and naming rules".
fn is_table_name(text: &str) -> bool {
    (3..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn http(table: &Table<'_>) -> HttpSettings {
    let keys::Http { listen, service_histograms } = keys::Http::read(table);
    table.report_unknown();
    HttpSettings { listen: listen.value, service_histograms: service_histograms.map(|found| found.value) }
}

fn control(table: &Table<'_>) -> ControlSettings {
    let keys::Control { socket } = keys::Control::read(table);
    table.report_unknown();
    ControlSettings { socket: socket.value }
}

fn audit(table: &Table<'_>) -> AuditSettings {
    let keys::Audit { events: listed, interval } = keys::Audit::read(table);
    if let Some(at) = listed.at
        && (listed.value.0.is_empty() || listed.value.0.len() > MOST_EVENTS)
    {
        table.wrong(
            at,
            "events",
            format!("expected 1 to {MOST_EVENTS} names, each of which is a request of its own; without this key the usual ones are followed"),
        );
    }
    let mut events = Vec::new();
    for text in listed.value.0 {
        match EventName::parse(&text.value) {
            Ok(name) if events.contains(&name) => {
                table.wrong(text.at, "events", format!("{name} is listed twice"));
            }
            Ok(name) => events.push(name),
            Err(error) => table.wrong(text.at, "events", error),
        }
    }
    table.report_unknown();
    AuditSettings { events, interval: interval.value }
}

fn deploy_defaults(table: &Table<'_>, promotions: &mut Promotions) -> DeploySettings {
    let (settings, given) = deploy(table, &DeploySettings::default());
    promotions.defaults(given);
    table.report_unknown();
    settings
}

pub(super) fn deploy(table: &Table<'_>, inherited: &DeploySettings) -> (DeploySettings, Promotion) {
    let keys::Deploy { pin, timeout, observe_interval, on_failure, downtime, base, monitor } =
        keys::Deploy::read(table);
    let (gates, given) = gates::read(table, &inherited.gates);
    let at = observe_interval.at.or(timeout.at);
    let pin_at = pin.at;
    let settings = DeploySettings {
        pin: pin.or(inherited.pin),
        timeout: timeout.or(inherited.timeout),
        observe_interval: observe_interval.or(inherited.observe_interval),
        on_failure: on_failure.or(inherited.on_failure),
        downtime: downtime.or(inherited.downtime),
        base: base.or(inherited.base),
        monitor: if monitor.at.is_some() { monitor.value.0 } else { inherited.monitor },
        gates,
    };
    gates::refuse_tags(table, &settings, pin_at, &given);
    if let Some(at) = at
        && settings.observe_interval > settings.timeout
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
    (settings, given)
}

/// What other repositories said of the same services.
#[derive(Default)]
struct Settled {
    settings: BTreeMap<ServiceKey, DeploySettings>,
    containers: BTreeSet<(ServiceKey, String)>,
    clusters: BTreeSet<EcsName>,
}

impl Settled {
    /// One text for all that name the cluster.
    fn share_cluster(&mut self, key: &mut ServiceKey) {
        match self.clusters.get(&key.cluster) {
            Some(known) => key.cluster = known.clone(),
            None => drop(self.clusters.insert(key.cluster.clone())),
        }
    }
}

fn repositories(
    root: &Table<'_>,
    findings: &Findings,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
    deploy: &DeploySettings,
    promotions: &mut Promotions,
) -> (Rules, BTreeMap<ServiceKey, String>) {
    let mut rules = Rules::new();
    let mut schedules = BTreeMap::new();
    let mut settled = Settled::default();
    for table in root.tables(keys::Repository::SECTION) {
        let at = table.span.start;
        let Some(rule) = repository(&table, aws, deploy, &mut settled, promotions, &mut schedules) else { continue };
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
    (rules, schedules)
}

/// The context that a key `aws` names, or stands for without being written. `default` needs no table: it is the ambient credentials and
/// Region.
fn context_named(
    table: &Table<'_>,
    name: Setting<ContextName>,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
) -> ContextName {
    let Setting { value: name, at } = name;
    if name == ContextName::default() {
        aws.entry(name.clone()).or_default();
    }
    if let Some(at) = at
        && !aws.contains_key(&name)
    {
        let known: Vec<_> = aws.keys().map(ContextName::as_str).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { format!("known: {}", known.join(", ")) };
        table.wrong(at, "aws", format!("there is no table [aws.{name}]; {known}"));
    }
    // One text for all that name it.
    aws.get_key_value(&name).map(|(known, _)| known.clone()).unwrap_or(name)
}

fn repository(
    table: &Table<'_>,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
    deploy: &DeploySettings,
    settled: &mut Settled,
    promotions: &mut Promotions,
    known: &mut BTreeMap<ServiceKey, String>,
) -> Option<RepositoryRule> {
    let keys::Repository { name, aws: named } = keys::Repository::read(table);
    let context = context_named(table, named, aws);
    let policy = policy(table);
    require_policy(table, policy.as_ref());
    let mut services: Vec<ServiceRule> = Vec::new();
    let mut listed: BTreeSet<ServiceKey> = BTreeSet::new();
    let below = table.tables(keys::Service::SECTION);
    if below.is_empty() && !table.has("service") && !table.has("schedule") {
        table.missing("service", "is missing: name at least one service under [[repository.service]]");
    }
    let mut read = Vec::new();
    for below in below {
        let (at, key_name) = (below.span.start, below.name("service"));
        let Some((mut service, given)) = service(&below, aws, &context, policy.as_ref(), deploy) else { continue };
        settled.share_cluster(&mut service.key);
        promotions.of(&service.key, given, below.name(""));
        read.push((at, key_name, service));
    }
    for below in table.tables(keys::Schedule::SECTION) {
        let (at, key_name) = (below.span.start, below.name("scheduler"));
        let inherited = schedules::Inherited { context: &context, policy: policy.as_ref(), deploy };
        let named = |table: &Table<'_>, name| context_named(table, name, aws);
        let Some((schedule, given)) = schedules::schedule(&below, named, &inherited, known) else { continue };
        promotions.of(&schedule.key, given, below.name(""));
        read.push((at, key_name, schedule));
    }
    for (at, key_name, service) in read {
        if !listed.insert(service.key.clone()) {
            let list = if service.key.schedule().is_some() { "schedule" } else { "service" };
            table.wrong(
                at,
                list,
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
                format!("{} stands under another repository with other settings: timeout, observe_interval, on_failure, downtime, base, monitor, bake, windows, freeze and approval must agree", service.key),
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
    table.report_unknown();
    // Most repositories have one service, and a list that grows begins with room for four.
    services.shrink_to_fit();
    Some(RepositoryRule { aws: context, name: name?.value, services })
}

/// Reports a table that must say which tags are deployed, and does not.
pub(super) fn require_policy(table: &Table<'_>, policy: Option<&Arc<dyn Policy>>) {
    if policy.is_none() && !["tags", "semver", "regex"].into_iter().any(|key| table.has(key)) {
        table.missing("tags", "is missing: say which tags are deployed with exactly one of tags, semver and regex");
    }
}

/// What belongs to a service and not to one of its images must be the same wherever the service stands.
fn agree(a: &DeploySettings, b: &DeploySettings) -> bool {
    let of_image = |gates: &Gates| Gates {
        scan: b.gates.scan,
        scan_timeout: b.gates.scan_timeout,
        signed_by: b.gates.signed_by.clone(),
        ..gates.clone()
    };
    DeploySettings { pin: b.pin, gates: of_image(&a.gates), ..a.clone() } == *b
}

pub(super) fn policy(table: &Table<'_>) -> Option<Arc<dyn Policy>> {
    let keys::Tags { tags, semver, regex, order } = keys::Tags::read(table);
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
    if let (Some(at), None) = (order.at, &regex) {
        table.wrong(at, "order", "orders the capture `key` of a regex: add regex, or remove it");
    }
    if let Some(tags) = tags {
        let Texts(texts) = tags.value;
        if texts.is_empty() {
            table.wrong(
                tags.at,
                "tags",
                "is empty: no push would ever be deployed; name at least one tag or glob like \"release-*\"",
            );
            return None;
        }
        let globs: Vec<String> = texts.iter().map(|tag| tag.value.clone()).collect();
        return match TagsPolicy::new(&globs) {
            Ok(policy) => Some(Arc::new(policy)),
            Err((index, message)) => {
                table.wrong(texts[index].at, "tags", format!("{:?}: {message}", globs[index]));
                None
            }
        };
    }
    if let Some(range) = semver {
        return match VersionPolicy::new(&range.value) {
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
    match PatternPolicy::new(&pattern.value, order.value) {
        Ok(policy) => Some(Arc::new(policy)),
        Err(message) => {
            table.wrong(pattern.at, "regex", message);
            None
        }
    }
}

fn service(
    table: &Table<'_>,
    aws: &mut BTreeMap<ContextName, AwsSettings>,
    repository_context: &ContextName,
    repository_policy: Option<&Arc<dyn Policy>>,
    defaults: &DeploySettings,
) -> Option<(ServiceRule, Promotion)> {
    let keys::Service { cluster, service, aws: named, container } = keys::Service::read(table);
    let context = match named {
        Some(found) => context_named(table, Setting { value: found.value, at: Some(found.at) }, aws),
        None => repository_context.clone(),
    };
    let own_policy = policy(table);
    let (deploy, given) = deploy(table, defaults);
    let before = table.tables(keys::Before::SECTION).iter().map(task).collect();
    let keys::Verify {} = keys::Verify::read(table);
    let verify = table.tables(keys::Verify::SECTION).iter().map(task).collect();
    table.report_unknown();
    let rule = ServiceRule {
        key: ServiceKey { aws: context, cluster: cluster?.value.0, service: service?.value.0 },
        container: container.map(|found| found.value.0),
        policy: own_policy.or_else(|| repository_policy.cloned())?,
        deploy,
        before,
        verify,
        known_since: None,
    };
    Some((rule, given))
}

/// A one-off task, before the service is updated or after.
fn task(table: &Table<'_>) -> TaskSpec {
    let keys::Before { command, container, timeout, family } = keys::Before::read(table);
    if let Some(command) = &command
        && command.value.0.is_empty()
    {
        table.wrong(
            command.at,
            "command",
            "is empty: name the program and its arguments, or leave it out to run the image's own command",
        );
    }
    table.report_unknown();
    TaskSpec {
        command: command.into_iter().flat_map(|found| found.value.0).map(|text| text.value).collect(),
        container: container.map(|found| found.value.0),
        timeout_seconds: timeout.value.as_secs(),
        family: family.map(|found| found.value.0),
    }
}
