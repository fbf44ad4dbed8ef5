//! Lives with gates, by seed: whatever dies, whatever order pushes, approvals, scans and windows come in, no digest reaches a service before its
//! gates were open, and none that should is lost. What is expected is written naively, without any of the daemon's own code.
//!
//! `SIMULATION_SEED=17 cargo test --test it simulation_of_gates -- --nocapture` lives one of them again, step by step.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::domain::gate::scan::{Progress, Severity};
use ecs_deployd::domain::operator_command::OperatorCommand;
use jiff::{SignedDuration, Timestamp};

use crate::harness::{Disk, Process, pass, start};
use crate::simulation::ENOUGH_FAILED;
use crate::world::rng::Rng;
use crate::world::{Health, Started, Weather, World};

const LIVES: u64 = 8;
/// The machine's clock is off by no more than this, and a decision takes its time.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
const BAKE: SignedDuration = SignedDuration::from_mins(20);
/// Office hours, by UTC.
const OPENS: i8 = 8;
const CLOSES: i8 = 16;

/// `staging` has a scan, and `asked` waits for an approval.
const STAGING: &str = r#"
[deploy]
timeout = "10m"
[[repository]]
name = "app"
tags = ["latest", "v*"]
[[repository.service]]
cluster = "web"
service = "staging"
scan = "high"
scan_timeout = "4h"
[[repository.service]]
cluster = "web"
service = "asked"
approval = "required"
"#;

/// `prod` comes after `staging`, within office hours.
const PROD: &str = r#"
[[repository.service]]
cluster = "web"
service = "prod"
after = ["web/staging"]
bake = "20m"
windows = ["daily 08:00-16:00"]
"#;

/// The three services, with `prod` in the account of the others or in one of its own, into whose repository the images are copied.
fn configuration(has_account: bool) -> String {
    if !has_account {
        return format!("{STAGING}{PROD}");
    }
    let repository = "[[repository]]\nname = \"app\"\naws = \"production\"\ntags = [\"latest\", \"v*\"]\n";
    let prod = PROD.replace("cluster = \"web\"", "aws = \"production\"\ncluster = \"production\"");
    format!("[aws.default]\n[aws.production]\n{STAGING}{repository}{prod}")
}

#[derive(Debug, Clone)]
struct Pushed {
    digest: String,
    tag: String,
    /// Its tasks run.
    good: bool,
    /// Its scan finds something.
    clean: bool,
    /// When its scan was done.
    scanned_at: Option<Timestamp>,
}

struct Life {
    rng: Rng,
    trace: bool,
    world: World,
    /// The account of production, where it has one of its own.
    other: Option<World>,
    /// For the copies, so that they leave lives with one account as they are.
    copies: Rng,
    /// What is not in production's account yet.
    uncopied: Vec<usize>,
    disk: Arc<Disk>,
    process: Option<Process>,
    first: String,
    pushed: Vec<Pushed>,
    approved: BTreeMap<String, Timestamp>,
    /// When an operator had windows passed.
    passes: Vec<Timestamp>,
    /// When an operator took staging back.
    taken_back: bool,
}

impl Life {
    fn new(seed: u64, trace: bool) -> Self {
        let (mut world, mut rng) = (World::new(), Rng::new(seed ^ 0x6A7E));
        let other = (seed % 2 == 1).then(|| world.and_account("production"));
        let disk: Arc<Disk> = Arc::default();
        let mut first = String::new();
        for account in [&world].into_iter().chain(&other) {
            account.create_repository("app");
            first = account.push("app", "latest", "first");
            let revision = account.register("app", &[("main", &format!("{}@{first}", account.image_uri("app")))]);
            let services: &[(&str, &str)] = match (&other, std::ptr::eq(account, &world)) {
                (None, _) => &[("web", "staging"), ("web", "prod"), ("web", "asked")],
                (Some(_), true) => &[("web", "staging"), ("web", "asked")],
                (Some(_), false) => &[("production", "prod")],
            };
            for (cluster, name) in services {
                account.create_service(cluster, name, &revision, 2);
            }
            account.set_witness(&disk);
            account.set_trace(trace);
        }
        rng.next();
        Self {
            rng,
            trace,
            world,
            other,
            copies: Rng::new(seed ^ (0x0C09 << 32)),
            uncopied: Vec::new(),
            disk,
            process: None,
            first,
            pushed: Vec::new(),
            approved: BTreeMap::new(),
            passes: Vec::new(),
            taken_back: false,
        }
    }

