//! The configuration: TOML text to a valid [`Config`], or every error in it at once.
//!
//! A valid configuration cannot say anything impossible: names, globs, durations and addresses are parsed here and nowhere else.

mod build;
mod contexts;
mod discover;
mod discovered;
mod forms;
mod gates;
mod given;
mod keys;
mod names;
mod notify;
mod places;
mod reader;
mod schedules;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use discovered::NamedPolicy;
pub use keys::{Key, Need, SECTIONS, Section, Shape};
pub use names::ServiceNames;
pub use notify::{NotifySettings, Receiver, WebhookUrl};
pub use places::Places;

use crate::domain::audit::EventName;
use crate::domain::discovery::DiscoverRule;
use crate::domain::printable::{LONGEST, printable};
use crate::domain::queue_url::QueueUrl;
use crate::domain::routing::Rules;
use crate::domain::settings::{DeploySettings, RepositoryKey, ServiceRule};
use crate::domain::types::{ContextName, ServiceKey};
use crate::domain::words::words;

/// Up to so many services the metrics have every series by service.
pub const FEW_SERVICES: usize = 200;
/// A configuration has at most this many bytes. One with 10,000 services has about 2 MB.
const LARGEST: u64 = 8 << 20;

/// A configuration without an error.
#[derive(Debug, Clone)]
pub struct Config {
    /// The AWS contexts, by name.
    pub aws: BTreeMap<ContextName, AwsSettings>,
    /// How CloudTrail is read.
    pub poll: PollSettings,
    /// Where the state is kept.
    pub state: StateSettings,
    /// Where metrics, health and status are served.
    pub http: HttpSettings,
    /// Where operator commands reach the running daemon.
    pub control: ControlSettings,
    /// The repositories and their services.
    pub repositories: Rules,
    /// Which services opt in by a tag.
    pub discover: Vec<DiscoverRule>,
    /// What such a tag may name.
    pub policies: BTreeMap<String, NamedPolicy>,
    /// Who is notified of what.
    pub notify: Vec<NotifySettings>,
    /// Which changes to ECS are followed, if any are.
    pub audit: Option<AuditSettings>,
    /// What the services are called.
    pub names: ServiceNames,
}

/// The settings of the table `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// The calls that are followed.
    pub events: Vec<EventName>,
    /// All of them are looked at this often.
    pub interval: Duration,
}

/// One AWS context: an account and Region, and the credentials to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct AwsSettings {
    /// The Region; without it the ambient one.
    pub region: Option<String>,
    /// The profile of the shared configuration files; without it the ambient credentials.
    pub profile: Option<String>,
    /// A role to assume with those credentials.
    pub role_arn: Option<String>,
    /// What the role's trust policy asks for.
    pub external_id: Option<String>,
    /// Where AWS is, if not where it usually is.
    pub endpoint_url: Option<String>,
    /// The queue that tells of pushes within seconds.
    pub queue: Option<QueueUrl>,
    /// LookupEvents requests per second, at least 0.01 and at most 2 (CloudTrail's limit for an account and Region).
    pub max_lookups_per_second: f64,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            role_arn: None,
            external_id: None,
            endpoint_url: None,
            queue: None,
            max_lookups_per_second: 1.0,
        }
    }
}

/// The settings of the table `[poll]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollSettings {
    /// A poll begins this long after the one before.
    pub interval: Duration,
    /// How much of the past each poll reads again.
    pub overlap: Duration,
    /// How often what the policies select in ECR is compared with what was decided, if it is.
    pub reconcile: Option<Duration>,
}

/// The settings of the table `[state]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSettings {
    /// The place that the state is kept in.
    pub place: StatePlace,
    /// What to do when it is not there.
    pub when_missing: WhenMissing,
}

/// Where the state is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatePlace {
    /// A file on this machine.
    File(PathBuf),
    /// A table of DynamoDB.
    Table(TableSettings),
}

