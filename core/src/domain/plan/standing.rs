//! Where what runs stands among the images that a policy selects from: what nobody ordered never goes down
//! (decision 9).
//!
//! ECR may have lost what runs, or the tag that it was deployed by. What runs still counts as the highest that is known. Where that cannot be
//! known, a comparison with ECR deploys nothing, and a push is followed: somebody wanted it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::image::ImageReference;
use super::super::policy::{By, Rank};
use super::super::skip::SkipReason;
use super::super::state::{Direction, Rollout, ServiceState, Target};
use super::super::task_definition::TaskDefinition;
use super::super::types::{Digest, Tag};
use super::super::view::ImageView;
use super::ServiceSnapshot;
use super::select::Selected;

/// Why a push or a comparison with ECR brings nothing, although ECR holds something else than what runs. Of pushes that is so only where the
/// text of the tag decides.
///
/// A policy of a single tag is no choice among several images: that tag is followed wherever it points. An image that is not from the
/// repository, such as a placeholder, does not stand anywhere.
pub(super) fn would_go_down(
    choice: &Selected<'_>,
    state: &ServiceState,
    snapshot: &ServiceSnapshot,
) -> Option<(SkipReason, String)> {
    let one_tag = choice.rule.policy.literals().is_some_and(|tags| tags.len() == 1);
    if choice.push.is_command() || one_tag {
        return None;
    }
    let current = snapshot.current.as_ref()?;
    let known = Known { choice, state, snapshot, current };
    match choice.push.is_reconciliation() {
        true => known.images_that_run().iter().find_map(|image| known.stands_above(image)),
        false => known.images_that_run().iter().find_map(|image| known.is_known_to_be_higher(image)),
    }
}

/// An image that a container runs, as far as it is known.
#[derive(Debug)]
struct Running {
    digest: Option<Digest>,
    /// The tag that the task definition names it by.
    named: Option<Tag>,
    /// Whether the task definition names the digest: then the image was there before the deployment began.
    pinned: bool,
}

/// What is known of what runs: by ECR, by the record of the service, and by its task definition.
struct Known<'a> {
    choice: &'a Selected<'a>,
    state: &'a ServiceState,
    snapshot: &'a ServiceSnapshot,
    current: &'a TaskDefinition,
}

