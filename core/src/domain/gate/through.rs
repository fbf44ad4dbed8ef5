//! A plan goes through the gates of its service: what may begin begins, what may not waits or is skipped.
//!
//! Where a service comes after others, what it gets is the digest that those have proven, never what the tag points to by then. So its pushes
//! are compared by the digests that they brought, and a push that is not proven yet stays undecided beside an older one that is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Evidence, Gates, ImageRequest, Subject, Verdict, Wait, after, judge};
use crate::domain::plan::{self, Plan, Pushes, RepositorySnapshot, ServiceSnapshot, Skip};
use crate::domain::policy::{By, Policy, Rank};
use crate::domain::settings::{RepositoryKey, ServiceRule};
use crate::domain::skip::SkipReason;
use crate::domain::state::{GateRefusal, PushRef, ServiceState};
use crate::domain::types::{Digest, Tag};
use crate::domain::view::ImageView;
use crate::domain::waiting::{Gate, Waiting};

/// Images of each repository that may be promoted, as far as it has them.
pub type Promoted = BTreeMap<RepositoryKey, Vec<ImageView>>;

/// A plan, and what came of it at the gates.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct GatedPlan {
    /// What begins, and what is skipped.
    pub plan: Plan,
    /// What waits, one for each repository at most.
    pub waits: Vec<Waiting>,
    /// The pushes that wait, and stay undecided.
    pub kept: Pushes,
    /// What has to be asked before the rest can be judged.
    pub requests: Vec<ImageRequest>,
    /// Whether one of the gates that are closed may open without anything that this program gets to know of.
    pub ask_again: bool,
    /// What a gate refused, by repository.
    pub refused: BTreeMap<RepositoryKey, GateRefusal>,
}

impl GatedPlan {
    /// Writes into the state what was decided about these pushes; not the rollout, and not what waits.
    pub fn write_down(&self, asked: &Pushes, known: &mut ServiceState) {
        let decided = asked.iter().map(|(repository, pushes)| {
            let kept = self.kept.get(repository);
            let is_kept = |push: &&PushRef| kept.is_some_and(|kept| kept.contains(push));
            (repository.clone(), pushes.iter().filter(|push| !is_kept(push)).cloned().collect())
        });
        self.plan.write_down(&decided.collect(), known);
        for repository in asked.keys() {
            known.refused.remove(repository);
        }
        known.refused.extend(self.refused.clone());
    }

    /// What waits, for those who look: one of all.
    #[must_use]
    pub fn waiting(&self) -> Option<&Waiting> {
        self.waits.first()
    }
}

/// What the gates of one service are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    /// What operators call the service.
    pub service: &'a str,
    /// The rules of the service by repository.
    pub rules: &'a BTreeMap<RepositoryKey, &'a ServiceRule>,
    /// The images that may be promoted, by repository.
    pub promoted: &'a Promoted,
    /// What the gates go by.
    pub evidence: &'a Evidence<'a>,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Decides what to do for one service, as [`plan::plan`] does, and judges its gates.
