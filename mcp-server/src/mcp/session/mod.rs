//! Sessions of the 2025 protocol revisions. A session belongs to the principal that opened it: for everybody else it does
//! not exist. The id alone opens nothing.
//!
//! ```text
//! Gate   admits, finds, ends   ── Owner (whose), Table (here, in memory), Records (in redis, for every replica)
//!                              └─ Seats (how many a principal has)
//! ```
//!
//! While redis is away a replica goes on serving the sessions that it holds, and answers 503 where it would have to ask:
//! for sessions that it does not hold, and for new ones, which no other replica could take over.

mod capacity;
mod gate;
mod owner;
mod records;
mod seats;
mod table;

pub(crate) use gate::{Beginning, Found, Gate, Refusal};
pub(crate) use owner::Owner;
pub(crate) use records::Record;
pub(crate) use table::{Content, Entry, Streaming};

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::state::random_bytes;

/// The header that names a session.
pub(crate) const HEADER: &str = "mcp-session-id";

/// An id: 32 random bytes in base64url.
pub(crate) fn new_id() -> Arc<str> {
    URL_SAFE_NO_PAD.encode(random_bytes::<32>()).into()
}

/// It looks like an id of ours. Nothing else is looked up anywhere.
fn is_id(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Seconds of a clock that nobody sets, from an arbitrary moment before every session: a clock that is put right must not end
/// any.
pub(crate) fn now() -> u64 {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    const BEFORE: u64 = 1 << 32;
    BEFORE + STARTED.elapsed().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_ids_and_differ() {
        assert!(is_id(&new_id()));
        assert_ne!(new_id(), new_id());
        for text in ["", "0", &"a".repeat(44), &"é".repeat(21), &format!("{}*", "a".repeat(42))] {
            assert!(!is_id(text), "{text}");
        }
    }
}
