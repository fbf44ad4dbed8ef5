//! CloudTrail records to pushes.
//!
//! The filter is the one that people build by hand from a CloudWatch metric filter: event source `ecr.amazonaws.com`, event name
//! `PutImage`, no `errorCode`. Every member of a record is optional and may have another type than the documentation says
//! (emulators write booleans as text, AWS cuts large members out), so nothing here insists on more than it uses.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::artifact;
use super::printable::printable;
use super::skip::SkipReason;
use super::types::{AccountId, Digest, EventId, Region, RepositoryName, Tag};

/// The name of the event that reports a push.
pub const PUT_IMAGE: &str = "PutImage";
/// The error code of a push that changes nothing: ECR has the same manifest under the same tag (Amazon ECR API Reference, PutImage).
const IMAGE_ALREADY_EXISTS: &str = "ImageAlreadyExistsException";

/// One event as LookupEvents gives it: the envelope's members that matter, and the record as text.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// `EventId` of the envelope.
    pub id: Option<String>,
    /// `EventTime` of the envelope.
    pub time: Option<Timestamp>,
    /// `CloudTrailEvent`: the record, a JSON text.
    pub body: Option<String>,
}

/// What a record turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedEvent {
    /// A successful push of something with a tag (or with a tag that the record does not hold).
    Push(Push),
    /// A push, but not one that can be deployed.
    Skip(Skipped),
    /// Not a push to a private ECR repository at all.
    Foreign,
}

/// Identity of an event: what deduplication and the log need, whether or not it can be deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRef {
    /// Unique within the account that received the event.
    pub id: EventId,
    /// The same for the copies of one event that two accounts receive.
    pub shared_id: Option<EventId>,
    /// When the call was made; CloudTrail's resolution is one second.
    pub time: Timestamp,
}

/// A push that was rejected while reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The event of CloudTrail that reported it.
    pub event: EventRef,
    /// The repository, where the record names one.
    pub repository: Option<RepositoryName>,
    /// Why it is not deployed.
    pub reason: SkipReason,
    /// The particulars: an error code, what is missing.
    pub detail: String,
    /// The image, where the push failed because ECR has it already: a pipeline was run again, for example.
    pub repeats: Option<Repeated>,
    /// What was pushed, where it is nothing to deploy.
    pub brought: Option<Brought>,
}

/// What a push brought into a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brought {
    /// The tag, if it has one.
    pub tag: Option<Tag>,
    /// The digest, as far as it is told.
    pub digest: Option<Digest>,
}

/// What a push tried to push although ECR has it already, under the same tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The tag, as far as the record has it.
    pub tag: Option<Tag>,
    /// The digest, as far as the record has it or tells it by the manifest.
    pub digest: Option<Digest>,
}

/// A push that ECR took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The event of CloudTrail that reported it.
    pub event: EventRef,
    /// The repository pushed to.
    pub repository: RepositoryName,
    /// The account that owns the repository, where the record says so. Never the account of the caller.
    pub owner: Option<AccountId>,
    /// The account whose CloudTrail holds the record.
    pub recipient: Option<AccountId>,
    /// The Region of the call.
    pub region: Option<Region>,
    /// The tag. `None` when AWS cut it out of the record because the manifest is large: ECR has to be asked.
    pub tag: Option<Tag>,
    /// The digest pushed, where the record tells. A hint: ECR decides.
    pub digest: Option<Digest>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    event_source: Value,
    event_name: Value,
    event_time: Value,
    #[serde(rename = "eventID")]
    event_id: Value,
    #[serde(rename = "sharedEventID")]
    shared_event_id: Value,
    aws_region: Value,
    recipient_account_id: Value,
    error_code: Value,
    error_message: Value,
    request_parameters: Value,
    response_elements: Value,
    resources: Value,
}

