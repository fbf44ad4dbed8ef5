//! The state in a table of Amazon DynamoDB, for several replicas of which one is active.
//!
//! One item for each service and each AWS context, the histories apart, and small items for what grows: a commit writes what has changed
//! since the last one and nothing else. Every transaction checks that the lease is still the writer's, and counts up a number, so that one
//! whose answer was lost cannot come after a later one. What takes several transactions is written in such an order that each of them leaves
//! a state from which nothing is lost: what services have to do first, how far the events are read last.

mod items;
mod reading;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Loaded, StateStoreError, Store};
use crate::aws::table::{
    Attribute, Change, Condition, Item, ItemKey, TRANSACTION, TRANSACTION_BYTES, Table, TableView, Written,
};
use crate::aws::{AwsError, Fault};
use crate::clock::{self, Clock};
use crate::domain::state::{self, State};
use crate::lease::{Doubts, Fence};

use items::{Index, Rank};
pub use reading::{Contents, read};

/// How often a transaction is tried that meets others, or more than the table takes just now.
const TRIES: u32 = 6;
/// The pause after the first of these tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why the state in a table cannot be used. In no case was anything overwritten.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no such table.
    #[error(
        "there is no DynamoDB table {table} in the account and Region of its AWS context: correct [state] table or aws, or create the table (partition key pk and sort key sk, both strings, on demand; config/cloudformation has it)"
    )]
    Missing {
        /// The name of the table.
        table: String,
    },
    /// It is being made or deleted.
    #[error("the DynamoDB table {table} is {status}: wait until it is ACTIVE")]
    NotActive {
        /// The name of the table.
        table: String,
        /// The status of the table.
        status: String,
    },
    /// Its keys are other ones.
    #[error(
        "the DynamoDB table {table} has the keys {found}, and the state needs the partition key pk (S) and the sort key sk (S): the keys of a table cannot be changed, so name another table"
    )]
    WrongKeys {
        /// The name of the table.
        table: String,
        /// The keys that the table has.
        found: String,
    },
    /// The role may not.
    #[error("the DynamoDB table {table} may not be used{}", remedy(source))]
    Denied {
        /// The name of the table.
        table: String,
        /// How the call failed.
        source: AwsError,
    },
    /// It takes no more just now.
    #[error(
        "the DynamoDB table {table} is throttled: set it to on-demand capacity, or wait until others use it less; nothing is lost meanwhile"
    )]
    Throttled {
        /// The name of the table.
        table: String,
        /// How the call failed.
        source: AwsError,
    },
    /// It cannot be reached, or not be used.
    #[error("the DynamoDB table {table} cannot be read or written{}", remedy(source))]
    Failed {
        /// The name of the table.
        table: String,
        /// How the call failed.
        source: AwsError,
    },
    /// Others were faster, again and again.
    #[error("a transaction on the DynamoDB table {table} was put off for too long by others: {why}")]
    Busy {
        /// The name of the table.
        table: String,
        /// What AWS says about it.
        why: String,
    },
    /// Another replica is active.
    #[error("the lease of the DynamoDB table {table} is not this replica's any more: nothing was written")]
    Fenced {
        /// The name of the table.
        table: String,
    },
    /// Another process holds the lease.
    #[error(
        "the lease of the DynamoDB table {table} is held by {holder}: stop that replica, or wait until its lease has ended"
    )]
    Held {
        /// The name of the table.
        table: String,
        /// The replica that holds the lease.
        holder: String,
    },
    /// An item is not what this program writes.
    #[error(
        "the item {item} of the DynamoDB table {table} is corrupt: {reason}; restore the table, or name another one to start afresh"
    )]
    Corrupt {
        /// The name of the table.
        table: String,
        /// The key of the item.
        item: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A newer program wrote it.
    #[error(
        "the state in the DynamoDB table {table} has version {found}, this program knows version {known}: run the newer ecs-deployd that wrote it",
        known = state::VERSION
    )]
    Newer {
        /// The name of the table.
        table: String,
        /// The version that was found.
        found: u64,
    },
    /// It was written while it was read.
    #[error("the state in the DynamoDB table {table} changed each time that it was read: try again")]
    Moving {
        /// The name of the table.
        table: String,
    },
    /// There is a state where one was to be imported.
    #[error(
        "the DynamoDB table {table} holds a state already, which is not overwritten: name another table, or delete its items"
    )]
    Taken {
        /// The name of the table.
        table: String,
    },
}

