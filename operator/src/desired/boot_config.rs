//! ConfigMap `<name>-boot-<hash>`: the part of the runtime's configuration that needs a restart.
//!
//! Immutable and named by its content: a change makes a new ConfigMap, which the pod template names, which rolls the
//! pods; pods of the old ReplicaSet keep, and restart with, the file they were started with.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::ConfigMap;
use mcp_crds::{LogFormat, LogHandler, LogHandlerType, McpServerSpec, ReadinessProbe};
use mcp_server_config::{
    Audit, Builtin, Ciphers, ClientAuth, Cluster, Config, Container, Database, Drain, FORMAT_VERSION, Handler, Keys,
    Logging, Metrics, Otel, Redis, Sentinel, Server, SessionStore, Sessions, Tls, TlsVersion, Transport,
};
use url::Url;

use super::endpoint::{self, Backend, Ports};
use super::identity::{BOOT, CONFIG, short_digest};
use super::yaml::{self, number};
use super::{Identity, Invalid, Resolved, mounts};
use crate::exposure;

/// Seconds that kube-proxy and ingress controllers need to notice that an endpoint has gone.
const PROPAGATION_SECONDS: i32 = 5;

/// Hexadecimal digits of the hash in the name.
const HASH_DIGITS: usize = 10;

/// The ConfigMap with the boot file.
///
/// # Errors
/// When the backend's address is no URL.
pub fn build(id: &Identity, spec: &McpServerSpec, refs: &Resolved) -> Result<ConfigMap, Invalid> {
    let config = config(id, spec, refs)?;
    // What the runtime would refuse it must not be given: its pods would never come up.
    config.check().map_err(|refused| {
        Invalid::new("spec", format!("the runtime would refuse it ({refused})"), "change what it names")
    })?;
    let text = yaml::document(&config, id)?;
    let mut metadata = id.meta(id.boot_config_name(&short_digest(&text, HASH_DIGITS)));
    metadata.labels.get_or_insert_default().insert(CONFIG.to_owned(), BOOT.to_owned());
    Ok(ConfigMap {
        metadata,
        immutable: Some(true),
        data: Some(BTreeMap::from([(mounts::BOOT_FILE.to_owned(), text)])),
        ..ConfigMap::default()
    })
}