impl Known<'_> {
    /// The images from the repository that the service runs, except for the one that is to be brought.
    fn images_that_run(&self) -> Vec<Running> {
        let matching = self.current.matching(&self.choice.repository, self.choice.rule.container.as_deref());
        let references = matching.into_iter().map(|(name, image)| (name, ImageReference::split(image)));
        references
            .filter(|(_, reference)| reference.is_from(&self.choice.repository))
            .flat_map(|(name, reference)| self.images_of(name, &reference))
            .filter(|image| image.digest.as_ref() != Some(&self.choice.image.digest))
            .collect()
    }

    fn images_of(&self, container: &str, reference: &ImageReference<'_>) -> Vec<Running> {
        let pinned = reference.pinned();
        let implied = if pinned.is_none() { Some("latest") } else { None };
        let named = reference.tag.or(implied).and_then(|tag| Tag::parse(tag).ok());
        let image = |digest: Option<Digest>, pinned| Running { digest, named: named.clone(), pinned };
        if let Some(pinned) = pinned {
            return vec![image(Some(pinned), true)];
        }
        let running = match self.choice.push.is_reconciliation() {
            true => self.snapshot.running.all(container),
            // A push is compared with what the service is set to, and not with what drains.
            false => self.snapshot.running.of(self.current.arn(), container),
        };
        let running: Vec<Running> = running.into_iter().map(|digest| image(Some(digest.clone()), false)).collect();
        if running.is_empty() { vec![image(self.digest_on_record(), false)] } else { running }
    }

    /// The digest that the record has for the revision which the service runs.
    fn digest_on_record(&self) -> Option<Digest> {
        let (key, current) = (self.choice.key, self.current.arn());
        let deployed = self.state.deployed.as_ref().filter(|deployed| &deployed.revision == current);
        let is_current =
            |rollout: &&Rollout| rollout.direction == Direction::Forward && rollout.phase.revision() == Some(current);
        let rolled = self.state.rollout.as_ref().filter(is_current);
        let target = deployed.map(|deployed| &deployed.targets).or(rolled.map(|rollout| &rollout.targets))?.get(key);
        target.map(|target| target.digest.clone())
    }

    /// Why an image that runs must not be replaced by the one that is to be brought.
    fn stands_above(&self, image: &Running) -> Option<(SkipReason, String)> {
        match self.choice.rule.policy.order() {
            By::Push => {
                let pushed_at = self.choice.image.pushed_at;
                self.was_pushed_after(image, pushed_at.map_or(self.choice.push.at, |at| at.max(self.choice.push.at)))
            }
            By::Text => self.is_higher(image),
        }
    }

    /// Why an image that runs must not be replaced by a push of a lower version. Whatever has failed stands in the way of none.
    fn is_known_to_be_higher(&self, image: &Running) -> Option<(SkipReason, String)> {
        let hold = self.state.held.get(self.choice.key).map(|hold| &hold.digest);
        if self.choice.rule.policy.order() == By::Push || (hold.is_some() && hold == image.digest.as_ref()) {
            return None;
        }
        let policy = self.choice.rule.policy.as_ref();
        let brought = self.choice.push.tag.as_ref()?;
        let (rank, tag) = self.highest(image)?;
        let lower = rank > policy.rank(brought, Timestamp::UNIX_EPOCH)?;
        lower.then(|| {
            let revision = self.current.arn().short();
            let detail =
                format!("{tag}, which {revision} runs, is higher than {brought}; `ecs-deployd deploy` brings that");
            (SkipReason::LowerVersion, detail)
        })
    }

    /// The highest of the tags that an image is, or was, known by.
    fn highest(&self, image: &Running) -> Option<(Rank, Tag)> {
        let rank = |tag: &Tag| self.choice.rule.policy.rank(tag, Timestamp::UNIX_EPOCH);
        self.tags_of(image).into_iter().filter_map(|tag| Some((rank(&tag)?, tag))).max()
    }

    /// Of equal versions the newer image counts as the higher one, unless it is one tag that was moved.
    fn is_higher(&self, image: &Running) -> Option<(SkipReason, String)> {
        let brought = self.choice.push.tag.as_ref()?;
        let brought_rank = self.choice.rule.policy.rank(brought, Timestamp::UNIX_EPOCH)?;
        let revision = self.current.arn().short();
        match self.highest(image) {
            Some((highest, tag)) if highest > brought_rank => {
                Some((SkipReason::LowerVersion, format!("{tag}, which {revision} runs, is higher than {brought}")))
            }
            Some((highest, _)) if highest == brought_rank && !self.tags_of(image).contains(brought) => {
                self.was_pushed_after(image, self.choice.image.pushed_at?)
            }
            Some(_) => None,
            None => {
                let detail =
                    format!("neither ECR nor the state tells which version {revision} runs{}", self.hint(image));
                Some((SkipReason::LowerVersion, detail))
            }
        }
    }

    fn was_pushed_after(&self, image: &Running, brings: Timestamp) -> Option<(SkipReason, String)> {
        let revision = self.current.arn().short();
        let detail = match self.pushed_at(image) {
            Some(runs) if brings < runs => {
                format!(
                    "what {revision} runs was pushed at {runs:.0}, after what is the newest in ECR now ({brings:.0})"
                )
            }
            Some(_) => return None,
            None if image.pinned && self.deployed_at().is_some_and(|since| since < brings) => return None,
            None => {
                format!("neither ECR nor the state tells when what {revision} runs was pushed{}", self.hint(image))
            }
        };
        Some((SkipReason::Superseded, detail))
    }

    fn hint(&self, image: &Running) -> String {
        let digest = image.digest.as_ref().map(|digest| format!(" ({digest})")).unwrap_or_default();
        let brought =
            self.choice.push.tag.as_ref().map_or_else(|| self.choice.image.digest.to_string(), Tag::to_string);
        format!("{digest}, so it may be above {brought}; `ecs-deployd deploy` brings that")
    }

    /// The tags that the image is, or was, known by.
    fn tags_of(&self, image: &Running) -> BTreeSet<Tag> {
        let in_ecr = self.views_of(image).flat_map(|view| view.tags.iter());
        let told = self.targets_of(image).filter_map(|target| target.push.tag.as_ref());
        in_ecr.chain(told).chain(&image.named).cloned().collect()
    }

    /// The time of the last push that is known of the image. ECR keeps that of the first one.
    fn pushed_at(&self, image: &Running) -> Option<Timestamp> {
        let in_ecr = self.views_of(image).filter_map(|view| view.pushed_at);
        let told = self.targets_of(image).flat_map(|target| {
            // A comparison is made when nobody pushes.
            let told_at = Some(target.push.at).filter(|_| !target.push.is_reconciliation());
            [told_at, target.image_pushed_at].into_iter().flatten()
        });
        in_ecr.chain(told).max()
    }

    /// When the deployment began whose revision the service is set to.
    fn deployed_at(&self) -> Option<Timestamp> {
        self.snapshot.service.as_ref()?.primary()?.since
    }

    /// What ECR says of the image; as long as its digest is not known, of the tag that it is named by.
    fn views_of<'a>(&'a self, image: &'a Running) -> impl Iterator<Item = &'a ImageView> {
        let views = self.snapshot.running_in_ecr.get(self.choice.key).into_iter().flatten();
        views.filter(move |view| match (&image.digest, &image.named) {
            (Some(digest), _) => &view.digest == digest,
            (None, Some(named)) => view.tags.contains(named),
            (None, None) => false,
        })
    }

    /// What the record of the service says of the image.
    fn targets_of<'a>(&'a self, image: &'a Running) -> impl Iterator<Item = &'a Target> {
        let (state, key) = (self.state, self.choice.key);
        let deployed = state.deployed.iter().flat_map(|deployed| {
            let before = deployed.rollback_target.iter().map(|rollback_target| &rollback_target.targets);
            before.chain([&deployed.targets])
        });
        let rollout = state.rollout.iter().flat_map(|rollout| [&rollout.targets, &rollout.rollback_target.targets]);
        let left = state.failed_in_place.iter().flat_map(|left| [&left.targets, &left.rollback_target.targets]);
        let history = state.history.iter().map(|outcome| &outcome.targets);
        let targets = deployed.chain(rollout).chain(left).chain(history).filter_map(move |targets| targets.get(key));
        targets.filter(move |target| Some(&target.digest) == image.digest.as_ref())
    }
}

#[cfg(test)]
#[path = "standing_tests.rs"]
mod tests;
