//! `semver = ">=1.4, <2"`: the highest version wins.

use jiff::Timestamp;
use semver::{Version, VersionReq};

use super::{By, Policy, Rank};
use crate::domain::types::Tag;

/// Admits the tags that are semantic versions within a range; a leading `v` is allowed.
#[derive(Debug)]
pub struct VersionPolicy {
    range: VersionReq,
}

impl VersionPolicy {
    /// Reads the range, in Cargo's notation.
    ///
    /// # Errors
    /// What is wrong with the range.
    pub fn new(range: &str) -> Result<Self, String> {
        if range.trim().is_empty() {
            return Err("a range is never empty; \"*\" admits every version".to_owned());
        }
        VersionReq::parse(range).map(|range| Self { range }).map_err(|error| error.to_string())
    }
}

impl Policy for VersionPolicy {
    fn rank(&self, tag: &Tag, _pushed_at: Timestamp) -> Option<Rank> {
        let text = tag.as_str();
        let version = Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
        self.range.matches(&version).then_some(Rank::Version(version))
    }

    fn order(&self) -> By {
        By::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_in_the_range_wins() {
        let policy = VersionPolicy::new(">=1.4, <2").unwrap();
        let rank = |tag: &str| policy.rank(&Tag::parse(tag).unwrap(), Timestamp::UNIX_EPOCH);
        assert!(rank("1.10.0") > rank("1.9.0"));
        assert!(rank("v1.4.0").is_some());
        for outside in ["1.3.9", "2.0.0", "1.5", "latest", "1.5.0-rc.1", "vv1.5.0"] {
            assert_eq!(rank(outside), None, "{outside}");
        }
    }

    #[test]
    fn a_wrong_range_is_refused() {
        assert!(VersionPolicy::new("").is_err());
        assert!(VersionPolicy::new("> one").is_err());
    }
}
