//! From the bytes of a token to its owner: which issuer, which key, which claims (RFC 9068, section 4; RFC 8725).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, dangerous};
use serde::Deserialize;

use super::keys::KeySet;
use super::principal::Principal;
use super::rejection::Reason;

/// Tokens of more bytes are not looked at.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// The clocks of issuer and server may differ by so many seconds.
const LEEWAY: f64 = 30.0;

/// What a token says of itself before anything is verified.
pub(super) struct Unverified {
    header: Header,
    /// Tells which issuer's keys to try, nothing else; it is checked again once it is signed.
    pub(super) issuer: String,
}

/// What came of the signature.
pub(super) enum Outcome {
    /// It is good. The claims are not checked yet.
    Signed(Claims),
    /// None of these keys is the token's: newer ones may be.
    UnknownKey,
    /// No key can make it good.
    Refused(Reason),
}

/// What we read of a token. Not `Debug`: it is about a person.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) aud: OneOrMany,
    /// Fractions are allowed (RFC 7519, section 2).
    pub(super) exp: f64,
    pub(super) nbf: Option<f64>,
    pub(super) sub: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) azp: Option<String>,
    pub(super) scope: Option<OneOrMany>,
    pub(super) scp: Option<OneOrMany>,
}

/// A list of one may come without brackets.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
struct IssuerOnly {
    iss: String,
}

impl Unverified {
    pub(super) fn read(token: &str) -> Result<Self, Reason> {
        const NOT_A_JWT: Reason = Reason::Invalid("the token is not a signed JWT of a known algorithm");
        let header = jsonwebtoken::decode_header(token).map_err(|_| NOT_A_JWT)?;
        // Extensions that must be understood are not (RFC 7515, section 4.1.11).
        if header.crit.is_some() || !header.typ.as_deref().is_none_or(is_access_token) {
            return Err(Reason::Invalid("the token is of a kind that is not accepted"));
        }
        let IssuerOnly { iss } = dangerous::insecure_decode_claims(token)
            .map_err(|_| Reason::Invalid("the token's payload is malformed or has no iss"))?;
        Ok(Self { header, issuer: iss })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.header.alg
    }

    /// Checks the signature. Key material in the header (`jku`, `jwk`, `x5u`, `x5c`) is never looked at.
    pub(super) fn verify(&self, token: &str, keys: &KeySet) -> Outcome {
        let id = self.header.kid.as_deref();
        let validation = signature_only(self.header.alg);
        for key in keys.candidates(id, self.header.alg) {
            match jsonwebtoken::decode::<Claims>(token, &key.key, &validation) {
                Ok(decoded) => return Outcome::Signed(decoded.claims),
                Err(error) if matches!(error.kind(), ErrorKind::Json(_) | ErrorKind::Utf8(_)) => {
                    return Outcome::Refused(Reason::Invalid("a claim of the token is missing or malformed"));
                }
                Err(_) => {}
            }
        }
        match id {
            Some(id) if keys.has(id) => Outcome::Refused(Reason::Invalid("the token's signature is wrong")),
            _ => Outcome::UnknownKey,
        }
    }
}

/// It says something by itself: its first of three parts is a JSON object. Only its issuer knows any other token.
pub(super) fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&header).is_ok()
}

/// RFC 8725, section 3.11: a JWT that says it is something else (a logout token, a DPoP proof) is no access token.
/// Most issuers say `JWT` or nothing.
fn is_access_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    typ == "at+jwt" || !typ.ends_with("+jwt")
}

/// Only the signature: the claims are checked by [`Claims::check`], with our clock and our audiences.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

impl Claims {
    /// The owner, if the token is of `issuer`, for an audience that `accepts` knows, and alive.
    pub(super) fn check(
        self,
        issuer: &Arc<str>,
        accepts: impl Fn(&str) -> bool,
        now: u64,
    ) -> Result<Principal, Reason> {
        let Self { iss, aud, exp, nbf, sub, client_id, azp, scope, scp } = self;
        if *iss != **issuer {
            return Err(Reason::Invalid("the token is of another issuer"));
        }
        if !aud.as_slice().iter().any(|audience| accepts(audience)) {
            return Err(Reason::Invalid("the token is for another audience"));
        }
        let seconds = now as f64;
        if seconds >= exp + LEEWAY {
            return Err(Reason::Expired);
        }
        if nbf.is_some_and(|nbf| seconds + LEEWAY < nbf) {
            return Err(Reason::Invalid("the token is not valid yet"));
        }
        let client_id: Option<Arc<str>> = client_id.or(azp).filter(|id| !id.is_empty()).map(Arc::from);
        let subject = sub.filter(|subject| !subject.is_empty()).map(Arc::from).or_else(|| client_id.clone());
        let subject = subject.ok_or(Reason::Invalid("the token has neither sub nor client_id"))?;
        Ok(Principal {
            issuer: issuer.clone(),
            subject,
            client_id,
            scopes: scopes(&[scope, scp]),
            expires_at: exp as u64,
        })
    }
}

