//! Whole lives of the daemon, by seed: pushes, late and double events, failing calls, crashes, a full disk, bad images. After each one the
//! world is compared with what a naive reading of the promises asks for, written without any of the daemon's own code.
//!
//! `SIMULATION_SEEDS=5000 cargo test --test it simulation` runs that many lives; `SIMULATION_SEED=17 cargo test --test it
//! simulation -- --nocapture` lives one of them again, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::aws::Fault;
use jiff::SignedDuration;

use crate::harness::{Disk, Process, pass, start};
use crate::world::rng::Rng;
use crate::world::{Health, Weather, World, image_uri};

/// Lives of each of the two tests below.
const LIVES: u64 = 25;

const CONFIG: &str = r#"
[deploy]
timeout = "10m"
[[repository]]
name = "app"
tags = ["latest"]
[[repository.service]]
cluster = "web"
service = "a"
[[repository.service]]
cluster = "web"
service = "b"
[[repository.service]]
cluster = "web"
service = "both"
[[repository]]
name = "side"
tags = ["release-*"]
[[repository.service]]
cluster = "batch"
service = "s"
[[repository.service]]
cluster = "web"
service = "both"
"#;

/// Cluster, service, and its containers with the repository that each takes its image from.
type ServiceOf = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const SERVICES: [ServiceOf; 4] = [
    ("web", "a", &[("main", "app")]),
    ("web", "b", &[("main", "app")]),
    ("batch", "s", &[("main", "side")]),
    ("web", "both", &[("main", "app"), ("helper", "side")]),
];

#[test]
fn even_lives_keep_every_promise() {
    live_all(0);
}

#[test]
fn odd_lives_keep_every_promise() {
    live_all(1);
}

fn live_all(parity: u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("SIMULATION_SEED") {
        if seed % 2 == parity {
            live(seed, true);
        }
        return;
    }
    let lives = number("SIMULATION_SEEDS").map_or(LIVES, |all| all.div_ceil(2));
    for seed in (0..lives).map(|index| index * 2 + parity) {
        live(seed, false);
    }
}

fn live(seed: u64, trace: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut life = Life::new(seed, trace);
            life.go_on().await;
            life.end_well().await;
            life.judge();
        });
    }));
    if let Err(panic) = lived {
        eprintln!(
            "seed {seed} failed; replay it with: SIMULATION_SEED={seed} cargo test --test it simulation -- --nocapture"
        );
        std::panic::resume_unwind(panic);
    }
}

/// An image that was pushed.
#[derive(Debug, Clone)]
struct Pushed {
    digest: String,
    good: bool,
}

struct Life {
    rng: Rng,
    trace: bool,
    world: World,
    disk: Arc<Disk>,
    process: Option<Process>,
    /// By repository, in the order of the pushes; the first one ran before the daemon came.
    pushed: BTreeMap<&'static str, Vec<Pushed>>,
}

impl Life {
    fn new(seed: u64, trace: bool) -> Self {
        let world = World::new();
        let disk = Arc::<Disk>::default();
        let mut rng = Rng::new(seed);
        let mut pushed = BTreeMap::new();
        for (repository, tag) in [("app", "latest"), ("side", "release-0")] {
            world.create_repository(repository);
            pushed.insert(repository, vec![Pushed { digest: world.push(repository, tag, "first"), good: true }]);
        }
        for (cluster, name, containers) in SERVICES {
            let by_tag = rng.percent(60);
            let images: Vec<(&str, String)> = containers
                .iter()
                .map(|(container, repository)| {
                    let tag = if *repository == "app" { "latest" } else { "release-0" };
                    let digest = &pushed[repository][0].digest;
                    let pin = if by_tag { format!(":{tag}") } else { format!("@{digest}") };
                    (*container, format!("{}{pin}", image_uri(repository)))
                })
                .collect();
            let images: Vec<(&str, &str)> = images.iter().map(|(name, image)| (*name, image.as_str())).collect();
            // Two of the services share a family.
            let family = if containers.len() == 1 && cluster == "web" { "shared" } else { name };
            let revision = world.register(family, &images);
            world.create_service(cluster, name, &revision, 2);
            let (classic, breaker, lag) = (rng.percent(30), rng.percent(40), rng.below(8));
            world.edit_service(cluster, name, |service| {
                service.classic = classic;
                service.breaker_rolls_back = breaker && !classic;
                service.lag = SignedDuration::from_secs(i64::try_from(lag).unwrap());
            });
        }
        world.set_page_size(usize::try_from(2 + rng.below(8)).unwrap());
        world.set_overlapping_pages(rng.percent(50));
        world.set_witness(&disk);
        world.set_trace(trace);
        Self { rng, trace, world, disk, process: None, pushed }
    }

