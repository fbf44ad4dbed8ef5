//! Nothing in a task definition is lost on its way through the SDK: every member that the service's model knows, and invented ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::fake::Fake;

/// `botocore` 1.43 knew these; see `generate.py` beside it.
const DESCRIBED: &str = include_str!("../data/task_definition/described.json");
const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// What AWS sets, and RegisterTaskDefinition does not take (Amazon ECS API Reference).
const SET_BY_AWS: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "deregisteredAt",
    "deleteRequestedAt",
    "registeredBy",
];

/// An ECS with one service, which answers as it is told to and keeps what is registered.
fn serve(registered: &Arc<Mutex<Option<Value>>>) -> Fake {
    let registered = Arc::clone(registered);
    Fake::answering(move |operation, request| {
        (!operation.is_empty()).then(|| answer_of(operation, request.clone(), &registered))
    })
}

fn answer_of(operation: &str, body: Value, registered: &Mutex<Option<Value>>) -> Value {
    let new = "arn:aws:ecs:eu-west-1:111111111111:task-definition/whole:42";
    let done = registered.lock().unwrap().is_some();
    let revision = if done { new } else { "arn:aws:ecs:eu-west-1:111111111111:task-definition/whole:41" };
    let service = json!({
        "serviceName": "whole", "status": "ACTIVE", "taskDefinition": revision, "desiredCount": 1, "runningCount": 1,
        "deployments": [{
            "id": "ecs-svc/1", "status": "PRIMARY", "taskDefinition": revision, "rolloutState": "COMPLETED",
            "desiredCount": 1, "runningCount": 1,
        }],
    });
    match operation {
        "DescribeImages" => json!({"imageDetails": [{
            "registryId": "111111111111", "repositoryName": "hello", "imageDigest": DIGEST, "imageTags": ["latest"],
        }]}),
        "DescribeServices" => json!({"services": [service]}),
        "ListTasks" => json!({"taskArns": []}),
        "DescribeTaskDefinition" => serde_json::from_str(DESCRIBED).unwrap(),
        "RegisterTaskDefinition" => {
            *registered.lock().unwrap() = Some(body);
            json!({"taskDefinition": {"taskDefinitionArn": new}})
        }
        "UpdateService" => json!({"service": service}),
        _ => json!({"events": []}),
    }
}

/// Every leaf by its place.
fn leaves(value: &Value, place: String, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                leaves(value, format!("{place}/{name}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, format!("{place}/{index}"), found);
            }
        }
        leaf => {
            found.insert(place, leaf.to_string());
        }
    }
}

#[test]
fn every_member_that_the_model_knows_and_invented_ones_are_registered_as_they_were_described() {
    let registered = Arc::default();
    let fake = serve(&registered);
    let home = fake.home(&format!(
        "[aws.default]\nregion = \"eu-west-1\"\nendpoint_url = \"{}\"\n[deploy]\nobserve_interval = \"1s\"\n[[repository]]\n\
         name = \"hello\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"whole\"\n",
        fake.endpoint()
    ));
    let text = std::fs::read_to_string(home.path("config.toml")).unwrap();
    std::fs::write(home.path("config.toml"), text.replace("[state]\n", "[state]\nwhen_missing = \"reconcile\"\n"))
        .unwrap();
    let (code, log) = home.run(&["once"]);
    assert_eq!(code, 0, "{log}");

    let mut answer: Value = serde_json::from_str(DESCRIBED).unwrap();
    let mut expected = answer["taskDefinition"].take();
    for member in SET_BY_AWS {
        assert!(expected.as_object_mut().unwrap().remove(member).is_some(), "{member} is described");
    }
    expected["containerDefinitions"][0]["image"] =
        format!("111111111111.dkr.ecr.eu-west-1.amazonaws.com/hello@{DIGEST}").into();
    expected["tags"] = json!([{"key": "team", "value": "web"}]);
    let (mut wanted, mut found) = (BTreeMap::new(), BTreeMap::new());
    leaves(&expected, String::new(), &mut wanted);
    leaves(registered.lock().unwrap().as_ref().unwrap(), String::new(), &mut found);
    assert!(wanted.len() > 500, "only {} leaves", wanted.len());
    for (place, value) in &wanted {
        assert_eq!(found.get(place), Some(value), "{place}");
    }
    let added: Vec<_> = found.keys().filter(|place| !wanted.contains_key(*place)).collect();
    assert!(added.is_empty(), "nobody asked for {added:?}");
}
