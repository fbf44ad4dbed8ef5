//! What to do for one service, given what was asked for and what was seen. Chooses everything; does nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::downtime;
use super::image::{self, ImageReference};
use super::settings::{DowntimeMode, RepositoryKey, ServiceRule};
use super::skip::SkipReason;
use super::state::{DigestHold, Direction, Phase, PushRef, RollbackTarget, Rollout, ServiceState, Target, pin_of};
use super::task_definition::{Registration, TaskDefinition};
use super::types::{AccountId, Digest, Tag};
use super::view::{ImageView, RunningImages, ServiceView};

mod select;
mod standing;

use select::{Selected, select};

/// What ECR answered for one service and repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositorySnapshot {
    /// What the pushed tags point to. A tag that is missing is gone.
    pub by_tag: BTreeMap<Tag, ImageView>,
    /// The best of all tags by the policy, where the whole repository was listed.
    pub best: Option<(Tag, ImageView)>,
    /// There is no such repository (any more).
    pub no_repository: bool,
}

impl RepositorySnapshot {
    /// The account of the registry, as far as an image tells.
    #[must_use]
    pub fn account(&self) -> Option<&AccountId> {
        let best = self.best.as_ref().map(|(_, image)| image);
        self.by_tag.values().chain(best).map(|image| &image.registry.account).next()
    }

    /// Every image that ECR reported.
    pub fn images(&self) -> impl Iterator<Item = &ImageView> {
        self.by_tag.values().chain(self.best.as_ref().map(|(_, image)| image))
    }

    /// The answers of a repository of which ECR knows nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self { by_tag: BTreeMap::new(), best: None, no_repository: false }
    }
}

/// What was observed of one service.
#[derive(Debug, Clone)]
pub struct ServiceSnapshot {
    /// DescribeServices; `None` if there is no such service.
    pub service: Option<ServiceView>,
    /// ECS knows no service of that name. One that is being deleted is not missing.
    pub missing: bool,
    /// Why the service is none that ECS could roll, if it is none.
    pub unrollable: Option<String>,
    /// The revision that the service runs.
    pub current: Option<TaskDefinition>,
    /// The revision that a new one is made from.
    pub base: Option<TaskDefinition>,
    /// What the running tasks use.
    pub running: RunningImages,
    /// What ECR says, by repository.
    pub images: BTreeMap<RepositoryKey, RepositorySnapshot>,
    /// The revision of the last deployment that completed, where the one that the service is set to has not: ECS itself goes back to that
    /// one (Amazon ECS Developer Guide, "How the Amazon ECS deployment circuit breaker works").
    pub completed: Option<TaskDefinition>,
    /// What ECR still knows of the images that run, by repository: where the service is only compared with ECR.
    pub running_in_ecr: BTreeMap<RepositoryKey, Vec<ImageView>>,
}

/// Pushes to decide, by repository.
pub type Pushes = BTreeMap<RepositoryKey, Vec<PushRef>>;

/// A push that is not deployed to this service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// The repository that was pushed to.
    pub repository: RepositoryKey,
    /// The push that is not deployed.
    pub push: PushRef,
    /// Why it is not deployed.
    pub reason: SkipReason,
    /// The particulars, for people.
    pub detail: String,
}

/// What to do for one service. Every push that was wanted is in it, deployed or skipped.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Plan {
    /// The rollout to begin, if there is one.
    pub roll: Option<Roll>,
    /// What is not deployed.
    pub skips: Vec<Skip>,
    /// What somebody else took away again: it is held from here on.
    pub holds: BTreeMap<RepositoryKey, DigestHold>,
    /// Worth a warning, although it is done.
    pub warnings: Vec<String>,
    /// Why ECS would refuse, or must not be asked: counts as a refused deployment.
    pub refused: Option<String>,
}

/// A rollout to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Roll {
    /// What is written down.
    pub rollout: Rollout,
    /// The revision that is registered for it.
    pub registration: Registration,
}

