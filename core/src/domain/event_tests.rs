use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn body() -> Value {
    json!({
        "eventVersion": "1.08",
        "userIdentity": {"type": "IAMUser", "accountId": "999999999999"},
        "eventTime": "2026-11-22T10:00:00Z",
        "eventSource": "ecr.amazonaws.com",
        "eventName": "PutImage",
        "awsRegion": "eu-west-1",
        "sourceIPAddress": "AWS Internal",
        "requestParameters": {
            "repositoryName": "hello-nginx", "imageTag": "latest", "registryId": "111111111111",
            "imageManifest": "{\"schemaVersion\":2}",
        },
        "responseElements": {"image": {
            "repositoryName": "hello-nginx", "registryId": "111111111111",
            "imageId": {"imageDigest": digest('a'), "imageTag": "latest"},
        }},
        "requestID": "r", "eventID": "6f1c-1", "recipientAccountId": "111111111111",
        "resources": [{"ARN": "arn:aws:ecr:eu-west-1:111111111111:repository/hello-nginx", "accountId": "111111111111"}],
    })
}

fn digest(c: char) -> String {
    format!("sha256:{}", c.to_string().repeat(64))
}

fn record(body: &Value) -> Record {
    Record { id: Some("6f1c-1".to_owned()), time: None, body: Some(body.to_string()) }
}

fn push(body: &Value) -> Push {
    match read(&record(body)) {
        ParsedEvent::Push(push) => push,
        other => panic!("{other:?}"),
    }
}

