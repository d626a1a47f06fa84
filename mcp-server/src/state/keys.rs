//! Secret keys that all replicas share, each a file of `keys.dir`. A key is changed with overlap: the file `session` makes, and
//! `session.previous` and `session.next` beside it verify too; so it is with `request-state` and `peer`. The files are read
//! again when they change. The keys of [`rotating`] also remember for a while what they were before.

pub(super) mod rotating;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::{hmac, rand};

use super::State;

/// Shorter keys are refused.
const KEY_BYTES: usize = 32;
/// Ends of the names of keys of an overlap: they verify and make nothing.
const OTHERS: [&str; 2] = ["previous", "next"];
/// How often the files are looked at.
const WATCH: Duration = Duration::from_secs(5);

/// Makes digests that only the replicas of one server can make.
pub struct SessionKey(ArcSwap<Ring>);

struct Ring {
    makes: hmac::Key,
    /// Of these only digests that were made before are known again.
    verify: [Option<hmac::Key>; OTHERS.len()],
    /// To see whether they have changed.
    read: Files,
}

/// What the files of one key hold.
#[derive(Clone, Default, PartialEq, Eq)]
struct Files {
    makes: Vec<u8>,
    others: [Option<Vec<u8>>; OTHERS.len()],
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionKey(redacted)")
    }
}

impl SessionKey {
    /// Reads the file `session` of that directory, and those that verify.
    pub(crate) async fn read(dir: &Path) -> Result<Self, String> {
        Ok(Self(ArcSwap::from_pointee(Ring::read(dir).await?)))
    }

    /// A key that lives with the process.
    pub(crate) fn random() -> Self {
        Self(ArcSwap::from_pointee(Ring::of(Files::random())))
    }

    /// The digest of those parts, each with its length: no two lists of parts have the same bytes.
    pub fn digest(&self, parts: &[&str]) -> [u8; 32] {
        digest(&self.0.load().makes, parts)
    }

    /// The digests that the same parts have by the other keys of the overlap; most often there are none.
    pub fn other_digests(&self, parts: &[&str]) -> [Option<[u8; 32]>; 2] {
        self.0.load().verify.each_ref().map(|key| key.as_ref().map(|key| digest(key, parts)))
    }

    async fn look_at(&self, dir: &Path) {
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
        state.session_key.look_at(&dir).await;
        state.request_state_keys.look_at(&dir).await;
        if let Some(peers) = &state.peers {
            peers.key().look_at(&dir).await;
        }
    }
}

impl Ring {
    async fn read(dir: &Path) -> Result<Self, String> {
        let files = Files::read(dir, "session").await?;
        let missing = || format!("{} does not exist", dir.join("session").display());
        files.map(Self::of).ok_or_else(missing)
    }

    fn of(read: Files) -> Self {
        let key = |bytes: &Vec<u8>| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        Self { makes: key(&read.makes), verify: read.others.each_ref().map(|bytes| bytes.as_ref().map(key)), read }
    }
}

impl Files {
    /// A key that lives with the process.
    fn random() -> Self {
        Self { makes: random_bytes::<KEY_BYTES>().to_vec(), others: [None, None] }
    }

    /// `None` where there is no such key.
    async fn read(dir: &Path, name: &'static str) -> Result<Option<Self>, String> {
        let dir = dir.to_owned();
        // A file system may hang; the workers must not.
        let read = tokio::task::spawn_blocking(move || {
            let Some(makes) = file(&dir.join(name))? else { return Ok(None) };
            let mut others = [const { None }; OTHERS.len()];
            for (other, end) in others.iter_mut().zip(OTHERS) {
                *other = file(&dir.join(format!("{name}.{end}")))?;
            }
            Ok(Some(Self { makes, others }))
        });
        read.await.map_err(|error| error.to_string())?
    }
}

fn file(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() < KEY_BYTES => {
            Err(format!("{} has {} bytes, fewer than {KEY_BYTES}", path.display(), bytes.len()))
        }
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
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
    async fn a_rotated_key_makes_and_the_one_before_still_verifies() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, byte: u8| std::fs::write(dir.path().join(name), [byte; 32]).expect("written");
        write("session", 1);
        let key = SessionKey::read(dir.path()).await.expect("read");
        let before = key.digest(&["a"]);
        assert_eq!(key.other_digests(&["a"]), [None, None]);

        write("session.previous", 1);
        write("session", 2);
        key.look_at(dir.path()).await;
        assert_ne!(key.digest(&["a"]), before);
        assert_eq!(key.other_digests(&["a"]), [Some(before), None]);

        // A file that is half written changes nothing.
        std::fs::write(dir.path().join("session"), [3; 5]).expect("written");
        key.look_at(dir.path()).await;
        assert_eq!(key.other_digests(&["a"]), [Some(before), None]);
    }

    #[tokio::test]
    async fn a_short_key_is_refused_by_name_and_length() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("session"), [7; 31]).expect("written");
        let error = SessionKey::read(dir.path()).await.expect_err("too short");
        assert!(error.contains("session has 31 bytes, fewer than 32"), "{error}");
    }
}
