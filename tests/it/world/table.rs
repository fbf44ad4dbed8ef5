//! A table of DynamoDB that several replicas share: conditions hold as they do there, and what lies between a replica and the table may be
//! slow, lose answers, deliver late, throttle, or be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ecs_deployd::aws::table::{Change, Condition, Item, ItemKey, ItemPage, TRANSACTION, Table, TableView, Written};
use ecs_deployd::aws::{AwsError, Fault};
use ecs_deployd::clock::{self, Instant};
use ecs_deployd::lease::Fence;

use super::rng::Rng;
use super::{Door, Frozen};

/// The largest answer of a query that is simulated, unless a test wants that of DynamoDB: a smaller one shows whether the next page is asked
/// for.
const PAGE: usize = 10_000;
/// The largest answer of DynamoDB.
pub const REAL_PAGE: usize = 1_000_000;
/// So late a request may arrive that was given up long before.
pub const LATEST: Duration = Duration::from_secs(90);
/// How long the real doors wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What requests meet with.
#[derive(Debug, Clone, Copy, Default)]
pub struct TableWeather {
    /// How many in a hundred meet with something.
    pub chance: u64,
    /// The longest time that one takes, in milliseconds.
    pub slow: u64,
}

/// What requests are counted as on a bill (Amazon DynamoDB Developer Guide, "DynamoDB on-demand capacity mode").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    /// Consistent reads of 4 KB. A query counts as one read.
    pub read: usize,
    /// Writes of 1 KB, twice as many in a transaction, checks included.
    pub write: usize,
}

/// Where a process is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrozenAt {
    /// It has decided, and nothing is sent.
    Beginning,
    /// What it sent has had its effect, and it has not heard of that.
    End,
}

/// The table, and who has held the lease.
#[derive(Debug, Clone)]
pub struct SharedTable(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    items: BTreeMap<ItemKey, Item>,
    rng: Rng,
    weather: TableWeather,
    cut: BTreeSet<usize>,
    /// Each change of the lease: when it was made, who holds it then, and for how long.
    leases: Vec<(Duration, Option<String>, Duration)>,
    requests: BTreeMap<&'static str, usize>,
    units: Units,
    page: usize,
    /// The replica that is frozen at its next transaction.
    freezes: Option<(usize, FrozenAt, Frozen)>,
    /// Transactions of the state that were made by somebody who did not hold the lease.
    stale: Vec<String>,
}

impl SharedTable {
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            begun: clock::instant(),
            items: BTreeMap::new(),
            rng: Rng::new(seed),
            weather: TableWeather::default(),
            cut: BTreeSet::new(),
            leases: Vec::new(),
            requests: BTreeMap::new(),
            units: Units::default(),
            page: PAGE,
            freezes: None,
            stale: Vec::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// What requests meet with from here on.
    pub fn set_weather(&self, weather: TableWeather) {
        self.0.lock().unwrap().weather = weather;
    }

    /// Nothing of what a replica sends reaches the table, or everything does again.
    pub fn set_cut(&self, replica: usize, cut: bool) {
        let mut inner = self.0.lock().unwrap();
        if cut {
            inner.cut.insert(replica);
        } else {
            inner.cut.remove(&replica);
        }
    }

    pub fn is_cut(&self, replica: usize) -> bool {
        self.0.lock().unwrap().cut.contains(&replica)
    }

    /// Who held the lease at a time, if it had not ended, as the table saw it.
    pub fn holder_at(&self, at: Duration) -> Option<String> {
        let inner = self.0.lock().unwrap();
        let (since, holder, length) = inner.leases.iter().rev().find(|(since, ..)| *since <= at)?;
        holder.clone().filter(|_| at <= *since + *length)
    }

    /// When the lease passed on last.
    pub fn last_taken(&self) -> Duration {
        let inner = self.0.lock().unwrap();
        let passes = inner.leases.windows(2).rev().find(|two| two[0].1 != two[1].1);
        passes.map_or(Duration::ZERO, |two| two[1].0)
    }

