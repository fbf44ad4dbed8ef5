//! The pure parts that run most: how long each takes, and where valgrind is installed, how many instructions.
//!
//! ```sh
//! cargo bench --bench pure
//! ```
//!
//! Instructions are those of a process that does the thing a hundred times more than another one, divided by a hundred: they are the same
//! on a busy machine. What is prepared for each time, such as an engine that has not seen the page yet, is not counted.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark measures real time and prints it"
)]

use std::any::Any;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ecs_deployd::config::Config;
use ecs_deployd::deployer;
use ecs_deployd::domain::deployment::Lifecycle;
use ecs_deployd::domain::event::{self, ParsedEvent, Record};
use ecs_deployd::domain::image::Registry;
use ecs_deployd::domain::plan::{self, RepositorySnapshot, ServiceSnapshot};
use ecs_deployd::domain::settings::RepositoryKey;
use ecs_deployd::domain::state::{PushRef, ServiceState, State};
use ecs_deployd::domain::task_definition::TaskDefinition;
use ecs_deployd::domain::types::{
    AccountId, ContextName, Digest, DnsSuffix, EventId, Region, RepositoryName, ServiceKey, Tag, TaskDefinitionArn,
};
use ecs_deployd::domain::view::{Controller, ImageView, Management, RunningImages, Scheduling, ServiceView, Strategy};
use ecs_deployd::engine::{Engine, Input, Moment, Now, Page, Rules};
use ecs_deployd::state_store::render;
use jiff::Timestamp;
use serde_json::json;

const ACCOUNT: &str = "111111111111";
/// Events of a page of LookupEvents.
const PAGE: usize = 50;
/// The layers of an image whose manifest has some 4 KB.
const LAYERS: usize = 25;
/// The times that one process does a thing more often than the other.
const MORE: usize = 100;
const ROUNDS: usize = 200;

/// Does a thing once with what was prepared for it, and gives what is left.
type Act = Box<dyn FnOnce() -> Box<dyn Any>>;

/// A part: its name, and what prepares each time that it is done.
type Part = (&'static str, fn() -> Box<dyn FnMut() -> Act>);

const PARTS: [Part; 6] = [
    ("a page of 50 events with manifests of 4 KB, read", page_read),
    ("a page of 50 events with manifests of 4 KB, decided which services want it", page_decided),
    ("both", page),
    ("the same with manifests that hold no escapes", page_of_plain_text),
    ("the plan of one service", plan_of_one),
    ("the line of one service in the state file", line_of_state),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, what, part, times] = &arguments[..] {
        let acts = what == "once";
        let (_, make) = PARTS[part.parse::<usize>().unwrap()];
        let mut prepare = make();
        for _ in 0..times.parse::<usize>().unwrap() {
            let act = prepare();
            if acts {
                drop(act());
            }
        }
        return;
    }
    for (number, (name, make)) in PARTS.into_iter().enumerate() {
        let instructions = instructions(number)
            .map_or_else(|| "valgrind is not installed".to_owned(), |count| format!("{count} instructions"));
        println!("{name}: {:?}, {instructions}", median(&mut make()));
    }
}

fn median(prepare: &mut dyn FnMut() -> Act) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let act = prepare();
            let begun = Instant::now();
            let left = act();
            let took = begun.elapsed();
            drop(left);
            took
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

/// The instructions of a part; `None` without valgrind.
fn instructions(part: usize) -> Option<u64> {
    let of = |what: &str, times: usize| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(std::env::current_exe().ok()?)
            .args([what, &part.to_string(), &times.to_string()])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.split("Collected :").nth(1)?.split_whitespace().next()?.parse::<u64>().ok()
    };
    let more = |what: &str| of(what, 1 + MORE)?.checked_sub(of(what, 1)?);
    Some((more("once")? - more("prepare")?) / MORE as u64)
}

/// A part that needs nothing new each time.
fn again(act: impl Fn() + 'static) -> Box<dyn FnMut() -> Act> {
    let act = Rc::new(act);
    Box::new(move || {
        let act = Rc::clone(&act);
        Box::new(move || {
            act();
            Box::new(())
        })
    })
}

fn now() -> Timestamp {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn digest(character: char) -> Digest {
    Digest::parse(&format!("sha256:{}", character.to_string().repeat(64))).unwrap()
}

/// The manifest of an image, as a build pushes it.
fn manifest() -> String {
    let layer = |number: usize| {
        json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": format!("sha256:{number:064x}"), "size": 1_000_003 * number,
        })
    };
    json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest('c').as_str(), "size": 7023},
        "layers": (1..=LAYERS).map(layer).collect::<Vec<_>>(),
    })
    .to_string()
}

fn records(manifest: &str) -> Rc<[Record]> {
    let record = |number: usize| {
        let (id, repository) = (format!("00000000-0000-4000-8000-{number:012}"), format!("team/app-{number}"));
        let body = json!({
            "eventVersion": "1.10", "eventSource": "ecr.amazonaws.com", "eventName": "PutImage", "eventID": id,
            "eventTime": now().to_string(), "awsRegion": "eu-west-1", "eventType": "AwsApiCall", "recipientAccountId": ACCOUNT,
            "userIdentity": {"type": "AssumedRole", "arn": format!("arn:aws:sts::{ACCOUNT}:assumed-role/ci/build"), "accountId": ACCOUNT},
            "requestParameters": {"repositoryName": repository, "imageTag": "latest", "registryId": ACCOUNT, "imageManifest": manifest},
            "responseElements": {"image": {
                "repositoryName": repository, "registryId": ACCOUNT, "imageManifest": manifest,
                "imageId": {"imageTag": "latest", "imageDigest": digest('a').as_str()},
            }},
        });
        Record { id: Some(id), time: Some(now()), body: Some(body.to_string()) }
    };
    (0..PAGE).map(record).collect()
}

