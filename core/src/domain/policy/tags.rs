//! `tags = ["latest", "release-*"]`: globs; the newest push wins.

use jiff::Timestamp;

use super::{By, Policy, Rank};
use crate::domain::glob::{Glob, Globs};
use crate::domain::types::Tag;

/// Admits the tags that match one of the globs (`*`, `?`, `[...]`, `{a,b}`).
#[derive(Debug)]
pub struct TagsPolicy(Matcher);

/// Most policies name tags and no patterns: those need no expression, of which thousands take their memory.
#[derive(Debug)]
enum Matcher {
    Literals(Box<[Tag]>),
    Globs(Globs),
}

impl TagsPolicy {
    /// Compiles the globs.
    ///
    /// # Errors
    /// The index of the glob that is empty or wrong, and what is wrong with it.
    pub fn new(globs: &[String]) -> Result<Self, (usize, String)> {
        let compile = |(index, glob): (usize, &String)| {
            if glob.is_empty() {
                return Err((index, "a glob is never empty; \"*\" admits every tag".to_owned()));
            }
            Glob::parse(glob).map_err(|message| (index, message))
        };
        let compiled = globs.iter().enumerate().map(compile).collect::<Result<Globs, _>>()?;
        // A tag has no character that means anything in a glob.
        if let Some(literals) = globs.iter().map(|glob| Tag::parse(glob).ok()).collect() {
            return Ok(Self(Matcher::Literals(literals)));
        }
        Ok(Self(Matcher::Globs(compiled)))
    }
}

impl Policy for TagsPolicy {
    fn rank(&self, tag: &Tag, pushed_at: Timestamp) -> Option<Rank> {
        let admits = match &self.0 {
            Matcher::Literals(tags) => tags.contains(tag),
            Matcher::Globs(globs) => globs.is_match(tag.as_str()),
        };
        admits.then_some(Rank::Pushed(pushed_at))
    }

    fn order(&self) -> By {
        By::Push
    }

    fn spec(&self) -> String {
        match &self.0 {
            Matcher::Literals(tags) => format!("tags = {:?}", tags.iter().map(Tag::as_str).collect::<Vec<_>>()),
            Matcher::Globs(globs) => format!("tags = {:?}", globs.iter().map(Glob::as_str).collect::<Vec<_>>()),
        }
    }

    fn literals(&self) -> Option<&[Tag]> {
        match &self.0 {
            Matcher::Literals(tags) => Some(tags),
            Matcher::Globs(_) => None,
        }
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
