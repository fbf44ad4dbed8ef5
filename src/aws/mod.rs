//! The narrow interfaces to AWS, and the only module that names its SDK.
//!
//! Each trait holds just the calls this program makes, in its own types; the adapters below translate. Nothing here retries: the
//! scheduler and the deployer know what a repeated call costs.

mod ambient;
mod call;
mod cloudtrail;
mod connect;
mod credentials;
mod date;
mod dynamodb;
mod ecr;
mod ecr_gates;
mod ecs;
mod error;
mod fenced;
mod guarded;
mod identity;
mod inventory;
mod partition;
mod process;
mod profile;
mod queue;
mod rate_limited;
mod region;
mod scheduled;
mod schedules;
mod sources;
pub mod table;
mod tagging;
mod topics;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::clock::CorrectedClock;
use crate::domain::deployment::{HookAction, ServiceDeploymentView};
use crate::domain::event::Record;
use crate::domain::gate::scan::Report;
use crate::domain::gate::signature::Signature;
use crate::domain::polling::Request;
use crate::domain::queue_url::QueueUrl;
use crate::domain::task::{Started, TaskView};
use crate::domain::task_definition::{Registration, TaskDefinition};
use crate::domain::types::{
    ContextName, DeploymentId, Digest, EcsName, Principal, Region, RepositoryName, Tag, TaskDefinitionArn,
};
use crate::domain::view::{DeploymentView, Fate, ImageView, RepositoryView, RunningImages, ServiceView, Unrollable};
use crate::health::Health;
use crate::metrics::Metrics;

pub use crate::domain::aws_error::{AwsError, Fault};
pub use crate::domain::polling::Window;
pub use error::error_of_code;
use guarded::Guarded;
use rate_limited::RateLimits;

pub use call::Tried;
pub use connect::{ConnectError, RegionWait, connect, connect_known};
pub use date::AwsTime;
pub use dynamodb::connect_table;
pub use fenced::fenced;
pub use identity::profiles;

/// The clients of every AWS context.
pub type Contexts = BTreeMap<ContextName, AwsContext>;

/// What the clients of all contexts have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
    /// Where it stands which of them were tried.
    pub tried: Arc<Tried>,
    /// Where it is said what a context waits for.
    pub health: Arc<Health>,
    /// The clock that AWS's answers correct.
    pub clock: Arc<CorrectedClock>,
    /// What AWS's answers have shown of it so far.
    pub time: Arc<AwsTime>,
}

impl Common {
    /// Nothing is known of AWS's time yet.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>, clock: Arc<CorrectedClock>) -> Self {
        Self { metrics, tried: Arc::default(), health, clock, time: Arc::default() }
    }
}

/// The clients of one AWS context.
#[derive(Debug, Clone)]
pub struct AwsContext {
    /// The Region it is in.
    pub region: Region,
    /// The event history of the account.
    pub cloudtrail: Arc<dyn CloudTrail>,
    /// The image registry of the account.
    pub ecr: Arc<dyn Ecr>,
    /// The services of the account.
    pub ecs: Arc<dyn Ecs>,
    /// What there is, for those who look for a name.
    pub inventory: Arc<dyn Inventory>,
    /// Topics that others listen to.
    pub topics: Arc<dyn Topics>,
    /// Queues that tell of pushes.
    pub queue: Arc<dyn Queue>,
    /// Whose the credentials are.
    pub identity: Arc<dyn Identity>,
    /// The tags of services.
    pub tagging: Arc<dyn Tagging>,
    /// The schedules and the rules of EventBridge.
    pub schedules: Arc<dyn Schedules>,
}

impl AwsContext {
    /// The same, with every call to ECS kept within its rate limits, and with the schedules among the services.
    #[must_use]
    pub fn rate_limited(self) -> Self {
        let ecs: Arc<dyn Ecs> = Arc::new(Guarded { ecs: self.ecs, guard: RateLimits::new() });
        let schedules = Arc::clone(&self.schedules);
        Self { ecs: Arc::new(scheduled::WithSchedules { ecs, schedules }), ..self }
    }
}

/// One page of events.
#[derive(Debug, Clone, Default)]
pub struct LookupPage {
    /// The events, newest first.
    pub records: Vec<Record>,
    /// The token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// One page of a repository's images.
#[derive(Debug, Clone, Default)]
pub struct ImagePage {
    /// The images, in no order.
    pub images: Vec<ImageView>,
    /// The token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Services by name: as they are, or why they are none that could be rolled.
pub type Services = BTreeMap<EcsName, Result<ServiceView, Unrollable>>;

/// The calls to AWS CloudTrail.
#[async_trait]
pub trait CloudTrail: fmt::Debug + Send + Sync {
    /// One LookupEvents request for the events of a name, such as `PutImage`.
    async fn lookup(&self, event: &str, request: &Request) -> Result<LookupPage, AwsError>;
}

/// The code of the error for a repository that is not there.
pub const REPOSITORY_NOT_FOUND: &str = "RepositoryNotFoundException";
/// The code of the error for a cluster that is not there.
pub const CLUSTER_NOT_FOUND: &str = "ClusterNotFoundException";

/// The calls to Amazon ECR that decisions need.
#[async_trait]
pub trait Ecr: fmt::Debug + Send + Sync {
    /// What these tags (at most 100) point to now. A tag that is not there has no entry.
    async fn describe_tags(&self, repository: &RepositoryName, tags: &[Tag]) -> Result<Vec<ImageView>, AwsError>;

