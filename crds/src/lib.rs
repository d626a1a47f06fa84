//! The public API of mcp-operator: the [`McpServer`] resource.
//!
//! Field documentation here is what `kubectl explain` prints. A field exists from the commit on that makes it work;
//! defaults that do not depend on other fields are in the schema, cross-field rules are CEL.
//!
//! ```text
//! server (spec, status, columns) ── backend, runtime, expose, auth, limits, state, observability, pod, network
//! schema  ── small helpers that shape the generated OpenAPI
//! crd     ── the finished CustomResourceDefinition, as committed in crds/*.yaml and shipped by the chart
//! ```

mod auth;
mod backend;
pub mod crd;
mod expose;
mod limits;
mod network;
mod observability;
mod pod;
mod policy;
mod quantity;
mod references;
mod runtime;
mod scaling;
mod schema;
mod server;
mod state;
mod status;
mod tls;

pub use auth::{Algorithm, Anonymous, Auth, Introspected, Introspection, Issuer};
pub use backend::{Backend, Builtin, Container, ContainerProbes};
pub use expose::{Affinity, Expose, Gateway, Ingress, IngressProfile, IssuerKind, IssuerRef, ParentRef, RouteTls};
pub use limits::{PrincipalRate, RateLimit, RateLimits, ToolRate};
pub use network::{NetworkPolicy, Service, ServiceType};
pub use observability::{
    Audit, Cors, LogFormat, LogHandler, LogHandlerType, LogLevel, Metrics, Observability, Otlp, ServiceMonitor,
};
pub use pod::{Disruption, Pod, PodIdentity, Volume};
pub use policy::{MethodScopes, ToolScopes, Tools};
pub use quantity::{Quantities, Quantity, Resources};
pub use references::{CaBundle, KeyRef};
pub use runtime::{LivenessProbe, Probe, Probes, PullPolicy, ReadinessProbe, Runtime};
pub use scaling::{Autoscaling, Strategy};
pub use server::{McpServer, McpServerSpec};
pub use state::{Database, Migrations, Redis, RedisCluster, RedisSentinel, RedisTls, SessionStore, Sessions};
pub use status::{Address, KeysPhase, KeysStatus, McpServerStatus, ServerInfo, ToolsInfo};
pub use tls::{CipherFamily, ClientAuth, Tls, TlsVersion};
