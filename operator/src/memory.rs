//! What the process remembers of each server between two reconciles and may forget at any time: a restart loses it and
//! nothing goes wrong.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mcp_crds::McpServerStatus;
use rand::Rng;

use crate::cache::{Key, Shared, is_older};
use crate::kind::Kind;
use crate::resolve::environment::Part;

/// How long repairs are counted.
pub const CONTEST_WINDOW: Duration = Duration::from_secs(600);
/// How many repairs of one object in that time are too many.
pub const CONTEST_LIMIT: usize = 3;

const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(300);

/// Memories of all servers.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<Key, Remembered>>);

/// Memory of one server.
#[derive(Debug, Default)]
pub struct Remembered {
    /// Failures in a row.
    failures: u32,
    /// The status that we wrote last: the watch may not have shown it yet.
    pub written: Option<Written>,
    /// The status that we sent last, whether its answer has come or not: the watch shows it, and that is no news.
    pub sent: Option<Arc<McpServerStatus>>,
    /// Since when another status than the written one has been due.
    pub due: Option<tokio::time::Instant>,
    /// Field sets that are as good as ours get, see [`Memory::settled`].
    settled: Vec<(Kind, Shared, u64)>,
    repairs: BTreeMap<(Kind, String, String), Vec<Instant>>,
    environment: HashMap<(Kind, String), (String, Part)>,
    digest_key: Option<DigestKey>,
    /// The authorities of a certificate, and the version that they were read in.
    authorities: Option<(String, Arc<str>)>,
}

/// A generated key of the server, from that version of its Secret.
struct DigestKey {
    version: String,
    key: Vec<u8>,
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DigestKey(of {}, redacted)", self.version)
    }
}

/// A status, and the version of the object that has it.
#[derive(Clone, Debug)]
pub struct Written {
    /// `metadata.resourceVersion` after the write.
    pub resource_version: String,
    /// What was written.
    pub status: Arc<McpServerStatus>,
}

impl Memory {
    /// Looks at, or changes, the memory of one server.
    pub fn with<R>(&self, server: &Key, change: impl FnOnce(&mut Remembered) -> R) -> R {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(server) {
            Some(remembered) => change(remembered),
            None => change(all.entry(server.clone()).or_default()),
        }
    }

    /// Forgets a server.
    pub fn forget(&self, server: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(server);
    }
}

impl Remembered {
    /// Whether the status that a watch shows is what we sent last. When it is what we wrote, and no older, the cache has
    /// it: nothing of it is kept here.
    pub fn hears(&mut self, said: &McpServerStatus, version: &str) -> bool {
        let echo = self.sent.as_deref() == Some(said);
        let written = self.written.as_ref().map(|written| &written.resource_version);
        if echo && written.is_some_and(|written| !is_older(version, written)) {
            (self.sent, self.written) = (None, None);
        }
        echo
    }