    /// How often each operation was called, since the last time.
    pub fn take_requests(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    /// What they are counted as, likewise.
    pub fn take_units(&self) -> Units {
        std::mem::take(&mut self.0.lock().unwrap().units)
    }

    /// Freezes a replica at its next transaction.
    pub fn freeze_at_transaction(&self, replica: usize, at: FrozenAt, frozen: Frozen) {
        self.0.lock().unwrap().freezes = Some((replica, at, frozen));
    }

    /// What was to be frozen is not.
    pub fn freeze_nobody(&self) {
        self.0.lock().unwrap().freezes = None;
    }

    /// Transactions of the state that were made by somebody who did not hold the lease.
    pub fn stale(&self) -> Vec<String> {
        self.0.lock().unwrap().stale.clone()
    }

    /// The largest answer of a query.
    pub fn set_page(&self, bytes: usize) {
        self.0.lock().unwrap().page = bytes;
    }

    /// The way of a replica to it.
    pub fn door(&self, door: Door) -> Arc<dyn Table> {
        Arc::new(DoorTo { table: self.clone(), door })
    }
}

#[derive(Debug)]
struct DoorTo {
    table: SharedTable,
    door: Door,
}

/// What becomes of a request.
enum Fate {
    Answered,
    Fails(Fault),
    /// It takes effect, and the answer is lost.
    AnswerLost,
    /// It takes effect this much later, and the answer is lost.
    Late(Duration),
}

impl DoorTo {
    fn freeze(&self, operation: &'static str, at: FrozenAt) {
        let is_due = |(replica, when, _): &mut (usize, FrozenAt, Frozen)| {
            operation == "TransactWriteItems" && *replica == self.door.replica && *when == at
        };
        if let Some((.., frozen)) = self.table.0.lock().unwrap().freezes.take_if(is_due) {
            frozen.set(true);
        }
    }

    /// A request: it takes its time, has its effect or not, and is answered or not.
    async fn request<T: Send + 'static>(
        &self,
        operation: &'static str,
        effect: impl FnOnce(&mut Inner) -> T + Send + 'static,
    ) -> Result<T, AwsError> {
        self.freeze(operation, FrozenAt::Beginning);
        self.door.thawed().await;
        let (fate, there, back) = {
            let mut inner = self.table.0.lock().unwrap();
            *inner.requests.entry(operation).or_default() += 1;
            let TableWeather { chance, slow } = inner.weather;
            let fate = match inner.rng.percent(chance) {
                false => Fate::Answered,
                true => match inner.rng.below(6) {
                    0..2 => Fate::Fails(Fault::Throttled),
                    2 => Fate::Fails(Fault::Unavailable),
                    3..5 => Fate::AnswerLost,
                    _ => Fate::Late(Duration::from_millis(inner.rng.below(LATEST.as_millis().try_into().unwrap()))),
                },
            };
            (
                fate,
                Duration::from_millis(3 + inner.rng.below(slow + 1)),
                Duration::from_millis(2 + inner.rng.below(slow + 1)),
            )
        };
        // What was sent arrives, whatever becomes of the sender meanwhile.
        let (table, replica) = (self.table.clone(), self.door.replica);
        let arriving = tokio::spawn(async move {
            clock::sleep(there).await;
            if table.is_cut(replica) {
                return None;
            }
            match fate {
                Fate::Fails(fault) => Some(Err(fault)),
                Fate::Answered => Some(Ok(effect(&mut table.0.lock().unwrap()))),
                Fate::AnswerLost => {
                    effect(&mut table.0.lock().unwrap());
                    Some(Err(Fault::Unavailable))
                }
                Fate::Late(after) => {
                    tokio::spawn(async move {
                        clock::sleep(after).await;
                        effect(&mut table.0.lock().unwrap());
                    });
                    Some(Err(Fault::Unavailable))
                }
            }
        });
        let Some(answer) = arriving.await.unwrap() else {
            clock::sleep(ANSWER_WITHIN).await;
            return Err(AwsError::timed_out("dynamodb", operation));
        };
        self.freeze(operation, FrozenAt::End);
        clock::sleep(back).await;
        self.door.thawed().await;
        answer.map_err(|fault| AwsError { fault, ..AwsError::timed_out("dynamodb", operation) })
    }
}

impl Inner {
    fn holds(&self, key: &ItemKey, condition: Option<&Condition>) -> bool {
        let found = self.items.get(key);
        match condition {
            None => true,
            Some(Condition::Absent) => found.is_none(),
            Some(Condition::Holds(wanted)) => {
                found.is_some_and(|item| wanted.iter().all(|(name, value)| item.attributes.get(*name) == Some(value)))
            }
        }
    }