pub fn plan(passage: &Passage<'_>, state: &ServiceState, snapshot: &ServiceSnapshot) -> GatedPlan {
    if passage.rules.values().all(|rule| rule.deploy.gates.are_open()) {
        return GatedPlan { plan: plan::plan(passage.rules, state, snapshot, passage.now), ..GatedPlan::default() };
    }
    let mut gated = GatedPlan::default();
    let mut view = View::of(state, snapshot);
    for (repository, rule) in passage.rules.iter().filter(|(_, rule)| !rule.deploy.gates.after.is_empty()) {
        passage.promote(repository, rule, &mut view);
    }
    let mut skips = Vec::new();
    loop {
        let mut plan = plan::plan(passage.rules, &view.state, &view.snapshot, passage.now);
        let closed = passage.first_closed(&plan, &view);
        let Some((repository, push, digest, verdict)) = closed else {
            let Some((repository, unproven)) = view.unproven_yet.pop_first() else {
                plan.skips.append(&mut skips);
                gated.plan = plan;
                return gated;
            };
            if plan.roll.as_ref().is_some_and(|roll| roll.rollout.targets.contains_key(&repository)) {
                gated.kept.entry(repository).or_default().extend(unproven);
            } else {
                // What is proven brings nothing: what is not waits.
                skips.extend(plan.skips.iter().filter(|skip| skip.repository == repository).cloned());
                passage.plan_unproven(repository, unproven, snapshot, &mut view);
            }
            continue;
        };
        view.state.pending.remove(&repository);
        let of_it = plan.skips.iter().filter(|skip| skip.repository == repository);
        let unproven = matches!(&verdict, Verdict::Wait(wait) if wait.gate == Gate::After);
        for skip in of_it {
            // What is older may be proven before what is newer.
            let may_be_proven = matches!(skip.reason, SkipReason::Superseded | SkipReason::LowerVersion)
                && !state.decided.get(&repository).is_some_and(|decided| skip.push.is_older_than(decided));
            match unproven && may_be_proven {
                true => gated.kept.entry(repository.clone()).or_default().push(skip.push.clone()),
                false => skips.push(skip.clone()),
            }
        }
        let unproven_yet = view.unproven_yet.remove(&repository).unwrap_or_default();
        match &verdict {
            Verdict::Refuse(_) if !unproven_yet.is_empty() => {
                passage.plan_unproven(repository.clone(), unproven_yet, snapshot, &mut view);
            }
            _ if unproven_yet.is_empty() => {}
            Verdict::Open | Verdict::Wait(_) | Verdict::Ask(_) | Verdict::Refuse(_) => {
                gated.kept.entry(repository.clone()).or_default().extend(unproven_yet);
            }
        }
        let pushed = original(state, &repository, &push).unwrap_or_else(|| push.clone());
        match verdict {
            Verdict::Open => {}
            Verdict::Wait(wait) => {
                gated.ask_again |= wait.ask_again;
                gated.waits.push(passage.waiting(&repository, &push, digest, wait));
                gated.kept.entry(repository).or_default().push(pushed);
            }
            Verdict::Ask(request) => {
                gated.requests.push(request);
                gated.kept.entry(repository).or_default().push(pushed);
            }
            Verdict::Refuse(refusal) => {
                let refused = GateRefusal { digest, reason: refusal.reason, at: passage.now };
                gated.refused.insert(repository.clone(), refused);
                skips.push(Skip { repository, push: pushed, reason: refusal.reason, detail: refusal.why });
            }
        }
    }
}

/// The push as it is pending: the plan gives it the tag and the time of the image that it brings.
fn original(state: &ServiceState, repository: &RepositoryKey, push: &PushRef) -> Option<PushRef> {
    state.pending.get(repository)?.iter().find(|one| one.event == push.event).cloned()
}

/// What is planned with.
struct View {
    state: ServiceState,
    snapshot: ServiceSnapshot,
    /// Why nothing that is pending is proven, by repository.
    unproven: BTreeMap<RepositoryKey, Option<Wait>>,
    /// Pushes that are newer than what is proven.
    unproven_yet: Pushes,
}

impl View {
    fn of(state: &ServiceState, snapshot: &ServiceSnapshot) -> Self {
        let (state, snapshot) = (state.clone(), snapshot.clone());
        Self { state, snapshot, unproven: BTreeMap::new(), unproven_yet: Pushes::new() }
    }
}

