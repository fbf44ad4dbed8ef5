//! From the items to the state.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::TableError;
use super::items::{DECISIONS, HISTORY, History, Index, STATE};
use crate::aws::table::{Item, ItemKey, Table};
use crate::aws::{AwsError, Fault};
use crate::clock;
use crate::domain::state::{self, AuditState, ContextState, Decision, Seen, ServiceState, SharedMap, Sighting, State};
use crate::domain::types::{ContextName, EventId, RepositoryName, ServiceKey};

/// How often the state is read again that changes while it is read.
const TRIES: usize = 5;
/// The pauses before a read is made again that was throttled or not answered.
const PAUSES: [u64; 4] = [100, 400, 1_600, 3_000];

/// The key of the item that counts the transactions.
pub(super) fn meta_key() -> ItemKey {
    ItemKey::new(STATE, "meta")
}

/// What a table holds.
#[derive(Debug)]
pub struct Contents {
    /// The state, or the part of a first one that was written before its writer died.
    pub state: State,
    /// Whether a state was ever written to its end.
    pub whole: bool,
    /// When the last transaction was made, by the clock of the replica that made it.
    pub at: Option<Timestamp>,
    pub(super) sequence: u64,
    pub(super) index: Index,
}

impl Contents {
    /// Whether the table holds nothing of a state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.whole && self.state == State::default()
    }
}

/// Reads the state while others may write it: again, if it has changed meanwhile.
///
/// # Errors
/// It cannot be used.
pub async fn read(table: &dyn Table) -> Result<Contents, TableError> {
    for _ in 0..TRIES {
        let contents = read_once(table).await?;
        if sequence(table).await? == contents.sequence {
            return Ok(contents);
        }
    }
    Err(TableError::Moving { table: table.name().to_owned() })
}

/// The number of the last transaction; 0 before the first one.
pub(super) async fn sequence(table: &dyn Table) -> Result<u64, TableError> {
    let meta = with_retries(|| table.get(meta_key_static())).await.map_err(|error| TableError::of(table, error))?;
    Ok(meta.as_ref().and_then(|meta| meta.number("sequence")).unwrap_or_default())
}

fn meta_key_static() -> &'static ItemKey {
    static KEY: std::sync::OnceLock<ItemKey> = std::sync::OnceLock::new();
    KEY.get_or_init(meta_key)
}

