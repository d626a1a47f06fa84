//! The sessions that this process holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Owner;
use super::seats::Seat;

/// A session without a stream may give way to another after so many seconds without a request, where any replica can
/// restore it.
const EVICT_AFTER: u64 = 60;

/// What a session holds. It is told when the session is over here.
pub(crate) trait Content: Send + Sync + 'static {
    /// The session has left the table. Must not block: what takes time is spawned.
    fn ended(&self, id: &Arc<str>);
}

/// One session.
pub(crate) struct Entry<T> {
    pub(crate) id: Arc<str>,
    pub(crate) owner: Owner,
    /// By the clock of [`super::now`], as all times here.
    created: u64,
    pub(crate) content: T,
    /// What redis has of it, to write it again should redis lose it.
    pub(crate) record: OnceLock<String>,
    /// Among the sessions of its principal.
    pub(super) seat: Seat,
    last_used: AtomicU64,
    last_touched: AtomicU64,
    streams: AtomicUsize,
}

impl<T> Entry<T> {
    pub(crate) fn new(id: Arc<str>, owner: Owner, created: u64, now: u64, content: T) -> Self {
        Self {
            id,
            owner,
            created,
            content,
            record: OnceLock::new(),
            seat: Seat::default(),
            last_used: AtomicU64::new(now),
            last_touched: AtomicU64::new(now),
            streams: AtomicUsize::new(0),
        }
    }

    /// In seconds.
    pub(super) fn age(&self, now: u64) -> u64 {
        now.saturating_sub(self.created)
    }

    pub(super) fn seated(self, seat: Seat) -> Self {
        Self { seat: seat.taken(), ..self }
    }

    pub(crate) fn used(&self, now: u64) {
        self.last_used.fetch_max(now, Ordering::Relaxed);
    }

    /// While the guard lives, the session is in use.
    pub(crate) fn streaming(self: &Arc<Self>) -> Streaming<T> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Streaming(Arc::clone(self))
    }

    /// Whether redis was told of it longer ago than that. Then it counts as told.
    pub(super) fn touch_is_due(&self, now: u64, pause: u64) -> bool {
        let last = self.last_touched.load(Ordering::Relaxed);
        now.saturating_sub(last) > pause
            && self.last_touched.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Relaxed) > 0
    }

    fn idle_seconds(&self, now: u64) -> u64 {
        now.saturating_sub(self.last_used.load(Ordering::Relaxed))
    }
}

/// An open stream of a session.
pub(crate) struct Streaming<T>(Arc<Entry<T>>);