    fn say(&self, what: &str) {
        if self.trace {
            eprintln!("-- {} {what}", self.world.now());
        }
    }

    fn start(&mut self) {
        if self.process.is_none() {
            self.say("start");
            self.process = Some(start(&self.world, &self.disk, &self.config()));
        }
    }

    fn config(&self) -> String {
        configuration(self.other.is_some())
    }

    /// Every account that there is.
    fn accounts(&self) -> impl Iterator<Item = &World> {
        [&self.world].into_iter().chain(&self.other)
    }

    /// The account and the cluster of a service.
    fn place(&self, name: &str) -> (&World, &'static str) {
        match &self.other {
            Some(other) if name == "prod" => (other, "production"),
            Some(_) | None => (&self.world, "web"),
        }
    }

    /// What is not in production's account gets there, by the tag that it was pushed with.
    fn copy(&mut self) {
        let Some(other) = &self.other else { return };
        for number in std::mem::take(&mut self.uncopied) {
            let push = &self.pushed[number];
            let late = SignedDuration::from_secs(i64::try_from(self.copies.below(900)).unwrap());
            let digest = other.push_late("app", &push.tag, &format!("content {number}"), late);
            assert_eq!(digest, push.digest, "a copy has the digest of what was copied");
            other.set_health(&digest, health(push.good));
            self.say(&format!("push {number} is copied, reported after {late:?}"));
        }
    }

    fn push(&mut self, good: bool, clean: bool) {
        let number = self.pushed.len();
        let tag = if self.rng.percent(70) { "latest".to_owned() } else { format!("v{number}") };
        let late = SignedDuration::from_secs(i64::try_from(self.rng.below(900)).unwrap());
        let digest = self.world.push_late("app", &tag, &format!("content {number}"), late);
        self.world.set_health(&digest, health(good));
        self.say(&format!("push {number} {tag} {digest}, good {good}, clean {clean}, reported after {late:?}"));
        self.pushed.push(Pushed { digest, tag, good, clean, scanned_at: None });
        self.uncopied.push(number);
        if self.copies.percent(50) {
            self.copy();
        }
    }

    /// The scan of a pushed image ends.
    fn scan(&mut self) {
        let now = self.world.now();
        for push in self.pushed.iter_mut().filter(|push| push.scanned_at.is_none()) {
            let findings: &[(Severity, &str)] = if push.clean { &[] } else { &[(Severity::Critical, "CVE-1")] };
            self.world.scan_finds(&push.digest, findings);
            push.scanned_at = Some(now);
        }
    }

    async fn command(&self, name: &str, command: OperatorCommand) -> bool {
        let Some(process) = &self.process else { return false };
        let told = command.as_str();
        let service = format!("{}/{name}", self.place(name).1);
        let answer = ecs_deployd::clock::within(Duration::from_secs(120), process.command(&service, command)).await;
        self.say(&format!("{told} {name}: {answer:?}"));
        answer.is_some_and(|answer| answer.is_ok())
    }

    /// An operator approves what is shown to wait.
    async fn approve(&mut self, wanted: Option<&str>) {
        let Some(process) = &self.process else { return };
        let asked = process.status();
        let Some(status) = ecs_deployd::clock::within(Duration::from_secs(120), asked).await else { return };
        let waiting = status.services.into_iter().find(|one| one.service == "asked").and_then(|one| one.waiting);
        let Some(digest) = waiting.map(|waiting| waiting.digest.to_string()) else { return };
        if wanted.is_some_and(|wanted| wanted != digest) {
            return;
        }
        // The command may be carried out although its answer is lost.
        self.approved.entry(digest.clone()).or_insert_with(|| self.world.now());
        self.command("asked", OperatorCommand::Approve { image: Some(digest) }).await;
    }

    async fn die(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.kill().await;
        match self.rng.percent(50) {
            true => self.disk.crash(&mut self.rng),
            false => self.disk.outlive(),
        }
        self.say("crash");
        pass(*self.rng.pick(&[0, 1, 60, 3600, 20_000])).await;
    }