/// Decides. `rules` are the service's rules by repository.
pub fn plan(
    rules: &BTreeMap<RepositoryKey, &ServiceRule>,
    state: &ServiceState,
    snapshot: &ServiceSnapshot,
    now: Timestamp,
) -> Plan {
    let mut plan = Plan::default();
    let mut selected = Vec::new();
    for (key, pushes) in &state.pending {
        let Some(rule) = rules.get(key) else {
            plan.skip_all(key, pushes, SkipReason::NotConfigured, "the service is not under this repository any more");
            continue;
        };
        if let Some(choice) = select(&mut plan, key, rule, pushes, state, snapshot) {
            selected.push(choice);
        }
    }
    let (Some(service), Some(current), Some(base)) = (&snapshot.service, &snapshot.current, &snapshot.base) else {
        let (reason, detail) = match &snapshot.unrollable {
            Some(why) => (SkipReason::Downtime, why.as_str()),
            None if rules.values().any(|rule| rule.key.schedule().is_some()) => {
                (SkipReason::ServiceMissing, "there is no such schedule or rule")
            }
            None => (SkipReason::ServiceMissing, "there is no such service, or it is being deleted"),
        };
        for choice in selected {
            plan.skip(choice.key, choice.push, reason, detail);
        }
        plan.refused.clone_from(&snapshot.unrollable);
        return plan;
    };
    // The family's latest revision may be one that was made here, and undone since: it must not become the base of a new one
    // (decision 16).
    let base = if state.made(base.arn()) { current } else { base };
    let mut images = BTreeMap::new();
    let mut targets = BTreeMap::new();
    let mut new_digests = BTreeSet::new();
    for choice in selected {
        let Some(pins) = changes(&mut plan, &choice, state, snapshot, base, now) else { continue };
        new_digests.insert(choice.image.digest.clone());
        images.extend(pins);
        targets.insert(choice.key.clone(), choice.target());
    }
    if targets.is_empty() || !may_roll(&mut plan, rules, &targets, service, base) {
        return plan;
    }
    let registration = base.with_images(&images);
    let names_tags = base
        .containers()
        .any(|(name, image)| ImageReference::split(images.get(name).map_or(image, String::as_str)).is_movable());
    let mut supersedes = None;
    let rollback_target = match &state.rollout {
        // It is not complete: what ran before *it* is what is known to be good (decision 22).
        Some(superseded) => superseded.rollback_target.clone(),
        None => rollback_target_from(&mut plan, state, snapshot, current, &new_digests),
    };
    if let Some(superseded) = &state.rollout {
        // What it brings is part of what may fail.
        if superseded.direction == Direction::Forward && superseded.phase.revision() == Some(base.arn()) {
            for (key, target) in &superseded.targets {
                targets.entry(key.clone()).or_insert_with(|| target.clone());
            }
        }
        supersedes = Some(Box::new(Rollout { supersedes: None, ..superseded.clone() }));
    }
    plan.roll = Some(Roll {
        rollout: Rollout {
            direction: Direction::Forward,
            targets,
            replaces: service.task_definition.clone(),
            base: base.arn().clone(),
            images,
            rollback_target,
            phase: Phase::Intended,
            decided_at: now,
            names_tags,
            supersedes,
        },
        registration,
    });
    plan
}

impl Plan {
    /// Writes into the state what was decided about these pushes; not the rollout.
    ///
    /// They are no longer wanted. The newest one that stands is what a later, older one is compared with: one that is gone, or is no image,
    /// does not stand in the way of an older one. And a newer push ends the hold of an older digest, also when it brings what runs already.
    pub fn write_down(&self, asked: &Pushes, known: &mut ServiceState) {
        for (repository, pushes) in asked {
            if let Some(pending) = known.pending.get_mut(repository) {
                pending.retain(|push| !pushes.contains(push));
                if pending.is_empty() {
                    known.pending.remove(repository);
                }
            }
        }
        for (repository, push) in self.standing() {
            if known.decided.get(repository).is_none_or(|decided| !push.is_older_than(decided)) {
                known.decided.insert(repository.clone(), push.clone());
            }
        }
        known.held.extend(self.holds.clone());
        for skip in self.skips.iter().filter(|skip| skip.reason == SkipReason::AlreadyDeployed) {
            if known.held.get(&skip.repository).is_some_and(|hold| hold.is_overtaken_by(&skip.push)) {
                known.held.remove(&skip.repository);
            }
        }
    }

    /// The pushes that stand, deployed or not.
    fn standing(&self) -> impl Iterator<Item = (&RepositoryKey, &PushRef)> {
        let skipped = self.skips.iter().filter(|skip| skip.reason.stands()).map(|skip| (&skip.repository, &skip.push));
        let rolled = self.roll.iter().flat_map(|roll| &roll.rollout.targets).map(|(key, target)| (key, &target.push));
        skipped.chain(rolled)
    }

    fn skip(&mut self, repository: &RepositoryKey, push: PushRef, reason: SkipReason, detail: impl Into<String>) {
        self.skips.push(Skip { repository: repository.clone(), push, reason, detail: detail.into() });
    }

