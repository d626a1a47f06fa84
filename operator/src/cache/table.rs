//! Objects by namespace and name, with the lookups that a reconcile needs. Fed by watches and by our own writes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use super::shared::Shared;
use crate::kind::Kind;

/// Namespace and name of an object. Cluster-scoped objects have an empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: Shared,
    /// Name.
    pub name: Shared,
}

impl Key {
    /// A key of its two parts.
    pub fn new(namespace: impl Into<Shared>, name: impl Into<Shared>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A question that a table answers without looking at every entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Index {
    /// Entries that belong to this McpServer.
    Server(Key),
    /// McpServers of a namespace that expose this host.
    Host(Key),
    /// McpServers that refer to this object.
    Reference(Kind, Key),
}

/// What a table holds.
pub trait Entry {
    /// Its namespace and name.
    fn key(&self) -> Key;
    /// `metadata.resourceVersion`.
    fn resource_version(&self) -> &str;
    /// The questions whose answer it belongs to.
    fn indexes(&self) -> Vec<Index>;
}

/// Objects by key.
#[derive(Debug)]
pub struct Table<T> {
    inner: RwLock<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    entries: HashMap<Key, Arc<T>>,
    indexes: HashMap<Index, Vec<Key>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { inner: RwLock::new(Inner { entries: HashMap::new(), indexes: HashMap::new() }) }
    }
}

impl<T: Entry> Table<T> {
    /// The entry of that key.
    pub fn get(&self, key: &Key) -> Option<Arc<T>> {
        self.read(|inner| inner.entries.get(key).cloned())
    }

    /// The entries that answer a question, by key.
    pub fn find(&self, index: &Index) -> Vec<Arc<T>> {
        let mut found: Vec<_> = self.read(|inner| {
            let keys = inner.indexes.get(index).into_iter().flatten();
            keys.filter_map(|key| inner.entries.get(key).cloned()).collect()
        });
        found.sort_by_cached_key(|entry: &Arc<T>| entry.key());
        found
    }

