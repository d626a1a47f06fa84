//! HAProxy Kubernetes Ingress Controller by HAProxy Technologies. It streams by itself; `timeout-client`,
//! which is global, counts no waiting.

use std::collections::BTreeMap;

use mcp_crds::Affinity;

use super::{Annotations, BY_HASH, InnerTls, Profile, Route, prefixed};

const PREFIX: &str = "haproxy.org/";

pub(super) const PROFILE: Profile = Profile {
    name: "haproxy-technologies",
    controllers: &["haproxy.org/ingress-controller"],
    affinities: BY_HASH,
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |_| None,
    source: "https://github.com/haproxytech/kubernetes-ingress/blob/master/documentation/annotations.md",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let mut ingress = prefixed(PREFIX, [("timeout-server", format!("{}s", route.proxy_timeout_seconds()))]);
    let mut set = |key: &str, value: &str| ingress.insert(format!("{PREFIX}{key}"), value.to_owned());
    if route.tls {
        set("ssl-redirect", "true");
        // Its default is the port inside of the controller's pod.
        set("ssl-redirect-port", "443");
    }
    if route.inner_tls {
        // It takes any certificate of a pod.
        set("server-ssl", "true");
    }
    match route.affinity {
        Affinity::None => None,
        Affinity::ClientAddress => set("load-balance", "source"),
        Affinity::Authorization => set("load-balance", "hdr(Authorization)"),
    };
    Annotations { ingress, service: BTreeMap::new() }
}