    /// The larger one of the item before and after.
    fn write_units(&self, change: &Change) -> usize {
        let before = self.items.get(change.key()).map_or(0, Item::size);
        before.max(change.size()).div_ceil(1_024).max(1)
    }

    fn apply(&mut self, changes: &[Change]) -> Written {
        let keys: BTreeSet<&ItemKey> = changes.iter().map(Change::key).collect();
        assert_eq!(keys.len(), changes.len(), "two actions on one item");
        assert!(changes.len() <= TRANSACTION, "{} changes in one transaction", changes.len());
        let condition = |change: &Change| match change {
            Change::Put(_, condition) | Change::Delete(_, condition) => condition.clone(),
            Change::Check(_, condition) => Some(condition.clone()),
        };
        let is_unmet = |(_, change): &(usize, &Change)| !self.holds(change.key(), condition(change).as_ref());
        let unmet: Vec<usize> = changes.iter().enumerate().filter(is_unmet).map(|(place, _)| place).collect();
        if !unmet.is_empty() {
            return Written::Unmet(unmet);
        }
        let holder =
            self.items.get(&Fence::key()).and_then(|lease| lease.text("holder")).unwrap_or("nobody").to_owned();
        for change in changes {
            if let Change::Put(item, _) = change
                && item.key == ItemKey::new("state", "meta")
                && item.text("holder") != Some(&holder)
            {
                let at = self.begun.elapsed();
                self.stale.push(format!("{:?} at {at:?}, while {holder} holds the lease", item.text("holder")));
            }
        }
        for change in changes {
            match change {
                Change::Put(item, _) => {
                    assert!(item.size() < 400_000, "{} has {} bytes", item.key, item.size());
                    if item.key == Fence::key() {
                        let length = Duration::from_millis(item.number("lease_ms").unwrap());
                        self.leases.push((self.begun.elapsed(), item.text("holder").map(str::to_owned), length));
                    }
                    self.items.insert(item.key.clone(), item.clone());
                }
                Change::Delete(key, _) => drop(self.items.remove(key)),
                Change::Check(..) => {}
            }
        }
        Written::Done
    }
}

#[async_trait]
impl Table for DoorTo {
    fn name(&self) -> &str {
        "replicas"
    }

    async fn describe(&self) -> Result<TableView, AwsError> {
        let key = |name: &str| (name.to_owned(), "S".to_owned());
        self.request("DescribeTable", move |_| TableView {
            status: "ACTIVE".to_owned(),
            keys: vec![key("pk"), key("sk")],
        })
        .await
    }

    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, AwsError> {
        let key = key.clone();
        self.request("GetItem", move |inner| {
            let found = inner.items.get(&key).cloned();
            inner.units.read += found.as_ref().map_or(0, Item::size).div_ceil(4_096).max(1);
            found
        })
        .await
    }

    async fn query(&self, pk: &str, after: Option<String>) -> Result<ItemPage, AwsError> {
        let pk = pk.to_owned();
        self.request("Query", move |inner| {
            let is_after = |item: &&Item| item.key.pk == pk && after.as_ref().is_none_or(|after| item.key.sk > *after);
            let (mut items, mut bytes, mut next) = (Vec::<Item>::new(), 0, None);
            for item in inner.items.values().filter(is_after) {
                if bytes + item.size() > inner.page && !items.is_empty() {
                    next = items.last().map(|last| last.key.sk.clone());
                    break;
                }
                bytes += item.size();
                items.push(item.clone());
            }
            inner.units.read += bytes.div_ceil(4_096).max(1);
            ItemPage { items, next }
        })
        .await
    }

    async fn write(&self, change: &Change) -> Result<Written, AwsError> {
        let change = change.clone();
        self.request("PutItem", move |inner| {
            inner.units.write += inner.write_units(&change);
            inner.apply(std::slice::from_ref(&change))
        })
        .await
    }

    async fn transact(&self, changes: &[Change]) -> Result<Written, AwsError> {
        let changes = changes.to_vec();
        self.request("TransactWriteItems", move |inner| {
            let units: usize = changes.iter().map(|change| 2 * inner.write_units(change)).sum();
            inner.units.write += units;
            inner.apply(&changes)
        })
        .await
    }
}
