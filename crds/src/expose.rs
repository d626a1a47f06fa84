//! How clients outside of the cluster reach the server.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients outside of the cluster reach the server.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// Host names that the route answers to. The first one is shown in `status.address.url`.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 253)))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Set,
        validation = (
            "self.all(host, host.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",
            "hosts are lower-case DNS names without scheme, port, path or wildcard, as in mcp.example.com"
        )
    )]
    pub hosts: Vec<String>,
    /// Path of the MCP endpoint, at every address of this server.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = (
        r"self == '/' || self.matches('^(/[A-Za-z0-9._~-]+)+$')",
        "must be '/' or segments of letters, digits and . _ ~ - without a slash at the end, as in /mcp"
    ))]
    pub path: String,
    /// The longest time in seconds that one stream or call may last. Every timeout on the way is derived from it.
    #[serde(default = "default_stream_timeout")]
    #[schemars(range(min = 10, max = 86400))]
    pub stream_timeout_seconds: i32,
    /// What keeps a client of the 2025 revisions at one pod, where sessions are kept in the pod and the ingress
    /// controller can do it by annotation; `Exposed` says where it cannot. Clients change pods all the same when pods
    /// come and go: sessions in redis need none of it.
    #[serde(default)]
    pub affinity: Affinity,
    /// Networks (CIDR) of the proxies in front of the runtime. Their X-Forwarded-For (rightmost untrusted address),
    /// X-Real-IP and X-Forwarded-Proto are believed; nobody else's. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 49)))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Set,
        validation = ("self.all(network, isCIDR(network))", "trustedProxies are networks in CIDR notation, as in 10.0.0.0/8")
    )]
    pub trusted_proxies: Vec<String>,
    /// TLS of the route. Without it the route is plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
    /// The Ingress that is made. Beside a `gateway` only when `className` is set.
    #[serde(default)]
    pub ingress: Ingress,
    /// The Gateways that the server is reached through, by an HTTPRoute in place of the Ingress. `tls` then only says that
    /// clients come by HTTPS: the certificates are the Gateway's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

fn default_path() -> String {
    "/mcp".to_owned()
}

fn default_stream_timeout() -> i32 {
    3600
}

/// What keeps a client at one pod. Hashing by `Mcp-Session-Id` is not offered: the first request has none.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Nothing: each request goes where there is room.
    #[default]
    None,
    /// The client's address, as the ingress controller sees it. Uneven where many clients share one.
    ClientAddress,
    /// The Authorization header. A client whose token is renewed changes its pod.
    Authorization,
}

impl Affinity {
    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::ClientAddress => "ClientAddress",
            Self::Authorization => "Authorization",
        }
    }
}

/// TLS of the route.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.issuerRef) || has(self.secretName)", "issuerRef needs secretName: the Secret that cert-manager fills"))]
pub struct RouteTls {
    /// Secret of type kubernetes.io/tls with the certificate of the hosts. Without it the controller's own certificates
    /// serve the hosts (a default certificate, AWS Certificate Manager).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// cert-manager issuer that fills the Secret, by annotation on the Ingress. The Secret may then be absent at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// A cert-manager issuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Issuer of this namespace, or ClusterIssuer.
    #[serde(default)]
    pub kind: IssuerKind,
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Kind of a cert-manager issuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IssuerKind {
    /// An issuer for the whole cluster.
    ClusterIssuer,
    /// An issuer of the server's namespace.
    #[default]
    Issuer,
}

/// The Ingress that is made for the server.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Ingress {
    /// IngressClass. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Which controller's annotations are written for streaming. Auto reads the IngressClass; Generic writes none.
    #[serde(default)]
    pub profile: IngressProfile,
    /// Annotations for the Ingress, added to the profile's and stronger than them. Snippets are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64), extend("additionalProperties" = {"type": "string", "maxLength": 8192}))]
    #[x_kube(validation = (
        "self.all(key, !key.contains('-snippet'))",
        "snippet annotations inject configuration into a shared proxy and are refused: use the controller's own settings"
    ))]
    pub annotations: BTreeMap<String, String>,
}

/// The Gateways that a server is reached through.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// The Gateways, and where in them. Each must admit routes of this namespace (`allowedRoutes`).
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub parent_refs: Vec<ParentRef>,
}

/// A Gateway, or one of its listeners.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway. Default: the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name of the listener. Default: every listener that admits the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
    /// Port of the listeners. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
}

/// A controller whose annotations we know.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IngressProfile {
    /// By the controller that the IngressClass names; Generic when it is not known.
    #[default]
    Auto,
    /// The community's ingress-nginx, and controllers that read its annotations.
    #[serde(rename = "ingress-nginx")]
    IngressNginx,
    /// NGINX Ingress Controller by F5.
    #[serde(rename = "f5-nginx")]
    F5Nginx,
    /// Traefik's own Ingress provider.
    #[serde(rename = "traefik")]
    Traefik,
    /// HAProxy Kubernetes Ingress Controller by HAProxy Technologies.
    #[serde(rename = "haproxy-technologies")]
    HaproxyTechnologies,
    /// The community's HAProxy Ingress.
    #[serde(rename = "haproxy-ingress")]
    HaproxyIngress,
    /// Contour.
    #[serde(rename = "contour")]
    Contour,
    /// Application Load Balancers of the AWS Load Balancer Controller.
    #[serde(rename = "aws-alb")]
    AwsAlb,
    /// Cilium's Ingress.
    #[serde(rename = "cilium")]
    Cilium,
    /// Kong Ingress Controller.
    #[serde(rename = "kong")]
    Kong,
    /// No annotations but the user's.
    Generic,
}