    /// Every entry. For tables that are small by nature.
    pub fn all(&self) -> Vec<Arc<T>> {
        self.read(|inner| inner.entries.values().cloned().collect())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.read(|inner| inner.entries.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes an entry from a list: what the API server says is what is there.
    pub fn replace(&self, entry: T) -> Change<T> {
        self.insert(entry, false)
    }

    /// Takes an entry from a watch event or from the answer to our own write, whichever is newer.
    pub fn put(&self, entry: T) -> Change<T> {
        self.insert(entry, true)
    }

    fn insert(&self, entry: T, only_newer: bool) -> Change<T> {
        let entry = Arc::new(entry);
        self.write(|inner| {
            let key = entry.key();
            let old = inner.entries.get(&key).cloned();
            if let Some(old) = &old {
                let (before, now) = (old.resource_version(), entry.resource_version());
                if before == now || (only_newer && is_older(now, before)) {
                    return Change { old: None, new: None };
                }
            }
            inner.reindex(&key, old.as_deref(), &entry);
            inner.entries.insert(key, Arc::clone(&entry));
            Change { old, new: Some(entry) }
        })
    }

    /// Forgets an entry.
    pub fn remove(&self, key: &Key) -> Change<T> {
        self.write(|inner| Change { old: inner.take(key), new: None })
    }

    /// Forgets the entries of `namespace` (all, without one) that a complete list did not have.
    pub fn sweep(&self, namespace: Option<&str>, seen: &HashSet<Key>) -> Vec<Arc<T>> {
        self.write(|inner| {
            let in_scope = |key: &Key| namespace.is_none_or(|namespace| *key.namespace == *namespace);
            let gone: Vec<_> =
                inner.entries.keys().filter(|key| in_scope(key) && !seen.contains(*key)).cloned().collect();
            gone.iter().filter_map(|key| inner.take(key)).collect()
        })
    }

    // A panic elsewhere cannot leave the maps half-changed in a way that matters more than going on: take the lock.
    fn read<R>(&self, ask: impl FnOnce(&Inner<T>) -> R) -> R {
        ask(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, change: impl FnOnce(&mut Inner<T>) -> R) -> R {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Entry> Inner<T> {
    fn take(&mut self, key: &Key) -> Option<Arc<T>> {
        let old = self.entries.remove(key)?;
        self.unindex(key, old.indexes());
        Some(old)
    }

    /// Has `new` found in place of `old`.
    fn reindex(&mut self, key: &Key, old: Option<&T>, new: &T) {
        let (before, now) = (old.map(Entry::indexes).unwrap_or_default(), new.indexes());
        // Nearly always they are the same.
        if before == now {
            return;
        }
        self.unindex(key, before);
        for index in now {
            let keys = self.indexes.entry(index).or_default();
            // The same may be referred to twice.
            if !keys.contains(key) {
                if keys.is_empty() {
                    // Most have no other.
                    keys.reserve_exact(1);
                }
                keys.push(key.clone());
            }
        }
    }

    fn unindex(&mut self, key: &Key, indexes: Vec<Index>) {
        for index in indexes {
            let Some(keys) = self.indexes.get_mut(&index) else { continue };
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.indexes.remove(&index);
            }
        }
    }
}

/// What an event did to a table.
#[derive(Debug)]
pub struct Change<T> {
    /// The entry before, where there was one.
    pub old: Option<Arc<T>>,
    /// The entry now. Neither old nor new: nothing changed.
    pub new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// The entries that have changed: the old one matters too, its server may be another.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<T>> {
        self.old.iter().chain(&self.new)
    }
}

/// Whether a resource version is older than another of the same object. They are numbers wherever Kubernetes itself
/// stores the objects (KEP-5504); what is not a number is never older.
#[must_use]
pub fn is_older(this: &str, that: &str) -> bool {
    matches!((this.parse::<u64>(), that.parse::<u64>()), (Ok(this), Ok(that)) if this < that)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(&'static str, &'static str, &'static str);

    impl Entry for Thing {
        fn key(&self) -> Key {
            Key::new("ns", self.0)
        }
        fn resource_version(&self) -> &str {
            self.1
        }
        fn indexes(&self) -> Vec<Index> {
            vec![Index::Server(Key::new("ns", self.2))]
        }
    }

    fn of(table: &Table<Thing>, server: &str) -> usize {
        table.find(&Index::Server(Key::new("ns", server))).len()
    }

    #[test]
    fn a_late_event_does_not_replace_the_answer_to_our_write() {
        let table = Table::default();
        table.put(Thing("a", "10", "demo"));
        let change = table.put(Thing("a", "9", "demo"));
        assert!(change.new.is_none() && change.old.is_none());
        assert_eq!(table.get(&Key::new("ns", "a")).map(|thing| thing.1), Some("10"));
    }

    #[test]
    fn a_list_is_believed_even_when_its_versions_are_lower() {
        let table = Table::default();
        table.put(Thing("a", "10", "demo"));
        assert!(table.replace(Thing("a", "3", "demo")).new.is_some(), "restored from a backup");
    }

    #[test]
    fn an_entry_that_changes_its_server_is_found_at_the_new_one_only() {
        let table = Table::default();
        table.put(Thing("a", "1", "demo"));
        let change = table.put(Thing("a", "2", "other"));
        assert_eq!((of(&table, "demo"), of(&table, "other")), (0, 1));
        assert_eq!(change.entries().count(), 2, "both servers hear of it");
    }

    #[test]
    fn a_sweep_forgets_what_the_list_of_its_namespace_did_not_have() {
        let table = Table::default();
        table.put(Thing("a", "1", "demo"));
        table.put(Thing("b", "1", "demo"));
        assert!(table.sweep(Some("elsewhere"), &HashSet::new()).is_empty());
        let gone = table.sweep(Some("ns"), &HashSet::from([Key::new("ns", "a")]));
        assert_eq!((gone.len(), table.len(), of(&table, "demo")), (1, 1, 1));
    }
}