    fn skip_all(&mut self, repository: &RepositoryKey, pushes: &[PushRef], reason: SkipReason, detail: &str) {
        for push in pushes {
            self.skip(repository, push.clone(), reason, detail);
        }
    }
}

/// The new image of each matching container, unless there is a reason to change none.
fn changes(
    plan: &mut Plan,
    choice: &Selected<'_>,
    state: &ServiceState,
    snapshot: &ServiceSnapshot,
    base: &TaskDefinition,
    now: Timestamp,
) -> Option<BTreeMap<String, String>> {
    let digest = &choice.image.digest;
    let mut skip = |reason, detail: String| {
        plan.skip(choice.key, choice.push.clone(), reason, detail);
        None
    };
    let matching = base.matching(&choice.repository, choice.rule.container.as_deref());
    if matching.is_empty() {
        let detail = match &choice.rule.container {
            Some(container) => format!("{} has no container named {container}", base.arn().short()),
            None => format!("no container of {} has an image of {}", base.arn().short(), choice.repository.name),
        };
        return skip(SkipReason::NoContainer, detail);
    }
    if let Some(service_hold) = &state.service_hold {
        return skip(SkipReason::Held, service_hold.to_string());
    }
    // A better image that was there already is no push of this one.
    let still_held = |hold: &&DigestHold| &hold.digest == digest && !(choice.own && hold.is_ended_by(&choice.push));
    if let Some(hold) = state.held.get(choice.key).filter(still_held) {
        return skip(hold.skip_reason(), hold.reason.clone());
    }
    if let Some(detail) = runs_already(choice, state, snapshot) {
        return skip(SkipReason::AlreadyDeployed, detail);
    }
    if let Some(reason) = taken_away(choice, state, snapshot) {
        let hold = DigestHold::new(&choice.target(), SignedDuration::ZERO, reason.clone(), now);
        plan.skip(choice.key, choice.push.clone(), SkipReason::Held, reason);
        plan.holds.insert(choice.key.clone(), hold);
        return None;
    }
    if let Some((reason, detail)) = standing::would_go_down(choice, state, snapshot) {
        return skip(reason, detail);
    }
    let target = choice.target();
    let pin = pin_of(choice.rule.deploy.pin, &target);
    Some(
        matching
            .into_iter()
            .map(|(name, image)| (name.to_owned(), image::rename(image, &choice.repository, &pin)))
            .collect(),
    )
}

/// Whether the service runs the digest, or is being rolled to it. What it ran before does not count (decision 10).
fn runs_already(choice: &Selected<'_>, state: &ServiceState, snapshot: &ServiceSnapshot) -> Option<String> {
    let (service, current) = (snapshot.service.as_ref()?, snapshot.current.as_ref()?);
    let digest = &choice.image.digest;
    if let Some(target) = state
        .rollout
        .as_ref()
        .and_then(|rollout| rollout.targets.get(choice.key).filter(|_| rollout.direction == Direction::Forward))
    {
        return (&target.digest == digest).then(|| "the service is being rolled to this digest".to_owned());
    }
    let deployed_here = state.deployed.as_ref().is_some_and(|deployed| {
        deployed.revision == service.task_definition
            && deployed.targets.get(choice.key).is_some_and(|target| &target.digest == digest)
    });
    let matching = current.matching(&choice.repository, choice.rule.container.as_deref());
    let runs = !matching.is_empty()
        && matching.iter().all(|(name, image)| {
            let reference = ImageReference::split(image);
            reference.is_from(&choice.repository)
                && match reference.pinned() {
                    Some(pinned) => &pinned == digest,
                    None => deployed_here || snapshot.running.only(name) == Some(digest),
                }
        });
    runs.then(|| format!("{} runs this digest", current.arn().short()))
}

/// Why this digest is not brought back, if somebody else took it away: it was deployed here, the service was set to something else since,
/// and no push came after that (decision 25). One image may be pushed under several tags, and their events come in any order.
fn taken_away(choice: &Selected<'_>, state: &ServiceState, snapshot: &ServiceSnapshot) -> Option<String> {
    let service = snapshot.service.as_ref()?;
    let digest = &choice.image.digest;
    let stale = |until: Timestamp| choice.push.at <= until && !choice.push.is_command();
    let deployed = state.deployed.as_ref().filter(|deployed| deployed.revision != service.task_definition);
    let replaced = deployed.is_some_and(|deployed| {
        deployed.targets.get(choice.key).is_some_and(|target| &target.digest == digest) && stale(deployed.since)
    });
    let replaced_externally = state
        .replaced_externally
        .get(choice.key)
        .is_some_and(|replaced_externally| &replaced_externally.digest == digest && stale(replaced_externally.at));
    (state.rollout.is_none() && (replaced || replaced_externally))
        .then(|| format!("somebody else set the service to {} after it was deployed", service.task_definition.short()))
}

