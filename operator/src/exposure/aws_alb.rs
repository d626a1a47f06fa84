//! Application Load Balancers of the AWS Load Balancer Controller. They stream; their affinity is by cookie, which MCP
//! clients do not keep. Certificates are of ACM, found by the hosts: `expose.tls` then needs no Secret.

use std::collections::BTreeMap;

use super::{Annotations, InnerTls, Profile, Route, prefixed};
use crate::desired::ingress::HEALTH;

const PREFIX: &str = "alb.ingress.kubernetes.io/";
/// The most that a load balancer takes.
const LONGEST_IDLE_SECONDS: i32 = 4000;

pub(super) const PROFILE: Profile = Profile {
    name: "aws-alb",
    controllers: &["ingress.k8s.aws/alb"],
    affinities: &[],
    inner_tls: InnerTls::ByAnnotation,
    idle_seconds: |route| Some(idle_seconds(route)),
    source: "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/",
    annotate,
};

fn annotate(route: &Route<'_>) -> Annotations {
    let idle = idle_seconds(route);
    let mut ingress = prefixed(
        PREFIX,
        [
            // To the pods: `instance`, the default, takes a node port that the Service does not have.
            ("target-type", "ip".to_owned()),
            ("load-balancer-attributes", format!("idle_timeout.timeout_seconds={idle}")),
            // Its default asks `/`, which answers 404. Where a shared dependency makes every pod unhealthy the load
            // balancer goes on sending to all of them.
            ("healthcheck-path", HEALTH.to_owned()),
        ],
    );
    if route.tls {
        let mut set = |key: &str, value: &str| ingress.insert(format!("{PREFIX}{key}"), value.to_owned());
        set("listen-ports", r#"[{"HTTP": 80}, {"HTTPS": 443}]"#);
        set("ssl-redirect", "443");
    }
    if route.inner_tls {
        // It takes any certificate of a pod.
        ingress.insert(format!("{PREFIX}backend-protocol"), "HTTPS".to_owned());
        ingress.insert(format!("{PREFIX}healthcheck-protocol"), "HTTPS".to_owned());
    }
    Annotations { ingress, service: BTreeMap::new() }
}

/// Of streams, where the runtime's comments reset it, and of connections between two requests.
fn idle_seconds(route: &Route<'_>) -> i32 {
    route.proxy_timeout_seconds().min(LONGEST_IDLE_SECONDS)
}
