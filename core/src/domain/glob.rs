//! Globs for names: `*`, `?`, `[a-z]` and `{a,b}`, for the whole of a name.
//!
//! The syntax is globset's. What it makes of a glob, a regular expression, is run by regex-lite, as the expressions of policies are: names are
//! short, and globset's own matcher would bring a second engine for expressions, 0.4 MB of the program.

use regex_lite::Regex;

/// One glob. `*` also stands for a slash.
#[derive(Debug, Clone)]
pub struct Glob {
    text: Box<str>,
    /// Absent where the glob has no character with a meaning, and therefore names one thing.
    pattern: Option<Regex>,
}

impl Glob {
    /// Compiles a glob.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let glob = globset::Glob::new(text).map_err(|error| error.kind().to_string())?;
        let is_plain = !text.contains(['*', '?', '[', ']', '{', '}', '\\']);
        let pattern = (!is_plain).then(|| Regex::new(glob.regex())).transpose().map_err(|error| error.to_string())?;
        Ok(Self { text: text.into(), pattern })
    }

    /// Whether the whole name fits.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(name),
            None => *self.text == *name,
        }
    }

    /// The glob as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Several globs, of which one has to fit. Without any, nothing fits.
#[derive(Debug, Clone, Default)]
pub struct Globs(Box<[Glob]>);

impl Globs {
    /// Whether the whole name fits one of them.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(name))
    }

    /// The globs in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Glob> {
        self.0.iter()
    }
}

impl FromIterator<Glob> for Globs {
    fn from_iter<I: IntoIterator<Item = Glob>>(globs: I) -> Self {
        Self(globs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_whole_name_fits_or_nothing() {
        for (glob, name, expected) in [
            ("latest", "latest", true),
            ("latest", "latest-arm64", false),
            ("latest", "Latest", false),
            ("a.b", "axb", false),
            ("a.b", "a.b", true),
            ("release-*", "release-1", true),
            ("release-*", "prerelease-1", false),
            ("v?.*", "v1.2", true),
            ("v?.*", "v.2", false),
            ("{main,dev}-*", "dev-7", true),
            ("{main,dev}-*", "test-7", false),
            ("v[0-9]", "v7", true),
            ("v[!0-9]", "v7", false),
            ("*", "team/shop", true),
            ("team/*", "team/live/shop", true),
            ("**/shop", "team/live/shop", true),
            ("**/shop", "shop", true),
            (r"a\*", "a*", true),
            (r"a\*", "ab", false),
        ] {
            assert_eq!(Glob::parse(glob).unwrap().is_match(name), expected, "{glob} {name}");
        }
    }

    #[test]
    fn one_of_several_is_enough() {
        let globs: Globs = ["web/*", "jobs/mail"].into_iter().map(|glob| Glob::parse(glob).unwrap()).collect();
        assert!(globs.is_match("web/shop") && globs.is_match("jobs/mail") && !globs.is_match("jobs/mails"));
        assert!(!Globs::default().is_match("web/shop"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (glob, message) in [
            ("[", "unclosed character class; missing ']'"),
            ("a{b", "unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)"),
            ("[b-a]", "invalid range; 'b' > 'a'"),
        ] {
            assert_eq!(Glob::parse(glob).unwrap_err(), message, "{glob}");
        }
    }

    proptest! {
        /// A glob means here what it means to globset itself, for names of the characters that AWS allows.
        #[test]
        fn a_glob_means_what_globset_says(
            glob in r"([a-c.]|\*|\?|/|\[[a-c.-]{1,3}\]|\[![a-c]\]|\{[a-c*]{0,2},[a-c?]{0,2}\}){0,6}",
            name in "[a-c./-]{0,6}",
        ) {
            match globset::Glob::new(&glob) {
                Ok(theirs) => prop_assert_eq!(Glob::parse(&glob).unwrap().is_match(&name), theirs.compile_matcher().is_match(&name)),
                Err(error) => prop_assert_eq!(Glob::parse(&glob).unwrap_err(), error.kind().to_string()),
            }
        }
    }
}