    /// These images (at most 100), with or without tags. One that is not there has no entry.
    async fn describe_digests(
        &self,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<Vec<ImageView>, AwsError>;

    /// One page of the repository's tagged images.
    async fn list_tagged(&self, repository: &RepositoryName, next: Option<String>) -> Result<ImagePage, AwsError>;

    /// How far the scan of one image got, and what it found.
    async fn scan(&self, repository: &RepositoryName, digest: &Digest) -> Result<Report, AwsError>;

    /// Whether images of the repository are scanned without a request for each of them; `None` if ECR does not tell.
    async fn is_scanned(&self, repository: &RepositoryName) -> Result<Option<bool>, AwsError>;

    /// The images of an index. It counts as a pull of the index, of which only the manifest is read.
    async fn images_of_index(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Digest>, AwsError>;

    /// The signatures of an image by ECR's managed signing.
    async fn signatures(&self, repository: &RepositoryName, digest: &Digest) -> Result<Vec<Signature>, AwsError>;
}

/// The calls to Amazon ECS.
#[async_trait]
pub trait Ecs: fmt::Debug + Send + Sync {
    /// At most 10 services of one cluster. A service that is not there has no entry; one that cannot be rolled has a reason instead.
    async fn describe_services(&self, cluster: &EcsName, services: &[EcsName]) -> Result<Services, AwsError>;

    /// One revision, by ARN, or a family's latest active one, by the family's name; losslessly, with its tags.
    async fn describe_task_definition(&self, which: &str) -> Result<TaskDefinition, AwsError>;

    /// Registers a revision. Not repeatable: an attempt of which the answer was lost may have registered one.
    async fn register_task_definition(&self, registration: &Registration) -> Result<TaskDefinitionArn, AwsError>;

    /// Sets a service to a revision by UpdateService, and changes nothing else of it. Gives its PRIMARY deployment.
    async fn update_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError>;

    /// The same for an Express Mode service by UpdateExpressGatewayService, which names the service by its ARN. Its answer tells of no
    /// deployment, so the service is described afterwards; as long as that does not show the new one, the answer counts as unusable.
    async fn update_express_service(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        service_arn: &str,
        revision: &TaskDefinitionArn,
    ) -> Result<DeploymentView, AwsError>;

    /// The revisions that deployments of a service brought since a time, newest first, and how each fared.
    async fn deployed_since(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        since: Timestamp,
    ) -> Result<Vec<(TaskDefinitionArn, Fate)>, AwsError>;

    /// Service deployments by ARN, at most 20: their stage, and the hooks that they wait at.
    async fn service_deployments(&self, arns: &[String]) -> Result<Vec<ServiceDeploymentView>, AwsError>;

    /// A service with its tags, as it is described: JSON, so that what is set up for it is passed on as it is.
    async fn describe_service_json(&self, cluster: &EcsName, service: &EcsName) -> Result<Option<Value>, AwsError>;

    /// RunTask. May be repeated as it is: by its client token nothing is started twice.
    async fn run_task(&self, request: &Value) -> Result<Started, AwsError>;

    /// These tasks (at most 100) of a cluster. One that ECS does not know has no entry.
    async fn describe_tasks(&self, cluster: &EcsName, tasks: &[String]) -> Result<Vec<TaskView>, AwsError>;

    /// Stops a task, by StopTask.
    async fn stop_task(&self, cluster: &EcsName, task: &str, reason: &str) -> Result<(), AwsError>;

    /// Continues a service deployment that waits at a PAUSE hook, or rolls it back.
    async fn continue_deployment(&self, arn: &str, hook: &str, action: HookAction) -> Result<(), AwsError>;

    /// Stops a service deployment: ECS rolls it back to the last one that was complete.
    async fn stop_deployment(&self, arn: &str) -> Result<(), AwsError>;

    /// Why tasks of a deployment stopped, as ECS says it, for people: one text for each of the last tasks (at most 100).
    async fn stopped_reasons(
        &self,
        cluster: &EcsName,
        service: &EcsName,
        deployment: &DeploymentId,
    ) -> Result<Vec<String>, AwsError>;

    /// The ARNs of a service's running tasks (at most 100: enough to know what runs).
    async fn list_running_tasks(&self, cluster: &EcsName, service: &EcsName) -> Result<Vec<String>, AwsError>;

    /// The digests that these tasks (at most 100) use.
    async fn describe_running_images(&self, cluster: &EcsName, tasks: &[String]) -> Result<RunningImages, AwsError>;
}

/// A message to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The subject of mails: at most 100 characters of ASCII.
    pub subject: String,
    /// The text of the message.
    pub text: String,
    /// What subscribers can filter by. Values are not empty.
    pub attributes: Vec<(&'static str, String)>,
    /// The same for the same thing.
    pub id: String,
}

/// The calls to Amazon SNS.
#[async_trait]
pub trait Topics: fmt::Debug + Send + Sync {
    /// Publishes a message to a topic, by ARN. A repetition is a second message, unless the topic is FIFO.
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), AwsError>;
}

/// One page of a rule's targets.
#[derive(Debug, Clone, Default)]
pub struct TargetPage {
    /// As AWS sent them.
    pub targets: Vec<Value>,
    /// The token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// Amazon EventBridge Scheduler, and the rules of Amazon EventBridge.
#[async_trait]
pub trait Schedules: fmt::Debug + Send + Sync {
    /// A schedule, losslessly; `None` if there is no such schedule.
    async fn schedule(&self, group: &str, name: &str) -> Result<Option<Map<String, Value>>, AwsError>;

