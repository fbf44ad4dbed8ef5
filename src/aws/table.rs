//! One table of Amazon DynamoDB: items by their keys, read consistently and written under conditions.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;

use super::AwsError;

/// The name of the partition key.
pub const PARTITION_KEY: &str = "pk";
/// The name of the sort key.
pub const SORT_KEY: &str = "sk";
/// Changes that one transaction takes (Amazon DynamoDB API Reference, `TransactWriteItems`).
pub const TRANSACTION: usize = 100;
/// The bytes that one transaction takes: 4 MB, less what names and numbers amount to.
pub const TRANSACTION_BYTES: usize = 3_500_000;

/// The key of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemKey {
    /// The value of the partition key.
    pub pk: String,
    /// The value of the sort key.
    pub sk: String,
}

impl ItemKey {
    /// The key with these parts.
    #[must_use]
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pk, self.sk)
    }
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// A string, type `S`.
    Text(String),
    /// A number, type `N`.
    Number(u64),
}

/// The attributes of an item, by name.
pub type Attributes = BTreeMap<&'static str, Attribute>;

/// An item of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key of the item.
    pub key: ItemKey,
    /// Its other attributes. What is no string and no number was not written by this program and is left out.
    pub attributes: BTreeMap<String, Attribute>,
}

impl Item {
    /// An item with these attributes.
    #[must_use]
    pub fn new(key: ItemKey, attributes: impl IntoIterator<Item = (&'static str, Attribute)>) -> Self {
        Self { key, attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect() }
    }

    /// A string among its attributes.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name)? {
            Attribute::Text(text) => Some(text),
            Attribute::Number(_) => None,
        }
    }

    /// A number among its attributes.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.attributes.get(name)? {
            Attribute::Number(number) => Some(*number),
            Attribute::Text(_) => None,
        }
    }

    /// About how many bytes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        let value = |value: &Attribute| match value {
            Attribute::Text(text) => text.len(),
            Attribute::Number(_) => 21,
        };
        let attributes = self.attributes.iter().map(|(name, held)| name.len() + value(held));
        self.key.pk.len() + self.key.sk.len() + attributes.sum::<usize>()
    }
}

/// What must be so for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There is no such item.
    Absent,
    /// The item is there, with these attributes among others.
    Holds(Attributes),
}

/// A change of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The item is replaced, or made.
    Put(Item, Option<Condition>),
    /// The item is deleted.
    Delete(ItemKey, Option<Condition>),
    /// The item is left as it is, and must be as the condition says. Only in a transaction.
    Check(ItemKey, Condition),
}

impl Change {
    /// The key of its item.
    #[must_use]
    pub fn key(&self) -> &ItemKey {
        match self {
            Self::Put(item, _) => &item.key,
            Self::Delete(key, _) | Self::Check(key, _) => key,
        }
    }

    /// About how many bytes it has.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Self::Put(item, _) => item.size(),
            Self::Delete(key, _) | Self::Check(key, _) => key.pk.len() + key.sk.len(),
        }
    }
}

/// What came of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// All of them are made.
    Done,
    /// None is made, as the conditions at these places do not hold.
    Unmet(Vec<usize>),
    /// None is made, as others change the same items at this moment, or the table takes no more just now.
    Busy(String),
}

/// One page of the items of a partition.
#[derive(Debug, Clone, Default)]
pub struct ItemPage {
    /// In the order of their sort keys.
    pub items: Vec<Item>,
    /// The sort key after which more come.
    pub next: Option<String>,
}

/// What a table is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableView {
    /// Its status, `ACTIVE` where it can be used.
    pub status: String,
    /// The names of its keys with their types, such as `pk` and `S`: the partition key, then the sort key if there is one.
    pub keys: Vec<(String, String)>,
}

impl TableView {
    /// Whether it has the keys that this program uses.
    #[must_use]
    pub fn has_the_keys(&self) -> bool {
        let is = |(name, kind): &(String, String), wanted: &str| name == wanted && kind == "S";
        matches!(&self.keys[..], [one, other] if is(one, PARTITION_KEY) && is(other, SORT_KEY))
    }
}

/// One table. Nothing here retries. A write whose answer is lost may have been made.
#[async_trait]
pub trait Table: fmt::Debug + Send + Sync {
    /// The name of the table.
    fn name(&self) -> &str;

    /// What the table is like.
    async fn describe(&self) -> Result<TableView, AwsError>;

    /// One item, as it is after every write that was answered.
    async fn get(&self, key: &ItemKey) -> Result<Option<Item>, AwsError>;

    /// One page of a partition, likewise: at most 1 MB.
    async fn query(&self, pk: &str, after: Option<String>) -> Result<ItemPage, AwsError>;

    /// Makes one change that is no `Check`.
    async fn write(&self, change: &Change) -> Result<Written, AwsError>;

    /// Makes up to [`TRANSACTION`] changes of as many items, all or none.
    async fn transact(&self, changes: &[Change]) -> Result<Written, AwsError>;
}