impl<T> Drop for Streaming<T> {
    fn drop(&mut self) {
        self.0.used(super::now());
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No room for another session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// The sessions that this process holds, and their limits in seconds and in number.
pub(super) struct Table<T> {
    entries: Mutex<HashMap<Arc<str>, Arc<Entry<T>>>>,
    max: usize,
    idle: u64,
    max_age: u64,
    /// Any replica restores a session: idle ones may give way.
    restorable: bool,
}

impl<T: Content> Table<T> {
    pub(super) fn new(max: usize, idle: u64, max_age: u64, restorable: bool) -> Self {
        Self { entries: Mutex::default(), max, idle, max_age, restorable }
    }

    /// Seconds without a request after which a session ends.
    pub(super) fn idle(&self) -> u64 {
        self.idle
    }

    /// The session, unless its time is over.
    pub(super) fn get(&self, id: &str, now: u64) -> Option<Arc<Entry<T>>> {
        let entry = self.lock().get(id).cloned()?;
        if self.is_over(&entry, now) {
            self.remove(id);
            return None;
        }
        Some(entry)
    }

    pub(super) fn insert(&self, entry: Entry<T>, now: u64) -> Result<Arc<Entry<T>>, Full> {
        let entry = Arc::new(entry);
        let evicted = {
            let mut entries = self.lock();
            let evicted =
                if entries.len() < self.max { None } else { Some(self.evict(&mut entries, now).ok_or(Full)?) };
            entries.insert(Arc::clone(&entry.id), Arc::clone(&entry));
            evicted
        };
        if let Some(evicted) = evicted {
            evicted.content.ended(&evicted.id);
        }
        Ok(entry)
    }

    /// Whether `insert` would succeed.
    pub(super) fn has_room(&self, now: u64) -> bool {
        let entries = self.lock();
        entries.len() < self.max || entries.values().any(|entry| self.may_give_way(entry, now))
    }

    pub(super) fn remove(&self, id: &str) -> Option<Arc<Entry<T>>> {
        let entry = self.lock().remove(id)?;
        entry.content.ended(&entry.id);
        Some(entry)
    }

    /// Ends what is over, and returns the rest that has open streams.
    pub(super) fn sweep(&self, now: u64) -> Vec<Arc<Entry<T>>> {
        let (mut over, mut streaming) = (Vec::new(), Vec::new());
        self.lock().retain(|_, entry| {
            let ends = self.is_over(entry, now);
            if ends {
                over.push(Arc::clone(entry));
            } else if entry.has_streams() {
                streaming.push(Arc::clone(entry));
            }
            !ends
        });
        for entry in over {
            entry.content.ended(&entry.id);
        }
        streaming
    }

    pub(super) fn all(&self) -> Vec<Arc<Entry<T>>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn is_over(&self, entry: &Entry<T>, now: u64) -> bool {
        let too_old = entry.age(now) >= self.max_age;
        too_old || (!entry.has_streams() && entry.idle_seconds(now) >= self.idle)
    }

    fn may_give_way(&self, entry: &Entry<T>, now: u64) -> bool {
        self.restorable && !entry.has_streams() && entry.idle_seconds(now) >= EVICT_AFTER
    }

    /// Takes the session out that was used least recently, if one may go.
    fn evict(&self, entries: &mut HashMap<Arc<str>, Arc<Entry<T>>>, now: u64) -> Option<Arc<Entry<T>>> {
        let id = entries
            .values()
            .filter(|entry| self.may_give_way(entry, now))
            .max_by_key(|entry| entry.idle_seconds(now))
            .map(|entry| Arc::clone(&entry.id))?;
        entries.remove(&id)
    }

    /// No code under the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Entry<T>>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Caller;
    use crate::state::SessionKey;

    #[derive(Default, Clone)]
    struct Log(Arc<Mutex<Vec<String>>>);

    impl Content for Log {
        fn ended(&self, id: &Arc<str>) {
            self.0.lock().expect("no panic").push(id.to_string());
        }
    }

    fn entry(id: &str, now: u64, log: &Log) -> Entry<Log> {
        let owner = Owner::of(&Caller::Anonymous, &SessionKey::random());
        Entry::new(id.into(), owner, now, now, log.clone())
    }

    #[test]
    fn an_idle_session_ends_and_one_with_a_stream_does_not() {
        let (log, table) = (Log::default(), Table::new(9, 10, 100, false));
        let busy = table.insert(entry("busy", 0, &log), 0).expect("room");
        table.insert(entry("idle", 0, &log), 0).expect("room");
        let stream = busy.streaming();
        assert!(table.get("idle", 9).is_some());
        assert_eq!(table.sweep(10).len(), 1);
        assert!(table.get("idle", 10).is_none() && table.get("busy", 10).is_some());
        assert_eq!(*log.0.lock().expect("no panic"), ["idle"]);
        drop(stream);
    }

    #[test]
    fn a_session_ends_with_its_age_even_when_it_is_used() {
        let (log, table) = (Log::default(), Table::new(9, 10, 100, false));
        let busy = table.insert(entry("busy", 0, &log), 0).expect("room");
        let _stream = busy.streaming();
        busy.used(99);
        assert!(table.get("busy", 99).is_some());
        assert!(table.get("busy", 100).is_none());
    }

    #[test]
    fn at_the_cap_nobody_gives_way_unless_sessions_can_be_restored() {
        for (restorable, admitted) in [(false, false), (true, true)] {
            let (log, table) = (Log::default(), Table::new(1, 1000, 1000, restorable));
            table.insert(entry("old", 0, &log), 0).expect("room");
            assert!(!table.has_room(EVICT_AFTER - 1));
            assert_eq!(table.has_room(EVICT_AFTER), admitted);
            assert_eq!(table.insert(entry("new", EVICT_AFTER, &log), EVICT_AFTER).is_ok(), admitted);
            assert_eq!(table.len(), 1);
        }
    }
}
