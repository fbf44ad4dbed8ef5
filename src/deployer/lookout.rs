//! What the services of the configuration are set to, for those who ask: operators, and readers of the status page.
//!
//! Nothing is decided by it, and nothing is asked as long as nobody wants to know. Somebody who looks every second costs AWS one round a
//! minute, made slowly enough to leave the buckets to the rollouts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::observe::{SERVICES_A_CALL, describe_services};
use super::pace::{Group, Pace};
use super::{Deployer, Place};
use crate::aws::Contexts;
use crate::clock::{self, Instant};
use crate::domain::printable::{LONGEST, printable};
use crate::domain::types::{EcsName, ServiceKey, TaskDefinitionArn};
use crate::domain::view::ServiceView;
use crate::status::{ContainerStatus, RunsStatus, Status};

/// From the beginning of one round to that of the next, at least.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Between two calls of a round.
const UNHURRIED: Duration = Duration::from_millis(200);
/// Whoever asks first waits for the first round, but not for longer than this.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    begun: Option<Instant>,
    /// At most one round at a time.
    round: JoinSet<Round>,
    seen: BTreeMap<ServiceKey, Sighting>,
    /// Container and image of the revisions that were seen: they never change.
    images: BTreeMap<TaskDefinitionArn, Vec<(String, String)>>,
    waiting: Vec<(oneshot::Sender<Status>, Instant)>,
}

/// A service, as it was seen.
#[derive(Debug, Clone)]
struct Sighting {
    at: Timestamp,
    answer: Result<Option<ServiceView>, String>,
}

/// What one round saw.
#[derive(Debug)]
pub(super) struct Round {
    seen: BTreeMap<ServiceKey, Sighting>,
    images: BTreeMap<TaskDefinitionArn, Vec<(String, String)>>,
}

impl Lookout {
    /// Another configuration is in force: whoever asks next has the services looked at anew.
    pub(super) fn forget(&mut self) {
        self.begun = None;
        self.seen.clear();
        self.round.abort_all();
    }

    /// A service was seen while it was rolled: what a round saw of it before is out of date.
    pub(super) fn saw(&mut self, key: &ServiceKey, view: &ServiceView, at: Timestamp) {
        if let Some(sighting) = self.seen.get_mut(key) {
            *sighting = Sighting { at, answer: Ok(Some(view.clone())) };
        }
    }

    /// Resolves when a round is complete.
    pub(super) async fn finished(&mut self) -> Option<Round> {
        self.round.join_next().await?.ok()
    }

    /// When somebody has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.iter().map(|(_, due)| *due).min()
    }

    /// What a service is set to, if that was seen.
    fn runs(&self, key: &ServiceKey) -> Option<RunsStatus> {
        let sighting = self.seen.get(key)?;
        let view = match &sighting.answer {
            Ok(Some(view)) => view,
            Ok(None) => return Some(RunsStatus::unseen(sighting.at, "there is no such service in ECS".to_owned())),
            Err(why) => return Some(RunsStatus::unseen(sighting.at, why.clone())),
        };
        let images = self.images.get(&view.task_definition).into_iter().flatten();
        Some(RunsStatus {
            seen_at: sighting.at,
            revision: Some(view.task_definition.as_str().to_owned()),
            since: view.primary().and_then(|primary| primary.since),
            desired: view.desired,
            running: view.running,
            containers: images
                .map(|(name, image)| ContainerStatus { name: name.clone(), image: image.clone() })
                .collect(),
            trouble: None,
        })
    }
}

impl Deployer {
    /// Answers how things are; the first time, after a look at the services.
    pub(super) fn tell_status(&mut self, answer: oneshot::Sender<Status>) {
        let is_first = self.lookout.begun.is_none();
        self.look_around();
        if is_first || !self.lookout.waiting.is_empty() {
            self.lookout.waiting.push((answer, clock::instant() + FIRST_WITHIN));
        } else {
            // Who asked may have gone meanwhile.
            let _ = answer.send(self.status());
        }
    }

