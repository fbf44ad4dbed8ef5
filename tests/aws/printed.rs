//! The policies in `config/iam/` are what `iam` prints for the configurations in `config/`.

use std::fs;
use std::path::{Path, PathBuf};

use local_aws::{Client, MiniStack, Options};
use serde_json::json;

use crate::commands::run;
use crate::daemon::Home;
use crate::scene::{ACCOUNT, REGION};

const PRODUCTION: &str = "222222222222";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// A service whose family has its name, with tags and both roles.
fn create_service(client: &Client, cluster: &str, service: &str, repositories: &[&str]) -> String {
    let image = |name: &&str| format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}:latest");
    let containers: Vec<_> = repositories
        .iter()
        .map(|name| json!({"name": name.rsplit('/').next(), "image": image(name), "memory": 64}))
        .collect();
    let role = |name: &str| format!("arn:aws:iam::{}:role/{name}", client.account());
    let definition = json!({
        "family": service, "containerDefinitions": containers, "tags": [{"key": "team", "value": "web"}],
        "taskRoleArn": role(&format!("{service}-task")), "executionRoleArn": role("ecsTaskExecutionRole"),
    });
    client.create_cluster(cluster).unwrap();
    let revision = client.register_task_definition(&definition).unwrap();
    client.create_service(cluster, service, &revision, 1).unwrap();
    revision
}

/// An AWS with what the configurations name.
fn aws() -> MiniStack {
    let aws = MiniStack::start(&Options::default()).unwrap();
    let home = aws.client(ACCOUNT, REGION);
    create_service(&home, "web", "hello", &["hello-nginx"]);
    let api = create_service(&home, "backend", "api", &["team/api", "team/envoy"]);
    create_service(&aws.client(PRODUCTION, REGION), "web", "hello", &["hello-nginx"]);
    let schedule = json!({
        "ScheduleExpression": "cron(0 3 * * ? *)", "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/backend"),
            "RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/nightly"), "EcsParameters": {"TaskDefinitionArn": api},
        },
    });
    home.rest("scheduler", "POST", "/schedules/nightly", &schedule).unwrap();
    aws
}

#[test]
fn the_examples_are_what_iam_prints_for_the_configurations() {
    let aws = aws();
    let home = Home::new("");
    for (configuration, context, example) in [
        ("minimal.toml", "default", "iam/ecs-deployd.json"),
        ("example.toml", "default", "iam/example-default.json"),
        ("example.toml", "production", "iam/example-production.json"),
    ] {
        let text = fs::read_to_string(file(configuration)).unwrap();
        let endpoint = format!("endpoint_url = \"{}\"\nregion =", aws.endpoint());
        fs::write(home.path("config.toml"), text.replace("\nregion =", &format!("\n{endpoint}"))).unwrap();
        let (code, printed, errors) = run(&home, &["iam", "--aws", context]);
        assert_eq!((code, errors.as_str()), (0, ""), "{configuration}");
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            fs::write(file(example), &printed).unwrap();
        }
        let kept = fs::read_to_string(file(example)).unwrap_or_default();
        assert_eq!(kept, printed, "{example} is not what iam prints: run this test with UPDATE_EXAMPLES=1");
    }
}