/// `scope` is a list in one string (RFC 9068); some issuers write an array, or `scp`, or both.
fn scopes(claims: &[Option<OneOrMany>; 2]) -> Arc<[String]> {
    let mut scopes: Vec<String> = claims
        .iter()
        .flatten()
        .flat_map(OneOrMany::as_slice)
        .flat_map(|text| text.split_ascii_whitespace())
        .map(str::to_owned)
        .collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.into()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn check(changes: &Value) -> Result<Principal, Reason> {
        let mut claims = json!({
            "iss": "https://auth.example.com", "aud": "https://mcp.example.com/mcp", "exp": NOW + 60, "sub": "alice",
        });
        for (name, value) in changes.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let claims: Claims = serde_json::from_value(claims).expect("claims");
        claims.check(&"https://auth.example.com".into(), |audience| audience == "https://mcp.example.com/mcp", NOW)
    }

    #[test]
    fn a_token_ends_half_a_minute_after_its_exp_and_begins_half_a_minute_before_its_nbf() {
        assert!(check(&json!({"exp": NOW - 29})).is_ok());
        assert!(check(&json!({"exp": NOW as f64 - 29.5})).is_ok());
        assert_eq!(check(&json!({"exp": NOW - 30})), Err(Reason::Expired));
        assert_eq!(check(&json!({"exp": -1})), Err(Reason::Expired));
        assert!(check(&json!({"nbf": NOW + 30})).is_ok());
        assert!(check(&json!({"nbf": NOW + 31})).is_err());
    }

    #[test]
    fn issuer_and_audience_are_compared_exactly() {
        assert!(check(&json!({"iss": "https://auth.example.com/"})).is_err());
        assert!(check(&json!({"aud": ["other", "https://mcp.example.com/mcp"]})).is_ok());
        assert!(check(&json!({"aud": ["other"]})).is_err());
        assert!(check(&json!({"aud": []})).is_err());
    }

    #[test]
    fn scopes_come_from_scope_and_scp_in_either_form() {
        for claims in [
            json!({"scope": "write read  read"}),
            json!({"scp": ["read", "write"]}),
            json!({"scp": "read write"}),
            json!({"scope": ["read"], "scp": ["write"]}),
        ] {
            let principal = check(&claims).expect("a principal");
            assert_eq!(*principal.scopes, ["read".to_owned(), "write".to_owned()], "{claims}");
            assert!(principal.has_scope("write") && !principal.has_scope("admin"));
        }
    }

    #[test]
    fn the_client_stands_in_for_a_missing_subject() {
        let principal = check(&json!({"sub": null, "azp": "robot"})).expect("a principal");
        assert_eq!((&*principal.subject, principal.client_id.as_deref()), ("robot", Some("robot")));
        assert!(check(&json!({"sub": ""})).is_err());
    }

    #[test]
    fn a_token_with_a_header_is_a_jwt_and_any_other_is_its_issuer_s_secret() {
        assert!(is_jwt("e30.e30.") && is_jwt("eyJhbGciOiJub25lIn0.e30.x"));
        for token in ["", "a", "a.b.c", "e30.e30", "e30.e30.e30.e30", "W10.e30.x", "..", "ory_at_abc.def"] {
            assert!(!is_jwt(token), "{token}");
        }
    }

    #[test]
    fn only_access_tokens_are_accepted_where_a_token_says_what_it_is() {
        for typ in ["JWT", "jwt", "at+jwt", "application/AT+JWT"] {
            assert!(is_access_token(typ), "{typ}");
        }
        for typ in ["logout+jwt", "dpop+jwt", "application/secevent+jwt"] {
            assert!(!is_access_token(typ), "{typ}");
        }
    }
}
