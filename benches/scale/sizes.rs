//! Installations of different sizes: start, memory, pages, a reload, and the time from an event to the update that it asks for.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ecs_deployd::domain::state::State;
use ecs_deployd::domain::types::{Digest, TaskDefinitionArn};
use ecs_deployd::state_store::{StateStore, render};
use serde_json::{Value, json};

use crate::aws::{ACCOUNT, Aws, REGION};
use crate::bursts::{ROUND_TRIP, common, completed};
use crate::daemon::Daemon;
use crate::deployed;

/// How long ECS takes for a rollout.
const ROLLS: Duration = Duration::from_secs(5);
/// Services of a cluster.
const OF_A_CLUSTER: usize = 300;
/// Pushes at once.
const PUSHES: usize = 50;
const COMMITS: usize = 21;

/// What was measured of one size. Times are in milliseconds, memory is in MiB.
#[derive(Debug, Default)]
pub struct Size {
    pub repositories: usize,
    pub start: f64,
    pub start_with_history: f64,
    pub resident_after_start: f64,
    pub resident_after_pages: f64,
    pub resident_with_pushes: f64,
    pub most_resident: f64,
    pub metrics_bytes: usize,
    pub metrics: f64,
    pub page: f64,
    pub json: f64,
    pub reload: f64,
    pub reload_blocks: f64,
    pub event_to_update: f64,
    pub state_bytes: usize,
    pub commit: f64,
}

fn name(number: usize) -> String {
    format!("team-{}-app-{number}", number / 100)
}

fn cluster(number: usize, of: usize) -> String {
    format!("cluster-{}", number % of.div_ceil(OF_A_CLUSTER))
}

fn configuration(repositories: usize) -> String {
    let mut text = String::new();
    for number in 0..repositories {
        let (name, cluster) = (name(number), cluster(number, repositories));
        let _ = write!(
            text,
            "[[repository]]\nname = \"{name}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"{cluster}\"\nservice = \"{name}\"\n"
        );
    }
    text
}

