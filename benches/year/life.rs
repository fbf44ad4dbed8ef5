//! The life of a daemon with many services, day after day.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ecs_deployd::aws::Fault;
use ecs_deployd::domain::source::{FirstSeen, PushSource};
use ecs_deployd::domain::state::{CommandRecord, OperatorCommand, Outcome, PushRef, RollbackTarget, State};
use ecs_deployd::domain::types::{Digest, EventId, ServiceKey, Tag, TaskDefinitionArn};
use ecs_deployd::state_store::render;
use jiff::SignedDuration;

use crate::deployed;
use crate::harness::{self, Disk, Process, pass};
use crate::world::{Health, QUEUE, World, image_uri};

/// A day has so many rounds of the same things.
const ROUNDS: u64 = 2;
/// Pushes to repositories that are followed, in a round. One service runs each.
const PUSHES: usize = 6;
/// Pushes to repositories that nobody follows, each of a name of its own, in a round. CloudTrail and the queue tell of them.
const UNKNOWN: usize = 10;
/// Requests of people that name a service which nobody knows, in a round, each another one.
const STRANGE_REQUESTS: usize = 1;
/// Changes that others make to services that are followed, in a round, and so many to services of others, each of a name of its own.
const CHANGES: usize = 60;
/// Services of a cluster.
const OF_A_CLUSTER: usize = 300;
/// Every so many services one is changed by others as well.
const SHARED: usize = 25;
/// The outcomes, and the commands, that the state keeps for all services together, and for one.
const KEPT_IN_ALL: usize = 2_000;
const KEPT_OF_ONE: usize = 20;
/// A receiver of notifications that nothing can be delivered to.
const DEAD: &str = "arn:aws:sns:eu-west-1:111111111111:dead";
/// One that takes everything.
const ALIVE: &str = "arn:aws:sns:eu-west-1:111111111111:alive";
const HOUR: u64 = 3600;

/// What happened in a life.
#[derive(Debug, Default, Clone, Copy)]
pub struct Happened {
    /// Pushes to repositories that are followed, and the rollouts that were begun for them, those back among them.
    pub pushes: usize,
    pub rollouts: usize,
    /// Pushes of a followed repository's tag that no policy takes, pushes to unknown repositories, and messages that tell of no push.
    pub ignored: usize,
    /// Commands of operators, and those that named services which nobody knows.
    pub commands: usize,
    pub strange_commands: usize,
    /// Changes to ECS that others made to services that are followed, and to services of others.
    pub changes: usize,
    pub changes_elsewhere: usize,
    /// Notifications that were delivered to the receiver that lives, and those that the dead one never got.
    pub delivered: usize,
    pub lost: usize,
}

/// What is left of a life.
#[derive(Debug)]
pub struct Kept {
    pub happened: Happened,
    /// The bytes that the daemon had in use.
    pub bytes: usize,
    /// The size of the state file, which is not among them.
    pub state_file: usize,
}

/// A world, and the daemon in it.
pub struct Life {
    services: usize,
    world: World,
    disk: Arc<Disk>,
    process: Process,
    happened: Happened,
    /// Counts what shall have a name of its own.
    names: usize,
    /// Services that were rolled, in turn.
    turn: usize,
    /// Changes of others, in turn.
    others: usize,
    /// The service whose last push failed: the next one corrects it.
    failed: Option<usize>,
}

fn name(number: usize) -> String {
    format!("team-{}-app-{number}", number / 100)
}

fn cluster(number: usize, of: usize) -> String {
    format!("cluster-{}", number % of.div_ceil(OF_A_CLUSTER))
}

/// Polls and looks at changes are far apart, so that a year takes minutes: what is kept of events depends on how old they are. The queue tells
/// of pushes at once.
fn configuration(services: usize) -> String {
    let mut text = format!(
        "[poll]\ninterval = \"1h\"\n[audit]\ninterval = \"4h\"\n[aws.default]\nregion = \"eu-west-1\"\nqueue = \"{QUEUE}\"\n"
    );
    for (name, topic) in [("dead", DEAD), ("alive", ALIVE)] {
        let _ = write!(text, "[[notify]]\nname = \"{name}\"\nsns = \"{topic}\"\nchanges = \"all\"\n");
    }
    for number in 0..services {
        let (name, cluster) = (name(number), cluster(number, services));
        let _ = write!(
            text,
            "[[repository]]\nname = \"{name}\"\ntags = [\"latest\"]\n[[repository.service]]\ncluster = \"{cluster}\"\nservice = \"{name}\"\n"
        );
    }
    text
}

