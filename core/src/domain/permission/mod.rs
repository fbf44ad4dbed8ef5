//! What the daemon's role has to be allowed: the uses of one AWS context, to the least-privilege policy for them.
//!
//! [`GRANTS`] declares each action once, with the use that needs it and the narrowest resources and conditions that AWS takes for it
//! (Service Authorization Reference). The policy, the examples in `config/iam/` and the tests of both are made from it.

mod document;
mod grants;

use std::collections::BTreeSet;

use super::queue_url::QueueUrl;
use super::types::{EcsName, Principal, Region, RepositoryName};

pub use document::Policy;
pub use grants::{GRANTS, Grant, Trial, Untried, of_check, of_the_daemon, untried};

/// What one context of a configuration is used for, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The account and its partition.
    pub principal: Principal,
    /// The Region of the account.
    pub region: Region,
    /// Whether CloudTrail's event history is read here: for pushes, or for changes to ECS.
    pub reads_events: bool,
    /// The repositories here that are asked about: those of the configuration, and others that the revisions of its services name.
    pub repositories: BTreeSet<RepositoryName>,
    /// Those of the repositories whose images are refused for what their scans find.
    pub scanned: BTreeSet<RepositoryName>,
    /// Those of the repositories whose images have to be signed.
    pub signed: BTreeSet<RepositoryName>,
    /// The services that are rolled here: cluster and name.
    pub services: BTreeSet<(EcsName, EcsName)>,
    /// Globs for the clusters in which services opt in by a tag: which ones, with which families and repositories, is not known beforehand.
    pub discovers: BTreeSet<String>,
    /// Those of the services with a PAUSE hook, at which their deployments wait for an approval.
    pub paused: BTreeSet<(EcsName, EcsName)>,
    /// Those of the services whose resources ECS manages (Express Mode).
    pub express: BTreeSet<(EcsName, EcsName)>,
    /// The families of their task definitions.
    pub families: BTreeSet<String>,
    /// Those of the families of which revisions have tags.
    pub tagged_families: BTreeSet<String>,
    /// The ARNs of the task roles and execution roles that the revisions name.
    pub roles: BTreeSet<String>,
    /// The schedules of EventBridge Scheduler that are written here: group and name.
    pub schedules: BTreeSet<(String, String)>,
    /// The rules of EventBridge: bus and name.
    pub rules: BTreeSet<(String, String)>,
    /// The ARNs of the roles that schedules are carried out with.
    pub schedule_roles: BTreeSet<String>,
    /// The ARNs of the roles that targets of rules are carried out with.
    pub rule_roles: BTreeSet<String>,
    /// The clusters of services with one-off tasks.
    pub task_clusters: BTreeSet<EcsName>,
    /// The families that one-off tasks run from.
    pub task_families: BTreeSet<String>,
    /// The ARN of the queue that is read for pushes.
    pub queue: Option<String>,
    /// The ARNs of the topics that are published to from here.
    pub topics: BTreeSet<String>,
    /// The names of the tables here that hold the state.
    pub tables: BTreeSet<String>,
    /// The ARNs of the roles of other contexts that are assumed with the credentials of this one.
    pub assumed_roles: BTreeSet<String>,
}

impl Usage {
    /// A context that is used for nothing.
    #[must_use]
    pub fn none(principal: Principal, region: Region) -> Self {
        Self {
            principal,
            region,
            reads_events: false,
            repositories: BTreeSet::new(),
            scanned: BTreeSet::new(),
            signed: BTreeSet::new(),
            services: BTreeSet::new(),
            discovers: BTreeSet::new(),
            paused: BTreeSet::new(),
            express: BTreeSet::new(),
            families: BTreeSet::new(),
            tagged_families: BTreeSet::new(),
            roles: BTreeSet::new(),
            schedules: BTreeSet::new(),
            rules: BTreeSet::new(),
            schedule_roles: BTreeSet::new(),
            rule_roles: BTreeSet::new(),
            task_clusters: BTreeSet::new(),
            task_families: BTreeSet::new(),
            queue: None,
            topics: BTreeSet::new(),
            tables: BTreeSet::new(),
            assumed_roles: BTreeSet::new(),
        }
    }

