//! The names and numbers of the field, each parsed once, at the edge.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::schedule::{self, ScheduleName};

/// Why a text is not what it should be. Names the kind of thing and shows the text, shortened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {kind}")]
pub struct Malformed {
    kind: &'static str,
    text: String,
}

impl Malformed {
    fn new(kind: &'static str, text: &str) -> Self {
        Self { kind, text: text.chars().take(80).collect() }
    }
}

macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $kind:literal, $valid:expr) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            /// The order of the texts. A copy need not be read to be found equal.
            fn cmp(&self, other: &Self) -> Ordering {
                if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
            }
        }

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            /// [`Malformed`] when the text does not have the form described on the type.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(Arc::from(text))) } else { Err(Malformed::new($kind, text)) }
            }

            /// The text as AWS writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

text_type!(
    /// An image digest: `sha256:` and 64 lower-case hexadecimal digits (the only algorithm ECR uses).
    Digest,
    "an image digest (sha256: and 64 hexadecimal digits)",
    |text| text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
);

text_type!(
    /// An image tag: at most 128 of `[A-Za-z0-9_.-]`, not beginning with `.` or `-` (OCI distribution specification).
    Tag,
    "an image tag",
    |text| {
        text.len() <= 128
            && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
    }
);

text_type!(
    /// The name of an ECR repository without its registry: 2 to 256 of `[a-z0-9._/-]`, beginning with a letter or digit.
    RepositoryName,
    "an ECR repository name (2 to 256 lower-case letters, digits and ._-/, beginning with a letter or digit)",
    |text| {
        (2..=256).contains(&text.len())
            && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            && !text.ends_with('/')
            && !text.contains("//")
            && text.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'/')
            })
    }
);

text_type!(
    /// The identifier of one CloudTrail event: a GUID on AWS; any short printable text is taken.
    EventId,
    "an event id",
    |text| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

text_type!(
    /// An AWS account: twelve digits.
    AccountId,
    "an AWS account id (twelve digits)",
    |text| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
);

text_type!(
    /// An AWS Region, like `eu-west-1`.
    Region,
    "an AWS Region",
    |text| {
        (4..=32).contains(&text.len())
            && text.contains('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
);

text_type!(
    /// The DNS suffix that the hosts of an AWS partition share, like `amazonaws.com`: labels of lower-case letters, digits and `-`.
    DnsSuffix,
    "a DNS suffix",
    |text| {
        text.len() <= 253
            && text.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    }
);

text_type!(
    /// An AWS partition, with which every ARN begins: `aws`, `aws-cn`, `aws-us-gov` and others.
    Partition,
    "an AWS partition",
    |text| {
        (3..=32).contains(&text.len())
            && text.starts_with("aws")
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }
);

text_type!(
    /// The name that the configuration gives to an AWS context (an account and Region with credentials).
    ContextName,
    "an AWS context name (1 to 64 letters, digits, _ and -)",
    |text| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    }
);

/// The context that needs no table in the configuration: the ambient credentials and Region.
impl Default for ContextName {
    fn default() -> Self {
        Self::of_default()
    }
}

text_type!(
    /// An ECS cluster or service name: 1 to 255 letters, digits, `_` and `-` (ECS API reference).
    EcsName,
    "an ECS name (1 to 255 letters, digits, _ and -)",
    |text| {
        (1..=255).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    }
);

text_type!(
    /// The id of an ECS deployment (`ecs-svc/...`): graphic ASCII. A rollout is judged by its own id alone.
    DeploymentId,
    "an ECS deployment id",
    |text| (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
);

impl ContextName {
    /// `default`, the one context that needs no table in the configuration.
    #[must_use]
    pub fn of_default() -> Self {
        Self(Arc::from("default"))
    }
}

impl EcsName {
    /// The schedule that is called so, if the cluster is the one that schedules stand in.
    #[must_use]
    pub fn schedule_in(&self, cluster: &Self) -> Option<ScheduleName> {
        (cluster.as_str() == schedule::CLUSTER).then(|| ScheduleName::parse(&self.0)).flatten()
    }
}

/// Whose credentials are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account that it belongs to.
    pub account: AccountId,
    /// The partition that the account belongs to.
    pub partition: Partition,
}

/// A task definition revision: `arn:aws:ecs:REGION:ACCOUNT:task-definition/FAMILY:REVISION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskDefinitionArn {
    text: Arc<str>,
    family_at: usize,
    revision: u64,
}

impl TaskDefinitionArn {
    /// Parses a full ARN.
    ///
    /// # Errors
    /// [`Malformed`] when a part is missing, the revision is not a number, or something else than graphic ASCII stands in it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = || Malformed::new("a task definition ARN", text);
        let family_at = text.find(":task-definition/").ok_or_else(malformed)? + ":task-definition/".len();
        let (family, revision) = text[family_at..].rsplit_once(':').ok_or_else(malformed)?;
        if !text.starts_with("arn:") || family.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(malformed());
        }
        let revision = revision.parse().map_err(|_| malformed())?;
        Ok(Self { text: Arc::from(text), family_at, revision })
    }

    /// The whole ARN as a text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The family, without the revision.
    #[must_use]
    pub fn family(&self) -> &str {
        let end = self.text.rfind(':').unwrap_or(self.text.len());
        &self.text[self.family_at..end]
    }

    /// The number of the revision within its family.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// `FAMILY:REVISION`, as people say it.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.text[self.family_at..]
    }
}