/// Reads one record of CloudTrail.
#[must_use]
pub fn read(record: &Record) -> ParsedEvent {
    let text = record.body.as_deref().unwrap_or("");
    let parsed: Result<Body, _> = serde_json::from_str(text);
    let body = match parsed {
        Ok(body) => body,
        Err(error) => return unreadable(record, text, &error.to_string()),
    };
    match (body.event_source.as_str(), body.event_name.as_str()) {
        (Some("ecr.amazonaws.com"), Some(PUT_IMAGE)) => {}
        (Some(_), Some(_)) => return ParsedEvent::Foreign,
        _ => return unreadable(record, text, "no eventSource or eventName"),
    }
    let Some(event) = event_ref(record, &body, text) else {
        return unreadable(record, text, "no event time");
    };
    let repository = repository_name(&body);
    let skip = |reason, detail: String, brought: Option<Brought>| {
        let (event, repository) = (event.clone(), repository.clone());
        ParsedEvent::Skip(Skipped { event, repository, reason, detail, repeats: None, brought })
    };
    if let Some(code) = present(&body.error_code) {
        let message = present(&body.error_message).unwrap_or_default();
        let detail = shorten(&format!("{code}: {message}"));
        let repeats = (code == IMAGE_ALREADY_EXISTS).then(|| repeated(&body));
        let reason = SkipReason::FailedPush;
        return ParsedEvent::Skip(Skipped { event, repository, reason, detail, repeats, brought: None });
    }
    let Some(name) = repository.clone() else {
        return skip(SkipReason::Malformed, "the record names no repository".to_owned(), None);
    };
    let tag = match tag_of(&body) {
        TagOf::Tag(tag) => Some(tag),
        TagOf::CutOut => None,
        TagOf::Absent => {
            let brought = Brought { tag: None, digest: digest_of(&body) };
            return skip(SkipReason::Untagged, String::new(), Some(brought));
        }
        TagOf::Invalid(text) => {
            return skip(SkipReason::Malformed, format!("{} is not an image tag", shorten(&text)), None);
        }
    };
    if let Some(why) = tag
        .as_ref()
        .and_then(artifact::of_tag)
        .or_else(|| artifact::of_manifest(&manifest(&body)?, manifest_type(&body)))
    {
        let brought = Brought { tag, digest: digest_of(&body) };
        return skip(SkipReason::NotAnImage, why, Some(brought));
    }
    ParsedEvent::Push(Push {
        repository: name,
        owner: owner_of(&body),
        recipient: text_of(&body.recipient_account_id).and_then(|text| AccountId::parse(text).ok()),
        region: text_of(&body.aws_region).and_then(|text| Region::parse(text).ok()),
        tag,
        digest: digest_of(&body),
        event,
    })
}

fn unreadable(record: &Record, text: &str, detail: &str) -> ParsedEvent {
    let id = record.id.as_deref().and_then(|id| EventId::parse(id).ok()).unwrap_or_else(|| id_of_text(text));
    let time = record.time.unwrap_or(Timestamp::UNIX_EPOCH);
    ParsedEvent::Skip(Skipped {
        event: EventRef { id, shared_id: None, time },
        repository: None,
        reason: SkipReason::Malformed,
        detail: shorten(detail),
        repeats: None,
        brought: None,
    })
}

fn repeated(body: &Body) -> Repeated {
    let tag = match tag_of(body) {
        TagOf::Tag(tag) => Some(tag),
        TagOf::Absent | TagOf::CutOut | TagOf::Invalid(_) => None,
    };
    Repeated { tag, digest: digest_of(body) }
}

fn event_ref(record: &Record, body: &Body, text: &str) -> Option<EventRef> {
    let id = [text_of(&body.event_id), record.id.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|id| EventId::parse(id).ok())
        .unwrap_or_else(|| id_of_text(text));
    let shared_id = text_of(&body.shared_event_id).and_then(|id| EventId::parse(id).ok());
    let time = record.time.or_else(|| text_of(&body.event_time).and_then(|time| time.parse().ok()))?;
    Some(EventRef { id, shared_id, time })
}

