//! TLS inside of the pod: HTTPS up to the runtime itself.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, IssuerRef, schema};

/// TLS inside of the pod: the runtime speaks HTTPS at the MCP port, and the Service has port 443 in place of 80. Metrics
/// and probes stay plain, at the management port. A renewed certificate is taken up without a restart.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!(has(self.ciphers) && self.minVersion == '1.3')",
    "ciphers choose among those of TLS 1.2, and minVersion is 1.3: remove one of the two"
))]
#[x_kube(validation = (
    "!has(self.clientAuth) || has(self.clientCa)",
    "clientAuth needs clientCa: without it no client's certificate can be checked"
))]
pub struct Tls {
    /// Secret of type kubernetes.io/tls. Its certificate is for the Service's names: weather, weather.team-a,
    /// weather.team-a.svc and weather.team-a.svc.cluster.local.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// cert-manager issuer that fills the Secret, by a Certificate that the operator makes. Default: the Secret is yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Certificate authorities by which the operator checks what the Service shows it. Default: it asks by HTTPS and takes
    /// any certificate. A Secret is read by the operator, a ConfigMap too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
    /// Cipher families of TLS 1.2. Default: both. TLS 1.3 has its own, which are all good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 2))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub ciphers: Vec<CipherFamily>,
    /// Authorities that sign the certificates of clients. Default: clients are not asked for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<CaBundle>,
    /// Whether a client must have a certificate. Default: Required where `clientCa` is given; the operator has none, and
    /// then asks the pods' management port only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional::<ClientAuth>")]
    pub client_auth: Option<ClientAuth>,
}

impl Tls {
    /// Whether a client without a certificate is hung up on.
    #[must_use]
    pub fn needs_client_certificate(&self) -> bool {
        self.client_ca.is_some() && self.client_auth != Some(ClientAuth::Optional)
    }
}

/// A version of TLS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// A family of TLS 1.2 ciphers, in OpenSSL's words.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherFamily {
    /// AES in Galois counter mode.
    #[serde(rename = "ECDHE+AESGCM")]
    AesGcm,
    /// `ChaCha20` with Poly1305.
    #[serde(rename = "ECDHE+CHACHA20")]
    ChaCha20,
}

impl CipherFamily {
    /// OpenSSL's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AesGcm => "ECDHE+AESGCM",
            Self::ChaCha20 => "ECDHE+CHACHA20",
        }
    }
}

/// Whether a client must have a certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// One that is sent must be good; none need be sent.
    Optional,
    /// Who has none is hung up on.
    Required,
}
