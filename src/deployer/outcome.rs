//! How rollouts go on, and how they end.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::{info, warn};

use super::inquire::Inquiry;
use super::{Deployer, report};
use crate::clock::{self, Instant};
use crate::domain::notice::{Named, Notice};
use crate::domain::plan;
use crate::domain::rollout::{self, Elapsed, Progress};
use crate::domain::settings::OnFailure;
use crate::domain::state::{Deployed, Direction, Hold, Left, Ousted, Outcome, OutcomeKind, Phase, Rollout};
use crate::domain::types::ServiceKey;
use crate::domain::view::{ServiceView, Strategy};

/// What is said of a rollout that started no task.
const UNPROVEN: &str = "updated, unproven: the desired count is 0, so no task has run the image yet";

impl Deployer {
    /// Judges one rollout by its own deployment, as it was when ECS was asked. The answer may have waited since: for the disk, or because
    /// the process was suspended.
    pub(super) fn judge(&mut self, key: &ServiceKey, service: Option<&ServiceView>, asked_at: Instant) {
        let Some(rollout) = self.state.services.get(key).and_then(|known| known.rollout.clone()) else { return };
        if let Some(service) = service {
            self.lookout.saw(key, service, self.clock.now());
        }
        let timeout = self.settings(key).timeout;
        let elapsed = self.elapsed(key, &rollout, timeout, asked_at);
        let Some(progress) = rollout::progress(&rollout, service, elapsed, timeout) else { return };
        match progress {
            Progress::InProgress(counts) => {
                self.run_mut(key).counts = Some(counts);
                report::progress(key, &rollout, counts, elapsed.rolling);
            }
            Progress::Completed(counts) => {
                self.run_mut(key).counts = Some(counts);
                match service {
                    Some(ServiceView { strategy: Strategy::Shifting(_), bake, .. }) => {
                        let overdue = elapsed.rolling >= timeout.saturating_add(*bake);
                        self.inquire(key, &rollout, Inquiry::Baking { overdue });
                    }
                    _ => self.completed(key, &rollout),
                }
            }
            Progress::Adopted(deployment) => {
                info!(
                    aws = %key.aws, cluster = %key.cluster, service = %key.service, deployment = %deployment,
                    "a new deployment of the same revision is watched from here on"
                );
                // It has just begun: it has its own time to get stable.
                if let Phase::Rolling { revision, .. } = rollout.phase {
                    self.rolling(key, revision, deployment);
                }
            }
            Progress::Superseded(why) => self.ousted(key, &rollout, why),
            Progress::TakenBack(why) => {
                self.hold(key, &rollout, &why);
                self.end(key, OutcomeKind::Superseded, why);
            }
            Progress::Gone(why) => self.end(key, OutcomeKind::Failed, why),
            Progress::Failed(why) => self.inquire(key, &rollout, Inquiry::Stopped(OutcomeKind::Failed, why)),
            Progress::TimedOut(why) => self.inquire(key, &rollout, Inquiry::Stopped(OutcomeKind::TimedOut, why)),
        }
    }

    /// How long a rollout had been rolling: by the monotonic clock in this process, by the wall clock before it.
    fn elapsed(&mut self, key: &ServiceKey, rollout: &Rollout, timeout: Duration, asked_at: Instant) -> Elapsed {
        let now = self.clock.now();
        let before = match &rollout.phase {
            Phase::Rolling { since, .. } => {
                Duration::try_from(now.duration_since(*since)).unwrap_or_default().min(timeout)
            }
            _ => Duration::ZERO,
        };
        let (watched_from, before) = *self.run_mut(key).rolling.get_or_insert((clock::instant(), before));
        let watched = asked_at.saturating_duration_since(watched_from);
        Elapsed { rolling: before + watched, watched }
    }

    pub(super) fn completed(&mut self, key: &ServiceKey, rollout: &Rollout) {
        let now = self.clock.now();
        let Some(known) = self.state.services.get_mut(key) else { return };
        if rollout.direction != Direction::Forward {
            let because = match &rollout.direction {
                Direction::Back { because } => because.clone(),
                Direction::Forward => String::new(),
            };
            if let Some(revision) = rollout.phase.revision() {
                known.deployed = Some(Deployed {
                    revision: revision.clone(),
                    targets: rollout.way_back.targets.clone(),
                    since: now,
                    // Nobody looked: the tasks have to be asked.
                    names_tags: true,
                    way_back: None,
                    pinned: rollout.way_back.pinned.clone(),
                });
            }
            return self.end(key, OutcomeKind::RolledBack, because);
        }
        // What another repository brought is still there if nobody else changed the service since.
        let before = known.deployed.take().filter(|deployed| deployed.revision == rollout.way_back.revision);
        let mut targets = before.map(|deployed| deployed.targets).unwrap_or_default();
        targets.extend(rollout.targets.clone());
        if let Some(revision) = rollout.phase.revision() {
            known.deployed = Some(Deployed {
                revision: revision.clone(),
                targets,
                since: now,
                names_tags: rollout.names_tags,
                way_back: Some(rollout.way_back.clone()),
                pinned: Default::default(),
            });
        }
        for target in rollout.targets.values().filter(|target| !target.push.is_reconciliation()) {
            let after = Duration::try_from(now.duration_since(target.push.at)).unwrap_or_default();
            self.metrics.push_stable(key, after);
        }
        let idle = self.run_mut(key).counts.is_some_and(|counts| counts.desired == 0);
        let detail = if idle { UNPROVEN.to_owned() } else { String::new() };
        self.end(key, OutcomeKind::Completed, detail);
    }

