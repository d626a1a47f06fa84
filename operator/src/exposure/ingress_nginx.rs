//! The community's ingress-nginx, and controllers that read its annotations (Traefik's ingress-nginx provider, which
//! knows fewer of them).

use std::collections::BTreeMap;

use mcp_crds::Affinity;

use super::{Annotations, BY_HASH, InnerTls, Profile, Route};

const PREFIX: &str = "nginx.ingress.kubernetes.io/";

pub(super) const PROFILE: Profile = Profile {
    name: "ingress-nginx",
    controllers: &["k8s.io/ingress-nginx"],
    affinities: BY_HASH,
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |_| None,
    source: "https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/annotations/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    // Plain seconds: with a unit the controller ignores the value.
    let timeout = route.proxy_timeout_seconds().to_string();
    let mut ingress = BTreeMap::new();
    let mut set = |key: &str, value: &str| ingress.insert(format!("{PREFIX}{key}"), value.to_owned());
    // Events must arrive as they happen.
    set("proxy-buffering", "off");
    set("proxy-request-buffering", "off");
    // HTTP/1.0, the default of old releases, ends a response by closing the connection.
    set("proxy-http-version", "1.1");
    set("proxy-read-timeout", &timeout);
    set("proxy-send-timeout", &timeout);
    // The controller's default is 1m, less than the runtime takes.
    set("proxy-body-size", &route.max_body_bytes.to_string());
    if route.tls {
        // Also where the controller's configuration has it off: tokens must not travel in the clear.
        set("ssl-redirect", "true");
    }
    if route.inner_tls {
        // It takes any certificate of a pod.
        set("backend-protocol", "HTTPS");
    }
    match route.affinity {
        Affinity::None => None,
        Affinity::ClientAddress => set("upstream-hash-by", "$remote_addr"),
        Affinity::Authorization => set("upstream-hash-by", "$http_authorization"),
    };
    Annotations { ingress, service: BTreeMap::new() }
}
