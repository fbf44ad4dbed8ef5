//! Two and three replicas in the simulated world, by seed: processes that die, stop, and are frozen for minutes; a table that is slow, throttles,
//! loses answers, delivers late, and is cut off from some of them; clocks that are hours apart. After each life the world is compared with what
//! is promised, by what the table and ECS saw alone.
//!
//! `REPLICA_SEEDS=500 cargo test --test it replicas` runs that many lives, `REPLICA_SEEDS=500..1000` the ones after them; `REPLICA_SEED=17 cargo test --test it replicas --
//! --nocapture` lives one of them again, step by step.

mod commanding;
mod costs;
mod replica;
mod suspended;
mod telling;

use std::collections::BTreeMap;
use std::time::Duration;

use ecs_deployd::domain::operator_command::OperatorCommand;
use ecs_deployd::table_commands::{self, Told};

use crate::harness::{config, hello_world, pass};
use crate::simulation::ENOUGH_FAILED;
use crate::world::rng::Rng;
use crate::world::{Door, Frozen, FrozenAt, Health, LATEST, SharedTable, TableWeather, World};

use replica::{LEASE, Replica};

/// Lives of each of the two tests.
const LIVES: u64 = 30;
/// The services.
const SERVICES: [&str; 3] = ["hello", "second", "third"];
/// The longest that it may take until there is an active replica, while at least one can be: the lease that nobody renews, the second of
/// looks, and slow answers.
const TAKEOVER: Duration = Duration::from_secs(LEASE.as_secs() + 10);
/// The receiver of every notification.
const OPS: &str = "arn:aws:sns:eu-west-1:111111111111:ops";
/// Calls that change something in ECS.
const WRITES: &[&str] = &["RegisterTaskDefinition", "UpdateService", "StopServiceDeployment", "RunTask", "StopTask"];

#[test]
fn lives_of_two_replicas_keep_every_promise() {
    live_all(2);
}

#[test]
fn lives_of_three_replicas_keep_every_promise() {
    live_all(3);
}

fn live_all(replicas: usize) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("REPLICA_SEED") {
        let _ = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .with_target(false)
            .try_init();
        assert!(live(seed, replicas, true), "seed {seed} failed");
        return;
    }
    let seeds = std::env::var("REPLICA_SEEDS").map_or(0..LIVES, |text| {
        let (from, to) = text.split_once("..").unwrap_or(("0", &text));
        from.parse().unwrap()..to.parse().unwrap()
    });
    let failed: Vec<u64> = seeds.filter(|seed| !live(*seed, replicas, false)).take(ENOUGH_FAILED).collect();
    assert!(failed.is_empty(), "with {replicas} replicas these seeds failed: {failed:?}");
}

fn live(seed: u64, replicas: usize, trace: bool) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.block_on(async {
            let mut life = Life::new(seed, replicas, trace);
            life.go_on().await;
            life.end_well().await;
            life.judge();
        });
    }));
    if lived.is_err() {
        eprintln!("seed {seed} with {replicas} replicas failed");
    }
    lived.is_ok()
}

struct Life {
    rng: Rng,
    trace: bool,
    world: World,
    table: SharedTable,
    replicas: Vec<Option<Replica>>,
    frozen: Vec<Frozen>,
    /// Contents that were pushed, with their digests, in order.
    pushed: Vec<String>,
    stormy: bool,
    /// Until when a storm may have its effects: what was on its way arrives late.
    unsettled_until: Duration,
    /// Since when there is no active replica although there could be one.
    leaderless: Option<Duration>,
    /// Since when each replica runs, is not frozen, and reaches the table: one that was just started has yet to watch the lease.
    able: Vec<Option<Duration>>,
    begun: ecs_deployd::clock::Instant,
}

impl Life {
    fn new(seed: u64, replicas: usize, trace: bool) -> Self {
        let (world, _, first) = hello_world();
        for name in &SERVICES[1..] {
            let image = format!("{}:latest", crate::world::image_uri("hello"));
            let revision = world.register(name, &[("app", &image), ("side", "envoy:1")]);
            world.create_service("web", name, &revision, 2);
        }
        world.set_trace(trace);
        let frozen = (0..replicas as u64).map(|number| Frozen::new(seed ^ (number << 32))).collect();
        let table = SharedTable::new(!seed);
        let mut rng = Rng::new(seed);
        world.set_page_size(usize::try_from(2 + rng.below(8)).unwrap());
        Self {
            rng,
            trace,
            world,
            table,
            replicas: (0..replicas).map(|_| None).collect(),
            frozen,
            pushed: vec![first],
            stormy: false,
            unsettled_until: Duration::ZERO,
            leaderless: None,
            able: vec![None; replicas],
            begun: ecs_deployd::clock::instant(),
        }
    }

    fn say(&self, what: &str) {
        if self.trace {
            eprintln!("-- {:.1}s: {what}", self.begun.elapsed().as_secs_f64());
        }
    }

