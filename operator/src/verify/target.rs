//! Whom to ask, and what to expect.

use std::collections::BTreeSet;

use crate::cache::{Cache, Endpoint, Index, Key};
use crate::desired::endpoint::{self, MANAGEMENT, MCP, SERVICE_PORT};
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
    /// The live configuration that every pod must have.
    pub live_digest: String,
    /// Port of the MCP endpoint in the pods.
    pub mcp_port: u16,
    /// Port of `/server` in the pods.
    pub management_port: u16,
    /// The pods, not-ready ones too.
    pub pods: BTreeSet<Endpoint>,
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
    ) -> Self {
        let key = Key::new(&id.namespace, &id.name);
        let slices = cache.slices.find(&Index::Server(key.clone()));
        // Slices of an earlier server with this name may still be around.
        let slices = slices.iter().filter(|slice| slice.part.server_uid.as_deref() == Some(&id.uid));
        let ports = endpoint::Ports::of(&server.spec);
        let mut target = Self {
            dns: format!("{}.{}.svc.{}.", id.name, id.namespace, settings.cluster_domain),
            host: format!("{}.{}.svc.{}", id.name, id.namespace, settings.cluster_domain),
            port: port(SERVICE_PORT),
            path: endpoint::path(&server.spec).to_owned(),
            enforces_auth: enforces_auth(server),
            live_digest: children.live_digest.clone(),
            mcp_port: port(ports.mcp),
            management_port: port(ports.management),
            pods: BTreeSet::new(),
            server: key,
            uid: id.uid.clone(),
        };
        for slice in slices {
            // What the pods really listen at: while a roll-out changes a port, old pods have the old one.
            if let Some(found) = slice.ports.get(MANAGEMENT) {
                target.management_port = *found;
            }
            if let Some(found) = slice.ports.get(MCP) {
                target.mcp_port = *found;
            }
            target.pods.extend(slice.endpoints.iter().cloned());
        }
        target
    }

    /// The pods that take traffic.
    pub fn ready_pods(&self) -> impl Iterator<Item = &Endpoint> {
        self.pods.iter().filter(|pod| pod.ready)
    }
}

fn enforces_auth(server: &mcp_crds::McpServer) -> bool {
    server.spec.auth.as_ref().is_some_and(|auth| auth.anonymous == mcp_crds::Anonymous::Deny)
}

/// The schema bounds ports; 0 fails to connect, visibly.
fn port(number: i32) -> u16 {
    u16::try_from(number).unwrap_or(0)
}
