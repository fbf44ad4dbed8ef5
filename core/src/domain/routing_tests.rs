use std::sync::Arc;

use super::*;
use crate::domain::event::Skipped;
use crate::domain::state::ContextState;
use crate::domain::test_support::*;
use crate::domain::types::AccountId;

fn rules() -> Rules {
    let policy = tags_policy(&["latest", "release-*"]);
    let rule = repository_rule(
        "hello",
        vec![service_rule("a", Arc::clone(&policy)), service_rule("b", tags_policy(&["latest"]))],
    );
    Rules::from([(rule.key(), rule)])
}

fn context() -> ContextName {
    ContextName::parse("default").unwrap()
}

fn state() -> State {
    State { contexts: BTreeMap::from([(context(), ContextState::new(at(0)))]), ..State::default() }
}

fn push(event: &str, tag_text: &str, second: i64) -> Push {
    Push {
        event: EventRef { id: event_id(event), shared_id: None, time: at(second) },
        repository: repository_key("hello").name,
        owner: None,
        recipient: None,
        region: None,
        tag: Some(tag(tag_text)),
        digest: None,
    }
}

fn told() -> Told {
    Told { by: PushSource::CloudTrail, at: at(1000), opening: false }
}

fn told_at_first() -> Told {
    Told { opening: true, ..told() }
}

fn take_push(state: &mut State, push: Push) -> Fate {
    take(state, &rules(), &context(), &ParsedEvent::Push(push), told()).unwrap().fate
}

fn reason(fate: Fate) -> SkipReason {
    match fate {
        Fate::Skip { reason, .. } => reason,
        Fate::Pending(services) => panic!("wanted by {services:?}"),
    }
}

#[test]
fn a_push_is_wanted_by_the_services_whose_policy_admits_its_tag() {
    let mut state = state();
    assert_eq!(take_push(&mut state, push("e1", "latest", 5)), Fate::Pending(vec![service_key("a"), service_key("b")]));
    assert_eq!(take_push(&mut state, push("e2", "release-1", 6)), Fate::Pending(vec![service_key("a")]));
    assert_eq!(reason(take_push(&mut state, push("e3", "dev", 7))), SkipReason::TagMismatch);
    assert_eq!(state.services[&service_key("a")].pending[&repository_key("hello")].len(), 2);
}

#[test]
fn a_push_whose_tag_was_cut_out_concerns_everybody() {
    let cut = Push { tag: None, ..push("e1", "x", 5) };
    assert_eq!(take_push(&mut state(), cut), Fate::Pending(vec![service_key("a"), service_key("b")]));
}

#[test]
fn an_event_counts_once_and_so_does_its_twin() {
    let mut state = state();
    let twin = |id: &str| {
        let mut push = push(id, "latest", 5);
        push.event.shared_id = Some(event_id("shared"));
        push
    };
    assert!(matches!(take_push(&mut state, twin("e1")), Fate::Pending(_)));
    assert_eq!(reason(take_push(&mut state, twin("e1"))), SkipReason::Duplicate);
    assert_eq!(reason(take_push(&mut state, twin("e2"))), SkipReason::Duplicate);
}

#[test]
fn a_repository_is_matched_exactly_and_by_its_owner() {
    let mut other = push("e1", "latest", 5);
    other.repository = repository_key("hello-world").name;
    assert_eq!(reason(take_push(&mut state(), other)), SkipReason::NotConfigured);
    let mut foreign = push("e1", "latest", 5);
    foreign.owner = Some(AccountId::parse("222222222222").unwrap());
    foreign.recipient = Some(AccountId::parse("111111111111").unwrap());
    assert_eq!(reason(take_push(&mut state(), foreign)), SkipReason::NotConfigured);
}

#[test]
fn what_was_pushed_before_the_first_start_is_not_deployed() {
    let mut state = state();
    assert_eq!(reason(take_push(&mut state, push("e1", "latest", -1))), SkipReason::BeforeStart);
    // In the second of the start: the opening scan shows what was there already, a later one what came after.
    let opening =
        take(&mut state, &rules(), &context(), &ParsedEvent::Push(push("e2", "latest", 0)), told_at_first()).unwrap();
    assert_eq!(reason(opening.fate), SkipReason::BeforeStart);
    assert!(matches!(take_push(&mut state, push("e3", "latest", 0)), Fate::Pending(_)));
    let opening =
        take(&mut state, &rules(), &context(), &ParsedEvent::Push(push("e4", "latest", 1)), told_at_first()).unwrap();
    assert!(matches!(opening.fate, Fate::Pending(_)));
}

#[test]
fn an_older_push_than_the_one_decided_is_superseded() {
    let mut state = state();
    state
        .services
        .get_or_default(service_key("a"))
        .decided
        .insert(repository_key("hello"), push_ref("e0", "release-2", 10));
    assert_eq!(reason(take_push(&mut state, push("e1", "release-1", 9))), SkipReason::Superseded);
    assert!(
        matches!(take_push(&mut state, push("e2", "release-3", 10)), Fate::Pending(_)),
        "the same second decides nothing"
    );
    assert_eq!(take_push(&mut state, push("e3", "latest", 9)), Fate::Pending(vec![service_key("b")]));
}

