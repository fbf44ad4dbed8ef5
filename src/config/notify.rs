//! `[[notify]]`: who is told of what.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::given;
use super::reader::Table;
use crate::domain::notice::{Changes, Format, Interest};
use crate::domain::state::OutcomeKind;
use crate::domain::types::ContextName;

/// No more than this is read of a file that holds an address, in bytes.
const LONGEST_URL: u64 = 64 * 1024;

/// One receiver, and what it wants to hear.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Its name, in the log and in metrics.
    pub name: String,
    /// Where it is.
    pub receiver: Receiver,
    /// What it wants to hear.
    pub interest: Interest,
}

/// Where notices go.
#[derive(Debug, Clone)]
pub enum Receiver {
    /// An Amazon SNS topic.
    Topic {
        /// Its ARN.
        arn: String,
        /// Who publishes.
        aws: ContextName,
    },
    /// An HTTP address.
    Webhook {
        /// The address.
        url: WebhookUrl,
        /// What it understands.
        format: Format,
    },
}

/// An address that is a secret, as those of chats are: it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookUrl {
    /// The address itself.
    Literal(String),
    /// A file that holds it, read for each notice.
    File(PathBuf),
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("Literal(hidden)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl WebhookUrl {
    /// The address.
    ///
    /// # Errors
    /// The file cannot be read, or holds no address.
    pub fn read(&self) -> Result<String, String> {
        let text = match self {
            Self::Literal(url) => return Ok(url.clone()),
            Self::File(path) => {
                let mut text = String::new();
                std::fs::File::open(path)
                    .and_then(|file| file.take(LONGEST_URL).read_to_string(&mut text))
                    .map_err(|error| format!("webhook_file {} cannot be read: {error}", path.display()))?;
                text
            }
        };
        let url = text.trim();
        if is_url(url) {
            Ok(url.to_owned())
        } else {
            Err("webhook_file holds no http:// or https:// address".to_owned())
        }
    }
}

fn is_url(url: &str) -> bool {
    super::reader::is_http(url) && !url.contains(char::is_whitespace)
}

/// Reads the tables. `context` tells which context a key `aws` names.
pub(super) fn receivers(
    tables: Vec<Table<'_>>,
    mut context: impl FnMut(&Table<'_>) -> Option<ContextName>,
) -> Vec<NotifySettings> {
    let mut names = BTreeSet::new();
    let one = |table: Table<'_>| {
        let name = table.parsed("name", ContextName::parse);
        if !table.has("name") {
            table.missing("name", "is missing: what the receiver is called in the log and in metrics");
        }
        if let Some(name) = &name
            && !names.insert(name.value.as_str().to_owned())
        {
            table.wrong(name.at, "name", format!("{:?} is the name of another [[notify]], too", name.value.as_str()));
        }
        let receiver = receiver(&table, &mut context);
        let interest = interest(&table);
        table.finish();
        Some(NotifySettings { name: name?.value.as_str().to_owned(), receiver: receiver?, interest })
    };
    tables.into_iter().filter_map(one).collect()
}

fn receiver(table: &Table<'_>, context: &mut impl FnMut(&Table<'_>) -> Option<ContextName>) -> Option<Receiver> {
    let sns = table.parsed("sns", topic);
    let webhook = table.parsed("webhook", |url| match is_url(url) {
        true => Ok(url.to_owned()),
        // The address is not repeated: it may be a secret.
        false => Err("expected an address with http:// or https://"),
    });
    let file = table.text("webhook_file");
    let formats = [("json", Format::Json), ("slack", Format::Slack), ("teams", Format::Teams)];
    let format = table.word("format", &formats);
    let given = ["sns", "webhook", "webhook_file"].into_iter().filter(|key| table.has(key)).count();
    if given != 1 {
        table.missing("sns", "say where notices go with exactly one of sns, webhook and webhook_file");
        return None;
    }
    if let (Some(format), true) = (&format, table.has("sns")) {
        table.wrong(format.at, "format", "is for webhooks; a topic gets JSON");
    }
    if let Some(arn) = sns {
        return Some(Receiver::Topic { arn: arn.value, aws: context(table)? });
    }
    if table.has("aws") {
        let _ = context(table);
        table.missing("aws", "is for topics; a webhook has no AWS context");
    }
    let url = webhook.map(|found| WebhookUrl::Literal(found.value));
    let url = url.or_else(|| file.map(|found| WebhookUrl::File(PathBuf::from(found.value))))?;
    Some(Receiver::Webhook { url, format: format.map_or(Format::Json, |found| found.value) })
}

/// The word in `outcomes` for what waits.
const WAITING: &str = "waiting";

fn topic(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        ["arn", _, "sns", region, account, name] if ![region, account, name].contains(&"") => Ok(text.to_owned()),
        _ => Err(format!(
            "expected the ARN of a topic like \"arn:aws:sns:eu-west-1:111111111111:deployments\", found {text:?}"
        )),
    }
}

fn interest(table: &Table<'_>) -> Interest {
    let (outcomes, waiting) = outcomes(table).unwrap_or_else(|| (OutcomeKind::ALL.into(), true));
    Interest {
        outcomes,
        waiting,
        repositories: globs(table, "repositories", given::repository_glob),
        services: globs(table, "services", given::service_glob),
        changes: table
            .word("changes", &[("none", Changes::None), ("watched", Changes::Watched), ("all", Changes::All)])
            .map_or(Changes::Watched, |found| found.value),
    }
}

/// The ends of rollouts that a receiver wants to hear of, and whether it wants to hear of what waits.
fn outcomes(table: &Table<'_>) -> Option<(BTreeSet<OutcomeKind>, bool)> {
    let texts = table.texts("outcomes")?;
    let (mut outcomes, mut waiting) = (BTreeSet::new(), false);
    for text in texts.value {
        if text.value == WAITING {
            waiting = true;
            continue;
        }
        match OutcomeKind::ALL.into_iter().find(|kind| kind.as_str() == text.value) {
            Some(kind) => {
                outcomes.insert(kind);
            }
            None => {
                let known: Vec<&str> = OutcomeKind::ALL.into_iter().map(OutcomeKind::as_str).chain([WAITING]).collect();
                table.wrong(
                    text.at,
                    "outcomes",
                    format!("{:?} is no outcome; there are {}", text.value, known.join(", ")),
                );
            }
        }
    }
    Some((outcomes, waiting))
}

fn globs(table: &Table<'_>, key: &'static str, check: fn(&str) -> Result<&str, String>) -> Option<GlobSet> {
    let texts = table.texts(key)?;
    let mut set = GlobSetBuilder::new();
    for text in texts.value {
        let glob = check(text.value).and_then(|text| Glob::new(text).map_err(|error| error.kind().to_string()));
        match glob {
            Ok(glob) => {
                set.add(glob);
            }
            Err(message) => table.wrong(text.at, key, message),
        }
    }
    set.build().ok()
}