fn config(id: &Identity, spec: &McpServerSpec, refs: &Resolved) -> Result<Config, Invalid> {
    let ports = Ports::of(spec);
    Ok(Config {
        format_version: FORMAT_VERSION,
        server: Server {
            name: id.name.clone(),
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: Some(number("spec.backend", ports.mcp)?),
            path: endpoint::path(spec).to_owned(),
            transport: Transport::StreamableHttp,
            idle_timeout_seconds: exposure::idle_timeout_seconds(id, spec, refs.ingress_controller.as_deref()),
            stream_timeout_seconds: number("spec.expose.streamTimeoutSeconds", endpoint::stream_timeout_seconds(spec))?,
            ..Server::default()
        },
        tls: spec.tls.as_deref().map(tls),
        backend: backend(spec)?,
        redis: spec.redis.as_ref().map(|redis| self::redis(id, redis)).transpose()?,
        database: spec.database.as_deref().map(database).transpose()?,
        sessions: sessions(spec)?,
        metrics: Metrics {
            enabled: spec.observability.metrics.enabled,
            port: number("spec.observability.metrics.port", ports.management)?,
            path: spec.observability.metrics.path.clone(),
        },
        logging: logging(spec),
        audit: Audit {
            handlers: spec.observability.audit.as_ref().map(|audit| handlers(&audit.handlers)).unwrap_or_default(),
        },
        otel: spec.observability.otlp.as_ref().map(otel).transpose()?,
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
    let ReadinessProbe { period_seconds, failure_threshold, initial_delay_seconds: _, timeout_seconds: _ } =
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

fn tls(given: &mcp_crds::Tls) -> Tls {
    let mcp_crds::Tls { secret_name: _, issuer_ref: _, ca_bundle: _, min_version, ciphers, client_ca, client_auth } =
        given;
    let names = || ciphers.iter().map(|family| family.as_str().to_owned()).collect();
    Tls {
        cert_file: PathBuf::from(mounts::CERTIFICATE_FILE),
        key_file: PathBuf::from(mounts::CERTIFICATE_KEY_FILE),
        min_version: match min_version {
            mcp_crds::TlsVersion::V1_2 => TlsVersion::V1_2,
            mcp_crds::TlsVersion::V1_3 => TlsVersion::V1_3,
        },
        ciphers: (!ciphers.is_empty()).then(|| Ciphers::List(names())),
        client_ca_file: client_ca.as_ref().map(|bundle| PathBuf::from(mounts::ca_file(bundle))),
        client_auth: client_auth.map(|auth| match auth {
            mcp_crds::ClientAuth::Optional => ClientAuth::Optional,
            mcp_crds::ClientAuth::Required => ClientAuth::Required,
        }),
    }
}

fn redis(id: &Identity, redis: &mcp_crds::Redis) -> Result<Redis, Invalid> {
    let tls = redis.tls.clone().unwrap_or_default();
    let client = |file: &str| tls.client_secret_name.as_ref().map(|_| PathBuf::from(file));
    let password = redis.password_secret_ref.as_ref();
    Ok(Redis {
        url: None,
        url_file: redis.url_secret_ref.as_ref().map(|_| PathBuf::from(mounts::REDIS_URL_FILE)),
        sentinel: redis.sentinel.as_ref().map(sentinel),
        cluster: redis.cluster.as_ref().map(|cluster| Cluster { urls: cluster.urls.clone() }),
        username: redis.username.clone(),
        password_file: password.map(|_| PathBuf::from(mounts::REDIS_PASSWORD_FILE)),
        ca_file: tls.ca_bundle.as_ref().map(|bundle| PathBuf::from(mounts::ca_file(bundle))),
        client_certificate_file: client(mounts::REDIS_CLIENT_CERTIFICATE_FILE),
        client_key_file: client(mounts::REDIS_CLIENT_KEY_FILE),
        max_connections: number("spec.redis.maxConnections", redis.max_connections)?,
        socket_timeout: number("spec.redis.socketTimeoutSeconds", redis.socket_timeout_seconds)?,
        // The UID: a server of the same name in another namespace, or made anew, must not meet these keys.
        key_prefix: Some(format!("mcp:{}", id.uid)),
    })
}

fn sentinel(given: &mcp_crds::RedisSentinel) -> Sentinel {
    let mcp_crds::RedisSentinel { master, urls, username, password_secret_ref } = given;
    Sentinel {
        master: master.clone(),
        urls: urls.clone(),
        username: username.clone(),
        password_file: password_secret_ref.as_ref().map(|_| PathBuf::from(mounts::SENTINEL_PASSWORD_FILE)),
    }
}

fn database(given: &mcp_crds::Database) -> Result<Database, Invalid> {
    let mcp_crds::Database { url_secret_ref: _, pool_size, max_overflow, echo, migrations: _ } = given;
    Ok(Database {
        url: None,
        url_file: Some(PathBuf::from(mounts::DATABASE_URL_FILE)),
        pool_size: number("spec.database.poolSize", *pool_size)?,
        max_overflow: number("spec.database.maxOverflow", *max_overflow)?,
        echo: *echo,
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
        max_per_principal: spec
            .sessions
            .max_per_principal
            .map(|max| number("spec.sessions.maxPerPrincipal", max))
            .transpose()?,
    })
}

/// The level is in the live file: changing it must not roll the pods.
fn logging(spec: &McpServerSpec) -> Logging {
    let format = match spec.observability.log_format {
        LogFormat::Json => mcp_server_config::LogFormat::Json,
        LogFormat::Text => mcp_server_config::LogFormat::Text,
    };
    let default = Logging::default();
    let given = &spec.observability.log_handlers;
    let handlers = if given.is_empty() { default.handlers } else { handlers(given) };
    Logging { level: default.level, format, handlers }
}

fn handlers(given: &[LogHandler]) -> Vec<Handler> {
    let file = |name: &str| Handler::File { filename: PathBuf::from(format!("{}/{name}", mounts::LOG_DIR)) };
    let handler = |LogHandler { type_, filename }: &LogHandler| match type_ {
        LogHandlerType::Console => Handler::Console {},
        LogHandlerType::File => file(filename.as_deref().unwrap_or_default()),
    };
    given.iter().map(handler).collect()
}

fn otel(given: &mcp_crds::Otlp) -> Result<Otel, Invalid> {
    let mcp_crds::Otlp { endpoint, headers_secret_ref, sampling_rate_per_million, service_name, timeout_seconds } =
        given;
    Ok(Otel {
        headers_file: headers_secret_ref.as_ref().map(|_| PathBuf::from(mounts::OTLP_HEADERS_FILE)),
        sample_ratio: f64::from(*sampling_rate_per_million) / 1e6,
        service_name: service_name.clone(),
        timeout: number("spec.observability.otlp.timeoutSeconds", *timeout_seconds)?,
        ..Otel::new(yaml::url("spec.observability.otlp.endpoint", endpoint)?)
    })
}
