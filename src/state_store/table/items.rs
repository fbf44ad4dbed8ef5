//! From one state to the next: which items change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::aws::table::{Attribute, Change, Item, ItemKey};
use crate::domain::state::{
    AuditState, CommandRecord, ContextState, Decision, Outcome, Seen, ServiceState, SharedMap, Sighting, State,
};
use crate::domain::types::{ContextName, EventId, ServiceKey};

/// The partition of what is needed to go on.
pub(super) const STATE: &str = "state";
/// The partition of what happened to each service.
pub(super) const HISTORY: &str = "history";
/// The partition of the decisions about pushes.
pub(super) const DECISIONS: &str = "decisions";
/// Event identifiers in one item: about 70 KB.
const SEEN: usize = 1_000;
/// Events of several sources in one item: at most 170 KB.
const SIGHTINGS: usize = 500;

/// In which order changes are made where they take several transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// What services have to do, and did.
    Service,
    /// What is known beside that.
    Other,
    /// How far events are read: last, so that the cursor never passes what is not written.
    Context,
}

/// Which items there are of what is appended to.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// The items with event identifiers, by what they belong to and the part.
    pub(super) seen: BTreeMap<(String, i64), Vec<String>>,
    /// The numbers of the decisions, in the order of the state: the newest first.
    pub(super) decisions: VecDeque<u64>,
    /// The last number that was given to an item of either kind.
    pub(super) last: u64,
}

impl Index {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// What happened to a service.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct History {
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) history: VecDeque<Outcome>,
    #[serde(rename = "orders", default, skip_serializing_if = "VecDeque::is_empty")]
    pub(super) commands: VecDeque<CommandRecord>,
}

/// The changes from one state to another. The index is that of the other one afterwards.
pub(super) fn changes(before: &State, after: &State, index: &mut Index) -> Vec<(Rank, Change)> {
    let mut out = Out(Vec::new());
    services(&mut out, &before.services, &after.services);
    decisions(&mut out, &before.decisions, &after.decisions, index);
    others(&mut out, before, after);
    contexts(&mut out, before, after, index);
    audits(&mut out, before, after, index);
    out.0
}

struct Out(Vec<(Rank, Change)>);

impl Out {
    fn put(&mut self, rank: Rank, key: ItemKey, body: String) {
        self.0.push((rank, Change::Put(Item::new(key, [("body", Attribute::Text(body))]), None)));
    }

    fn delete(&mut self, rank: Rank, key: ItemKey) {
        self.0.push((rank, Change::Delete(key, None)));
    }

    /// The item becomes what it is now, if that is not what it was.
    fn differ(&mut self, rank: Rank, key: impl Fn() -> ItemKey, before: Option<String>, after: Option<String>) {
        match (before, after) {
            (before, Some(after)) if before.as_ref() != Some(&after) => self.put(rank, key(), after),
            (Some(_), None) => self.delete(rank, key()),
            (Some(_), Some(_)) | (None, None | Some(_)) => {}
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "every key of the state's maps serializes to a text and nothing in it can fail to"
)]
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("the state is JSON")
}

/// Calls for every key of two maps whose value is not the same one.
fn pairs<'a, K: Ord, V: Clone>(
    before: &'a SharedMap<K, V>,
    after: &'a SharedMap<K, V>,
    mut each: impl FnMut(&'a K, Option<&'a V>, Option<&'a V>),
) {
    let mut old = before.shared().peekable();
    for (key, value) in after.shared() {
        while let Some((gone, value)) = old.next_if(|(other, _)| *other < key) {
            each(gone, Some(value), None);
        }
        match old.next_if(|(other, _)| *other == key) {
            Some((_, same)) if Arc::ptr_eq(same, value) => {}
            Some((_, other)) => each(key, Some(other), Some(value)),
            None => each(key, None, Some(value)),
        }
    }
    for (gone, value) in old {
        each(gone, Some(value), None);
    }
}

fn services(out: &mut Out, before: &SharedMap<ServiceKey, ServiceState>, after: &SharedMap<ServiceKey, ServiceState>) {
    let now = |known: &ServiceState| {
        json(&ServiceState { history: VecDeque::new(), commands: VecDeque::new(), ..known.clone() })
    };
    let past = |known: &ServiceState| {
        let past = History { history: known.history.clone(), commands: known.commands.clone() };
        (past != History::default()).then(|| json(&past))
    };
    pairs(before, after, |key, old, new| {
        let sk = || format!("service/{}", String::from(key.clone()));
        out.differ(Rank::Service, || ItemKey::new(STATE, sk()), old.map(now), new.map(now));
        out.differ(Rank::Service, || ItemKey::new(HISTORY, sk()), old.and_then(past), new.and_then(past));
    });
}

/// New decisions are at the front, and old ones fall off the end.
fn decisions(out: &mut Out, before: &VecDeque<Decision>, after: &VecDeque<Decision>, index: &mut Index) {
    let kept_from = |new: usize| {
        let kept = after.len() - new;
        kept <= before.len() && after.iter().skip(new).eq(before.iter().take(kept))
    };
    let new = (0..=after.len()).find(|new| kept_from(*new)).unwrap_or(after.len());
    let key = |number: u64| ItemKey::new(DECISIONS, format!("{number:020}"));
    while index.decisions.len() > after.len() - new {
        if let Some(number) = index.decisions.pop_back() {
            out.delete(Rank::Other, key(number));
        }
    }
    for decision in after.iter().take(new).rev() {
        let number = index.next();
        index.decisions.push_front(number);
        out.put(Rank::Other, key(number), json(decision));
    }
}

