//! The part of the configuration that decisions depend on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::gate::Gates;
use super::policy::Policy;
use super::task::TaskSpec;
use super::types::{ContextName, RepositoryName, ServiceKey};
use super::words::words;

words! {
    /// What a new revision names: the digest, or the tag.
    pub enum PinMode {
        Digest = "digest", "`image@sha256:...`: exactly what was decided on, whatever happens to the tag later.";
        Tag = "tag", "`image:tag`: ECS resolves the tag when the deployment starts.";
    }
}

words! {
    /// What happens after a rollout failed. Both hold the digest.
    pub enum OnFailure {
        Rollback = "rollback", "The service goes back to what ran before, pinned to the digests that ran.";
        Leave = "leave", "The service is left as it is.";
    }
}

words! {
    /// What happens to a service that cannot be replaced without downtime.
    pub enum DowntimeMode {
        Refuse = "refuse", "It is not touched; the log names the setting to change.";
        Warn = "warn", "It is rolled, with a warning in the log.";
        Allow = "allow", "It is rolled.";
    }
}

words! {
    /// What a new revision is made from.
    pub enum Base {
        Service = "service", "The revision that the service runs.";
        Latest = "latest", "The latest active revision of its family, where another program registers revisions.";
    }
}

/// How one service is rolled: `[deploy]`, each key overridden where `[[repository.service]]` says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploySettings {
    /// What the new revision names.
    pub pin: PinMode,
    /// From UpdateService to stable.
    pub timeout: Duration,
    /// A rollout is looked at this often.
    pub observe_interval: Duration,
    /// What follows after a failure.
    pub on_failure: OnFailure,
    /// Where there would be downtime.
    pub downtime: DowntimeMode,
    /// What the revision is made from.
    pub base: Base,
    /// What has to be so before a rollout begins.
    pub gates: Gates,
    /// How long a rollout stays under watch after ECS has completed it.
    pub monitor: Duration,
}

/// What holds where the configuration says nothing.
impl Default for DeploySettings {
    fn default() -> Self {
        Self {
            pin: PinMode::Digest,
            timeout: Duration::from_secs(15 * 60),
            observe_interval: Duration::from_secs(5),
            on_failure: OnFailure::Rollback,
            downtime: DowntimeMode::Refuse,
            base: Base::Service,
            gates: Gates::default(),
            monitor: Duration::ZERO,
        }
    }
}

/// One service under one repository.
#[derive(Debug, Clone)]
pub struct ServiceRule {
    /// The service that it is about.
    pub key: ServiceKey,
    /// The container that gets the image; without it every container whose image comes from the repository.
    pub container: Option<String>,
    /// Which of the repository's tags this service takes.
    pub policy: Arc<dyn Policy>,
    /// How it is rolled.
    pub deploy: DeploySettings,
    /// The one-off tasks before it is updated, in this order.
    pub before: Vec<TaskSpec>,
    /// The one-off tasks after a rollout is complete, in this order.
    pub verify: Vec<TaskSpec>,
    /// When it was found by its tag: what was pushed before is not deployed to it. `None` for a service that the file lists.
    pub known_since: Option<Timestamp>,
}

impl ServiceRule {
    /// Whether the service was known when something was pushed.
    #[must_use]
    pub fn is_known_at(&self, pushed_at: Timestamp) -> bool {
        self.known_since.is_none_or(|since| pushed_at >= since)
    }
}

/// One repository and the services that run its images.
#[derive(Debug, Clone)]
pub struct RepositoryRule {
    /// The context that the repository lives in, hence the one whose CloudTrail is asked.
    pub aws: ContextName,
    /// The name of the repository in ECR.
    pub name: RepositoryName,
    /// The services that run its images.
    pub services: Vec<ServiceRule>,
}

/// Names a repository within the configuration: context and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryKey {
    /// The context that the repository lives in.
    pub aws: ContextName,
    /// The name of the repository in ECR.
    pub name: RepositoryName,
}

impl TryFrom<String> for RepositoryKey {
    type Error = super::types::Malformed;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (aws, name) = text.split_once('/').unwrap_or(("", &text));
        Ok(Self { aws: ContextName::parse(aws)?, name: RepositoryName::parse(name)? })
    }
}

impl From<RepositoryKey> for String {
    fn from(key: RepositoryKey) -> String {
        key.to_string()
    }
}

impl fmt::Display for RepositoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aws, self.name)
    }
}

impl RepositoryRule {
    /// The key by which state and plan name the repository.
    #[must_use]
    pub fn key(&self) -> RepositoryKey {
        RepositoryKey { aws: self.aws.clone(), name: self.name.clone() }
    }
}
