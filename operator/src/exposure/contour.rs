//! Contour, by Ingress. Envoy's timeout for a whole answer is 15 seconds unless it is set, and no data resets it. It has
//! no affinity for an Ingress; HTTPProxy has (docs/exposure.md).
//!
//! Contour goes by the name of the IngressClass and ignores its controller: both names that its users write are here.

use std::collections::BTreeMap;

use super::{Annotations, ENVOY_IDLE_SECONDS, InnerTls, Profile, Route, prefixed};

pub(super) const PROFILE: Profile = Profile {
    name: "contour",
    controllers: &["projectcontour.io/ingress-controller", "projectcontour.io/contour"],
    affinities: &[],
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |_| Some(ENVOY_IDLE_SECONDS),
    source: "https://projectcontour.io/docs/main/config/annotations/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let timeout = format!("{}s", route.proxy_timeout_seconds());
    let mut ingress = prefixed("projectcontour.io/", [("response-timeout", timeout)]);
    if route.tls {
        ingress.insert("ingress.kubernetes.io/force-ssl-redirect".to_owned(), "true".to_owned());
    }
    let mut service = BTreeMap::new();
    if route.inner_tls {
        // Ports, by number or name. It takes any certificate of a pod.
        service.insert("projectcontour.io/upstream-protocol.tls".to_owned(), "443".to_owned());
    }
    Annotations { ingress, service }
}
