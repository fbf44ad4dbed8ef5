//! The first evening: `init` writes a configuration for what is there, `check` finds nothing wrong with it, and the next push rolls.

use std::fs;
use std::process::Command;

use local_aws::{Client, ECS, image_manifest};
use serde_json::{Value, json};

use crate::daemon::Home;
use crate::scene::{ACCOUNT, REGION, Scene};

const OTHER: &str = "222222222222";
const UNREACHABLE: &str = "333333333333";

/// An account of twenty services in three clusters, with what real ones have: sidecars, several tags of one repository, digests, images of
/// other accounts, and services that cannot be rolled.
struct Account {
    scene: Scene,
    pinned: String,
}

impl Account {
    fn new() -> Self {
        let scene = Scene::new(6);
        let client = &scene.client;
        client.create_cluster("batch").unwrap();
        client.create_cluster("ops").unwrap();
        let images = [("team/shop", "stable"), ("team/shop", "next"), ("mesh/envoy", "v1.30.1"), ("jobs", "main")];
        for name in ["team/shop", "mesh/envoy", "jobs"] {
            client.create_repository(name).unwrap();
        }
        for (name, tag) in images {
            client.put_image(name, Some(tag), &image_manifest(&format!("{name}:{tag}"))).unwrap();
        }
        let pinned = client.put_image("jobs", Some("release-7"), &image_manifest("pinned")).unwrap();
        client.put_image("jobs", Some("candidate"), &image_manifest("pinned")).unwrap();
        let there = scene.aws.client(OTHER, REGION);
        there.create_repository("base/web").unwrap();
        there.put_image("base/web", Some("current"), &image_manifest("base")).unwrap();
        let account = Self { scene, pinned };
        account.fill();
        account
    }

    fn fill(&self) {
        let shop = |tag: &str| vec![image(ACCOUNT, &format!("team/shop:{tag}"))];
        for number in 0..3 {
            self.service("web", &format!("shop-{number}"), &shop("stable"), &json!({}));
        }
        self.service("batch", "shop-next", &shop("next"), &json!({}));
        let with_sidecar = [image(ACCOUNT, "team/shop:stable"), image(ACCOUNT, "mesh/envoy:v1.30.1")];
        self.service("web", "shop-mesh", &with_sidecar, &json!({}));
        for name in ["nightly", "hourly", "weekly"] {
            self.service("batch", name, &[image(ACCOUNT, "jobs:main")], &json!({}));
        }
        self.service("batch", "pinned", &[image(ACCOUNT, &format!("jobs@{}", self.pinned))], &json!({}));
        let controller = json!({"deploymentController": {"type": "CODE_DEPLOY"}});
        self.service("web", "blue-green", &shop("stable"), &controller);
        let percents = json!({"deploymentConfiguration": {"minimumHealthyPercent": 0, "maximumPercent": 100}});
        self.service("batch", "single", &[image(ACCOUNT, "jobs:main")], &percents);
        self.service("ops", "proxy", &["public.ecr.aws/nginx/nginx:1.29".to_owned()], &json!({}));
        self.service("ops", "portal", &[image(OTHER, "base/web:current")], &json!({}));
        self.service("ops", "legacy", &[image(UNREACHABLE, "old/app:7")], &json!({}));
    }

    fn service(&self, cluster: &str, name: &str, images: &[String], settings: &Value) {
        let container =
            |(index, image): (usize, &String)| json!({"name": format!("c{index}"), "image": image, "memory": 64});
        let containers: Vec<Value> = images.iter().enumerate().map(container).collect();
        let definition = json!({"family": name, "containerDefinitions": containers});
        let revision = self.scene.client.register_task_definition(&definition).unwrap();
        let mut input = json!({"cluster": cluster, "serviceName": name, "taskDefinition": revision, "desiredCount": 1});
        for (key, value) in settings.as_object().unwrap() {
            input[key] = value.clone();
        }
        self.scene.client.call(ECS, "CreateService", &input).unwrap();
    }

    /// `init` as a person calls it: with nothing but the environment of the SDK.
    fn init(&self, home: &Home, arguments: &[&str]) -> Command {
        fs::create_dir_all(home.path(".aws")).unwrap();
        let profile = format!("[shared]\naws_access_key_id = {OTHER}\naws_secret_access_key = x\n");
        fs::write(home.path(".aws/credentials"), profile).unwrap();
        let mut command = home.command(&[&["init"][..], arguments].concat());
        command.env_remove("ECS_DEPLOYD_CONFIG").env("AWS_ENDPOINT_URL", self.scene.aws.endpoint());
        command
    }

