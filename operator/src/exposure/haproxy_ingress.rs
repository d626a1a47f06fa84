//! HAProxy Ingress by Joao Morais. It streams by itself and takes bodies of any size; `timeout-client`,
//! which is global, counts no waiting.

use std::collections::BTreeMap;

use mcp_crds::Affinity;

use super::{Annotations, BY_HASH, InnerTls, Profile, Route, prefixed};

const PREFIX: &str = "haproxy-ingress.github.io/";

pub(super) const PROFILE: Profile = Profile {
    name: "haproxy-ingress",
    controllers: &["haproxy-ingress.github.io/controller"],
    affinities: BY_HASH,
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |_| None,
    source: "https://haproxy-ingress.github.io/docs/configuration/keys/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let mut ingress = prefixed(PREFIX, [("timeout-server", format!("{}s", route.proxy_timeout_seconds()))]);
    let mut set = |key: &str, value: &str| ingress.insert(format!("{PREFIX}{key}"), value.to_owned());
    if route.tls {
        set("ssl-redirect", "true");
    }
    if route.inner_tls {
        // HTTP/1.1 over TLS. It takes any certificate of a pod.
        set("backend-protocol", "h1-ssl");
    }
    match route.affinity {
        Affinity::None => None,
        Affinity::ClientAddress => set("balance-algorithm", "source"),
        Affinity::Authorization => set("balance-algorithm", "hdr(Authorization)"),
    };
    Annotations { ingress, service: BTreeMap::new() }
}
