//! Whom to ask, and what to expect.

use std::sync::Arc;

use super::tls::PodTls;
use crate::cache::{Cache, Endpoint, Index, Key};
use crate::desired::endpoint::{self, MANAGEMENT, MCP};
use crate::desired::{Children, Identity};
use crate::settings::Settings;

/// One server as the verifier sees it. When it changes the server is asked at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub server: Key,
    /// Its UID: another server with the same name is another target.
    pub uid: String,
    /// Host of its Service.
    pub host: String,
    /// The same for DNS: the dot at the end keeps resolv.conf's search list out of it.
    pub dns: String,
    /// Port of its Service.
    pub port: u16,
    /// Path of the MCP endpoint.
    pub path: String,
    /// Callers without a token must be refused.
    pub enforces_auth: bool,
    /// TLS of the MCP endpoint in the pods.
    pub tls: Option<PodTls>,
    /// The live configuration that every pod must have.
    pub live_digest: String,
    /// Port of the MCP endpoint in the pods.
    pub mcp_port: u16,
    /// Port of `/server` in the pods.
    pub management_port: u16,
    /// The pods, not-ready ones too, in order.
    pub pods: Vec<Endpoint>,
}

impl Target {
    /// The target of a server whose children are `children`.
    #[must_use]
    pub fn of(
        server: &mcp_crds::McpServer,
        id: &Identity,
        children: &Children,
        settings: &Settings,
        cache: &Cache,
        authorities: Option<Arc<str>>,
    ) -> Self {
        let key = Key::new(&id.namespace, &id.name);
        let slices = cache.slices.find(&Index::Server(key.clone()));
        // Slices of an earlier server with this name may still be around.
        let slices = slices.iter().filter(|slice| slice.part.server_uid.as_deref() == Some(&id.uid));
        let ports = endpoint::Ports::of(&server.spec);
        let mut target = Self {
            dns: format!("{}.{}.svc.{}.", id.name, id.namespace, settings.cluster_domain),
            host: format!("{}.{}.svc.{}", id.name, id.namespace, settings.cluster_domain),
            port: port(endpoint::service_port(&server.spec)),
            tls: server
                .spec
                .tls
                .as_ref()
                .map(|tls| PodTls { authorities, needs_client_certificate: tls.needs_client_certificate() }),
            path: endpoint::path(&server.spec).to_owned(),
            enforces_auth: enforces_auth(server),
            live_digest: children.live_digest.clone(),
            mcp_port: port(ports.mcp),
            management_port: port(ports.management),
            pods: Vec::new(),
            server: key,
            uid: id.uid.clone(),
        };
        for slice in slices {
            // What the pods really listen at: while a roll-out changes a port, old pods have the old one.
            for (name, found) in &slice.ports {
                match name.as_str() {
                    MANAGEMENT => target.management_port = *found,
                    MCP => target.mcp_port = *found,
                    _ => {}
                }
            }
            target.pods.extend(slice.endpoints.iter().filter(|endpoint| is_pod(endpoint, id, cache)).cloned());
        }
        target.pods.sort_unstable();
        // Two slices may both have it for a moment.
        target.pods.dedup();
        target
    }

    /// The pods that take traffic.
    pub fn ready_pods(&self) -> impl Iterator<Item = &Endpoint> {
        self.pods.iter().filter(|pod| pod.ready)
    }
}

/// Whether that is the address of one of the server's own pods. Who may write EndpointSlices or their labels could else
/// have the operator ask anybody.
fn is_pod(endpoint: &Endpoint, id: &Identity, cache: &Cache) -> bool {
    let pod = cache.pods.get(&Key::new(&id.namespace, &endpoint.pod));
    pod.is_some_and(|pod| pod.part.server_uid.as_deref() == Some(&id.uid) && pod.addresses.contains(&endpoint.address))
}

fn enforces_auth(server: &mcp_crds::McpServer) -> bool {
    server.spec.auth.as_ref().is_some_and(|auth| auth.anonymous == mcp_crds::Anonymous::Deny)
}

/// The schema bounds ports; 0 fails to connect, visibly.
fn port(number: i32) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cache::PodView;

    fn identity(uid: &str) -> Identity {
        let server = serde_json::from_value(json!({
            "apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer",
            "metadata": {"name": "demo", "namespace": "ns", "uid": uid}, "spec": {"backend": {"builtin": {}}}
        }));
        Identity::of(&server.unwrap()).unwrap()
    }

    #[test]
    fn only_addresses_of_the_servers_own_pods_are_asked() {
        let cache = Cache::default();
        let pod = json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": identity("u1").labels()},
            "status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}
        });
        cache.pods.put(PodView::of(serde_json::from_value(pod).unwrap()));
        let is_asked = |pod: &str, address: &str, uid: &str| {
            let endpoint = Endpoint { pod: pod.to_owned(), address: address.parse().unwrap(), ready: true };
            is_pod(&endpoint, &identity(uid), &cache)
        };
        assert!(is_asked("p", "10.0.0.1", "u1") && is_asked("p", "fd00::1", "u1"));
        assert!(!is_asked("p", "169.254.169.254", "u1"), "somebody edited the slice");
        assert!(!is_asked("q", "10.0.0.1", "u1"), "a pod that is not there");
        assert!(!is_asked("p", "10.0.0.1", "u2"), "a pod of an earlier server with this name");
    }
}
