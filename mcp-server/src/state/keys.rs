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
        let path = dir.join("session");
        let bytes =
            tokio::fs::read(&path).await.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if bytes.len() < KEY_BYTES {
            return Err(format!("{} has {} bytes, fewer than {KEY_BYTES}", path.display(), bytes.len()));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
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

/// Random bytes fit for secrets.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system's random source answers, else nothing here is safe");
    bytes
}

#[cfg(test)]
mod tests {
    use super::SessionKey;

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
}
