//! `regex = '^main-(?<key>\d+)-'`: the order of the capture `key` decides.

use jiff::Timestamp;
use regex_lite::Regex;

use super::samples::samples_of_key;
use super::{By, Numbers, Policy, Rank};
use crate::domain::types::Tag;
use crate::domain::words::words;

words! {
    /// How the captures of two tags are compared.
    pub enum Order {
        Numeric = "numeric", "As whole numbers, or as several with dots and dashes between them: the highest tag wins.";
        Alphabetical = "alphabetical", "As text, byte by byte: the highest tag wins.";
        Pushed = "pushed", "Not at all, and no capture is needed: the newest push wins.";
    }
}

/// Admits the tags in which the expression finds a match.
#[derive(Debug)]
pub struct PatternPolicy {
    pattern: Regex,
    order: Order,
}

impl PatternPolicy {
    /// Compiles the expression.
    ///
    /// # Errors
    /// What is wrong with the expression, or that it has no capture `key` although the order compares one.
    pub fn new(pattern: &str, order: Order) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("an expression is never empty; \".\" admits every tag".to_owned());
        }
        let compiled = Regex::new(pattern).map_err(|error| error.to_string())?;
        let has_key = compiled.capture_names().flatten().any(|name| name == "key");
        if order != Order::Pushed && !has_key {
            return Err(
                "the expression has no capture named key to order by: write (?<key>...), or order = \"pushed\""
                    .to_owned(),
            );
        }
        Ok(Self { pattern: compiled, order })
    }
}

impl Policy for PatternPolicy {
    fn rank(&self, tag: &Tag, pushed_at: Timestamp) -> Option<Rank> {
        let captures = self.pattern.captures(tag.as_str())?;
        let key = captures.name("key").map(|key| key.as_str());
        match self.order {
            Order::Numeric => Numbers::parse(key?).map(Rank::Numbers),
            Order::Alphabetical => Some(Rank::Text(key?.to_owned())),
            Order::Pushed => Some(Rank::Pushed(pushed_at)),
        }
    }

    fn order(&self) -> By {
        if self.order == Order::Pushed { By::Push } else { By::Text }
    }

    fn spec(&self) -> String {
        format!("regex = {:?}, order = {:?}", self.pattern.as_str(), self.order.as_str())
    }

    fn futility(&self) -> Option<String> {
        let samples = samples_of_key(self.pattern.as_str());
        let futile = self.order == Order::Numeric
            && !samples.is_empty()
            && samples.iter().all(|sample| Numbers::parse(sample).is_none());
        futile.then(|| {
            format!(
                "its capture key is never a number (it may be {:?}), and order = \"numeric\" compares numbers",
                samples.iter().min_by_key(|sample| sample.len()).map_or("", String::as_str)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(order: Order, tag: &str) -> Option<Rank> {
        let policy = PatternPolicy::new(r"^main-(?<key>\w+)-[0-9a-f]{7}$", order).unwrap();
        policy.rank(&Tag::parse(tag).unwrap(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_capture_is_compared_as_the_order_says() {
        assert!(rank(Order::Numeric, "main-10-abcdef0") > rank(Order::Numeric, "main-9-abcdef0"));
        assert_eq!(rank(Order::Numeric, "main-007-abcdef0"), rank(Order::Numeric, "main-7-abcdef0"));
        let long = format!("main-{}-abcdef0", "9".repeat(60));
        assert!(rank(Order::Numeric, &long) > rank(Order::Numeric, "main-98-abcdef0"), "of any length");
        assert!(rank(Order::Alphabetical, "main-10-abcdef0") < rank(Order::Alphabetical, "main-9-abcdef0"));
        assert_eq!(rank(Order::Pushed, "main-9-abcdef0"), Some(Rank::Pushed(Timestamp::UNIX_EPOCH)));
    }

    #[test]
    fn what_has_no_number_has_no_numeric_rank() {
        assert_eq!(rank(Order::Numeric, "main-x-abcdef0"), None);
        assert_eq!(rank(Order::Numeric, "dev-1-abcdef0"), None);
    }

    #[test]
    fn dotted_and_dashed_numbers_are_compared_by_their_parts() {
        for (pattern, lower, higher) in [
            (r"^(?<key>\d+\.\d+)$", "17.9", "17.11"),
            (r"^(?<key>[\d.]+)$", "1.2.3.4", "1.2.3.5"),
            (r"^(?<key>.+)$", "2025.04.9", "2025.04.10"),
            (r"^release-(?<key>.+)$", "release-1.9.0", "release-1.10.0"),
            (r"^(?<key>v.+)$", "v1.0.20200826-ls29", "v1.0.20200827-ls30"),
            (r"^v(?<key>.+)$", "v1.0.20200826-ls29", "v1.0.20200827-ls30"),
            (r"^v(?<key>[\d.]+)-ls\d+$", "v1.0.20200826-ls29", "v1.0.20200827-ls30"),
            (r"^(?<key>[0-9.]+-[0-9]+)-g[0-9a-f]+$", "2.0.330-9-gc1cfb68", "2.0.330-63-gc1cfb68"),
        ] {
            let policy = PatternPolicy::new(pattern, Order::Numeric).unwrap();
            let rank = |tag: &str| policy.rank(&Tag::parse(tag).unwrap(), Timestamp::UNIX_EPOCH);
            assert!(rank(lower).is_some() && rank(lower) < rank(higher), "{pattern}: {lower} < {higher}");
            assert_eq!(policy.futility(), None, "{pattern}");
        }
    }

    #[test]
    fn a_key_that_can_never_be_a_number_is_told() {
        for (pattern, order, futile) in [
            (r"^(?<key>[a-z]+)-\d+$", Order::Numeric, true),
            (r"^(?<key>main|dev)-", Order::Numeric, true),
            (r"^(?<key>main-\d+)$", Order::Numeric, true),
            (r"^\d+-(?<key>\d+x)$", Order::Numeric, true),
            (r"^(?P<key>release-[\d.]+)$", Order::Numeric, true),
            (r"^main-(?<key>[0-9a-f]{7})$", Order::Numeric, false),
            (r"^main-(?<key>\w+)-", Order::Numeric, false),
            (r"^(?<key>.*)$", Order::Numeric, false),
            (r"^(?i)(?<key>V?\d+(\.\d+)*)$", Order::Numeric, false),
            (r"^(?<key>(main|\d+))-", Order::Numeric, false),
            (r"^(?<key>\d+(-ls\d+)?)$", Order::Numeric, false),
            (r"^(?<key>[^a-z]+)$", Order::Numeric, false),
            (r"^(?<key>[a-z]+)-\d+$", Order::Alphabetical, false),
            (r"^(?<key>[a-z]+)-\d+$", Order::Pushed, false),
        ] {
            let policy = PatternPolicy::new(pattern, order).unwrap();
            assert_eq!(policy.futility().is_some(), futile, "{pattern} {order:?} {:?}", policy.futility());
        }
    }

    #[test]
    fn an_order_needs_its_capture() {
        assert!(PatternPolicy::new("^main", Order::Numeric).is_err());
        assert!(PatternPolicy::new("^main", Order::Pushed).is_ok());
        assert!(PatternPolicy::new("(", Order::Pushed).is_err());
    }
}