/// What else there is: an item for each entry of a map, and one for what is none.
fn others(out: &mut Out, before: &State, after: &State) {
    let (mut old, new) = (other_items(before), other_items(after));
    for (sk, body) in new {
        let was = old.remove(&sk);
        out.differ(Rank::Other, || ItemKey::new(STATE, &sk), was, Some(body));
    }
    for sk in old.into_keys() {
        out.delete(Rank::Other, ItemKey::new(STATE, sk));
    }
}

fn other_items(state: &State) -> BTreeMap<String, String> {
    let mut rest = state.clone();
    rest.contexts.clear();
    rest.services = SharedMap::default();
    rest.audits.clear();
    rest.decisions.clear();
    let Ok(Value::Object(members)) = serde_json::to_value(&rest) else { return BTreeMap::new() };
    let mut items = BTreeMap::new();
    for (name, value) in members.into_iter().filter(|(name, _)| name != "contexts" && name != "services") {
        match value {
            Value::Object(entries) if !entries.is_empty() => {
                items
                    .extend(entries.into_iter().map(|(key, entry)| (format!("other/{name}/{key}"), entry.to_string())));
            }
            value => drop(items.insert(format!("other/{name}"), value.to_string())),
        }
    }
    items
}

fn contexts(out: &mut Out, before: &State, after: &State, index: &mut Index) {
    let nothing = Seen::default();
    let nobody = SharedMap::default();
    let body = |context: &ContextState| {
        let followed = context.followed.as_ref().map(|_| SharedMap::default());
        let sightings = context.sightings.as_ref().map(|known| known.with(SharedMap::default()));
        json(&ContextState { seen: Seen::default(), followed, sightings, ..context.clone() })
    };
    for name in before.contexts.keys().chain(after.contexts.keys()).collect::<BTreeSet<&ContextName>>() {
        let (old, new) = (before.contexts.get(name), after.contexts.get(name));
        let seen_of =
            |context: Option<&'_ ContextState>| context.map_or_else(|| nothing.clone(), |known| known.seen.clone());
        seen(out, &format!("seen/{name}"), &seen_of(old), &seen_of(new), index);
        let followed = |context: Option<&ContextState>| {
            context.and_then(|context| context.followed.clone()).unwrap_or_else(|| nobody.clone())
        };
        pairs(&followed(old), &followed(new), |repository, old, new| {
            let key = || ItemKey::new(STATE, format!("followed/{name}/{repository}"));
            out.differ(Rank::Other, key, old.map(json), new.map(json));
        });
        let sightings = |context: Option<&ContextState>| {
            let known = context.and_then(|context| context.sightings.as_ref());
            known.map(|known| known.by_repository().clone()).unwrap_or_default()
        };
        pairs(&sightings(old), &sightings(new), |repository, old, new| {
            let chunks = |all: Option<&Vec<Sighting>>| {
                all.into_iter().flat_map(|all| all.chunks(SIGHTINGS)).map(|some| json(&some)).collect::<Vec<String>>()
            };
            let (old, new) = (chunks(old), chunks(new));
            for number in 0..old.len().max(new.len()) {
                let key = || ItemKey::new(STATE, format!("sightings/{name}/{number}/{repository}"));
                out.differ(Rank::Other, key, old.get(number).cloned(), new.get(number).cloned());
            }
        });
        out.differ(Rank::Context, || ItemKey::new(STATE, format!("context/{name}")), old.map(body), new.map(body));
    }
}

fn audits(out: &mut Out, before: &State, after: &State, index: &mut Index) {
    let body = |audit: &AuditState| json(&AuditState { seen: Seen::default(), ..audit.clone() });
    for name in before.audits.keys().chain(after.audits.keys()).collect::<BTreeSet<&ContextName>>() {
        let (old, new) = (before.audits.get(name), after.audits.get(name));
        let seen_of = |audit: Option<&AuditState>| audit.map(|known| known.seen.clone()).unwrap_or_default();
        seen(out, &format!("audit-seen/{name}"), &seen_of(old), &seen_of(new), index);
        out.differ(Rank::Context, || ItemKey::new(STATE, format!("audit/{name}")), old.map(body), new.map(body));
    }
}

/// Event identifiers are appended, a part at a time, and deleted with their part. Single ones that are forgotten before that stay in the
/// table: they are too old to be read again.
fn seen(out: &mut Out, of: &str, before: &Seen, after: &Seen, index: &mut Index) {
    let old: BTreeMap<i64, &Arc<BTreeMap<EventId, Timestamp>>> = before.shared().collect();
    let new: BTreeMap<i64, &Arc<BTreeMap<EventId, Timestamp>>> = after.shared().collect();
    for part in old.keys().filter(|part| !new.contains_key(part)) {
        for sk in index.seen.remove(&(of.to_owned(), *part)).unwrap_or_default() {
            out.delete(Rank::Other, ItemKey::new(STATE, sk));
        }
    }
    for (part, events) in new {
        let was = old.get(&part);
        if was.is_some_and(|was| Arc::ptr_eq(was, events)) {
            continue;
        }
        let is_new = |id: &EventId| was.is_none_or(|was| !was.contains_key(id));
        let added: Vec<(&EventId, &Timestamp)> = events.iter().filter(|(id, _)| is_new(id)).collect();
        for some in added.chunks(SEEN) {
            let sk = format!("{of}/{part}/{:020}", index.next());
            out.put(Rank::Other, ItemKey::new(STATE, &sk), json(&some.iter().copied().collect::<BTreeMap<_, _>>()));
            index.seen.entry((of.to_owned(), part)).or_default().push(sk);
        }
    }
}