fn remedy(error: &AwsError) -> String {
    error.remedy().map_or_else(String::new, |remedy| format!(": {remedy}"))
}

impl TableError {
    /// What a call means that failed.
    #[must_use]
    pub fn of(table: &dyn Table, source: AwsError) -> Self {
        let table = table.name().to_owned();
        match source.fault {
            Fault::NotFound => Self::Missing { table },
            Fault::Denied => Self::Denied { table, source },
            Fault::Throttled => Self::Throttled { table, source },
            Fault::Credentials | Fault::Refused | Fault::Unavailable => Self::Failed { table, source },
        }
    }

    /// Whether it may go away by itself, so that a daemon waits for that.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotActive { .. } | Self::Throttled { .. } | Self::Busy { .. } | Self::Moving { .. } => true,
            Self::Failed { source, .. } => source.fault != Fault::Refused,
            Self::Missing { .. }
            | Self::WrongKeys { .. }
            | Self::Denied { .. }
            | Self::Fenced { .. }
            | Self::Held { .. }
            | Self::Corrupt { .. }
            | Self::Newer { .. }
            | Self::Taken { .. } => false,
        }
    }
}

/// Whether a table can hold the state.
///
/// # Errors
/// It cannot: it is not there, has other keys, or may not be asked.
pub async fn inspect(table: &dyn Table) -> Result<(), TableError> {
    let view = table.describe().await.map_err(|error| TableError::of(table, error))?;
    if !view.has_the_keys() {
        let found: Vec<String> = view.keys.iter().map(|(name, kind)| format!("{name} ({kind})")).collect();
        return Err(TableError::WrongKeys { table: table.name().to_owned(), found: found.join(" and ") });
    }
    let TableView { status, .. } = view;
    // A table that is being changed (`UPDATING`) is read and written as ever.
    if status == "CREATING" || status == "DELETING" {
        return Err(TableError::NotActive { table: table.name().to_owned(), status });
    }
    Ok(())
}

/// The state in a table, for the replica that holds the lease.
#[derive(Debug)]
pub struct TableStore {
    table: Arc<dyn Table>,
    fence: Fence,
    doubts: Option<Doubts>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

/// What is known of the items.
#[derive(Debug)]
struct Held {
    /// The state whose items are written, or are due.
    state: State,
    index: Index,
    /// The number of the last transaction; unknown after one whose answer was lost. 0 before the first one.
    sequence: Option<u64>,
    /// Whether all of a state was written once.
    whole: bool,
    /// Changes that are not known to be made.
    due: Due,
}

/// Changes in the order in which they are made. What belongs to one service stands together.
type Due = BTreeMap<Place, Change>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    rank: Rank,
    sk: String,
    pk: String,
}

impl Place {
    fn of(rank: Rank, key: &ItemKey) -> Self {
        Self { rank, sk: key.sk.clone(), pk: key.pk.clone() }
    }
}

#[async_trait]
impl Store for TableStore {
    async fn commit(self: Arc<Self>, state: State) -> Result<(), StateStoreError> {
        Ok(self.write(state).await?)
    }
}

impl TableStore {
    /// Reads the state, for the replica with this lease.
    ///
    /// # Errors
    /// It cannot be used.
    pub async fn open(
        table: Arc<dyn Table>,
        fence: Fence,
        doubts: Option<Doubts>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Loaded), TableError> {
        let Contents { state, index, sequence, whole, .. } = reading::read_once(table.as_ref()).await?;
        let found = if whole { Loaded::State(Box::new(state.clone())) } else { Loaded::Missing };
        let held = Held { state, index, sequence: Some(sequence), whole, due: Due::new() };
        Ok((Self { table, fence, doubts, clock, held: Mutex::new(held) }, found))
    }

