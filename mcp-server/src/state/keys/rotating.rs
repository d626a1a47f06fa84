//! Keys that seal what comes back soon: `request-state`, which goes by way of the client, and `peer`, between replicas. One that
//! was replaced opens for as long as something that it sealed may be under way, whether or not it is kept as a file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use aws_lc_rs::hmac;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Files;

/// A state lives for a quarter of an hour.
const STATE_OPENS_FOR: Duration = Duration::from_secs(16 * 60);
/// A forwarded request is fresh for half a minute. Other replicas may be told of a new key later than this one.
const PEER_OPENS_FOR: Duration = Duration::from_secs(5 * 60);

/// The keys of one purpose.
pub(crate) struct Rotating<K> {
    name: &'static str,
    make: fn(&[u8]) -> K,
    opens_for: Duration,
    ring: ArcSwap<Ring<K>>,
}

/// The keys of one moment.
pub(crate) struct Ring<K> {
    /// The first seals, all open.
    keys: Vec<K>,
    /// Those that were replaced, and until when they open.
    replaced: Vec<(K, Instant)>,
    read: Files,
    /// The bytes of `replaced`.
    before: Vec<(Vec<u8>, Instant)>,
}

/// Seals what replicas tell each other.
pub(crate) type PeerKey = Rotating<hmac::Key>;

/// Seal the `requestState` of 2026-07-28.
pub(crate) type StateKeys = Rotating<RandomizedNonceKey>;

impl<K> Rotating<K> {
    fn of(name: &'static str, make: fn(&[u8]) -> K, opens_for: Duration, files: Files) -> Self {
        let ring = Ring::of(files, Vec::new(), make);
        Self { name, make, opens_for, ring: ArcSwap::from_pointee(ring) }
    }

    /// Takes what has changed in the files.
    pub(super) async fn look_at(&self, dir: &Path) {
        match Files::read(dir, self.name).await {
            Ok(Some(files)) => {
                if self.take(files, Instant::now()) {
                    tracing::info!(key = self.name, "a key has changed");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, key = self.name, "the key stays as it is"),
        }
    }

    /// Returns whether anything has changed.
    fn take(&self, files: Files, now: Instant) -> bool {
        let ring = self.ring.load();
        if files == ring.read {
            return false;
        }
        let mut before: Vec<_> = ring.before.iter().filter(|(_, until)| now < *until).cloned().collect();
        if files.makes != ring.read.makes {
            before.push((ring.read.makes.clone(), now + self.opens_for));
        }
        self.ring.store(Arc::new(Ring::of(files, before, self.make)));
        true
    }

    /// The keys of now.
    pub(crate) fn now(&self) -> Guard<Arc<Ring<K>>> {
        self.ring.load()
    }
}

impl<K> Ring<K> {
    fn of(read: Files, before: Vec<(Vec<u8>, Instant)>, make: fn(&[u8]) -> K) -> Self {
        let all = std::iter::once(&read.makes).chain(read.others.iter().flatten());
        let keys = all.map(|bytes| make(bytes)).collect();
        let replaced = before.iter().map(|(bytes, until)| (make(bytes), *until)).collect();
        Self { keys, replaced, read, before }
    }

    /// The one that seals.
    pub(crate) fn seals(&self) -> &K {
        &self.keys[0]
    }

    /// All that open.
    pub(crate) fn open(&self) -> impl Iterator<Item = &K> {
        let now = Instant::now();
        self.keys.iter().chain(self.replaced.iter().filter(move |(_, until)| now < *until).map(|(key, _)| key))
    }
}

impl PeerKey {
    /// `None` where there is no file `peer`.
    pub(crate) async fn read(dir: &Path) -> Result<Option<Self>, String> {
        Ok(Files::read(dir, "peer").await?.map(Self::peer))
    }

    fn peer(files: Files) -> Self {
        Self::of("peer", |bytes| hmac::Key::new(hmac::HMAC_SHA256, bytes), PEER_OPENS_FOR, files)
    }

    #[cfg(test)]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self::peer(Files { makes: bytes.to_vec(), others: [None, None] })
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(self.now().seals(), bytes).as_ref());
        out
    }

    /// In constant time for each key.
    pub(crate) fn signed(&self, bytes: &[u8], seal: &[u8]) -> bool {
        self.now().open().any(|key| hmac::verify(key, bytes, seal).is_ok())
    }
}