    fn config() -> String {
        let more: String = SERVICES[1..]
            .iter()
            .map(|name| format!("[[repository.service]]\ncluster = \"web\"\nservice = \"{name}\"\n"))
            .collect();
        let migrates = "[[repository.service.before]]\ncommand = [\"migrate\"]\n";
        config("") + &more + migrates + &format!("[[notify]]\nname = \"ops\"\nsns = \"{OPS}\"\n")
    }

    fn start(&mut self, number: usize) {
        if self.replicas[number].is_none() {
            self.say(&format!("replica {number} starts"));
            let door = Door { replica: number, frozen: self.frozen[number].clone() };
            // Their clocks are hours apart.
            let apart = jiff::SignedDuration::from_hours(7 * i64::try_from(number).unwrap() - 5);
            self.able[number] = None;
            self.replicas[number] = Some(Replica::start(&self.world, &self.table, door, apart, &Self::config()));
        }
    }

    async fn go_on(&mut self) {
        pass(3600).await;
        for number in 0..self.replicas.len() {
            self.start(number);
        }
        self.spend(10).await;
        for _ in 0..25 {
            self.happen().await;
            let span = *self.rng.pick(&[0, 1, 3, 10, 20, 60, 200]);
            self.spend(span).await;
        }
    }

    async fn happen(&mut self) {
        let one = usize::try_from(self.rng.below(self.replicas.len() as u64)).unwrap();
        match self.rng.below(14) {
            0..4 => self.push().await,
            4 => {
                if let Some(replica) = self.replicas[one].take() {
                    self.say(&format!("replica {one} dies"));
                    self.frozen[one].set(false);
                    replica.kill().await;
                }
            }
            5 => {
                if let Some(replica) = self.replicas[one].take().filter(|_| !self.frozen[one].is()) {
                    self.say(&format!("replica {one} stops"));
                    let stopped = tokio::spawn(replica.stop());
                    self.spend(1).await;
                    // One that cannot reach the table is killed by whoever waits for its end.
                    let _ = ecs_deployd::clock::within(Duration::from_secs(60), stopped).await;
                }
            }
            6..8 => self.start(one),
            8 => {
                let frozen = self.frozen[one].clone();
                let at = *self.rng.pick(&[Some(FrozenAt::Beginning), Some(FrozenAt::End), None]);
                self.say(&format!("replica {one} is frozen at its next work: {at:?}"));
                match at {
                    Some(at) => self.table.freeze_at_transaction(one, at, frozen),
                    None => self.world.freeze_at_call(one, WRITES, frozen),
                }
            }
            9 | 13 => {
                let freeze = !self.frozen[one].is();
                self.say(&format!("replica {one} is {}", if freeze { "frozen" } else { "thawed" }));
                self.frozen[one].set(freeze);
            }
            10 => {
                let cut = !self.table.is_cut(one);
                self.say(&format!("replica {one} is {}", if cut { "cut off" } else { "reached again" }));
                self.table.set_cut(one, cut);
            }
            _ => {
                let weather = TableWeather {
                    chance: *self.rng.pick(&[0, 0, 10, 30, 60]),
                    slow: *self.rng.pick(&[0, 0, 20, 500, 4000]),
                };
                self.say(&format!("{weather:?}"));
                self.stormy = weather.chance > 0 || weather.slow > 100;
                self.table.set_weather(weather);
            }
        }
    }

    async fn push(&mut self) {
        // CloudTrail's times are whole seconds.
        self.spend(1).await;
        let number = self.pushed.len();
        let late = jiff::SignedDuration::from_secs(i64::try_from(self.rng.below(200)).unwrap());
        let digest = self.world.push_late("hello", "latest", &format!("content {number}"), late);
        let after = Duration::from_secs(1 + self.rng.below(120));
        self.world.set_health(&digest, Health::After(after));
        self.say(&format!("push {number}: {digest}"));
        self.pushed.push(digest);
    }

    /// Time passes, and it is looked whether somebody is active who could be.
    async fn spend(&mut self, seconds: u64) {
        for _ in 0..seconds {
            pass(1).await;
            let now = self.begun.elapsed();
            for number in 0..self.replicas.len() {
                let can = self.replicas[number].is_some() && !self.frozen[number].is();
                let since = self.able[number].unwrap_or(now);
                self.able[number] = Some(since).filter(|_| can && !self.table.is_cut(number));
            }
            let can = |(number, replica): &(usize, &Option<Replica>)| {
                replica.is_some() && !self.frozen[*number].is() && !self.table.is_cut(*number)
            };
            if self.stormy {
                self.unsettled_until = now + LATEST + LEASE;
            }
            let able: Vec<&Replica> =
                self.replicas.iter().enumerate().filter(can).filter_map(|(_, replica)| replica.as_ref()).collect();
            if able.is_empty() || now < self.unsettled_until || able.iter().any(|replica| replica.is_active()) {
                self.leaderless = None;
            } else {
                // One that is frozen as soon as it is active was active.
                let since = (*self.leaderless.get_or_insert(now)).max(self.table.last_taken());
                let since = since.max(self.able.iter().flatten().min().copied().unwrap_or(now));
                assert!(now - since <= TAKEOVER, "nobody is active since {since:?}, and it is {now:?}");
            }
        }
    }