    /// The state that was written last, or is being written.
    pub async fn last(&self) -> State {
        self.held.lock().await.state.clone()
    }

    async fn write(&self, state: State) -> Result<(), TableError> {
        let mut held = self.held.lock().await;
        let Held { state: before, index, due, .. } = &mut *held;
        for (rank, change) in items::changes(before, &state, index) {
            due.insert(Place::of(rank, change.key()), change);
        }
        held.state = state;
        loop {
            let (batch, is_last) = batch(&held.due);
            self.send(&mut held, &batch, is_last).await?;
            for place in batch {
                held.due.remove(&place);
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Makes one transaction of a batch of items.
    async fn send(&self, held: &mut Held, batch: &[Place], is_last: bool) -> Result<(), TableError> {
        let mut pause = FIRST_PAUSE;
        let mut why = String::new();
        for _ in 0..TRIES {
            // It stays unknown if this is dropped before the answer.
            let sequence = match held.sequence.take() {
                Some(sequence) => sequence,
                None => reading::sequence(self.table.as_ref()).await?,
            };
            let whole = held.whole || is_last;
            let mut changes = vec![Change::Check(Fence::key(), self.fence.condition()), self.count_up(sequence, whole)];
            changes.extend(batch.iter().filter_map(|place| held.due.get(place)).cloned());
            match self.table.transact(&changes).await {
                Ok(Written::Done) => {
                    (held.sequence, held.whole) = (Some(sequence + 1), whole);
                    return Ok(());
                }
                Ok(Written::Unmet(places)) if places.contains(&0) => {
                    if let Some(doubts) = &self.doubts {
                        doubts.fenced();
                    }
                    return Err(TableError::Fenced { table: self.table.name().to_owned() });
                }
                // One of this replica's own, whose answer was lost, has come in between.
                Ok(Written::Unmet(_)) => "the number of the transaction".clone_into(&mut why),
                Ok(Written::Busy(reason)) => {
                    held.sequence = Some(sequence);
                    why = reason;
                }
                Err(error) if error.fault == Fault::Throttled => {
                    held.sequence = Some(sequence);
                    why = error.to_string();
                }
                Err(error) => return Err(TableError::of(self.table.as_ref(), error)),
            }
            clock::sleep(pause).await;
            pause *= 2;
        }
        Err(TableError::Busy { table: self.table.name().to_owned(), why })
    }

    /// The item that counts the transactions.
    fn count_up(&self, sequence: u64, whole: bool) -> Change {
        let attributes = [
            ("version", Attribute::Number(state::VERSION)),
            ("sequence", Attribute::Number(sequence + 1)),
            ("whole", Attribute::Number(u64::from(whole))),
            ("at", Attribute::Text(self.clock.now().to_string())),
            ("holder", Attribute::Text(self.fence.holder.clone())),
        ];
        let condition = match sequence {
            0 => Condition::Absent,
            _ => Condition::Holds([("sequence", Attribute::Number(sequence))].into()),
        };
        Change::Put(Item::new(reading::meta_key(), attributes), Some(condition))
    }
}

/// The next changes that fit into one transaction, and whether they are the last ones.
fn batch(due: &Due) -> (Vec<Place>, bool) {
    let mut bytes = 0;
    let mut taken: Vec<Place> = Vec::new();
    for (place, change) in due {
        bytes += change.size();
        // Two places are taken by the lease and by the number of the transaction.
        if taken.len() == TRANSACTION - 2 || (bytes > TRANSACTION_BYTES && !taken.is_empty()) {
            // A service and its history are not parted.
            if taken.len() > 1 && taken.last().is_some_and(|last| (last.rank, &last.sk) == (place.rank, &place.sk)) {
                taken.pop();
            }
            return (taken, false);
        }
        taken.push(place.clone());
    }
    (taken, true)
}

#[cfg(test)]
mod tests;
