//! `Exposed`: whether a route leads to the server. Pure.

use std::collections::BTreeSet;

use mcp_crds::{Expose, Gateway, McpServerSpec, ParentRef};

use crate::cache::{Child, ChildStatus, Parent};
use crate::status::{Reason, Verdict};
use crate::text::clean;

/// What is known of the route.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The Ingress.
    pub ingress: Option<&'a Child>,
    /// The HTTPRoute.
    pub http_route: Option<&'a Child>,
    /// The Secret that cert-manager has not made yet.
    pub pending_certificate: Option<&'a str>,
    /// Hosts that other servers have too.
    pub shared_hosts: &'a BTreeSet<String>,
    /// Why clients do not stay at one pod although the spec wants it.
    pub missing_affinity: Option<&'a str>,
    /// Why the route may not reach pods that have TLS, and whether it certainly does not.
    pub missing_inner_tls: Option<&'a (bool, String)>,
}

/// Whether the route is admitted.
#[must_use]
pub fn verdict(spec: &McpServerSpec, route: Route<'_>) -> Verdict {
    let Some(expose) = &spec.expose else {
        return Verdict::yes(Reason::ClusterInternal, "reached inside the cluster only");
    };
    let mut admitted = Vec::new();
    if let Some(gateway) = &expose.gateway {
        match attached(gateway, route.http_route) {
            Ok(gateways) => admitted.push(gateways),
            Err(verdict) => return verdict,
        }
    }
    if expose.gateway.is_none() || expose.ingress.class_name.is_some() {
        match addresses(expose, route.ingress) {
            Ok(addresses) => admitted.push(addresses),
            Err(verdict) => return verdict,
        }
    }
    if let Some(secret) = route.pending_certificate {
        return Verdict::no(Reason::CertificatePending, format!("Secret {secret} is not there yet"));
    }
    match route.missing_inner_tls {
        Some((true, why)) => return Verdict::no(Reason::BackendTlsUnavailable, why),
        Some((false, why)) => return Verdict::yes(Reason::BackendTlsUnavailable, why),
        None => {}
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
    Verdict::yes(Reason::Exposed, format!("admitted at {}", admitted.join(", ")))
}

/// The addresses that the ingress controller published, or what is missing.
fn addresses(expose: &Expose, ingress: Option<&Child>) -> Result<String, Verdict> {
    let Some(ingress) = ingress else { return Err(Verdict::no(Reason::NoRoute, "there is no Ingress yet")) };
    match &ingress.status {
        ChildStatus::Addresses(addresses) if !addresses.is_empty() => Ok(addresses.join(", ")),
        ChildStatus::Addresses(_) => {
            let class = expose.ingress.class_name.as_deref();
            let class = class
                .map_or_else(|| "of the default IngressClass".to_owned(), |name| format!("of IngressClass {name}"));
            let message = format!("the controller {class} has published no address for Ingress {}", ingress.key.name);
            Err(Verdict::no(Reason::AddressPending, message))
        }
        _ => Err(Verdict::no(Reason::AddressPending, "the Ingress is new")),
    }
}

/// The Gateways, once each has attached the route, or what the first of them says.
fn attached(gateway: &Gateway, route: Option<&Child>) -> Result<String, Verdict> {
    let Some(route) = route else { return Err(Verdict::no(Reason::NoRoute, "there is no HTTPRoute yet")) };
    let ChildStatus::Parents(parents) = &route.status else {
        return Err(Verdict::no(Reason::RoutePending, "the HTTPRoute is new"));
    };
    for wanted in &gateway.parent_refs {
        let name = &wanted.name;
        match parents.iter().find(|parent| is_same(&parent.gateway, wanted, &route.key.namespace)) {
            Some(Parent { attached: Some(true), .. }) => {}
            Some(Parent { attached: Some(false), why, .. }) => {
                let message = format!("Gateway {name} does not take the route: {}", clean(why));
                return Err(Verdict::no(Reason::RouteRefused, message));
            }
            Some(Parent { attached: None, .. }) | None => {
                let message =
                    format!("the controller of Gateway {name} has not answered for HTTPRoute {}", route.key.name);
                return Err(Verdict::no(Reason::RoutePending, message));
            }
        }
    }
    let names: Vec<_> = gateway.parent_refs.iter().map(|parent| format!("Gateway {}", parent.name)).collect();
    Ok(names.join(", "))
}

/// Controllers repeat the reference as it was written, some with the namespace that was left out.
fn is_same(said: &ParentRef, wanted: &ParentRef, own: &str) -> bool {
    let namespace = |parent: &ParentRef| parent.namespace.clone().unwrap_or_else(|| own.to_owned());
    said.name == wanted.name
        && namespace(said) == namespace(wanted)
        && said.section_name == wanted.section_name
        && said.port == wanted.port
}
