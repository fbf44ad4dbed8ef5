//! `[[notify]]`: who is notified of what.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use super::reader::{Found, Setting, Table, Texts};
use super::{given, keys};
use crate::domain::glob::{Glob, Globs};
use crate::domain::notification::{Format, Interest};
use crate::domain::state::OutcomeKind;
use crate::domain::types::ContextName;
use crate::domain::words::Word as _;

/// No more than this is read of a file that holds an address, in bytes.
const LONGEST_URL: u64 = 64 * 1024;

/// One receiver, and what it wants to hear.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// Its name, in the log and in metrics.
    pub name: String,
    /// Where its notifications are sent.
    pub receiver: Receiver,
    /// What it wants to hear.
    pub interest: Interest,
}

/// Where the notifications of a receiver are sent.
#[derive(Debug, Clone)]
pub enum Receiver {
    /// An Amazon SNS topic.
    Topic {
        /// The ARN of the topic.
        arn: String,
        /// The AWS context that publishes.
        aws: ContextName,
    },
    /// An address that takes notifications by HTTP.
    Webhook {
        /// The address, or where it is read from.
        url: WebhookUrl,
        /// The form of the body that it takes.
        format: Format,
    },
}

/// An address that is a secret, as those of chats are: it is not shown.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookUrl {
    /// The address as it stands in the configuration.
    Literal(String),
    /// A file that holds it, read for each notification.
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

/// Reads the tables. `context` gives the context that a key `aws` names.
pub(super) fn receivers(
    tables: Vec<Table<'_>>,
    mut context: impl FnMut(&Table<'_>, Setting<ContextName>) -> ContextName,
) -> Vec<NotifySettings> {
    let mut names = BTreeSet::new();
    let one = |table: Table<'_>| {
        let mut keys = keys::Notify::read(&table);
        let name = keys.name.take();
        if let Some(name) = &name
            && !names.insert(name.value.as_str().to_owned())
        {
            table.wrong(name.at, "name", format!("{:?} is the name of another [[notify]], too", name.value.as_str()));
        }
        let interest = interest(&table, &keys);
        let receiver = receiver(&table, keys, &mut context);
        table.report_unknown();
        Some(NotifySettings { name: name?.value.as_str().to_owned(), receiver: receiver?, interest })
    };
    tables.into_iter().filter_map(one).collect()
}

fn receiver(
    table: &Table<'_>,
    keys: keys::Notify,
    context: &mut impl FnMut(&Table<'_>, Setting<ContextName>) -> ContextName,
) -> Option<Receiver> {
    let keys::Notify { sns, webhook, webhook_file, format, aws, .. } = keys;
    let given = [sns.is_some(), webhook.is_some(), webhook_file.is_some()];
    if given.into_iter().filter(|given| *given).count() != 1 {
        table.missing("sns", "say where notifications go with exactly one of sns, webhook and webhook_file");
        return None;
    }
    if let Some(arn) = sns {
        if let Some(at) = format.at {
            table.wrong(at, "format", "is for webhooks; a topic gets JSON");
        }
        let arn = valid(table, "sns", arn, topic)?;
        return Some(Receiver::Topic { arn, aws: context(table, aws) });
    }
    if aws.at.is_some() {
        let _ = context(table, aws);
        table.missing("aws", "is for topics; a webhook has no AWS context");
    }
    let url = match (webhook, webhook_file) {
        (Some(url), _) => WebhookUrl::Literal(valid(table, "webhook", url, address)?),
        (None, file) => WebhookUrl::File(PathBuf::from(file?.value)),
    };
    Some(Receiver::Webhook { url, format: format.value })
}

/// The word in `outcomes` for what waits.
const WAITING: &str = "waiting";

/// The text, if it is what it should be.
fn valid(
    table: &Table<'_>,
    key: &str,
    text: Found<String>,
    check: impl FnOnce(&str) -> Result<(), String>,
) -> Option<String> {
    match check(&text.value) {
        Ok(()) => Some(text.value),
        Err(message) => {
            table.wrong(text.at, key, message);
            None
        }
    }
}

/// The address is not repeated in the message: it may be a secret.
fn address(url: &str) -> Result<(), String> {
    if is_url(url) { Ok(()) } else { Err("expected an address with http:// or https://".to_owned()) }
}

fn topic(text: &str) -> Result<(), String> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        ["arn", _, "sns", region, account, name] if ![region, account, name].contains(&"") => Ok(()),
        _ => Err(format!(
            "expected the ARN of a topic like \"arn:aws:sns:eu-west-1:111111111111:deployments\", found {text:?}"
        )),
    }
}

fn interest(table: &Table<'_>, keys: &keys::Notify) -> Interest {
    let outcomes = keys.outcomes.as_ref().map(|texts| outcomes(table, &texts.value));
    let (outcomes, waiting) = outcomes.unwrap_or_else(|| (OutcomeKind::ALL.into(), true));
    Interest {
        outcomes,
        waiting,
        repositories: keys
            .repositories
            .as_ref()
            .map(|texts| globs(table, "repositories", &texts.value, given::repository_glob)),
        services: keys.services.as_ref().map(|texts| globs(table, "services", &texts.value, given::service_glob)),
        changes: keys.changes.value,
    }
}

/// The ends of rollouts that a receiver wants to hear of, and whether it wants to hear of what waits.
fn outcomes(table: &Table<'_>, texts: &Texts) -> (BTreeSet<OutcomeKind>, bool) {
    let (mut outcomes, mut waiting) = (BTreeSet::new(), false);
    for text in &texts.0 {
        if text.value == WAITING {
            waiting = true;
            continue;
        }
        match OutcomeKind::of(&text.value) {
            Some(kind) => {
                outcomes.insert(kind);
            }
            None => {
                let known: Vec<&str> = OutcomeKind::ALL.into_iter().map(OutcomeKind::as_str).chain([WAITING]).collect();
                let known = known.join(", ");
                table.wrong(text.at, "outcomes", format!("{:?} is no outcome; there are {known}", text.value));
            }
        }
    }
    (outcomes, waiting)
}

pub(super) fn globs(
    table: &Table<'_>,
    key: &'static str,
    texts: &Texts,
    check: fn(&str) -> Result<&str, String>,
) -> Globs {
    let compiled = texts.0.iter().filter_map(|text| {
        check(&text.value).and_then(Glob::parse).map_err(|message| table.wrong(text.at, key, message)).ok()
    });
    compiled.collect()
}
