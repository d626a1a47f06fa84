//! The environment variables of the deployment document, and OpenTelemetry's for the collector. They configure a runtime that runs alone and are stronger than
//! its file; in a pod they are ignored (`--no-env-overrides`), since there the file is the operator's word.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::de::value::{Error as PlainError, StrDeserializer};

use crate::{Auth, Config, Database, Invalid, Issuer, Live, LogFormat, LogLevel, Otel, Redis, Transport};

/// What the environment says. Empty variables say nothing.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    name: Option<String>,
    host: Option<std::net::IpAddr>,
    port: Option<u16>,
    transport: Option<Transport>,
    auth_server: Option<String>,
    auth_server_url: Option<url::Url>,
    auth_issuer: Option<String>,
    resource_server: Option<url::Url>,
    required_scopes: Option<Vec<String>>,
    database_url: Option<Secret>,
    pool_size: Option<u32>,
    max_overflow: Option<u32>,
    redis_url: Option<Secret>,
    redis_connections: Option<u32>,
    log_level: Option<LogLevel>,
    log_format: Option<LogFormat>,
    allowed_origins: Option<Vec<String>>,
    cors_max_age: Option<u32>,
    metrics_enabled: Option<bool>,
    metrics_port: Option<u16>,
    otel_endpoint: Option<url::Url>,
    warnings: Vec<String>,
}

#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("redacted")
    }
}

impl Environment {
    /// Reads the variables through `get`. An error names the variable.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, Invalid> {
        let get = |name: &str| get(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let mut warnings = Vec::new();
        for name in ["DB_POOL_SIZE", "DB_MAX_OVERFLOW"] {
            if get("DATABASE_URL").is_none() && get(name).is_some() {
                warnings.push(format!("{name}: it has an effect only with a database"));
            }
        }
        if get("REDIS_URL").is_none() && get("REDIS_MAX_CONNECTIONS").is_some() {
            warnings.push("REDIS_MAX_CONNECTIONS: it has an effect only with a redis".to_owned());
        }

        Ok(Self {
            name: get("MCP_SERVER_NAME"),
            host: parsed(&get, "MCP_SERVER_HOST")?,
            port: parsed(&get, "MCP_SERVER_PORT")?,
            transport: named(&get, "MCP_TRANSPORT", "streamable-http", str::to_ascii_lowercase)?,
            auth_server: get("AUTH_SERVER_URL"),
            auth_server_url: parsed(&get, "AUTH_SERVER_URL")?,
            auth_issuer: get("AUTH_ISSUER_URL"),
            resource_server: parsed(&get, "RESOURCE_SERVER_URL")?,
            required_scopes: get("REQUIRED_SCOPES").map(|text| list(&text)),
            database_url: get("DATABASE_URL").map(Secret),
            pool_size: parsed(&get, "DB_POOL_SIZE")?,
            max_overflow: parsed(&get, "DB_MAX_OVERFLOW")?,
            redis_url: get("REDIS_URL").map(Secret),
            redis_connections: parsed(&get, "REDIS_MAX_CONNECTIONS")?,
            log_level: named(&get, "LOG_LEVEL", "ERROR, WARNING, INFO, DEBUG or TRACE", str::to_ascii_uppercase)?,
            log_format: named(&get, "LOG_FORMAT", "json or text", str::to_ascii_lowercase)?,
            allowed_origins: get("ALLOWED_ORIGINS").map(|text| list(&text)),
            cors_max_age: parsed(&get, "CORS_MAX_AGE")?,
            metrics_enabled: boolean(&get, "METRICS_ENABLED")?,
            metrics_port: parsed(&get, "METRICS_PORT")?,
            otel_endpoint: parsed(&get, "OTEL_EXPORTER_OTLP_ENDPOINT")?,
            warnings,
        })
    }