    /// Everything works again.
    async fn end_well(&mut self) {
        self.say("faults stop");
        self.table.set_weather(TableWeather::default());
        self.table.freeze_nobody();
        self.world.freeze_nobody();
        self.stormy = false;
        for number in 0..self.replicas.len() {
            self.frozen[number].set(false);
            self.table.set_cut(number, false);
            self.start(number);
        }
        self.spend(1800).await;
        let table = self.table.door(Door { replica: 99, frozen: Frozen::default() });
        let told = table_commands::give(
            table.as_ref(),
            LEASE,
            "a-command",
            "web/hello".to_owned(),
            OperatorCommand::Hold { reason: None },
            "arn:aws:iam::111111111111:user/alice (alice)".to_owned(),
        )
        .await
        .unwrap();
        assert!(matches!(&told, Told::Done(text) if text.starts_with("held")), "{told:?}");
    }

    fn judge(&self) {
        // No push is lost, and none is deployed twice.
        let last = self.pushed.last().unwrap();
        for name in SERVICES {
            let runs = self.world.settled_image("web", name, "app");
            assert_eq!(runs.as_ref(), Some(last), "{name} does not run the last push of {:#?}", self.pushed);
            let mut times: BTreeMap<String, usize> = BTreeMap::new();
            for started in self.world.log_of("web", name) {
                let digest = started.digests["app"].clone().unwrap();
                *times.entry(digest).or_default() += 1;
            }
            let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
            assert!(twice.is_empty(), "{name}: deployed more than once: {twice:?}");
        }
        // Nor does what comes before a rollout run twice.
        let mut jobs: BTreeMap<Option<String>, usize> = BTreeMap::new();
        for job in self.world.jobs() {
            *jobs.entry(job.digests["app"].clone()).or_default() += 1;
        }
        let twice: Vec<_> = jobs.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "the task ran more than once: {twice:?}");
        // Nor is anything told twice: whoever told it had written it down, so that nobody after that one decided it anew.
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for message in self.world.messages(OPS) {
            *told.entry(message.id).or_default() += 1;
        }
        let twice: Vec<_> = told.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "told more than once: {twice:?}");
        let completed = |id: &&String| id.contains("/completed/");
        let ends: Vec<&str> = told.keys().filter(completed).filter_map(|id| id.split("/completed/").next()).collect();
        assert!(ends.len() <= SERVICES.len() * (self.pushed.len() - 1), "more ends than pushes: {told:?}");
        // Whoever writes holds the lease, as the table saw it.
        let stale = self.table.stale();
        assert!(stale.is_empty(), "the state was written by others: {stale:#?}");
        for call in self.world.calls().iter().filter(|call| WRITES.contains(&call.operation)) {
            let Some(replica) = call.replica else { continue };
            let holder = self.table.holder_at(call.at);
            let name = format!("replica-{replica}-");
            assert!(
                holder.as_ref().is_some_and(|holder| holder.starts_with(&name)),
                "{} of replica {replica} at {:?}, while {holder:?} holds the lease",
                call.operation,
                call.at
            );
        }
        assert!(self.world.calls().iter().any(|call| call.replica.is_some()), "nobody did anything");
    }
}

/// How an active replica ends.
#[derive(Debug, Clone, Copy)]
enum Gone {
    Crashes,
    Stops,
    Freezes,
}

async fn takeover(seed: u64, gone: Gone) -> Duration {
    let mut life = Life::new(seed, 2, false);
    life.start(0);
    life.spend(5).await;
    life.start(1);
    let span = 20 + life.rng.below(20);
    life.spend(span).await;
    ecs_deployd::clock::sleep(Duration::from_millis(life.rng.below(1_000))).await;
    assert!(life.replicas[0].as_ref().unwrap().is_active() && !life.replicas[1].as_ref().unwrap().is_active());
    let begun = ecs_deployd::clock::instant();
    match gone {
        Gone::Crashes => life.replicas[0].take().unwrap().kill().await,
        Gone::Stops => life.replicas[0].take().unwrap().stop().await,
        Gone::Freezes => life.frozen[0].set(true),
    }
    while !life.replicas[1].as_ref().unwrap().is_active() {
        ecs_deployd::clock::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_takeover_after_a_crash_takes_a_lease_and_after_a_stop_a_second() {
    for (gone, most) in [
        (Gone::Crashes, LEASE + Duration::from_secs(2)),
        (Gone::Freezes, LEASE + Duration::from_secs(2)),
        (Gone::Stops, Duration::from_millis(1_500)),
    ] {
        let mut took = Vec::new();
        for seed in 0..20 {
            took.push(takeover(seed, gone).await);
        }
        took.sort();
        eprintln!("{gone:?}: {:.1?} to {:.1?}, half of them within {:.1?}", took[0], took[19], took[10]);
        assert!(took[19] <= most, "{gone:?}: {took:?}");
    }
}
