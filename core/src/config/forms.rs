//! The types that keys can have.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::given;
use super::reader::{Form, Found, Table, Texts};
use crate::domain::queue_url::QueueUrl;
use crate::domain::schedule::ScheduleName;
use crate::domain::types::{ContextName, EcsName, Region, RepositoryName};
use crate::domain::words::{Word, described};

impl<W: Word> Form for W {
    const NAME: &'static str = "word";

    fn words() -> Vec<(&'static str, &'static str)> {
        described::<W>()
    }

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        table.word(key)
    }

    fn toml(&self) -> String {
        quoted(self.text())
    }
}

impl Form for String {
    const NAME: &'static str = "text";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        let found = table.text(key)?;
        Some(Found { value: found.value.to_owned(), at: found.at })
    }

    fn toml(&self) -> String {
        quoted(self)
    }
}

impl Form for Texts {
    const NAME: &'static str = "list of texts";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        table.texts(key)
    }

    fn toml(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(|text| quoted(&text.value)).collect();
        format!("[{}]", texts.join(", "))
    }
}

impl Form for Duration {
    const NAME: &'static str = "duration";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        table.duration(key)
    }

    fn toml(&self) -> String {
        quoted(&humantime::format_duration(*self).to_string())
    }
}

/// How often something is done, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Every(pub(super) Option<Duration>);

/// What is done more often than this costs more than it finds.
const SHORTEST: Duration = Duration::from_mins(5);
/// As for every duration.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

impl Form for Every {
    const NAME: &'static str = "`off`, or a duration";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        table.parsed(key, |text| match (text, humantime::parse_duration(text)) {
            ("off", _) => Ok(Self(None)),
            (_, Ok(every)) if every >= SHORTEST && every <= LONGEST => Ok(Self(Some(every))),
            (_, Ok(_)) => Err(format!("must be \"off\", or 5m to a year, found {text:?}")),
            (_, Err(_)) => Err(format!("expected \"off\" or a duration like \"30m\" or \"6h\", found {text:?}")),
        })
    }

    fn toml(&self) -> String {
        self.0.map_or_else(|| quoted("off"), |every| quoted(&humantime::format_duration(every).to_string()))
    }
}

/// A duration that may be zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span(pub(super) Duration);

impl Form for Span {
    const NAME: &'static str = "duration, or `0s`";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        let found = table.duration_or_zero(key)?;
        Some(Found { value: Self(found.value), at: found.at })
    }

    fn toml(&self) -> String {
        self.0.toml()
    }
}

impl Form for f64 {
    const NAME: &'static str = "number";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        table.number(key)
    }

    fn toml(&self) -> String {
        format!("{self:?}")
    }
}

impl Form for bool {
    const NAME: &'static str = "true or false";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        table.truth(key)
    }

    fn toml(&self) -> String {
        self.to_string()
    }
}

impl Form for PathBuf {
    const NAME: &'static str = "path";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        let found = table.text(key)?;
        Some(Found { value: Self::from(found.value), at: found.at })
    }

    fn toml(&self) -> String {
        quoted(&self.display().to_string())
    }
}

impl Form for SocketAddr {
    const NAME: &'static str = "address and port";

    fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
        let wrong = |text: &str| format!("expected an address and port like \"127.0.0.1:9797\", found {text:?}");
        table.parsed(key, |text| text.parse().map_err(|_| wrong(text)))
    }

    fn toml(&self) -> String {
        quoted(&self.to_string())
    }
}

/// Types whose texts have a form of their own.
macro_rules! parsed {
    ($($type:ty: $name:literal, $parse:expr;)+) => {$(
        impl Form for $type {
            const NAME: &'static str = $name;

            fn read(table: &Table<'_>, key: &'static str) -> Option<Found<Self>> {
                table.parsed(key, $parse)
            }

            fn toml(&self) -> String {
                quoted(self.as_str())
            }
        }
    )+};
}

parsed! {
    ContextName: "name: 1 to 64 letters, digits, `_` and `-`", Self::parse;
    Region: "Region", Self::parse;
    QueueUrl: "URL of an SQS queue", |text| Self::parse(text).map_err(|error| error.to_string());
    RepositoryName: "name of an ECR repository", given::repository;
    ClusterName: "name, not an ARN", |text| given::cluster(text).map(Self);
    ServiceName: "name, not an ARN", |text| given::service(text).map(Self);
    ContainerName: "name of a container", |text| given::container(text).map(Self);
    SchedulerName: "GROUP/NAME or NAME", |text| given::schedule(text).and_then(|text| {
        ScheduleName::scheduler(text).map(|name| Self { name, text: text.to_owned() })
    });
    RuleName: "BUS/NAME or NAME", |text| given::schedule(text).and_then(|text| {
        ScheduleName::rule(text).map(|name| Self { name, text: text.to_owned() })
    });
    FamilyName: "name of a task definition family", |text| given::family(text).map(Self);
}

/// The name of a cluster.
pub(super) struct ClusterName(pub(super) EcsName);

/// The name of a service.
pub(super) struct ServiceName(pub(super) EcsName);

/// The name of a container, as it stands in the task definition.
pub(super) struct ContainerName(pub(super) String);

/// A schedule of EventBridge Scheduler, and how it is written.
pub(super) struct SchedulerName {
    pub(super) name: ScheduleName,
    pub(super) text: String,
}

/// A rule of EventBridge, and how it is written.
pub(super) struct RuleName {
    pub(super) name: ScheduleName,
    pub(super) text: String,
}

impl SchedulerName {
    fn as_str(&self) -> &str {
        &self.text
    }
}

impl RuleName {
    fn as_str(&self) -> &str {
        &self.text
    }
}

/// The name of a task definition family, without a revision.
pub(super) struct FamilyName(pub(super) String);

impl FamilyName {
    fn as_str(&self) -> &str {
        &self.0
    }
}

impl ClusterName {
    fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl ServiceName {
    fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl ContainerName {
    fn as_str(&self) -> &str {
        &self.0
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
