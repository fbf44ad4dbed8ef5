//! What a context of the configuration is used for, with what only AWS knows of it: account, families, tags and roles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::asking::{again, each};
use crate::aws::{self, AwsContext, AwsError, Common, ConnectError, Ecs, Identity, RegionWait, Schedules};
use crate::config::{AwsSettings, Config, Receiver};
use crate::discoverer;
use crate::domain::deployment::HookTarget;
use crate::domain::gate::{Gates, ScanLevel};
use crate::domain::image::{ImageReference, RegistryHost};
use crate::domain::permission::{Usage, role_arn};
use crate::domain::schedule::{self, ScheduleName, Target};
use crate::domain::settings::{Base, ServiceRule};
use crate::domain::state::State;
use crate::domain::task_definition::TaskDefinition;
use crate::domain::types::{ContextName, EcsName, Principal, RepositoryName, ServiceKey};
use crate::domain::view::{Management, ServiceView};
use crate::metrics::Metrics;

/// Services that one DescribeServices takes.
const SERVICES: usize = 10;

/// Why it cannot be told what a context is used for.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The context cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The metrics cannot be made.
    #[error("cannot make the metrics")]
    Metrics(#[from] prometheus::Error),
    /// The configuration has no such context.
    #[error("there is no AWS context {0} in the configuration")]
    NoContext(ContextName),
    /// AWS did not say.
    #[error("cannot ask AWS about {about}{}", remedy.as_ref().map_or_else(String::new, |remedy| format!(" ({remedy})")))]
    Asking {
        /// What the question was about.
        about: String,
        /// What can be done.
        remedy: Option<String>,
        /// Why AWS did not answer.
        source: AwsError,
    },
    /// A service is not there, or runs no task definition.
    #[error("the task definition and the roles of {service} are not known: {why}")]
    Unknown {
        /// The service, as people call it.
        service: String,
        /// Why it is not known.
        why: String,
    },
}

fn asking(about: impl Into<String>) -> impl FnOnce(AwsError) -> UsageError {
    let about = about.into();
    move |source| UsageError::Asking { about, remedy: source.remedy(), source }
}

/// Asks for the usage of a context.
///
/// # Errors
/// AWS cannot be asked, or a service is not there.
pub async fn of_context(config: &Arc<Config>, name: &ContextName) -> Result<Usage, UsageError> {
    let settings = config.aws.get(name).ok_or_else(|| UsageError::NoContext(name.clone()))?;
    let now = crate::clock::Clock::now(&crate::clock::SystemClock);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION"), env!("ECS_DEPLOYD_COMMIT"), now)?);
    let common = Common::new(metrics, Arc::default(), Arc::default());
    let (context, identity) = aws::connect_known(name, settings, &common, RegionWait::Short).await?;
    look(config, name, &context, identity.as_ref()).await
}

/// The same with everything given.
///
/// # Errors
/// AWS cannot be asked, or a service is not there.
pub async fn look(
    config: &Arc<Config>,
    name: &ContextName,
    context: &AwsContext,
    identity: &dyn Identity,
) -> Result<Usage, UsageError> {
    let principal =
        again(|| identity.principal()).await.map_err(asking(format!("the account of aws context {name}")))?;
    let mut state = State::default();
    let here = BTreeMap::from([(name.clone(), context.clone())]);
    let looked = discoverer::look_once(config, &here, &mut state, jiff::Timestamp::UNIX_EPOCH).await;
    if let Some((_, error)) = looked.errors.into_iter().next() {
        return Err(asking("the tags of services")(error));
    }
    let config = &*config.with_discovered(&state);
    let keys: BTreeSet<ServiceKey> =
        config.services().map(|(_, rule)| &rule.key).filter(|key| &key.aws == name).cloned().collect();
    let seen = Seen { services: running(config, context.ecs.as_ref(), &keys).await?, definitions: BTreeMap::new() };
    of_seen(config, name, context, principal, seen).await
}

/// What was seen of a context beforehand, and so is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The services that are there.
    pub services: BTreeMap<ServiceKey, ServiceView>,
    /// Task definitions, by what DescribeTaskDefinition was asked for.
    pub definitions: BTreeMap<String, TaskDefinition>,
}