    fn say(&self, what: &str) {
        if self.trace {
            eprintln!("-- {what}");
        }
    }

    fn start(&mut self) {
        if self.process.is_none() {
            self.say("start");
            self.process = Some(start(&self.world, &self.disk, CONFIG));
        }
    }

    async fn go_on(&mut self) {
        // What ran before was pushed well before the first start.
        pass(3600).await;
        self.start();
        pass(10).await;
        for _ in 0..30 {
            match self.rng.below(20) {
                0..=8 => self.push(),
                9..=10 => self.push_what_is_none_of_our_business(),
                11..=12 => self.crash().await,
                13 => self.stop().await,
                14 => self.fill_disk().await,
                15 => self.change_weather(),
                16 => self.break_something().await,
                17 => self.force(),
                _ => {}
            }
            let span = *self.rng.pick(&[0, 1, 5, 7, 30, 60, 240, 900, 3600]);
            ecs_deployd::clock::sleep(Duration::from_millis(span * 1000 + self.rng.below(1000))).await;
            if self.rng.percent(80) {
                self.start();
            }
        }
    }

    fn push(&mut self) {
        let repository = *self.rng.pick(&["app", "side"]);
        let number = self.pushed[repository].len();
        let tag = if repository == "app" { "latest".to_owned() } else { format!("release-{number}") };
        let late = match self.rng.below(10) {
            0..=5 => self.rng.below(300),
            6..=8 => 300 + self.rng.below(1200),
            _ => self.rng.below(10 * 3600),
        };
        let late = SignedDuration::from_secs(i64::try_from(late).unwrap());
        // Now and then what was pushed before comes again: A, B, A.
        let again = if number > 1 && self.rng.percent(15) { self.rng.below(number as u64) } else { number as u64 };
        let content = if again == 0 { "first".to_owned() } else { format!("{repository} {again}") };
        let digest = self.world.push_late(repository, &tag, &content, late);
        let known = self.pushed[repository].iter().find(|push| push.digest == digest).cloned();
        let health = match (known, self.rng.below(10)) {
            (Some(known), _) if known.good => Health::After(Duration::from_secs(10)),
            (Some(_), _) => Health::Never,
            (None, 0) => Health::Never,
            (None, 1) => Health::BreaksAfter(Duration::from_secs(30)),
            (None, _) => Health::After(Duration::from_secs(10)),
        };
        // Behind a Classic Load Balancer ECS reports no failure; the deadline does.
        self.world.set_health(&digest, health);
        if self.rng.percent(10) {
            self.world.twin_last_event();
        }
        self.say(&format!("push {number} of {repository}: {digest} {health:?}, told of after {late:?}"));
        let good = matches!(health, Health::After(_));
        self.pushed.get_mut(repository).unwrap().push(Pushed { digest, good });
    }

    fn push_what_is_none_of_our_business(&mut self) {
        let garbage = self.rng.below(4);
        self.say(&format!("garbage {garbage}"));
        self.world.push("app", "dev", &format!("dev {}", self.rng.next()));
        self.world.edit_last_event(|body| match garbage {
            0 => {}
            1 => body["errorCode"] = "ImageTagAlreadyExistsException".into(),
            2 => *body = "rubbish".into(),
            _ => body["requestParameters"]["repositoryName"] = "app-worker".into(),
        });
    }

    async fn crash(&mut self) {
        if let Some(process) = self.process.take() {
            self.say("crash");
            process.kill().await;
        }
        let downtime = *self.rng.pick(&[0, 0, 1, 20, 600, 10_000, 200_000]);
        pass(downtime).await;
    }