/// A state as years leave it: every service was rolled more than once and released once, and of outcomes and commands there are as many as are
/// kept. `older` has each service with the revision before, and whether others change it, so that there is none to go back to by its digests.
fn after_years(mut state: State, older: &BTreeMap<ServiceKey, (TaskDefinitionArn, bool)>) -> State {
    let of_each = (KEPT_IN_ALL / older.len()).clamp(1, KEPT_OF_ONE);
    for (place, (key, (revision, is_shared))) in (1..).zip(older) {
        let known = state.services.get_mut(key).unwrap();
        let deployed = known.deployed.as_mut().unwrap();
        let at = deployed.since - SignedDuration::from_mins(i64::try_from(place).unwrap());
        let push = PushRef {
            event: EventId::parse(&format!("message-{place:06}")).unwrap(),
            tag: Some(Tag::parse("latest").unwrap()),
            at,
            digest: None,
            seen: Some(FirstSeen { at, by: PushSource::Queue }),
        };
        for (repository, target) in &mut deployed.targets {
            (target.push, target.image_pushed_at) = (push.clone(), Some(at));
            known.decided.insert(repository.clone(), push.clone());
        }
        let targets = if *is_shared { BTreeMap::new() } else { deployed.targets.clone() };
        deployed.rollback_target =
            Some(RollbackTarget { revision: revision.clone(), pinned: BTreeMap::new(), targets });
        deployed.since = at;
        let targets = deployed.targets.clone();
        let given = |command| CommandRecord { at, by: "alice".to_owned(), command, answer: "done".to_owned() };
        known.note_command(given(OperatorCommand::Release));
        let outcome = Outcome { decided_at: at, ended_at: at, targets, ..known.history.pop_front().unwrap() };
        if place <= KEPT_IN_ALL {
            for _ in 0..of_each {
                known.remember(outcome.clone());
                known.note_command(given(OperatorCommand::Deploy));
            }
        }
    }
    state
}

impl Life {
    /// A world with so many services, each of which has been deployed more than once, and a daemon that has just started.
    pub async fn begin(services: usize) -> Self {
        let world = World::new();
        let mut older = BTreeMap::new();
        for number in 0..services {
            let (name, cluster) = (name(number), cluster(number, services));
            world.create_repository(&name);
            let digest = world.push(&name, "latest", "first");
            let image = format!("{}@{digest}", image_uri(&name));
            let first = world.register(&name, &[("app", &image)]);
            let revision = world.register(&name, &[("app", &image)]);
            world.create_service(&cluster, &name, &revision, 2);
            let key = ServiceKey::try_from(format!("default/{cluster}/{name}")).unwrap();
            older.insert(key, (TaskDefinitionArn::parse(&first).unwrap(), number % SHARED == 0));
        }
        // By now CloudTrail has forgotten these pushes.
        pass(91 * 24 * HOUR).await;
        world.forget_old_events();
        world.fill_queue();
        world.break_topic(DEAD, Some(Fault::Unavailable));
        let config = configuration(services);
        let state = deployed::state(&config, world.now(), |key| {
            let (cluster, service) = (key.cluster.as_str(), key.service.as_str());
            let [digest] = &world.digests_of(cluster, service)[..] else { panic!("{service} has one container") };
            let revision = TaskDefinitionArn::parse(&world.revision_of(cluster, service)).unwrap();
            (Digest::parse(digest).unwrap(), revision)
        });
        let disk = Arc::<Disk>::default();
        let process = harness::start_on(&world, Arc::<Disk>::clone(&disk), after_years(state, &older), &config);
        let happened = Happened::default();
        Self { services, world, disk, process, happened, names: 0, turn: 0, others: 0, failed: None }
    }

    /// A day. `looked_at` says whether somebody looks at all services in it.
    pub async fn day(&mut self, looked_at: bool) {
        for round in 0..ROUNDS {
            self.unknown();
            self.commands().await;
            pass(24 * HOUR / ROUNDS - HOUR).await;
            self.pushes(round == 0).await;
            self.world.forget_calls();
        }
        self.process.metrics.render().unwrap();
        if looked_at {
            assert_eq!(self.process.status().await.services.len(), self.services);
            // The look at all services takes a few minutes.
            pass(600).await;
        }
        self.world.forget_old_events();
    }

