//! Secret keys that all replicas share.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use aws_lc_rs::{hmac, rand};
use sha2::{Digest as _, Sha256};

/// Shorter keys are refused.
const KEY_BYTES: usize = 32;

/// Makes digests that only the replicas of one server can make.
pub struct SessionKey(hmac::Key);

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionKey(redacted)")
    }
}

impl SessionKey {
    /// Reads the file `session` of that directory.
    pub(crate) async fn read(dir: &Path) -> Result<Self, String> {
        read(&dir.join("session")).await.map(Self)
    }

    /// A key that lives with the process.
    pub(crate) fn random() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random_bytes::<KEY_BYTES>()))
    }

    /// The digest of those parts, each with its length: no two lists of parts have the same bytes.
    pub fn digest(&self, parts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }
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
