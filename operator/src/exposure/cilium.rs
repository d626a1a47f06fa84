//! Cilium's Ingress. Envoy's timeout for a whole answer is 15 seconds unless it is set, and no data resets it. It has no
//! affinity, and no HTTPS to pods. Read in operator/pkg/ingress/annotations/annotations.go of cilium/cilium (1.16 and newer).

use std::collections::BTreeMap;

use super::{Annotations, InnerTls, Profile, Route, prefixed};

const PREFIX: &str = "ingress.cilium.io/";

pub(super) const PROFILE: Profile = Profile {
    name: "cilium",
    controllers: &["cilium.io/ingress-controller"],
    affinities: &[],
    inner_tls: InnerTls::No,
    idle_seconds: |_| None,
    source: "https://docs.cilium.io/en/stable/network/servicemesh/ingress/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let timeout = format!("{}s", route.proxy_timeout_seconds());
    let mut ingress = prefixed(PREFIX, [("request-timeout", timeout)]);
    if route.tls {
        ingress.insert(format!("{PREFIX}force-https"), "enabled".to_owned());
    }
    Annotations { ingress, service: BTreeMap::new() }
}