    /// Pushes that take an hour with all that follows. If `fails`, the first one fails and is rolled back; the round after that begins with its
    /// correction. Others change services.
    async fn pushes(&mut self, fails: bool) {
        let mut pushed = Vec::new();
        for place in 0..PUSHES {
            let number = self.failed.take().unwrap_or_else(|| self.next());
            let (name, cluster) = (name(number), cluster(number, self.services));
            let before = self.world.digests_of(&cluster, &name).pop();
            let begun = self.world.started(&cluster, &name).len();
            let digest = self.world.push(&name, "latest", &format!("content {}", self.happened.pushes));
            self.happened.pushes += 1;
            let breaks = fails && place == 0;
            if breaks {
                self.world.set_health(&digest, Health::BreaksAfter(Duration::from_secs(60)));
            }
            let expected = if breaks { before } else { Some(digest) };
            pushed.push((number, name, cluster, begun, expected, breaks));
        }
        pass(HOUR - 60).await;
        for (number, name, cluster, begun, expected, breaks) in pushed {
            assert_eq!(self.world.settled_image(&cluster, &name, "app"), expected, "what {name} runs");
            self.happened.rollouts += self.world.started(&cluster, &name).len() - begun;
            if breaks {
                self.failed = Some(number);
            }
        }
        for _ in 0..CHANGES {
            self.others += 1;
            let other = self.others * SHARED % self.services;
            self.world.meddle(&cluster(other, self.services), &name(other), false);
        }
        self.happened.changes += CHANGES;
        pass(60).await;
    }

    /// Every service has its turn, in an order that is not that of their names.
    fn next(&mut self) -> usize {
        self.turn += 1;
        self.turn * 7919 % self.services
    }

    fn some_service(&self) -> usize {
        self.names * 7919 % self.services
    }

    fn new_name(&mut self, of: &str) -> String {
        self.names += 1;
        format!("{of}-{}", self.names)
    }

    /// What concerns nobody: pushes to repositories that are not followed, a tag that no policy takes, messages that tell of no push, and
    /// changes to services of others.
    fn unknown(&mut self) {
        for _ in 0..UNKNOWN {
            let name = self.new_name("unknown/repository");
            self.world.create_repository(&name);
            self.world.push(&name, "latest", "unknown");
        }
        let (name, tag) = (name(self.some_service()), self.new_name("nightly"));
        self.world.push(&name, &tag, &tag);
        let message = self.new_name("no push");
        self.world.put_message(&format!("{{\"message\": \"{message}\"}}"));
        self.happened.ignored += UNKNOWN + 2;
        for _ in 0..CHANGES {
            let name = self.new_name("unknown-service");
            let revision = self.world.register(&name, &[("app", "nginx:1")]);
            self.world.create_service("elsewhere", &name, &revision, 1);
            self.world.meddle("elsewhere", &name, false);
            self.world.delete_service("elsewhere", &name);
            self.happened.changes_elsewhere += 1;
        }
    }

    /// A service is held and released, and services that nobody knows are to be.
    async fn commands(&mut self) {
        let number = self.some_service();
        let service = format!("{}/{}", cluster(number, self.services), name(number));
        let hold = || OperatorCommand::Hold { reason: Some("a day without releases".to_owned()) };
        self.process.command(&service, hold()).await.unwrap();
        self.process.command(&service, OperatorCommand::Release).await.unwrap();
        self.happened.commands += 2;
        for _ in 0..STRANGE_REQUESTS {
            let name = self.new_name("elsewhere/unknown-service");
            self.process.command(&name, hold()).await.unwrap_err();
            self.happened.strange_commands += 1;
        }
    }

    /// Takes the daemon away. `in_use` counts bytes.
    pub async fn end(mut self, in_use: impl Fn() -> usize) -> Kept {
        let told = |receiver: &str, outcome: &str| {
            let series = format!("ecs_deployd_notifications_total{{outcome=\"{outcome}\",receiver=\"{receiver}\"}}");
            self.process.metric(&series) as usize
        };
        self.happened.delivered = told("alive", "sent");
        self.happened.lost = told("dead", "failed") + told("dead", "dropped");
        assert_eq!(told("dead", "sent"), 0, "the dead receiver takes nothing");
        let Self { process, disk, happened, world, .. } = self;
        let state_file = render(&disk.state().unwrap()).len();
        // The files are on the disk, and not in the memory of a real daemon.
        disk.lose();
        let before = in_use();
        process.stop().await;
        drop(disk);
        // Tasks that were aborted end the next time that they would go on.
        pass(60).await;
        let bytes = before - in_use();
        drop(world);
        Kept { happened, bytes, state_file }
    }
}