fn skipped(body: &Value) -> (SkipReason, String) {
    match read(&record(body)) {
        ParsedEvent::Skip(skipped) => (skipped.reason, skipped.detail),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_push_is_read_whole() {
    let push = push(&body());
    assert_eq!(push.repository.as_str(), "hello-nginx");
    assert_eq!(push.tag.unwrap().as_str(), "latest");
    assert_eq!(push.digest.unwrap().as_str(), digest('a'));
    assert_eq!(push.owner.unwrap().as_str(), "111111111111");
    assert_eq!(push.event.id.as_str(), "6f1c-1");
    assert_eq!(push.event.time.to_string(), "2026-11-22T10:00:00Z");
}

#[test]
fn only_put_image_of_private_ecr_is_a_push() {
    for (member, value) in [("eventSource", "ecr-public.amazonaws.com"), ("eventName", "PutImageTagMutability")] {
        let mut body = body();
        body[member] = json!(value);
        assert_eq!(read(&record(&body)), ParsedEvent::Foreign, "{member}");
    }
}

#[test]
fn an_error_code_of_any_shape_is_a_failed_push_and_none_is_not() {
    let mut failed = body();
    failed["errorCode"] = json!("ImageTagAlreadyExistsException");
    failed["errorMessage"] = json!("immutable");
    assert_eq!(skipped(&failed), (SkipReason::FailedPush, "ImageTagAlreadyExistsException: immutable".to_owned()));
    for nothing in [Value::Null, json!("")] {
        failed["errorCode"] = nothing;
        push(&failed);
    }
}

#[test]
fn a_push_of_what_ecr_has_already_tells_which_image_it_is() {
    let repeats = |body: &Value| match read(&record(body)) {
        ParsedEvent::Skip(skipped) => skipped.repeats,
        other => panic!("{other:?}"),
    };
    let mut failed = body();
    let pushed = push(&failed);
    failed["errorCode"] = json!("ImageAlreadyExistsException");
    assert_eq!(repeats(&failed), Some(Repeated { tag: pushed.tag.clone(), digest: pushed.digest.clone() }));
    failed["responseElements"] = Value::Null;
    let repeated = repeats(&failed).unwrap();
    assert_eq!((repeated.tag, repeated.digest.is_some()), (pushed.tag, true), "the digest is that of the manifest");
    failed["requestParameters"] = json!({"omitted": true});
    assert_eq!(repeats(&failed), Some(Repeated { tag: None, digest: None }));
    failed["errorCode"] = json!("ImageTagAlreadyExistsException");
    assert_eq!(repeats(&failed), None, "another image");
}

#[test]
fn the_tag_may_be_absent_or_cut_out_and_these_are_two_things() {
    let mut untagged = body();
    untagged["requestParameters"].as_object_mut().unwrap().remove("imageTag");
    untagged["responseElements"]["image"]["imageId"].as_object_mut().unwrap().remove("imageTag");
    assert_eq!(skipped(&untagged).0, SkipReason::Untagged);

    for omitted in [json!(true), json!("true")] {
        let mut cut = body();
        cut["requestParameters"] = json!({"omitted": omitted, "reason": "too large", "originalSize": 120_000});
        assert_eq!(push(&cut).tag.unwrap().as_str(), "latest", "the answer still holds the tag");
        cut["responseElements"] = json!({"omitted": omitted, "reason": "too large", "originalSize": 120_000});
        let push = push(&cut);
        assert_eq!((push.tag, push.digest), (None, None));
        assert_eq!(push.repository.as_str(), "hello-nginx", "from resources[].ARN");
        assert_eq!(push.owner.unwrap().as_str(), "111111111111");
    }
}

#[test]
fn the_digest_is_that_of_the_answer_or_of_the_manifest() {
    let mut bare = body();
    bare["responseElements"] = Value::Null;
    // printf '{"schemaVersion":2}' | sha256sum
    assert_eq!(
        push(&bare).digest.unwrap().as_str(),
        "sha256:bafebd36189ad3688b7b3915ea55d461e0bfcfbdde11e54b0a123999fb6be50f"
    );
}

#[test]
fn signatures_and_attestations_are_not_images() {
    let mut signature = body();
    signature["requestParameters"]["imageTag"] = json!(format!("sha256-{}.sig", "a".repeat(64)));
    assert_eq!(skipped(&signature).0, SkipReason::NotAnImage);
    for manifest in [
        json!({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}),
        json!({"artifactType": "application/vnd.example", "config": {"mediaType": "application/vnd.oci.empty.v1+json"}}),
        json!({"subject": {"digest": "sha256:0"}}),
        json!({"layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json"}]}),
        json!({"layers": [{"mediaType": "application/vnd.in-toto+json"}]}),
    ] {
        let mut artifact = body();
        artifact["requestParameters"]["imageManifest"] = json!(manifest.to_string());
        assert_eq!(skipped(&artifact).0, SkipReason::NotAnImage, "{manifest}");
    }
    for manifest in [
        json!({"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [{}]}),
        json!({"config": {"mediaType": "application/vnd.docker.container.image.v1+json"}, "layers": []}),
        json!("not an object"),
    ] {
        let mut image = body();
        image["requestParameters"]["imageManifest"] = json!(manifest.to_string());
        push(&image);
    }
}

#[test]
fn the_media_type_of_the_manifest_may_stand_beside_it() {
    let mut image = body();
    image["requestParameters"]["imageManifest"] =
        json!(json!({"config": {"mediaType": "application/octet-stream"}}).to_string());
    assert_eq!(skipped(&image).0, SkipReason::NotAnImage);
    image["requestParameters"]["imageManifestMediaType"] =
        json!("application/vnd.docker.distribution.manifest.v2+json");
    push(&image);
}

#[test]
fn what_cannot_be_understood_is_malformed_and_has_an_identity() {
    for (text, id) in [("", None), ("{", Some("e1")), ("[]", Some("e1")), ("{\"eventName\": 7}", None)] {
        let record = Record { id: id.map(str::to_owned), time: None, body: Some(text.to_owned()) };
        let ParsedEvent::Skip(skipped) = read(&record) else { panic!("{text}") };
        assert_eq!(skipped.reason, SkipReason::Malformed, "{text}");
        assert_eq!(skipped.event.id, read_id(&record), "the same record has the same id");
    }
    let mut bad = body();
    bad["requestParameters"]["imageTag"] = json!("<script>");
    assert_eq!(skipped(&bad).0, SkipReason::Malformed);
    let mut nameless = body();
    nameless["requestParameters"]["repositoryName"] = json!("UPPER");
    nameless["responseElements"] = Value::Null;
    nameless["resources"] = json!([]);
    assert_eq!(skipped(&nameless).0, SkipReason::Malformed);
}

fn read_id(record: &Record) -> EventId {
    match read(record) {
        ParsedEvent::Skip(skipped) => skipped.event.id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn details_are_short_and_printable() {
    let mut failed = body();
    failed["errorCode"] = json!(format!("X\n\u{1b}[31m{}", "y".repeat(10_000)));
    let (_, detail) = skipped(&failed);
    assert!(detail.chars().count() <= 200 && !detail.chars().any(char::is_control), "{detail:?}");
}

#[test]
fn the_owner_is_never_the_caller() {
    let mut twin = body();
    twin["recipientAccountId"] = json!("222222222222");
    let push = push(&twin);
    assert_eq!(push.owner.unwrap().as_str(), "111111111111");
    assert_eq!(push.recipient.unwrap().as_str(), "222222222222");
}

/// Any JSON, with the members of a record where they can do harm.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(
                prop_oneof![
                    "[a-z]{1,6}",
                    Just("image".to_owned()),
                    Just("imageId".to_owned()),
                    Just("omitted".to_owned()),
                    Just("ARN".to_owned())
                ],
                inner,
                0..4
            )
            .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in ".{0,400}") {
        let record = Record { id: None, time: None, body: Some(text) };
        prop_assert!(!matches!(read(&record), ParsedEvent::Push(_)));
    }

    #[test]
    fn no_member_of_any_type_breaks_the_reader(
        member in prop::sample::select(vec![
            "eventTime", "eventID", "sharedEventID", "awsRegion", "recipientAccountId", "errorCode", "errorMessage",
            "requestParameters", "responseElements", "resources", "userIdentity",
        ]),
        value in json_value(),
    ) {
        let mut body = body();
        body[member] = value;
        let first = read(&record(&body));
        prop_assert_ne!(&first, &ParsedEvent::Foreign);
        prop_assert_eq!(first, read(&record(&body)), "reading is a function");
    }

    #[test]
    fn a_push_without_an_error_and_with_a_valid_tag_is_never_lost(tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}") {
        prop_assume!(!tag.starts_with("sha256-"));
        let mut body = body();
        body["requestParameters"]["imageTag"] = json!(tag);
        prop_assert_eq!(push(&body).tag.map(String::from), Some(tag));
    }
}
