//! What holds of every policy, whatever the tags.

use jiff::Timestamp;
use proptest::prelude::*;

use super::{By, Order, PatternPolicy, Policy, TagsPolicy, VersionPolicy, best};
use crate::domain::test_support::{at, image};
use crate::domain::types::Tag;
use crate::domain::view::ImageView;

fn policies() -> Vec<Box<dyn Policy>> {
    let pattern = |order| Box::new(PatternPolicy::new(r"^main-(?<key>\d+)", order).unwrap()) as Box<dyn Policy>;
    let globs = ["latest", "release-*"].map(str::to_owned);
    vec![
        Box::new(TagsPolicy::new(&globs).unwrap()),
        Box::new(VersionPolicy::new(">=1.2, <3").unwrap()),
        pattern(Order::Numeric),
        pattern(Order::Alphabetical),
        pattern(Order::Pushed),
    ]
}

fn tag() -> impl Strategy<Value = Tag> {
    let version = (0..4u64, 0..20u64, 0..9u64, prop::bool::ANY)
        .prop_map(|(major, minor, patch, v)| format!("{}{major}.{minor}.{patch}", if v { "v" } else { "" }));
    prop_oneof![
        "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}",
        "main-[0-9]{1,40}",
        "release-[0-9]{1,3}",
        Just("latest".to_owned()),
        version,
    ]
    .prop_map(|text| Tag::parse(&text).unwrap())
}

fn images() -> impl Strategy<Value = Vec<ImageView>> {
    prop::collection::vec((prop::collection::vec(tag(), 0..3), 0..100i64), 0..12).prop_map(|pushed| {
        let view = |(tags, second)| ImageView { tags, pushed_at: Some(at(second)), ..image('a', &[]) };
        pushed.into_iter().map(view).collect()
    })
}

proptest! {
    #[test]
    fn the_best_is_admitted_and_no_other_ranks_higher(images in images()) {
        for policy in policies() {
            let policy = policy.as_ref();
            let time = |image: &ImageView| image.pushed_at.unwrap_or(Timestamp::UNIX_EPOCH);
            let admitted = || images.iter().flat_map(|image| image.tags.iter().map(move |tag| (tag, time(image))))
                .filter(|(tag, _)| policy.admits(tag) && crate::domain::artifact::of_tag(tag).is_none());
            match best(policy, &images) {
                None => prop_assert_eq!(admitted().count(), 0, "an empty result selects nothing, and only that"),
                Some((tag, image)) => {
                    prop_assert!(policy.admits(&tag) && image.tags.contains(&tag));
                    let highest = policy.rank(&tag, time(&image));
                    prop_assert!(admitted().all(|(tag, at)| policy.rank(tag, at) <= highest));
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_answers_does_not_matter(images in images()) {
        let reversed: Vec<ImageView> = images.iter().rev().cloned().collect();
        for policy in policies() {
            let policy = policy.as_ref();
            let rank = |found: Option<(Tag, ImageView)>| found.map(|(tag, image)| policy.rank(&tag, image.pushed_at.unwrap()));
            prop_assert_eq!(rank(best(policy, &images)), rank(best(policy, &reversed)));
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers(a in 0..u64::MAX, b in 0..u64::MAX, zeros in 0..5usize) {
        let policy = PatternPolicy::new(r"^main-(?<key>\d+)", Order::Numeric).unwrap();
        let rank = |number: u64| policy.rank(&Tag::parse(&format!("main-{}{number}", "0".repeat(zeros))).unwrap(), at(0));
        prop_assert_eq!(rank(a).cmp(&rank(b)), a.cmp(&b));
    }

    #[test]
    fn versions_are_compared_as_versions(a in (1..3u64, 2..30u64, 0..30u64), b in (1..3u64, 2..30u64, 0..30u64)) {
        let policy = VersionPolicy::new(">=1.2, <3").unwrap();
        let rank = |(major, minor, patch): (u64, u64, u64)| {
            policy.rank(&Tag::parse(&format!("{major}.{minor}.{patch}")).unwrap(), at(0)).unwrap()
        };
        prop_assert_eq!(rank(a).cmp(&rank(b)), a.cmp(&b));
    }

    #[test]
    fn no_text_breaks_a_policy(text in ".{0,60}") {
        let _ = VersionPolicy::new(&text);
        for order in [Order::Numeric, Order::Alphabetical, Order::Pushed] {
            let _ = PatternPolicy::new(&text, order);
        }
        if let Ok(policy) = TagsPolicy::new(std::slice::from_ref(&text)) {
            prop_assert_eq!(policy.order(), By::Push);
        }
    }
}
