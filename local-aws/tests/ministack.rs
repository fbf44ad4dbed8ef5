//! MiniStack for real: it starts, records what is called, and leaves nothing behind.

#![allow(clippy::expect_used, clippy::panic)]

use local_aws::{Caller, MiniStack, Options, image_manifest};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn start() -> MiniStack {
    match MiniStack::start(&Options::default()) {
        Ok(aws) => aws,
        Err(error) => panic!("{}", with_causes(&error)),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}

fn task_definition(image: &str) -> Value {
    json!({
        "family": "hello",
        "containerDefinitions": [{"name": "nginx", "image": image, "memory": 64}],
        "tags": [{"key": "team", "value": "web"}],
    })
}

#[test]
fn a_push_is_recorded_and_a_service_runs() {
    let aws = start();
    let client = aws.client("111111111111", "eu-west-1");

    let uri = client.create_repository("hello").expect("a repository");
    assert_eq!(uri, "111111111111.dkr.ecr.eu-west-1.amazonaws.com/hello");
    let digest = client.put_image("hello", Some("latest"), &image_manifest("v1")).expect("an image");
    assert!(digest.starts_with("sha256:"), "{digest}");

    let events = client.lookup_events("PutImage").expect("events");
    assert_eq!(events.len(), 1);
    let record = events[0]["CloudTrailEvent"].as_str().expect("a record");
    let record: Value = serde_json::from_str(record).expect("JSON");
    assert_eq!(record["requestParameters"]["repositoryName"], "hello");
    assert_eq!(record["requestParameters"]["imageTag"], "latest");
    assert_eq!(record["recipientAccountId"], "111111111111");
    assert_eq!(record["awsRegion"], "eu-west-1");

    client.create_cluster("web").expect("a cluster");
    let arn = client.register_task_definition(&task_definition(&format!("{uri}:latest"))).expect("a task definition");
    client.create_service("web", "hello", &arn, 2).expect("a service");
    let service = client.describe_service("web", "hello").expect("the service");
    assert_eq!(service["taskDefinition"], arn);
    assert_eq!(service["deployments"][0]["rolloutState"], "COMPLETED");
    let described = client.describe_task_definition(&arn).expect("the task definition");
    assert_eq!(described["tags"][0]["value"], "web");
}

#[test]
fn accounts_and_regions_are_apart_and_errors_have_names() {
    let aws = start();
    let here = aws.client("111111111111", "eu-west-1");
    here.create_repository("hello").expect("a repository");
    for other in [aws.client("222222222222", "eu-west-1"), aws.client("111111111111", "us-east-1")] {
        let error = other.put_image("hello", None, &image_manifest("v1")).expect_err("no such repository there");
        assert_eq!(error.code(), Some("RepositoryNotFoundException"));
    }
    assert!(here.describe_service("web", "hello").is_err());
}

#[test]
fn every_call_is_counted_once() {
    let aws = start();
    let client = aws.client("111111111111", "eu-west-1");
    client.create_repository("hello").expect("a repository");
    for number in 0..120 {
        client.put_image("hello", None, &image_manifest(&number.to_string())).expect("an image");
    }
    client.create_cluster("web").expect("a cluster");
    client.describe_service("web", "none").expect_err("no such service");
    let counts = client.recorded_calls(Caller::Anyone).expect("the counts");
    let counts: Vec<(&str, u64)> = counts.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(counts, [("CreateCluster", 1), ("CreateRepository", 1), ("DescribeServices", 1), ("PutImage", 120),]);
    let others = client.recorded_calls(Caller::Others).expect("the counts");
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn nothing_is_left_after_drop() {
    let aws = start();
    let address = aws.endpoint().replace("http://", "");
    let log = aws.log();
    assert!(log.exists());
    TcpStream::connect(&address).expect("it listens");
    drop(aws);
    TcpStream::connect(&address).expect_err("nobody listens");
    assert!(!log.exists());
}

/// The process that the next test kills.
#[test]
#[ignore = "is run by another test"]
fn parent_that_waits() {
    let aws = start();
    // The test harness holds back what is printed, not what is written.
    use std::io::Write;
    writeln!(std::io::stdout(), "endpoint {}", aws.endpoint()).expect("stdout");
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn it_dies_with_a_parent_that_is_killed() {
    // Made before, so that the time below is not spent with pip.
    drop(start());
    let mut parent = Command::new(std::env::current_exe().expect("this binary"))
        .args(["parent_that_waits", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs");
    let stdout = BufReader::new(parent.stdout.take().expect("piped"));
    let address = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("endpoint http://")?.1.to_owned()))
        .expect("it says where MiniStack is");
    TcpStream::connect(&address).expect("it listens");

    parent.kill().expect("it runs");
    parent.wait().expect("it ended");

    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(&address).is_ok() {
        assert!(Instant::now() < deadline, "MiniStack outlived its parent");
        std::thread::sleep(Duration::from_millis(50));
    }
}
