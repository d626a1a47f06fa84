//! ConfigMap `<name>-boot-<hash>`: the part of the runtime's configuration that needs a restart.
//!
//! Immutable and named by its content: a change makes a new ConfigMap, which the pod template names, which rolls the
//! pods; pods of the old ReplicaSet keep, and restart with, the file they were started with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use mcp_crds::{LogFormat, McpServerSpec, Probe};
use mcp_server_config::{
    Audit, Builtin, Config, Container, Drain, FORMAT_VERSION, Keys, Logging, Metrics, Redis, Server, SessionStore,
    Sessions, Transport,
};
use url::Url;

use super::endpoint::{self, Backend, Ports};
use super::identity::{BOOT, CONFIG};
use super::yaml::{self, number};
use super::{Identity, Invalid, mounts};

/// Seconds that kube-proxy and ingress controllers need to notice that an endpoint has gone.
const PROPAGATION_SECONDS: i32 = 5;

/// Hexadecimal digits of the hash in the name.
const HASH_DIGITS: usize = 10;

/// The ConfigMap with the boot file.
///
/// # Errors
/// When the backend's address is no URL.
pub fn build(id: &Identity, spec: &McpServerSpec) -> Result<ConfigMap, Invalid> {
    let text = yaml::document(&config(id, spec)?, id)?;
    let digest = mcp_server_config::digest(&text);
    let hash: String = digest.trim_start_matches("sha256:").chars().take(HASH_DIGITS).collect();
    let mut metadata = id.meta(id.boot_config_name(&hash));
    metadata.labels.get_or_insert_default().insert(CONFIG.to_owned(), BOOT.to_owned());
    Ok(ConfigMap {
        metadata,
        immutable: Some(true),
        data: Some(BTreeMap::from([(mounts::BOOT_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    })
}

fn config(id: &Identity, spec: &McpServerSpec) -> Result<Config, Invalid> {
    let ports = Ports::of(spec);
    Ok(Config {
        format_version: FORMAT_VERSION,
        server: Server {
            name: id.name.clone(),
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: Some(number("spec.backend", ports.mcp)?),
            path: endpoint::path(spec).to_owned(),
            transport: Transport::StreamableHttp,
            stream_timeout_seconds: number("spec.expose.streamTimeoutSeconds", endpoint::stream_timeout_seconds(spec))?,
            ..Server::default()
        },
        tls: None,
        backend: backend(spec)?,
        redis: spec.redis.as_ref().map(|redis| self::redis(id, redis)).transpose()?,
        database: None,
        sessions: sessions(spec)?,
        metrics: Metrics {
            enabled: spec.observability.metrics.enabled,
            port: number("spec.observability.metrics.port", ports.management)?,
            path: spec.observability.metrics.path.clone(),
        },
        logging: logging(spec),
        audit: Audit::default(),
        otel: None,
        drain: Drain {
            grace_seconds: number("spec.runtime.probes.readiness", drain_grace_seconds(spec))?,
            timeout_seconds: number("spec.disruption.drainSeconds", spec.disruption.drain_seconds)?,
        },
        keys: Some(Keys { dir: PathBuf::from(mounts::KEYS_DIR) }),
        // A pod has one address, and finds it by itself.
        peers: None,
        // These live in the live file.
        auth: None,
        http: None,
        rate_limits: None,
        cors: None,
        tools: None,
    })
}

/// Seconds between SIGTERM and the closing of the listener. Some controllers (Traefik) send requests to a terminating
/// pod for as long as its endpoint is `serving`, which ends only when the kubelet has seen the readiness probe fail; who
/// closed earlier would let them connect to an address that is gone, and wait for the answer of nobody.
#[must_use]
pub fn drain_grace_seconds(spec: &McpServerSpec) -> i32 {
    let Probe { period_seconds, failure_threshold, initial_delay_seconds: _, timeout_seconds: _ } =
        spec.runtime.probes.readiness;
    period_seconds.saturating_mul(failure_threshold).saturating_add(PROPAGATION_SECONDS)
}

fn backend(spec: &McpServerSpec) -> Result<mcp_server_config::Backend, Invalid> {
    Ok(match Backend::of(spec)? {
        Backend::Builtin => mcp_server_config::Backend::Builtin(Builtin {}),
        Backend::Container(container) => mcp_server_config::Backend::Container(Container {
            url: container_url(container)?,
            stateless: container.stateless,
        }),
    })
}

/// The loopback address: the backend need not listen on the pod's.
fn container_url(container: &mcp_crds::Container) -> Result<Url, Invalid> {
    let text = format!("http://127.0.0.1:{}{}", container.port, container.path);
    Url::parse(&text).map_err(|error| {
        let problem = format!("{:?} makes no URL ({error})", container.path);
        Invalid::new("spec.backend.container.path", problem, "write a path as in /mcp")
    })
}

fn redis(id: &Identity, redis: &mcp_crds::Redis) -> Result<Redis, Invalid> {
    Ok(Redis {
        url_file: Some(PathBuf::from(mounts::REDIS_URL_FILE)),
        max_connections: number("spec.redis.maxConnections", redis.max_connections)?,
        socket_timeout: number("spec.redis.socketTimeoutSeconds", redis.socket_timeout_seconds)?,
        // The UID: a server of the same name in another namespace, or made anew, must not meet these keys.
        key_prefix: Some(format!("mcp:{}", id.uid)),
        ..Redis::default()
    })
}

fn sessions(spec: &McpServerSpec) -> Result<Sessions, Invalid> {
    let store = match spec.sessions.store {
        Some(mcp_crds::SessionStore::Redis) => SessionStore::Redis,
        Some(mcp_crds::SessionStore::Memory) => SessionStore::Memory,
        None if spec.redis.is_some() => SessionStore::Redis,
        None => SessionStore::Memory,
    };
    Ok(Sessions {
        store: Some(store),
        idle_timeout_seconds: number("spec.sessions.idleTimeoutSeconds", spec.sessions.idle_timeout_seconds)?,
        max: spec.sessions.max.map(|max| number("spec.sessions.max", max)).transpose()?,
    })
}

/// The level is in the live file: changing it must not roll the pods.
fn logging(spec: &McpServerSpec) -> Logging {
    let format = match spec.observability.log_format {
        LogFormat::Json => mcp_server_config::LogFormat::Json,
        LogFormat::Text => mcp_server_config::LogFormat::Text,
    };
    Logging { format, ..Logging::default() }
}
