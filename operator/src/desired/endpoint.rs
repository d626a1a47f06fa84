//! Where the server answers: ports inside the pod, path, and the URLs by which clients reach it.

use mcp_crds::{Container, McpServerSpec};
use mcp_server_config::PublicUrl;
use url::Url;

use super::{Identity, Invalid};
use crate::settings::Settings;

/// Name of the MCP port in pod and Service.
pub const MCP: &str = "mcp";
/// Name of the port for metrics, probes and `/server`.
pub const MANAGEMENT: &str = "management";
/// Port of the Service for management.
pub const SERVICE_MANAGEMENT_PORT: i32 = 9090;

/// What `spec.expose` has by default, for servers that are not exposed.
const DEFAULT_PATH: &str = "/mcp";
const DEFAULT_STREAM_TIMEOUT_SECONDS: i32 = 3600;

/// The member of `spec.backend`.
#[derive(Clone, Copy, Debug)]
pub enum Backend<'a> {
    /// The runtime's own tools.
    Builtin,
    /// A container beside the runtime.
    Container(&'a Container),
}

impl<'a> Backend<'a> {
    /// # Errors
    /// Unless exactly one member is set.
    pub fn of(spec: &'a McpServerSpec) -> Result<Self, Invalid> {
        let mcp_crds::Backend { container, builtin } = &spec.backend;
        match (container, builtin) {
            (Some(container), None) => Ok(Self::Container(container)),
            (None, Some(_)) => Ok(Self::Builtin),
            (None, None) => Err(Invalid::new("spec.backend", "has no member", "set container or builtin")),
            (Some(_), Some(_)) => Err(Invalid::new("spec.backend", "has several members", "keep one of them")),
        }
    }

    /// Name of the member, as in the spec and in `status.backend`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Container(_) => "container",
        }
    }
}

/// The runtime's ports inside the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// MCP.
    pub mcp: i32,
    /// Metrics, probes, `/server`.
    pub management: i32,
}

impl Ports {
    /// Beside a user's container the runtime moves to ports that servers do not use by habit.
    #[must_use]
    pub fn of(spec: &McpServerSpec) -> Self {
        let (mcp, management) = match (spec.backend.container.is_some(), spec.tls.is_some()) {
            (false, false) => (8000, 9090),
            (false, true) => (8443, 9090),
            (true, false) => (18000, 19090),
            (true, true) => (18443, 19090),
        };
        Self { mcp, management: spec.observability.metrics.port.unwrap_or(management) }
    }
}

/// Path of the MCP endpoint, at every address of the server.
#[must_use]
pub fn path(spec: &McpServerSpec) -> &str {
    spec.expose.as_ref().map_or(DEFAULT_PATH, |expose| &expose.path)
}

/// The longest time that one stream or call may last.
#[must_use]
pub fn stream_timeout_seconds(spec: &McpServerSpec) -> i32 {
    spec.expose.as_ref().map_or(DEFAULT_STREAM_TIMEOUT_SECONDS, |expose| expose.stream_timeout_seconds)
}

/// What a client types: the route from outside, else the Service.
#[must_use]
pub fn address(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> String {
    let origin = exposed_origins(spec).next().unwrap_or_else(|| service_origin(id, spec, settings));
    format!("{origin}{}", path(spec))
}

/// `http://<name>.<namespace>.svc.<cluster domain>`, or `https` where the pods have TLS.
#[must_use]
pub fn service_origin(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> String {
    let [.., longest] = service_names(id, settings);
    format!("{}://{longest}", inner_scheme(spec))
}

/// The Service's DNS names, short ones too, because resolv.conf of every pod completes them.
#[must_use]
pub fn service_names(id: &Identity, settings: &Settings) -> [String; 4] {
    let Identity { name, namespace, .. } = id;
    [
        name.clone(),
        format!("{name}.{namespace}"),
        format!("{name}.{namespace}.svc"),
        format!("{name}.{namespace}.svc.{}", settings.cluster_domain),
    ]
}

/// Port of the Service for MCP: that of its scheme, so that URLs need none.
#[must_use]
pub fn service_port(spec: &McpServerSpec) -> i32 {
    if spec.tls.is_some() { 443 } else { 80 }
}

fn inner_scheme(spec: &McpServerSpec) -> &'static str {
    if spec.tls.is_some() { "https" } else { "http" }
}

/// Every origin under which clients reach the server: the exposed hosts, the one that `resourceUrl` names, then the
/// Service's DNS names.
///
/// # Errors
/// When a host is no host of a URL.
pub fn public_urls(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> Result<Vec<PublicUrl>, Invalid> {
    let scheme = inner_scheme(spec);
    let inside = service_names(id, settings).map(|name| format!("{scheme}://{name}"));
    let mut urls = Vec::new();
    let origins = (exposed_origins(spec).map(|origin| ("spec.expose.hosts", origin)))
        .chain(resource_origin(spec).map(|origin| ("spec.auth.resourceUrl", origin)))
        .chain(inside.map(|origin| ("metadata.name", origin)));
    for (field, origin) in origins {
        let problem = |problem| Invalid::new(field, problem, "use a DNS name");
        let url = PublicUrl::try_from(origin).map_err(problem)?;
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    Ok(urls)
}

/// Behind somebody's own proxy or load balancer clients know the server by this URL only, and ask for its host.
fn resource_origin(spec: &McpServerSpec) -> Option<String> {
    let url = Url::parse(spec.auth.as_ref()?.resource_url.as_deref()?).ok()?;
    matches!(url.scheme(), "http" | "https").then(|| url.origin().ascii_serialization())
}

fn exposed_origins(spec: &McpServerSpec) -> impl Iterator<Item = String> {
    spec.expose.iter().flat_map(|expose| {
        let scheme = if expose.tls.is_some() { "https" } else { "http" };
        expose.hosts.iter().map(move |host| format!("{scheme}://{host}"))
    })
}
