//! Traefik's own Ingress provider. It passes events on at once and has no timeout for an answer; what it has per entry
//! point (`respondingTimeouts.readTimeout`, the redirect to HTTPS) is the installation's, see docs/exposure.md. Its
//! affinity is by cookie, which MCP clients do not keep.

use std::collections::BTreeMap;

use super::{Annotations, InnerTls, Profile, Route};

pub(super) const PROFILE: Profile = Profile {
    name: "traefik",
    controllers: &["traefik.io/ingress-controller"],
    affinities: &[],
    inner_tls: InnerTls::Yours(
        "it checks their certificate by the public authorities: make a ServersTransport and name it in \
         spec.service.annotations, see docs/exposure.md, TLS inside of the pod",
    ),
    idle_seconds: |_| None,
    source: "https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/ingress/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let mut ingress = BTreeMap::new();
    if route.tls {
        // `spec.tls` only loads the certificate. With this the route does not answer plain HTTP at all: without a
        // redirect of the entry point a client gets 404, and no token travels twice.
        ingress.insert("traefik.ingress.kubernetes.io/router.tls".to_owned(), "true".to_owned());
    }
    let mut service = BTreeMap::new();
    if route.inner_tls {
        service.insert("traefik.ingress.kubernetes.io/service.serversscheme".to_owned(), "https".to_owned());
    }
    Annotations { ingress, service }
}
