//! Which push wins for one repository of a service, by what ECR says now.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::super::image::Repository;
use super::super::policy::By;
use super::super::settings::{RepositoryKey, ServiceRule};
use super::super::skip::SkipReason;
use super::super::state::{PushRef, ServiceState, Target};
use super::super::types::{Region, Tag};
use super::super::view::ImageView;
use super::{Answers, Facts, Plan};

/// One push selected for one repository.
pub(super) struct Selected<'a> {
    pub(super) rule: &'a ServiceRule,
    pub(super) key: &'a RepositoryKey,
    pub(super) push: PushRef,
    pub(super) image: &'a ImageView,
    /// Whether the image is the one that the push itself brought, not a better one that was there already.
    pub(super) own: bool,
    pub(super) repository: Repository,
}

impl Selected<'_> {
    pub(super) fn target(&self) -> Target {
        let image_pushed_at = self.image.pushed_at;
        Target { digest: self.image.digest.clone(), push: self.push.clone(), image_pushed_at }
    }
}

/// Selects the push that wins, by what ECR says now; the others are skipped.
pub(super) fn select<'a>(
    plan: &mut Plan,
    key: &'a RepositoryKey,
    rule: &'a ServiceRule,
    region_of: &impl Fn(&RepositoryKey) -> Option<Region>,
    pushes: &[PushRef],
    state: &ServiceState,
    facts: &'a Facts,
) -> Option<Selected<'a>> {
    let nothing = Answers::default();
    let answers = facts.images.get(key).unwrap_or(&nothing);
    let mut newest_first: Vec<&PushRef> = pushes.iter().collect();
    newest_first.sort_by_cached_key(|push| Reverse((stands_as(push, answers).rank(), push.tag.is_some())));
    let mut winner: Option<(PushRef, &'a ImageView)> = None;
    for push in newest_first {
        if state.decided.get(key).is_some_and(|decided| push.is_surely_older_than(decided)) || winner.is_some() {
            plan.skip(key, push.clone(), SkipReason::Superseded, "a newer push was seen");
            continue;
        }
        if push.tag.as_ref().is_some_and(|tag| !rule.policy.admits(tag)) {
            plan.skip(key, push.clone(), SkipReason::TagMismatch, "the policy does not admit the tag any more");
            continue;
        }
        let found = match (&push.tag, rule.policy.order()) {
            (Some(tag), By::Push) => facts.images.get(key).and_then(|answers| answers.by_tag.get(tag)),
            _ => facts.images.get(key).and_then(|answers| answers.best.as_ref()).map(|(_, image)| image),
        };
        match found.map(|image| (image, image.not_an_image())) {
            Some((image, None)) => winner = Some((push.clone(), image)),
            Some((_, Some(why))) => plan.skip(key, push.clone(), SkipReason::NotAnImage, why),
            None => plan.skip(key, push.clone(), SkipReason::TagGone, gone(push)),
        }
    }
    let (mut push, mut image) = winner?;
    if push.tag.is_none() {
        push = as_of(&push, Some(image));
        let best = answers.best.as_ref().map(|(tag, _)| tag);
        if let Some(newer) = state.decided.get(key).filter(|decided| stands_against(decided, image, best, rule)) {
            let tag = newer.tag.as_ref()?;
            let Some(again) = facts.images.get(key).and_then(|answers| answers.by_tag.get(tag)) else {
                let detail =
                    format!("{tag}, which was decided, is gone from ECR, and what is left was pushed before it");
                plan.skip(key, push, SkipReason::Superseded, detail);
                return None;
            };
            push.at = newer.at;
            push.tag = Some(tag.clone());
            image = again;
        }
    }
    let own = push.tag.as_ref().is_some_and(|tag| image.tags.contains(tag));
    if rule.policy.order() == By::Text || push.tag.is_none() {
        let best = answers.best.as_ref().map(|(tag, _)| tag.clone());
        if let (Some(tag), Some(best), false) = (&push.tag, &best, own) {
            plan.skip(key, push.clone(), SkipReason::LowerVersion, format!("{best} is higher than {tag}"));
        }
        push.tag = best;
    }
    let region = region_of(key)?;
    let repository = Repository { account: image.registry.clone(), region, name: key.name.clone() };
    Some(Selected { rule, key, push, image, own, repository })
}

/// The push with the time from which it stands. A push without a tag, and a comparison with ECR, bring the best image that there is: they
/// stand as of the push of that one, so that a newer push wins over it and an older one does not follow it. Nobody pushed when ECR was
/// compared, so that time says nothing. The times of pushes are whole seconds.
fn as_of(push: &PushRef, best: Option<&ImageView>) -> PushRef {
    let mut push = push.clone();
    if let (None, Some(image)) = (&push.tag, best) {
        let pushed_at = image.pushed_at.map_or(push.at, whole_second);
        push.at = if push.is_reconciliation() { pushed_at } else { pushed_at.max(push.at) };
    }
    push
}

/// The same with the tag of the best image: of two pushes in one second the tags tell.
fn stands_as(push: &PushRef, answers: &Answers) -> PushRef {
    let best = answers.best.as_ref();
    let stands = as_of(push, best.map(|(_, image)| image));
    let tag = stands.tag.clone().or_else(|| best.map(|(tag, _)| tag.clone()));
    PushRef { tag, ..stands }
}

/// Whether the newest image by ECR is not the newest push: an image that was there before was pushed again since, of which ECR does not
/// keep the time. `best` is the tag that it was found by: of two pushes in one second the tags tell.
fn stands_against(decided: &PushRef, image: &ImageView, best: Option<&Tag>, rule: &ServiceRule) -> bool {
    let one_tag = rule.policy.literals().is_some_and(|tags| tags.len() == 1);
    let known_by = decided.tag.as_ref().filter(|tag| !image.tags.contains(tag));
    let pushed = image.pushed_at.map(|at| PushRef { at: whole_second(at), tag: best.cloned(), ..decided.clone() });
    rule.policy.order() == By::Push
        && !one_tag
        && known_by.is_some()
        && pushed.is_some_and(|pushed| pushed.is_older_than(decided))
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn gone(push: &PushRef) -> String {
    match &push.tag {
        Some(tag) => format!("ECR does not know the tag {tag} any more"),
        None => "no tag in the repository is admitted by the policy".to_owned(),
    }
}
