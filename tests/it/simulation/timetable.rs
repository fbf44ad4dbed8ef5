//! Scheduled tasks in a life: a schedule and a rule follow the image, while somebody else changes whatever else they say.

use std::collections::BTreeMap;

use ecs_deployd::aws::Fault;
use ecs_deployd::domain::types::ServiceKey;
use serde_json::{Value, json};

use super::life::Life;
use crate::world::rng::Rng;
use crate::world::{World, image_uri};

/// What stands in the configuration, the repository that is followed, and the key in the state.
const FOLLOWERS: [(&str, &str, &str); 2] = [
    ("scheduler = \"nightly\"", "app", "default/schedule/default/nightly"),
    ("rule = \"bus/hourly\"", "side", "default/schedule/rule/bus/hourly"),
];
/// The operations by which they are written, in the same order.
const WRITES: [&str; 2] = ["UpdateSchedule", "PutTargets"];
/// Where a schedule and a target name the task definition.
const TASK_DEFINITION: &str = "/EcsParameters/TaskDefinitionArn";

/// What is known of a follower.
#[derive(Debug)]
struct Follower {
    /// What it says but for the task definition, as somebody else has set it last.
    says: Value,
    /// The revision that it named at first.
    first: String,
    /// The greatest rank of what it named so far.
    highest: u64,
    /// The rank of the best push when somebody else set it to another revision, the last time.
    meddled: Option<u64>,
}

/// The schedule and the rule of a life.
#[derive(Debug)]
pub(super) struct Timetable {
    /// Apart from all others, so that it leaves other kinds of lives as they are.
    rng: Rng,
    followers: BTreeMap<&'static str, Follower>,
}

impl Timetable {
    pub(super) fn new(seed: u64, world: &World, first: impl Fn(&str) -> String) -> Self {
        let mut followers = BTreeMap::new();
        for (index, (_, repository, key)) in FOLLOWERS.into_iter().enumerate() {
            let image = format!("{}@{}", image_uri(repository), first(repository));
            let revision = world.register(["nightly", "hourly"][index], &[("main", &image)]);
            let target = json!({
                "Id": "task", "Arn": "arn:aws:ecs:eu-west-1:111111111111:cluster/batch", "FutureToo": {"deep": [1, null]},
                "RoleArn": "arn:aws:iam::111111111111:role/schedules", "EcsParameters": {"TaskDefinitionArn": revision},
            });
            let says = match index {
                0 => json!({
                    "Name": "nightly", "GroupName": "default", "State": "ENABLED", "FutureMember": 0,
                    "ScheduleExpression": "rate(1 day)", "Target": target,
                }),
                _ => json!({ "Targets": [{"Id": "queue", "Arn": "arn:aws:sqs:eu-west-1:111111111111:q"}, target] }),
            };
            let follower = Follower { says, first: revision, highest: 0, meddled: None };
            set(world, key, &follower.says);
            followers.insert(key, follower);
        }
        Self { rng: Rng::new(seed ^ (98 << 32)), followers }
    }

    /// The configuration with them.
    pub(super) fn configured(mut config: String) -> String {
        for (named, repository, _) in FOLLOWERS {
            let begins = format!("[[repository]]\nname = \"{repository}\"\n");
            let (before, after) = config.split_once(&begins).unwrap();
            let (policy, services) = after.split_once('\n').unwrap();
            config = format!("{before}{begins}{policy}\n[[repository.schedule]]\n{named}\n{services}");
        }
        config
    }
}

impl Life {
    /// Somebody else changes a schedule or a rule, or it cannot be written for a while. Whoever writes it in the very moment in which the daemon
    /// does may lose that, as EventBridge knows no condition: nobody does.
    pub(super) fn reschedule(&mut self) {
        let Some(timetable) = &mut self.timetable else { return };
        let (what, index) = (timetable.rng.below(10), usize::try_from(timetable.rng.below(2)).unwrap());
        let (_, repository, key) = FOLLOWERS[index];
        self.world.mend_operation(WRITES[index]);
        let is_idle = self.disk.state().is_none_or(|state| {
            state
                .services
                .get(&ServiceKey::try_from(key.to_owned()).unwrap())
                .is_none_or(|known| known.rollout.is_none())
        });
        match what {
            0 => {
                self.say(&format!("{} is denied", WRITES[index]));
                self.world.break_operation(WRITES[index], Fault::Denied);
            }
            1..=2 if is_idle => self.edit(key, repository, false),
            3 if is_idle => self.edit(key, repository, true),
            _ => {}
        }
    }

