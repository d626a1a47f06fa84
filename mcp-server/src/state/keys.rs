//! Secret keys that all replicas share. A key is rotated with overlap: the file `session` makes, and `session.previous` and
//! `session.next` beside it verify too. The files are read again when they change.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::{hmac, rand};
use sha2::{Digest as _, Sha256};

use super::State;

/// Shorter keys are refused.
const KEY_BYTES: usize = 32;
/// Keys of an overlap: they verify and make nothing.
const OTHERS: [&str; 2] = ["session.previous", "session.next"];
/// How often the files are looked at.
const WATCH: Duration = Duration::from_secs(5);

/// Makes digests that only the replicas of one server can make.
pub struct SessionKey(ArcSwap<Ring>);

struct Ring {
    makes: hmac::Key,
    /// Of these only digests that were made before are known again.
    verify: [Option<hmac::Key>; OTHERS.len()],
    /// The files' bytes, to see whether they have changed.
    read: Files,
}

/// The bytes of `session`, and of each of [`OTHERS`].
type Files = (Vec<u8>, [Option<Vec<u8>>; OTHERS.len()]);

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionKey(redacted)")
    }
}

impl SessionKey {
    /// Reads the file `session` of that directory, and those that verify.
    pub(crate) async fn read(dir: &Path) -> Result<Self, String> {
        Ok(Self(ArcSwap::from_pointee(Ring::read(dir.to_owned()).await?)))
    }

    /// A key that lives with the process.
    pub(crate) fn random() -> Self {
        Self(ArcSwap::from_pointee(Ring::of((random_bytes::<KEY_BYTES>().to_vec(), [None, None]))))
    }

    /// The digest of those parts, each with its length: no two lists of parts have the same bytes.
    pub fn digest(&self, parts: &[&str]) -> [u8; 32] {
        digest(&self.0.load().makes, parts)
    }

    /// The digests that the same parts have by the other keys of the overlap; most often there are none.
    pub fn other_digests(&self, parts: &[&str]) -> [Option<[u8; 32]>; 2] {
        self.0.load().verify.each_ref().map(|key| key.as_ref().map(|key| digest(key, parts)))
    }

    async fn look_at(&self, dir: PathBuf) {
        match Ring::read(dir).await {
            Ok(ring) if ring.read == self.0.load().read => {}
            Ok(ring) => {
                tracing::info!(verifying = ring.verify.iter().flatten().count(), "the session keys have changed");
                self.0.store(ring.into());
            }
            Err(error) => tracing::warn!(%error, "the session keys stay as they are"),
        }
    }
}

/// Follows the files for as long as the state is in use.
pub(super) async fn watch(state: Weak<State>, dir: PathBuf) {
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(state) = state.upgrade() else { return };
        state.session_key.look_at(dir.clone()).await;
    }
}

impl Ring {
    /// A file system may hang; the workers must not.
    async fn read(dir: PathBuf) -> Result<Self, String> {
        let read = tokio::task::spawn_blocking(move || files(&dir)).await;
        read.map_err(|error| error.to_string())?.map(Self::of)
    }

    fn of(read: Files) -> Self {
        let key = |bytes: &Vec<u8>| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { makes: key(&read.0), verify: read.1.each_ref().map(|bytes| bytes.as_ref().map(key)), read }
    }
}

fn files(dir: &Path) -> Result<Files, String> {
    let mut others = [const { None }; OTHERS.len()];
    for (other, name) in others.iter_mut().zip(OTHERS) {
        let path = dir.join(name);
        if path.exists() {
            *other = Some(file(&path)?);
        }
    }
    Ok((file(&dir.join("session"))?, others))
}

fn file(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if bytes.len() < KEY_BYTES {
        return Err(format!("{} has {} bytes, fewer than {KEY_BYTES}", path.display(), bytes.len()));
    }
    Ok(bytes)
}