    /// The ARN of a queue of the Region.
    #[must_use]
    pub fn arn_of_queue(&self, url: &QueueUrl) -> String {
        let partition = &self.principal.partition;
        format!("arn:{partition}:sqs:{}:{}:{}", self.region, url.account(), url.name())
    }

    fn arn(&self, service: &str, resource: &str) -> String {
        let Principal { account, partition } = &self.principal;
        format!("arn:{partition}:{service}:{}:{account}:{resource}", self.region)
    }

    /// The clusters of the services, as IAM's patterns. A pattern may stand for more than its glob, never for less.
    fn clusters(&self) -> BTreeSet<String> {
        let listed = self.services.iter().map(|(cluster, _)| cluster.to_string());
        listed.chain(self.discovers.iter().map(|glob| pattern(glob))).collect()
    }

    fn of_repositories(&self, names: &BTreeSet<RepositoryName>) -> Vec<String> {
        names.iter().map(|name| self.arn("ecr", &format!("repository/{name}"))).collect()
    }

    fn of_families(&self, families: &BTreeSet<String>) -> Vec<String> {
        if !self.discovers.is_empty() {
            return vec![self.arn("ecs", "task-definition/*:*")];
        }
        families.iter().map(|family| self.arn("ecs", &format!("task-definition/{family}:*"))).collect()
    }
}

/// A glob as IAM's pattern, which knows `*` and `?` alone.
fn pattern(glob: &str) -> String {
    let mut pattern = String::new();
    let mut closing = None;
    for letter in glob.chars() {
        match (closing, letter) {
            (Some(end), _) if letter == end => closing = None,
            (Some(_), _) => {}
            (None, '[' | '{') => {
                closing = Some(if letter == '[' { ']' } else { '}' });
                pattern.push('*');
            }
            (None, _) => pattern.push(letter),
        }
    }
    pattern
}

/// The ARN of a role that a task definition names, which may be its bare name (ECS API reference, `taskRoleArn`).
#[must_use]
pub fn role_arn(principal: &Principal, named: &str) -> String {
    let Principal { account, partition } = principal;
    if named.starts_with("arn:") { named.to_owned() } else { format!("arn:{partition}:iam::{account}:role/{named}") }
}

/// A use that a context may have. A permission is granted only where its use is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Pushes, or changes to ECS, are read from CloudTrail.
    Events,
    /// A queue is read for pushes.
    Queue,
    /// Tags are looked up in ECR.
    Images,
    /// Images are refused for what their scans find.
    Scans,
    /// Images have to be signed.
    Signatures,
    /// Services are rolled out to pushed images.
    Services,
    /// Revisions are made, for services or for schedules.
    Revisions,
    /// Schedules of EventBridge Scheduler are written.
    Schedules,
    /// Targets of EventBridge rules are written.
    Rules,
    /// Schedules are carried out with roles.
    ScheduleRoles,
    /// Targets of rules are carried out with roles.
    RuleRoles,
    /// Services are looked for by their tag.
    Discovery,
    /// Deployments that wait at PAUSE hooks are continued.
    PauseHooks,
    /// Express Mode services are rolled.
    ExpressMode,
    /// The task definitions of the services have tags, which a copy takes over.
    RevisionTags,
    /// The task definitions of the services name roles.
    TaskRoles,
    /// One-off tasks run before or after deployments.
    OneOffTasks,
    /// Notifications are published to topics.
    Topics,
    /// The state is in a table.
    Tables,
    /// Roles of other contexts are assumed.
    OtherRoles,
    /// `check` looks for the name that may be meant. The daemon never does.
    Names,
}

