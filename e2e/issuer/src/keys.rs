//! Signing keys: made at start, replaced by rotation, never written down.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use uuid::Uuid;

/// A signature algorithm that the issuer can use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    #[default]
    RS256,
    /// Signs with the RSA key, whose `alg` in the key set is RS256: such a token must be refused.
    PS256,
    ES256,
    EdDSA,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// One generation of keys: one key of each type.
pub(crate) struct Generation {
    id: String,
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Generation {
    pub(crate) fn make() -> Result<Self> {
        Ok(Self {
            id: Uuid::new_v4().simple().to_string(),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).context("make an RSA key")?,
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("make a P-256 key")?,
            ed: Ed25519KeyPair::generate().context("make an Ed25519 key")?,
        })
    }

    /// The `kid` of the key that signs with `algorithm`.
    pub(crate) fn key_id(&self, algorithm: Algorithm) -> String {
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => "rsa",
            Algorithm::ES256 => "ec",
            Algorithm::EdDSA => "ed",
        };
        format!("{kind}-{}", self.id)
    }

    pub(crate) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let rsa = |padding| -> Result<Vec<u8>> {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, message, &mut signature).context("sign with the RSA key")?;
            Ok(signature)
        };
        match algorithm {
            Algorithm::RS256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::PS256 => rsa(&RSA_PSS_SHA256),
            Algorithm::ES256 => {
                Ok(self.ec.sign(&random, message).context("sign with the P-256 key")?.as_ref().to_vec())
            }
            Algorithm::EdDSA => Ok(self.ed.sign(message).as_ref().to_vec()),
        }
    }

    /// The RSA public key as PEM: what an attacker would use as an HMAC secret.
    pub(crate) fn rsa_public_pem(&self) -> Result<String> {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der().context("encode the RSA key")?;
        let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }

    fn public(&self) -> [Value; 3] {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = self.rsa.public_key();
        // An uncompressed point: 0x04, x, y.
        let point = &self.ec.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        [
            json!({
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id(Algorithm::RS256),
                "n": encode(rsa.modulus().big_endian_without_leading_zero()),
                "e": encode(rsa.exponent().big_endian_without_leading_zero()),
            }),
            json!({
                "kty": "EC", "use": "sig", "alg": "ES256", "kid": self.key_id(Algorithm::ES256),
                "crv": "P-256", "x": encode(x), "y": encode(y),
            }),
            json!({
                "kty": "OKP", "use": "sig", "alg": "EdDSA", "kid": self.key_id(Algorithm::EdDSA),
                "crv": "Ed25519", "x": encode(self.ed.public_key().as_ref()),
            }),
        ]
    }
}

/// All published generations; the last one signs.
pub(crate) struct Keys(Mutex<Vec<Generation>>);

impl Keys {
    pub(crate) fn new(first: Generation) -> Self {
        Self(Mutex::new(vec![first]))
    }

    /// Adds a generation that signs from now on. The older ones stay published.
    pub(crate) fn rotate(&self) -> Result<()> {
        let next = Generation::make()?;
        self.lock().push(next);
        Ok(())
    }

    /// Takes all but the signing generation out of the key set.
    pub(crate) fn retire(&self) {
        let mut generations = self.lock();
        let older = generations.len().saturating_sub(1);
        generations.drain(..older);
    }

    /// Runs `use_it` with the generation that signs.
    pub(crate) fn with_current<T>(&self, use_it: impl FnOnce(&Generation) -> Result<T>) -> Result<T> {
        use_it(self.lock().last().context("an issuer has a key")?)
    }

    /// The key set (RFC 7517).
    pub(crate) fn set(&self) -> Value {
        let keys: Vec<Value> = self.lock().iter().flat_map(Generation::public).collect();
        json!({ "keys": keys })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Generation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
