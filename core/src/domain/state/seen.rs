//! The identifiers of events that were read, as long as they can be read again.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::super::types::EventId;

/// Events are kept together by the ten minutes that they are from: a copy of the whole shares these parts, and old ones are dropped at once.
const PART: i64 = 600;

fn part_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(PART)
}

/// Event identifiers with the times of their events. Its JSON is a map from the identifier to the time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    parts: BTreeMap<i64, Arc<BTreeMap<EventId, Timestamp>>>,
    len: usize,
}

impl Seen {
    /// Adds an event; true if it was not there.
    pub fn insert(&mut self, id: EventId, time: Timestamp) -> bool {
        let part = self.parts.entry(part_of(time)).or_default();
        // A part that a copy shares is copied only for what is new.
        if Arc::get_mut(part).is_none() && part.contains_key(&id) {
            return false;
        }
        let is_new = match Arc::make_mut(part).entry(id) {
            Entry::Vacant(place) => {
                place.insert(time);
                true
            }
            Entry::Occupied(_) => false,
        };
        self.len += usize::from(is_new);
        is_new
    }

    /// Whether an event of that time is there.
    #[must_use]
    pub fn contains(&self, id: &EventId, time: Timestamp) -> bool {
        self.parts.get(&part_of(time)).is_some_and(|part| part.contains_key(id))
    }

    /// The identifiers, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &EventId> {
        self.parts.values().flat_map(|part| part.keys())
    }

    /// The events by parts: a part that is the same one as in another copy was not changed since.
    pub fn shared(&self) -> impl Iterator<Item = (i64, &Arc<BTreeMap<EventId, Timestamp>>)> {
        self.parts.iter().map(|(part, events)| (*part, events))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the events whose time satisfies a condition.
    pub fn retain(&mut self, keep: impl Fn(Timestamp) -> bool) {
        self.parts.retain(|_, part| {
            if !part.values().all(|time| keep(*time)) {
                Arc::make_mut(part).retain(|_, time| keep(*time));
            }
            !part.is_empty()
        });
        self.len = self.parts.values().map(|part| part.len()).sum();
    }

    /// Drops the oldest parts until at most `most` events are left; the newest part always stays. Gives the time of the newest event
    /// dropped, where any was.
    pub fn drop_oldest(&mut self, most: usize) -> Option<Timestamp> {
        let mut newest_dropped = None;
        while self.len > most && self.parts.len() > 1 {
            let (_, part) = self.parts.pop_first()?;
            self.len -= part.len();
            newest_dropped = newest_dropped.max(part.values().max().copied());
        }
        newest_dropped
    }
}

impl FromIterator<(EventId, Timestamp)> for Seen {
    fn from_iter<I: IntoIterator<Item = (EventId, Timestamp)>>(all: I) -> Self {
        let mut seen = Self::default();
        for (id, time) in all {
            seen.insert(id, time);
        }
        seen
    }
}

impl Serialize for Seen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.parts.values().flat_map(|part| part.iter()))
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<EventId, Timestamp>::deserialize(deserializer).map(|all| all.into_iter().collect())
    }
}

/// Fingerprints kept of events that concern nobody: eight bytes each.
const FINGERPRINTS: usize = 200_000;

/// Events that concern no configured repository, so that a re-read does not count them again.
///
/// They are as many as the account has pushes, and nothing is decided about them, so they are remembered by fingerprints, in memory only,
/// and up to a fixed number. An event older than the oldest that is remembered is taken for one that was read before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnconfiguredEvents {
    parts: BTreeMap<i64, Arc<BTreeSet<u64>>>,
    len: usize,
    forgotten_before: Option<i64>,
}

impl UnconfiguredEvents {
    /// Adds an event; true if it was not there.
    pub fn insert(&mut self, id: &EventId, time: Timestamp) -> bool {
        let number = part_of(time);
        if self.forgotten_before.is_some_and(|oldest| number < oldest) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        (time.as_second(), id.as_str()).hash(&mut hasher);
        let fingerprint = hasher.finish();
        let part = self.parts.entry(number).or_default();
        if part.contains(&fingerprint) {
            return false;
        }
        Arc::make_mut(part).insert(fingerprint);
        self.len += 1;
        while self.len > FINGERPRINTS && self.parts.len() > 1 {
            if let Some((dropped, part)) = self.parts.pop_first() {
                self.len -= part.len();
                self.forgotten_before = Some(dropped + 1);
            }
        }
        true
    }

    /// Drops the events whose time does not satisfy a condition, a part at a time.
    pub fn retain(&mut self, keep: impl Fn(Timestamp) -> bool) {
        let at = |second: i64| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        self.parts.retain(|number, _| keep(at(number * PART)) || keep(at(number * PART + PART - 1)));
        self.len = self.parts.values().map(|part| part.len()).sum();
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: i64) -> EventId {
        EventId::parse(&format!("e{number}")).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn its_json_is_a_map_from_the_identifier_to_the_time() {
        let seen: Seen = [(id(1), at(0)), (id(2), at(5000))].into_iter().collect();
        let json = serde_json::to_value(&seen).unwrap();
        assert_eq!(json, serde_json::json!({"e1": at(0).to_string(), "e2": at(5000).to_string()}));
        assert_eq!(serde_json::from_value::<Seen>(json).unwrap(), seen);
    }

    #[test]
    fn an_event_is_new_once_and_the_oldest_give_way() {
        let mut seen = Seen::default();
        for number in 0..3000 {
            assert!(seen.insert(id(number), at(number)));
            assert!(!seen.insert(id(number), at(number)));
        }
        assert_eq!((seen.len(), seen.drop_oldest(3000)), (3000, None));
        assert_eq!(seen.drop_oldest(1000), Some(at(2399)));
        assert_eq!(
            (seen.len(), seen.contains(&id(2399), at(2399)), seen.contains(&id(2400), at(2400))),
            (600, false, true)
        );
        seen.retain(|time| time >= at(2990));
        assert_eq!((seen.len(), seen.keys().count()), (10, 10));
        seen.drop_oldest(0);
        assert_eq!(seen.len(), 10, "the newest part stays");
    }

    #[test]
    fn a_copy_is_not_changed_with_the_original() {
        let mut seen: Seen = [(id(1), at(0))].into_iter().collect();
        let copy = seen.clone();
        seen.insert(id(2), at(1));
        seen.retain(|time| time > at(0));
        assert_eq!((copy.len(), copy.contains(&id(1), at(0)), copy.contains(&id(2), at(1))), (1, true, false));
    }

    #[test]
    fn what_is_not_configured_is_bounded_and_what_is_older_counts_as_read() {
        let mut unconfigured = UnconfiguredEvents::default();
        let count = i64::try_from(FINGERPRINTS).unwrap() + 1000;
        for number in 0..count {
            assert!(unconfigured.insert(&id(number), at(number)));
        }
        assert!(unconfigured.len() <= FINGERPRINTS);
        assert!(!unconfigured.insert(&id(0), at(0)), "forgotten, and so taken for read");
        assert!(!unconfigured.insert(&id(count - 1), at(count - 1)));
        assert!(unconfigured.insert(&id(count), at(count)));
        unconfigured.retain(|time| time >= at(count));
        assert!(unconfigured.len() <= 600);
    }
}
