//! A loopback AWS for measurements: CloudTrail, ECR and ECS over HTTP, each answer after a round trip, ECS within its real rate limits.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::limits::Limits;

pub const ACCOUNT: &str = "111111111111";
pub const REGION: &str = "eu-west-1";
/// The tasks of each service.
const TASKS: u64 = 2;
/// The size of the manifest in an event: that of an image with some twenty layers.
const MANIFEST: usize = 4096;

/// A call that was answered, or refused.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// When it came in, since the server began.
    pub at: Duration,
    pub operation: &'static str,
    /// Whether it was refused because it was beyond a rate limit.
    pub throttled: bool,
}

#[derive(Debug)]
struct Service {
    revision: String,
    deployment: u64,
    since: f64,
    /// What is being replaced.
    before: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    /// Newest first.
    events: Vec<(i64, Value)>,
    /// The newest image of each repository, and when it was pushed.
    images: HashMap<String, (String, f64)>,
    /// The revisions of each family.
    families: HashMap<String, Vec<Value>>,
    services: HashMap<(String, String), Service>,
    calls: Vec<Call>,
    limits: Limits,
    /// When the newest event was reported first.
    told: Option<Duration>,
    pushes: u64,
}

/// The server. It lives as long as the process.
#[derive(Debug, Clone)]
pub struct Aws {
    address: SocketAddr,
    begun: Instant,
    round_trip: Duration,
    /// How long ECS takes for a rollout.
    rolls: f64,
    state: Arc<Mutex<State>>,
}

pub fn image(repository: &str, digest: &str) -> String {
    format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{repository}@{digest}")
}

fn arn(family: &str, revision: usize) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:{revision}")
}

/// Seconds since the epoch.
fn now() -> f64 {
    jiff::Timestamp::now().as_millisecond() as f64 / 1000.0
}