/// A DynamoDB table that several replicas share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSettings {
    /// The name of the table.
    pub name: String,
    /// The context whose account and Region hold it.
    pub aws: ContextName,
    /// An active replica that is not heard of for so long is replaced.
    pub lease: Duration,
}

impl TableSettings {
    /// The lease where nobody says otherwise.
    pub const LEASE: Duration = Duration::from_secs(30);
}

impl StatePlace {
    /// The table, if it is one.
    #[must_use]
    pub fn table(&self) -> Option<&TableSettings> {
        match self {
            Self::Table(settings) => Some(settings),
            Self::File(_) => None,
        }
    }
}

impl fmt::Display for StatePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Table(settings) => write!(f, "table:{}", settings.name),
        }
    }
}

words! {
    /// What a start without a state means.
    pub enum WhenMissing {
        Ignore = "ignore", "Pushes made before the start are not deployed.";
        Reconcile = "reconcile", "What the policies select in ECR is compared with what the services run, and what differs is rolled.";
    }
}

/// The settings of the table `[http]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Whether histograms have series by service; without it, where there are at most [`FEW_SERVICES`].
    pub service_histograms: Option<bool>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { listen: ([127, 0, 0, 1], 9797).into(), service_histograms: None }
    }
}

/// The settings of the table `[control]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlSettings {
    /// The path of the control socket.
    pub socket: PathBuf,
}

