//! A map that is cheap to copy, and whose copies tell what changed between them.

use std::collections::{BTreeMap, btree_map};
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A sorted map whose keys are shared with its copies, and its values until they are changed. The deployer goes on with its state while a copy is made
/// durable, and what is shared with the copy before need not be rendered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedMap<K, V>(BTreeMap<Arc<K>, Arc<V>>);

impl<K: Ord, V: Clone> SharedMap<K, V> {
    /// The value of a key, if it has one.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(Arc::as_ref)
    }

    /// The value, to change it: copies keep what they have.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key).map(Arc::make_mut)
    }

    /// The value, to change it; one that is not there yet is at first its type's default.
    pub fn get_or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        Arc::make_mut(self.0.entry(Arc::new(key)).or_default())
    }

    /// All keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys().map(Arc::as_ref)
    }

    /// The values, in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(Arc::as_ref)
    }

    /// Keeps what satisfies a condition.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.0.retain(|key, value| keep(key, value));
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it, in the order of the keys.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(self.0.iter())
    }

    /// The same with what is shared: a value that is the same one as in another copy was not changed since.
    pub fn shared(&self) -> impl Iterator<Item = (&Arc<K>, &Arc<V>)> {
        self.0.iter()
    }
}

/// What a [`SharedMap`] holds.
#[derive(Debug)]
pub struct Iter<'a, K, V>(btree_map::Iter<'a, Arc<K>, Arc<V>>);

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

impl<'a, K: Ord, V: Clone> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        Self(all.into_iter().map(|(key, value)| (Arc::new(key), Arc::new(value))).collect())
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V: Clone> Index<&K> for SharedMap<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        &self.0[key]
    }
}

impl<K: Serialize + Ord, V: Serialize + Clone> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>> Deserialize<'de> for SharedMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::<K, V>::deserialize(deserializer).map(|all| all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared_with(one: &SharedMap<u8, String>, other: &SharedMap<u8, String>) -> Vec<u8> {
        let pairs = one.shared().zip(other.shared());
        pairs.filter(|((_, one), (_, other))| Arc::ptr_eq(one, other)).map(|((key, _), _)| **key).collect()
    }

    #[test]
    fn a_copy_keeps_what_it_has_and_shares_what_was_not_changed() {
        let mut map: SharedMap<u8, String> = [(1, "one".to_owned()), (2, "two".to_owned())].into_iter().collect();
        let copy = map.clone();
        assert_eq!(shared_with(&map, &copy), [1, 2]);
        map.get_mut(&2).unwrap().push('!');
        map.get_or_default(3).push_str("three");
        assert_eq!((copy[&2].as_str(), copy.get(&3)), ("two", None));
        assert_eq!((map[&2].as_str(), map[&3].as_str()), ("two!", "three"));
        assert_eq!(shared_with(&map, &copy), [1]);
    }
}