impl Aws {
    pub fn start(round_trip: Duration, rolls: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let aws = Self {
            address: listener.local_addr().unwrap(),
            begun: Instant::now(),
            round_trip,
            rolls: rolls.as_secs_f64(),
            state: Arc::default(),
        };
        let server = aws.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = server.clone();
                // A client that goes away is no matter.
                std::thread::spawn(move || drop(server.serve(client)));
            }
        });
        aws
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A repository with an image in it, and a family whose first revision names that image by its digest.
    pub fn create_family(&self, family: &str) {
        let mut state = self.state();
        let digest = format!("sha256:{:064x}", state.families.len());
        state.images.insert(family.to_owned(), (digest.clone(), now() - 86_400.0));
        let definition = definition(family, &image(family, &digest));
        state.families.insert(family.to_owned(), vec![definition]);
    }

    pub fn create_service(&self, cluster: &str, name: &str, family: &str) {
        let mut state = self.state();
        let deployment = state.services.len() as u64;
        let service = Service { revision: arn(family, 1), deployment, since: now() - 86_400.0, before: None };
        state.services.insert((cluster.to_owned(), name.to_owned()), service);
    }

    /// Pushes a new image to each repository, all in this second.
    pub fn push<'a>(&self, repositories: impl Iterator<Item = &'a str>) {
        let mut state = self.state();
        state.told = None;
        let at = now();
        for repository in repositories {
            state.pushes += 1;
            let digest = format!("sha256:{:0>64}", format!("f{:x}", state.pushes));
            state.images.insert(repository.to_owned(), (digest.clone(), at));
            let event = put_image(repository, &digest, at as i64, state.pushes);
            state.events.insert(0, (at as i64, event));
        }
    }

    /// The calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn forget_calls(&self) {
        self.state().calls.clear();
    }

    /// When the last pushes were reported first, since the server began.
    pub fn told(&self) -> Option<Duration> {
        self.state().told
    }

    /// Whether the newest image of its repository has been deployed to each of these services, and ECS is done with that.
    pub fn all_run<'a>(&self, mut services: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> bool {
        let state = self.state();
        services.all(|(cluster, name, repository)| {
            let service = &state.services[&(cluster.to_owned(), name.to_owned())];
            let digest = &state.images[repository].0;
            let rolled = service.before.is_none() || now() - service.since >= self.rolls;
            rolled && state.find(&service.revision).is_some_and(|found| found.to_string().contains(digest))
        })
    }

    fn serve(&self, mut client: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        let mut bytes = Vec::new();
        while let Some((head, body)) = request(&mut client, &mut bytes)? {
            std::thread::sleep(self.round_trip);
            let (status, text) = self.answer(&head, &body);
            let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\ndate: {date}\r\nx-amzn-requestid: 1\r\ncontent-length: {}\r\n\r\n",
                text.len()
            );
            client.write_all(&[head.as_bytes(), text.as_bytes()].concat())?;
        }
        Ok(())
    }

    fn answer(&self, head: &str, body: &[u8]) -> (&'static str, String) {
        const OPERATIONS: [&str; 9] = [
            "LookupEvents",
            "DescribeImages",
            "DescribeServices",
            "DescribeTaskDefinition",
            "RegisterTaskDefinition",
            "UpdateService",
            "ListTasks",
            "DescribeTasks",
            "DescribeServiceDeployments",
        ];
        let target =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("x-amz-target:").map(str::to_owned));
        let target = target.unwrap_or_default();
        let named = target.rsplit('.').next().unwrap_or_default();
        let Some(operation) = OPERATIONS.into_iter().find(|one| one.eq_ignore_ascii_case(named)) else {
            return ("400 Bad Request", refusal("AccessDeniedException", &format!("{target} is not measured")));
        };
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        // The look at all tags after a start belongs to no push.
        let listed = operation == "DescribeImages" && body["imageIds"].is_null();
        let at = self.begun.elapsed();
        let mut state = self.state();
        let throttled = !state.limits.take(operation, at);
        if !listed {
            state.calls.push(Call { at, operation, throttled });
        }
        if throttled {
            return ("400 Bad Request", refusal("ThrottlingException", "Rate exceeded"));
        }
        let answer = match operation {
            "LookupEvents" => state.lookup_events(&body, at),
            "DescribeImages" => state.describe_images(&body),
            "DescribeServices" => state.describe_services(&body, self.rolls),
            "DescribeTaskDefinition" => state.describe_task_definition(&body),
            "RegisterTaskDefinition" => state.register_task_definition(body),
            "UpdateService" => state.update_service(&body, self.rolls),
            "ListTasks" => list_tasks(&body),
            "DescribeTasks" => state.describe_tasks(&body),
            _ => Some(json!({"serviceDeployments": []})),
        };
        match answer {
            Some(answer) => ("200 OK", answer.to_string()),
            None => ("400 Bad Request", refusal("ClientException", "there is no such thing")),
        }
    }
}