    async fn happen(&mut self) {
        if self.copies.percent(20) {
            self.copy();
        }
        match self.rng.below(20) {
            0..=5 => {
                let (good, clean) = (self.rng.percent(80), self.rng.percent(85));
                self.push(good, clean);
            }
            6..=8 => self.scan(),
            9 => {
                for push in self.pushed.iter().filter(|push| push.scanned_at.is_none()) {
                    self.world.scan_is(&push.digest, Progress::UnderWay("IN_PROGRESS".to_owned()));
                }
            }
            10..=11 => self.approve(None).await,
            12..=13 => self.die().await,
            14 => {
                let chance = *self.rng.pick(&[0, 5, 30]);
                self.say(&format!("{chance} of 100 calls fail"));
                let seed = self.rng.next();
                for account in self.accounts() {
                    account.set_weather(Some(Weather { rng: Rng::new(seed), chance }));
                }
            }
            15 => {
                let seconds = *self.rng.pick(&[-240, 0, 240]);
                self.say(&format!("the clock is ahead by {seconds} s"));
                for account in self.accounts() {
                    account.set_clock_ahead(SignedDuration::from_secs(seconds));
                }
            }
            16 => {
                self.passes.push(self.world.now());
                self.command("prod", OperatorCommand::DeployNow).await;
            }
            17 => {
                let command = match self.rng.percent(50) {
                    true => OperatorCommand::Release,
                    false => OperatorCommand::Rollback { to: None },
                };
                self.taken_back |= command != OperatorCommand::Release;
                self.command("staging", command).await;
            }
            18 => {
                let operation =
                    *self.rng.pick(&["RegisterTaskDefinition", "UpdateService", "DescribeImageScanFindings"]);
                for account in self.accounts() {
                    account.break_operation(operation, ecs_deployd::aws::Fault::Denied);
                }
                self.say(&format!("{operation} is denied"));
                pass(self.rng.below(20_000)).await;
                for account in self.accounts() {
                    account.mend_operation(operation);
                }
            }
            _ => {}
        }
    }

    async fn go_on(&mut self) {
        pass(3600).await;
        self.start();
        pass(10).await;
        for _ in 0..25 {
            self.happen().await;
            pass(*self.rng.pick(&[0, 5, 60, 600, 3600, 10_000])).await;
            if self.rng.percent(80) {
                self.start();
            }
            self.check();
        }
    }

    /// Faults stop. What is pushed last is good, or good and then bad: every service gets the good one.
    async fn end_well(&mut self) {
        for account in self.accounts() {
            account.set_weather(None);
            account.set_clock_ahead(SignedDuration::ZERO);
        }
        self.copy();
        self.start();
        self.say("faults stop");
        self.command("staging", OperatorCommand::Release).await;
        pass(1).await;
        self.push(true, true);
        let good = self.pushed.last().unwrap().digest.clone();
        self.scan();
        for _ in 0..3 {
            pass(3600).await;
            self.approve(Some(&good)).await;
        }
        self.check_reason(&good).await;
        self.copy();
        if self.rng.percent(50) {
            self.push(false, true);
            self.scan();
        }
        self.copy();
        for _ in 0..30 {
            pass(3600).await;
            self.check();
        }
        for name in ["staging", "prod"] {
            let (account, cluster) = self.place(name);
            let runs = account.settled_image(cluster, name, "main");
            assert_eq!(runs.as_ref(), Some(&good), "{name} has lost the last good push; pushed: {:#?}", self.pushed);
        }
        let runs = self.world.settled_image("web", "asked", "main");
        assert_eq!(runs.as_ref(), Some(&good), "the approved push is lost");
        self.check();
    }

    /// As long as production does not run what staging does, there is a reason for people.
    async fn check_reason(&self, good: &str) {
        let (account, cluster) = self.place("prod");
        if account.settled_image(cluster, "prod", "main").as_deref() == Some(good) {
            return;
        }
        let status = self.process.as_ref().unwrap().status().await;
        let prod = status.services.into_iter().find(|one| one.service == "prod").unwrap();
        assert!(prod.waiting.is_some() || prod.rollout.is_some(), "nobody is told why prod does not run {good}");
    }