impl Passage<'_> {
    /// The first target of a rollout for which a gate is not open.
    fn first_closed(&self, plan: &Plan, view: &View) -> Option<(RepositoryKey, PushRef, Digest, Verdict)> {
        let roll = plan.roll.as_ref()?;
        // What is carried over from a rollout that is superseded went through the gates before.
        let asked = roll.rollout.targets.iter().filter(|(repository, _)| view.state.pending.contains_key(*repository));
        for (repository, target) in asked {
            let Some(rule) = self.rules.get(repository) else { continue };
            let unproven = view.unproven.get(repository).cloned().flatten();
            let verdict = match unproven {
                Some(wait) => Verdict::Wait(wait),
                None => self.judge(&rule.deploy.gates, repository, target, view),
            };
            if verdict != Verdict::Open {
                return Some((repository.clone(), target.push.clone(), target.digest.clone(), verdict));
            }
        }
        None
    }

    fn judge(
        &self,
        gates: &Gates,
        repository: &RepositoryKey,
        target: &crate::domain::state::Target,
        view: &View,
    ) -> Verdict {
        let answers = view.snapshot.images.get(repository);
        let images = answers.into_iter().flat_map(RepositorySnapshot::images);
        let image = images.into_iter().find(|image| image.digest == target.digest);
        let subject = Subject { service: self.service, repository, digest: &target.digest, push: &target.push, image };
        judge(gates, &subject, self.evidence, self.now)
    }

    /// What waits, as it is shown. What waited there before has waited since then.
    fn waiting(&self, repository: &RepositoryKey, push: &PushRef, digest: Digest, wait: Wait) -> Waiting {
        let since = self.evidence.since(wait.gate, &digest, self.now);
        Waiting {
            gate: wait.gate,
            since,
            repository: repository.name.clone(),
            tag: push.tag.clone(),
            digest,
            reason: wait.why,
            until: wait.until,
            stage: None,
            hook: None,
            reported: false,
        }
    }

    /// Narrows what is planned with to what the services before have proven.
    fn promote(&self, repository: &RepositoryKey, rule: &ServiceRule, view: &mut View) {
        let Some(pending) = view.state.pending.get(repository).cloned() else { return };
        let gates = &rule.deploy.gates;
        let proven = after::proven(&self.evidence.others, gates.bake, self.now);
        let answers = view.snapshot.images.get(repository).cloned().unwrap_or_default();
        let there = self.promoted.get(repository).into_iter().flatten();
        let images: Vec<&ImageView> =
            answers.images().chain(there).filter(|one| proven.contains(&one.digest)).collect();
        let brings = |push: &PushRef| brought(push, &answers, &images, &proven, rule);
        let candidates = pending.iter().filter_map(|push| Some((push, brings(push)?)));
        let decided = view.state.decided.get(repository);
        let candidates = candidates.filter(|(push, _)| decided.is_none_or(|decided| !below(rule, push, decided)));
        let newest = candidates.max_by_key(|(push, _)| order(rule.policy.as_ref(), push));
        let Some((newest, brought)) = newest else {
            let why = self.why_unproven(repository, rule, &pending, &answers, &proven);
            view.unproven.insert(repository.clone(), why);
            return;
        };
        let limit = order(rule.policy.as_ref(), newest);
        // An older push whose tag has moved on to something that is not proven stands as of that: it does not follow what is.
        let moved_on = |push: &PushRef| {
            let now = push
                .tag
                .as_ref()
                .filter(|tag| Some(*tag) != newest.tag.as_ref())
                .and_then(|tag| answers.by_tag.get(tag));
            let told = push.digest.as_ref();
            now.is_some_and(|now| told.is_some_and(|told| told != &now.digest) && !proven.contains(&now.digest))
        };
        let is_in = |push: &&PushRef| push == &newest || (order(rule.policy.as_ref(), push) < limit && !moved_on(push));
        let (taken, left): (Vec<&PushRef>, Vec<&PushRef>) = pending.iter().partition(is_in);
        let taken: Vec<PushRef> = taken.into_iter().cloned().collect();
        let left: Vec<PushRef> = left.into_iter().cloned().collect();
        let tag = newest.tag.clone().or_else(|| admitted(brought, rule));
        let mut image = brought.clone();
        image.tags.extend(tag.clone().filter(|tag| !brought.tags.contains(tag)));
        let mut narrowed = answers;
        narrowed.by_tag.retain(|tag, _| taken.iter().any(|push| push.tag.as_ref() == Some(tag)));
        narrowed.by_tag.extend(tag.clone().map(|tag| (tag, image.clone())));
        narrowed.best = tag.map(|tag| (tag, image));
        view.snapshot.images.insert(repository.clone(), narrowed);
        view.state.pending.insert(repository.clone(), taken);
        if !left.is_empty() {
            view.unproven_yet.insert(repository.clone(), left);
        }
    }

    /// Plans with pushes that are not proven, to know which one waits.
    fn plan_unproven(
        &self,
        repository: RepositoryKey,
        pushes: Vec<PushRef>,
        snapshot: &ServiceSnapshot,
        view: &mut View,
    ) {
        let Some(rule) = self.rules.get(&repository) else { return };
        let answers = snapshot.images.get(&repository).cloned().unwrap_or_default();
        let proven = after::proven(&self.evidence.others, rule.deploy.gates.bake, self.now);
        let why = self.why_unproven(&repository, rule, &pushes, &answers, &proven);
        view.unproven.insert(repository.clone(), why);
        view.snapshot.images.insert(repository.clone(), answers);
        view.state.pending.insert(repository, pushes);
    }

    /// Why nothing that is pending may be promoted, where the services before have proven something.
    fn why_unproven(
        &self,
        repository: &RepositoryKey,
        rule: &ServiceRule,
        pending: &[PushRef],
        answers: &RepositorySnapshot,
        proven: &BTreeSet<Digest>,
    ) -> Option<Wait> {
        let told = |push: &PushRef| push.digest.clone().filter(|digest| proven.contains(digest));
        let of_nobody = || proven.iter().next().filter(|_| pending.iter().any(|push| push.tag.is_none())).cloned();
        let wait = |why| Some(Wait { gate: Gate::After, why, until: None, ask_again: true });
        let digest = pending.iter().find_map(told).or_else(of_nobody);
        if let Some(digest) = digest {
            let names: Vec<&str> = self.evidence.others.iter().map(|other| other.name).collect();
            return wait(format!(
                "{} runs {digest}, which is not in the repository {repository}, or has no tag there that the policy admits: push it there",
                names.join(" and ")
            ));
        }
        // What would win is what waits; the services before say why.
        let newest = pending.iter().max_by_key(|push| order(rule.policy.as_ref(), push))?;
        let digest = newest
            .tag
            .as_ref()
            .and_then(|tag| answers.by_tag.get(tag))
            .or(answers.best.as_ref().map(|(_, image)| image));
        match after::judge(&self.evidence.others, rule.deploy.gates.bake, &digest?.digest, self.now) {
            Verdict::Wait(wait) => Some(wait),
            Verdict::Open | Verdict::Refuse(_) | Verdict::Ask(_) => {
                wait(format!("the digest that was proven is not in the repository {repository}"))
            }
        }
    }
}