impl TryFrom<String> for TaskDefinitionArn {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl From<TaskDefinitionArn> for String {
    fn from(value: TaskDefinitionArn) -> String {
        value.text.as_ref().to_owned()
    }
}

impl fmt::Display for TaskDefinitionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.short())
    }
}

/// One service: the AWS context it runs in, its cluster and its name. Written `CONTEXT/CLUSTER/SERVICE`. Or a schedule, which has its name in
/// the cluster's and the service's place: see [`schedule`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceKey {
    /// The context whose credentials reach the service.
    pub aws: ContextName,
    /// The name of the cluster.
    pub cluster: EcsName,
    /// The name of the service.
    pub service: EcsName,
}

impl TryFrom<String> for ServiceKey {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        let mut parts = text.splitn(3, '/');
        let (Some(aws), Some(cluster), Some(service)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Malformed::new("CONTEXT/CLUSTER/SERVICE", &text));
        };
        if let Some(name) = (cluster == schedule::CLUSTER).then(|| ScheduleName::parse(service)).flatten() {
            return Ok(Self::of_schedule(ContextName::parse(aws)?, &name));
        }
        Ok(Self { aws: ContextName::parse(aws)?, cluster: EcsName::parse(cluster)?, service: EcsName::parse(service)? })
    }
}

impl ServiceKey {
    /// The key of a schedule.
    #[must_use]
    pub fn of_schedule(aws: ContextName, name: &ScheduleName) -> Self {
        Self { aws, cluster: EcsName(Arc::from(schedule::CLUSTER)), service: EcsName(Arc::from(name.to_string())) }
    }

    /// What is said where AWS does not know it.
    #[must_use]
    pub fn absence(&self) -> &'static str {
        match self.schedule() {
            Some(_) => "there is no such schedule or rule",
            None => "there is no such service in ECS",
        }
    }

    /// The schedule, if it is one.
    #[must_use]
    pub fn schedule(&self) -> Option<ScheduleName> {
        self.service.schedule_in(&self.cluster)
    }
}

impl From<ServiceKey> for String {
    fn from(key: ServiceKey) -> String {
        format!("{}/{}/{}", key.aws, key.cluster, key.service)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_sha256_and_64_lower_case_hex() {
        assert!(Digest::parse(&format!("sha256:{}", "0a".repeat(32))).is_ok());
        for bad in ["", "sha256:", "sha256:00", &format!("sha256:{}", "0A".repeat(32)), &"0a".repeat(32)] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_what_the_distribution_specification_allows() {
        for good in ["latest", "v1.2.3", "_x", "A-b_c.d", &"x".repeat(128)] {
            assert!(Tag::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ".x", "-x", "a b", "a/b", "<script>", "a\n", &"x".repeat(129)] {
            assert!(Tag::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_task_definition_arn_gives_family_and_revision() {
        let arn = TaskDefinitionArn::parse("arn:aws:ecs:eu-west-1:111111111111:task-definition/hello:12").unwrap();
        assert_eq!((arn.family(), arn.revision(), arn.short()), ("hello", 12, "hello:12"));
        for bad in [
            "hello:12",
            "arn:aws:ecs:r:1:task-definition/hello",
            "arn:aws:ecs:r:1:task-definition/:1",
            "arn:aws:ecs:r:1:task-definition/hel\nlo:1",
            "arn:aws:ecs:r:1:task-definition/\u{202e}hello:1",
        ] {
            assert!(TaskDefinitionArn::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_in_the_order_of_their_texts_and_a_copy_is_equal() {
        let names = ["a", "a-b", "aa", "b"].map(|text| EcsName::parse(text).unwrap());
        assert!(names.is_sorted());
        for name in &names {
            assert_eq!(name.cmp(&name.clone()), Ordering::Equal);
            assert_eq!(name.cmp(&EcsName::parse(name.as_str()).unwrap()), Ordering::Equal);
        }
    }

    #[test]
    fn a_service_key_survives_its_text() {
        let key = ServiceKey::try_from("default/web/hello".to_owned()).unwrap();
        assert_eq!(String::from(key.clone()), "default/web/hello");
        assert_eq!(key.to_string(), "web/hello");
        assert!(ServiceKey::try_from("web/hello".to_owned()).is_err());
    }
}
