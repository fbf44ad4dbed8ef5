//! What the services of the configuration are set to, for those who ask: operators, and readers of the status page.
//!
//! Nothing is decided by it, and nothing is asked as long as nobody wants to know (decision 32). Somebody who looks every second costs AWS one round a
//! minute, made slowly enough to leave the buckets to the rollouts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::Deployer;
use crate::clock::{self, Instant};
use crate::config::Config;
use crate::domain::types::{EcsName, ServiceKey, TaskDefinitionArn};
use crate::domain::view::ServiceView;
use crate::engine::{Input, Place, SERVICES_A_CALL};
use crate::observer::Observer;
use crate::status::{ContainerStatus, RunsStatus, Status};

/// A round begins at the earliest this long after the one before began.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The calls of a round are this far apart.
const UNHURRIED: Duration = Duration::from_millis(200);
/// Whoever asks first waits for the first round, but not for longer than this.
const FIRST_WITHIN: Duration = Duration::from_secs(2);

/// What the services ran when ECS was asked last.
#[derive(Debug, Default)]
pub(super) struct ServiceCache {
    begun: Option<Instant>,
    /// There is at most one round at a time.
    round: JoinSet<Round>,
    seen: BTreeMap<ServiceKey, Sighting>,
    /// Container and image of the revisions that were seen: they never change.
    images: BTreeMap<TaskDefinitionArn, Vec<(String, String)>>,
    waiting: Vec<(oneshot::Sender<Status>, Instant)>,
}

/// A service, as it was seen.
#[derive(Debug)]
struct Sighting {
    at: Timestamp,
    answer: Result<Option<Setting>, String>,
}

/// What is shown of a service. There may be thousands, so that nothing else is kept of them.
#[derive(Debug)]
struct Setting {
    revision: TaskDefinitionArn,
    since: Option<Timestamp>,
    desired: i32,
    running: i32,
}

impl Setting {
    fn of(view: &ServiceView) -> Self {
        Self {
            revision: view.task_definition.clone(),
            since: view.primary().and_then(|primary| primary.since),
            desired: view.desired,
            running: view.running,
        }
    }
}

/// What one round saw.
#[derive(Debug)]
pub(super) struct Round {
    seen: BTreeMap<ServiceKey, Sighting>,
    images: BTreeMap<TaskDefinitionArn, Vec<(String, String)>>,
}

impl ServiceCache {
    /// Another configuration is in force: whoever asks next has the services looked at anew.
    pub(super) fn forget(&mut self) {
        self.begun = None;
        self.seen.clear();
        self.round.abort_all();
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
        let set = match &sighting.answer {
            Ok(Some(set)) => set,
            Ok(None) => return Some(RunsStatus::unseen(sighting.at, key.absence().to_owned())),
            Err(why) => return Some(RunsStatus::unseen(sighting.at, why.clone())),
        };
        let images = self.images.get(&set.revision).into_iter().flatten();
        Some(RunsStatus {
            seen_at: sighting.at,
            revision: Some(set.revision.as_str().to_owned()),
            since: set.since,
            desired: set.desired,
            running: set.running,
            containers: images
                .map(|(name, image)| ContainerStatus { name: name.clone(), image: image.clone() })
                .collect(),
            last_error: None,
        })
    }
}

impl ServiceCache {
    /// Follows what is seen of services while they are rolled: what a round saw of them before is out of date.
    pub(super) fn follow(&mut self, inputs: &[Input], at: Timestamp) {
        for input in inputs {
            if let Input::Updated { id, answer, .. } = input
                && let Ok(written) = answer.as_ref()
                && id.service.schedule().is_some()
                && let Some(sighting) = self.seen.get_mut(&id.service)
            {
                // What was written is not looked at again.
                let revision = written.task_definition.clone();
                let setting = Setting { revision, since: None, desired: written.desired, running: written.running };
                *sighting = Sighting { at, answer: Ok(Some(setting)) };
            }
            let Input::Watched { services, answers, .. } = input else { continue };
            for (key, _) in services {
                if let Some(Ok(Some(Ok(view)))) = answers.get(&key.service)
                    && let Some(sighting) = self.seen.get_mut(key)
                {
                    *sighting = Sighting { at, answer: Ok(Some(Setting::of(view))) };
                }
            }
        }
    }

