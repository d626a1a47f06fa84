//! Remembers what came of tokens, so that the second request with a token costs one hash instead of one signature check,
//! or one question to the issuer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::Cache;

use super::principal::Principal;
use super::rejection::Reason;

/// Tokens remembered at most, about half a kilobyte each.
const CAPACITY: usize = 10_000;
/// Seconds for which a token that its issuer disowns is not asked about again.
const REFUSED_SECONDS: u64 = 10;

/// Names a token without being one.
pub(super) type TokenDigest = [u8; 32];

/// Tokens by their digest.
pub(super) struct TokenCache {
    good: Cache<TokenDigest, Entry<Arc<Principal>>>,
    refused: Cache<TokenDigest, Entry<Reason>>,
    seconds: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct Entry<T> {
    what: T,
    /// In seconds since 1970.
    until: u64,
}

impl TokenCache {
    pub(super) fn new(seconds: u32) -> Self {
        Self {
            good: Cache::new(CAPACITY),
            refused: Cache::new(CAPACITY),
            seconds: seconds.into(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, token: &TokenDigest, now: u64) -> Option<Arc<Principal>> {
        let entry = self.good.get(token).filter(|entry| now < entry.until);
        let counter = if entry.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        entry.map(|entry| entry.what)
    }

    /// Remembers a token for as long as it lives, the configuration allows and `at_most` seconds, whichever is shortest.
    pub(super) fn put(&self, token: TokenDigest, principal: Arc<Principal>, now: u64, at_most: u64) {
        let until = principal.expires_at.min(now.saturating_add(self.seconds.min(at_most)));
        if until > now {
            self.good.insert(token, Entry { what: principal, until });
        }
    }

    /// Why the issuer has refused that token just now.
    pub(super) fn refused(&self, token: &TokenDigest, now: u64) -> Option<Reason> {
        self.refused.get(token).filter(|entry| now < entry.until).map(|entry| entry.what)
    }

    pub(super) fn refuse(&self, token: TokenDigest, reason: Reason, now: u64) {
        self.refused.insert(token, Entry { what: reason, until: now.saturating_add(REFUSED_SECONDS) });
    }

    /// How often a token was known, and how often not.
    pub(super) fn lookups(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }
}

/// The digest of a token that was presented at an origin. The origin belongs to it because an audience may be accepted
/// only there.
pub(super) fn digest(token: &[u8], origin: &str) -> TokenDigest {
    let mut hash = Context::new(&SHA256);
    hash.update(token);
    // No token has this byte, so that the two parts cannot be shifted.
    hash.update(&[0]);
    hash.update(origin.as_bytes());
    let mut digest = TokenDigest::default();
    digest.copy_from_slice(hash.finish().as_ref());
    digest
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

    #[test]
    fn an_entry_lives_no_longer_than_its_token_nor_than_configured_nor_than_its_answer_counts() {
        let cache = TokenCache::new(300);
        let (short, long, asked) = (digest(b"short", "o"), digest(b"long", "o"), digest(b"asked", "o"));
        cache.put(short, principal(1010), 1000, u64::MAX);
        cache.put(long, principal(9000), 1000, u64::MAX);
        cache.put(asked, principal(9000), 1000, 60);
        for (token, last) in [(short, 1009), (long, 1299), (asked, 1059)] {
            assert!(cache.get(&token, last).is_some());
            assert!(cache.get(&token, last + 1).is_none());
        }
        assert_eq!(cache.lookups(), (3, 3));
    }

    #[test]
    fn zero_seconds_remember_nothing_good() {
        let cache = TokenCache::new(0);
        let token = digest(b"t", "o");
        cache.put(token, principal(9000), 1000, u64::MAX);
        assert!(cache.get(&token, 1000).is_none());
        cache.refuse(token, Reason::Expired, 1000);
        assert_eq!(cache.refused(&token, 1009), Some(Reason::Expired));
        assert_eq!(cache.refused(&token, 1010), None);
    }

    #[test]
    fn token_and_origin_cannot_be_shifted_into_each_other() {
        assert_ne!(digest(b"ab", "c"), digest(b"a", "bc"));
    }
}
