//! One life: what there is, and how it goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::domain::deployment::{HookAction, HookTarget};
use jiff::SignedDuration;

use super::migrations::Migrations;
use super::opted::Opted;
use super::timetable::Timetable;
use crate::harness::{Disk, Process, pass, start};
use crate::world::rng::Rng;
use crate::world::{LifecycleHook, QUEUE, World, image_uri};

const CONFIG: &str = r#"
[[notify]]
name = "everything"
sns = "arn:aws:sns:eu-west-1:111111111111:everything"
changes = "all"
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
name = "lib"
semver = ">=1"
[[repository.service]]
cluster = "batch"
service = "v"
[[repository]]
name = "side"
tags = ["release-*", "stable"]
[[repository.service]]
cluster = "batch"
service = "s"
[[repository.service]]
cluster = "web"
service = "both"
"#;

/// Cluster, service, and its containers with the repository that each takes its image from.
pub(super) type ServiceOf = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// The repositories, with the tag of what ran before the daemon came.
pub(super) const REPOSITORIES: [(&str, &str); 3] = [("app", "latest"), ("side", "release-0"), ("lib", "1.0.0")];

pub(super) const SERVICES: [ServiceOf; 5] = [
    ("web", "a", &[("main", "app")]),
    ("web", "b", &[("main", "app")]),
    ("batch", "s", &[("main", "side")]),
    ("batch", "v", &[("main", "lib")]),
    ("web", "both", &[("main", "app"), ("helper", "side")]),
];

/// Services with a migration, in lives that have some.
pub(super) const MIGRATED: [&str; 3] = ["a", "b", "s"];
/// The service that may have a PAUSE hook.
pub(super) const PAUSES: (&str, &str) = ("batch", "v");

/// An image that was pushed.
#[derive(Debug, Clone)]
pub(super) struct Pushed {
    pub(super) digest: String,
    pub(super) good: bool,
    /// When.
    pub(super) at: jiff::Timestamp,
    /// The greater, the more the policy wants it: the number of the push, or what its version amounts to.
    pub(super) rank: u64,
}

/// What kind of life it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    /// The state is lost now and then, and ECR says what to do: `when_missing = "reconcile"`.
    pub(super) forgetful: bool,
    /// Once the daemon is away for longer than CloudTrail remembers.
    pub(super) away: bool,
    /// Service `b` runs no task.
    pub(super) idle: bool,
    /// Operators hold, release, deploy and roll back.
    pub(super) steered: bool,
    /// Changes to ECS are followed, and everybody is notified of them.
    pub(super) audited: bool,
    /// The disk takes its time.
    pub(super) slow_disk: bool,
    /// What fails is left in place: `on_failure = "leave"`.
    pub(super) leaves: bool,
    /// Service `s` is deployed blue/green, with a bake time.
    pub(super) bakes: bool,
    /// CloudTrail's page tokens are of no use after a few seconds.
    pub(super) short_tokens: bool,
    /// Images that run are deleted from ECR before services are compared with it.
    pub(super) expires: bool,
    /// ECS takes its time before it goes back by itself.
    pub(super) hesitates: bool,
    /// Rollouts stay under watch after ECS has completed them: `monitor = "2m"`. Some bad images are complete in ECS's eyes.
    pub(super) monitors: bool,
    /// The services in [`MIGRATED`] have a migration before each rollout, which fails with some images and never ends with others.
    pub(super) migrates: bool,
    /// Service `a` has CloudWatch alarms, for which ECS waits longer than the timeout.
    pub(super) alarmed: bool,
    /// Service `v` has a PAUSE hook.
    pub(super) pauses: bool,
    /// Service `b` has a hook at which a Lambda function takes longer than the timeout.
    pub(super) calls: bool,
    /// Service `s` is one of Express Mode.
    pub(super) express: bool,
    /// A queue tells of pushes, too: late, out of order, twice or not at all.
    pub(super) queued: bool,
    /// A schedule and a rule follow two of the repositories.
    pub(super) scheduled: bool,
    /// A further service opts in by a tag. Where the state is lost nobody knows since when it is known.
    pub(super) opts: bool,
}

