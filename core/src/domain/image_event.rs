//! Messages of a queue to pushes: EventBridge's event "ECR Image Action", as a rule puts it into an SQS queue, straight or by way of an SNS
//! topic (Amazon ECR User Guide, "Amazon ECR events and EventBridge").
//!
//! Every member is optional here and may have another type than the documentation says; members that are not known are ignored.

use serde_json::Value;

use super::artifact;
use super::event::{Brought, EventRef, ParsedEvent, Push, Skipped, id_of_text, shorten};
use super::skip::SkipReason;
use super::types::{AccountId, Digest, EventId, Region, RepositoryName, Tag};

/// The source of the event.
const SOURCE: &str = "aws.ecr";
/// The `detail-type` of the events.
const DETAIL_TYPE: &str = "ECR Image Action";

/// What a queue is read for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The account of the AWS context.
    pub account: AccountId,
    /// The Region of the repository.
    pub region: Region,
}

/// What a message turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A push to a repository of the context.
    Event(ParsedEvent),
    /// An event that concerns nothing of the configuration, and why.
    Foreign(String),
    /// No such event, and why not.
    Malformed(String),
}

/// Why a message is no push to take.
enum No {
    Foreign(String),
    Malformed(String),
}

/// Reads what one message of the queue says.
#[must_use]
pub fn read(body: &str, home: &Home) -> Message {
    match push(body, home) {
        Ok(event) => Message::Event(event),
        Err(No::Foreign(why)) => Message::Foreign(shorten(&why)),
        Err(No::Malformed(why)) => Message::Malformed(shorten(&why)),
    }
}

fn push(body: &str, home: &Home) -> Result<ParsedEvent, No> {
    let event = unwrapped(body)?;
    is_ours(&event, home)?;
    let detail = &event["detail"];
    let name = text(detail, "repository-name")?;
    let repository = RepositoryName::parse(name).map_err(|error| No::Malformed(error.to_string()))?;
    let time = text(&event, "time")?.parse().map_err(|_| No::Malformed("its time is none".to_owned()))?;
    let id = event["id"].as_str().and_then(|id| EventId::parse(id).ok()).unwrap_or_else(|| id_of_text(body));
    let reference = EventRef { id, shared_id: None, time };
    let digest = parsed(&detail["image-digest"], Digest::parse)?;
    let tag = parsed(&detail["image-tag"], Tag::parse)?;
    let none_to_deploy = match &tag {
        None => Some((SkipReason::Untagged, String::new())),
        Some(tag) => artifact::of_tag(tag).map(|why| (SkipReason::NotAnImage, why)),
    };
    if let Some((reason, why)) = none_to_deploy {
        let brought = Some(Brought { tag, digest });
        let repository = Some(repository);
        return Ok(ParsedEvent::Skip(Skipped {
            event: reference,
            repository,
            reason,
            detail: why,
            repeats: None,
            brought,
        }));
    }
    Ok(ParsedEvent::Push(Push {
        event: reference,
        repository,
        owner: Some(home.account.clone()),
        recipient: Some(home.account.clone()),
        region: Some(home.region.clone()),
        tag,
        digest,
    }))
}

/// The event, out of the envelope that an SNS topic puts it into.
fn unwrapped(body: &str) -> Result<Value, No> {
    let json = |text: &str| {
        let value: Value = serde_json::from_str(text).map_err(|error| No::Malformed(format!("no JSON: {error}")))?;
        if value.is_object() { Ok(value) } else { Err(No::Malformed("no JSON object".to_owned())) }
    };
    let outer = json(body)?;
    match outer["Message"].as_str() {
        Some(inner) if outer["detail-type"].is_null() => json(inner),
        _ => Ok(outer),
    }
}

/// The beginning of a message, for the log.
#[must_use]
pub fn excerpt(body: &str) -> String {
    shorten(body)
}

/// Whether it tells of a push to a registry of the context.
fn is_ours(event: &Value, home: &Home) -> Result<(), No> {
    let account = home.account.as_str();
    let region = home.region.as_str();
    for (member, ours) in [("source", SOURCE), ("detail-type", DETAIL_TYPE), ("account", account), ("region", region)] {
        is(event, member, ours)?;
    }
    if !event["detail"].is_object() {
        return Err(No::Malformed("it has no detail".to_owned()));
    }
    is(&event["detail"], "action-type", "PUSH")?;
    is(&event["detail"], "result", "SUCCESS")
}

fn is(value: &Value, member: &str, ours: &str) -> Result<(), No> {
    match text(value, member)? {
        text if text == ours => Ok(()),
        other => Err(No::Foreign(format!("its {member} is {other}, not {ours}"))),
    }
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, No> {
    value[member].as_str().ok_or_else(|| No::Malformed(format!("it has no {member}")))
}

/// A member that may be left out.
fn parsed<T, E: std::fmt::Display>(value: &Value, parse: impl Fn(&str) -> Result<T, E>) -> Result<Option<T>, No> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        Value::String(text) => parse(text).map(Some).map_err(|error| No::Malformed(error.to_string())),
        _ => Err(No::Malformed("a tag or a digest that is no text".to_owned())),
    }
}

#[cfg(test)]
#[path = "image_event_tests.rs"]
mod tests;
