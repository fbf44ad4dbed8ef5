use serde_json::json;

use super::*;
use crate::domain::test_support::{digest, tag};

/// The example of the Amazon ECR User Guide, with members that are not used.
fn event() -> Value {
    json!({
        "version": "0", "id": "13cde686-328b-6117-af20-0e5566167482", "detail-type": "ECR Image Action",
        "source": "aws.ecr", "account": "111111111111", "time": "2026-11-22T10:00:07Z", "region": "eu-west-1",
        "resources": [],
        "detail": {
            "result": "SUCCESS", "repository-name": "team/hello", "image-digest": digest('a').as_str(),
            "action-type": "PUSH", "image-tag": "latest",
            "manifest-media-type": "application/vnd.oci.image.manifest.v1+json"
        }
    })
}

fn home() -> Home {
    Home { account: AccountId::parse("111111111111").unwrap(), region: Region::parse("eu-west-1").unwrap() }
}

fn edited(edit: impl FnOnce(&mut Value)) -> Message {
    let mut event = event();
    edit(&mut event);
    read(&event.to_string(), &home())
}

fn taken(message: Message) -> ParsedEvent {
    match message {
        Message::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_push_is_read_straight_and_out_of_an_envelope_of_sns() {
    let straight = taken(edited(|_| {}));
    let ParsedEvent::Push(push) = &straight else { panic!("{straight:?}") };
    assert_eq!(push.event.id.as_str(), "13cde686-328b-6117-af20-0e5566167482");
    assert_eq!(push.event.time, "2026-11-22T10:00:07Z".parse().unwrap());
    assert_eq!((push.tag.clone(), push.digest.clone()), (Some(tag("latest")), Some(digest('a'))));
    let envelope = json!({
        "Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:eu-west-1:111111111111:pushes",
        "Message": event().to_string(), "Timestamp": "2026-11-22T10:00:08.000Z",
    });
    assert_eq!(taken(read(&envelope.to_string(), &home())), straight);
}

#[test]
fn what_concerns_nothing_here_is_foreign_and_says_why() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 7] = [
        (|event| event["account"] = "222222222222".into(), "its account is 222222222222, not 111111111111"),
        (|event| event["region"] = "us-east-1".into(), "its region is us-east-1, not eu-west-1"),
        (|event| event["source"] = "aws.ec2".into(), "its source is aws.ec2, not aws.ecr"),
        (
            |event| event["detail-type"] = "ECR Image Scan".into(),
            "its detail-type is ECR Image Scan, not ECR Image Action",
        ),
        (|event| event["detail"]["action-type"] = "DELETE".into(), "its action-type is DELETE, not PUSH"),
        (|event| event["detail"]["result"] = "FAILURE".into(), "its result is FAILURE, not SUCCESS"),
        // It is of another Region first: what else is wrong with it is of no interest.
        (
            |event| (event["region"], event["time"]) = ("us-east-1".into(), Value::Null),
            "its region is us-east-1, not eu-west-1",
        ),
    ];
    for (edit, why) in cases {
        assert_eq!(edited(edit), Message::Foreign(why.to_owned()));
    }
}

#[test]
fn what_is_no_such_event_is_malformed_and_says_why() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 9] = [
        (|event| event["detail"] = Value::Null, "it has no detail"),
        (|event| event["source"] = Value::Null, "it has no source"),
        (|event| event["account"] = 1.into(), "it has no account"),
        (|event| event["time"] = "yesterday".into(), "its time is none"),
        (|event| event["detail"]["result"] = true.into(), "it has no result"),
        (|event| event["detail"]["repository-name"] = Value::Null, "it has no repository-name"),
        (|event| event["detail"]["image-tag"] = "../latest".into(), "\"../latest\" is not an image tag"),
        (|event| event["detail"]["image-tag"] = 1.into(), "a tag or a digest that is no text"),
        (
            |event| event["detail"]["image-digest"] = "md5:0".into(),
            "\"md5:0\" is not an image digest (sha256: and 64 hexadecimal digits)",
        ),
    ];
    for (edit, why) in cases {
        assert_eq!(edited(edit), Message::Malformed(why.to_owned()));
    }
    for body in ["", "hello", "[]", "1", "{\"Message\": \"hello\"}", "{\"Message\": \"[]\"}"] {
        assert!(matches!(read(body, &home()), Message::Malformed(_)), "{body}");
    }
    let Message::Malformed(why) = read(&format!("{{{}", "x".repeat(10_000)), &home()) else { panic!() };
    assert!(why.chars().count() <= 201, "{why}");
}

#[test]
fn a_push_without_a_tag_and_a_signature_are_pushes_that_nobody_deploys() {
    let untagged = taken(edited(|event| drop(event["detail"].as_object_mut().unwrap().remove("image-tag"))));
    let ParsedEvent::Skip(skipped) = untagged else { panic!("{untagged:?}") };
    assert_eq!(skipped.reason, SkipReason::Untagged);
    assert_eq!(skipped.brought, Some(Brought { tag: None, digest: Some(digest('a')) }));
    let signature = format!("sha256-{}.sig", "a".repeat(64));
    let signed = taken(edited(|event| event["detail"]["image-tag"] = signature.as_str().into()));
    let ParsedEvent::Skip(skipped) = signed else { panic!("{signed:?}") };
    assert_eq!(skipped.reason, SkipReason::NotAnImage);
}

#[test]
fn an_event_without_an_id_is_known_by_what_it_says() {
    let id = |message| match taken(message) {
        ParsedEvent::Push(push) => push.event.id,
        other => panic!("{other:?}"),
    };
    let nameless = || edited(|event| event["id"] = Value::Null);
    assert_eq!(id(nameless()), id(nameless()));
    assert!(id(nameless()).as_str().starts_with("text:"));
}
