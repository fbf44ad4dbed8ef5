//! The table of permissions against the program, the policies and the examples.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::domain::types::{AccountId, Partition};

/// How a test changes a usage.
type Edit = fn(&mut Usage);

fn principal() -> Principal {
    Principal { account: AccountId::parse("111111111111").unwrap(), partition: Partition::parse("aws").unwrap() }
}

fn none() -> Usage {
    Usage::none(principal(), Region::parse("eu-west-1").unwrap())
}

fn queue() -> QueueUrl {
    QueueUrl::parse("https://sqs.eu-west-1.amazonaws.com/222222222222/pushes").unwrap()
}

fn texts(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn service(name: &str) -> (EcsName, EcsName) {
    (EcsName::parse("web").unwrap(), EcsName::parse(name).unwrap())
}

/// What `config/minimal.toml` uses, where the task definition has tags and both roles.
fn minimal() -> Usage {
    Usage {
        reads_events: true,
        repositories: BTreeSet::from([RepositoryName::parse("hello-nginx").unwrap()]),
        services: BTreeSet::from([service("hello")]),
        families: texts(&["hello"]),
        tagged_families: texts(&["hello"]),
        roles: ["hello-task", "ecsTaskExecutionRole"].iter().map(|name| role_arn(&principal(), name)).collect(),
        ..none()
    }
}

fn granted(usage: &Usage) -> Vec<&'static str> {
    of_the_daemon(usage).map(|grant| grant.action).collect()
}

fn in_the_repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn file(name: &str) -> String {
    fs::read_to_string(in_the_repository(name)).unwrap()
}

#[test]
fn each_use_brings_its_actions_and_no_others() {
    assert_eq!(granted(&none()), Vec::<&str>::new());
    let cases: [(Edit, &[&str]); 11] = [
        (|usage| usage.reads_events = true, &["cloudtrail:LookupEvents"]),
        (
            |usage| usage.queue = Some(usage.arn_of_queue(&queue())),
            &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"],
        ),
        (|usage| usage.repositories = minimal().repositories, &["ecr:DescribeImages"]),
        (
            |usage| usage.scanned = minimal().repositories,
            &[
                "ecr:DescribeImageScanFindings",
                "ecr:BatchGetRepositoryScanningConfiguration",
                "ecr:BatchGetImage",
                "inspector2:ListFindings",
                "inspector2:ListCoverage",
            ],
        ),
        (
            |usage| usage.services = minimal().services,
            &[
                "ecs:DescribeServices",
                "ecs:UpdateService",
                "ecs:ListServiceDeployments",
                "ecs:DescribeServiceRevisions",
                "ecs:DescribeServiceDeployments",
                "ecs:StopServiceDeployment",
                "ecs:ListTasks",
                "ecs:DescribeTasks",
                "ecs:DescribeTaskDefinition",
                "ecs:RegisterTaskDefinition",
            ],
        ),
        (|usage| usage.tagged_families = texts(&["hello"]), &["ecs:TagResource"]),
        (
            |usage| usage.task_clusters = BTreeSet::from([service("hello").0]),
            &["ecs:RunTask", "ecs:StopTask", "ecs:TagResource"],
        ),
        (|usage| usage.roles = texts(&["arn:aws:iam::111111111111:role/task"]), &["iam:PassRole"]),
        (
            |usage| usage.schedules = BTreeSet::from([("default".to_owned(), "nightly".to_owned())]),
            &[
                "ecs:DescribeTaskDefinition",
                "ecs:RegisterTaskDefinition",
                "scheduler:GetSchedule",
                "scheduler:UpdateSchedule",
            ],
        ),
        (|usage| usage.rule_roles = texts(&["arn:aws:iam::111111111111:role/events"]), &["iam:PassRole"]),
        (|usage| usage.topics = texts(&["arn:aws:sns:eu-west-1:111111111111:duty"]), &["sns:Publish"]),
    ];
    for (edit, expected) in cases {
        let mut usage = none();
        edit(&mut usage);
        assert_eq!(granted(&usage), expected);
    }
}

#[test]
fn the_examples_are_what_the_table_says() {
    let assumes = Usage { assumed_roles: texts(&["arn:aws:iam::222222222222:role/ecs-deployd"]), ..none() };
    let policies = [
        ("ecs-deployd.json", Policy::allowing(of_the_daemon(&minimal()), &minimal())),
        ("check.json", Policy::allowing(of_check(), &none())),
        ("assume-roles.json", Policy::allowing(of_the_daemon(&assumes), &assumes)),
    ];
    for (name, policy) in policies {
        let path = format!("config/iam/{name}");
        let text = policy.to_json().unwrap();
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            fs::write(in_the_repository(&path), &text).unwrap();
        }
        assert_eq!(file(&path), text, "{path} is not what the table says: run this test with UPDATE_EXAMPLES=1");
    }
    let readme = file("docs/guides/iam.md");
    for grant in GRANTS.iter().filter(|grant| grant.needed_for != Use::Names) {
        assert!(readme.contains(&format!("`{}`", grant.statement)), "{} is not explained", grant.statement);
    }
}

#[test]
fn grants_of_one_statement_stand_together_and_agree() {
    for (index, grant) in GRANTS.iter().enumerate() {
        let twins = GRANTS.iter().enumerate().filter(|(_, other)| other.statement == grant.statement);
        for (at, twin) in twins {
            assert_eq!(
                (twin.needed_for, twin.scope, twin.condition),
                (grant.needed_for, grant.scope, grant.condition),
                "{}",
                grant.statement
            );
            let between = &GRANTS[at.min(index)..=at.max(index)];
            assert!(between.iter().all(|one| one.statement == grant.statement), "{} is split", grant.statement);
        }
        let is_same = |other: &&Grant| (other.action, other.needed_for) == (grant.action, grant.needed_for);
        let same = GRANTS.iter().filter(is_same).count();
        assert_eq!(same, 1, "{} is declared twice", grant.action);
    }
}

