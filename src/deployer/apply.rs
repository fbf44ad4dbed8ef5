//! What the answers of AWS mean for the state.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinError;
use tracing::{error, info, warn};

use super::observe::Observed;
use super::{Deployer, Done, execute, report};
use crate::aws::{AwsError, Fault};
use crate::clock;
use crate::domain::plan::{self, Facts};
use crate::domain::rollout::{self, Progress, Resume};
use crate::domain::settings::{OnFailure, RepositoryKey};
use crate::domain::skip::SkipReason;
use crate::domain::state::{Deployed, Direction, Hold, Outcome, OutcomeKind, Phase, PushRef, Rollout, ServiceState};
use crate::domain::types::{ServiceKey, TaskDefinitionArn};
use crate::domain::view::{DeploymentView, ServiceView};

/// Pushes to decide, by repository.
type Pushes = BTreeMap<RepositoryKey, Vec<PushRef>>;

impl Deployer {
    pub(super) fn done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Observed(asked, observed)) => self.observed(asked, observed),
            Ok(Done::Looked(key, looked)) => self.looked(&key, looked),
            Ok(Done::Registered(keys, registered)) => self.registered(&keys, &registered),
            Ok(Done::Updated(key, revision, updated)) => self.updated(&key, revision, updated),
            Ok(Done::Watched(place, keys, seen)) => {
                if let Some(watch) = self.watches.get_mut(&place) {
                    watch.busy = false;
                }
                self.watched(&keys, seen);
            }
            Err(panicked) => error!(error = %panicked, "a job ended by a panic; this is a defect"),
        }
    }

    fn observed(&mut self, mut asked: BTreeMap<ServiceKey, Pushes>, observed: Observed) {
        for (key, facts) in observed {
            self.run_mut(&key).busy = false;
            let pushes = asked.remove(&key).unwrap_or_default();
            match facts {
                Ok(facts) => {
                    self.succeeded(&key);
                    self.decide(&key, &pushes, &facts);
                }
                Err(error) => self.failed(&key, &error),
            }
        }
    }

    /// Plans for one service, and writes the plan into the state.
    fn decide(&mut self, key: &ServiceKey, pushes: &Pushes, facts: &Facts) {
        let now = self.clock.now();
        let rules = self.rules(key);
        let Some(known) = self.state.services.get_mut(key) else { return };
        // A look took place meanwhile, or another push came in: only what was asked about is decided.
        let asked = ServiceState { wanted: pushes.clone(), ..known.clone() };
        let rules = rules.iter().map(|(repository, rule)| (repository.clone(), rule)).collect();
        let region_of =
            |repository: &RepositoryKey| self.contexts.get(&repository.aws).map(|context| context.region.clone());
        let plan = plan::plan(&rules, region_of, &asked, facts, now);
        forget_decided(known, pushes);
        self.dirty = true;
        report::planned(&self.metrics, key, &plan);
        for skip in &plan.skips {
            self.decided(&skip.push, &skip.repository, Some(skip.reason));
        }
        if let Some(reason) = plan.refused {
            let outcome = refusal(reason, now);
            if let Some(known) = self.state.services.get_mut(key) {
                known.remember(outcome);
            }
        }
        let Some(roll) = plan.roll else { return };
        for (repository, target) in &roll.rollout.targets {
            if pushes.contains_key(repository) {
                self.decided(&target.push, repository, None);
            }
        }
        self.begin(key, roll.rollout);
        self.run_mut(key).registration = Some(roll.registration);
    }

    /// One service decided about one push. The push is counted once, when a service deploys it or the last one does not.
    fn decided(&mut self, push: &PushRef, repository: &RepositoryKey, skip: Option<SkipReason>) {
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
    fn begin(&mut self, key: &ServiceKey, rollout: Rollout) {
        let now = self.clock.now();
        let known = self.state.services.entry(key.clone()).or_default();
        let superseded = known.rollout.take();
        if rollout.direction == Direction::Forward {
            // A newer push ends the hold of an older digest.
            known.held.retain(|repository, _| !rollout.targets.contains_key(repository));
        }
        known.rollout = Some(rollout);
        self.metrics.holding(key, !known.held.is_empty());
        self.metrics.deploying(key, true);
        let run = self.run_mut(key);
        run.certain = true;
        run.registration = None;
        run.rolling = None;
        self.dirty = true;
        if let Some(superseded) = superseded {
            self.ended(key, &superseded, OutcomeKind::Superseded, "a newer push took its place".to_owned(), now);
        }
    }

    fn looked(&mut self, key: &ServiceKey, looked: Result<execute::Looked, AwsError>) {
        self.run_mut(key).busy = false;
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => return self.failed(key, &error),
        };
        self.succeeded(key);
        let Some(rollout) = self.state.services.get(key).and_then(|known| known.rollout.clone()) else { return };
        let resume = rollout::resume(&rollout, looked.service.as_ref(), looked.registered.as_ref());
        report::resumed(key, &resume);
        match resume {
            Resume::Register => {
                let run = self.run_mut(key);
                run.registration = looked.registration;
                run.certain = true;
            }
            Resume::Update(revision) => {
                self.run_mut(key).certain = true;
                self.set_phase(key, Phase::Registered { revision });
            }
            Resume::Watch(revision, deployment) => {
                self.run_mut(key).certain = true;
                let since = self.clock.now();
                self.set_phase(key, Phase::Rolling { revision, deployment, since });
            }
            Resume::Replan(why) => self.replan(key, &rollout, why),
            Resume::Gone(why) => self.end(key, OutcomeKind::Failed, why),
        }
    }

    /// The pushes of a rollout that was overtaken are decided anew.
    fn replan(&mut self, key: &ServiceKey, rollout: &Rollout, why: String) {
        self.end(key, OutcomeKind::Superseded, why);
        let Some(known) = self.state.services.get_mut(key) else { return };
        if rollout.direction == Direction::Forward {
            for (repository, target) in &rollout.targets {
                known.decided.remove(repository);
                known.want(repository, target.push.clone());
            }
        }
    }

    fn registered(&mut self, keys: &[ServiceKey], registered: &Result<TaskDefinitionArn, AwsError>) {
        for key in keys {
            self.run_mut(key).busy = false;
            match registered {
                Ok(revision) => {
                    self.succeeded(key);
                    info!(cluster = %key.cluster, service = %key.service, revision = %revision, "registered the new revision");
                    self.set_phase(key, Phase::Registered { revision: revision.clone() });
                }
                Err(error) => self.write_failed(key, error),
            }
        }
    }

    fn updated(&mut self, key: &ServiceKey, revision: TaskDefinitionArn, updated: Result<DeploymentView, AwsError>) {
        self.run_mut(key).busy = false;
        match updated {
            Ok(deployment) if deployment.task_definition == revision => {
                self.succeeded(key);
                info!(
                    cluster = %key.cluster, service = %key.service, revision = %revision, deployment = super::short(&deployment.id),
                    "updated the service; ECS rolls it out"
                );
                self.run_mut(key).rolling = Some((clock::instant(), Duration::ZERO));
                let since = self.clock.now();
                self.set_phase(key, Phase::Rolling { revision, deployment: deployment.id, since });
            }
            // Somebody else was quicker: look what is going on.
            Ok(_) => self.run_mut(key).certain = false,
            Err(error) => self.write_failed(key, &error),
        }
    }

    /// A write failed: for good, for now, or perhaps not at all.
    fn write_failed(&mut self, key: &ServiceKey, error: &AwsError) {
        match error.fault {
            Fault::Refused => self.end(key, OutcomeKind::Refused, error.to_string()),
            Fault::NotFound => self.end(key, OutcomeKind::Failed, error.to_string()),
            Fault::Unavailable => {
                self.run_mut(key).certain = false;
                self.failed(key, error);
            }
            Fault::Throttled | Fault::Denied | Fault::Credentials => self.failed(key, error),
        }
    }

    fn watched(
        &mut self,
        keys: &[ServiceKey],
        seen: Result<BTreeMap<crate::domain::types::EcsName, ServiceView>, AwsError>,
    ) {
        match seen {
            Err(error) => {
                for key in keys {
                    self.failed(key, &error);
                }
            }
            Ok(services) => {
                for key in keys {
                    self.succeeded(key);
                    self.judge(key, services.get(&key.service));
                }
            }
        }
    }

    /// Judges one rollout by its own deployment.
    fn judge(&mut self, key: &ServiceKey, service: Option<&ServiceView>) {
        let Some(rollout) = self.state.services.get(key).and_then(|known| known.rollout.clone()) else { return };
        let timeout = self.rules(key).values().next().map_or(Duration::from_secs(15 * 60), |rule| rule.deploy.timeout);
        let elapsed = self.elapsed(key, &rollout, timeout);
        let Some(progress) = rollout::progress(&rollout, service, elapsed, timeout) else { return };
        match progress {
            Progress::InProgress(counts) => report::progress(key, &rollout, counts, elapsed),
            Progress::Completed(_) => self.completed(key, &rollout),
            Progress::Adopted(deployment) => {
                info!(cluster = %key.cluster, service = %key.service, deployment = super::short(&deployment), "a new deployment of the same revision is watched from here on");
                if let Phase::Rolling { revision, since, .. } = rollout.phase {
                    self.set_phase(key, Phase::Rolling { revision, deployment, since });
                }
            }
            Progress::Superseded(why) => self.end(key, OutcomeKind::Superseded, why),
            Progress::Gone(why) => self.end(key, OutcomeKind::Failed, why),
            Progress::Failed(why) => self.rollout_failed(key, &rollout, OutcomeKind::Failed, why),
            Progress::TimedOut(why) => self.rollout_failed(key, &rollout, OutcomeKind::TimedOut, why),
        }
    }

    /// How long a rollout has been rolling: by the monotonic clock in this process, by the wall clock before it.
    fn elapsed(&mut self, key: &ServiceKey, rollout: &Rollout, timeout: Duration) -> Duration {
        let now = self.clock.now();
        let before = match &rollout.phase {
            Phase::Rolling { since, .. } => {
                Duration::try_from(now.duration_since(*since)).unwrap_or_default().min(timeout)
            }
            _ => Duration::ZERO,
        };
        let (watched_from, before) = *self.run_mut(key).rolling.get_or_insert((clock::instant(), before));
        watched_from.elapsed() + before
    }

    fn completed(&mut self, key: &ServiceKey, rollout: &Rollout) {
        let now = self.clock.now();
        let Some(known) = self.state.services.get_mut(key) else { return };
        if rollout.direction != Direction::Forward {
            let because = match &rollout.direction {
                Direction::Back { because } => because.clone(),
                Direction::Forward => String::new(),
            };
            return self.end(key, OutcomeKind::RolledBack, because);
        }
        let mut targets = known.deployed.take().map(|deployed| deployed.targets).unwrap_or_default();
        targets.extend(rollout.targets.clone());
        if let Some(revision) = rollout.phase.revision() {
            known.deployed = Some(Deployed { revision: revision.clone(), targets, since: now });
        }
        for target in rollout.targets.values() {
            let after = Duration::try_from(now.duration_since(target.push.at)).unwrap_or_default();
            self.metrics.push_stable(key, after);
        }
        self.end(key, OutcomeKind::Completed, String::new());
    }

    /// Holds what failed, and goes back to what ran before.
    fn rollout_failed(&mut self, key: &ServiceKey, rollout: &Rollout, kind: OutcomeKind, why: String) {
        let now = self.clock.now();
        let on_failure = self.rules(key).values().next().map_or(OnFailure::Rollback, |rule| rule.deploy.on_failure);
        if rollout.direction == Direction::Forward
            && let Some(known) = self.state.services.get_mut(key)
        {
            for (repository, target) in &rollout.targets {
                let hold =
                    Hold { digest: target.digest.clone(), since: now, reason: format!("its rollout failed: {why}") };
                known.held.insert(repository.clone(), hold);
                warn!(
                    cluster = %key.cluster, service = %key.service, repository = %repository.name, digest = %target.digest,
                    "the digest is held for the service until a newer push"
                );
            }
            self.metrics.holding(key, true);
        }
        let back = plan::way_back(rollout, &why, now).filter(|_| on_failure == OnFailure::Rollback);
        self.end(key, kind, why);
        let Some(back) = back else { return };
        if rollout.way_back.pinned.is_empty() {
            info!(cluster = %key.cluster, service = %key.service, revision = %back.base, "going back to the revision that ran before");
        } else {
            info!(cluster = %key.cluster, service = %key.service, revision = %back.base, images = ?back.images, "going back to the revision that ran before, pinned to the digests that ran");
        }
        self.begin(key, back);
        // ECS may have gone back by itself: look first.
        self.run_mut(key).certain = false;
    }

    fn set_phase(&mut self, key: &ServiceKey, phase: Phase) {
        if let Some(rollout) = self.state.services.get_mut(key).and_then(|known| known.rollout.as_mut()) {
            rollout.phase = phase;
            self.dirty = true;
        }
    }

    /// Ends the rollout under way.
    fn end(&mut self, key: &ServiceKey, kind: OutcomeKind, detail: String) {
        let now = self.clock.now();
        let Some(rollout) = self.state.services.get_mut(key).and_then(|known| known.rollout.take()) else { return };
        self.metrics.deploying(key, false);
        self.dirty = true;
        self.ended(key, &rollout, kind, detail, now);
    }

    /// Writes down how a rollout ended.
    fn ended(&mut self, key: &ServiceKey, rollout: &Rollout, kind: OutcomeKind, detail: String, now: Timestamp) {
        let took = Duration::try_from(now.duration_since(rollout.decided_at)).unwrap_or_default();
        self.metrics.deployment_ended(key, kind, took);
        report::ended(key, rollout, kind, &detail, took);
        let outcome = Outcome {
            result: kind,
            revision: rollout.phase.revision().cloned(),
            targets: rollout.targets.clone(),
            decided_at: rollout.decided_at,
            ended_at: now,
            detail,
        };
        if let Some(known) = self.state.services.get_mut(key) {
            known.remember(outcome);
        }
    }
}

/// What was decided is no longer wanted; the newest of it is what a later, older push is compared with.
fn forget_decided(known: &mut ServiceState, pushes: &Pushes) {
    for (repository, pushes) in pushes {
        if let Some(wanted) = known.wanted.get_mut(repository) {
            wanted.retain(|push| !pushes.contains(push));
            if wanted.is_empty() {
                known.wanted.remove(repository);
            }
        }
        let Some(newest) = pushes.first() else { continue };
        if known.decided.get(repository).is_none_or(|decided| decided.at <= newest.at) {
            known.decided.insert(repository.clone(), newest.clone());
        }
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