impl Config {
    /// Reads a configuration. `name` is what messages call it: its path.
    ///
    /// # Errors
    /// Every error in the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, Invalid> {
        build::config(text).map_err(|findings| Invalid::new(name, text, findings))
    }

    /// The contexts whose CloudTrail has to be read: those that a repository lives in, or that services are looked for in.
    #[must_use]
    pub fn polled_contexts(&self) -> Vec<&ContextName> {
        let mut names: Vec<_> =
            self.repositories.keys().map(|key| &key.aws).chain(self.discovering_contexts()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The contexts whose queue is read: those that a repository lives in, and that have one.
    #[must_use]
    pub fn contexts_with_queues(&self) -> Vec<&ContextName> {
        let has_queue = |name: &&ContextName| self.aws.get(*name).is_some_and(|settings| settings.queue.is_some());
        self.polled_contexts().into_iter().filter(has_queue).collect()
    }

    /// The contexts in which services are looked for.
    fn discovering_contexts(&self) -> impl Iterator<Item = &ContextName> {
        self.discover.iter().map(|rule| &rule.aws)
    }

    /// The contexts in which changes to ECS are followed: those that a service runs in, or may run in.
    #[must_use]
    pub fn audited_contexts(&self) -> Vec<&ContextName> {
        let services = self.repositories.values().flat_map(|rule| &rule.services).map(|service| &service.key.aws);
        let mut names: Vec<_> = services.chain(self.discovering_contexts()).filter(|_| self.audit.is_some()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The rules of one service, by repository.
    #[must_use]
    pub fn rules_of(&self, service: &ServiceKey) -> BTreeMap<RepositoryKey, &ServiceRule> {
        self.rules_by_repository(service).map(|(repository, rule)| (repository.clone(), rule)).collect()
    }

    /// The same, one after the other in the order of the repositories.
    pub fn rules_by_repository<'a>(
        &'a self,
        service: &ServiceKey,
    ) -> impl Iterator<Item = (&'a RepositoryKey, &'a ServiceRule)> {
        let places = self.names.places_of(service).iter();
        places.filter_map(move |place| Some((&place.0, self.rule_at(place, service)?)))
    }

    /// How one service is rolled, which is the same under each of its repositories; `None` for one that is not in the configuration.
    #[must_use]
    pub fn settings_of(&self, service: &ServiceKey) -> Option<&DeploySettings> {
        let first = self.names.places_of(service).first()?;
        Some(&self.rule_at(first, service)?.deploy)
    }

    fn rule_at(&self, (repository, place): &(RepositoryKey, usize), service: &ServiceKey) -> Option<&ServiceRule> {
        self.repositories.get(repository)?.services.get(*place).filter(|rule| &rule.key == service)
    }

    /// Whether a service is in the configuration.
    #[must_use]
    pub fn has_service(&self, service: &ServiceKey) -> bool {
        !self.names.places_of(service).is_empty()
    }

    /// Whether histograms have series by service and by repository.
    #[must_use]
    pub fn service_histograms(&self) -> bool {
        self.http.service_histograms.unwrap_or(self.names.count() <= FEW_SERVICES)
    }

    /// Every service under every repository.
    pub fn services(&self) -> impl Iterator<Item = (RepositoryKey, &ServiceRule)> {
        self.repositories.iter().flat_map(|(key, rule)| rule.services.iter().map(move |service| (key.clone(), service)))
    }
}

/// Where a configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, by its path.
    File(PathBuf),
    /// The text itself, from the environment.
    Text(String),
}

impl Source {
    /// Reads and parses it.
    ///
    /// # Errors
    /// The file cannot be read, or what it says is not valid.
    pub fn load(&self) -> Result<Config, LoadError> {
        Ok(Config::parse(&self.name(), &self.text()?)?)
    }

    /// Reads it, and no more of it than a configuration may have.
    ///
    /// # Errors
    /// The file cannot be read, or is larger than a configuration may be.
    pub fn text(&self) -> Result<String, LoadError> {
        match self {
            Self::File(path) => {
                let unreadable = |source| LoadError::Unreadable { path: path.clone(), source };
                let file = std::fs::File::open(path).map_err(unreadable)?;
                let mut bytes = Vec::new();
                // Not by the size that the file system tells: a device or a pipe has none.
                file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
                if bytes.len() as u64 > LARGEST {
                    return Err(LoadError::TooLarge { name: self.name() });
                }
                String::from_utf8(bytes)
                    .map_err(|error| unreadable(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
            }
            Self::Text(text) if text.len() as u64 > LARGEST => Err(LoadError::TooLarge { name: self.name() }),
            Self::Text(text) => Ok(text.clone()),
        }
    }

    /// Where it says that the daemon listens, as far as that can be told from a text that may be wrong otherwise.
    #[must_use]
    pub fn listens_at(&self) -> SocketAddr {
        let text = self.text().unwrap_or_default();
        if let Ok(config) = Config::parse(&self.name(), &text) {
            return config.http.listen;
        }
        let of_table = || text.parse::<toml::Table>().ok()?.get("http")?.get("listen")?.as_str().map(str::to_owned);
        let of_line = || {
            let line = text.lines().find(|line| line.trim_start().starts_with("listen"))?;
            line.split(['"', '\'']).nth(1).map(str::to_owned)
        };
        let named = of_table().or_else(of_line).and_then(|address| address.parse().ok());
        named.unwrap_or_else(|| HttpSettings::default().listen)
    }

    /// What messages call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text(_) => "ECS_DEPLOYD_CONFIG_CONTENT".to_owned(),
        }
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Text(_) => None,
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}; name another one with --config PATH or ECS_DEPLOYD_CONFIG", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// Why that was not possible.
        source: std::io::Error,
    },
    /// It is no configuration: nobody writes one of that size.
    #[error("the configuration {name} has more than {} MiB, which is the most that is read; is it the right file?", LARGEST >> 20)]
    TooLarge {
        /// What messages call it.
        name: String,
    },
    /// It says something wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    lines: Vec<String>,
}

impl Invalid {
    fn new(name: &str, text: &str, mut findings: Vec<reader::Finding>) -> Self {
        findings.sort_by_key(|finding| finding.at);
        let lines = findings
            .into_iter()
            .map(|finding| {
                let line = reader::line_of(text, finding.at);
                let key = if finding.key.is_empty() { String::new() } else { format!("{}: ", finding.key) };
                // Keys and names of files are foreign text, too.
                printable(&format!("{name}:{line}: {key}{}", finding.message), LONGEST)
            })
            .collect();
        Self { lines }
    }

    /// One line for each error: file, line, key, what is wrong and what would be right.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for Invalid {}

#[cfg(test)]
mod tests;