/// A state in which every service has been deployed.
fn deployed(config: &str) -> State {
    let mut number = 0;
    deployed::state(config, jiff::Timestamp::now(), |key| {
        number += 1;
        let family = key.service.as_str();
        let revision = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{family}:1");
        (Digest::parse(&format!("sha256:{number:064x}")).unwrap(), TaskDefinitionArn::parse(&revision).unwrap())
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

impl Size {
    pub fn measure(repositories: usize) -> Self {
        let mut size = Self { repositories, ..Self::default() };
        let aws = Aws::start(ROUND_TRIP, ROLLS);
        for number in 0..repositories {
            aws.create_family(&name(number));
            aws.create_service(&cluster(number, repositories), &name(number), &name(number));
        }
        let text = configuration(repositories);
        let config = common(&aws) + &text;
        size.fresh(&config, &aws);
        let mut state = deployed(&text);
        size.with_history(&config, &mut state);
        size.commits(&mut state);
        size
    }

    /// A daemon without a state.
    fn fresh(&mut self, config: &str, aws: &Aws) {
        let mut daemon = Daemon::start(config, None);
        self.start = milliseconds(daemon.wait_for("/readyz"));
        std::thread::sleep(Duration::from_secs(3));
        self.resident_after_start = daemon.resident();
        self.pages(&daemon);
        self.resident_after_pages = daemon.resident();
        self.event_to_update = milliseconds(self.one_push(&daemon, aws));
        let pushes = PUSHES.min(self.repositories);
        let before = completed(&daemon.get("/metrics").unwrap().0);
        let names: Vec<String> = (0..pushes).map(name).collect();
        aws.push(names.iter().map(String::as_str));
        let mut most: f64 = 0.0;
        until("all are deployed", || {
            most = most.max(daemon.resident());
            completed(&daemon.get("/metrics").unwrap().0) >= before + pushes as f64
        });
        self.resident_with_pushes = most;
        self.most_resident = daemon.most_resident();
    }

    fn pages(&mut self, daemon: &Daemon) {
        let times = |path: &str| {
            let mut answers = Vec::new();
            for _ in 0..3 {
                // What was made within the last second is shown again.
                std::thread::sleep(Duration::from_millis(1100));
                answers.push(daemon.get(path).unwrap());
            }
            let bytes = answers[0].0.len();
            (bytes, median(answers.iter().map(|(_, took)| milliseconds(*took)).collect()))
        };
        (self.metrics_bytes, self.metrics) = times("/metrics");
        self.page = times("/").1;
        self.json = times("/api/v1/status").1;
    }

    fn one_push(&self, daemon: &Daemon, aws: &Aws) -> Duration {
        let times = (0..3).map(|_| {
            let before = completed(&daemon.get("/metrics").unwrap().0);
            aws.forget_calls();
            aws.push([name(0).as_str()].into_iter());
            until("it is deployed", || completed(&daemon.get("/metrics").unwrap().0) > before);
            let calls = aws.calls();
            let update = calls.iter().find(|call| call.operation == "UpdateService").unwrap().at;
            milliseconds((update - ROUND_TRIP).saturating_sub(aws.told().unwrap()))
        });
        Duration::from_secs_f64(median(times.collect()) / 1000.0)
    }

    /// A daemon whose services have all been deployed: its start, and a reload of its configuration.
    fn with_history(&mut self, config: &str, state: &mut State) {
        let mut daemon = Daemon::start(config, Some(&render(state)));
        self.start_with_history = milliseconds(daemon.wait_for("/readyz"));
        std::thread::sleep(Duration::from_secs(3));
        let begun = Instant::now();
        daemon.reload();
        let mut longest = Duration::ZERO;
        let mut reloaded = None;
        while reloaded.is_none_or(|at: Duration| begun.elapsed() < at + Duration::from_secs(2)) {
            let (_, took) = daemon.get("/healthz").unwrap();
            longest = longest.max(took);
            if reloaded.is_none() && daemon.log().contains("the configuration was reloaded") {
                reloaded = Some(begun.elapsed());
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the configuration was not reloaded:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.reload = milliseconds(reloaded.unwrap());
        self.reload_blocks = milliseconds(longest);
    }

    /// What it costs to make durable that one service has changed.
    fn commits(&mut self, state: &mut State) {
        let folder = tempfile::TempDir::new().unwrap();
        let (state_store, _) = StateStore::open(&folder.path().join("state.json")).unwrap();
        // The first one makes every line.
        state_store.commit_here(state).unwrap();
        let keys: Vec<_> = state.services.keys().cloned().collect();
        let times = (0..COMMITS).map(|round| {
            state.services.get_mut(&keys[round * 7 % keys.len()]).unwrap().decided.clear();
            let begun = Instant::now();
            state_store.commit_here(&state.clone()).unwrap();
            milliseconds(begun.elapsed())
        });
        self.commit = median(times.collect());
        self.state_bytes = render(state).len();
    }

    /// The rows of the table: what, and its value.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let ms = |value: f64| format!("{value:.0} ms");
        let mib = |value: f64| format!("{value:.1} MiB");
        let kb = |value: usize| format!("{:.1} kB", value as f64 / 1000.0);
        vec![
            ("start to ready, without a state", ms(self.start)),
            ("start to ready, every service deployed before", ms(self.start_with_history)),
            ("resident after the start", mib(self.resident_after_start)),
            ("resident after `/metrics`, `/` and the JSON", mib(self.resident_after_pages)),
            ("resident with 50 pushes, at most", mib(self.resident_with_pushes)),
            ("most that was ever resident", mib(self.most_resident)),
            ("`/metrics`, size", kb(self.metrics_bytes)),
            ("`/metrics`, time", ms(self.metrics)),
            ("`/`, time", ms(self.page)),
            ("`/api/v1/status`, time", ms(self.json)),
            ("reload", ms(self.reload)),
            ("longest answer of `/healthz` meanwhile", ms(self.reload_blocks)),
            ("from the event's answer to UpdateService", ms(self.event_to_update)),
            ("state file", kb(self.state_bytes)),
            ("commit of a change of one service", format!("{:.1} ms", self.commit)),
        ]
    }

    pub fn json(&self) -> Value {
        let rows: serde_json::Map<String, Value> =
            self.rows().into_iter().map(|(what, value)| (what.to_owned(), json!(value))).collect();
        json!({"repositories": self.repositories, "measured": rows})
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(180), "{what}: not within three minutes");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The table of all sizes, in Markdown.
pub fn table(sizes: &[Size]) -> String {
    let mut text = "| repositories and services |".to_owned();
    for size in sizes {
        let _ = write!(text, " {} |", size.repositories);
    }
    let _ = write!(text, "\n| --- |{}\n", " ---: |".repeat(sizes.len()));
    let columns: Vec<Vec<(&str, String)>> = sizes.iter().map(Size::rows).collect();
    for (at, (what, _)) in columns.first().into_iter().flatten().enumerate() {
        let _ = write!(text, "| {what} |");
        for column in &columns {
            let _ = write!(text, " {} |", column[at].1);
        }
        text.push('\n');
    }
    text
}
