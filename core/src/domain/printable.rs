//! Foreign text made fit to be shown.
//!
//! Tags, records of CloudTrail, messages of AWS, reasons of operators and values of the configuration are written by others. On a terminal
//! they could move the cursor or recolour the screen, in the log they could begin a line of their own, and in a browser they could turn the
//! direction of what stands beside them. [`printable`] is the one place that decides what is left of such a text; it is applied where the
//! text comes in, and once more by the writers of the log and of the terminal.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize};

/// The longest foreign text that is kept, in characters. An answer of AWS to a denied call has about 500.
pub const LONGEST: usize = 2_000;

/// Stands for a character that is not shown.
const REPLACEMENT: char = '\u{fffd}';
/// Ends a text that was cut.
const CUT: char = '\u{2026}';

/// A text of at most `longest` characters without control characters, line and paragraph separators, and marks that change the direction of
/// writing or are invisible. White space of any kind becomes a space, so that words stay apart; every other such character becomes U+FFFD. A
/// text that is cut ends in an ellipsis. The function leaves its own results as they are.
#[must_use]
pub fn printable(text: &str, longest: usize) -> String {
    let mut shown: String = text.chars().take(longest).map(shown_as).collect();
    if longest > 0 && text.chars().nth(longest).is_some() {
        shown.pop();
        shown.push(CUT);
    }
    shown
}

/// A text that others wrote, as one line that is fit to be shown: AWS's messages, and what programs say, may have several.
#[must_use]
pub fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect();
    printable(&lines.join(" "), LONGEST)
}

/// Whether [`printable`] leaves every character of the text as it is.
#[must_use]
pub fn is_printable(text: &str) -> bool {
    text.chars().all(|c| shown_as(c) == c)
}

fn shown_as(c: char) -> char {
    match c {
        '\u{2028}' | '\u{2029}' => ' ',
        c if c.is_control() && c.is_whitespace() => ' ',
        c if c.is_control() || is_mark(c) => REPLACEMENT,
        c => c,
    }
}

/// Marks that are invisible and may change how what stands beside them is read: the directional marks, embeddings, overrides and isolates
/// of the Unicode Bidirectional Algorithm (UAX #9), the other format characters of general use, interlinear annotations, and tags. The two
/// joiners are left, for some scripts cannot be written without them.
fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// A text that is fit to be shown, whoever wrote it: see [`printable`]. It cannot be made from a text without that being done, nor be read
/// from JSON without it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PrintableText(String);

impl PrintableText {
    /// What is shown of a text, which is at most [`LONGEST`] characters.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(printable(text, LONGEST))
    }

    /// The text as it is shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for PrintableText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for PrintableText {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for PrintableText {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl From<PrintableText> for String {
    fn from(text: PrintableText) -> Self {
        text.0
    }
}

impl fmt::Display for PrintableText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Reads a text of somebody else's as one that is fit to be shown: for `#[serde(deserialize_with)]`.
///
/// # Errors
/// There is no text.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    PrintableText::deserialize(deserializer).map(String::from)
}

/// The same for a text that may be absent.
///
/// # Errors
/// There is something else than a text.
pub fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::<PrintableText>::deserialize(deserializer).map(|text| text.map(String::from))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_steers_a_terminal_a_log_or_a_browser_is_not_left() {
        for (text, shown) in [
            ("fair until Friday", "fair until Friday"),
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", "\u{fffd}[2J\u{fffd}]0;owned\u{fffd}"),
            ("web/a\n2026-01-01 INFO forged", "web/a 2026-01-01 INFO forged"),
            ("a\r\nb\tc\u{85}d\u{2028}e\u{2029}f\u{b}g\u{c}h", "a  b c d e f g h"),
            ("\u{9b}31m", "\u{fffd}31m"),
            (
                "\u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{200f}",
                "\u{fffd}txt.exe\u{fffd} \u{fffd}x\u{fffd} \u{fffd}",
            ),
            ("a\u{200b}b\u{feff}c\u{ad}d\u{e0041}", "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}"),
            (
                "Z\u{fc}rich \u{6771}\u{4eac} e\u{301} \u{1f468}\u{200d}\u{1f469}",
                "Z\u{fc}rich \u{6771}\u{4eac} e\u{301} \u{1f468}\u{200d}\u{1f469}",
            ),
        ] {
            assert_eq!(printable(text, LONGEST), shown, "{text:?}");
            assert_eq!(is_printable(text), text == shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abcde\u{2026}");
        assert_eq!(printable("abc", 0), "");
        assert_eq!(PrintableText::new(&"x".repeat(1 << 20)).chars().count(), LONGEST);
    }

    #[test]
    fn json_is_read_as_what_is_fit_to_be_shown() {
        let text: PrintableText = serde_json::from_str(r#""a\u001b[31mb\u202ec""#).unwrap();
        assert_eq!(text.as_str(), "a\u{fffd}[31mb\u{fffd}c");
        assert_eq!(serde_json::to_string(&text).unwrap(), "\"a\u{fffd}[31mb\u{fffd}c\"");
    }

    /// Any text, rich in what is not to be left.
    fn hostile() -> impl Strategy<Value = String> {
        let marks = "\u{0}\u{7}\u{8}\t\n\u{b}\r\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{ad}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}\u{e0041}";
        let nasty = prop::sample::select(marks.chars().collect::<Vec<_>>());
        let any = prop_oneof![nasty, any::<char>(), prop::char::range(' ', '~')];
        prop::collection::vec(any, 0..80).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn whatever_comes_in_what_goes_out_is_one_bounded_line_that_steers_nothing(text in hostile(), longest in 0usize..60) {
            let shown = printable(&text, longest);
            prop_assert!(shown.chars().count() <= longest);
            prop_assert!(!shown.chars().any(char::is_control));
            let forbidden = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}'];
            let is_bidi = |c: char| ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
            prop_assert!(!shown.chars().any(|c| forbidden.contains(&c) || is_bidi(c)));
            prop_assert!(is_printable(&shown));
            prop_assert_eq!(&printable(&shown, longest), &shown, "its own result stays");
            prop_assert_eq!(shown.chars().count(), text.chars().count().min(longest), "a character for a character");
        }
    }
}