impl Use {
    fn is_made(self, usage: &Usage) -> bool {
        match self {
            Self::Events => usage.reads_events,
            Self::Queue => usage.queue.is_some(),
            Self::Images => !usage.repositories.is_empty() || !usage.discovers.is_empty(),
            Self::Scans => !usage.scanned.is_empty(),
            Self::Signatures => !usage.signed.is_empty(),
            Self::Services => !usage.services.is_empty() || !usage.discovers.is_empty(),
            Self::Revisions => {
                Self::Services.is_made(usage) || Self::Schedules.is_made(usage) || Self::Rules.is_made(usage)
            }
            Self::Schedules => !usage.schedules.is_empty(),
            Self::Rules => !usage.rules.is_empty(),
            Self::ScheduleRoles => !usage.schedule_roles.is_empty(),
            Self::RuleRoles => !usage.rule_roles.is_empty(),
            Self::Discovery => !usage.discovers.is_empty(),
            Self::PauseHooks => !usage.paused.is_empty(),
            Self::ExpressMode => !usage.express.is_empty(),
            Self::RevisionTags => !usage.tagged_families.is_empty() || !usage.discovers.is_empty(),
            Self::TaskRoles => !usage.roles.is_empty(),
            Self::OneOffTasks => !usage.task_clusters.is_empty(),
            Self::Topics => !usage.topics.is_empty(),
            Self::Tables => !usage.tables.is_empty(),
            Self::OtherRoles => !usage.assumed_roles.is_empty(),
            Self::Names => false,
        }
    }
}

/// What an action is allowed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything, as the action takes no resource.
    Anything,
    /// The queue of the context.
    Queue,
    /// The repositories of the configuration.
    Repositories,
    /// The repositories whose images are scanned.
    ScannedRepositories,
    /// The repositories whose images are signed.
    SignedRepositories,
    /// The services of the configuration.
    Services,
    /// The revisions of the services, which ECS makes with each deployment.
    ServiceRevisions,
    /// The deployments of the services.
    ServiceDeployments,
    /// The deployments of the services with PAUSE hooks.
    PausedDeployments,
    /// The Express Mode services.
    ExpressServices,
    /// The tasks of the services' clusters: the ids of tasks are not known beforehand.
    Tasks,
    /// One-off tasks: the tasks of the clusters that they run in.
    OneOffTasks,
    /// The families that one-off tasks run from.
    TaskFamilies,
    /// The families of the services' task definitions.
    Families,
    /// The families of which revisions have tags.
    TaggedFamilies,
    /// The roles of the task definitions.
    TaskRoles,
    /// The schedules that are followed.
    Schedules,
    /// The rules that are followed.
    Rules,
    /// The roles of the schedules.
    ScheduleRoles,
    /// The roles of the rules' targets.
    RuleRoles,
    /// The topics of the receivers.
    Topics,
    /// The tables that states are kept in.
    Tables,
    /// The roles of other contexts.
    OtherRoles,
}

impl Scope {
    fn resources(self, usage: &Usage) -> Vec<String> {
        match self {
            Self::Anything => vec!["*".to_owned()],
            Self::Queue => usage.queue.iter().cloned().collect(),
            Self::Repositories if !usage.discovers.is_empty() => vec![usage.arn("ecr", "repository/*")],
            Self::Repositories => usage.of_repositories(&usage.repositories),
            Self::ScannedRepositories => usage.of_repositories(&usage.scanned),
            Self::SignedRepositories => usage.of_repositories(&usage.signed),
            Self::Services => of_all_services(usage, "service", ""),
            Self::ServiceRevisions => of_all_services(usage, "service-revision", "/*"),
            Self::ServiceDeployments => of_all_services(usage, "service-deployment", "/*"),
            Self::PausedDeployments => of_services(usage, &usage.paused, "service-deployment", "/*"),
            Self::ExpressServices => of_services(usage, &usage.express, "service", ""),
            Self::Tasks => {
                usage.clusters().into_iter().map(|name| usage.arn("ecs", &format!("task/{name}/*"))).collect()
            }
            Self::OneOffTasks => tasks_of(usage, &usage.task_clusters),
            Self::TaskFamilies => usage.of_families(&usage.task_families),
            Self::Families => usage.of_families(&usage.families),
            Self::TaggedFamilies => usage.of_families(&usage.tagged_families),
            Self::TaskRoles => usage.roles.iter().cloned().collect(),
            Self::Schedules => {
                let arn =
                    |(group, name): &(String, String)| usage.arn("scheduler", &format!("schedule/{group}/{name}"));
                usage.schedules.iter().map(arn).collect()
            }
            Self::Rules => {
                // Rules of the default bus do not name it (Service Authorization Reference, Amazon EventBridge).
                let arn = |(bus, name): &(String, String)| match bus.as_str() {
                    "default" => usage.arn("events", &format!("rule/{name}")),
                    bus => usage.arn("events", &format!("rule/{bus}/{name}")),
                };
                usage.rules.iter().map(arn).collect()
            }
            Self::ScheduleRoles => usage.schedule_roles.iter().cloned().collect(),
            Self::RuleRoles => usage.rule_roles.iter().cloned().collect(),
            Self::Topics => usage.topics.iter().cloned().collect(),
            Self::Tables => usage.tables.iter().map(|name| usage.arn("dynamodb", &format!("table/{name}"))).collect(),
            Self::OtherRoles => usage.assumed_roles.iter().cloned().collect(),
        }
    }
}

