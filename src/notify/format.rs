//! What a notification looks like to those who receive it.

use serde_json::{Value, json};

use crate::domain::notification::{About, Format, Named, Notification, Severity};
use crate::domain::types::Tag;
use crate::status::{ChangeStatus, OutcomeStatus};

/// The version of the JSON shape. What is added does not change it.
const VERSION: u32 = 1;
/// SNS takes a hundred characters of ASCII as a subject.
const SUBJECT: usize = 100;
/// Longer texts are cut before they go to a chat, which takes about 3,000.
const CHAT: usize = 1500;

/// The text to send.
#[must_use]
pub(super) fn body(format: Format, notification: &Notification) -> String {
    match format {
        Format::Json => of_programs(notification),
        Format::Slack => slack(notification),
        Format::Teams => teams(notification),
    }
    .to_string()
}

fn of_programs(notification: &Notification) -> Value {
    let mut value = json!({
        "version": VERSION, "id": notification.id, "at": notification.at, "severity": notification.severity().as_str(),
        "title": notification.title(), "detail": notification.detail(),
    });
    match &notification.about {
        About::Test => value["kind"] = json!("test"),
        About::Waiting(service, waiting) => {
            let key = &service.key;
            value["kind"] = json!("waiting");
            let mut about =
                json!({"aws": key.aws.as_str(), "cluster": key.cluster.as_str(), "service": key.service.as_str()});
            if let (Some(about), Ok(Value::Object(waiting))) = (about.as_object_mut(), serde_json::to_value(waiting)) {
                about.extend(waiting);
            }
            value["waiting"] = about;
        }
        About::Change(aws, change, _, concern) => {
            value["kind"] = json!("change");
            value["change"] = json!(ChangeStatus::of(aws, change, *concern));
        }
        About::HeldPush(Named { key, .. }, push) => {
            value["kind"] = json!("held_push");
            value["push"] = json!({
                "aws": key.aws.as_str(), "cluster": key.cluster.as_str(), "service": key.service.as_str(),
                "repository": push.repository.as_str(), "tag": push.tag.as_ref().map(Tag::as_str), "digest": push.digest.as_str(),
                "event": push.event.as_str(), "pushed_at": push.pushed_at, "held_because": push.reason, "release": push.release,
            });
        }
        About::Deployment(service, outcome) => {
            let key = &service.key;
            value["kind"] = json!("deployment");
            let mut about =
                json!({"aws": key.aws.as_str(), "cluster": key.cluster.as_str(), "service": key.service.as_str()});
            if let (Some(about), Ok(Value::Object(outcome))) =
                (about.as_object_mut(), serde_json::to_value(OutcomeStatus::of(outcome)))
            {
                about.extend(outcome);
            }
            value["deployment"] = about;
        }
    }
    value
}

fn sign(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "\u{2705}",
        Severity::Warning => "\u{26a0}\u{fe0f}",
        Severity::Error => "\u{274c}",
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(CHAT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Slack takes three characters for its own (Slack API, "Formatting text for app surfaces"); a tag shall not mention anybody or link anywhere.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn slack(notification: &Notification) -> Value {
    let title = format!("{} {}", sign(notification.severity()), escaped(&notification.title()));
    let mut blocks = vec![json!({"type": "section", "text": {"type": "mrkdwn", "text": title, "verbatim": true}})];
    if !notification.detail().is_empty() {
        let detail = cut(&escaped(&notification.detail()));
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": detail, "verbatim": true}]}));
    }
    json!({"text": title, "blocks": blocks})
}

fn teams(notification: &Notification) -> Value {
    let colour = match notification.severity() {
        Severity::Info => "good",
        Severity::Warning => "warning",
        Severity::Error => "attention",
    };
    // A RichTextBlock shows its text as it is; a TextBlock would take marks in it for formatting.
    let run = |text: String, weight: &str, colour: &str| json!({"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, "weight": weight, "color": colour}]});
    let mut body = vec![run(notification.title(), "bolder", colour)];
    if !notification.detail().is_empty() {
        body.push(run(cut(&notification.detail()), "default", "default"));
    }
    json!({"type": "message", "attachments": [{
        "contentType": "application/vnd.microsoft.card.adaptive",
        "content": {
            "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4", "body": body,
        },
    }]})
}

/// What subscribers of a topic can filter by.
pub(super) fn attributes(notification: &Notification) -> Vec<(&'static str, String)> {
    let mut attributes = vec![("severity", notification.severity().as_str().to_owned())];
    match &notification.about {
        About::Test => attributes.push(("kind", "test".to_owned())),
        About::Waiting(Named { key, .. }, waiting) => attributes.extend([
            ("kind", "waiting".to_owned()),
            ("aws", key.aws.to_string()),
            ("cluster", key.cluster.to_string()),
            ("service", key.service.to_string()),
            ("gate", waiting.gate.as_str().to_owned()),
        ]),
        About::Change(aws, change, watched, concern) => {
            attributes.extend([
                ("kind", "change".to_owned()),
                ("call", change.name.to_string()),
                ("concern", concern.as_str().to_owned()),
            ]);
            attributes.push(("aws", aws.to_string()));
            if let Some(Named { key, .. }) = watched {
                attributes.extend([("cluster", key.cluster.to_string()), ("service", key.service.to_string())]);
            }
        }
        About::HeldPush(Named { key, .. }, _) => attributes.extend([
            ("kind", "held_push".to_owned()),
            ("aws", key.aws.to_string()),
            ("cluster", key.cluster.to_string()),
            ("service", key.service.to_string()),
        ]),
        About::Deployment(Named { key, .. }, outcome) => attributes.extend([
            ("kind", "deployment".to_owned()),
            ("aws", key.aws.to_string()),
            ("cluster", key.cluster.to_string()),
            ("service", key.service.to_string()),
            ("outcome", outcome.result.as_str().to_owned()),
        ]),
    }
    attributes
}

/// The subject of a mail that SNS makes of it: ASCII, without line breaks, begins with a letter.
pub(super) fn subject(notification: &Notification) -> String {
    let text = format!("ecs-deployd: {}", notification.title().trim_start_matches("ecs-deployd: "));
    text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' }).take(SUBJECT).collect()
}
