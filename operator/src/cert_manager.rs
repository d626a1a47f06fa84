//! The part of cert-manager's Certificate that is written. The kind is somebody else's: the cluster may lack it.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// What a Certificate asks for.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cert-manager.io",
    version = "v1",
    kind = "Certificate",
    plural = "certificates",
    namespaced,
    schema = "disabled",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct CertificateSpec {
    /// The Secret that is filled.
    pub secret_name: String,
    /// The names that it is for.
    pub dns_names: Vec<String>,
    /// Who signs it.
    pub issuer_ref: Issuer,
    /// How its key is made.
    pub private_key: PrivateKey,
    /// What it may be used for.
    pub usages: Vec<String>,
}

/// Who signs a certificate.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Issuer {
    /// API group of the kind.
    pub group: String,
    /// `Issuer` or `ClusterIssuer`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// How a private key is made.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PrivateKey {
    /// Its algorithm.
    pub algorithm: String,
    /// Its size in bits.
    pub size: i32,
    /// Whether a renewed certificate has a new key.
    pub rotation_policy: String,
}