impl Kind {
    /// Not from the numbers that the life goes by, so that a further kind leaves all other lives as they are.
    fn of(seed: u64) -> Self {
        let is = |kind: u64, percent| Rng::new(seed ^ (kind << 32)).percent(percent);
        Self {
            forgetful: is(1, 20),
            away: is(2, 20),
            idle: is(3, 15),
            steered: is(4, 30),
            audited: is(5, 30),
            slow_disk: is(6, 20),
            leaves: is(7, 10),
            bakes: is(8, 20),
            short_tokens: is(9, 30),
            expires: is(10, 60),
            hesitates: is(11, 30),
            monitors: is(12, 40),
            migrates: is(13, 40),
            // The numbers leave the lives in which a promise was broken once as they were.
            alarmed: is(18, 40),
            pauses: is(35, 40),
            calls: is(30, 40),
            express: is(33, 40),
            queued: is(13, 50),
            scheduled: is(50, 40),
            opts: is(60, 40) && !is(1, 20),
        }
    }
}

pub(super) struct Life {
    pub(super) rng: Rng,
    /// For what is particular to a kind: it leaves the lives of other kinds as they are.
    pub(super) aside: Rng,
    pub(super) trace: bool,
    pub(super) kind: Kind,
    pub(super) world: World,
    pub(super) disk: Arc<Disk>,
    pub(super) process: Option<Process>,
    /// Scheduled tasks, in lives that have some.
    pub(super) timetable: Option<Timetable>,
    /// The service that opts in, in lives that have one.
    pub(super) opted: Option<Opted>,
    /// How migrations fare, in lives that have some.
    pub(super) migrations: Option<Migrations>,
    /// By repository, in the order of the pushes; the first one ran before the daemon came.
    pub(super) pushed: BTreeMap<&'static str, Vec<Pushed>>,
    /// The rank of the best push of each of its repositories when somebody else changed a service, the last time.
    pub(super) meddled: BTreeMap<(&'static str, &'static str), u64>,
    /// When somebody else changed a service.
    pub(super) meddlings: BTreeMap<&'static str, Vec<jiff::Timestamp>>,
    /// When something was pushed to a repository, the last time.
    pub(super) last_push: BTreeMap<&'static str, jiff::Timestamp>,
    /// Services that were given commands.
    pub(super) ordered: BTreeSet<&'static str>,
    /// How often an operator has answered, or tried to answer, a hook.
    pub(super) answers: usize,
    /// Services that somebody else may have set to a bad image.
    pub(super) spoiled: BTreeSet<&'static str>,
    /// Repositories of which a tag was away for a while.
    pub(super) vanished: BTreeSet<&'static str>,
    /// Images that ran when they were deleted from ECR.
    pub(super) expired: BTreeSet<String>,
    pub(super) absent: Duration,
    /// Of what was told before this, ECR knows more than events do.
    pub(super) compared_at: jiff::Timestamp,
    pub(super) began: jiff::Timestamp,
}

