//! Begins what the state calls for.

use std::collections::BTreeMap;

use super::observe::{Question, SERVICES_A_CALL};
use super::{Asked, Deployer, Done, Job, Place, Watch, execute, observe};
use crate::clock;
use crate::domain::settings::{DeploySettings, RepositoryKey, ServiceRule};
use crate::domain::state::{Phase, Rollout};
use crate::domain::types::{DeploymentId, ServiceKey, TaskDefinitionArn};

/// Services that a revision serves: they run in one context, it is made from one revision, and it names the same images.
type Shared = (crate::domain::types::ContextName, TaskDefinitionArn, BTreeMap<String, String>);

impl Deployer {
    /// Looks at what is needed to decide: for services with undecided pushes, and for rollouts of which only the intention is certain.
    pub(super) fn launch_reads(&mut self) {
        let mut waves: BTreeMap<Place, Vec<Question>> = BTreeMap::new();
        let mut looks = Vec::new();
        for (key, known) in &self.state.services {
            if !self.may_read(key) {
                continue;
            }
            let certain = self.runs.get(key).is_some_and(|run| run.certain);
            match &known.rollout {
                // Right before it is done, that is: not while doing has to wait, for AWS or for the disk.
                Some(rollout)
                    if needs_look(rollout, certain) && self.may_write(key) && self.commit_complaint.is_none() =>
                {
                    looks.push((key.clone(), rollout.clone()));
                }
                Some(rollout) if !matches!(rollout.phase, Phase::Rolling { .. }) || !self.may_write(key) => {}
                _ if known.wanted.is_empty() => {}
                _ => {
                    if let Some(question) = Question::of(&self.config, key, known) {
                        waves.entry((key.aws.clone(), key.cluster.clone())).or_default().push(question);
                    }
                }
            }
        }
        for ((aws, cluster), questions) in waves {
            for question in &questions {
                self.run_mut(&question.key).busy = true;
            }
            let asked = Asked {
                generation: self.generation,
                at: clock::instant(),
                pushes: questions.iter().map(|question| (question.key.clone(), question.pushes.clone())).collect(),
                rolling: questions.iter().filter(|one| one.has_way_back).map(|one| one.key.clone()).collect(),
            };
            let observing = observe::observe(self.contexts.clone(), self.pace.clone(), aws, cluster, questions);
            self.jobs.spawn(async move { Done::Observed(asked, observing.await) });
        }
        for (key, rollout) in looks {
            self.run_mut(&key).busy = true;
            let (contexts, pace) = (self.contexts.clone(), self.pace.clone());
            self.jobs.spawn(async move {
                let looked = execute::look(contexts, pace, &key, &rollout).await;
                Done::Looked((key, rollout.decided_at), looked)
            });
        }
    }

    /// Registers and updates. Only called when the state is on disk.
    pub(super) fn launch_writes(&mut self) {
        let mut registrations: BTreeMap<Shared, Vec<Job>> = BTreeMap::new();
        let mut waiting: Vec<Shared> = Vec::new();
        let mut updates = Vec::new();
        for (key, known) in &self.state.services {
            let Some(rollout) = &known.rollout else { continue };
            let ready = self.may_write(key) && self.runs.get(key).is_some_and(|run| run.certain);
            match &rollout.phase {
                Phase::Intended => {
                    let shared = (key.aws.clone(), rollout.base.clone(), rollout.images.clone());
                    if ready {
                        registrations.entry(shared).or_default().push((key.clone(), rollout.decided_at));
                    } else if self.runs.get(key).is_some_and(|run| run.busy) {
                        // Somebody looks for, or registers, the same revision: one is enough.
                        waiting.push(shared);
                    }
                }
                Phase::Registered { revision } if ready => {
                    updates.push(((key.clone(), rollout.decided_at), revision.clone(), rollout.replaces.clone()));
                }
                _ => {}
            }
        }
        registrations.retain(|shared, _| !waiting.contains(shared));
        for keys in registrations.into_values() {
            self.launch_registration(keys);
        }
        for (job, revision, replaces) in updates {
            let Some(context) = self.contexts.get(&job.0.aws).cloned() else { continue };
            self.run_mut(&job.0).busy = true;
            let pace = self.pace.clone();
            self.jobs.spawn(async move {
                let updated = execute::update(context, pace, &job.0, &revision, &replaces).await;
                Done::Updated(job, revision, updated)
            });
        }
    }