    /// What a round saw is kept until the next one.
    pub(super) fn looked_around(&mut self, round: Round) {
        for (key, seen) in round.seen {
            // What was seen of it since the round began is newer.
            if self.lookout.seen.get(&key).is_none_or(|known| known.at <= seen.at) {
                self.lookout.seen.insert(key, seen);
            }
        }
        let config = &self.config;
        self.lookout.seen.retain(|key, _| !config.rules_of(key).is_empty());
        self.lookout.images = round.images;
        self.tell_waiting(true);
    }

    /// Answers those who have waited long enough, or all.
    pub(super) fn tell_waiting(&mut self, all: bool) {
        let now = clock::instant();
        let (over, on): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.lookout.waiting).into_iter().partition(|(_, due)| all || *due <= now);
        self.lookout.waiting = on;
        for (answer, _) in over {
            let _ = answer.send(self.status());
        }
    }

    /// Adds what was seen.
    pub(super) fn add_sightings(&self, status: &mut Status) {
        for key in self.lookout.seen.keys() {
            if let (Some(one), Some(runs)) = (status.service_mut(key), self.lookout.runs(key)) {
                one.runs = Some(runs);
            }
        }
    }

    fn look_around(&mut self) {
        let due = self.lookout.begun.is_none_or(|begun| begun.elapsed() >= LOOK_EVERY);
        if !due || !self.lookout.round.is_empty() {
            return;
        }
        self.lookout.begun = Some(clock::instant());
        let mut places: BTreeMap<Place, BTreeSet<EcsName>> = BTreeMap::new();
        for (_, rule) in self.config.services() {
            let key = &rule.key;
            places.entry((key.aws.clone(), key.cluster.clone())).or_default().insert(key.service.clone());
        }
        let (contexts, pace, now) = (self.contexts.clone(), self.pace.clone(), self.clock.now());
        let known = self.lookout.images.clone();
        self.lookout.round.spawn(look(contexts, pace, places, known, now));
    }
}

/// One round.
async fn look(
    contexts: Contexts,
    pace: Pace,
    places: BTreeMap<Place, BTreeSet<EcsName>>,
    known: BTreeMap<TaskDefinitionArn, Vec<(String, String)>>,
    at: Timestamp,
) -> Round {
    let mut round = Round { seen: BTreeMap::new(), images: BTreeMap::new() };
    let mut is_first = true;
    for ((aws, cluster), names) in places {
        let Some(context) = contexts.get(&aws) else { continue };
        let names: Vec<EcsName> = names.into_iter().collect();
        for names in names.chunks(SERVICES_A_CALL) {
            if !std::mem::take(&mut is_first) {
                clock::sleep(UNHURRIED).await;
            }
            for (service, answer) in describe_services(context, &pace, &aws, &cluster, names).await {
                let answer = match answer {
                    Ok(Some(Ok(view))) => Ok(Some(view).filter(|view| view.active)),
                    Ok(Some(Err(why))) => Err(why.to_string()),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error.to_string()),
                };
                if let Ok(Some(view)) = &answer
                    && !round.images.contains_key(&view.task_definition)
                {
                    let revision = &view.task_definition;
                    let images = match known.get(revision) {
                        Some(images) => Some(images.clone()),
                        None => {
                            pace.take(&aws, Group::TaskDefinitions).await;
                            let found = context.ecs.describe_task_definition(revision.as_str()).await.ok();
                            let own =
                                |(name, image): (&str, &str)| (printable(name, LONGEST), printable(image, LONGEST));
                            found.map(|found| found.containers().map(own).collect())
                        }
                    };
                    round.images.extend(images.map(|images| (revision.clone(), images)));
                }
                let key = ServiceKey { aws: aws.clone(), cluster: cluster.clone(), service };
                round.seen.insert(key, Sighting { at, answer });
            }
        }
    }
    round
}