impl Life {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let world = World::new();
        let rng = Rng::new(seed);
        let kind = Kind::of(seed);
        let mut pushed = BTreeMap::new();
        for (repository, tag) in REPOSITORIES {
            world.create_repository(repository);
            let digest = world.push(repository, tag, "first");
            pushed.insert(repository, vec![Pushed { digest, good: true, rank: 0, at: world.now() }]);
        }
        let began = world.now();
        let mut life = Self {
            rng,
            aside: Rng::new(seed ^ (99 << 32)),
            trace,
            kind,
            world,
            disk: Arc::default(),
            process: None,
            timetable: None,
            opted: None,
            migrations: kind.migrates.then(|| Migrations::new(seed)),
            pushed,
            meddled: BTreeMap::new(),
            meddlings: BTreeMap::new(),
            last_push: BTreeMap::new(),
            ordered: BTreeSet::new(),
            answers: 0,
            spoiled: BTreeSet::new(),
            vanished: BTreeSet::new(),
            expired: BTreeSet::new(),
            absent: Duration::ZERO,
            compared_at: began,
            began,
        };
        for service in SERVICES {
            life.create(service);
        }
        life.timetable = kind.scheduled.then(|| {
            let first = |repository: &str| life.pushed[repository][0].digest.clone();
            Timetable::new(seed, &life.world, first)
        });
        life.opted = kind.opts.then(|| Opted::new(seed, &life.world));
        life.world.set_page_size(usize::try_from(2 + life.rng.below(8)).unwrap());
        life.world.set_overlapping_pages(life.rng.percent(50));
        life.world.set_witness(&life.disk);
        life.disk.set_slow(kind.slow_disk.then(|| Rng::new(!seed)));
        // Whoever is away for longer than ECS tells of a task cannot know how it ended.
        life.world.tell_of_tasks_for(SignedDuration::from_hours(24 * 365));
        if kind.queued {
            life.world.set_queue_way(Some(Rng::new(!seed ^ (13 << 32))));
            life.world.fill_queue();
        }
        life.world.set_token_life(kind.short_tokens.then_some(SignedDuration::from_secs(8)));
        life.world.set_trace(trace);
        life.say(&format!("{kind:?}"));
        life
    }

    /// Creates a service that runs the first images.
    pub(super) fn create(&mut self, (cluster, name, containers): ServiceOf) {
        let by_tag = self.rng.percent(60);
        let image = |repository: &str| {
            let (_, tag) = REPOSITORIES.into_iter().find(|(name, _)| *name == repository).unwrap();
            let digest = &self.pushed[repository][0].digest;
            let pin = if by_tag { format!(":{tag}") } else { format!("@{digest}") };
            format!("{}{pin}", image_uri(repository))
        };
        let images: Vec<(&str, String)> =
            containers.iter().map(|(container, repository)| (*container, image(repository))).collect();
        let images: Vec<(&str, &str)> = images.iter().map(|(name, image)| (*name, image.as_str())).collect();
        // Two of the services share a family.
        let family = if containers.len() == 1 && cluster == "web" { "shared" } else { name };
        let revision = self.world.register(family, &images);
        self.world.create_service(cluster, name, &revision, if self.kind.idle && name == "b" { 0 } else { 2 });
        let (classic, breaker, lag) = (self.rng.percent(30), self.rng.percent(40), self.rng.below(8));
        let hesitates = self.kind.hesitates;
        self.world.edit_service(cluster, name, |service| {
            service.classic = classic;
            service.breaker_rolls_back = breaker && !classic;
            service.begins_back_after = SignedDuration::from_secs(if hesitates { 25 } else { 0 });
            service.lag = SignedDuration::from_secs(i64::try_from(lag).unwrap());
        });
        if self.kind.bakes && name == "s" {
            self.world.edit_service(cluster, name, |service| service.bake = SignedDuration::from_mins(5));
        }
        self.set_what_ecs_waits_for(cluster, name, by_tag);
    }

    /// What ECS waits for on purpose in each deployment of a service.
    fn set_what_ecs_waits_for(&mut self, cluster: &str, name: &str, by_tag: bool) {
        let minutes = |minutes: u64| SignedDuration::from_mins(i64::try_from(minutes).unwrap());
        let (longer, hours) = (minutes(12 + self.aside.below(40)), minutes(60 * (2 + self.aside.below(8))));
        // Where the state may be lost, so may be what was refused. A rollback by a tag may be to what was refused.
        // Nor is it known what to go back to once ECS has completed something that fails later.
        let refuses = self.aside.percent(30) && !self.kind.forgetful && !self.kind.monitors && !by_tag;
        let then = if refuses { HookAction::Rollback } else { HookAction::Continue };
        let expires = self.aside.percent(50).then_some((hours, then));
        let kind = self.kind;
        self.world.edit_service(cluster, name, |service| {
            // Behind a Classic Load Balancer ECS neither watches alarms nor calls hooks.
            let plain = service.classic;
            match name {
                "a" if kind.alarmed => service.alarm_bake = Some(longer),
                "b" if kind.calls => {
                    service.hook = Some(LifecycleHook { target: HookTarget::Lambda, ends: Some((longer, then)) });
                }
                "v" if kind.pauses => service.hook = Some(LifecycleHook { ends: expires, ..LifecycleHook::PAUSE }),
                "s" if kind.express => service.express = true,
                _ => return,
            }
            service.classic = plain && service.express;
        });
    }

    pub(super) fn say(&self, what: &str) {
        if self.trace {
            eprintln!("-- {what}");
        }
    }

    pub(super) fn start(&mut self) {
        if self.process.is_none() {
            self.say("start");
            if self.disk.state().is_none() {
                self.compared_at = self.world.now();
            }
            self.process = Some(start(&self.world, &self.disk, &self.config()));
        }
    }

    pub(super) fn config(&self) -> String {
        let missing = if self.kind.forgetful { "reconcile" } else { "ignore" };
        let audit = if self.kind.audited { "[audit]\nevents = [\"UpdateService\", \"StopTask\"]\n" } else { "" };
        let queue = match self.kind.queued {
            true => format!("[aws.default]\nregion = \"eu-west-1\"\nqueue = \"{QUEUE}\"\n"),
            false => String::new(),
        };
        let monitor = if self.kind.monitors { "monitor = \"2m\"\n" } else { "" };
        let on_failure = if self.kind.leaves { "leave" } else { "rollback" };
        let mut services = CONFIG.to_owned();
        for name in MIGRATED.iter().filter(|_| self.kind.migrates) {
            let line = format!("service = \"{name}\"\n");
            let task =
                format!("[[repository.service.before]]\ncommand = [\"migrate\", \"{name}\"]\ntimeout = \"5m\"\n");
            services = services.replace(&line, &format!("{line}{task}"));
        }
        if self.kind.scheduled {
            services = Timetable::configured(services);
        }
        let discovers = if self.kind.opts { Opted::CONFIG } else { "" };
        format!(
            "[state]\npath = \"/state.json\"\nwhen_missing = \"{missing}\"\n[deploy]\ntimeout = \"10m\"\non_failure = \"{on_failure}\"\n{monitor}{queue}{audit}{discovers}{services}"
        )
    }

    pub(super) async fn go_on(&mut self) {
        // What ran before was pushed well before the first start.
        pass(3600).await;
        self.start();
        pass(10).await;
        for step in 0..30 {
            if self.kind.away && step == 20 {
                self.stay_away().await;
            }
            self.happen().await;
            self.answer_hook(40).await;
            self.reschedule();
            self.opt();
            let span = *self.rng.pick(&[0, 1, 5, 7, 30, 60, 240, 900, 3600]);
            ecs_deployd::clock::sleep(Duration::from_millis(span * 1000 + self.rng.below(1000))).await;
            if self.rng.percent(80) {
                self.start();
            }
            self.check();
            self.check_timetable();
        }
    }

    /// Faults stop, and time passes until every event was delivered and every rollout has ended.
    pub(super) async fn end_well(&mut self) {
        self.world.set_weather(None);
        self.mend_timetable();
        self.world.set_clock_ahead(SignedDuration::ZERO);
        self.start();
        self.say("faults stop");
        pass(60).await;
        self.release_all().await;
        self.opt_in_at_last().await;
        for _ in 0..14 {
            pass(3600).await;
            self.check();
            self.check_waiting();
            self.approve().await;
        }
    }

    /// The days that passed, an absence of months aside.
    pub(super) fn days(&self) -> f64 {
        let all = Duration::try_from(self.world.now().duration_since(self.began)).unwrap();
        (all - self.absent).as_secs_f64() / 86_400.0
    }
}
