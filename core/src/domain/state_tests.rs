use super::*;
use crate::domain::policy::{TagsPolicy, VersionPolicy};
use crate::domain::types::{EventId, Tag};

fn push(event: &str, at: i64) -> PushRef {
    PushRef {
        event: EventId::parse(event).unwrap(),
        tag: None,
        at: Timestamp::from_second(at).unwrap(),
        digest: None,
        seen: None,
    }
}

#[test]
fn wanted_pushes_are_kept_newest_first() {
    let key = RepositoryKey::try_from("default/hello".to_owned()).unwrap();
    let mut state = ServiceState::default();
    for at in [3, 1, 2, 1] {
        state.add_pending(&key, push(&format!("e{at}"), at));
    }
    let times: Vec<i64> = state.pending[&key].iter().map(|push| push.at.as_second()).collect();
    assert_eq!(times, [3, 2, 1]);
}

#[test]
fn of_too_many_pushes_the_one_is_dropped_that_the_policy_wants_least() {
    let key = RepositoryKey::try_from("default/hello".to_owned()).unwrap();
    let tagged = |tag: String, at| PushRef { tag: Some(Tag::parse(&tag).unwrap()), ..push(&tag, at) };
    let by_text = VersionPolicy::new(">=1").unwrap();
    let mut state = ServiceState::default();
    state.add_pending(&key, tagged("2.0.0".to_owned(), 1));
    state.add_pending(&key, PushRef::commanded(Timestamp::from_second(0).unwrap()));
    let mut dropped = Vec::new();
    for at in 10..40 {
        state.add_pending(&key, tagged(format!("1.0.{at}"), at));
        dropped.extend(state.bound_pending(&key, &by_text).map(|push| push.event.to_string()));
    }
    assert_eq!((dropped.len(), dropped[0].as_str(), dropped[15].as_str()), (16, "1.0.10", "1.0.25"));
    let kept: Vec<&str> = state.pending[&key].iter().map(|push| push.event.as_str()).collect();
    assert_eq!((kept.len(), kept[0], &kept[14..]), (PENDING, "1.0.39", &["2.0.0", "order"][..]));
    let by_push = TagsPolicy::new(&["*".to_owned()]).unwrap();
    state.add_pending(&key, tagged("1.0.40".to_owned(), 50));
    assert_eq!(state.bound_pending(&key, &by_push).unwrap().event.as_str(), "2.0.0", "the oldest, where time decides");
}

#[test]
fn the_baseline_is_a_whole_second() {
    let now: Timestamp = "2026-01-01T00:00:00.9Z".parse().unwrap();
    assert_eq!(ContextState::new(now).baseline.to_string(), "2026-01-01T00:00:00Z");
}