fn refusal(kind: &str, message: &str) -> String {
    json!({"__type": kind, "message": message}).to_string()
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

impl State {
    fn lookup_events(&mut self, body: &Value, at: Duration) -> Option<Value> {
        let (start, end) = (body["StartTime"].as_f64()? as i64, body["EndTime"].as_f64()? as i64);
        let within: Vec<&Value> =
            self.events.iter().filter(|(at, _)| (start..=end).contains(at)).map(|(_, event)| event).collect();
        let skipped = text(body, "NextToken").parse().unwrap_or(0);
        let limit = body["MaxResults"].as_u64().unwrap_or(50) as usize;
        let page: Vec<&Value> = within.iter().skip(skipped).take(limit).copied().collect();
        let mut answer = json!({"Events": page});
        if within.len() > skipped + limit {
            answer["NextToken"] = json!((skipped + limit).to_string());
        }
        if !page.is_empty() && self.told.is_none() {
            self.told = Some(at);
        }
        Some(answer)
    }

    fn describe_images(&self, body: &Value) -> Option<Value> {
        let repository = text(body, "repositoryName");
        let (digest, at) = self.images.get(repository)?;
        Some(json!({"imageDetails": [{
            "registryId": ACCOUNT, "repositoryName": repository, "imageDigest": digest, "imageTags": ["latest"], "imagePushedAt": at,
            "imageManifestMediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactMediaType": "application/vnd.oci.image.config.v1+json", "imageSizeInBytes": 50_000_000,
        }]}))
    }

    fn find(&self, which: &str) -> Option<&Value> {
        let which = which.rsplit('/').next()?;
        let (family, revision) = which.split_once(':').unwrap_or((which, ""));
        let revisions = self.families.get(family)?;
        match revision.parse::<usize>() {
            Ok(revision) => revisions.get(revision.checked_sub(1)?),
            Err(_) => revisions.last(),
        }
    }

    fn describe_task_definition(&self, body: &Value) -> Option<Value> {
        Some(json!({"taskDefinition": self.find(text(body, "taskDefinition"))?, "tags": []}))
    }

    fn register_task_definition(&mut self, mut body: Value) -> Option<Value> {
        let family = text(&body, "family").to_owned();
        let revisions = self.families.get_mut(&family)?;
        let revision = revisions.len() + 1;
        for (name, value) in [
            ("taskDefinitionArn", json!(arn(&family, revision))),
            ("revision", json!(revision)),
            ("status", json!("ACTIVE")),
        ] {
            body[name] = value;
        }
        revisions.push(body.clone());
        Some(json!({"taskDefinition": body}))
    }

    fn service(&self, cluster: &str, name: &str, rolls: f64) -> Option<Value> {
        let service = self.services.get(&(cluster.to_owned(), name.to_owned()))?;
        let is_rolling = service.before.is_some() && now() - service.since < rolls;
        let deployment = |status: &str, revision: &str, id: u64, running: u64, state: &str, since: f64| {
            json!({
                "id": format!("ecs-svc/{id:019}"), "status": status, "taskDefinition": revision, "desiredCount": TASKS,
                "pendingCount": 0, "runningCount": running, "failedTasks": 0, "createdAt": since, "updatedAt": since,
                "launchType": "FARGATE", "platformVersion": "1.4.0", "rolloutState": state,
                "rolloutStateReason": format!("ECS deployment ecs-svc/{id:019} {}.", state.to_lowercase()),
            })
        };
        let state = if is_rolling { "IN_PROGRESS" } else { "COMPLETED" };
        let running = if is_rolling { 0 } else { TASKS };
        let primary = deployment("PRIMARY", &service.revision, service.deployment, running, state, service.since);
        let before = service.before.as_ref().filter(|_| is_rolling);
        let before = before
            .map(|old| deployment("ACTIVE", old, service.deployment - 1, TASKS, "COMPLETED", service.since - 86_400.0));
        let events = (0..10).map(|number| {
            json!({"id": format!("event-{number}"), "createdAt": service.since - f64::from(number) * 21_600.0,
                "message": format!("(service {name}) has reached a steady state.")})
        });
        let deployments: Vec<Value> = [Some(primary), before].into_iter().flatten().collect();
        Some(json!({
            "serviceName": name, "serviceArn": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}"),
            "clusterArn": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{cluster}"), "status": "ACTIVE",
            "desiredCount": TASKS, "runningCount": TASKS, "pendingCount": 0, "launchType": "FARGATE",
            "taskDefinition": service.revision, "schedulingStrategy": "REPLICA", "loadBalancers": [], "serviceRegistries": [],
            "deploymentController": {"type": "ECS"},
            "deploymentConfiguration": {"maximumPercent": 200, "minimumHealthyPercent": 100, "strategy": "ROLLING",
                "deploymentCircuitBreaker": {"enable": true, "rollback": true}},
            "deployments": deployments,
            "events": events.collect::<Vec<_>>(),
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}},
        }))
    }

    fn describe_services(&self, body: &Value, rolls: f64) -> Option<Value> {
        let cluster = text(body, "cluster");
        let names = body["services"].as_array()?;
        assert!(names.len() <= 10, "DescribeServices takes ten services");
        let found = names.iter().filter_map(|name| self.service(cluster, name.as_str()?, rolls));
        Some(json!({"services": found.collect::<Vec<_>>(), "failures": []}))
    }

    fn update_service(&mut self, body: &Value, rolls: f64) -> Option<Value> {
        let (cluster, name) = (text(body, "cluster"), text(body, "service"));
        let service = self.services.get_mut(&(cluster.to_owned(), name.to_owned()))?;
        let before = std::mem::replace(&mut service.revision, text(body, "taskDefinition").to_owned());
        service.before = Some(before);
        service.deployment += 1_000_000;
        service.since = now();
        Some(json!({"service": self.service(cluster, name, rolls)?}))
    }

    fn describe_tasks(&self, body: &Value) -> Option<Value> {
        let cluster = text(body, "cluster");
        let task = |task: &Value| {
            let task = task.as_str()?;
            let (name, _) = task.rsplit('/').next()?.rsplit_once('-')?;
            let service = self.services.get(&(cluster.to_owned(), name.to_owned()))?;
            let named = self.find(&service.revision)?["containerDefinitions"][0]["image"].as_str()?.to_owned();
            Some(json!({
                "taskArn": task, "lastStatus": "RUNNING", "taskDefinitionArn": service.revision,
                "containers": [{"name": "app", "imageDigest": named.split('@').nth(1)?}],
            }))
        };
        Some(json!({"tasks": body["tasks"].as_array()?.iter().filter_map(task).collect::<Vec<_>>()}))
    }
}

