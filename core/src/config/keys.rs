//! The table of configuration keys.
//!
//! A key is declared once, at the end of this file: its table, its name, its type, its default and its meaning. The readers get a struct
//! with a field for each key, read or set to its default; unknown keys, the nearest known one and the reference documents derive from the
//! same declaration. The compiler names a key that is declared and not used, and a test one that `config/example.toml` does not show.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::forms::{ClusterName, ContainerName, Every, FamilyName, RuleName, SchedulerName, ServiceName, Span};
use super::reader::{Form, Found, Setting, Table, Texts};
use super::{AwsSettings, HttpSettings, TableSettings, WhenMissing};
use crate::domain::audit::EventName;
use crate::domain::gate::{self, Approvals, ScanLevel};
use crate::domain::notification::{Changes, Format};
use crate::domain::policy::Order;
use crate::domain::queue_url::QueueUrl;
use crate::domain::settings::{Base, DeploySettings, DowntimeMode, OnFailure, PinMode};
use crate::domain::types::{ContextName, Region, RepositoryName};

/// A table of the configuration, or a group of keys that stand in other tables.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The path of the table that it stands in; empty for the file itself.
    pub parent: &'static str,
    /// The name that it has there.
    pub name: &'static str,
    /// How it is written.
    pub shape: Shape,
    /// What it is about.
    pub meaning: &'static str,
    /// The keys that stand in it directly.
    pub keys: &'static [Key],
    /// Groups of keys that may stand in it, too.
    pub groups: &'static [&'static Section],
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `[name]`, which may stand there once.
    Table,
    /// `[name.OWN]`, any number, each with a name of its own.
    Named,
    /// `[[name]]`, of which there may be any number.
    List,
    /// Not at all: its keys stand in other tables.
    Group,
}

/// A key of a table.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name as it is written.
    pub name: &'static str,
    /// The type of its value, for documents.
    pub form: &'static str,
    /// The words that it takes, with their meanings; none where it does not take words.
    pub words: fn() -> Vec<(&'static str, &'static str)>,
    /// What holds without it.
    pub need: Need,
    /// What the key means, for the reference.
    pub meaning: &'static str,
}

/// What holds without a key.
#[derive(Debug, Clone, Copy)]
pub enum Need {
    /// It may be left out; its meaning tells what holds then.
    Optional,
    /// It must be there.
    Required,
    /// This value, as TOML.
    Default(fn() -> String),
}

impl Section {
    /// The names from the file down to the table, with dots between them.
    #[must_use]
    pub fn path(&self) -> String {
        if self.parent.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.parent, self.name) }
    }

    /// The names of all keys and tables that may stand in it.
    pub(super) fn known(&self) -> Vec<&'static str> {
        let groups = self.groups.iter().flat_map(|group| group.keys);
        self.keys.iter().chain(groups).map(|key| key.name).chain(tables_in(&self.path())).collect()
    }
}

/// The names of the tables that stand in the table with this path, or in the file itself if it is empty.
pub(super) fn tables_in(path: &str) -> impl Iterator<Item = &'static str> {
    SECTIONS
        .iter()
        .filter(move |section| section.shape != Shape::Group && section.parent == path)
        .map(|section| section.name)
}