/// Reads the state that nobody else writes.
pub(super) async fn read_once(table: &dyn Table) -> Result<Contents, TableError> {
    let mut reading = Reading { table: table.name(), meta: None, parts: Parts::default() };
    // The number first: whoever compares it afterwards sees each change that was made since.
    let meta = with_retries(|| table.get(meta_key_static())).await.map_err(|error| TableError::of(table, error))?;
    if let Some(meta) = meta {
        reading.meta(&meta)?;
    }
    for pk in [STATE, HISTORY, DECISIONS] {
        let mut after = None;
        loop {
            let page =
                with_retries(|| table.query(pk, after.clone())).await.map_err(|error| TableError::of(table, error))?;
            for item in page.items {
                reading.take(&item)?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    reading.finish()
}

async fn with_retries<T, F: Future<Output = Result<T, AwsError>>>(call: impl Fn() -> F) -> Result<T, AwsError> {
    for pause in PAUSES {
        match call().await {
            Err(error) if matches!(error.fault, Fault::Throttled | Fault::Unavailable) => {
                clock::sleep(std::time::Duration::from_millis(pause)).await;
            }
            answer => return answer,
        }
    }
    call().await
}

#[derive(Default)]
struct Parts {
    services: BTreeMap<ServiceKey, ServiceState>,
    histories: BTreeMap<ServiceKey, History>,
    contexts: BTreeMap<ContextName, ContextState>,
    followed: BTreeMap<ContextName, Vec<(RepositoryName, Timestamp)>>,
    seen: BTreeMap<ContextName, Vec<(EventId, Timestamp)>>,
    sightings: BTreeMap<ContextName, BTreeMap<RepositoryName, BTreeMap<usize, Vec<Sighting>>>>,
    audits: BTreeMap<ContextName, AuditState>,
    audit_seen: BTreeMap<ContextName, Vec<(EventId, Timestamp)>>,
    decisions: BTreeMap<u64, Decision>,
    others: Map<String, Value>,
    index: Index,
}

struct Meta {
    sequence: u64,
    whole: bool,
    at: Option<Timestamp>,
}

struct Reading<'a> {
    table: &'a str,
    meta: Option<Meta>,
    parts: Parts,
}

impl Reading<'_> {
    fn corrupt(&self, item: &Item, reason: &impl ToString) -> TableError {
        TableError::Corrupt { table: self.table.to_owned(), item: item.key.to_string(), reason: reason.to_string() }
    }

    fn body<T: DeserializeOwned>(&self, item: &Item) -> Result<T, TableError> {
        let body = item.text("body").ok_or_else(|| self.corrupt(item, &"it has no body"))?;
        serde_json::from_str(body).map_err(|error| self.corrupt(item, &error))
    }

    fn name<T: TryFrom<String, Error: ToString>>(&self, item: &Item, text: &str) -> Result<T, TableError> {
        T::try_from(text.to_owned()).map_err(|error| self.corrupt(item, &error.to_string()))
    }

    fn meta(&mut self, item: &Item) -> Result<(), TableError> {
        let missing = |name: &str| self.corrupt(item, &format!("it has no {name}"));
        let version = item.number("version").ok_or_else(|| missing("version"))?;
        if version > state::VERSION {
            return Err(TableError::Newer { table: self.table.to_owned(), found: version });
        }
        if version < state::VERSION {
            return Err(self.corrupt(item, &format!("it has version {version}, which never was")));
        }
        let sequence = item.number("sequence").ok_or_else(|| missing("sequence"))?;
        let at = item.text("at").and_then(|text| text.parse().ok());
        self.meta = Some(Meta { sequence, whole: item.number("whole") == Some(1), at });
        Ok(())
    }

    fn take(&mut self, item: &Item) -> Result<(), TableError> {
        let sk = item.key.sk.as_str();
        if item.key.pk == DECISIONS {
            let number: u64 = sk.parse().map_err(|error| self.corrupt(item, &error))?;
            let decision = self.body(item)?;
            self.parts.decisions.insert(number, decision);
            return Ok(());
        }
        let Some((kind, rest)) = sk.split_once('/') else {
            return if sk == "meta" { Ok(()) } else { Err(self.corrupt(item, &UNKNOWN)) };
        };
        match (item.key.pk.as_str(), kind) {
            (HISTORY, "service") => {
                let (key, past) = (self.name(item, rest)?, self.body(item)?);
                self.parts.histories.insert(key, past);
            }
            (STATE, "service") => {
                let (key, known) = (self.name(item, rest)?, self.body(item)?);
                self.parts.services.insert(key, known);
            }
            (STATE, "context") => {
                let (name, context) = (self.name(item, rest)?, self.body(item)?);
                self.parts.contexts.insert(name, context);
            }
            (STATE, "audit") => {
                let (name, audit) = (self.name(item, rest)?, self.body(item)?);
                self.parts.audits.insert(name, audit);
            }
            (STATE, "followed") => {
                let (name, repository) = rest.split_once('/').ok_or_else(|| self.corrupt(item, &UNKNOWN))?;
                let (name, repository) = (self.name(item, name)?, self.name(item, repository)?);
                let since = self.body(item)?;
                self.parts.followed.entry(name).or_default().push((repository, since));
            }
            (STATE, "sightings") => {
                let parts: Vec<&str> = rest.splitn(3, '/').collect();
                let [name, number, repository] = parts[..] else { return Err(self.corrupt(item, &UNKNOWN)) };
                let number: usize = number.parse().map_err(|error| self.corrupt(item, &error))?;
                let (name, repository) = (self.name(item, name)?, self.name(item, repository)?);
                let some: Vec<Sighting> = self.body(item)?;
                let of_context: &mut BTreeMap<_, BTreeMap<_, _>> = self.parts.sightings.entry(name).or_default();
                of_context.entry(repository).or_default().insert(number, some);
            }
            (STATE, "seen" | "audit-seen") => self.seen(item, kind, rest)?,
            (STATE, "other") => {
                let value = self.body(item)?;
                match rest.split_once('/') {
                    None => drop(self.parts.others.insert(rest.to_owned(), value)),
                    Some((member, entry)) => {
                        let map = self.parts.others.entry(member).or_insert_with(|| Value::Object(Map::new()));
                        if let Value::Object(map) = map {
                            map.insert(entry.to_owned(), value);
                        }
                    }
                }
            }
            _ => return Err(self.corrupt(item, &UNKNOWN)),
        }
        Ok(())
    }

    fn seen(&mut self, item: &Item, kind: &str, rest: &str) -> Result<(), TableError> {
        let parts: Vec<&str> = rest.split('/').collect();
        let [context, part, number] = parts[..] else { return Err(self.corrupt(item, &UNKNOWN)) };
        let part: i64 = part.parse().map_err(|error| self.corrupt(item, &error))?;
        let number: u64 = number.parse().map_err(|error| self.corrupt(item, &error))?;
        let name: ContextName = self.name(item, context)?;
        let events: BTreeMap<EventId, Timestamp> = self.body(item)?;
        let index = &mut self.parts.index;
        index.last = index.last.max(number);
        index.seen.entry((format!("{kind}/{context}"), part)).or_default().push(item.key.sk.clone());
        let seen = if kind == "seen" { &mut self.parts.seen } else { &mut self.parts.audit_seen };
        seen.entry(name).or_default().extend(events);
        Ok(())
    }

    fn finish(self) -> Result<Contents, TableError> {
        let table = self.table.to_owned();
        let Parts {
            mut services,
            histories,
            contexts,
            mut followed,
            mut seen,
            mut sightings,
            audits,
            mut audit_seen,
            decisions,
            others,
            mut index,
        } = self.parts;
        for (key, History { history, commands }) in histories {
            let known = services.entry(key).or_default();
            (known.history, known.commands) = (history, commands);
        }
        let mut members = others;
        members.insert("contexts".to_owned(), Value::Object(Map::new()));
        members.insert("services".to_owned(), Value::Object(Map::new()));
        // As text, of which the reader of a state is compiled anyway: another one, for values, would be a hundredth of the program.
        let text = Value::Object(members).to_string();
        let mut state: State = serde_json::from_str(&text).map_err(|error| TableError::Corrupt {
            table,
            item: "state other".to_owned(),
            reason: error.to_string(),
        })?;
        index.last = index.last.max(decisions.keys().next_back().copied().unwrap_or_default());
        index.decisions = decisions.keys().rev().copied().collect();
        state.decisions = decisions.into_values().rev().collect();
        state.services = services.into_iter().collect::<SharedMap<_, _>>();
        for (name, mut context) in contexts {
            context.seen = seen.remove(&name).unwrap_or_default().into_iter().collect();
            context.followed =
                context.followed.map(|_| followed.remove(&name).unwrap_or_default().into_iter().collect());
            let told = sightings.remove(&name).unwrap_or_default();
            let told = told.into_iter().map(|(name, chunks)| (name, chunks.into_values().flatten().collect()));
            let told: SharedMap<RepositoryName, Vec<Sighting>> = told.collect();
            context.sightings = context.sightings.map(|known| known.with(told));
            state.contexts.insert(name, context);
        }
        for (name, mut audit) in audits {
            audit.seen = audit_seen.remove(&name).unwrap_or_default().into_iter().collect::<Seen>();
            state.audits.insert(name, audit);
        }
        let Meta { sequence, whole, at } = self.meta.unwrap_or(Meta { sequence: 0, whole: false, at: None });
        Ok(Contents { state, whole, at, sequence, index })
    }
}

/// What is said of an item that has no meaning here.
const UNKNOWN: &str = "this program writes no item with such a key";