    fn edit(&mut self, key: &'static str, repository: &str, goes_back: bool) {
        self.check_timetable();
        self.say(&format!("somebody else changes {key}, and sets it back: {goes_back}"));
        let best = self.best(repository).rank;
        let now = named(&said(&self.world, key));
        let Some(timetable) = &mut self.timetable else { return };
        let number = timetable.rng.below(1000);
        let follower = timetable.followers.get_mut(key).unwrap();
        let target = target_of(&mut follower.says);
        target["Input"] = json!(format!("{{\"run\": {number}}}"));
        target["FutureToo"]["deep"] = json!([number, null]);
        let revision = if goes_back { follower.first.clone() } else { now };
        *target.pointer_mut(TASK_DEFINITION).unwrap() = json!(revision);
        if goes_back {
            (follower.meddled, follower.highest) = (Some(best), 0);
        }
        set(&self.world, key, &follower.says);
    }

    /// After each step: nothing is lost, and what they run gets newer.
    pub(super) fn check_timetable(&mut self) {
        let Some(timetable) = &mut self.timetable else { return };
        for (_, repository, key) in FOLLOWERS {
            let follower = timetable.followers.get_mut(key).unwrap();
            let mut says = said(&self.world, key);
            let revision = named(&says);
            let digest = digest_of(&self.world, &revision);
            // The same content may have been pushed more than once.
            let mut of_digest = self.pushed[repository].iter().filter(|push| push.digest == digest);
            let rank = of_digest.find(|push| push.rank >= follower.highest).map(|push| push.rank);
            let pushed = || panic!("{key} went back to {digest}: {:#?}", self.pushed[repository]);
            follower.highest = rank.unwrap_or_else(pushed);
            *target_of(&mut says).pointer_mut(TASK_DEFINITION).unwrap() = Value::Null;
            *target_of(&mut follower.says).pointer_mut(TASK_DEFINITION).unwrap() = Value::Null;
            says.as_object_mut().unwrap().remove("LastModificationDate");
            assert_eq!(says, follower.says, "{key}: something was lost");
        }
    }

    /// After the life: they run the best push, good or bad, as nothing of them is watched.
    pub(super) fn judge_timetable(&mut self) {
        self.check_timetable();
        let Some(timetable) = &self.timetable else { return };
        let state = self.disk.state().unwrap();
        for (_, repository, key) in FOLLOWERS {
            let known = state.services.get(&ServiceKey::try_from(key.to_owned()).unwrap());
            assert!(
                known.is_none_or(|known| known.rollout.is_none() && known.pending.is_empty()),
                "{key}: not at rest: {known:#?}"
            );
            let (best, follower) = (self.best(repository), &timetable.followers[key]);
            if follower.meddled.is_some_and(|rank| rank >= best.rank) {
                continue;
            }
            let runs = digest_of(&self.world, &named(&said(&self.world, key)));
            let expired = self.kind.forgetful && self.expired.contains(&runs) && best.at <= self.compared_at;
            assert!(expired || runs == best.digest, "{key} runs {runs} and not {best:?}: {known:#?}");
        }
    }

    /// No operation is denied any more.
    pub(super) fn mend_timetable(&self) {
        for operation in WRITES {
            self.world.mend_operation(operation);
        }
    }
}

fn set(world: &World, key: &str, says: &Value) {
    match says.get("Targets").and_then(Value::as_array) {
        Some(targets) => world.set_targets("bus", "hourly", targets),
        None => {
            assert!(key.ends_with("default/nightly"));
            world.set_schedule("default", "nightly", says);
        }
    }
}

fn said(world: &World, key: &str) -> Value {
    match key.contains("/rule/") {
        true => json!({ "Targets": world.targets_of("bus", "hourly") }),
        false => world.schedule_of("default", "nightly"),
    }
}

fn target_of(says: &mut Value) -> &mut Value {
    let place = if says.get("Targets").is_some() { "/Targets/1" } else { "/Target" };
    says.pointer_mut(place).unwrap()
}

fn named(says: &Value) -> String {
    target_of(&mut says.clone()).pointer(TASK_DEFINITION).unwrap().as_str().unwrap().to_owned()
}

fn digest_of(world: &World, revision: &str) -> String {
    let (_, short) = revision.split_once(":task-definition/").unwrap();
    let (family, number) = short.split_once(':').unwrap();
    let definition = &world.revisions(family)[number.parse::<usize>().unwrap() - 1];
    let image = definition["containerDefinitions"][0]["image"].as_str().unwrap();
    image.split_once('@').unwrap().1.to_owned()
}