/// A call that is new in an adapter has to be declared here, or the daemon is denied it.
#[test]
fn every_call_of_the_adapters_is_declared_and_nothing_is_declared_that_is_never_called() {
    // AWS denies the first to nobody, and allows the second by the actions of the items in it.
    const FREE: &[&str] = &["GetCallerIdentity", "TransactWriteItems"];
    // Registering with tags and roles needs the first two, the SDK assumes roles, a transaction needs the fourth, and ECR asks Inspector by the
    // last two.
    const IMPLIED: &[&str] =
        &["TagResource", "PassRole", "AssumeRole", "ConditionCheckItem", "ListFindings", "ListCoverage"];
    let mut called = BTreeSet::new();
    let mut folders = vec![in_the_repository("src/aws")];
    while let Some(folder) = folders.pop() {
        let (below, files): (Vec<_>, Vec<_>) =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).partition(|path| path.is_dir());
        folders.extend(below);
        let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        for before in [".call(\"", "const OPERATION: &str = \""] {
            called.extend(text.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
        }
    }
    let declared: BTreeSet<String> =
        GRANTS.iter().map(|grant| grant.action.split_once(':').unwrap().1.to_owned()).collect();
    let free = |name: &&String| !FREE.contains(&name.as_str());
    assert_eq!(called.difference(&declared).filter(free).collect::<Vec<_>>(), Vec::<&String>::new(), "not declared");
    let implied = |name: &&String| !IMPLIED.contains(&name.as_str());
    assert_eq!(declared.difference(&called).filter(implied).collect::<Vec<_>>(), Vec::<&String>::new(), "not called");
}

#[test]
fn resources_are_as_narrow_as_aws_takes_them() {
    let usage = minimal();
    let policy: Value =
        serde_json::from_str(&Policy::allowing(of_the_daemon(&usage), &usage).to_json().unwrap()).unwrap();
    let everything: Vec<&str> = policy["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|statement| statement["Resource"] == "*")
        .map(|statement| {
            assert!(statement["Condition"].is_object(), "{statement:#} is not narrowed at all");
            statement["Sid"].as_str().unwrap()
        })
        .collect();
    assert_eq!(everything, ["ReadPushEvents", "FindRunningTasks", "ReadRevisions"], "these take no resource");
}

#[test]
fn arns_are_of_the_partition_and_bare_role_names_become_arns() {
    let mut usage = minimal();
    usage.principal.partition = Partition::parse("aws-cn").unwrap();
    usage.roles =
        BTreeSet::from([role_arn(&usage.principal, "task"), role_arn(&usage.principal, "arn:aws:iam::1:role/x")]);
    let text = Policy::allowing(of_the_daemon(&usage), &usage).to_json().unwrap();
    assert!(text.contains("arn:aws-cn:ecs:eu-west-1:111111111111:service/web/hello"), "{text}");
    assert!(
        text.contains("arn:aws-cn:iam::111111111111:role/task") && text.contains("arn:aws:iam::1:role/x"),
        "{text}"
    );
}

#[test]
fn a_queue_may_be_of_another_account() {
    assert_eq!(minimal().arn_of_queue(&queue()), "arn:aws:sqs:eu-west-1:222222222222:pushes");
}

#[test]
fn a_policy_says_when_it_is_longer_than_aws_allows() {
    let mut usage = minimal();
    let is_too_long = |usage: &Usage| Policy::allowing(of_the_daemon(usage), usage).is_too_long();
    assert!(!is_too_long(&usage));
    usage.services = (0..100).map(|number| service(&format!("a-service-with-a-name-{number}"))).collect();
    assert!(is_too_long(&usage));
}

#[test]
fn schedules_and_rules_are_named_and_their_roles_go_to_eventbridge_alone() {
    let pair = |first: &str, second: &str| BTreeSet::from([(first.to_owned(), second.to_owned())]);
    let usage = Usage {
        schedules: pair("team", "nightly"),
        rules: pair("default", "hourly"),
        schedule_roles: texts(&["arn:aws:iam::111111111111:role/scheduler"]),
        ..none()
    };
    let text = Policy::allowing(of_the_daemon(&usage), &usage).to_json().unwrap();
    for part in [
        "arn:aws:scheduler:eu-west-1:111111111111:schedule/team/nightly",
        "arn:aws:events:eu-west-1:111111111111:rule/hourly",
        "arn:aws:iam::111111111111:role/scheduler",
        "scheduler.amazonaws.com",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("events.amazonaws.com"), "{text}");
    let bus = Usage { rules: pair("aws.partner/x", "hourly"), ..none() };
    assert!(Policy::allowing(of_the_daemon(&bus), &bus).to_json().unwrap().contains(":rule/aws.partner/x/hourly"));
}

#[test]
fn what_is_found_by_its_tag_may_be_any_service_of_the_clusters() {
    let usage = Usage { discovers: texts(&["web", "back{end,office}-[ab]*"]), ..minimal() };
    let text = Policy::allowing(of_the_daemon(&usage), &usage).to_json().unwrap();
    for part in ["tag:GetResources", ":service/web/*", ":service/back*-**/*", ":task-definition/*:*", ":repository/*"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("service/web/hello"), "the pattern covers it: {text}");
}