/// The image that a push brings, if it is proven. A push without a tag, and a comparison with ECR, bring whatever is.
fn brought<'a>(
    push: &PushRef,
    answers: &RepositorySnapshot,
    images: &[&'a ImageView],
    proven: &BTreeSet<Digest>,
    rule: &ServiceRule,
) -> Option<&'a ImageView> {
    let by_digest = |digest: &Digest| images.iter().find(|image| &image.digest == digest).copied();
    match (&push.digest, &push.tag) {
        (Some(told), _) if proven.contains(told) => by_digest(told),
        (Some(_), Some(_)) => None,
        (None, Some(tag)) => by_digest(&answers.by_tag.get(tag)?.digest),
        (_, None) => images.iter().find(|image| admitted(image, rule).is_some()).copied(),
    }
}

/// A tag of the image that the policy admits.
fn admitted(image: &ImageView, rule: &ServiceRule) -> Option<Tag> {
    crate::domain::policy::best(rule.policy.as_ref(), std::iter::once(image)).map(|(tag, _)| tag)
}

/// What orders the pushes to one repository: the greatest wins.
fn order(policy: &dyn Policy, push: &PushRef) -> (Option<Rank>, impl Ord + use<>) {
    let by_text = push.tag.as_ref().filter(|_| policy.order() == By::Text);
    (by_text.and_then(|tag| policy.rank(tag, push.at)), push.rank())
}

/// Whether the policy ranks a push lower than one that was decided.
fn below(rule: &ServiceRule, push: &PushRef, decided: &PushRef) -> bool {
    let rank = |push: &PushRef| rule.policy.rank(push.tag.as_ref()?, push.at);
    rule.policy.order() == By::Text && matches!((rank(push), rank(decided)), (Some(new), Some(old)) if new < old)
}

#[cfg(test)]
#[path = "through_tests.rs"]
mod tests;
