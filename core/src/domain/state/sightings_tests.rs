use super::*;
use crate::domain::test_support::{at, digest, event_id, tag};
use PushSource::{CloudTrail, Queue, Reconcile};

/// One event: its name, its source, the digest that was pushed as `latest`, and the second of it.
type Event = (&'static str, PushSource, char, i64);

fn name() -> RepositoryName {
    RepositoryName::parse("hello").unwrap()
}

fn sighting((id, source, letter, second): Event) -> Sighting {
    let event = EventRef { id: event_id(id), shared_id: None, time: at(second) };
    Sighting::new(&event, source, Some(tag("latest")), Some(digest(letter)))
}

/// What follows from each of the events, in this order: `new`, or the source that told before; and what comes up again.
fn told(events: &[Event]) -> Vec<String> {
    let mut sightings = Sightings::new(at(0));
    let follows = events.iter().map(|event| {
        let Sighted { told_by, resurfaced } = sightings.add(&name(), sighting(*event));
        let first = told_by.map_or("new", PushSource::as_str).to_owned();
        resurfaced.iter().fold(first, |text, one| text + " and " + one.event.as_str())
    });
    follows.collect()
}

#[test]
fn two_sources_tell_of_one_push_whichever_comes_first() {
    assert_eq!(told(&[("q", Queue, 'a', 3), ("c", CloudTrail, 'a', 1)]), ["new", "queue"]);
    assert_eq!(told(&[("c", CloudTrail, 'a', 1), ("q", Queue, 'a', 3)]), ["new", "cloudtrail"]);
    assert_eq!(told(&[("c", CloudTrail, 'a', 0), ("q", Queue, 'a', 300)]), ["new", "cloudtrail"]);
    assert_eq!(told(&[("c", CloudTrail, 'a', 0), ("q", Queue, 'a', 301)]), ["new", "new"], "too far apart");
    assert_eq!(told(&[("c", CloudTrail, 'a', 0), ("q", Queue, 'b', 0)]), ["new", "new"], "another digest");
}

#[test]
fn two_events_of_one_source_are_two_pushes_and_one_stands_for_one() {
    assert_eq!(told(&[("q1", Queue, 'a', 0), ("q2", Queue, 'a', 1)]), ["new", "new"]);
    assert_eq!(
        told(&[("q1", Queue, 'a', 0), ("c1", CloudTrail, 'a', 0), ("c2", CloudTrail, 'a', 1)]),
        ["new", "queue", "new"]
    );
}

#[test]
fn a_tag_that_went_away_and_came_back_is_three_pushes_whatever_the_order() {
    let queue = [("qa", Queue, 'a', 0), ("qb", Queue, 'b', 60), ("qa2", Queue, 'a', 120)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let trail = [("ca", CloudTrail, 'a', 1), ("cb", CloudTrail, 'b', 61), ("ca2", CloudTrail, 'a', 121)];
        let events: Vec<Event> = queue.into_iter().chain(order.map(|index| trail[index])).collect();
        assert_eq!(told(&events), ["new", "new", "new", "queue", "queue", "queue"], "{order:?}");
    }
}

#[test]
fn one_that_is_nearer_takes_the_place_and_the_other_comes_up_again() {
    // The queue has lost the second push of this digest, and CloudTrail tells of it first.
    let events = [("q1", Queue, 'a', 0), ("c2", CloudTrail, 'a', 120), ("c1", CloudTrail, 'a', 1)];
    assert_eq!(told(&events), ["new", "queue", "queue and c2"]);
    // The queue tells of the second one only after CloudTrail has: that was taken for the first one.
    let late =
        [("q1", Queue, 'a', 0), ("c2", CloudTrail, 'a', 120), ("q2", Queue, 'a', 121), ("c1", CloudTrail, 'a', 1)];
    assert_eq!(told(&late), ["new", "queue", "new", "queue"]);
}

#[test]
fn every_push_is_taken_once_whatever_is_late_or_lost() {
    // Pushes of one digest, two minutes apart. Each is reported by the queue, by CloudTrail, or by both; in any order.
    let events: Vec<Event> = vec![
        ("q1", Queue, 'a', 0),
        ("c1", CloudTrail, 'a', 2),
        ("c2", CloudTrail, 'a', 120),
        ("q3", Queue, 'a', 241),
        ("c3", CloudTrail, 'a', 240),
    ];
    for seed in 0..120_usize {
        let (mut left, mut order, mut number) = (events.clone(), Vec::new(), seed);
        while !left.is_empty() {
            let choices = left.len();
            order.push(left.remove(number % choices));
            number /= choices;
        }
        let mut sightings = Sightings::new(at(0));
        let mut taken: Vec<i64> = Vec::new();
        for event in &order {
            let Sighted { told_by, resurfaced } = sightings.add(&name(), sighting(*event));
            taken.extend(told_by.is_none().then_some(event.3));
            taken.extend(resurfaced.iter().map(|one| one.at.duration_since(at(0)).as_secs()));
        }
        let pushes: std::collections::BTreeSet<i64> = taken.iter().map(|second| (second + 60) / 120).collect();
        assert_eq!(pushes.into_iter().collect::<Vec<_>>(), [0, 1, 2], "{order:?}: {taken:?}");
        assert_eq!(taken.len(), 3, "{order:?}: {taken:?}");
    }
}

#[test]
fn what_a_comparison_has_found_is_told_of_once_by_each_source() {
    let events =
        [("r", Reconcile, 'a', 10), ("c", CloudTrail, 'a', 10), ("q", Queue, 'a', 12), ("c2", CloudTrail, 'a', 20)];
    assert_eq!(told(&events), ["new", "reconcile", "cloudtrail", "new"]);
}

#[test]
fn a_record_without_a_digest_is_of_the_same_tag() {
    let mut sightings = Sightings::new(at(0));
    sightings.add(&name(), sighting(("q1", Queue, 'a', 0)));
    sightings.add(&name(), sighting(("q2", Queue, 'b', 30)));
    let unknown = |id, second, named: &str| {
        let event = EventRef { id: event_id(id), shared_id: None, time: at(second) };
        Sighting::new(&event, CloudTrail, Some(tag(named)), None)
    };
    assert_eq!(sightings.add(&name(), unknown("c0", 1, "other")).told_by, None);
    assert_eq!(sightings.add(&name(), unknown("c1", 1, "latest")).told_by, Some(Queue));
    assert_eq!(sightings.add(&name(), unknown("c2", 31, "latest")).told_by, Some(Queue));
}

#[test]
fn they_are_forgotten_in_time_and_bounded_in_number() {
    let mut sightings = Sightings::new(at(0));
    sightings.add(&name(), sighting(("q1", Queue, 'a', 0)));
    sightings.add(&name(), sighting(("q2", Queue, 'b', 1000)));
    sightings.forget(|time| time >= at(900), at(900));
    assert_eq!((sightings.len(), sightings.are_unknown(at(899)), sightings.are_unknown(at(900))), (1, true, false));
    sightings.forget(|time| time >= at(1200), at(1200));
    assert_eq!(sightings.len(), 1, "the other source's time may be five minutes later");
    sightings.forget(|time| time >= at(1400), at(1400));
    assert!(sightings.is_empty());
    assert_eq!(serde_json::to_value(&sightings).unwrap(), serde_json::json!({"since": at(1400).to_string()}));
    for number in 0..2000 {
        let event = EventRef { id: event_id(&format!("e{number}")), shared_id: None, time: at(number) };
        sightings.add(&name(), Sighting::new(&event, Queue, Some(tag("latest")), Some(digest('a'))));
    }
    assert_eq!(sightings.len(), SIGHTINGS);
}
