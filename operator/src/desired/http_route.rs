//! HTTPRoute `<name>`: the route from outside through Gateways. The same paths as the Ingress has.

use mcp_crds::McpServerSpec;

use super::{Identity, Resolved, endpoint, ingress};
use crate::exposure::OUTER_HOP_SECONDS;
use crate::gateway::{BackendRef, HttpRoute, HttpRouteSpec, PathMatch, RouteMatch, RouteRule, RouteTimeouts};

/// `None` unless the server is exposed by a Gateway.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec, refs: &Resolved) -> Option<HttpRoute> {
    let expose = spec.expose.as_ref()?;
    let gateway = expose.gateway.as_ref()?;
    // One list of paths for all hosts.
    let paths = ingress::paths(&expose.path, !refs.shared_hosts.is_empty());
    let to_path = |value: String| RouteMatch { path: PathMatch { type_: "PathPrefix".to_owned(), value } };
    let timeout = expose.stream_timeout_seconds.saturating_add(OUTER_HOP_SECONDS);
    let mut route = HttpRoute::new(
        &id.name,
        HttpRouteSpec {
            parent_refs: gateway.parent_refs.clone(),
            hostnames: expose.hosts.clone(),
            rules: vec![RouteRule {
                matches: paths.into_iter().map(to_path).collect(),
                backend_refs: vec![BackendRef { name: id.name.clone(), port: endpoint::service_port(spec) }],
                // The whole answer, which no data resets: a controller's default would cut every stream.
                timeouts: Some(RouteTimeouts { request: format!("{timeout}s") }),
            }],
        },
    );
    route.metadata = id.meta(&id.name);
    Some(route)
}