    fn text(&self, home: &Home, arguments: &[&str]) -> String {
        let output = self.init(home, arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""), "no progress where there is no terminal");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn image(account: &str, rest: &str) -> String {
    format!("{account}.dkr.ecr.{REGION}.amazonaws.com/{rest}")
}

fn image_of(client: &Client, cluster: &str, service: &str, container: usize) -> String {
    let service = client.describe_service(cluster, service).unwrap();
    let revision = client.describe_task_definition(service["taskDefinition"].as_str().unwrap()).unwrap();
    revision["taskDefinition"]["containerDefinitions"][container]["image"].as_str().unwrap().to_owned()
}

#[test]
fn what_init_writes_has_no_error_for_check_and_the_next_push_rolls() {
    let account = Account::new();
    let home = account.scene.home("");
    let text = account.text(&home, &[]);
    // For those who read how the tests went.
    let kept = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("init.toml");
    fs::write(kept, &text).unwrap();
    // The sentences are broken into lines.
    let flat = text.replace("\n# ", " ");
    for part in [
        "15 of 20 services are followed",
        "DECIDE batch/pinned: its revision names the digest",
        "DECIDE web/blue-green: the service's deployment controller is CODE_DEPLOY",
        "DECIDE batch/single: minimumHealthyPercent 0 with desiredCount 1: the only task stops",
        "ops/proxy: no image from a private repository of ECR: public.ecr.aws/nginx/nginx:1.29",
        "DECIDE old/app: the repository is in the account 333333333333, and no profile here leads to it",
    ] {
        assert!(flat.contains(part), "{part} is not in {text}");
    }
    for line in
        ["# tags = [\"release-7\"]", "# tags = [\"candidate\"]", "profile = \"shared\"", "# [aws.account-333333333333]"]
    {
        assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
    }

    home.configure(&format!("{text}[poll]\ninterval = \"1s\"\n[deploy]\nobserve_interval = \"1s\"\n"));
    let checked = home.command(&["check", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&checked.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&checked.stderr)));
    assert_eq!(found["summary"]["errors"], 0, "{found:#}\n{text}");

    let daemon = home.start();
    daemon.wait_until_ready();
    let client = &account.scene.client;
    let push = |repository: &str, tag: &str| {
        let digest = client.put_image(repository, Some(tag), &image_manifest("new")).unwrap();
        (image(ACCOUNT, &format!("{repository}@{digest}")), repository.to_owned())
    };
    let (stable, _) = push("team/shop", "stable");
    let (envoy, _) = push("mesh/envoy", "v1.30.1");
    for (cluster, service, container, wanted) in
        [("web", "shop-0", 0, &stable), ("web", "shop-mesh", 0, &stable), ("web", "shop-mesh", 1, &envoy)]
    {
        crate::daemon::wait_for(&format!("{service} runs {wanted}"), || {
            (&image_of(client, cluster, service, container) == wanted).then_some(())
        });
    }
    assert!(image_of(client, "batch", "shop-next", 0).ends_with(":next"), "it follows another tag");
    daemon.stop();
}

#[test]
fn init_looks_where_it_is_told_to_and_says_what_it_cannot_ask() {
    let account = Account::new();
    let home = account.scene.home("");
    let text = account.text(&home, &["--cluster", "ops", "--cluster", "batch"]);
    assert!(text.replace("\n# ", " ").contains("of 9 services are followed") && !text.contains("\"web\""), "{text}");
    let text = account.text(&home, &["--aws-region", "us-east-1"]);
    assert!(text.contains("region = \"us-east-1\"") && text.replace("\n# ", " ").contains("0 of 0 services"), "{text}");

    let failure = |command: &mut Command| {
        let output = command.output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap(), output.stdout.len())
    };
    let (code, errors, written) = failure(&mut account.init(&home, &["--cluster", "opps"]));
    assert!(code == 1 && written == 0, "{code} {errors}");
    assert!(errors.contains("there is no cluster opps in eu-west-1; the nearest name is ops"), "{errors}");
    let mut nowhere = account.init(&home, &[]);
    let (code, errors, _) = failure(nowhere.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"));
    assert!(code == 1 && errors.contains("cannot ask AWS about the account"), "{code} {errors}");
    let (code, errors, _) = failure(&mut account.init(&home, &["--aws-region", "Ireland"]));
    assert!(code == 2 && errors.contains("is not an AWS Region"), "{code} {errors}");
}