/// A record without an id is identified by what it says.
pub(super) fn id_of_text(text: &str) -> EventId {
    let id = format!("text:{}", hex(&Sha256::digest(text.as_bytes())));
    #[expect(clippy::expect_used, reason = "69 graphic ASCII characters are a valid event id")]
    EventId::parse(&id).expect("a hexadecimal text is an event id")
}

enum TagOf {
    Tag(Tag),
    Absent,
    CutOut,
    Invalid(String),
}

fn tag_of(body: &Body) -> TagOf {
    let request = &body.request_parameters;
    let image_id = &body.response_elements["image"]["imageId"];
    let named = text_of(&request["imageTag"]).or_else(|| text_of(&image_id["imageTag"]));
    match named {
        Some(text) => Tag::parse(text).map_or_else(|_| TagOf::Invalid(text.to_owned()), TagOf::Tag),
        // The request is whole and has no tag, or the answer is whole and has none.
        None if request.is_object() && !is_cut_out(request) => TagOf::Absent,
        None if image_id.is_object() => TagOf::Absent,
        None => TagOf::CutOut,
    }
}

fn repository_name(body: &Body) -> Option<RepositoryName> {
    let named = [
        text_of(&body.request_parameters["repositoryName"]),
        text_of(&body.response_elements["image"]["repositoryName"]),
    ];
    let of_arn = repository_arn(body).and_then(|(_, name)| RepositoryName::parse(name).ok());
    named.into_iter().flatten().find_map(|name| RepositoryName::parse(name).ok()).or(of_arn)
}

fn owner_of(body: &Body) -> Option<AccountId> {
    let named = [
        text_of(&body.response_elements["image"]["registryId"]),
        text_of(&body.request_parameters["registryId"]),
        repository_arn(body).map(|(account, _)| account),
        body.resources.as_array().and_then(|all| all.iter().find_map(|one| text_of(&one["accountId"]))),
    ];
    named.into_iter().flatten().find_map(|id| AccountId::parse(id).ok())
}

/// Account and name from `resources[].ARN`, which AWS gives even when it cuts out the request.
fn repository_arn(body: &Body) -> Option<(&str, &str)> {
    body.resources.as_array()?.iter().find_map(|resource| {
        let arn = text_of(&resource["ARN"]).or_else(|| text_of(&resource["arn"]))?;
        let mut parts = arn.splitn(6, ':').skip(2);
        let (service, _region, account, path) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (service == "ecr").then_some((account, path.strip_prefix("repository/")?))
    })
}

fn digest_of(body: &Body) -> Option<Digest> {
    let said = [
        text_of(&body.response_elements["image"]["imageId"]["imageDigest"]),
        text_of(&body.request_parameters["imageDigest"]),
    ];
    said.into_iter().flatten().find_map(|text| Digest::parse(text).ok()).or_else(|| {
        let manifest = text_of(&body.request_parameters["imageManifest"])?;
        Digest::parse(&format!("sha256:{}", hex(&Sha256::digest(manifest.as_bytes())))).ok()
    })
}

fn manifest(body: &Body) -> Option<Value> {
    let text = text_of(&body.request_parameters["imageManifest"])
        .or_else(|| text_of(&body.response_elements["image"]["imageManifest"]))?;
    serde_json::from_str(text).ok()
}

/// The media type of the manifest, which the manifest itself need not hold.
fn manifest_type(body: &Body) -> Option<&str> {
    text_of(&body.request_parameters["imageManifestMediaType"])
        .or_else(|| text_of(&body.response_elements["image"]["imageManifestMediaType"]))
}

fn is_cut_out(value: &Value) -> bool {
    matches!(&value["omitted"], Value::Bool(true)) || value["omitted"].as_str() == Some("true")
}

fn text_of(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// A member that is there and not empty, as text.
fn present(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The longest text that is taken from a record, in characters.
const DETAIL: usize = 200;

/// What of a text in a record reaches the log, the state and people.
#[must_use]
pub fn shorten(text: &str) -> String {
    printable(text, DETAIL)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
