//! Application Load Balancers of the AWS Load Balancer Controller. They stream; their affinity is by cookie, which MCP
//! clients do not keep. Certificates are of ACM, found by the hosts: `expose.tls` then needs no Secret.

use std::collections::BTreeMap;

use super::{Annotations, Profile, Route, prefixed};
use crate::desired::ingress::HEALTH;

const PREFIX: &str = "alb.ingress.kubernetes.io/";
/// The most that a load balancer takes.
const LONGEST_IDLE_SECONDS: i32 = 4000;

pub(super) const PROFILE: Profile = Profile {
    name: "aws-alb",
    controllers: &["ingress.k8s.aws/alb"],
    affinities: &[],
    source: "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/",
    annotate,
};

fn annotate(route: &Route) -> Annotations {
    // Idle time, which the runtime's comments in a silent stream reset.
    let idle = route.proxy_timeout_seconds().min(LONGEST_IDLE_SECONDS);
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
    Annotations { ingress, service: BTreeMap::new() }
}