    /// Another deployer took over: what was rolled out is not brought back because its push is told of once more.
    fn ousted(&mut self, key: &ServiceKey, rollout: &Rollout, why: String) {
        let at = self.clock.now();
        if rollout.direction == Direction::Forward
            && let Some(known) = self.state.services.get_mut(key)
        {
            for (repository, target) in &rollout.targets {
                known.ousted.insert(repository.clone(), Ousted { digest: target.digest.clone(), at });
            }
        }
        self.end(key, OutcomeKind::Superseded, why);
    }

    /// Holds what a rollout brought.
    fn hold(&mut self, key: &ServiceKey, rollout: &Rollout, reason: &str) {
        let now = self.clock.now();
        let Some(known) = self.state.services.get_mut(key).filter(|_| rollout.direction == Direction::Forward) else {
            return;
        };
        for (repository, target) in &rollout.targets {
            let took = now.duration_since(rollout.decided_at);
            known.held.insert(repository.clone(), Hold::new(target, took, reason.to_owned(), now));
            warn!(
                aws = %key.aws, cluster = %key.cluster, service = %key.service,
                repository = %repository.name, digest = %target.digest,
                "the digest is held for the service until a newer push"
            );
        }
    }

    /// Holds what failed, and goes back to what ran before.
    pub(super) fn rollout_failed(&mut self, key: &ServiceKey, rollout: &Rollout, kind: OutcomeKind, why: String) {
        let now = self.clock.now();
        let on_failure = self.settings(key).on_failure;
        self.hold(key, rollout, &format!("its rollout failed: {why}"));
        let back = plan::way_back(rollout, &why, now).filter(|_| on_failure == OnFailure::Rollback);
        self.end(key, kind, why);
        let Some(back) = back else {
            if let (Some(known), Some(revision)) = (self.state.services.get_mut(key), rollout.phase.revision()) {
                known.left = Some(Left {
                    revision: revision.clone(),
                    targets: rollout.targets.clone(),
                    way_back: rollout.way_back.clone(),
                });
            }
            return;
        };
        info!(
            aws = %key.aws, cluster = %key.cluster, service = %key.service,
            revision = %back.base, pinned = ?back.images,
            "going back to what ran before"
        );
        self.begin(key, back);
        // ECS may have gone back by itself: look first.
        self.run_mut(key).certain = false;
    }

    pub(super) fn set_phase(&mut self, key: &ServiceKey, phase: Phase) {
        let rollout = self.state.services.get(key).and_then(|known| known.rollout.as_ref());
        if rollout.is_none_or(|rollout| rollout.phase == phase) {
            return;
        }
        if let Some(rollout) = self.state.services.get_mut(key).and_then(|known| known.rollout.as_mut()) {
            rollout.phase = phase;
            self.dirty = true;
        }
    }

    /// Ends the rollout under way.
    pub(super) fn end(&mut self, key: &ServiceKey, kind: OutcomeKind, detail: String) {
        let now = self.clock.now();
        let Some(rollout) = self.state.services.get_mut(key).and_then(|known| known.rollout.take()) else { return };
        self.gauge(key);
        self.dirty = true;
        self.ended(key, &rollout, kind, detail, now);
    }

    /// Writes down how a rollout ended.
    pub(super) fn ended(
        &mut self,
        key: &ServiceKey,
        rollout: &Rollout,
        kind: OutcomeKind,
        detail: String,
        now: Timestamp,
    ) {
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
        self.note(key, outcome);
    }

    /// The service with its name, for those who are told of it.
    pub(super) fn named(&self, key: &ServiceKey) -> Named {
        Named { key: key.clone(), name: self.config.name_of(key) }
    }

    /// Writes an outcome into the history, and tells who wants to hear it.
    pub(super) fn note(&mut self, key: &ServiceKey, outcome: Outcome) {
        self.untold.push(Arc::new(Notice::of_deployment(self.named(key), &outcome)));
        if let Some(known) = self.state.services.get_mut(key) {
            known.remember(outcome);
        }
    }
}
