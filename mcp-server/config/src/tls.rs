//! TLS in the process: the section `tls` of the boot file, and OpenSSL's words for ciphers.

use std::collections::BTreeSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Invalid;

/// TLS in the process, on the port of the MCP endpoint. The management listener stays plain: probes come by HTTP. The
/// files are read again when they change; a new pair that cannot be used is reported and the one before stays in use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate, followed by the intermediate ones.
    pub cert_file: PathBuf,
    /// PEM file of the certificate's private key.
    pub key_file: PathBuf,
    /// The oldest version of the protocol that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Cipher families of TLS 1.2, in OpenSSL's words: a list, or a string with colons. Known are ECDHE+AESGCM and
    /// ECDHE+CHACHA20. Default: both. TLS 1.3 has its own, which are all good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ciphers: Option<Ciphers>,
    /// PEM file of the authorities that sign the certificates of clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client must have a certificate. Default: required where `client_ca_file` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// A version of TLS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// Whether a client must have a certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// One that is sent must be good; none need be sent.
    Optional,
    /// Who has none is hung up on.
    Required,
}

/// Ciphers as they are written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(untagged)]
pub enum Ciphers {
    /// OpenSSL's form, as in ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL.
    Words(String),
    /// One family an item.
    List(Vec<String>),
}

/// A family of TLS 1.2 ciphers that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CipherFamily {
    /// `ECDHE+AESGCM`.
    AesGcm,
    /// `ECDHE+CHACHA20`.
    ChaCha20,
}

/// What OpenSSL strings exclude and rustls never had.
const NEVER_THERE: [&str; 14] =
    ["aNULL", "eNULL", "NULL", "MD5", "DSS", "RC4", "DES", "3DES", "EXPORT", "EXP", "LOW", "PSK", "SRP", "kRSA"];
const NO_DHE: &str = "the TLS library (rustls) has no finite-field Diffie-Hellman";
const REMEDY: &str = "write ECDHE+AESGCM and ECDHE+CHACHA20, which every client since 2014 speaks";

impl Tls {
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        let Self { cert_file, key_file, min_version, ciphers, client_ca_file, client_auth } = self;
        for (field, file) in
            [("cert_file", Some(cert_file)), ("key_file", Some(key_file)), ("client_ca_file", client_ca_file.as_ref())]
        {
            if file.is_some_and(|file| file.as_os_str().is_empty()) {
                return invalid(format!("tls.{field}: it is empty: write the path of a PEM file"));
            }
        }
        if client_auth.is_some() && client_ca_file.is_none() {
            return invalid(
                "tls.client_auth: without `client_ca_file` no client's certificate can be checked: name the file of \
                 their authorities, or remove `client_auth`",
            );
        }
        if ciphers.is_some() && *min_version == TlsVersion::V1_3 {
            return invalid(
                "tls.ciphers: they choose among those of TLS 1.2, and tls.min_version is 1.3: remove one of the two",
            );
        }
        self.families().map(drop)
    }

    /// The families of TLS 1.2 that are served.
    pub fn families(&self) -> Result<BTreeSet<CipherFamily>, Invalid> {
        let (words, lenient): (Vec<&str>, _) = match &self.ciphers {
            None => return Ok(BTreeSet::from([CipherFamily::AesGcm, CipherFamily::ChaCha20])),
            Some(Ciphers::Words(text)) => (words(text).collect(), true),
            Some(Ciphers::List(list)) => (list.iter().map(String::as_str).collect(), false),
        };
        let mut families = BTreeSet::new();
        let mut left_out = None;
        for word in words {
            match Word::of(word) {
                Word::Family(family) => _ = families.insert(family),
                Word::Exclusion => {}
                // As in OpenSSL, a string says what is wanted of what there is; an item of a list is a demand.
                Word::Dhe if lenient => left_out = Some(word),
                Word::Dhe => return invalid(format!("tls.ciphers: {word} cannot be served: {NO_DHE}: {REMEDY}")),
                Word::Unknown => {
                    return invalid(format!(
                        "tls.ciphers: {word:?} is unknown: {REMEDY}; excluded may be {}",
                        NEVER_THERE.map(|name| format!("!{name}")).join(", ")
                    ));
                }
            }
        }
        match (families.is_empty(), left_out) {
            (false, _) => Ok(families),
            (true, Some(word)) => invalid(format!("tls.ciphers: {word} cannot be served: {NO_DHE}: {REMEDY}")),
            (true, None) => invalid(format!("tls.ciphers: no cipher is left: {REMEDY}")),
        }
    }

    /// What is not an error but should be known.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let Some(Ciphers::Words(text)) = &self.ciphers else { return Vec::new() };
        let dhe: Vec<_> = words(text).filter(|word| matches!(Word::of(word), Word::Dhe)).collect();
        if dhe.is_empty() {
            return Vec::new();
        }
        vec![format!("tls.ciphers: {} is refused: {NO_DHE}; the ECDHE families are served", dhe.join(" and "))]
    }
}

/// One word of OpenSSL's.
enum Word {
    Family(CipherFamily),
    Dhe,
    Exclusion,
    Unknown,
}

impl Word {
    fn of(word: &str) -> Self {
        match word {
            "ECDHE+AESGCM" | "EECDH+AESGCM" => Self::Family(CipherFamily::AesGcm),
            "ECDHE+CHACHA20" | "EECDH+CHACHA20" => Self::Family(CipherFamily::ChaCha20),
            "DHE+AESGCM" | "DHE+CHACHA20" | "EDH+AESGCM" | "EDH+CHACHA20" => Self::Dhe,
            word if word.strip_prefix('!').is_some_and(|name| NEVER_THERE.contains(&name)) => Self::Exclusion,
            _ => Self::Unknown,
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([':', ',', ' ']).filter(|word| !word.is_empty())
}

fn invalid<T>(message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(message.into()))
}
