//! Which tags may be deployed, and which of several wins.
//!
//! One policy a file, each behind [`Policy`] and validated when the configuration is read. A policy gives a tag a [`Rank`]; the
//! highest rank wins. No rank means "not mine", so that an empty result never selects anything.

mod numbers;
mod pattern;
#[cfg(test)]
mod properties;
mod samples;
mod tags;
mod version;

use std::fmt;

use jiff::Timestamp;

use super::types::Tag;
use super::view::ImageView;

pub use numbers::Numbers;
pub use pattern::{Order, PatternPolicy};
pub use tags::TagsPolicy;
pub use version::VersionPolicy;

/// One way to choose among the tags of a repository.
pub trait Policy: fmt::Debug + Send + Sync {
    /// The rank of a tag that was pushed at a time; `None` when the policy does not admit the tag.
    fn rank(&self, tag: &Tag, pushed_at: Timestamp) -> Option<Rank>;

    /// What the rank depends on.
    fn order(&self) -> By;

    /// The policy as the configuration writes it: two policies that say the same are the same.
    fn spec(&self) -> String;

    /// The tags that can be named one by one, where the policy admits no others: ECR can then be asked for exactly these.
    fn literals(&self) -> Option<&[Tag]> {
        None
    }

    /// Why the policy can admit no tag at all, where that shows in the policy itself.
    fn futility(&self) -> Option<String> {
        None
    }

    /// Whether the policy admits the tag at all.
    fn admits(&self, tag: &Tag) -> bool {
        self.rank(tag, Timestamp::UNIX_EPOCH).is_some()
    }
}

/// What decides between two tags that a policy admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The time of the push: the newest wins, so the pushed tag alone has to be looked up.
    Push,
    /// The text of the tag: the highest wins, so the other tags of the repository have to be looked up too.
    Text,
}

/// The place of a tag among those that one policy admits. Ranks of one policy are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The time of the push.
    Pushed(Timestamp),
    /// The version that the tag names, for `semver`.
    Version(semver::Version),
    /// A number in the tag, or several with dots and dashes between them.
    Numbers(Numbers),
    /// A text in the tag.
    Text(String),
}

/// The tag and image that a policy ranks highest. Signatures, attestations and images of which the time of the push is unknown where it
/// matters are never chosen.
pub fn best<'a>(policy: &dyn Policy, images: impl IntoIterator<Item = &'a ImageView>) -> Option<(Tag, ImageView)> {
    let mut best: Option<((Rank, Timestamp), &Tag, &ImageView)> = None;
    let one_tag = policy.literals().is_some_and(|tags| tags.len() == 1);
    for image in images {
        // Among the images of several tags only the time tells which is the newest.
        let untold = policy.order() == By::Push && !one_tag && image.pushed_at.is_none();
        if image.not_an_image().is_some() || untold {
            continue;
        }
        for tag in &image.tags {
            if super::artifact::of_tag(tag).is_some() {
                continue;
            }
            let pushed_at = image.pushed_at.unwrap_or(Timestamp::UNIX_EPOCH);
            // Of equal ranks (1.2.0 and v1.2.0, a build that ran twice) the newer image wins.
            let Some(rank) = policy.rank(tag, pushed_at).map(|rank| (rank, pushed_at)) else { continue };
            if best.as_ref().is_none_or(|(highest, ..)| rank > *highest) {
                best = Some((rank, tag, image));
            }
        }
    }
    best.map(|(_, tag, image)| (tag.clone(), image.clone()))
}