macro_rules! configuration {
    (@field default $type:ty) => { Setting<$type> };
    (@field optional $type:ty) => { Option<Found<$type>> };
    (@field required $type:ty) => { Option<Found<$type>> };
    (@read default $table:ident $key:ident $type:ty, $default:expr) => { $table.read_or(stringify!($key), || $default) };
    (@read optional $table:ident $key:ident $type:ty) => { $table.read(stringify!($key)) };
    (@read required $table:ident $key:ident $type:ty, $missing:literal) => { $table.required(stringify!($key), $missing) };
    (@need default $type:ty, $default:expr) => { Need::Default(|| <$type as Form>::toml(&$default)) };
    (@need optional $type:ty) => { Need::Optional };
    (@need required $type:ty, $missing:literal) => { Need::Required };
    ($(
        $section:ident: $shape:ident $parent:literal / $name:literal [$($group:ident),*], $about:literal {
            $($need:ident $key:ident: $type:ty $(= $without:expr)?, $meaning:literal;)*
        }
    )+) => {
        $(
            #[doc = $about]
            pub(super) struct $section {
                $(#[doc = $meaning] pub(super) $key: configuration!(@field $need $type),)*
            }

            impl $section {
                /// The declaration of the table.
                pub(super) const SECTION: &'static Section = &Section {
                    parent: $parent,
                    name: $name,
                    shape: Shape::$shape,
                    meaning: $about,
                    keys: &[$(Key {
                        name: stringify!($key),
                        form: <$type as Form>::NAME,
                        words: <$type as Form>::words,
                        need: configuration!(@need $need $type $(, $without)?),
                        meaning: $meaning,
                    }),*],
                    groups: &[$($group::SECTION),*],
                };

                /// Reads every key of the declaration.
                pub(super) fn read(table: &Table<'_>) -> Self {
                    // A table may have none but those of groups.
                    let _ = table;
                    Self { $($key: configuration!(@read $need table $key $type $(, $without)?)),* }
                }
            }
        )+

        /// Every table and group of the configuration, in the order of the documents.
        pub static SECTIONS: &[&Section] = &[$($section::SECTION),+];
    };
}

