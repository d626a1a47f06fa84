//! Tokens: good ones, and every kind of hostile one.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::issuer::Shared;
use crate::keys::{Algorithm, Generation};

/// How a hostile token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// `alg: none` and an empty signature.
    Unsigned,
    /// `alg: HS256` with the published RSA key as the secret.
    PublicKeyAsSecret,
    /// By a key that the issuer never published, under the `kid` of one that it did.
    ForeignKey,
    /// A good signature over another payload.
    ChangedPayload,
    /// The good signature with its last byte changed.
    ChangedSignature,
}

/// Makes one token. Untouched it is a good one: an hour, subject `alice`, client `test-client`, no audience, no scope.
#[must_use = "call mint()"]
pub struct TokenBuilder<'a> {
    issuer: &'a Shared,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    algorithm: Algorithm,
    key_id: Option<Value>,
    forgery: Option<Forgery>,
    now: u64,
}

impl<'a> TokenBuilder<'a> {
    pub(crate) fn new(issuer: &'a Shared) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
        let claims = json!({
            "iss": issuer.url, "sub": "alice", "client_id": "test-client",
            "iat": now, "exp": now + 3600, "jti": Uuid::new_v4().to_string(),
        });
        Self {
            issuer,
            header: Map::from_iter([("typ".to_owned(), json!("at+jwt"))]),
            claims: claims.as_object().cloned().unwrap_or_default(),
            algorithm: Algorithm::default(),
            key_id: None,
            forgery: None,
            now,
        }
    }

    /// Whom it is for.
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Whom it is for, as a list.
    pub fn audiences<S: AsRef<str>>(self, audiences: &[S]) -> Self {
        let list: Vec<&str> = audiences.iter().map(AsRef::as_ref).collect();
        self.claim("aud", list)
    }

    /// What it allows, separated by spaces.
    pub fn scopes(self, scopes: &str) -> Self {
        self.claim("scope", scopes)
    }

    /// Whom it was given to.
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// It ends so many seconds from now; negative: it has ended.
    pub fn expires_in(self, seconds: i64) -> Self {
        let at = self.now.saturating_add_signed(seconds);
        self.claim("exp", at)
    }

    /// It begins so many seconds from now.
    pub fn not_before_in(self, seconds: i64) -> Self {
        let at = self.now.saturating_add_signed(seconds);
        self.claim("nbf", at)
    }

    /// Sets any claim.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Leaves a claim out.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Signs with another key type.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Sets any member of the header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Names a key; `Value::Null` names none.
    pub fn key_id(mut self, key_id: impl Into<Value>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Makes it hostile.
    pub fn forged(mut self, forgery: Forgery) -> Self {
        self.forgery = Some(forgery);
        self
    }

    /// The token in compact form.
    pub fn mint(self) -> Result<String> {
        self.issuer.keys.with_current(|keys| match self.forgery {
            None => self.signed_by(keys),
            Some(Forgery::Unsigned) => Ok(format!("{}.", self.message(keys, "none"))),
            Some(Forgery::PublicKeyAsSecret) => self.signed_by_secret(keys),
            Some(Forgery::ForeignKey) => {
                let message = self.message(keys, self.algorithm.name());
                let signature = Generation::make()?.sign(self.algorithm, message.as_bytes())?;
                Ok(format!("{message}.{}", encode(&signature)))
            }
            Some(Forgery::ChangedPayload) => self.with_changed_payload(keys),
            Some(Forgery::ChangedSignature) => {
                let message = self.message(keys, self.algorithm.name());
                let mut signature = keys.sign(self.algorithm, message.as_bytes())?;
                *signature.last_mut().context("a signature has bytes")? ^= 1;
                Ok(format!("{message}.{}", encode(&signature)))
            }
        })
    }

    /// A token that says nothing by itself: only the issuer knows what it is good for.
    #[must_use]
    pub fn opaque(self) -> String {
        let token = format!("opaque_{}", Uuid::new_v4().simple());
        self.issuer.issued.add(&token, self.claims);
        token
    }

    fn signed_by(&self, keys: &Generation) -> Result<String> {
        let message = self.message(keys, self.algorithm.name());
        let signature = keys.sign(self.algorithm, message.as_bytes())?;
        let token = format!("{message}.{}", encode(&signature));
        self.issuer.issued.add(&token, self.claims.clone());
        Ok(token)
    }

    fn signed_by_secret(&self, keys: &Generation) -> Result<String> {
        let message = self.message(keys, "HS256");
        let secret = hmac::Key::new(hmac::HMAC_SHA256, keys.rsa_public_pem()?.as_bytes());
        Ok(format!("{message}.{}", encode(hmac::sign(&secret, message.as_bytes()).as_ref())))
    }

    fn with_changed_payload(&self, keys: &Generation) -> Result<String> {
        let good = self.signed_by(keys)?;
        let (message, signature) = good.rsplit_once('.').context("a token has a signature")?;
        let (header, _) = message.split_once('.').context("a token has a header")?;
        let mut claims = self.claims.clone();
        claims.insert("sub".to_owned(), json!("mallory"));
        Ok(format!("{header}.{}.{signature}", encode(Value::Object(claims).to_string().as_bytes())))
    }

    /// Header and payload, encoded.
    fn message(&self, keys: &Generation, algorithm: &str) -> String {
        let mut header = self.header.clone();
        header.insert("alg".to_owned(), json!(algorithm));
        match &self.key_id {
            Some(Value::Null) => None,
            Some(key_id) => header.insert("kid".to_owned(), key_id.clone()),
            None => header.insert("kid".to_owned(), json!(keys.key_id(self.algorithm))),
        };
        let claims = Value::Object(self.claims.clone()).to_string();
        format!("{}.{}", encode(Value::Object(header).to_string().as_bytes()), encode(claims.as_bytes()))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
