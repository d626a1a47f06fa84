//! Whose a session is.

use std::fmt;

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::auth::Caller;
use crate::state::SessionKey;

/// A keyed digest of a principal: equal for all tokens of one subject and client of one issuer, and of no use to who
/// reads it in redis.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    digest: [u8; 32],
    /// By the other keys, while one is rotated.
    others: [Option<[u8; 32]>; 2],
}

impl Owner {
    pub(crate) fn of(caller: &Caller, key: &SessionKey) -> Self {
        let parts: &[&str] = match caller {
            Caller::Anonymous => &["anonymous"],
            Caller::Principal(principal) => &[
                "principal",
                &principal.issuer,
                &principal.subject,
                principal.client_id.as_deref().unwrap_or_default(),
            ],
        };
        Self { digest: key.digest(parts), others: key.other_digests(parts) }
    }

    pub(crate) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.digest)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let digest = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(Self { digest, others: [None, None] })
    }

    fn knows(&self, digest: &[u8; 32]) -> bool {
        let own = std::iter::once(&self.digest).chain(self.others.iter().flatten());
        own.fold(false, |known, own| known | constant_time::verify_slices_are_equal(own, digest).is_ok())
    }
}

/// One of the two may have been written with another key of the overlap.
impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.knows(&other.digest) || other.knows(&self.digest)
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Owner(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Principal;

    fn caller(issuer: &str, subject: &str, client: Option<&str>, scope: &str) -> Caller {
        Caller::Principal(Arc::new(Principal {
            issuer: issuer.into(),
            subject: subject.into(),
            client_id: client.map(Into::into),
            scopes: Arc::new([scope.to_owned()]),
            expires_at: 0,
        }))
    }

    #[test]
    fn a_principal_is_issuer_subject_and_client_whatever_its_scopes() {
        let key = SessionKey::random();
        let of = |caller: &Caller| Owner::of(caller, &key);
        let alice = of(&caller("https://a", "alice", Some("c"), "read"));
        assert_eq!(alice, of(&caller("https://a", "alice", Some("c"), "write")));
        assert_ne!(alice, of(&caller("https://b", "alice", Some("c"), "read")));
        assert_ne!(alice, of(&caller("https://a", "bob", Some("c"), "read")));
        assert_ne!(alice, of(&caller("https://a", "alice", None, "read")));
        assert_ne!(alice, of(&Caller::Anonymous));
        assert_eq!(Some(alice), Owner::from_text(&alice.to_text()));
        assert_eq!(None, Owner::from_text("short"));
    }
}