    /// Variables that are set in vain.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Puts the variables of the boot file's sections over it.
    pub fn apply(&self, config: &mut Config) -> Result<(), Invalid> {
        set(&mut config.server.name, self.name.clone());
        set(&mut config.server.host, self.host);
        config.server.port = self.port.or(config.server.port);
        set(&mut config.server.transport, self.transport);
        set(&mut config.logging.level, self.log_level);
        set(&mut config.logging.format, self.log_format);
        set(&mut config.metrics.enabled, self.metrics_enabled);
        set(&mut config.metrics.port, self.metrics_port);
        if let Some(Secret(url)) = &self.database_url {
            let database = config.database.get_or_insert_with(Database::default);
            database.url = Some(url.clone());
            database.url_file = None;
        }
        if let Some(database) = &mut config.database {
            set(&mut database.pool_size, self.pool_size);
            set(&mut database.max_overflow, self.max_overflow);
        }
        if let Some(endpoint) = &self.otel_endpoint {
            config.otel.get_or_insert_with(|| Otel::new(endpoint.clone())).endpoint = endpoint.clone();
        }
        if let Some(Secret(url)) = &self.redis_url {
            let redis = config.redis.get_or_insert_with(Redis::default);
            redis.url = Some(url.clone());
            (redis.url_file, redis.sentinel, redis.cluster) = (None, None, None);
        }
        if let Some(redis) = &mut config.redis {
            set(&mut redis.max_connections, self.redis_connections);
        }
        config.check().map_err(|Invalid(why)| Invalid(format!("{why} (environment variables are in use)")))
    }

    /// Puts the variables of the live file's sections over it.
    pub fn apply_live(&self, live: &mut Live) -> Result<(), Invalid> {
        if self.log_level.is_some() {
            live.log_level = self.log_level;
        }
        set(&mut live.cors.allowed_origins, self.allowed_origins.clone());
        set(&mut live.cors.max_age, self.cors_max_age);
        if self.speaks_of_auth() {
            let auth = live.auth.get_or_insert_with(Auth::default);
            self.apply_issuer(auth)?;
            if self.resource_server.is_some() {
                auth.resource_server_url.clone_from(&self.resource_server);
            }
            set(&mut auth.required_scopes, self.required_scopes.clone());
        }
        live.check().map_err(|Invalid(why)| Invalid(format!("{why} (environment variables are in use)")))
    }

    fn speaks_of_auth(&self) -> bool {
        self.auth_server.is_some()
            || self.auth_issuer.is_some()
            || self.resource_server.is_some()
            || self.required_scopes.is_some()
    }

    /// AUTH_ISSUER_URL is the `iss` of tokens, AUTH_SERVER_URL where the server is found; either stands for both.
    fn apply_issuer(&self, auth: &mut Auth) -> Result<(), Invalid> {
        // As written: issuers are compared byte by byte, and a `Url` would end an origin with a slash.
        let Some(given) = self.auth_issuer.as_ref().or(self.auth_server.as_ref()) else { return Ok(()) };
        if auth.issuers.len() > 1 {
            return Err(Invalid(format!(
                "AUTH_ISSUER_URL, AUTH_SERVER_URL: they name one issuer and auth.issuers has {}: unset the variables",
                auth.issuers.len()
            )));
        }
        let issuer = match (auth.issuers.pop(), auth.issuer_url.take()) {
            (Some(mut issuer), _) => {
                set(&mut issuer.url, self.auth_issuer.clone());
                issuer
            }
            (None, Some(url)) => Issuer::new(self.auth_issuer.clone().unwrap_or(url)),
            (None, None) => Issuer::new(given.clone()),
        };
        let server_url = match &self.auth_server {
            Some(server) if *server == issuer.url => None,
            Some(_) => self.auth_server_url.clone(),
            None => issuer.server_url.clone(),
        };
        auth.issuers = vec![Issuer { server_url, ..issuer }];
        Ok(())
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

fn list(text: &str) -> Vec<String> {
    text.split([',', ' ']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn parsed<T: FromStr<Err: Display>>(get: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<T>, Invalid> {
    let parse = |text: String| text.parse().map_err(|error| Invalid(format!("{name}: {text:?}: {error}")));
    get(name).map(parse).transpose()
}

fn named<T: DeserializeOwned>(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
    values: &str,
    normalize: impl Fn(&str) -> String,
) -> Result<Option<T>, Invalid> {
    let Some(text) = get(name) else { return Ok(None) };
    T::deserialize(StrDeserializer::<PlainError>::new(&normalize(&text)))
        .map(Some)
        .map_err(|_| Invalid(format!("{name}: {text:?} is unknown: write {values}")))
}

fn boolean(get: &impl Fn(&str) -> Option<String>, name: &str) -> Result<Option<bool>, Invalid> {
    let Some(text) = get(name) else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => Err(Invalid(format!("{name}: {text:?} is neither true nor false"))),
    }
}
