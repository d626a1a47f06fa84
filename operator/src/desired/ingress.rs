//! Ingress `<name>`: the route from outside. Only MCP and what clients need to find the authorization server; never the
//! management port.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};
use mcp_crds::{Expose, IssuerKind, McpServerSpec, RouteTls};

use super::endpoint::MCP;
use super::{Identity, Resolved};
use crate::exposure::{Annotations, has_ingress};

/// Path of the RFC 9728 metadata; the resource's own path follows it.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// Path of the health check.
pub const HEALTH: &str = "/health";

/// `None` unless the server is exposed.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec, refs: &Resolved, profile: Annotations) -> Option<Ingress> {
    let expose = spec.expose.as_ref().filter(|expose| has_ingress(expose))?;
    let mut metadata = id.meta(&id.name);
    // The user's last: they are stronger.
    let mut annotations = profile.ingress;
    annotations.extend(certificate(expose.tls.as_ref()));
    annotations.extend(expose.ingress.annotations.clone());
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Some(Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: expose.ingress.class_name.clone(),
            tls: expose.tls.as_ref().map(|tls| {
                vec![IngressTLS { hosts: Some(expose.hosts.clone()), secret_name: tls.secret_name.clone() }]
            }),
            rules: Some(expose.hosts.iter().map(|host| rule(id, expose, refs, host)).collect()),
            ..IngressSpec::default()
        }),
        ..Ingress::default()
    })
}

/// cert-manager's ingress-shim makes the Certificate.
fn certificate(tls: Option<&RouteTls>) -> Option<(String, String)> {
    let issuer = tls?.issuer_ref.as_ref()?;
    let key = match issuer.kind {
        IssuerKind::ClusterIssuer => "cert-manager.io/cluster-issuer",
        IssuerKind::Issuer => "cert-manager.io/issuer",
    };
    Some((key.to_owned(), issuer.name.clone()))
}

fn rule(id: &Identity, expose: &Expose, refs: &Resolved, host: &str) -> IngressRule {
    let paths = paths(&expose.path, refs.shared_hosts.contains(host));
    IngressRule {
        host: Some(host.to_owned()),
        http: Some(HTTPIngressRuleValue { paths: paths.into_iter().map(|path| to_service(id, path)).collect() }),
    }
}

/// On a host of several servers the paths without the server's own path would be anybody's: nobody gets them.
pub(super) fn paths(path: &str, host_is_shared: bool) -> BTreeSet<String> {
    let mut paths = BTreeSet::from([path.to_owned(), format!("{WELL_KNOWN}{}", path.trim_end_matches('/'))]);
    if !host_is_shared {
        paths.extend([WELL_KNOWN.to_owned(), HEALTH.to_owned()]);
    }
    paths
}

fn to_service(id: &Identity, path: String) -> HTTPIngressPath {
    HTTPIngressPath {
        path: Some(path),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: id.name.clone(),
                port: Some(ServiceBackendPort { name: Some(MCP.to_owned()), number: None }),
            }),
            resource: None,
        },
    }
}