    /// After each step: no deployment began before its gates were open.
    fn check(&self) {
        for (name, judge) in [
            ("staging", Self::why_staging as fn(&Self, &[Started]) -> Result<(), String>),
            ("prod", Self::why_prod),
            ("asked", Self::why_asked),
        ] {
            let (account, cluster) = self.place(name);
            let log = account.log_of(cluster, name);
            for until in 1..=log.len() {
                if !self.goes_back(name, &log[..until])
                    && let Err(why) = judge(self, &log[..until])
                {
                    panic!("{name}: {why}: {log:#?}\npushed: {:#?}\napproved: {:#?}", self.pushed, self.approved);
                }
            }
        }
    }

    /// Whether the last deployment goes back to something that the service ran before.
    fn goes_back(&self, name: &str, log: &[Started]) -> bool {
        let (last, before) = log.split_last().unwrap();
        let brings = brings(last);
        let replaced_is_bad =
            self.pushed.iter().any(|push| Some(&push.digest) == last.replaces["main"].as_ref() && !push.good);
        let ran = brings == self.first || before.iter().any(|one| self::brings(one) == brings);
        ran && (replaced_is_bad || (name == "staging" && self.taken_back))
    }

    fn push_of(&self, digest: &str) -> Result<&Pushed, String> {
        self.pushed.iter().rev().find(|push| push.digest == digest).ok_or_else(|| format!("{digest} was never pushed"))
    }

    fn why_staging(&self, log: &[Started]) -> Result<(), String> {
        let last = log.last().unwrap();
        let push = self.push_of(&brings(last))?;
        let scanned = push.scanned_at.is_some_and(|at| at <= last.at);
        if scanned && push.clean { Ok(()) } else { Err(format!("{push:?} was not scanned, or is not clean")) }
    }

    fn why_asked(&self, log: &[Started]) -> Result<(), String> {
        let last = log.last().unwrap();
        let approved = self.approved.get(&brings(last)).is_some_and(|at| *at <= last.at);
        if approved { Ok(()) } else { Err(format!("{} was not approved", brings(last))) }
    }

    fn why_prod(&self, log: &[Started]) -> Result<(), String> {
        let last = log.last().unwrap();
        let digest = brings(last);
        let hour = |at: Timestamp| at.to_zoned(jiff::tz::TimeZone::UTC).hour();
        let is_open = |at: Timestamp| (OPENS..CLOSES).contains(&hour(at));
        let opens = is_open(last.at) || is_open(last.at + TOLERANCE) || is_open(last.at - TOLERANCE);
        if !opens && !self.passes.iter().any(|at| *at <= last.at) {
            return Err(format!("{} is not within office hours", last.at));
        }
        let staging = self.world.log_of("web", "staging");
        let before = staging.iter().rfind(|one| one.at <= last.at);
        let Some(proven) = before else { return Err("staging was never rolled".to_owned()) };
        if brings(proven) != digest {
            return Err(format!("staging is on {} by then", brings(proven)));
        }
        let baked = last.at.duration_since(proven.at) + TOLERANCE >= BAKE;
        if baked { Ok(()) } else { Err(format!("it was rolled to staging at {} only", proven.at)) }
    }
}

fn health(good: bool) -> Health {
    if good { Health::After(Duration::from_secs(20)) } else { Health::Stops }
}

fn brings(started: &Started) -> String {
    started.digests["main"].clone().unwrap()
}

#[test]
fn no_digest_passes_a_closed_gate_and_none_is_lost() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let only = number("SIMULATION_SEED");
    if only.is_some() {
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .with_target(false)
            .try_init();
    }
    let first = only.or(number("SIMULATION_FIRST")).unwrap_or(0);
    let lives = if only.is_some() { 1 } else { number("SIMULATION_SEEDS").unwrap_or(LIVES) };
    let mut failed = Vec::new();
    for seed in first..first + lives {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(async {
                let mut life = Life::new(seed, only.is_some());
                life.go_on().await;
                life.end_well().await;
                if let Some(process) = life.process.take() {
                    process.abort();
                }
            });
        }));
        if lived.is_err() {
            eprintln!("seed {seed} failed");
            failed.push(seed);
        }
        if failed.len() == ENOUGH_FAILED {
            break;
        }
    }
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
}
