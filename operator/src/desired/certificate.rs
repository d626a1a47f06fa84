//! Certificate `<name>`: has cert-manager fill the Secret of `spec.tls`. The route's certificate is made by an annotation
//! on the Ingress instead.

use mcp_crds::{IssuerKind, McpServerSpec};

use super::{Identity, endpoint};
use crate::cert_manager::{Certificate, CertificateSpec, Issuer, PrivateKey};
use crate::settings::Settings;

/// `None` unless `spec.tls` names an issuer.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> Option<Certificate> {
    let tls = spec.tls.as_ref()?;
    let issuer = tls.issuer_ref.as_ref()?;
    let kind = match issuer.kind {
        IssuerKind::ClusterIssuer => "ClusterIssuer",
        IssuerKind::Issuer => "Issuer",
    };
    let mut certificate = Certificate::new(
        &id.name,
        CertificateSpec {
            secret_name: tls.secret_name.clone(),
            dns_names: endpoint::service_names(id, settings).into(),
            issuer_ref: Issuer {
                group: "cert-manager.io".to_owned(),
                kind: kind.to_owned(),
                name: issuer.name.clone(),
            },
            private_key: PrivateKey {
                algorithm: "ECDSA".to_owned(),
                size: 256,
                // A key that leaked is good until the next renewal, not for ever.
                rotation_policy: "Always".to_owned(),
            },
            usages: vec!["digital signature".to_owned(), "server auth".to_owned()],
        },
    );
    certificate.metadata = id.meta(&id.name);
    Some(certificate)
}