fn read(records: &[Record]) -> Vec<ParsedEvent> {
    records.iter().map(event::read).collect()
}

fn config() -> Config {
    let rule = |number: usize| {
        format!(
            "[[repository]]\nname = \"team/app-{number}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"web\"\nservice = \"app-{number}\"\n"
        )
    };
    Config::parse("measured", &(0..PAGE).map(rule).collect::<String>()).unwrap()
}

fn page_read() -> Box<dyn FnMut() -> Act> {
    let records = records(&manifest());
    again(move || drop(black_box(read(&records))))
}

/// Engines that have not seen the page.
fn engines() -> impl Fn() -> Engine {
    let config = Arc::new(config());
    let before = now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap();
    let state = deployer::begin(None, &config, before).state;
    let rules = Rules::new(config, [(ContextName::default(), Region::parse("eu-west-1").unwrap())].into());
    move || Engine::new(rules.clone(), state.clone(), at())
}

fn at() -> Now {
    Now { time: now(), moment: Moment::default() }
}

fn decide(mut engine: Engine, parsed_events: Vec<ParsedEvent>) -> Box<dyn Any> {
    let context = ContextName::default();
    let page = Page { context, parsed_events, progress: None, changes: Vec::new(), audited: None };
    let effects = engine.handle([Input::Page(page)], at());
    Box::new((engine, effects))
}

fn page_decided() -> Box<dyn FnMut() -> Act> {
    let (parsed, engine) = (read(&records(&manifest())), engines());
    Box::new(move || {
        let (parsed, engine) = (parsed.clone(), engine());
        Box::new(move || decide(engine, parsed))
    })
}

fn page() -> Box<dyn FnMut() -> Act> {
    page_with(&manifest())
}

fn page_of_plain_text() -> Box<dyn FnMut() -> Act> {
    page_with(&"m".repeat(manifest().len()))
}

fn page_with(manifest: &str) -> Box<dyn FnMut() -> Act> {
    let (records, engine) = (records(manifest), engines());
    Box::new(move || {
        let (records, engine) = (Rc::clone(&records), engine());
        Box::new(move || decide(engine, read(&records)))
    })
}

fn definition() -> TaskDefinition {
    let image = format!("{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/team/app-0@{}", digest('a'));
    let environment: Vec<_> =
        (0..12).map(|number| json!({"name": format!("SETTING_{number}"), "value": "value"})).collect();
    let answer = json!({"taskDefinition": {
        "taskDefinitionArn": arn().as_str(), "family": "app", "revision": 1, "status": "ACTIVE", "cpu": "256", "memory": "512",
        "containerDefinitions": [{"name": "app", "image": image, "essential": true, "environment": environment}],
    }, "tags": []});
    TaskDefinition::from_answer(answer).unwrap()
}

fn arn() -> TaskDefinitionArn {
    TaskDefinitionArn::parse(&format!("arn:aws:ecs:eu-west-1:{ACCOUNT}:task-definition/app:1")).unwrap()
}

fn service() -> ServiceView {
    ServiceView {
        active: true,
        task_definition: arn(),
        desired: 2,
        running: 2,
        controller: Controller::Ecs,
        management: Management::Customer,
        scheduling: Scheduling::Replica,
        strategy: Strategy::Rolling,
        load_balanced: true,
        breaker: true,
        rolls_back: true,
        bake: Duration::ZERO,
        minimum_healthy_percent: Some(100),
        maximum_percent: Some(200),
        lifecycle: Lifecycle::default(),
        deployments: Vec::new(),
        events: Vec::new(),
    }
}

fn push() -> PushRef {
    PushRef { event: EventId::parse("e").unwrap(), tag: Tag::parse("latest").ok(), at: now(), digest: None, seen: None }
}

fn repository() -> RepositoryKey {
    RepositoryKey { aws: ContextName::default(), name: RepositoryName::parse("team/app-0").unwrap() }
}

fn key() -> ServiceKey {
    ServiceKey::try_from("default/web/app-0".to_owned()).unwrap()
}

fn plan_of_one() -> Box<dyn FnMut() -> Act> {
    let config = config();
    let image = ImageView {
        registry: Registry {
            account: AccountId::parse(ACCOUNT).unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
            suffix: DnsSuffix::parse("amazonaws.com").unwrap(),
        },
        digest: digest('b'),
        tags: Tag::parse("latest").into_iter().collect(),
        pushed_at: Some(now()),
        manifest_type: None,
        artifact_type: None,
        refers: false,
    };
    let answers = RepositorySnapshot {
        by_tag: Tag::parse("latest").into_iter().map(|tag| (tag, image.clone())).collect(),
        ..RepositorySnapshot::none()
    };
    let snapshot = ServiceSnapshot {
        service: Some(service()),
        missing: false,
        unrollable: None,
        current: Some(definition()),
        base: Some(definition()),
        running: RunningImages::default(),
        images: [(repository(), answers)].into(),
        completed: None,
        running_in_ecr: BTreeMap::new(),
    };
    let state = ServiceState { pending: [(repository(), vec![push()])].into(), ..ServiceState::default() };
    again(move || {
        let plan = plan::plan(&config.rules_of(&key()), &state, &snapshot, now());
        assert!(black_box(plan).roll.is_some());
    })
}

fn line_of_state() -> Box<dyn FnMut() -> Act> {
    let mut state = State::default();
    let known = state.services.get_or_default(key());
    known.decided.insert(repository(), push());
    known.pending.insert(repository(), vec![push()]);
    again(move || drop(black_box(render(&state))))
}