#[test]
fn a_decided_event_that_was_forgotten_is_no_new_push() {
    let mut state = state();
    for service in ["a", "b"] {
        let decided = push_ref("e1", "latest", 5);
        state.services.get_or_default(service_key(service)).decided.insert(repository_key("hello"), decided);
    }
    assert_eq!(reason(take_push(&mut state, push("e1", "latest", 5))), SkipReason::Duplicate);
}

#[test]
fn a_push_without_a_tag_may_be_the_newest_of_its_second() {
    let mut state = state();
    let cut = |id: &str, second| Push { tag: None, ..push(id, "x", second) };
    let decided = push_ref("e1", "release-7", 5);
    state.services.get_or_default(service_key("a")).decided.insert(repository_key("hello"), decided.clone());
    state.services.get_or_default(service_key("b")).decided.insert(repository_key("hello"), decided);
    assert_eq!(reason(take_push(&mut state, cut("e2", 4))), SkipReason::Superseded);
    assert!(matches!(take_push(&mut state, cut("e3", 5)), Fate::Pending(_)));
}

#[test]
fn what_is_wanted_too_often_is_displaced_and_said_to_be() {
    let mut state = state();
    let mut displaced = 0;
    for number in 0..40 {
        let parsed = ParsedEvent::Push(push(&format!("e{number}"), "release-1", number));
        displaced += take(&mut state, &rules(), &context(), &parsed, told()).unwrap().displaced.len();
    }
    assert_eq!(displaced, 40 - state.services[&service_key("a")].pending[&repository_key("hello")].len());
}

#[test]
fn a_rejected_reading_keeps_its_reason_and_counts_once() {
    let mut state = state();
    let skipped = ParsedEvent::Skip(Skipped {
        event: EventRef { id: event_id("e1"), shared_id: None, time: at(5) },
        repository: Some(repository_key("hello").name),
        reason: SkipReason::FailedPush,
        detail: String::new(),
        repeats: None,
        brought: None,
    });
    let verdict = take(&mut state, &rules(), &context(), &skipped, told()).unwrap();
    assert_eq!(verdict.configured, Some(repository_key("hello")));
    assert_eq!(reason(verdict.fate), SkipReason::FailedPush);
    assert_eq!(reason(take(&mut state, &rules(), &context(), &skipped, told()).unwrap().fate), SkipReason::Duplicate);
    assert_eq!(take(&mut state, &rules(), &context(), &ParsedEvent::Foreign, told()), None);
}

#[test]
fn a_push_of_what_is_held_names_the_services_that_hold_it() {
    use crate::domain::event::Repeated;
    use crate::domain::state::{DigestHold, Outcome, OutcomeKind, Target};
    let key = repository_key("hello");
    let target = Target { digest: digest('b'), push: push_ref("e0", "release-1", 1), image_pushed_at: None };
    let outcome = Outcome {
        result: OutcomeKind::Failed,
        revision: None,
        targets: std::collections::BTreeMap::from([(key.clone(), target.clone())]),
        decided_at: at(2),
        ended_at: at(3),
        detail: String::new(),
    };
    let parsed = |tag: Option<&str>, letter: Option<char>| {
        ParsedEvent::Skip(Skipped {
            event: EventRef { id: event_id("again"), shared_id: None, time: at(9) },
            repository: Some(key.name.clone()),
            reason: SkipReason::FailedPush,
            detail: "ImageAlreadyExistsException: simulated".to_owned(),
            repeats: Some(Repeated { tag: tag.map(crate::domain::test_support::tag), digest: letter.map(digest) }),
            brought: None,
        })
    };
    for (tag, letter, held) in [
        (Some("release-1"), Some('b'), true),
        (Some("release-1"), None, true),
        (None, Some('b'), true),
        (Some("release-2"), Some('b'), true),
        (Some("release-1"), Some('c'), false),
        (Some("release-2"), None, false),
        (None, None, false),
        (Some("not-admitted"), Some('b'), false),
    ] {
        let mut state = state();
        let known = state.services.get_or_default(service_key("a"));
        known.held.insert(key.clone(), DigestHold::new(&target, SignedDuration::ZERO, "it failed".to_owned(), at(3)));
        known.remember(outcome.clone());
        let verdict = take(&mut state, &rules(), &context(), &parsed(tag, letter), told()).unwrap();
        let services: Vec<String> = verdict.held.iter().map(|held| held.service.to_string()).collect();
        assert_eq!(services, if held { vec!["web/a".to_owned()] } else { Vec::new() }, "{tag:?} {letter:?}");
        assert_eq!(verdict.tag.as_ref().map(|tag| tag.as_str()), tag);
        let Fate::Skip { detail, .. } = &verdict.fate else { panic!("{verdict:?}") };
        let explained = verdict.explained(detail, ToString::to_string);
        assert_eq!(explained.contains("to try it again: ecs-deployd release web/a (Image"), held, "{explained}");
    }
}