/// The usage of a context whose services were looked at. What it lacks is asked for.
///
/// # Errors
/// AWS cannot be asked.
pub async fn of_seen(
    config: &Config,
    name: &ContextName,
    context: &AwsContext,
    principal: Principal,
    seen: Seen,
) -> Result<Usage, UsageError> {
    let mut usage = of_the_configuration(config, name, Usage::none(principal, context.region.clone()));
    for (key, view) in &seen.services {
        note_features(&mut usage, key, view);
    }
    let rules: Vec<&ServiceRule> =
        config.services().map(|(_, rule)| rule).filter(|rule| &rule.key.aws == name).collect();
    let latest: BTreeSet<&ServiceKey> =
        rules.iter().filter(|rule| rule.deploy.base == Base::Latest).map(|rule| &rule.key).collect();
    let running: BTreeMap<ServiceKey, String> =
        seen.services.iter().map(|(key, view)| (key.clone(), view.task_definition.as_str().to_owned())).collect();
    let of_rules = note_schedules(config, name, context.schedules.as_ref(), &mut usage).await?;
    let of_latest = running.iter().filter(|(key, _)| latest.contains(key)).map(|(_, which)| family_of(which));
    let of_tasks = note_tasks(&mut usage, &rules, &running);
    let wanted: BTreeSet<String> = running.values().cloned().chain(of_latest).chain(of_tasks).collect();
    let mut definitions = seen.definitions;
    definitions.retain(|which, _| wanted.contains(which));
    let lacking = wanted.into_iter().filter(|which| !definitions.contains_key(which)).collect();
    definitions.extend(self::definitions(context.ecs.as_ref(), lacking).await?);
    for definition in definitions.values() {
        add(&mut usage, definition);
    }
    for (key, families) in of_rules {
        let leading = running.get(&key).and_then(|which| definitions.get(which));
        let of_rule = self::definitions(context.ecs.as_ref(), families).await?;
        let follows = |other: &&TaskDefinition| leading.is_some_and(|one| schedule::share_a_repository(one, other));
        for definition in of_rule.values().filter(follows) {
            add(&mut usage, definition);
        }
    }
    Ok(usage)
}

async fn definitions(ecs: &dyn Ecs, wanted: BTreeSet<String>) -> Result<BTreeMap<String, TaskDefinition>, UsageError> {
    let read = each(wanted, |which| async move {
        let read = again(|| ecs.describe_task_definition(&which)).await;
        let about = || format!("the task definition {}", crate::wording::short_revision(&which));
        read.map_err(|error| asking(about())(error)).map(|definition| (which.clone(), definition))
    });
    read.await.map(|all| all.into_iter().collect())
}

/// What one-off tasks run from, and where. Gives the families of their own.
fn note_tasks(usage: &mut Usage, rules: &[&ServiceRule], running: &BTreeMap<ServiceKey, String>) -> BTreeSet<String> {
    let mut own = BTreeSet::new();
    for rule in rules {
        for task in rule.before.iter().chain(&rule.verify) {
            usage.task_clusters.insert(rule.key.cluster.clone());
            own.extend(task.family.clone());
            let family = task.family.clone().or_else(|| running.get(&rule.key).map(|arn| family_of(arn)));
            usage.task_families.extend(family);
        }
    }
    own
}

fn family_of(arn: &str) -> String {
    let short = crate::wording::short_revision(arn);
    short.rsplit_once(':').map_or(short, |(family, _)| family).to_owned()
}

/// What the file alone says of it, with an account and a Region.
#[must_use]
pub fn of_the_configuration(config: &Config, name: &ContextName, none: Usage) -> Usage {
    let is_here = |other: &ContextName| other == name;
    let topics = config.notify.iter().filter_map(|one| match &one.receiver {
        Receiver::Topic { arn, aws } => is_here(aws).then(|| arn.clone()),
        Receiver::Webhook { .. } => None,
    });
    let queue = config.contexts_with_queues().contains(&name).then(|| config.aws.get(name)?.queue.as_ref()).flatten();
    Usage {
        queue: queue.map(|url| none.arn_of_queue(url)),
        reads_events: config.polled_contexts().into_iter().chain(config.audited_contexts()).any(is_here),
        repositories: config.repositories.keys().filter(|key| is_here(&key.aws)).map(|key| key.name.clone()).collect(),
        scanned: gated(config, name, |gates| gates.scan != ScanLevel::Off),
        signed: gated(config, name, |gates| !gates.signed_by.is_empty()),
        services: config
            .services()
            .filter(|(_, rule)| is_here(&rule.key.aws) && rule.key.schedule().is_none())
            .map(|(_, rule)| (rule.key.cluster.clone(), rule.key.service.clone()))
            .collect(),
        discovers: config
            .discover
            .iter()
            .filter(|rule| is_here(&rule.aws))
            .flat_map(|rule| rule.clusters.iter().map(|glob| glob.as_str().to_owned()))
            .collect(),
        topics: topics.collect(),
        tables: config
            .state
            .place
            .table()
            .filter(|table| is_here(&table.aws))
            .map(|table| table.name.clone())
            .into_iter()
            .collect(),
        assumed_roles: config.aws.get(name).map(|own| assumed_with(config, own)).unwrap_or_default(),
        ..none
    }
}

