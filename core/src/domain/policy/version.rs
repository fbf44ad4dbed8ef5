//! `semver = ">=1.4, <2"`: the highest version wins.
//!
//! Cargo admits the pre-releases of the one version that a range names; people who come from npm, Helm and Flux expect a range that names a
//! pre-release to admit those of every version in it. That is what holds here: it admits all that Cargo admits, and more.

use jiff::Timestamp;
use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

use super::{By, Policy, Rank};
use crate::domain::types::Tag;

/// Admits the tags that are semantic versions within a range; a leading `v` is allowed.
///
/// A range that names a pre-release, such as `>=1.0.0-0`, admits the pre-releases of every version in the range. The bounds hold for them
/// as they do for releases: `>=1.4.0-rc.2, <2` admits neither 1.4.0-rc.1 nor 2.0.0-rc.1.
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

impl VersionPolicy {
    fn admits_version(&self, version: &Version) -> bool {
        self.range.matches(version) || self.admits_prerelease(version)
    }

    /// A pre-release is in the range if the release that it precedes is, and if it is not below where the range begins.
    fn admits_prerelease(&self, version: &Version) -> bool {
        let bounds = &self.range.comparators;
        let release = Version { pre: Prerelease::EMPTY, build: BuildMetadata::EMPTY, ..version.clone() };
        !version.pre.is_empty()
            && bounds.iter().any(|bound| !bound.pre.is_empty())
            && self.range.matches(&release)
            && bounds.iter().all(|bound| begins_before(bound, version))
    }
}

/// Whether a bound of a range has no lower end, or begins no later than at this version.
fn begins_before(bound: &Comparator, version: &Version) -> bool {
    let begin = || Version {
        major: bound.major,
        minor: bound.minor.unwrap_or_default(),
        patch: bound.patch.unwrap_or_default(),
        pre: bound.pre.clone(),
        build: BuildMetadata::EMPTY,
    };
    match bound.op {
        Op::Greater => *version > begin(),
        Op::Exact | Op::GreaterEq | Op::Tilde | Op::Caret => *version >= begin(),
        Op::Less | Op::LessEq | Op::Wildcard => true,
        // The set is open; what is not known admits no more than it does by itself.
        _ => false,
    }
}

impl Policy for VersionPolicy {
    fn rank(&self, tag: &Tag, _pushed_at: Timestamp) -> Option<Rank> {
        let text = tag.as_str();
        let version = Version::parse(text.strip_prefix('v').unwrap_or(text)).ok()?;
        self.admits_version(&version).then_some(Rank::Version(version))
    }

    fn order(&self) -> By {
        By::Text
    }

    fn spec(&self) -> String {
        format!("semver = \"{}\"", self.range)
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
    fn a_prerelease_in_the_range_admits_those_of_every_version_in_it() {
        for (range, admitted, refused) in [
            (
                ">=1.0.0-0",
                &["1.0.0-0", "1.0.0-alpha", "1.0.0", "1.5.0-rc.1", "v1.5.0-rc.1", "7.0.0-beta"][..],
                &["0.9.9", "0.9.9-rc.1"][..],
            ),
            (
                ">=2.0.300-0",
                &["2.0.300-1-gabcdef0", "2.0.330-63-gc1cfb68", "2.1.0"],
                &["2.0.299", "2.0.299-63-gc1cfb68"],
            ),
            (">=1.4.0-rc.2, <2", &["1.4.0-rc.2", "1.9.0-rc.1"], &["1.4.0-rc.1", "2.0.0-rc.1", "2.0.0"]),
            (">=1.0.0-0, <2.0.0", &["1.9.9-rc.1"], &["2.0.0-rc.1"]),
            (">=1.0.0-0, <2.0.0-0", &["1.9.9-rc.1"], &["2.0.0-0", "2.0.0-rc.1"]),
            (">=1.0.0-0, <=2.0.0-rc.2", &["2.0.0-beta", "2.0.0-rc.2"], &["2.0.0-rc.3", "2.0.0"]),
            (">=1.0.0, <2.0.0-0", &["1.0.1-rc.1"], &["1.0.0-rc.1"]),
            ("^1.2.0-0", &["1.2.0-rc.1", "1.9.0-rc.1"], &["1.1.9-rc.1", "2.0.0-rc.1"]),
            ("~1.2.3-0", &["1.2.3-rc.1", "1.2.9-rc.1"], &["1.2.2-rc.1", "1.3.0-rc.1"]),
            (">1.0.0-rc.1", &["1.0.0-rc.2", "1.1.0-rc.1"], &["1.0.0-rc.1", "1.0.0-beta"]),
            ("=1.2.3-rc.1", &["1.2.3-rc.1"], &["1.2.3", "1.2.3-rc.2"]),
            ("1.2.*, >=1.2.0-0", &["1.2.0-rc.1", "1.2.7-rc.1"], &["1.3.0-rc.1"]),
            ("*", &["1.2.3"], &["1.2.3-rc.1"]),
            (">=1.0.0", &["1.5.0"], &["1.5.0-rc.1"]),
        ] {
            let policy = VersionPolicy::new(range).unwrap();
            let admits = |tag: &&&str| policy.admits(&Tag::parse(tag).unwrap());
            assert_eq!(admitted.iter().filter(admits).count(), admitted.len(), "{range} admits {admitted:?}");
            assert_eq!(refused.iter().find(admits), None, "{range} refuses {refused:?}");
        }
    }

    #[test]
    fn prereleases_come_in_their_order() {
        let policy = VersionPolicy::new(">=1.0.0-0").unwrap();
        let rank = |tag: &str| policy.rank(&Tag::parse(tag).unwrap(), Timestamp::UNIX_EPOCH);
        let ascending = ["1.5.0-alpha", "1.5.0-rc.1", "1.5.0-rc.9", "1.5.0-rc.10", "1.5.0", "1.5.1-0"];
        assert!(ascending.is_sorted_by(|lower, higher| rank(lower) < rank(higher)));
    }

    #[test]
    fn a_wrong_range_is_refused() {
        assert!(VersionPolicy::new("").is_err());
        assert!(VersionPolicy::new("> one").is_err());
    }
}
