//! A service that opts in by a tag in a life, while somebody gives it the tag and takes it away, and the tags cannot be read now and then.

use ecs_deployd::aws::Fault;
use ecs_deployd::domain::types::ServiceKey;
use jiff::{SignedDuration, Timestamp};

use super::life::Life;
use crate::harness::pass;
use crate::world::rng::Rng;
use crate::world::{World, image_uri};

const REPOSITORY: &str = "opt";
const CLUSTER: &str = "web";
const SERVICE: &str = "opted";
const TAG: &str = "ecs-deployd";
const READS: &str = "GetResources";
/// The daemon's clock may be wrong by two hours when it finds a service, and it looks once a minute.
const MARGIN: SignedDuration = SignedDuration::from_mins(130);

/// A push to the repository that nothing but the tag makes anybody follow. Every one is good.
#[derive(Debug)]
struct Push {
    digest: String,
    at: Timestamp,
    /// The service was known by its tag, which it had for long: the push is for it.
    expected: bool,
    /// The service had no tag, and was not known.
    foreign: bool,
}

/// The service of a life.
#[derive(Debug)]
pub(super) struct Opted {
    /// Apart from all others, so that it leaves other kinds of lives as they are.
    rng: Rng,
    has_tag: bool,
    /// When the tag came, each time.
    gained: Vec<Timestamp>,
    changed: Timestamp,
    pushes: Vec<Push>,
}

impl Opted {
    pub(super) fn new(seed: u64, world: &World) -> Self {
        world.create_repository(REPOSITORY);
        let first = world.push(REPOSITORY, "latest", "the first one");
        let revision = world.register(SERVICE, &[("main", &format!("{}@{first}", image_uri(REPOSITORY)))]);
        world.create_service(CLUSTER, SERVICE, &revision, 2);
        let at = world.now();
        let first = Push { digest: first, at, expected: false, foreign: true };
        Self { rng: Rng::new(seed ^ (97 << 32)), has_tag: false, gained: Vec::new(), changed: at, pushes: vec![first] }
    }

    /// What makes the daemon look for it.
    pub(super) const CONFIG: &str = "[policy.opted]\ntags = [\"latest\"]\n[[discover]]\nevery = \"1m\"\n";
}

impl Life {
    /// After each step: the tag comes or goes, an image is pushed, or the tags cannot be read for a while.
    pub(super) fn opt(&mut self) {
        let Some(opted) = &mut self.opted else { return };
        self.world.mend_operation(READS);
        match opted.rng.below(10) {
            0..=1 => self.turn_tag(),
            2..=4 => {
                let latest = if opted.rng.percent(70) { 300 } else { 10 * 3600 };
                let late = opted.rng.below(latest);
                self.push_opted(late);
            }
            5 => {
                self.say("tags cannot be read");
                self.world.break_operation(READS, Fault::Denied);
            }
            _ => {}
        }
    }

    fn turn_tag(&mut self) {
        let now = self.world.now();
        let Some(opted) = &mut self.opted else { return };
        (opted.has_tag, opted.changed) = (!opted.has_tag, now);
        if opted.has_tag {
            opted.gained.push(now);
            self.world.tag(CLUSTER, SERVICE, TAG, "opted");
        } else {
            self.world.untag(CLUSTER, SERVICE, TAG);
        }
        let has_tag = opted.has_tag;
        self.say(&format!("{SERVICE} has the tag: {has_tag}"));
    }

    fn push_opted(&mut self, late: u64) {
        let now = self.world.now();
        let known = self.is_discovered();
        let Some(opted) = &mut self.opted else { return };
        // Of two pushes within one second nobody knows which one is the newer.
        if opted.pushes.last().is_some_and(|last| now.duration_since(last.at) < SignedDuration::from_secs(2)) {
            return;
        }
        let late = SignedDuration::from_secs(i64::try_from(late).unwrap());
        let content = format!("opted {}", opted.pushes.len());
        let digest = self.world.push_late(REPOSITORY, "latest", &content, late);
        let expected = known && opted.has_tag && now.duration_since(opted.changed) >= MARGIN;
        let foreign = !known && !opted.has_tag;
        opted.pushes.push(Push { digest: digest.clone(), at: now, expected, foreign });
        self.say(&format!("{digest} is pushed to {REPOSITORY}, expected: {expected}, foreign: {foreign}"));
    }

    fn is_discovered(&self) -> bool {
        let key = ServiceKey::try_from(format!("default/{CLUSTER}/{SERVICE}")).unwrap();
        let state = self.disk.durable_state();
        state.is_some_and(|state| state.services.get(&key).is_some_and(|known| known.discovered.is_some()))
    }

    /// When faults have stopped: what was pushed for it runs by now. What is pushed while it has no tag, and is reported when it has one, is not
    /// for it; the next push is.
    pub(super) async fn opt_in_at_last(&mut self) {
        if self.opted.is_none() {
            return;
        }
        self.world.mend_operation(READS);
        pass(12 * 3600).await;
        if let Some(Opted { has_tag: true, pushes, .. }) = &self.opted
            && let Some(Push { digest, expected: true, .. }) = pushes.last()
        {
            let runs = self.world.settled_image(CLUSTER, SERVICE, "main");
            assert_eq!(runs.as_ref(), Some(digest), "{SERVICE}: the last push is not deployed: {:#?}", self.opted);
        }
        if self.opted.as_ref().is_some_and(|opted| opted.has_tag) {
            self.turn_tag();
        }
        pass(600).await;
        assert!(!self.is_discovered(), "{SERVICE} has not had the tag for ten minutes");
        self.push_opted(5 * 3600);
        pass(3 * 3600).await;
        self.turn_tag();
        pass(4 * 3600).await;
        assert!(self.is_discovered(), "{SERVICE} has had the tag for hours");
        self.push_opted(0);
    }

    /// After the life: it runs the last push, it never went back, and it got nothing that was pushed while it was nobody's business.
    pub(super) fn judge_opted(&self) {
        let Some(opted) = &self.opted else { return };
        let runs = self.world.settled_image(CLUSTER, SERVICE, "main");
        assert_eq!(runs.as_ref(), opted.pushes.last().map(|push| &push.digest), "{SERVICE}: {opted:#?}");
        let place = |digest: &str| opted.pushes.iter().position(|push| push.digest == digest).unwrap();
        let mut newest = 0;
        for started in self.world.log_of(CLUSTER, SERVICE) {
            let digest = started.digests["main"].clone().unwrap();
            let number = place(&digest);
            assert!(number > newest, "{SERVICE} went back to {digest}, or got it twice: {opted:#?}");
            newest = number;
            let push = &opted.pushes[number];
            let soon = opted.gained.iter().any(|gained| *gained >= push.at && gained.duration_since(push.at) < MARGIN);
            assert!(!push.foreign || soon, "{SERVICE} got {digest}, pushed before it had the tag: {opted:#?}");
        }
    }
}
