//! How many of something each owner has at once. An owner is known for as long as it has one, so memory is bounded by what
//! there is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Owners are spread over so many locks.
const SHARDS: usize = 64;

/// See the module.
pub(crate) struct Places {
    hasher: RandomState,
    shards: [Mutex<HashMap<u64, u32>>; SHARDS],
}

/// One place, until it is dropped.
#[must_use]
pub(crate) struct Place {
    places: Arc<Places>,
    owner: u64,
}

impl Places {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::default()) })
    }

    /// A place for the owner, unless it has so many already.
    pub(crate) fn take(self: &Arc<Self>, owner: impl Hash, most: u32) -> Option<Place> {
        let owner = self.hasher.hash_one(owner);
        let mut shard = self.shard(owner);
        let taken = shard.get(&owner).copied().unwrap_or_default();
        if taken >= most {
            return None;
        }
        shard.insert(owner, taken + 1);
        Some(Place { places: Arc::clone(self), owner })
    }

    fn shard(&self, owner: u64) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.shards[owner as usize % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut shard = self.places.shard(self.owner);
        if let Entry::Occupied(mut taken) = shard.entry(self.owner) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_its_places_and_a_dropped_one_is_free_again() {
        let places = Places::new();
        let first = places.take("alice", 2);
        let _second = places.take("alice", 2).expect("a place");
        assert!(places.take("alice", 2).is_none());
        assert!(places.take("bob", 1).is_some());
        drop(first);
        assert!(places.take("alice", 2).is_some());
    }

    #[test]
    fn nobody_is_remembered_who_has_none() {
        let places = Places::new();
        drop((0..1000).map(|owner| places.take(owner, 1)).collect::<Vec<_>>());
        assert!(places.shards.iter().all(|shard| shard.lock().expect("no panic").is_empty()));
        assert!(places.take(1, 0).is_none());
    }
}
