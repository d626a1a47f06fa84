//! An issuer's keys (RFC 7517): which of them verify what. A key is used only with algorithms that both the
//! configuration and the key itself allow, so that an RSA key can never become an HMAC secret.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use mcp_server_config::Algorithm as Allowed;
use serde::Deserialize;
use serde_json::Value;

/// Keys at most in a set. More is no key set but an attack on our memory and time.
const MAX_KEYS: usize = 100;

/// Accepted where the configuration names no algorithm.
const DEFAULT: [Allowed; 5] = [Allowed::RS256, Allowed::PS256, Allowed::ES256, Allowed::ES384, Allowed::EdDSA];

/// The accepted algorithms.
pub(super) fn allowed(configured: &[Allowed]) -> Vec<Algorithm> {
    let chosen = if configured.is_empty() { &DEFAULT } else { configured };
    chosen.iter().copied().map(algorithm).collect()
}

fn algorithm(allowed: Allowed) -> Algorithm {
    match allowed {
        Allowed::RS256 => Algorithm::RS256,
        Allowed::RS384 => Algorithm::RS384,
        Allowed::RS512 => Algorithm::RS512,
        Allowed::PS256 => Algorithm::PS256,
        Allowed::PS384 => Algorithm::PS384,
        Allowed::PS512 => Algorithm::PS512,
        Allowed::ES256 => Algorithm::ES256,
        Allowed::ES384 => Algorithm::ES384,
        Allowed::EdDSA => Algorithm::EdDSA,
    }
}

/// The document as it comes. Keys are parsed one by one: a key of a kind that nobody knows must not hide the others.
#[derive(Deserialize)]
pub(super) struct Document {
    keys: Vec<Value>,
}

/// The usable keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<VerifyingKey>);

/// A key and what it may verify.
#[derive(Debug)]
pub(super) struct VerifyingKey {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl KeySet {
    /// The usable keys of a document. `None`: there is none, or there are too many.
    pub(super) fn parse(document: Document, allowed: &[Algorithm]) -> Option<Self> {
        if document.keys.len() > MAX_KEYS {
            return None;
        }
        let keys: Vec<_> = document.keys.into_iter().filter_map(|key| usable(key, allowed)).collect();
        if keys.is_empty() { None } else { Some(Self(keys)) }
    }

    /// A key of that name is there.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The keys that may verify a token with that header. A token that names no key is tried with each that fits.
    pub(super) fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &VerifyingKey> {
        self.0
            .iter()
            .filter(move |key| id.is_none() || key.id.as_deref() == id)
            .filter(move |key| key.algorithms.contains(&algorithm))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

fn usable(key: Value, allowed: &[Algorithm]) -> Option<VerifyingKey> {
    let jwk: Jwk = serde_json::from_value(key).ok()?;
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    if jwk.common.key_operations.as_ref().is_some_and(|uses| !uses.contains(&KeyOperations::Verify)) {
        return None;
    }
    let own = jwk.common.key_algorithm;
    let algorithms: Vec<Algorithm> = by_type(&jwk.algorithm)
        .iter()
        .copied()
        .filter(|algorithm| allowed.contains(algorithm))
        .filter(|algorithm| own.is_none_or(|own| own == KeyAlgorithm::from(*algorithm)))
        .collect();
    if algorithms.is_empty() {
        return None;
    }
    Some(VerifyingKey { key: DecodingKey::from_jwk(&jwk).ok()?, id: jwk.common.key_id, algorithms })
}

/// The algorithms of a key's type and curve. Symmetric keys have none: they are no public keys.
fn by_type(parameters: &AlgorithmParameters) -> &'static [Algorithm] {
    match parameters {
        AlgorithmParameters::RSA(_) => &[
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::PS256,
            Algorithm::PS384,
            Algorithm::PS512,
        ],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => &[Algorithm::ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => &[Algorithm::ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        // The type is open for additions: what we do not know we do not use.
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RSA: &str = "AQAB";

    fn set(keys: &Value, configured: &[Allowed]) -> Option<KeySet> {
        KeySet::parse(serde_json::from_value(json!({ "keys": keys })).expect("a document"), &allowed(configured))
    }

    fn rsa(members: &Value) -> Value {
        let mut key = json!({"kty": "RSA", "kid": "a", "n": RSA, "e": RSA});
        for (name, value) in members.as_object().expect("members") {
            key[name] = value.clone();
        }
        key
    }

    #[test]
    fn a_key_verifies_only_what_its_own_alg_says() {
        let keys = set(&json!([rsa(&json!({"alg": "RS256"}))]), &[]).expect("a key");
        assert_eq!(keys.candidates(Some("a"), Algorithm::RS256).count(), 1);
        assert_eq!(keys.candidates(Some("a"), Algorithm::PS256).count(), 0);
        assert_eq!(keys.candidates(Some("b"), Algorithm::RS256).count(), 0);
        assert_eq!(keys.candidates(None, Algorithm::RS256).count(), 1);
    }

    #[test]
    fn no_key_ever_verifies_hs256() {
        let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"});
        assert!(set(&json!([secret]), &[]).is_none());
        let keys = set(&json!([rsa(&json!({})), secret]), &[]).expect("a key");
        assert_eq!(keys.candidates(None, Algorithm::HS256).count(), 0);
        assert!(!keys.has("s"));
    }

    #[test]
    fn keys_for_encryption_or_of_unknown_kinds_are_left_out_and_hide_no_other() {
        let odd = json!([
            rsa(&json!({"use": "enc"})),
            rsa(&json!({"key_ops": ["sign"]})),
            rsa(&json!({"alg": "RSA-OAEP"})),
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
            {"kty": "OKP", "crv": "X25519", "x": "AA"},
            {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
            {"no": "key"},
            7,
        ]);
        assert!(set(&odd, &[]).is_none());
        let mut keys = odd.as_array().expect("keys").clone();
        keys.push(rsa(&json!({"kid": "good", "use": "sig", "key_ops": ["verify"]})));
        assert_eq!(set(&json!(keys), &[]).map(|keys| (keys.len(), keys.has("good"))), Some((1, true)));
    }

    #[test]
    fn the_configuration_narrows_the_algorithms() {
        assert!(set(&json!([rsa(&json!({}))]), &[Allowed::ES256]).is_none());
        let keys = set(&json!([rsa(&json!({}))]), &[Allowed::RS512]).expect("a key");
        assert_eq!(keys.candidates(None, Algorithm::RS256).count(), 0);
        assert_eq!(keys.candidates(None, Algorithm::RS512).count(), 1);
    }

    #[test]
    fn a_set_of_more_keys_than_anybody_needs_is_refused() {
        let keys = |count| set(&json!(vec![rsa(&json!({})); count]), &[]);
        assert_eq!(keys(MAX_KEYS).map(|keys| keys.len()), Some(MAX_KEYS));
        assert!(keys(MAX_KEYS + 1).is_none());
    }
}
