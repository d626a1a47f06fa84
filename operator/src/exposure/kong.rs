//! Kong Ingress Controller. Timeouts and retries are annotations of the Service. Its affinity is a resource of its own
//! (KongUpstreamPolicy, docs/exposure.md). Read in internal/annotations/annotations.go of
//! Kong/kubernetes-ingress-controller.

use super::{Annotations, InnerTls, Profile, Route, prefixed};

const PREFIX: &str = "konghq.com/";

pub(super) const PROFILE: Profile = Profile {
    name: "kong",
    controllers: &["ingress-controllers.konghq.com/kong"],
    affinities: &[],
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |_| None,
    source: "https://developer.konghq.com/kubernetes-ingress-controller/reference/annotations/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let off = || "false".to_owned();
    let mut ingress = prefixed(PREFIX, [("response-buffering", off()), ("request-buffering", off())]);
    if route.tls {
        ingress.insert(format!("{PREFIX}protocols"), "https".to_owned());
        ingress.insert(format!("{PREFIX}https-redirect-status-code"), "308".to_owned());
    }
    // Milliseconds.
    let timeout = format!("{}000", route.proxy_timeout_seconds());
    // Its default of five tries would call a tool again whose first call was only slow to answer.
    let service = [("read-timeout", timeout.clone()), ("write-timeout", timeout), ("retries", "0".to_owned())];
    let mut service = prefixed(PREFIX, service);
    if route.inner_tls {
        // It takes any certificate of a pod.
        service.insert(format!("{PREFIX}protocol"), "https".to_owned());
    }
    Annotations { ingress, service }
}