    /// Adds what was seen.
    pub(super) fn add_to(&self, status: &mut Status) {
        for key in self.seen.keys() {
            if let (Some(one), Some(runs)) = (status.service_mut(key), self.runs(key)) {
                one.runs = Some(runs);
            }
        }
    }

    fn begin_round(&mut self, config: &Config, observer: &Observer, now: Timestamp) {
        let due = self.begun.is_none_or(|begun| begun.elapsed() >= LOOK_EVERY);
        if !due || !self.round.is_empty() {
            return;
        }
        self.begun = Some(clock::instant());
        let mut places: BTreeMap<Place, BTreeSet<EcsName>> = BTreeMap::new();
        for (_, rule) in config.services() {
            let key = &rule.key;
            places.entry((key.aws.clone(), key.cluster.clone())).or_default().insert(key.service.clone());
        }
        self.round.spawn(survey(observer.clone(), places, self.images.clone(), now));
    }

    /// What a round saw is kept until the next one.
    fn keep(&mut self, round: Round, config: &Config) {
        for (key, seen) in round.seen {
            // What was seen of it since the round began is newer.
            if self.seen.get(&key).is_none_or(|known| known.at <= seen.at) {
                self.seen.insert(key, seen);
            }
        }
        self.seen.retain(|key, _| config.has_service(key));
        self.images = round.images;
    }
}

impl Deployer {
    /// Answers how things are; the first time, after a look at the services.
    pub(super) fn tell_status(&mut self, answer: oneshot::Sender<Status>) {
        let is_first = self.services.begun.is_none();
        self.services.begin_round(self.engine.rules().config(), self.executor.observer(), self.clock.now());
        if is_first || !self.services.waiting.is_empty() {
            self.services.waiting.push((answer, clock::instant() + FIRST_WITHIN));
        } else {
            // Who asked may have gone meanwhile.
            let _ = answer.send(self.status());
        }
    }

    /// A round is complete.
    pub(super) fn surveyed(&mut self, round: Round) {
        self.services.keep(round, self.engine.rules().config());
        self.answer_waiting(true);
    }

    /// Answers those who have waited long enough, or all.
    pub(super) fn answer_waiting(&mut self, all: bool) {
        let now = clock::instant();
        let over: Vec<_> = self.services.waiting.extract_if(.., |(_, due)| all || *due <= now).collect();
        for (answer, _) in over {
            let _ = answer.send(self.status());
        }
    }
}

/// Asks ECS once about all services.
async fn survey(
    observer: Observer,
    places: BTreeMap<Place, BTreeSet<EcsName>>,
    known: BTreeMap<TaskDefinitionArn, Vec<(String, String)>>,
    at: Timestamp,
) -> Round {
    let mut round = Round { seen: BTreeMap::new(), images: BTreeMap::new() };
    let mut is_first = true;
    for ((aws, cluster), names) in places {
        let names: Vec<EcsName> = names.into_iter().collect();
        for names in names.chunks(SERVICES_A_CALL) {
            if !std::mem::take(&mut is_first) {
                clock::sleep(UNHURRIED).await;
            }
            for (service, answer) in observer.services(&aws, &cluster, names).await {
                let answer = match answer {
                    Ok(Some(Ok(view))) => Ok(view.active.then(|| Setting::of(&view))),
                    Ok(Some(Err(why))) => Err(why.to_string()),
                    Ok(None) => Ok(None),
                    Err(error) => Err(error.to_string()),
                };
                if let Ok(Some(Setting { revision, .. })) = &answer
                    && !round.images.contains_key(revision)
                {
                    let images = match known.get(revision) {
                        Some(images) => Some(images.clone()),
                        None => observer.images_of(&aws, revision).await,
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
