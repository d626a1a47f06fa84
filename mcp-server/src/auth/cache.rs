//! Remembers verified tokens, so that the second request with a token costs one hash instead of one signature check.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sha2::{Digest as _, Sha256};

use super::principal::Principal;

/// Tokens remembered at most, about half a kilobyte each.
const CAPACITY: u64 = 10_000;

/// Names a token without being one.
pub(super) type TokenDigest = [u8; 32];

/// Verified tokens by their digest.
pub(super) struct TokenCache {
    tokens: Cache<TokenDigest, Entry>,
    seconds: u64,
}

#[derive(Clone)]
struct Entry {
    principal: Arc<Principal>,
    /// In seconds since 1970.
    until: u64,
}

impl TokenCache {
    pub(super) fn new(seconds: u32) -> Self {
        // The library's own clock only frees memory; whether an entry counts is decided by ours.
        let tokens = Cache::builder()
            .max_capacity(if seconds == 0 { 0 } else { CAPACITY })
            .time_to_live(Duration::from_secs(seconds.max(1).into()))
            .build();
        Self { tokens, seconds: seconds.into() }
    }

    pub(super) async fn get(&self, token: &TokenDigest, now: u64) -> Option<Arc<Principal>> {
        let entry = self.tokens.get(token).await?;
        (now < entry.until).then_some(entry.principal)
    }

    /// Remembers a token for as long as it lives and the configuration allows, whichever is shorter.
    pub(super) async fn put(&self, token: TokenDigest, principal: Arc<Principal>, now: u64) {
        let until = principal.expires_at.min(now.saturating_add(self.seconds));
        if until > now {
            self.tokens.insert(token, Entry { principal, until }).await;
        }
    }
}

/// The digest of a token that was presented at an origin. The origin belongs to it because an audience may be accepted
/// only there.
pub(super) fn digest(token: &str, origin: &str) -> TokenDigest {
    let mut hash = Sha256::new();
    hash.update(token);
    // No token has this byte, so that the two parts cannot be shifted.
    hash.update([0]);
    hash.update(origin);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(expires_at: u64) -> Arc<Principal> {
        Arc::new(Principal {
            issuer: "i".into(),
            subject: "s".into(),
            client_id: None,
            scopes: Arc::new([]),
            expires_at,
        })
    }

    #[tokio::test]
    async fn an_entry_lives_no_longer_than_its_token_nor_than_configured() {
        let cache = TokenCache::new(300);
        let (short, long) = (digest("short", "o"), digest("long", "o"));
        cache.put(short, principal(1010), 1000).await;
        cache.put(long, principal(9000), 1000).await;
        assert!(cache.get(&short, 1009).await.is_some());
        assert!(cache.get(&short, 1010).await.is_none());
        assert!(cache.get(&long, 1299).await.is_some());
        assert!(cache.get(&long, 1300).await.is_none());
    }

    #[tokio::test]
    async fn zero_seconds_remember_nothing() {
        let cache = TokenCache::new(0);
        let token = digest("t", "o");
        cache.put(token, principal(9000), 1000).await;
        assert!(cache.get(&token, 1000).await.is_none());
    }

    #[test]
    fn token_and_origin_cannot_be_shifted_into_each_other() {
        assert_ne!(digest("ab", "c"), digest("a", "bc"));
    }
}