impl StateKeys {
    /// Where there is no file `request-state`, one that lives with the process.
    pub(crate) async fn read(dir: &Path) -> Result<Self, String> {
        let files = Files::read(dir, "request-state").await?.unwrap_or_else(|| {
            tracing::warn!(
                "no file request-state in keys.dir: what a client brings back for a second round opens at this replica only"
            );
            Files::random()
        });
        Ok(Self::state(files))
    }

    /// One that lives with the process.
    pub(crate) fn random() -> Self {
        Self::state(Files::random())
    }

    fn state(files: Files) -> Self {
        let key = |bytes: &[u8]| {
            let digest = Sha256::digest(bytes);
            RandomizedNonceKey::new(&AES_256_GCM, &digest).expect("the key has the length of the algorithm")
        };
        Self::of("request-state", key, STATE_OPENS_FOR, files)
    }

    #[cfg(test)]
    pub(crate) fn of_bytes(bytes: &[u8], previous: Option<&[u8]>) -> Self {
        Self::state(Files { makes: bytes.to_vec(), others: [previous.map(<[u8]>::to_vec), None] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(makes: u8, previous: Option<u8>, next: Option<u8>) -> Files {
        let bytes = |byte: u8| vec![byte; 32];
        Files { makes: bytes(makes), others: [previous.map(bytes), next.map(bytes)] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_key_seals_at_once_and_the_one_before_it_opens_for_as_long_as_its_seals_count() {
        let key = PeerKey::peer(files(1, None, None));
        let (one, two) = (PeerKey::of_bytes(&[1; 32]), PeerKey::of_bytes(&[2; 32]));
        assert!(key.take(files(2, None, None), Instant::now()));
        assert!(two.signed(b"a", &key.sign(b"a")));
        assert!(key.signed(b"a", &one.sign(b"a")) && key.signed(b"a", &two.sign(b"a")));
        assert!(!key.signed(b"b", &one.sign(b"a")));
        tokio::time::advance(PEER_OPENS_FOR - Duration::from_secs(1)).await;
        assert!(key.signed(b"a", &one.sign(b"a")));
        // Another change puts nothing off.
        assert!(key.take(files(3, None, None), Instant::now()));
        assert!(key.signed(b"a", &one.sign(b"a")) && key.signed(b"a", &two.sign(b"a")));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!key.signed(b"a", &one.sign(b"a")) && key.signed(b"a", &two.sign(b"a")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_announced_or_kept_as_a_file_opens_for_as_long_as_the_file_is_there() {
        let key = PeerKey::peer(files(1, None, Some(2)));
        let (one, two) = (PeerKey::of_bytes(&[1; 32]), PeerKey::of_bytes(&[2; 32]));
        assert!(one.signed(b"a", &key.sign(b"a")) && key.signed(b"a", &two.sign(b"a")));
        assert!(key.take(files(2, Some(1), None), Instant::now()));
        assert!(!key.take(files(2, Some(1), None), Instant::now()), "nothing has changed");
        tokio::time::advance(PEER_OPENS_FOR * 2).await;
        assert!(key.signed(b"a", &one.sign(b"a")));
        assert!(key.take(files(2, None, None), Instant::now()));
        assert!(!key.signed(b"a", &one.sign(b"a")));
    }

    #[tokio::test]
    async fn files_are_read_again_and_one_that_is_wrong_changes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).expect("written");
        assert!(PeerKey::read(dir.path()).await.expect("absent").is_none());
        write("peer", &[7; 31]);
        let error = PeerKey::read(dir.path()).await.map(drop).expect_err("too short");
        assert!(error.contains("peer has 31 bytes, fewer than 32"), "{error}");
        write("peer", &[7; 32]);
        let key = PeerKey::read(dir.path()).await.expect("read").expect("there");
        let before = key.sign(b"a");
        write("peer", &[8; 5]);
        key.look_at(dir.path()).await;
        assert_eq!(key.sign(b"a"), before);
        write("peer", &[8; 32]);
        key.look_at(dir.path()).await;
        assert_ne!(key.sign(b"a"), before);
        assert!(key.signed(b"a", &before));
        std::fs::remove_file(dir.path().join("peer")).expect("removed");
        key.look_at(dir.path()).await;
        assert!(key.signed(b"a", &before), "what is gone changes nothing");
    }
}