    async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            self.say("stop");
            process.stop().await;
        }
    }

    async fn fill_disk(&mut self) {
        self.say("the disk is full");
        self.disk.set_full(true);
        let span = self.rng.below(1800);
        if self.rng.percent(50) {
            self.push();
        }
        pass(span).await;
        self.disk.set_full(false);
        self.say("there is space again");
    }

    fn change_weather(&mut self) {
        let chance = *self.rng.pick(&[0, 5, 30]);
        self.say(&format!("{chance} of 100 calls fail"));
        self.world.set_weather(Some(Weather { rng: Rng::new(self.rng.next()), chance }));
    }

    async fn break_something(&mut self) {
        let operations = [
            "LookupEvents",
            "DescribeImages",
            "DescribeServices",
            "RegisterTaskDefinition",
            "UpdateService",
            "ListTasks",
        ];
        let operation = *self.rng.pick(&operations);
        self.say(&format!("{operation} is denied"));
        self.world.break_operation(operation, Fault::Denied);
        if self.rng.percent(70) {
            self.push();
        }
        let span = self.rng.below(3600);
        pass(span).await;
        self.world.mend_operation(operation);
    }

    fn force(&mut self) {
        let (cluster, name, _) = *self.rng.pick(&SERVICES);
        self.say(&format!("somebody forces a new deployment of {name}"));
        self.world.force(cluster, name);
    }

    /// Faults stop, and time passes until every event was delivered and every rollout has ended.
    async fn end_well(&mut self) {
        self.world.set_weather(None);
        self.start();
        self.say("faults stop");
        pass(14 * 3600).await;
    }

    fn judge(&self) {
        let state = self.disk.state().unwrap();
        for (cluster, name, containers) in SERVICES {
            let key = format!("default/{cluster}/{name}").try_into().unwrap();
            let known = state.services.get(&key);
            assert!(
                known.is_none_or(|known| known.rollout.is_none() && known.wanted.is_empty()),
                "{name}: not at rest: {known:#?}"
            );
            let held = known.is_some_and(|known| !known.held.is_empty());
            for (container, repository) in containers {
                let runs = self.world.settled_image(cluster, name, container);
                self.judge_end(name, repository, runs.as_deref(), held, containers.len() == 1);
            }
            if let [(container, repository)] = containers {
                self.judge_way(cluster, name, container, repository);
            }
        }
        self.judge_copies();
        self.judge_lookups();
    }

    /// A service ends on the newest push, or, where that one is bad, on a good one.
    fn judge_end(&self, name: &str, repository: &str, runs: Option<&str>, held: bool, alone: bool) {
        let pushed = &self.pushed[repository];
        let newest = pushed.last().unwrap();
        let runs = runs.unwrap_or_else(|| panic!("{name}: nothing runs"));
        let running = pushed.iter().find(|push| push.digest == runs);
        let running = running.unwrap_or_else(|| panic!("{name}: {runs} was never pushed to {repository}"));
        assert!(running.good, "{name}: a bad image stayed: {runs}");
        if newest.good && (alone || !held) {
            assert_eq!(
                runs, newest.digest,
                "{name}: the newest push of {repository} does not run; pushed: {pushed:#?}"
            );
            assert!(!(alone && held), "{name}: held although the newest push is good");
        }
    }

    /// Each deployment brings something newer than all before it, or undoes a bad one.
    fn judge_way(&self, cluster: &str, name: &str, container: &str, repository: &str) {
        let pushed = &self.pushed[repository];
        let mut highest = 0;
        let mut before = 0;
        for started in self.world.log_of(cluster, name) {
            let digest = started.digests[container].as_deref().unwrap_or_else(|| panic!("{name}: no digest"));
            // The same content may have been pushed more than once.
            let places = || pushed.iter().enumerate().filter(|(_, push)| push.digest == digest).map(|(place, _)| place);
            let undone = places().rfind(|place| !pushed[before].good && pushed[*place].good && *place < before);
            let forward = places().find(|place| *place > highest);
            let place = undone.or(forward).or(places().next()).unwrap();
            assert!(
                undone.or(forward).is_some(),
                "{name}: from push {before} to push {place}, after push {highest}: {pushed:#?}
started: {:#?}",
                self.world.log_of(cluster, name)
            );
            highest = highest.max(place);
            before = place;
        }
    }

    /// A revision differs from the first one of its family in its images and in nothing else.
    fn judge_copies(&self) {
        for family in ["shared", "s", "both"] {
            let plain = |mut revision: serde_json::Value| {
                for container in revision["containerDefinitions"].as_array_mut().unwrap() {
                    container["image"] = serde_json::Value::Null;
                }
                for member in ["taskDefinitionArn", "revision"] {
                    revision[member] = serde_json::Value::Null;
                }
                revision
            };
            let revisions = self.world.revisions(family);
            let first = plain(revisions[0].clone());
            assert!(revisions.into_iter().all(|revision| plain(revision) == first), "{family}: something was lost");
        }
    }

    /// CloudTrail allows two requests a second.
    fn judge_lookups(&self) {
        let calls = self.world.calls();
        let at: Vec<Duration> =
            calls.iter().filter(|call| call.operation == "LookupEvents").map(|call| call.at).collect();
        let fast = at.windows(3).find(|window| window[2] - window[0] < Duration::from_secs(1));
        assert!(fast.is_none(), "three lookups within a second: {fast:?}");
    }
}
