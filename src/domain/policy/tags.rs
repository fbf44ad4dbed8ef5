//! `tags = ["latest", "release-*"]`: globs; the newest push wins.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use jiff::Timestamp;

use super::{By, Policy, Rank};
use crate::domain::types::Tag;

/// Admits the tags that match one of the globs (`*`, `?`, `[...]`, `{a,b}`).
#[derive(Debug)]
pub struct TagsPolicy {
    globs: GlobSet,
    spec: String,
    literals: Option<Vec<Tag>>,
}

impl TagsPolicy {
    /// Compiles the globs.
    ///
    /// # Errors
    /// The index of the glob that is empty or wrong, and what is wrong with it.
    pub fn new(globs: &[String]) -> Result<Self, (usize, String)> {
        let mut set = GlobSetBuilder::new();
        for (index, glob) in globs.iter().enumerate() {
            if glob.is_empty() {
                return Err((index, "a glob is never empty; \"*\" admits every tag".to_owned()));
            }
            let compiled = GlobBuilder::new(glob).build().map_err(|error| (index, error.kind().to_string()))?;
            set.add(compiled);
        }
        let globs_set = set.build().map_err(|error| (0, error.kind().to_string()))?;
        let literals = globs.iter().map(|glob| Tag::parse(glob).ok()).collect();
        Ok(Self { globs: globs_set, spec: format!("tags = {globs:?}"), literals })
    }
}

impl Policy for TagsPolicy {
    fn rank(&self, tag: &Tag, pushed_at: Timestamp) -> Option<Rank> {
        self.globs.is_match(tag.as_str()).then_some(Rank::Pushed(pushed_at))
    }

    fn order(&self) -> By {
        By::Push
    }

    fn spec(&self) -> String {
        self.spec.clone()
    }

    fn literals(&self) -> Option<&[Tag]> {
        self.literals.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(globs: &[&str]) -> TagsPolicy {
        TagsPolicy::new(&globs.iter().map(|glob| (*glob).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_glob_admits_the_whole_tag_or_nothing() {
        for (globs, tag, expected) in [
            (&["latest"][..], "latest", true),
            (&["latest"], "latest-arm64", false),
            (&["latest"], "Latest", false),
            (&["release-*"], "release-1", true),
            (&["release-*"], "prerelease-1", false),
            (&["v?.*"], "v1.2", true),
            (&["{main,dev}-*"], "dev-7", true),
            (&["latest", "v*"], "v9", true),
            (&["a.b"], "axb", false),
        ] {
            assert_eq!(policy(globs).admits(&Tag::parse(tag).unwrap()), expected, "{globs:?} {tag}");
        }
    }

    #[test]
    fn no_glob_admits_nothing() {
        assert!(!policy(&[]).admits(&Tag::parse("latest").unwrap()));
    }

    #[test]
    fn literals_are_known_only_when_every_glob_is_one() {
        assert_eq!(policy(&["latest", "v1"]).literals().map(<[Tag]>::len), Some(2));
        assert_eq!(policy(&["latest", "v*"]).literals(), None);
    }

    #[test]
    fn a_wrong_glob_is_named() {
        assert_eq!(TagsPolicy::new(&["a".to_owned(), "[".to_owned()]).unwrap_err().0, 1);
        assert_eq!(TagsPolicy::new(&[String::new()]).unwrap_err().0, 0);
    }
}