    /// The last reconcile went well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The last reconcile failed: how long to wait. Doubles, with jitter, so that many servers that failed together do
    /// not return together.
    pub fn failed(&mut self) -> Duration {
        let delay = BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_LAST);
        self.failures = self.failures.saturating_add(1);
        delay.mul_f64(rand::rng().random_range(0.75..1.25))
    }

    /// The answer to our own write had this field set: the API server keeps no more of it than that, and asking again
    /// would not change it.
    pub fn settle(&mut self, kind: Kind, name: &str, fingerprint: u64) {
        match self.settled.iter_mut().find(|(of, named, _)| *of == kind && *named == *name) {
            Some((_, _, settled)) => *settled = fingerprint,
            None => self.settled.push((kind, name.into(), fingerprint)),
        }
    }

    /// Whether a field set is the one that our last write left.
    #[must_use]
    pub fn is_settled(&self, kind: Kind, name: &str, fingerprint: u64) -> bool {
        self.settled.iter().any(|(of, named, settled)| *of == kind && *named == *name && *settled == fingerprint)
    }

    /// The digest of an object in that version, if it was read before.
    #[must_use]
    pub fn environment(&self, kind: Kind, name: &str, version: &str) -> Option<Part> {
        let known = self.environment.get(&(kind, name.to_owned()));
        known.filter(|(known, _)| known == version).map(|(_, part)| *part)
    }

    /// See [`Remembered::environment`].
    pub fn remember_environment(&mut self, kind: Kind, name: &str, version: String, part: Part) {
        self.environment.insert((kind, name.to_owned()), (version, part));
    }

    /// The key of digests, if it was read before.
    #[must_use]
    pub fn digest_key(&self, version: &str) -> Option<Vec<u8>> {
        self.digest_key.as_ref().filter(|known| known.version == version).map(|known| known.key.clone())
    }

    /// See [`Remembered::digest_key`].
    pub fn remember_digest_key(&mut self, version: &str, key: Vec<u8>) {
        self.digest_key = Some(DigestKey { version: version.to_owned(), key });
    }

    /// The certificate authorities, if they were read in that version.
    #[must_use]
    pub fn authorities(&self, version: &str) -> Option<Arc<str>> {
        self.authorities.as_ref().filter(|(known, _)| known == version).map(|(_, bundle)| Arc::clone(bundle))
    }

    /// See [`Remembered::authorities`].
    pub fn remember_authorities(&mut self, version: String, bundle: Arc<str>) {
        self.authorities = Some((version, bundle));
    }

    /// Counts a repair; returns how many there were lately, this one included.
    pub fn repaired(&mut self, kind: Kind, name: &str, path: &str, now: Instant) -> usize {
        let times = self.repairs.entry((kind, name.to_owned(), path.to_owned())).or_default();
        times.push(now);
        times.retain(|time| now.duration_since(*time) < CONTEST_WINDOW);
        times.len()
    }

    /// How often this was repaired lately.
    #[must_use]
    pub fn repairs(&self, kind: Kind, name: &str, path: &str, now: Instant) -> usize {
        let times = self.repairs.get(&(kind, name.to_owned(), path.to_owned()));
        times.map_or(0, |times| times.iter().filter(|time| now.duration_since(**time) < CONTEST_WINDOW).count())
    }

    /// A field that was repaired too often lately.
    pub fn contested(&mut self, now: Instant) -> Option<(Kind, String, String, usize)> {
        self.repairs.retain(|_, times| {
            times.retain(|time| now.duration_since(*time) < CONTEST_WINDOW);
            !times.is_empty()
        });
        let (key, times) = self.repairs.iter().find(|(_, times)| times.len() >= CONTEST_LIMIT)?;
        Some((key.0, key.1.clone(), key.2.clone(), times.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_watch_has_shown_is_not_kept() {
        let status = |replicas| Arc::new(McpServerStatus { replicas, ..McpServerStatus::default() });
        let written = Written { resource_version: "7".to_owned(), status: status(2) };
        let mut server = Remembered { sent: Some(status(2)), ..Remembered::default() };
        assert!(server.hears(&status(2), "7"), "quicker than the answer");
        server.written = Some(written);
        assert!(!server.hears(&status(1), "6"), "of before");
        assert!(server.hears(&status(2), "5"), "it said the same once");
        assert!(server.written.is_some() && server.sent.is_some(), "what was written is still to come");
        assert!(server.hears(&status(2), "7"));
        assert!(server.written.is_none() && server.sent.is_none());
    }

    #[test]
    fn the_backoff_doubles_to_five_minutes_and_starts_anew_after_success() {
        let mut server = Remembered::default();
        let delays: Vec<_> = (0..12).map(|_| server.failed().as_secs_f64()).collect();
        let around = |delay: f64, expected: f64| (expected * 0.75..=expected * 1.25).contains(&delay);
        assert!(around(delays[0], 1.0) && around(delays[3], 8.0) && around(delays[11], 300.0), "{delays:?}");
        server.succeeded();
        assert!(around(server.failed().as_secs_f64(), 1.0));
    }

    #[test]
    fn the_third_repair_in_ten_minutes_is_a_contest() {
        let (mut server, start) = (Remembered::default(), Instant::now());
        let repair = |server: &mut Remembered, seconds| {
            server.repaired(Kind::Deployment, "demo", ".spec.replicas", start + Duration::from_secs(seconds))
        };
        repair(&mut server, 0);
        repair(&mut server, 60);
        assert_eq!(server.contested(start + Duration::from_secs(60)), None);
        repair(&mut server, 120);
        assert!(server.contested(start + Duration::from_secs(120)).is_some());
        assert_eq!(server.contested(start + Duration::from_secs(601)), None, "the first is long ago");
    }
}
