//! `regex = '^main-(?<key>\d+)-'`: the order of the capture `key` decides.

use jiff::Timestamp;
use regex_lite::Regex;

use super::{By, Policy, Rank};
use crate::domain::types::Tag;
use crate::domain::words::words;

words! {
    /// How the captures of two tags are compared.
    pub enum Order {
        Numeric = "numeric", "As whole numbers: the highest tag wins.";
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
            Order::Numeric => number(key?),
            Order::Alphabetical => Some(Rank::Text(key?.to_owned())),
            Order::Pushed => Some(Rank::Pushed(pushed_at)),
        }
    }

    fn order(&self) -> By {
        if self.order == Order::Pushed { By::Push } else { By::Text }
    }
}

fn number(key: &str) -> Option<Rank> {
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = key.trim_start_matches('0').to_owned();
    Some(Rank::Number { length: digits.len(), digits })
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
    fn an_order_needs_its_capture() {
        assert!(PatternPolicy::new("^main", Order::Numeric).is_err());
        assert!(PatternPolicy::new("^main", Order::Pushed).is_ok());
        assert!(PatternPolicy::new("(", Order::Pushed).is_err());
    }
}
