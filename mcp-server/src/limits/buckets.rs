//! Buckets by the hundred thousand in bounded memory. They lie in sets, and a key has its place in one of them; where a set
//! is full, the bucket that would be empty first makes room, since forgetting it gives away least. A set takes memory when
//! its first bucket comes, and its lock is held for a few instructions.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::gcra::Rate;

/// Buckets of one set.
const WAYS: usize = 32;
/// 4096 sets: 131,072 buckets, in 2 MiB.
const SETS: usize = 4096;

/// See the module.
pub(super) struct Buckets {
    /// Random, so that nobody can choose keys that meet in one set.
    hasher: RandomState,
    sets: Box<[Mutex<Option<Box<Set>>>]>,
}

/// A key, hashed. 0 is no key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

struct Set {
    keys: [u64; WAYS],
    /// When each bucket would be empty.
    empty_at: [u64; WAYS],
}

impl Buckets {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), sets: std::iter::repeat_with(|| Mutex::new(None)).take(SETS).collect() }
    }

    pub(super) fn key(&self, name: impl Hash) -> Key {
        Key(self.hasher.hash_one(name).max(1))
    }

    /// Whether a request fits; the error is how long to wait. Takes nothing.
    pub(super) fn check(&self, key: Key, rate: &Rate, now: u64) -> Result<(), Duration> {
        let empty_at = self.within(key, |set| set.as_ref().map_or(0, |set| set.empty_at(key)));
        rate.fits(empty_at, now).map(drop)
    }

    /// Takes one request; the error is how long to wait, and takes nothing.
    pub(super) fn take(&self, key: Key, rate: &Rate, now: u64) -> Result<(), Duration> {
        self.within(key, |set| {
            let set = set.get_or_insert_with(Set::empty);
            let next = rate.fits(set.empty_at(key), now)?;
            set.put(key, next);
            Ok(())
        })
    }

    /// The bucket is at least so full.
    pub(super) fn raise(&self, key: Key, empty_at: u64) {
        self.within(key, |set| {
            let set = set.get_or_insert_with(Set::empty);
            if set.empty_at(key) < empty_at {
                set.put(key, empty_at);
            }
        });
    }

    fn within<T>(&self, key: Key, act: impl FnOnce(&mut Option<Box<Set>>) -> T) -> T {
        // The low bits choose the set, and the whole key tells the buckets of a set apart.
        let set = &self.sets[key.0 as usize % SETS];
        act(&mut set.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Set {
    fn empty() -> Box<Self> {
        Box::new(Self { keys: [0; WAYS], empty_at: [0; WAYS] })
    }

    fn empty_at(&self, key: Key) -> u64 {
        self.keys.iter().position(|own| *own == key.0).map_or(0, |way| self.empty_at[way])
    }

    fn put(&mut self, key: Key, empty_at: u64) {
        let own = self.keys.iter().position(|own| *own == key.0);
        let emptiest = || (0..WAYS).min_by_key(|way| self.empty_at[*way]).unwrap_or_default();
        let way = own.unwrap_or_else(emptiest);
        self.keys[way] = key.0;
        self.empty_at[way] = empty_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: fn(u32) -> Rate = |burst| Rate::new(burst, Duration::from_secs(3600), burst);

    #[test]
    fn keys_have_buckets_of_their_own() {
        let (buckets, rate) = (Buckets::new(), RATE(2));
        let (one, other) = (buckets.key("one"), buckets.key("other"));
        assert!(buckets.take(one, &rate, 0).is_ok() && buckets.take(one, &rate, 0).is_ok());
        assert!(buckets.check(one, &rate, 0).is_err() && buckets.take(one, &rate, 0).is_err());
        assert!(buckets.check(other, &rate, 0).is_ok() && buckets.take(other, &rate, 0).is_ok());
    }

    #[test]
    fn a_check_takes_nothing() {
        let (buckets, rate) = (Buckets::new(), RATE(1));
        let key = buckets.key("key");
        for _ in 0..5 {
            assert!(buckets.check(key, &rate, 0).is_ok());
        }
        assert!(buckets.take(key, &rate, 0).is_ok());
        assert!(buckets.check(key, &rate, 0).is_err());
    }

    #[test]
    fn a_bucket_is_raised_and_never_lowered() {
        let (buckets, rate) = (Buckets::new(), RATE(2));
        let key = buckets.key("key");
        let full = 3600 * 1_000_000_000;
        buckets.raise(key, full);
        assert!(buckets.check(key, &rate, 0).is_err());
        buckets.raise(key, 1);
        assert!(buckets.check(key, &rate, 0).is_err());
    }

    #[test]
    fn who_has_used_much_is_not_forgotten_for_those_who_used_little() {
        let (buckets, rate) = (Buckets::new(), RATE(10));
        let much = buckets.key("much");
        while buckets.take(much, &rate, 0).is_ok() {}
        for other in 0..1_000_000 {
            assert!(buckets.take(buckets.key(other), &rate, 0).is_ok());
        }
        assert!(buckets.check(much, &rate, 0).is_err());
    }
}