/// Where to go back to should the rollout fail: the last deployment that completed (decision 39), which is the one that the service is set to unless that
/// one is still being rolled out, or has failed.
fn rollback_target_from(
    plan: &mut Plan,
    state: &ServiceState,
    snapshot: &ServiceSnapshot,
    current: &TaskDefinition,
    new: &BTreeSet<Digest>,
) -> RollbackTarget {
    let good = snapshot.completed.as_ref().unwrap_or(current);
    let running = |container: &str| match &snapshot.completed {
        Some(completed) => snapshot.running.of(completed.arn(), container),
        None => snapshot.running.all(container),
    };
    let deployed = state.deployed.as_ref().filter(|deployed| &deployed.revision == good.arn());
    RollbackTarget {
        revision: good.arn().clone(),
        pinned: pins_of_what_runs(plan, good, running, new),
        targets: deployed.map(|deployed| deployed.targets.clone()).unwrap_or_default(),
    }
}

/// The containers that name an image in ECR by a tag: pinned to what runs, for a rollback.
fn pins_of_what_runs<'a>(
    plan: &mut Plan,
    good: &TaskDefinition,
    running: impl Fn(&str) -> BTreeSet<&'a Digest>,
    new: &BTreeSet<Digest>,
) -> BTreeMap<String, String> {
    let mut pinned = BTreeMap::new();
    for (name, image) in good.containers() {
        let reference = ImageReference::split(image);
        if !reference.is_movable() {
            continue;
        }
        // A task that was replaced since the push runs the new image by the old revision: it is not what ran before.
        let before: Vec<&Digest> = running(name).into_iter().filter(|digest| !new.contains(*digest)).collect();
        match before[..] {
            [digest] => {
                pinned.insert(name.to_owned(), format!("{}@{digest}", reference.name));
            }
            ref found => plan.warnings.push(format!(
                "container {name} of {} names {image}, and {} for it: the rollback can only be that tag",
                good.arn().short(),
                match found.is_empty() {
                    // No task runs, or none whose image counts; those of a schedule that ran before tell nothing of the next one.
                    true => "no running task tells the digest",
                    false => "its running tasks do not agree on one digest",
                }
            )),
        }
    }
    pinned
}

/// Whether ECS can, and may, replace the tasks.
fn may_roll(
    plan: &mut Plan,
    rules: &BTreeMap<RepositoryKey, &ServiceRule>,
    targets: &BTreeMap<RepositoryKey, Target>,
    service: &ServiceView,
    base: &TaskDefinition,
) -> bool {
    let mode = targets.keys().find_map(|key| rules.get(key)).map_or(DowntimeMode::Refuse, |rule| rule.deploy.downtime);
    let refusal = match (downtime::not_ours_to_roll(service), downtime::of_replacing(service)) {
        (Some(reason), _) => Some(reason),
        (None, Some(downtime)) if mode == DowntimeMode::Refuse => Some(downtime.reason),
        (None, Some(downtime)) => {
            if mode == DowntimeMode::Warn {
                plan.warnings.push(downtime.reason);
            }
            None
        }
        (None, None) => {
            if mode != DowntimeMode::Allow {
                plan.warnings.extend(downtime::of_doubtful(service, base).map(|downtime| downtime.reason));
            }
            None
        }
    };
    if let Some(reason) = &refusal {
        for (key, target) in targets {
            plan.skip(key, target.push.clone(), SkipReason::Downtime, reason.clone());
        }
    }
    plan.refused = refusal;
    plan.refused.is_none()
}

/// The rollback after a rollout that failed, as a rollout of its own. `None` for a rollback itself: there is nothing behind it.
#[must_use]
pub fn roll_back(failed: &Rollout, because: &str, now: Timestamp) -> Option<Rollout> {
    if failed.direction != Direction::Forward {
        return None;
    }
    Some(Rollout {
        direction: Direction::Back { because: because.to_owned() },
        replaces: failed.phase.revision().unwrap_or(&failed.replaces).clone(),
        base: failed.rollback_target.revision.clone(),
        images: failed.rollback_target.pinned.clone(),
        phase: Phase::Intended,
        decided_at: now,
        supersedes: None,
        ..failed.clone()
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
mod order_tests;
