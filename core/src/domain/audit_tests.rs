use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::domain::state::{AuditState, Outcome, OutcomeKind};
use crate::domain::test_support::{arn, at, service_key};

fn name(text: &str) -> EventName {
    EventName::parse(text).unwrap()
}

fn record(body: &Value) -> Record {
    Record { id: Some("e-1".to_owned()), time: Some(at(5)), body: Some(body.to_string()) }
}

fn update(cluster: &str, service: &str) -> Value {
    json!({
        "eventSource": "ecs.amazonaws.com", "eventName": "UpdateService", "eventID": "e-1",
        "userIdentity": {"type": "AssumedRole", "arn": "arn:aws:sts::1:assumed-role/admin/bob"},
        "sourceIPAddress": "192.0.2.7", "userAgent": "aws-cli/2.0 app/ecs-deployd",
        "requestParameters": {"cluster": cluster, "service": service, "taskDefinition": arn(7).as_str()},
    })
}

#[test]
fn a_change_tells_who_did_what_to_which_service_and_from_where() {
    for (cluster, service) in [
        ("web", "shop"),
        ("arn:aws:ecs:eu-west-1:1:cluster/web", "arn:aws:ecs:eu-west-1:1:service/web/shop"),
        ("", "arn:aws:ecs:eu-west-1:1:service/web/shop"),
    ] {
        let change = read(&name("UpdateService"), &record(&update(cluster, service))).unwrap();
        assert_eq!(change.service, Some(("web".to_owned(), "shop".to_owned())));
        assert_eq!(change.target, "web/shop to hello:7");
        assert_eq!(
            (change.who.as_str(), change.source.as_str()),
            ("arn:aws:sts::1:assumed-role/admin/bob", "192.0.2.7")
        );
    }
    let mut refused = update("", "shop");
    refused["errorCode"] = json!("AccessDenied");
    let change = read(&name("UpdateService"), &record(&refused)).unwrap();
    assert_eq!((change.service.unwrap().0.as_str(), change.error.as_deref()), ("default", Some("AccessDenied")));
}

#[test]
fn what_is_not_about_ecs_or_is_rubbish_is_no_change() {
    let mut other = update("web", "shop");
    other["eventSource"] = json!("eks.amazonaws.com");
    assert_eq!(read(&name("UpdateService"), &record(&other)), None);
    assert_eq!(read(&name("StopTask"), &record(&update("web", "shop"))), None, "another call");
    for body in ["", "[]", "{", "{\"eventSource\": 5}"] {
        assert_eq!(read(&name("UpdateService"), &Record { body: Some(body.to_owned()), ..Record::default() }), None);
    }
}

#[test]
fn every_kind_of_call_names_what_it_is_about() {
    for (call, request, target) in [
        ("StopTask", json!({"cluster": "web", "task": "arn:aws:ecs:eu-west-1:1:task/web/abc"}), "abc"),
        ("CreateCluster", json!({"clusterName": "web"}), "web"),
        ("RegisterTaskDefinition", json!({"family": "hello"}), "hello"),
        ("CreateService", json!({"cluster": "web", "serviceName": "new"}), "web/new"),
        ("DeleteCluster", json!(null), ""),
        (
            "StopServiceDeployment",
            json!({"serviceDeploymentArn": "arn:aws:ecs:eu-west-1:1:service-deployment/web/shop/Ab12"}),
            "web/shop",
        ),
        ("UpdateService", json!({"cluster": "web", "service": "s", "desiredCount": 3}), "web/s, desired count 3"),
        ("UpdateService", json!({"cluster": "web", "service": "s", "forceNewDeployment": true}), "web/s, forced"),
    ] {
        let body = json!({"eventSource": "ecs.amazonaws.com", "eventName": call, "requestParameters": request});
        let change = read(&name(call), &record(&body)).unwrap();
        assert_eq!((change.target.as_str(), change.who.as_str()), (target, "unknown"), "{call}");
    }
}

#[test]
fn a_task_that_is_stopped_is_one_of_its_service() {
    let body = json!({
        "eventSource": "ecs.amazonaws.com", "eventName": "StopTask",
        "requestParameters": {"cluster": "web", "task": "abc"},
        "responseElements": {"task": {"group": "service:shop", "clusterArn": "arn:aws:ecs:eu-west-1:1:cluster/web"}},
    });
    let change = read(&name("StopTask"), &record(&body)).unwrap();
    assert_eq!(change.service, Some(("web".to_owned(), "shop".to_owned())));
    assert_eq!(change.target, "web/shop, task abc");
}

#[test]
fn scaling_is_told_apart_from_a_deployment_by_the_same_hand() {
    let mut body = update("web", "shop");
    body["userIdentity"] = json!({"type": "AWSService", "invokedBy": "ecs.application-autoscaling.amazonaws.com"});
    assert!(!read(&name("UpdateService"), &record(&body)).unwrap().scales);
    body["requestParameters"] = json!({"cluster": "web", "service": "shop", "desiredCount": 5});
    assert!(read(&name("UpdateService"), &record(&body)).unwrap().scales);
    body["userIdentity"] = json!({"type": "IAMUser", "arn": "arn:aws:iam::1:user/bob"});
    assert!(!read(&name("UpdateService"), &record(&body)).unwrap().scales);
}

#[test]
fn names_are_those_of_calls() {
    for default in EventName::DEFAULT {
        assert_eq!(name(default).as_str(), default);
    }
    for bad in ["", "updateService", "Update Service", "ecs:UpdateService"] {
        assert!(EventName::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_change_is_news_once_and_only_from_the_time_that_is_followed() {
    let change = read(&name("UpdateService"), &record(&update("web", "shop"))).unwrap();
    let mut audit = AuditState::new(at(5));
    assert_eq!((audit.is_news(&change.event), audit.is_news(&change.event)), (true, false));
    assert!(!AuditState::new(at(6)).is_news(&change.event), "from before");
    audit.cursor = Some(at(2000));
    audit.forget(SignedDuration::from_mins(30));
    assert!(audit.seen.is_empty());
}

#[test]
fn a_program_that_only_calls_itself_so_is_somebody_else() {
    let change = read(&name("UpdateService"), &record(&update("web", "shop"))).unwrap();
    let key = service_key("shop");
    let mut state = State::default();
    assert_eq!(concern(&change, Some(&key), &state), Concern::Watched);
    assert_eq!(concern(&change, None, &state), Concern::Others);
    let outcome = Outcome {
        result: OutcomeKind::Completed,
        revision: Some(arn(7)),
        targets: BTreeMap::new(),
        decided_at: at(1),
        ended_at: at(2),
        detail: String::new(),
    };
    state.services.get_or_default(key.clone()).remember(outcome);
    assert_eq!(concern(&change, Some(&key), &state), Concern::Ours);
    let later = Change { event: EventRef { time: at(3600), ..change.event.clone() }, ..change.clone() };
    assert_eq!(concern(&later, Some(&key), &state), Concern::Watched, "long after this program did the same");
    let registered = Change { name: name("RegisterTaskDefinition"), ..change.clone() };
    assert_eq!(concern(&registered, None, &state), Concern::Ours);
    let unknown = Change { revision: Some("hello:99".to_owned()), ..registered };
    assert_eq!(concern(&unknown, None, &state), Concern::Others);
    let other = Change { agent: "aws-cli/2.0".to_owned(), ..change };
    assert_eq!(concern(&other, Some(&key), &state), Concern::Watched);
}
