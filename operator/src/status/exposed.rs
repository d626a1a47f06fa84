//! `Exposed`: whether a route leads to the server. Pure.

use std::collections::BTreeSet;

use mcp_crds::McpServerSpec;

use crate::cache::{Child, ChildStatus};
use crate::status::{Reason, Verdict};

/// What is known of the route.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The Ingress.
    pub ingress: Option<&'a Child>,
    /// The Secret that cert-manager has not made yet.
    pub pending_certificate: Option<&'a str>,
    /// Hosts that other servers have too.
    pub shared_hosts: &'a BTreeSet<String>,
    /// Why clients do not stay at one pod although the spec wants it.
    pub missing_affinity: Option<&'a str>,
}

/// Whether the route is admitted.
#[must_use]
pub fn verdict(spec: &McpServerSpec, route: Route<'_>) -> Verdict {
    let Some(expose) = &spec.expose else {
        return Verdict::yes(Reason::ClusterInternal, "reached inside the cluster only");
    };
    let Some(ingress) = route.ingress else {
        return Verdict::no(Reason::NoRoute, "there is no Ingress yet");
    };
    let ChildStatus::Addresses(addresses) = &ingress.status else {
        return Verdict::no(Reason::AddressPending, "the Ingress is new");
    };
    if addresses.is_empty() {
        let class = expose
            .ingress
            .class_name
            .as_deref()
            .map_or_else(|| "of the default IngressClass".to_owned(), |name| format!("of IngressClass {name}"));
        let message = format!("the controller {class} has published no address for Ingress {}", ingress.key.name);
        return Verdict::no(Reason::AddressPending, message);
    }
    if let Some(secret) = route.pending_certificate {
        return Verdict::no(Reason::CertificatePending, format!("Secret {secret} is not there yet"));
    }
    if let Some(why) = route.missing_affinity {
        return Verdict::yes(Reason::AffinityUnavailable, why);
    }
    if !route.shared_hosts.is_empty() {
        let hosts = route.shared_hosts.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let message =
            format!("another McpServer has {hosts} too: /health and the root well-known path are not routed there");
        return Verdict::yes(Reason::HostShared, message);
    }
    Verdict::yes(Reason::Exposed, format!("admitted at {}", addresses.join(", ")))
}