/// The repositories here with a service that has such a gate.
fn gated(config: &Config, name: &ContextName, is_it: impl Fn(&Gates) -> bool) -> BTreeSet<RepositoryName> {
    let services = config.services().filter(|(repository, rule)| &repository.aws == name && is_it(&rule.deploy.gates));
    services.map(|(repository, _)| repository.name).collect()
}

/// The roles of other contexts that are assumed with the credentials of this one. A context whose own role is assumed assumes none.
fn assumed_with(config: &Config, own: &AwsSettings) -> BTreeSet<String> {
    if own.role_arn.is_some() {
        return BTreeSet::new();
    }
    let others = config.aws.values().filter(|other| other.profile == own.profile);
    others.filter_map(|other| other.role_arn.clone()).collect()
}

/// Each service as it is.
async fn running(
    config: &Config,
    ecs: &dyn Ecs,
    keys: &BTreeSet<ServiceKey>,
) -> Result<BTreeMap<ServiceKey, ServiceView>, UsageError> {
    let mut clusters: BTreeMap<&EcsName, Vec<&ServiceKey>> = BTreeMap::new();
    for key in keys {
        clusters.entry(&key.cluster).or_default().push(key);
    }
    let parts = clusters
        .into_iter()
        .flat_map(|(cluster, keys)| keys.chunks(SERVICES).map(|part| (cluster, part.to_vec())).collect::<Vec<_>>());
    let answers = each(parts, |(cluster, part)| async move {
        let names: Vec<EcsName> = part.iter().map(|key| key.service.clone()).collect();
        let read = again(|| ecs.describe_services(cluster, &names)).await;
        let about = || part.iter().map(|key| config.name_of(key)).collect::<Vec<_>>().join(", ");
        read.map(|found| (part.clone(), found)).map_err(|error| asking(about())(error))
    })
    .await?;
    let mut views = BTreeMap::new();
    for (part, mut found) in answers {
        for key in part {
            let unknown = |why: String| UsageError::Unknown { service: config.name_of(key), why };
            match found.remove(&key.service) {
                Some(Ok(view)) => views.insert(key.clone(), view),
                Some(Err(why)) => return Err(unknown(why.to_string())),
                None if key.schedule().is_some() => return Err(unknown(key.absence().to_owned())),
                None => return Err(unknown(format!("there is no such service in the cluster {}", key.cluster))),
            };
        }
    }
    Ok(views)
}

/// The schedules and rules, and the roles that they are carried out with. Gives what the targets of each rule run.
async fn note_schedules(
    config: &Config,
    name: &ContextName,
    schedules: &dyn Schedules,
    usage: &mut Usage,
) -> Result<BTreeMap<ServiceKey, BTreeSet<String>>, UsageError> {
    let mut of_rules = BTreeMap::new();
    for key in config.names.schedules().keys().filter(|key| &key.aws == name) {
        let about = || asking(config.name_of(key));
        match key.schedule() {
            Some(ScheduleName::Scheduler { group, name }) => {
                let found = again(|| schedules.schedule(&group, &name)).await.map_err(about())?;
                let target = found.map(|schedule| Target::of_schedule(&schedule));
                usage.schedule_roles.extend(target.and_then(|target| target.role().map(str::to_owned)));
                usage.schedules.insert((group, name));
            }
            Some(ScheduleName::Rule { bus, name }) => {
                let found = again(|| schedules.targets(&bus, &name, None)).await.map_err(about())?;
                let targets = found.unwrap_or_default().targets.into_iter().map(Target::of_rule);
                let of_tasks: Vec<Target> = targets.filter(|target| target.runs().is_some()).collect();
                usage.rule_roles.extend(of_tasks.iter().filter_map(|target| target.role().map(str::to_owned)));
                let runs = of_tasks.iter().filter_map(Target::runs).map(|named| named.which().to_owned());
                of_rules.insert(key.clone(), runs.collect());
                usage.rules.insert((bus, name));
            }
            None => {}
        }
    }
    Ok(of_rules)
}

