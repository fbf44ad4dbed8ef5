//! What the answers of AWS mean for the state.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinError;
use tracing::{error, info};

use super::inquire::Inquiring;
use super::observe::{ByService, Observation, Observed, Seen};
use super::{Asked, Deployer, Done, Job, Kind, execute, report};
use crate::aws::{AwsError, Fault};
use crate::clock::{self, Instant};
use crate::domain::plan::{self, Facts, Pushes};
use crate::domain::rollout::{self, Resume};
use crate::domain::settings::RepositoryKey;
use crate::domain::skip::SkipReason;
use crate::domain::state::{Direction, Outcome, OutcomeKind, Phase, PushRef, Rollout, ServiceState};
use crate::domain::types::{DeploymentId, ServiceKey, TaskDefinitionArn};
use crate::domain::view::DeploymentView;

impl Deployer {
    pub(super) fn done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Observed(asked, observed)) => self.observed(&asked, observed),
            Ok(Done::Looked(job, looked)) => {
                if self.is_of_the_rollout(&job) {
                    self.looked(&job.0, looked);
                }
            }
            Ok(Done::Registered(jobs, registered)) => {
                let jobs = jobs.into_iter().filter(|job| self.is_of_the_rollout(job));
                let keys: Vec<ServiceKey> = jobs.map(|(key, _)| key).collect();
                self.registered(&keys, &registered);
            }
            Ok(Done::Updated(job, revision, updated)) => {
                if self.is_of_the_rollout(&job) {
                    self.updated(&job.0, revision, updated);
                }
            }
            Ok(Done::Inquired(key, deployment, finding)) => self.inquired(&key, &deployment, finding),
            Ok(Done::Placed(pending, place)) => self.placed(pending, place),
            Ok(Done::Watched(place, asked_at, asked, seen)) => {
                if let Some(watch) = self.watches.get_mut(&place) {
                    watch.busy = watch.busy.saturating_sub(1);
                }
                self.watched(asked_at, &asked, seen);
            }
            Err(error) => match error.try_into_panic() {
                // What the job was about would be waited for in vain: the next start takes it up.
                Ok(panicked) => std::panic::resume_unwind(panicked),
                Err(error) => error!(%error, "a job was cancelled; this is a defect"),
            },
        }
    }

    /// Whether the answer of a job is about the rollout under way. The service is free for the next job in any case.
    fn is_of_the_rollout(&mut self, (key, decided_at): &Job) -> bool {
        self.run_mut(key).busy = false;
        let rollout = self.state.services.get(key).and_then(|known| known.rollout.as_ref());
        rollout.is_some_and(|rollout| &rollout.decided_at == decided_at)
    }

    fn observed(&mut self, asked: &Asked, observed: Observed) {
        for (key, answer) in observed {
            self.run_mut(&key).busy = false;
            let mut pushes = asked.pushes.get(&key).cloned().unwrap_or_default();
            match answer {
                // Asked under another configuration: it is asked again.
                _ if asked.generation != self.generation => {}
                // What runs was not asked about, as there was a way back: it is asked now.
                Ok(_) if asked.rolling.contains(&key) && !self.is_rolling(&key) => {}
                Ok(Observation { facts, unanswered }) => {
                    self.succeeded(&key, Kind::Read);
                    pushes.retain(|repository, _| !unanswered.contains_key(repository));
                    self.decide(&key, asked.at, &pushes, &facts);
                    for error in unanswered.values() {
                        self.failed(&key, Kind::Read, error);
                    }
                }
                Err(error) => {
                    self.deploy_undecided(&key, &error.to_string());
                    self.failed(&key, Kind::Read, &error);
                }
            }
        }
    }

    /// Plans for one service, and writes the plan into the state.
    fn decide(&mut self, key: &ServiceKey, asked_at: Instant, pushes: &Pushes, facts: &Facts) {
        // What is known of the rollout under way comes first: it may be complete, or have failed.
        let was_rolling = self.is_rolling(key);
        self.judge(key, facts.service.as_ref(), asked_at);
        if was_rolling && !self.is_rolling(key) {
            // What runs was not asked about while there was a way back: it is asked now.
            return;
        }
        if self.is_ending(key) || !self.may_supersede(key, facts) {
            let interval = self.settings(key).observe_interval;
            self.run_mut(key).reads.not_before = Some(clock::instant() + interval);
            return;
        }
        let now = self.clock.now();
        let rules = self.rules(key);
        let Some(known) = self.state.services.get_mut(key) else { return };
        // Another push may have come in meanwhile: only what was asked about is decided.
        let asked = ServiceState { wanted: pushes.clone(), ..known.clone() };
        let rules = rules.iter().map(|(repository, rule)| (repository.clone(), rule)).collect();
        let plan = plan::plan(&rules, &asked, facts, now);
        plan.write_down(pushes, known);
        self.gauge(key);
        self.dirty = true;
        report::planned(&self.metrics, key, &plan);
        self.note_plan(key, &plan, now);
        for skip in &plan.skips {
            self.decided(&skip.push, &skip.repository, Some(skip.reason));
        }
        if let Some(reason) = &plan.refused {
            self.note(key, refusal(reason.clone(), now));
        }
        self.deploy_decided(key, &plan);
        let Some(roll) = plan.roll else { return };
        for (repository, target) in &roll.rollout.targets {
            if pushes.get(repository).is_some_and(|pushes| pushes.iter().any(|push| push.event == target.push.event)) {
                self.decided(&target.push, repository, None);
            }
        }
        self.begin(key, roll.rollout);
        self.run_mut(key).registration = Some(roll.registration);
    }

    /// Whether the rollout under way ends before a newer push is decided: it has failed, and it is being found out why; or all its tasks
    /// run, and whether ECS still bakes it is not known yet.
    fn is_ending(&mut self, key: &ServiceKey) -> bool {
        let run = self.run_mut(key);
        match run.inquiring {
            Some(Inquiring::Failure) => true,
            Some(Inquiring::End) => !run.still_bakes,
            None => false,
        }
    }

    fn is_rolling(&self, key: &ServiceKey) -> bool {
        self.state.services.get(key).is_some_and(|known| known.rollout.is_some())
    }

    /// Whether a new rollout may take the place of the one under way: there is none, or the facts are those of that one.
    fn may_supersede(&self, key: &ServiceKey, facts: &Facts) -> bool {
        let rollout = self.state.services.get(key).and_then(|known| known.rollout.as_ref());
        let seen = facts.service.as_ref().map(|service| &service.task_definition);
        rollout.is_none_or(|rollout| matches!(rollout.phase, Phase::Rolling { .. }) && rollout.phase.revision() == seen)
    }

    /// One service decided about one push. The push is counted once, when a service deploys it or the last one does not.
    pub(super) fn decided(&mut self, push: &PushRef, repository: &RepositoryKey, skip: Option<SkipReason>) {
        let Some(open) = self.open.get_mut(&push.event).filter(|open| &open.repository == repository) else { return };
        open.undecided = open.undecided.saturating_sub(1);
        let last = open.undecided == 0;
        match skip {
            None if !open.deployed => {
                open.deployed = true;
                self.metrics.push_deployed(&repository.name);
            }
            Some(reason) if last && !open.deployed => self.metrics.push_skipped(Some(&repository.name), reason),
            _ => {}
        }
        if last {
            self.open.remove(&push.event);
        }
    }

    /// Puts a rollout in place of the one under way, if there is one.
    pub(super) fn begin(&mut self, key: &ServiceKey, rollout: Rollout) {
        let known = self.state.services.get_or_default(key.clone());
        if rollout.direction == Direction::Forward {
            // A newer push ends the hold of an older digest.
            known.held.retain(|repository, _| !rollout.targets.contains_key(repository));
        }
        known.rollout = Some(rollout);
        let run = self.run_mut(key);
        run.certain = true;
        run.registration = None;
        run.rolling = None;
        run.still_bakes = false;
        run.counts = None;
        self.dirty = true;
        self.gauge(key);
    }

    fn looked(&mut self, key: &ServiceKey, looked: Result<execute::Looked, AwsError>) {
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => return self.failed(key, Kind::Read, &error),
        };
        self.succeeded(key, Kind::Read);
        let Some(rollout) = self.state.services.get(key).and_then(|known| known.rollout.clone()) else { return };
        let resume = rollout::resume(&rollout, looked.service.as_ref(), looked.registered.as_ref(), looked.given_up);
        report::resumed(key, &resume);
        self.run_mut(key).certain = true;
        match resume {
            Resume::Register | Resume::Update(_) if self.has_left(key, &rollout) => self.leave_it(key, &rollout),
            Resume::Register if looked.registration.is_some() => self.run_mut(key).registration = looked.registration,
            Resume::Register if rollout.direction == Direction::Forward => {
                self.replan(key, &rollout, format!("the revision {} is gone", rollout.base.short()));
            }
            Resume::Register => {
                self.end(key, OutcomeKind::Failed, format!("the revision {} is gone", rollout.base.short()));
            }
            Resume::Update(revision) => self.set_phase(key, Phase::Registered { revision }),
            Resume::Watch(revision, deployment) => self.rolling(key, revision, deployment),
            Resume::Replan(why) => self.replan(key, &rollout, why),
            Resume::Failed(revision, why) => {
                self.set_phase(key, Phase::Registered { revision });
                let rollout = self.state.services.get(key).and_then(|known| known.rollout.clone()).unwrap_or(rollout);
                self.rollout_failed(key, &rollout, OutcomeKind::Failed, why);
            }
            Resume::Gone(why) => self.end(key, OutcomeKind::Failed, why),
        }
    }

    /// The pushes of a rollout that was overtaken are decided anew.
    fn replan(&mut self, key: &ServiceKey, rollout: &Rollout, why: String) {
        self.end(key, OutcomeKind::Superseded, why);
        self.want_again(key, rollout);
        self.restore(key, rollout);
    }

    fn want_again(&mut self, key: &ServiceKey, rollout: &Rollout) {
        let Some(known) = self.state.services.get_mut(key) else { return };
        if rollout.direction != Direction::Forward {
            return;
        }
        for (repository, target) in &rollout.targets {
            let carried = rollout.supersedes.as_ref().is_some_and(|old| old.targets.get(repository) == Some(target));
            if !carried {
                known.decided.remove(repository);
                let _ = known.want(repository, target.push.clone());
            }
        }
    }

    /// The rollout that was to be superseded is still the one that ECS rolls: it is watched again.
    pub(super) fn restore(&mut self, key: &ServiceKey, rollout: &Rollout) {
        if let Some(superseded) = &rollout.supersedes {
            self.begin(key, superseded.as_ref().clone());
        }
    }

    fn registered(&mut self, keys: &[ServiceKey], registered: &Result<TaskDefinitionArn, AwsError>) {
        for key in keys {
            match registered {
                Ok(revision) => {
                    self.succeeded(key, Kind::Write);
                    info!(
                        aws = %key.aws, cluster = %key.cluster, service = %key.service, revision = %revision,
                        "registered the new revision"
                    );
                    self.set_phase(key, Phase::Registered { revision: revision.clone() });
                }
                Err(error) => self.write_failed(key, error),
            }
        }
    }

    fn updated(&mut self, key: &ServiceKey, revision: TaskDefinitionArn, updated: Result<DeploymentView, AwsError>) {
        match updated {
            Ok(deployment) if deployment.task_definition == revision => {
                self.succeeded(key, Kind::Write);
                info!(
                    aws = %key.aws, cluster = %key.cluster, service = %key.service,
                    revision = %revision, deployment = %deployment.id,
                    "updated the service; ECS rolls it out"
                );
                self.rolling(key, revision, deployment.id);
            }
            // Somebody else was quicker: look what is going on.
            Ok(_) => self.run_mut(key).certain = false,
            Err(error) => self.write_failed(key, &error),
        }
    }

    /// ECS rolls the revision. What it takes the place of is superseded from this moment on.
    pub(super) fn rolling(&mut self, key: &ServiceKey, revision: TaskDefinitionArn, deployment: DeploymentId) {
        self.run_mut(key).rolling = Some((clock::instant(), Duration::ZERO));
        let since = self.clock.now();
        self.set_phase(key, Phase::Rolling { revision, deployment, since });
        let rollout = self.state.services.get_mut(key).and_then(|known| known.rollout.as_mut());
        if let Some(superseded) = rollout.and_then(|rollout| rollout.supersedes.take()) {
            self.ended(key, &superseded, OutcomeKind::Superseded, "a newer push took its place".to_owned(), since);
        }
    }

    /// A write failed: for good, for now, or perhaps not at all.
    fn write_failed(&mut self, key: &ServiceKey, error: &AwsError) {
        // Whatever is tried again later is looked at again first: the world goes on meanwhile.
        self.run_mut(key).certain = false;
        let rollout = self.state.services.get(key).and_then(|known| known.rollout.clone());
        match error.fault {
            Fault::Refused | Fault::NotFound => {
                let kind = if error.fault == Fault::Refused { OutcomeKind::Refused } else { OutcomeKind::Failed };
                self.end(key, kind, error.to_string());
                if let Some(rollout) = rollout {
                    self.restore(key, &rollout);
                }
            }
            Fault::Denied | Fault::Credentials => {
                self.failed(key, Kind::Write, error);
                // It may take long: what ECS rolls meanwhile is watched meanwhile.
                if let Some(rollout) = rollout.filter(|rollout| rollout.supersedes.is_some()) {
                    self.want_again(key, &rollout);
                    self.restore(key, &rollout);
                }
            }
            Fault::Throttled | Fault::Unavailable => self.failed(key, Kind::Write, error),
        }
    }

    fn watched(&mut self, asked_at: Instant, asked: &[(ServiceKey, DeploymentId)], mut seen: ByService<Option<Seen>>) {
        for (key, deployment) in asked {
            match seen.remove(&key.service).unwrap_or(Ok(None)) {
                Err(error) => self.failed(key, Kind::Watch, &error),
                Ok(service) => {
                    self.succeeded(key, Kind::Watch);
                    // An answer about a deployment that was superseded meanwhile says nothing about its successor.
                    if self.watches_deployment(key, deployment) {
                        let service = service.and_then(Result::ok);
                        self.judge(key, service.as_ref(), asked_at);
                    }
                }
            }
        }
    }

    pub(super) fn watches_deployment(&self, key: &ServiceKey, asked: &DeploymentId) -> bool {
        let rollout = self.state.services.get(key).and_then(|known| known.rollout.as_ref());
        matches!(rollout.map(|rollout| &rollout.phase), Some(Phase::Rolling { deployment, .. }) if deployment == asked)
    }
}

fn refusal(reason: String, now: Timestamp) -> Outcome {
    Outcome {
        result: OutcomeKind::Refused,
        revision: None,
        targets: BTreeMap::new(),
        decided_at: now,
        ended_at: now,
        detail: reason,
    }
}
