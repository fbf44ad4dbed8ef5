//! Numbers as people put them into tags: `17`, `17.11`, `2025.04.10`, `1.0.20200826-ls29`.

/// Whole numbers with dots, dashes and underscores between them, compared one after the other. Of two that begin alike the longer one is the
/// greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numbers(Vec<Part>);

/// One number. Declared in the order in which it is compared: parts with other letters are not of one series, and a number without leading
/// zeros is the greater the more digits it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    letters: String,
    length: usize,
    digits: String,
}

/// Abbreviated commit ids have at least seven digits.
const COMMIT_ID: usize = 7;

impl Numbers {
    /// Reads the numbers; `None` if the text is something else. The first number may follow a `v`, and each further one letters that name it
    /// (`ls29`, `rc1`). A commit id is no number, however many digits it begins or ends with.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        for part in text.strip_prefix(['v', 'V']).unwrap_or(text).split(['.', '-', '_']) {
            let part = Part::parse(part)?;
            if parts.is_empty() && !part.letters.is_empty() {
                return None;
            }
            parts.push(part);
        }
        Some(Self(parts))
    }
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
        let letters = &text[..text.len() - digits.len()];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) || is_commit_id(text) {
            return None;
        }
        let digits = digits.trim_start_matches('0').to_owned();
        Some(Self { letters: letters.to_owned(), length: digits.len(), digits })
    }
}

/// Whether a text with letters may be an abbreviated commit id, by itself or as `git describe` writes it (`g0a1b2c3`).
fn is_commit_id(text: &str) -> bool {
    let id = text.strip_prefix('g').unwrap_or(text);
    let has_letter = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    has_letter && id.len() >= COMMIT_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_part_by_part() {
        for (lower, higher) in [
            ("9", "10"),
            ("17.9", "17.11"),
            ("17", "17.1"),
            ("1.2.3.4", "1.2.3.5"),
            ("1.2.3.9", "1.2.3.10"),
            ("2025.04.9", "2025.04.10"),
            ("2025-04-09", "2025-04-10"),
            ("1.9.0", "1.10.0"),
            ("v1.9.0", "v1.10.0"),
            ("v1.0.20200826-ls29", "v1.0.20200827-ls30"),
            ("1.0.20200826-ls29", "1.0.20200826-ls30"),
            ("1.0.20200826-ls9", "1.0.20200826-ls29"),
            ("20250101_9", "20250101_10"),
            ("2.0.330-9", "2.0.330-63"),
            ("99999999999999999999999999999", "100000000000000000000000000000"),
        ] {
            let (low, high) = (Numbers::parse(lower).unwrap(), Numbers::parse(higher).unwrap());
            assert!(low < high, "{lower} < {higher}");
        }
        for (a, b) in [("007", "7"), ("2025.04.09", "2025.4.9"), ("v1.2", "1.2"), ("0", "00")] {
            assert_eq!(Numbers::parse(a).unwrap(), Numbers::parse(b).unwrap(), "{a} = {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_none() {
        for text in [
            "",
            "v",
            "x",
            "main",
            "latest",
            "1.",
            ".1",
            "1..2",
            "1.x",
            "1a",
            "a1",
            "rc1",
            "1a2b3c4",
            "1-",
            "1.2.3-rc.1",
            "1-gc1cfb68",
            "1-gabc1234",
            "1-abc1234",
            "vv1",
            "1 2",
            "1+2",
            "\u{661}",
        ] {
            assert_eq!(Numbers::parse(text), None, "{text}");
        }
    }
}