// NAME: SHAPE PARENT / NAME [GROUPS], "what it is about" {
//     default KEY: TYPE = DEFAULT, "meaning";
//     optional KEY: TYPE, "meaning";
//     required KEY: TYPE = "the message without it", "meaning";
// }
configuration! {
    Aws: Named "" / "aws" [], "An account and Region with the credentials to reach it. The context `default` needs no table: without one it is the ambient credentials and Region." {
        optional region: Region, "The Region. Without it: AWS_REGION, AWS_DEFAULT_REGION, the profile's, or that of the EC2 instance.";
        optional profile: String, "A profile of the shared AWS configuration files, in place of the default one.";
        optional role_arn: String, "The ARN of a role to assume with those credentials.";
        optional external_id: String, "The external id that the role's trust policy asks for. Only beside `role_arn`.";
        optional endpoint_url: String, "The address of every AWS API, where it is not AWS's own: an emulator.";
        optional queue: QueueUrl, "The URL of an SQS queue that an EventBridge rule fills with ECR's push events: pushes are then seen within seconds. CloudTrail is read as well.";
        default max_lookups_per_second: f64 = AwsSettings::default().max_lookups_per_second, "LookupEvents requests per second: 0.01 to 2. CloudTrail allows 2 in an account and Region, to everybody together.";
    }
    Poll: Table "" / "poll" [], "How CloudTrail is read." {
        default interval: Duration = Duration::from_secs(30), "The time from the beginning of one poll to that of the next.";
        default overlap: Duration = Duration::from_mins(30), "How much of the past each poll reads again, as CloudTrail delivers late and out of order. At most 90 days; less than 15m is warned of.";
        default reconcile: Every = Every(None), "How often what the policies select in ECR is compared with what was decided, to find a push of which no source ever told: `off`, or a duration of 5m or more.";
    }
    State: Table "" / "state" [], "What must survive a restart." {
        default path: PathBuf = PathBuf::from("/var/lib/ecs-deployd/state.json"), "The state file. Its folder must be writable. A change takes effect at the next start.";
        optional table: String, "A DynamoDB table, in place of a file: for several replicas, of which one is active. Its partition key is `pk` and its sort key `sk`, both strings. A change takes effect at the next start.";
        default aws: ContextName = ContextName::default(), "The AWS context whose account and Region hold the table.";
        default lease: Duration = TableSettings::LEASE, "An active replica that is not heard of for so long is replaced: 5s or more. Only with a table.";
        default when_missing: WhenMissing = WhenMissing::Ignore, "What a start without a state means.";
    }
    Http: Table "" / "http" [], "Where the status page, metrics and health are served." {
        default listen: SocketAddr = HttpSettings::default().listen, "An IP address and a port. There is no encryption and no authentication. A change takes effect at the next start.";
        optional service_histograms: bool, "Whether histograms have series by service and by repository. Without it: `true` up to 200 services, and `false` above.";
    }
    Control: Table "" / "control" [], "Where commands reach the running daemon." {
        default socket: PathBuf = PathBuf::from("/run/ecs-deployd/control.sock"), "A Unix socket of mode 0660. A change takes effect at the next start.";
    }
    Notify: List "" / "notify" [], "A receiver of notifications. It has exactly one of `sns`, `webhook` and `webhook_file`." {
        required name: ContextName = "is missing: what the receiver is called in the log and in metrics", "What the receiver is called in the log and in metrics.";
        optional sns: String, "The ARN of an Amazon SNS topic.";
        default aws: ContextName = ContextName::default(), "The AWS context that publishes to the topic. It must be in the topic's Region.";
        optional webhook: String, "An HTTP address, which gets a POST. It is a secret and never logged.";
        optional webhook_file: String, "A file that holds the address.";
        default format: Format = Format::Json, "What a webhook understands. A topic gets JSON.";
        optional outcomes: Texts, "The outcomes to tell of, and `waiting` for a rollout that waits at a gate. Without it: all of them.";
        optional repositories: Texts, "Globs for the repositories to tell of. Without it: all.";
        optional services: Texts, "Globs for the services to tell of, as CLUSTER/SERVICE, with the AWS context before it where two have the same. Without it: all.";
        default changes: Changes = Changes::Watched, "Which changes to ECS to tell of, where there is an `[audit]`.";
    }
    Audit: Table "" / "audit" [], "Who did what to ECS. Without this table nothing of it is read." {
        default events: Texts = Texts::of(&EventName::DEFAULT), "The calls that are followed: 1 to 25 names.";
        default interval: Duration = Duration::from_mins(5), "The time from one look at all of them to the next.";
    }
    Deploy: Table "" / "deploy" [Gates], "How services are rolled: the defaults of every service." {
        default pin: PinMode = DeploySettings::default().pin, "What a new task definition revision names.";
        default timeout: Duration = DeploySettings::default().timeout, "The longest time that a rollout may go on without progress: no more tasks run, no more lifecycle stage is reached. A rollout that makes none for so long has failed.";
        default observe_interval: Duration = DeploySettings::default().observe_interval, "The time between two looks at a rollout. Not longer than `timeout`.";
        default on_failure: OnFailure = DeploySettings::default().on_failure, "What happens after a rollout failed or timed out. The digest is held either way.";
        default downtime: DowntimeMode = DeploySettings::default().downtime, "What happens to a service whose settings do not let ECS replace its tasks without downtime.";
        default base: Base = DeploySettings::default().base, "What a new revision is made from.";
        default monitor: Span = Span(DeploySettings::default().monitor), "How long a rollout stays under watch after ECS has completed it: tasks that keep stopping or turn unhealthy fail it. `0s`: it is completed at once.";
    }
    Gates: Group "" / "gate" [], "What has to be so before a rollout begins. A push that may not begin yet waits." {
        default after: Texts = Texts::of(&[]), "Services of this file, as CLUSTER/SERVICE or AWS/CLUSTER/SERVICE, that have to run a digest first: completed, and not held.";
        default bake: Span = Span(Duration::ZERO), "How long they have to run it without a break. Only beside `after`.";
        default windows: Texts = Texts::of(&[]), "When rollouts may begin: days, hours and an IANA time zone, UTC without one. Without this key: at any time.";
        default freeze: Texts = Texts::of(&[]), "Days on which no rollout begins, first and last included, with an IANA time zone, UTC without one.";
        default approval: Approvals = Approvals::None, "Whether a rollout waits for an operator.";
        default scan: ScanLevel = ScanLevel::Off, "The findings of ECR's scan that an image is refused for.";
        default scan_timeout: Duration = gate::Gates::default().scan_timeout, "How long the end of the scan is waited for, and the signatures.";
        default signed_by: Texts = Texts::of(&[]), "ARNs of signing profiles: each must have signed the image by ECR's managed signing.";
    }
    Discover: List "" / "discover" [], "Services that opt in by a tag of theirs, whose value names a `[policy.NAME]`. A service that is listed is as it is listed." {
        default aws: ContextName = ContextName::default(), "The AWS context that is looked at. The services follow repositories of its own account and Region.";
        default tag: String = "ecs-deployd".to_owned(), "The key of the tag.";
        default clusters: Texts = Texts::of(&["*"]), "Globs for the names of the clusters.";
        default every: Duration = Duration::from_mins(5), "The time from one look at the tags to the next.";
    }
    NamedPolicy: Named "" / "policy" [Tags, Deploy, Gates], "What services follow that are found by a tag with this name as its value. What is left out of the deployment is that of `[deploy]`." {
    }
    Tags: Group "" / "policy" [], "Which tags are deployed: exactly one of `tags`, `semver` and `regex`." {
        optional tags: Texts, "Globs (`* ? [a-z] {a,b}`) for the whole tag. The newest push wins.";
        optional semver: String, "A range in Cargo's notation, such as `>=1.4, <2`. The highest version in ECR wins.";
        optional regex: String, "An expression that finds a match in the tag. Its capture `key` decides which tag is the highest.";
        default order: Order = Order::Numeric, "How the captures of `regex` are compared.";
    }
    Repository: List "" / "repository" [Tags], "An ECR repository." {
        required name: RepositoryName = "is missing: the exact name of the ECR repository", "The exact name of the repository, without the registry's host.";
        default aws: ContextName = ContextName::default(), "The AWS context that the repository lives in: the one whose CloudTrail is read.";
    }
    Service: List "repository" / "service" [Tags, Deploy, Gates], "A service that runs images of the repository. What is left out of the policy is the repository's, and of the deployment that of `[deploy]`." {
        required cluster: ClusterName = "is missing", "The name of the cluster.";
        required service: ServiceName = "is missing", "The name of the service.";
        optional aws: ContextName, "The AWS context that the service runs in. Without it: the repository's.";
        optional container: ContainerName, "The one container that gets the image. Without it: every container whose image comes from the repository.";
    }
    Before: List "repository.service" / "before" [], "A one-off task that runs from the new revision before the service is updated, such as a migration. Several run one after the other. A rollout whose task does not exit with 0 has failed." {
        optional command: Texts, "The command of the container. Without it: the image's own.";
        optional container: ContainerName, "The container that runs the command, and whose exit code counts. Without it: the service's matching container.";
        default timeout: Duration = Duration::from_mins(15), "The longest time that the task may take. Then it is stopped, and the rollout has failed.";
        optional family: FamilyName, "Another task definition family, which gets a revision of its own with the image changed in its matching containers.";
    }
    Verify: List "repository.service" / "verify" [Before], "A one-off task that runs after the rollout is complete. If it does not exit with 0, the service goes back." {}
    Schedule: List "repository" / "schedule" [Tags, Gates], "A schedule of EventBridge Scheduler, or a rule of EventBridge, whose tasks run images of the repository. What is left out of the policy is the repository's, and of the gates that of `[deploy]`, of which the rest holds, too; nothing is kept under watch after it is written." {
        optional scheduler: SchedulerName, "The schedule, as GROUP/NAME or NAME. Exactly one of `scheduler` and `rule`.";
        optional rule: RuleName, "The rule, as BUS/NAME or NAME. Its targets that run tasks of ECS follow, and no others.";
        optional aws: ContextName, "The AWS context that the schedule is in. Without it: the repository's.";
        optional container: ContainerName, "The one container that gets the image. Without it: every container whose image comes from the repository.";
    }
}
