//! Closed sets of words.
//!
//! A word stands in the configuration, in metrics, in the log or in JSON. Each set is declared once with `words!`: the variants of its
//! enum, the text of each and its meaning. Readers, label values, `Display` and the reference documents derive from that declaration.

/// A closed set of words.
pub trait Word: Copy + PartialEq + 'static {
    /// Every word of the set, in the order of the declaration.
    const WORDS: &'static [Self];

    /// The text of the word.
    fn text(self) -> &'static str;

    /// What the word means, in a sentence for operators.
    fn describe(self) -> &'static str;

    /// The word with this text.
    #[must_use]
    fn of(text: &str) -> Option<Self> {
        Self::WORDS.iter().copied().find(|word| word.text() == text)
    }
}

/// Every text of a set with its meaning: what the reference documents list.
#[must_use]
pub fn described<W: Word>() -> Vec<(&'static str, &'static str)> {
    W::WORDS.iter().map(|word| (word.text(), word.describe())).collect()
}

/// Declares an enum whose variants are words, or gives words to the variants of an enum that is declared elsewhere (`for NAME`). In the
/// latter form the compiler names a variant without a word.
#[macro_export]
macro_rules! words {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($variant:ident = $text:literal, $meaning:literal;)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name {
            $(#[doc = $meaning] $variant,)+
        }

        $crate::domain::words::words!(for $name { $($variant = $text, $meaning;)+ });
    };
    (for $name:ident { $($variant:ident = $text:literal, $meaning:literal;)+ }) => {
        impl $name {
            /// Every word of the set, in the order of the declaration.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The word as it stands in files, metrics, logs and JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// What the word means, in a sentence for operators.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }

        impl $crate::domain::words::Word for $name {
            const WORDS: &'static [Self] = &Self::ALL;

            fn text(self) -> &'static str {
                self.as_str()
            }

            fn describe(self) -> &'static str {
                self.meaning()
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// Lets serde write a set of words as their texts, and read only these.
#[macro_export]
macro_rules! words_in_json {
    ($($name:ident),+) => {$(
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                <Self as $crate::domain::words::Word>::of(&text).ok_or_else(|| {
                    let known = Self::ALL.map(Self::as_str).join(", ");
                    ::serde::de::Error::custom(format!("{text:?} is not one of {known}"))
                })
            }
        }
    )+};
}

pub use {words, words_in_json};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::audit::Concern;

    #[test]
    fn a_word_is_written_and_read_by_its_text() {
        let texts: Vec<&str> = described::<Concern>().into_iter().map(|(text, _)| text).collect();
        assert_eq!(texts, ["ours", "watched", "others"]);
        assert_eq!((Concern::of("watched"), Concern::of("Watched")), (Some(Concern::Watched), None));
        assert_eq!(format!("{:>6}", Concern::Ours), "  ours");
        assert_eq!(serde_json::to_string(&Concern::ALL).unwrap(), r#"["ours","watched","others"]"#);
        assert_eq!(serde_json::from_str::<Concern>("\"ours\"").unwrap(), Concern::Ours);
        let error = serde_json::from_str::<Concern>("\"theirs\"").unwrap_err().to_string();
        assert!(error.contains("\"theirs\" is not one of ours, watched, others"), "{error}");
    }
}