/// What a service uses beside what all do.
fn note_features(usage: &mut Usage, key: &ServiceKey, view: &ServiceView) {
    let name = (key.cluster.clone(), key.service.clone());
    if view.lifecycle.hooks.iter().any(|hook| hook.target == HookTarget::Pause) {
        usage.paused.insert(name.clone());
    }
    match view.management {
        Management::Ecs { .. } => drop(usage.express.insert(name)),
        Management::Customer => {}
    }
}

fn add(usage: &mut Usage, definition: &TaskDefinition) {
    let family = definition.arn().family().to_owned();
    if definition.is_tagged() {
        usage.tagged_families.insert(family.clone());
    }
    usage.families.insert(family);
    let roles: Vec<String> = definition.roles().map(|named| role_arn(&usage.principal, named)).collect();
    usage.roles.extend(roles);
    // Before a rollback ECR is asked whether the tags of the revision before still mean what ran, in other repositories, too.
    for (_, image) in definition.containers() {
        let reference = ImageReference::split(image);
        let is_here = |host: RegistryHost<'_>| {
            host.account == usage.principal.account.as_str() && host.region == usage.region.as_str()
        };
        let path = reference.name.split_once('/').map(|(_, path)| path);
        if reference.registry().is_some_and(is_here) {
            usage.repositories.extend(path.and_then(|path| RepositoryName::parse(path).ok()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::types::{AccountId, Partition, Region};

    fn usage_of(text: &str, name: &str) -> Usage {
        let config = Config::parse("test", text).unwrap();
        let principal = Principal {
            account: AccountId::parse("111111111111").unwrap(),
            partition: Partition::parse("aws").unwrap(),
        };
        let none = Usage::none(principal, Region::parse("eu-west-1").unwrap());
        of_the_configuration(&config, &ContextName::parse(name).unwrap(), none)
    }

    #[test]
    fn each_context_is_used_for_what_the_file_says() {
        let text = include_str!("../config/example.toml");
        let home = usage_of(text, "default");
        assert!(home.reads_events);
        assert_eq!(home.queue.as_deref(), Some("arn:aws:sqs:eu-west-1:111111111111:ecs-deployd"));
        let names: Vec<&str> = home.repositories.iter().map(|name| name.as_str()).collect();
        assert_eq!(names, ["hello-nginx", "team/api", "team/envoy"]);
        let services: Vec<String> = home.services.iter().map(|(cluster, name)| format!("{cluster}/{name}")).collect();
        assert_eq!(services, ["backend/api", "web/hello"]);
        assert_eq!(home.topics, BTreeSet::from(["arn:aws:sns:eu-west-1:111111111111:deployments".to_owned()]));
        assert_eq!(home.assumed_roles, BTreeSet::from(["arn:aws:iam::222222222222:role/ecs-deployd".to_owned()]));
        let away = usage_of(text, "production");
        assert_eq!(away.services.len(), 1);
        assert!(away.reads_events, "changes to ECS are followed where services run");
        assert!(
            away.queue.is_none()
                && away.repositories.is_empty()
                && away.topics.is_empty()
                && away.assumed_roles.is_empty()
        );
    }

    #[test]
    fn a_role_is_assumed_with_the_credentials_of_its_own_profile() {
        let text = "[aws.a]\nregion = \"eu-west-1\"\nprofile = \"one\"\n[aws.b]\nregion = \"eu-west-1\"\nprofile = \"two\"\n\
            [aws.c]\nregion = \"eu-west-1\"\nprofile = \"two\"\nrole_arn = \"arn:aws:iam::222222222222:role/x\"\n";
        assert_eq!(usage_of(text, "a").assumed_roles.len(), 0);
        assert_eq!(usage_of(text, "b").assumed_roles.len(), 1);
        assert_eq!(usage_of(text, "c").assumed_roles.len(), 0);
    }
}