fn list_tasks(body: &Value) -> Option<Value> {
    let (cluster, name) = (text(body, "cluster"), text(body, "serviceName"));
    let task = |number| format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/{cluster}/{name}-{number}");
    Some(json!({"taskArns": (0..TASKS).map(task).collect::<Vec<_>>()}))
}

fn definition(family: &str, image: &str) -> Value {
    let environment = (0..12).map(|number| json!({"name": format!("SETTING_{number}"), "value": format!("https://{number}.example.com/{family}")}));
    json!({
        "taskDefinitionArn": arn(family, 1), "family": family, "revision": 1, "status": "ACTIVE", "networkMode": "awsvpc",
        "cpu": "256", "memory": "512", "requiresCompatibilities": ["FARGATE"], "compatibilities": ["EC2", "FARGATE"],
        "taskRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/task"), "executionRoleArn": format!("arn:aws:iam::{ACCOUNT}:role/execution"),
        "containerDefinitions": [{
            "name": "app", "image": image, "essential": true, "portMappings": [{"containerPort": 8080, "protocol": "tcp"}],
            "environment": environment.collect::<Vec<_>>(),
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": family, "awslogs-region": REGION, "awslogs-stream-prefix": "app"}},
        }],
    })
}

fn put_image(repository: &str, digest: &str, at: i64, number: u64) -> Value {
    let time = jiff::Timestamp::from_second(at).unwrap().to_string();
    let id = format!("00000000-0000-4000-8000-{number:012}");
    let manifest = "m".repeat(MANIFEST);
    let record = json!({
        "eventVersion": "1.10", "eventSource": "ecr.amazonaws.com", "eventName": "PutImage", "eventID": id, "eventTime": time,
        "awsRegion": REGION, "eventType": "AwsApiCall", "recipientAccountId": ACCOUNT,
        "userIdentity": {"type": "AssumedRole", "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/ci/build"), "accountId": ACCOUNT},
        "requestParameters": {"repositoryName": repository, "imageTag": "latest", "registryId": ACCOUNT, "imageManifest": manifest},
        "responseElements": {"image": {
            "repositoryName": repository, "registryId": ACCOUNT, "imageManifest": manifest,
            "imageId": {"imageTag": "latest", "imageDigest": digest},
        }},
    });
    json!({"EventId": id, "EventName": "PutImage", "EventTime": at, "EventSource": "ecr.amazonaws.com", "CloudTrailEvent": record.to_string()})
}

/// Head and body of the next request, if there is one. What follows it stays in `bytes`.
fn request(client: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut buffer = [0; 16_384];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let all = end + 4 + length.unwrap_or(0);
            if bytes.len() >= all {
                let body = bytes[end + 4..all].to_vec();
                bytes.drain(..all);
                return Ok(Some((head, body)));
            }
        }
        match client.read(&mut buffer)? {
            0 => return Ok(None),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

/// How often each operation was called, and how often it was throttled.
pub fn counted(calls: &[Call]) -> BTreeMap<&'static str, (usize, usize)> {
    let mut counts = BTreeMap::new();
    for call in calls {
        let (all, throttled): &mut (usize, usize) = counts.entry(call.operation).or_default();
        *all += 1;
        *throttled += usize::from(call.throttled);
    }
    counts
}