    /// Registers one revision for all of these services.
    fn launch_registration(&mut self, jobs: Vec<Job>) {
        let Some((first, _)) = jobs.first().cloned() else { return };
        let registration = jobs.iter().find_map(|(key, _)| self.runs.get(key).and_then(|run| run.registration.clone()));
        let rollout = self.state.services.get(&first).and_then(|known| known.rollout.as_ref());
        let replaces = rollout.map(|rollout| rollout.replaces.clone());
        let (Some(registration), Some(replaces), Some(context)) =
            (registration, replaces, self.contexts.get(&first.aws).cloned())
        else {
            for (key, _) in &jobs {
                self.run_mut(key).certain = false;
            }
            return;
        };
        for (key, _) in &jobs {
            self.run_mut(key).busy = true;
        }
        let pace = self.pace.clone();
        self.jobs.spawn(async move {
            let registered = execute::register(context, pace, &first, &registration, &replaces).await;
            Done::Registered(jobs, registered)
        });
    }

    /// Looks at the rollouts under way, ten services of a cluster a call, once in their interval.
    pub(super) fn launch_watches(&mut self) {
        let now = clock::instant();
        let mut places: BTreeMap<Place, (Vec<(ServiceKey, DeploymentId)>, std::time::Duration)> = BTreeMap::new();
        for (key, known) in &self.state.services {
            let Some(Rollout { phase: Phase::Rolling { deployment, .. }, .. }) = &known.rollout else { continue };
            if self.runs.get(key).is_some_and(|run| !run.watching.is_over()) {
                continue;
            }
            let interval = self.settings(key).observe_interval;
            let place = places.entry((key.aws.clone(), key.cluster.clone())).or_insert_with(|| (Vec::new(), interval));
            place.0.push((key.clone(), deployment.clone()));
            place.1 = place.1.min(interval);
        }
        self.watches.retain(|place, watch| watch.busy > 0 || places.contains_key(place));
        for (place, (keys, interval)) in places {
            let watch = self.watches.entry(place.clone()).or_insert(Watch { due: now + interval, busy: 0 });
            if watch.busy > 0 || watch.due > now {
                continue;
            }
            let Some(context) = self.contexts.get(&place.0).cloned() else { continue };
            *watch = Watch { due: now + interval, busy: keys.len().div_ceil(SERVICES_A_CALL) };
            for keys in keys.chunks(SERVICES_A_CALL) {
                let (context, pace, place, keys) = (context.clone(), self.pace.clone(), place.clone(), keys.to_vec());
                self.jobs.spawn(async move {
                    let names: Vec<_> = keys.iter().map(|(key, _)| key.service.clone()).collect();
                    let seen = observe::describe_services(&context, &pace, &place.0, &place.1, &names).await;
                    Done::Watched(place, now, keys, seen)
                });
            }
        }
    }

    fn may_read(&self, key: &ServiceKey) -> bool {
        self.runs.get(key).is_none_or(|run| !run.busy && run.reads.is_over())
    }

    fn may_write(&self, key: &ServiceKey) -> bool {
        self.runs.get(key).is_none_or(|run| !run.busy && run.reads.is_over() && run.writes.is_over())
    }

    pub(super) fn run_mut(&mut self, key: &ServiceKey) -> &mut super::Run {
        self.runs.entry(key.clone()).or_default()
    }

    /// The rules of a service, whichever repository they stand under.
    pub(super) fn rules(&self, key: &ServiceKey) -> BTreeMap<RepositoryKey, ServiceRule> {
        self.config.rules_of(key).into_iter().map(|(repository, rule)| (repository, rule.clone())).collect()
    }

    /// How a service is rolled. One that left the configuration in the middle of a rollout is watched to the end by the defaults.
    pub(super) fn settings(&self, key: &ServiceKey) -> DeploySettings {
        self.config.rules_of(key).values().next().map(|rule| rule.deploy.clone()).unwrap_or_default()
    }
}

/// Whether it has to be found out how far a rollout got.
fn needs_look(rollout: &Rollout, certain: bool) -> bool {
    !certain && !matches!(rollout.phase, Phase::Rolling { .. })
}