fn digest(key: &hmac::Key, parts: &[&str]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

/// The keys of the files `request-state` and, while a change is under way, `request-state.previous`. Where there is no such
/// file, one that lives with the process.
pub(super) async fn request_state(dir: &Path) -> Result<Vec<[u8; 32]>, String> {
    let mut keys = Vec::new();
    for name in ["request-state", "request-state.previous"] {
        let path = dir.join(name);
        match tokio::fs::read(&path).await {
            Ok(bytes) if bytes.len() < KEY_BYTES => {
                return Err(format!("{} has {} bytes, fewer than {KEY_BYTES}", path.display(), bytes.len()));
            }
            Ok(bytes) => keys.push(Sha256::digest(&bytes).into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        }
    }
    if keys.is_empty() {
        tracing::warn!(
            "no file request-state in keys.dir: what a client brings back for a second round opens at this replica only"
        );
        keys.push(random_bytes());
    }
    Ok(keys)
}

/// Seals what replicas tell each other: the first key seals, all open.
pub(crate) struct PeerKey(Vec<hmac::Key>);

impl PeerKey {
    /// Reads the files `peer` and, while a change is under way, `peer.previous` of that directory; `None` where there is no
    /// `peer`.
    pub(crate) async fn read(dir: &Path) -> Result<Option<Self>, String> {
        let mut keys = Vec::new();
        for path in [dir.join("peer"), dir.join("peer.previous")] {
            match tokio::fs::try_exists(&path).await {
                Ok(false) if keys.is_empty() => return Ok(None),
                Ok(false) => {}
                Ok(true) | Err(_) => keys.push(read(&path).await?),
            }
        }
        Ok(Some(Self(keys)))
    }

    #[cfg(test)]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(vec![hmac::Key::new(hmac::HMAC_SHA256, bytes)])
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(hmac::sign(&self.0[0], bytes).as_ref());
        out
    }

    /// In constant time for each key.
    pub(crate) fn signed(&self, bytes: &[u8], seal: &[u8]) -> bool {
        self.0.iter().any(|key| hmac::verify(key, bytes, seal).is_ok())
    }
}

async fn read(path: &Path) -> Result<hmac::Key, String> {
    let bytes = tokio::fs::read(path).await.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    if bytes.len() < KEY_BYTES {
        return Err(format!("{} has {} bytes, fewer than {KEY_BYTES}", path.display(), bytes.len()));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Random bytes fit for secrets.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source answers, else nothing here is safe");
    bytes
}

#[cfg(test)]
mod tests {
    use super::{PeerKey, SessionKey};

    #[test]
    fn parts_do_not_run_into_each_other() {
        let key = SessionKey::random();
        assert_ne!(key.digest(&["ab", "c"]), key.digest(&["a", "bc"]));
        assert_ne!(key.digest(&["a"]), key.digest(&["a", ""]));
        assert_eq!(key.digest(&["a", "b"]), key.digest(&["a", "b"]));
    }

    #[test]
    fn another_key_makes_another_digest() {
        assert_ne!(SessionKey::random().digest(&["a"]), SessionKey::random().digest(&["a"]));
    }

    #[tokio::test]
    async fn a_rotated_key_makes_and_the_one_before_still_verifies() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, byte: u8| std::fs::write(dir.path().join(name), [byte; 32]).expect("written");
        write("session", 1);
        let key = SessionKey::read(dir.path()).await.expect("read");
        let before = key.digest(&["a"]);
        assert_eq!(key.other_digests(&["a"]), [None, None]);

        write("session.previous", 1);
        write("session", 2);
        key.look_at(dir.path().to_owned()).await;
        assert_ne!(key.digest(&["a"]), before);
        assert_eq!(key.other_digests(&["a"]), [Some(before), None]);

        // A file that is half written changes nothing.
        std::fs::write(dir.path().join("session"), [3; 5]).expect("written");
        key.look_at(dir.path().to_owned()).await;
        assert_eq!(key.other_digests(&["a"]), [Some(before), None]);
    }

    #[tokio::test]
    async fn a_short_key_is_refused_by_name_and_length() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("session"), [7; 31]).expect("written");
        let error = SessionKey::read(dir.path()).await.expect_err("too short");
        assert!(error.contains("session has 31 bytes, fewer than 32"), "{error}");
    }

    #[tokio::test]
    async fn a_peer_key_may_be_absent_and_must_not_be_short() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(PeerKey::read(dir.path()).await.expect("absent").is_none());
        std::fs::write(dir.path().join("peer"), [7; 31]).expect("written");
        assert!(PeerKey::read(dir.path()).await.is_err());
        std::fs::write(dir.path().join("peer"), [7; 32]).expect("written");
        let key = PeerKey::read(dir.path()).await.expect("read").expect("there");
        assert!(key.signed(b"a", &key.sign(b"a")) && !key.signed(b"b", &key.sign(b"a")));
        // While it is changed, both open.
        std::fs::rename(dir.path().join("peer"), dir.path().join("peer.previous")).expect("renamed");
        std::fs::write(dir.path().join("peer"), [8; 32]).expect("written");
        let newer = PeerKey::read(dir.path()).await.expect("read").expect("there");
        assert!(newer.signed(b"a", &key.sign(b"a")) && !key.signed(b"a", &newer.sign(b"a")));
    }
}
