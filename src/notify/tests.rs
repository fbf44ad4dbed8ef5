use std::collections::BTreeMap;

use futures_util::FutureExt as _;
use serde_json::Value;

use super::*;
use crate::domain::audit::{Change, Concern, EventName};
use crate::domain::event::EventRef;
use crate::domain::notification::{About, Named};
use crate::domain::state::{Outcome, OutcomeKind, Target};
use crate::domain::test_support::{arn, at, digest, push_ref, repository_key, service_key};
use crate::domain::types::EventId;

fn notification(number: i64, detail: &str) -> Notification {
    let target = Target { digest: digest('a'), push: push_ref("e1", "v1", 1), image_pushed_at: None };
    Notification::of_deployment(
        Named { key: service_key("shop"), name: "web/shop".to_owned() },
        &Outcome {
            result: OutcomeKind::Failed,
            revision: Some(arn(7)),
            targets: BTreeMap::from([(repository_key("app"), target)]),
            decided_at: at(number),
            ended_at: at(number + 60),
            detail: detail.to_owned(),
        },
    )
}

fn json(format: Format, notification: &Notification) -> Value {
    serde_json::from_str(&format::body(format, notification)).unwrap()
}

#[test]
fn programs_get_everything() {
    let value = json(Format::Json, &notification(5, "why"));
    let deployment = &value["deployment"];
    for (found, expected) in [
        (&value["version"], "1"),
        (&value["kind"], "\"deployment\""),
        (&value["severity"], "\"error\""),
        (&value["detail"], "\"why\""),
        (&deployment["result"], "\"failed\""),
        (&deployment["service"], "\"shop\""),
        (&deployment["images"][0]["tag"], "\"v1\""),
    ] {
        assert_eq!(found.to_string(), expected, "{value:#}");
    }
    assert_eq!(deployment["images"][0]["digest"], digest('a').to_string());
    assert_eq!(json(Format::Json, &Notification::test(at(1)))["kind"], "test");
}

#[test]
fn what_others_wrote_is_no_markup_in_a_chat() {
    let nasty = notification(5, "<!channel> <https://evil|click> & *bold* [a](b)");
    let slack = json(Format::Slack, &nasty);
    let detail = slack["blocks"][1]["elements"][0]["text"].as_str().unwrap();
    assert_eq!(detail, "&lt;!channel&gt; &lt;https://evil|click&gt; &amp; *bold* [a](b)");
    let teams = json(Format::Teams, &nasty);
    let card = &teams["attachments"][0]["content"];
    assert_eq!(card["body"][0]["inlines"][0]["color"], "attention");
    assert_eq!(card["body"][1]["inlines"][0]["text"], nasty.detail());
    assert_eq!(card["body"][1]["type"], "RichTextBlock", "which shows its text as it is");
    let long = notification(5, &"\u{e9}".repeat(9000));
    for format in [Format::Slack, Format::Teams] {
        assert!(format::body(format, &long).len() < 8000);
    }
}

#[test]
fn a_subject_is_what_sns_takes() {
    let mut test = Notification::test(at(1));
    assert_eq!(format::subject(&test), "ecs-deployd: this is a test, all is well");
    let mut outcome = match notification(5, "").about {
        About::Deployment(_, outcome) => outcome,
        About::Test | About::Change(..) | About::Waiting(..) | About::HeldPush(..) => unreachable!(),
    };
    for number in 0..20 {
        let target = outcome.targets.values().next().unwrap().clone();
        outcome.targets.insert(repository_key(&format!("repository-{number}")), target);
    }
    test.about = About::Deployment(Named { key: service_key("shop"), name: "web/shop".to_owned() }, outcome);
    let subject = format::subject(&test);
    assert!(subject.len() == 100 && subject.is_ascii() && subject.starts_with("ecs-deployd: "), "{subject}");
}

/// Somebody ran or stopped a task, or changed a service.
fn change(number: i64, call: &str, concern: Concern) -> Notification {
    let change = Change {
        event: EventRef { id: EventId::parse(&format!("e{number}")).unwrap(), shared_id: None, time: at(number) },
        name: EventName::parse(call).unwrap(),
        who: "arn:aws:iam::111111111111:user/bob".to_owned(),
        source: "192.0.2.1".to_owned(),
        agent: "aws-cli".to_owned(),
        target: "web/shop".to_owned(),
        service: None,
        revision: None,
        error: None,
        scales: false,
    };
    Notification::of_change(&service_key("shop").aws, change, None, concern)
}

fn drain(queue: &Queue) -> Vec<String> {
    queue.close();
    std::iter::from_fn(|| queue.next().now_or_never().flatten()).map(|notification| notification.id.clone()).collect()
}

#[test]
fn no_deployment_is_dropped_for_a_change_and_no_change_that_matters_for_noise() {
    let queue = Queue::default();
    let failed = notification(1, "the deployment that failed");
    let changed = change(2, "UpdateService", Concern::Watched);
    let push =
        |notification: &Notification| queue.push(Arc::new(notification.clone())).map(|dropped| dropped.id.clone());
    assert_eq!((push(&failed), push(&changed)), (None, None));
    for number in 0..5000 {
        let run = change(10 + number, "RunTask", Concern::Others);
        let dropped = push(&run);
        assert_eq!(
            dropped,
            (number >= 254).then(|| format!("change/e{}", 10 + number - 254)),
            "the oldest of the noise"
        );
    }
    assert_eq!(push(&failed), None, "it is still known: noise does not wash it out of the memory");
    let noise = queue.waiting() - 2;
    for number in 0..254 {
        assert!(
            push(&notification(100 + number, "")).unwrap().starts_with("change/e"),
            "{noise} of noise give way first"
        );
    }
    assert_eq!(push(&notification(400, "")), Some(changed.id), "then the change");
    let late = change(9000, "UpdateService", Concern::Watched);
    assert_eq!(push(&late), Some(late.id.clone()), "where only deployments wait, a change does not come in");
    assert_eq!(push(&notification(401, "")), Some(failed.id), "and a deployment gives way to newer deployments only");
    assert_eq!(drain(&queue).len(), 256);
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_knows_a_repetition() {
    let queue = Queue::default();
    for number in 0..256 {
        assert!(queue.push(Arc::new(notification(number, ""))).is_none());
    }
    assert!(queue.push(Arc::new(notification(7, "the same again"))).is_none());
    assert_eq!(queue.waiting(), 256);
    assert_eq!(queue.push(Arc::new(notification(256, ""))).unwrap().id, notification(0, "").id);
    assert_eq!(queue.next().await.unwrap().id, notification(1, "").id);
    assert_eq!(queue.waiting(), 256, "255 and the one that is being delivered");
    queue.close();
    for _ in 0..255 {
        assert!(queue.next().await.is_some());
    }
    assert!(queue.next().await.is_none());
}