    /// Replaces a schedule as a whole: what the body leaves out is set back to its default. The body names the group. May be repeated.
    async fn update_schedule(&self, name: &str, body: &Value) -> Result<(), AwsError>;

    /// One page of a rule's targets, losslessly; `None` if there is no such rule.
    async fn targets(&self, bus: &str, rule: &str, next: Option<String>) -> Result<Option<TargetPage>, AwsError>;

    /// Replaces at most 10 targets of a rule, by their ids, and leaves the others as they are. May be repeated.
    async fn put_targets(&self, bus: &str, rule: &str, targets: &[Value]) -> Result<(), AwsError>;
}

/// A message of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueMessage {
    /// What it is hidden and deleted by, until it is delivered again.
    pub receipt: String,
    /// The text of the message.
    pub body: String,
}

/// How messages are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// For twenty seconds while there is none. What is received, ten messages at most, is hidden from others for a minute.
    LongPoll,
    /// Not at all, and whatever is received stays for others: only to see whether it is allowed.
    Glance,
}

/// The calls to Amazon SQS.
#[async_trait]
pub trait Queue: fmt::Debug + Send + Sync {
    /// Messages, in no order, and some of them more than once.
    async fn receive(&self, queue: &QueueUrl, waiting: Waiting) -> Result<Vec<QueueMessage>, AwsError>;

    /// Deletes messages by their receipts, at most 10. Gives the receipts of those that were not deleted. May be repeated.
    async fn delete(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError>;

    /// Hides messages from others for another minute, at most 10. Gives the receipts of those that are not hidden. May be repeated.
    async fn hide(&self, queue: &QueueUrl, receipts: &[String]) -> Result<Vec<String>, AwsError>;
}

/// One page of the services that have a tag.
#[derive(Debug, Clone, Default)]
pub struct TaggedPage {
    /// ARN and the tag's value.
    pub services: Vec<(String, String)>,
    /// The token of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// AWS Resource Groups Tagging API.
#[async_trait]
pub trait Tagging: fmt::Debug + Send + Sync {
    /// One page of the ECS services that have a tag with this key: at most 100. May be repeated; it is eventually consistent.
    async fn tagged_services(&self, tag: &str, next: Option<String>) -> Result<TaggedPage, AwsError>;
}

/// What there is in an account: `check` asks, to tell which name may be meant, and `init`, to write a configuration.
#[async_trait]
pub trait Inventory: fmt::Debug + Send + Sync {
    /// The names of the clusters (at most 10,000).
    async fn clusters(&self) -> Result<Vec<String>, AwsError>;

    /// The names of a cluster's services (at most 10,000; ECS allows 5,000).
    async fn services(&self, cluster: &EcsName) -> Result<Vec<String>, AwsError>;

    /// The text of a repository's lifecycle policy, if it has one.
    async fn lifecycle_policy(&self, repository: &RepositoryName) -> Result<Option<String>, AwsError>;

    /// The repositories (at most 10,000).
    async fn repositories(&self) -> Result<Vec<RepositoryView>, AwsError>;
}

/// The calls to AWS STS.
#[async_trait]
pub trait Identity: fmt::Debug + Send + Sync {
    /// Whose the credentials of a context are. AWS denies this to nobody.
    async fn principal(&self) -> Result<Principal, AwsError>;

    /// The ARN of the identity behind them: `arn:aws:sts::111111111111:assumed-role/ROLE/SESSION`.
    async fn arn(&self) -> Result<String, AwsError>;
}