fn tasks_of(usage: &Usage, clusters: &BTreeSet<EcsName>) -> Vec<String> {
    clusters.iter().map(|name| usage.arn("ecs", &format!("task/{name}/*"))).collect()
}

/// The services that are listed, and whatever may be found.
fn of_all_services(usage: &Usage, kind: &str, below: &str) -> Vec<String> {
    let patterns: BTreeSet<String> = usage.discovers.iter().map(|glob| pattern(glob)).collect();
    let is_covered = |(cluster, _): &&(EcsName, EcsName)| patterns.contains("*") || patterns.contains(cluster.as_str());
    let listed = usage.services.iter().filter(|service| !is_covered(service)).cloned().collect();
    let found = patterns.iter().map(|cluster| usage.arn("ecs", &format!("{kind}/{cluster}/*{below}")));
    of_services(usage, &listed, kind, below).into_iter().chain(found).collect()
}

fn of_services(usage: &Usage, services: &BTreeSet<(EcsName, EcsName)>, kind: &str, below: &str) -> Vec<String> {
    let arn = |(cluster, service): &(EcsName, EcsName)| usage.arn("ecs", &format!("{kind}/{cluster}/{service}{below}"));
    services.iter().map(arn).collect()
}

/// What narrows a permission further than its resources do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The statement has no condition.
    None,
    /// Requests to the Region alone.
    Region,
    /// The clusters of the services.
    Clusters,
    /// The clusters of services with one-off tasks.
    TaskClusters,
    /// While a revision is being registered.
    WhileRegistering,
    /// While a task is being started.
    WhileStarting,
    /// Roles that ECS tasks get.
    PassedToTasks,
    /// Roles that EventBridge Scheduler gets.
    PassedToScheduler,
    /// Roles that EventBridge gets.
    PassedToEvents,
}

impl Condition {
    /// Operator, key and values.
    fn test(self, usage: &Usage) -> Option<(&'static str, &'static str, Vec<String>)> {
        match self {
            Self::None => None,
            Self::Region => Some(("StringEquals", "aws:RequestedRegion", vec![usage.region.to_string()])),
            Self::Clusters => {
                let clusters = usage.clusters().into_iter();
                let arns = clusters.map(|name| usage.arn("ecs", &format!("cluster/{name}"))).collect();
                Some(("ArnEquals", "ecs:cluster", arns))
            }
            Self::TaskClusters => {
                let clusters = usage.task_clusters.iter();
                let arns = clusters.map(|name| usage.arn("ecs", &format!("cluster/{name}"))).collect();
                Some(("ArnEquals", "ecs:cluster", arns))
            }
            Self::WhileStarting => Some(("StringEquals", "ecs:CreateAction", vec!["RunTask".to_owned()])),
            Self::WhileRegistering => {
                Some(("StringEquals", "ecs:CreateAction", vec!["RegisterTaskDefinition".to_owned()]))
            }
            Self::PassedToTasks => {
                Some(("StringEquals", "iam:PassedToService", vec!["ecs-tasks.amazonaws.com".to_owned()]))
            }
            Self::PassedToScheduler => {
                Some(("StringEquals", "iam:PassedToService", vec!["scheduler.amazonaws.com".to_owned()]))
            }
            Self::PassedToEvents => {
                Some(("StringEquals", "iam:PassedToService", vec!["events.amazonaws.com".to_owned()]))
            }
        }
    }
}

#[cfg(test)]
mod tests;
