//! Which push wins for one repository of a service, by what ECR says now.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::super::image::Repository;
use super::super::policy::By;
use super::super::settings::{RepositoryKey, ServiceRule};
use super::super::skip::SkipReason;
use super::super::state::{PushRef, ServiceState, Target};
use super::super::types::Tag;
use super::super::view::ImageView;
use super::{Plan, RepositorySnapshot, ServiceSnapshot};

/// One push selected for one repository.
pub(super) struct Selected<'a> {
    pub(super) rule: &'a ServiceRule,
    pub(super) key: &'a RepositoryKey,
    pub(super) push: PushRef,
    pub(super) image: &'a ImageView,
    /// Whether the image is the one that the push itself brought, not one that was there already.
    pub(super) own: bool,
    pub(super) repository: Repository,
}

impl Selected<'_> {
    pub(super) fn target(&self) -> Target {
        let image_pushed_at = self.image.pushed_at;
        Target { digest: self.image.digest.clone(), push: self.push.clone(), image_pushed_at }
    }
}

/// A push that wins, and the image that it brings.
struct Winner<'a> {
    push: PushRef,
    image: &'a ImageView,
    own: bool,
}

/// Selects the push that wins, by what ECR says now; the others are skipped.
pub(super) fn select<'a>(
    plan: &mut Plan,
    key: &'a RepositoryKey,
    rule: &'a ServiceRule,
    pushes: &[PushRef],
    state: &ServiceState,
    snapshot: &'a ServiceSnapshot,
) -> Option<Selected<'a>> {
    static NOTHING: RepositorySnapshot = RepositorySnapshot::none();
    let among = Among { plan, key, rule, answers: snapshot.images.get(key).unwrap_or(&NOTHING) };
    let Winner { push, image, own } = match rule.policy.order() {
        By::Push => among.newest(pushes, state.decided.get(key)),
        By::Text => among.highest(pushes),
    }?;
    let repository = Repository { registry: image.registry.clone(), name: key.name.clone() };
    // What the record reported has served its purpose.
    let push = PushRef { digest: None, ..push };
    Some(Selected { rule, key, push, image, own, repository })
}

/// The pushes of one repository are compared with each other and with what ECR says.
struct Among<'p, 'a> {
    plan: &'p mut Plan,
    key: &'a RepositoryKey,
    rule: &'a ServiceRule,
    answers: &'a RepositorySnapshot,
}

impl<'a> Among<'_, 'a> {
    fn skip(&mut self, push: &PushRef, reason: SkipReason, detail: impl Into<String>) {
        self.plan.skip(self.key, push.clone(), reason, detail);
    }

    /// Whether the policy still admits the tag of a push; it is skipped if not.
    fn admitted(&mut self, push: &PushRef) -> bool {
        let admitted = push.tag.as_ref().is_none_or(|tag| self.rule.policy.admits(tag));
        if !admitted {
            self.skip(push, SkipReason::TagMismatch, "the policy does not admit the tag any more");
        }
        admitted
    }

    /// The newest push wins, and the older ones are superseded.
    ///
    /// Example: `latest` is pushed with A at 10:00 and with B at 10:02. B is deployed, whichever event arrives first.
    fn newest(mut self, pushes: &[PushRef], decided: Option<&PushRef>) -> Option<Winner<'a>> {
        let answers = self.answers;
        let mut newest_first: Vec<&PushRef> = pushes.iter().collect();
        newest_first.sort_by_cached_key(|push| Reverse((stands_as(push, answers).rank(), push.tag.is_some())));
        let mut winner: Option<(&PushRef, &'a ImageView)> = None;
        for push in newest_first {
            if decided.is_some_and(|decided| push.is_surely_older_than(decided)) || winner.is_some() {
                self.skip(push, SkipReason::Superseded, "a newer push was seen");
                continue;
            }
            if !self.admitted(push) {
                continue;
            }
            let found = match &push.tag {
                Some(tag) => answers.by_tag.get(tag),
                None => answers.best.as_ref().map(|(_, image)| image),
            };
            match found.map(|image| (image, image.not_an_image())) {
                Some((image, None)) => winner = Some((push, image)),
                Some((_, Some(why))) => self.skip(push, SkipReason::NotAnImage, why),
                None => self.skip(push, SkipReason::TagGone, gone(push, answers)),
            }
        }
        let (push, image) = winner?;
        if push.tag.is_some() {
            return Some(Winner { push: as_of(push, Some(image)), image, own: true });
        }
        self.newest_of_all(push, image, decided)
    }

    /// A push without a tag, or a comparison with ECR, brings the newest image that there is: unless an older one was pushed again since.
    fn newest_of_all(mut self, push: &PushRef, image: &'a ImageView, decided: Option<&PushRef>) -> Option<Winner<'a>> {
        let push = as_of(push, Some(image));
        let best = self.answers.best.as_ref().map(|(tag, _)| tag);
        let Some(newer) = decided.filter(|decided| stands_against(decided, image, best, self.rule)) else {
            return Some(Winner { push: PushRef { tag: best.cloned(), ..push }, image, own: false });
        };
        let tag = newer.tag.as_ref()?;
        let Some(again) = self.answers.by_tag.get(tag) else {
            let detail = format!("{tag}, which was decided, is gone from ECR, and what is left was pushed before it");
            self.skip(&push, SkipReason::Superseded, detail);
            return None;
        };
        Some(Winner { push: PushRef { at: newer.at, tag: Some(tag.clone()), ..push }, image: again, own: true })
    }

    /// The highest tag in the repository wins, if somebody pushed it: that a lower one was pushed is no reason to deploy a higher one that
    /// was there before (decision 7).
    ///
    /// Example: ECR holds 1.4.0, the service runs 1.2.0, and 1.3.0 is pushed. Nothing is deployed, as nobody pushed 1.4.0 now.
    fn highest(mut self, pushes: &[PushRef]) -> Option<Winner<'a>> {
        let best = self.answers.best.as_ref();
        let mut newest_first: Vec<&PushRef> = pushes.iter().collect();
        newest_first.sort_by_cached_key(|push| Reverse((push.tag.is_some(), push.rank())));
        let mut winner: Option<Winner<'a>> = None;
        for push in newest_first {
            if !self.admitted(push) {
                continue;
            }
            let known = push.tag.as_ref().and_then(|tag| self.answers.by_tag.get(tag));
            match (&push.tag, best, known) {
                (None, Some((tag, image)), _) if winner.is_none() => {
                    let push = PushRef { tag: Some(tag.clone()), ..push.clone() };
                    winner = Some(Winner { push, image, own: false });
                }
                (Some(tag), Some((_, image)), _) if image.tags.contains(tag) && winner.is_none() => {
                    winner = Some(Winner { push: push.clone(), image, own: true });
                }
                (Some(tag), Some((_, image)), _) if image.tags.contains(tag) => {
                    self.skip(push, SkipReason::Superseded, "a newer push was seen");
                }
                (None, Some(_), _) => self.skip(push, SkipReason::Superseded, "a newer push was seen"),
                (Some(_), _, Some(image)) if image.not_an_image().is_some() => {
                    self.skip(push, SkipReason::NotAnImage, image.not_an_image().unwrap_or_default());
                }
                (Some(tag), Some((best, _)), Some(_)) => {
                    self.skip(push, SkipReason::LowerVersion, format!("{best} is higher than {tag}"));
                }
                (..) => self.skip(push, SkipReason::TagGone, gone(push, self.answers)),
            }
        }
        winner
    }
}

