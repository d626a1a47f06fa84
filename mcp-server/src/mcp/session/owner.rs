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
pub(crate) struct Owner([u8; 32]);

impl Owner {
    pub(crate) fn of(caller: &Caller, key: &SessionKey) -> Self {
        Self(match caller {
            Caller::Anonymous => key.digest(&["anonymous"]),
            Caller::Principal(principal) => key.digest(&[
                "principal",
                &principal.issuer,
                &principal.subject,
                principal.client_id.as_deref().unwrap_or_default(),
            ]),
        })
    }

    pub(crate) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
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
