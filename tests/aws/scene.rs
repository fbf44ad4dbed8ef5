//! An AWS of a test's own, with a repository, a cluster and services in it.

use ecs_deployd::domain::permission::GRANTS;
use local_aws::{Client, MiniStack, Options, image_manifest};
use serde_json::{Value, json};

pub const ACCOUNT: &str = "111111111111";
pub const REGION: &str = "eu-west-1";
/// An environment value of the task definition, which must never be in a log.
pub const SECRET_VALUE: &str = "this-is-the-database-password";

pub struct Scene {
    pub aws: MiniStack,
    pub client: Client,
    pub uri: String,
    /// Whether calls are refused on purpose.
    pub denies: bool,
}

/// What is refused although the program's policy should allow it fails the test, whichever it is.
impl Drop for Scene {
    fn drop(&mut self) {
        if !self.denies && !std::thread::panicking() {
            assert_eq!(self.aws.denied(), Vec::<String>::new(), "the policy that `iam` prints does not allow this");
        }
    }
}

impl Scene {
    /// A repository `hello` with an image `latest`, and as many services in the cluster `web` that run it.
    pub fn new(services: usize) -> Self {
        let aws = MiniStack::start(&Options::default()).unwrap_or_else(|error| panic!("{}", with_causes(&error)));
        aws.allow_only(GRANTS.iter().map(|grant| grant.action)).unwrap();
        let client = aws.client(ACCOUNT, REGION);
        let uri = client.create_repository("hello").unwrap();
        client.put_image("hello", Some("latest"), &image_manifest("v0")).unwrap();
        client.create_cluster("web").unwrap();
        let first = client.register_task_definition(&task_definition(&uri)).unwrap();
        for number in 0..services {
            client.create_service("web", &name(number), &first, 2).unwrap();
        }
        // CloudTrail's times are whole seconds: a push in the second of the daemon's start may be taken for one before it.
        let second = now();
        crate::daemon::wait_for("the next second", || (now() > second).then_some(()));
        Self { aws, client, uri, denies: false }
    }

    /// The configuration for these services.
    pub fn config(&self, services: usize) -> String {
        let mut text = format!(
            "[aws.default]\nregion = \"{REGION}\"\nendpoint_url = \"{}\"\nmax_lookups_per_second = 2\n[poll]\ninterval = \"1s\"\n\
             [deploy]\nobserve_interval = \"1s\"\n[[repository]]\nname = \"hello\"\ntags = [\"latest\"]\n",
            self.aws.endpoint()
        );
        for number in 0..services {
            text += &format!("[[repository.service]]\ncluster = \"web\"\nservice = \"{}\"\n", name(number));
        }
        text
    }

    /// Makes a queue, and names it in a configuration.
    pub fn with_queue(&self, config: &str) -> (String, String) {
        let url = self.client.create_queue("pushes").unwrap();
        let config = config.replace("max_lookups", &format!("queue = \"{url}\"\nmax_lookups"));
        (url, config)
    }

    /// Puts the event about a push of this moment into a queue, as EventBridge would.
    pub fn tell(&self, queue: &str, id: &str, digest: &str) {
        let time = jiff::Timestamp::from_second(now()).unwrap().to_string();
        let event = self.client.push_event(id, &time, "hello", "latest", digest);
        self.client.send_message(queue, &event.to_string()).unwrap();
    }

    pub fn push(&self, content: &str) -> String {
        self.client.put_image("hello", Some("latest"), &image_manifest(content)).unwrap()
    }

    /// The revision that a service is set to, as it is described.
    pub fn definition(&self, service: &str) -> Value {
        let service = self.client.describe_service("web", service).unwrap();
        self.client.describe_task_definition(service["taskDefinition"].as_str().unwrap()).unwrap()
    }

    pub fn image(&self, service: &str) -> String {
        self.definition(service)["taskDefinition"]["containerDefinitions"][0]["image"].as_str().unwrap().to_owned()
    }

    pub fn wait_for_image(&self, service: &str, digest: &str) {
        let wanted = format!("{}@{digest}", self.uri);
        crate::daemon::wait_for(&format!("{service} runs {digest}"), || (self.image(service) == wanted).then_some(()));
    }
}

pub fn name(number: usize) -> String {
    format!("hello-{number}")
}

fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the emulator uses this clock, too")]
    jiff::Timestamp::now().as_second()
}

fn task_definition(uri: &str) -> Value {
    json!({
        "family": "hello", "cpu": "256", "memory": "512", "networkMode": "awsvpc",
        "taskRoleArn": "arn:aws:iam::111111111111:role/task", "executionRoleArn": "arn:aws:iam::111111111111:role/execution",
        "requiresCompatibilities": ["FARGATE"],
        "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        "ephemeralStorage": {"sizeInGiB": 30},
        "volumes": [{"name": "data"}],
        "containerDefinitions": [
            {
                "name": "nginx", "image": format!("{uri}:latest"), "memory": 128,
                "environment": [{"name": "PASSWORD", "value": SECRET_VALUE}],
                "memberOfTheFuture": {"deep": [1, 2.5, null, {"x": "y"}]},
            },
            {"name": "envoy", "image": format!("envoy@sha256:{}", "e".repeat(64)), "essential": false},
        ],
        "tags": [{"key": "team", "value": "web"}],
    })
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}