/// The push with the time from which it stands, given the image that it brings.
///
/// Where the tag has moved on since the push, a later one brought the image: it stands as of that one, so that what was pushed in between
/// does not follow it (decision 6). A push without a tag, and a comparison with ECR, bring the best image that there is: they stand as of the push of
/// that one, too. Nobody pushed when ECR was compared, so that time says nothing (decision 8). The times of pushes are whole seconds.
///
/// Example: `v1` is pushed with A at 10:00, `v2` with B at 10:05, and `v1` with C at 10:10. The first event alone was read. It stands as of
/// 10:10: C is deployed, and `v2` is superseded.
fn as_of(push: &PushRef, image: Option<&ImageView>) -> PushRef {
    let mut push = push.clone();
    let Some(image) = image else { return push };
    let moved_on = push.digest.as_ref().is_some_and(|told| told != &image.digest);
    if push.tag.is_none() || moved_on {
        let pushed_at = image.pushed_at.map_or(push.at, whole_second);
        push.at = if push.is_reconciliation() { pushed_at } else { pushed_at.max(push.at) };
    }
    push
}

/// The same before it is known which push wins. Without a tag, that of the best image: of two pushes in one second the tags tell.
fn stands_as(push: &PushRef, answers: &RepositorySnapshot) -> PushRef {
    if let Some(tag) = &push.tag {
        return as_of(push, answers.by_tag.get(tag));
    }
    let best = answers.best.as_ref();
    PushRef { tag: best.map(|(tag, _)| tag.clone()), ..as_of(push, best.map(|(_, image)| image)) }
}

/// Whether the newest image by ECR is not the newest push: an image that was there before was pushed again since, of which ECR does not
/// keep the time. `best` is the tag that it was found by: of two pushes in one second the tags tell.
fn stands_against(decided: &PushRef, image: &ImageView, best: Option<&Tag>, rule: &ServiceRule) -> bool {
    let one_tag = rule.policy.literals().is_some_and(|tags| tags.len() == 1);
    let known_by = decided.tag.as_ref().filter(|tag| !image.tags.contains(tag));
    let pushed = image.pushed_at.map(|at| PushRef { at: whole_second(at), tag: best.cloned(), ..decided.clone() });
    !one_tag && known_by.is_some() && pushed.is_some_and(|pushed| pushed.is_older_than(decided))
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn gone(push: &PushRef, answers: &RepositorySnapshot) -> String {
    match &push.tag {
        _ if answers.no_repository => "ECR does not know the repository any more".to_owned(),
        Some(tag) => format!("ECR does not know the tag {tag} any more"),
        None => "no tag in the repository is admitted by the policy".to_owned(),
    }
}
