//! Rules that the types cannot say. A message names the field, its value, and what to write instead.

use crate::{
    Anonymous, Audit, Auth, Backend, Config, Cors, Database, Drain, Handler, Http, Invalid, Keys, Live, Metrics, Otel,
    Peers, Server, SessionStore, Sessions, issuer, policy,
};

/// A pool beyond that is a mistake: no database serves so many connections of one process well.
const MOST_CONNECTIONS: u32 = 10_000;
/// Paths of the MCP listener that are the runtime's own.
const RESERVED: [&str; 2] = ["/health", "/.well-known"];

impl Config {
    /// Checks the file for itself.
    pub fn check(&self) -> Result<(), Invalid> {
        // Without `..`: a new section must be thought of here.
        let Self {
            format_version: _,
            server,
            tls,
            backend,
            redis,
            database,
            sessions,
            metrics,
            logging,
            audit: Audit { handlers: audit },
            otel,
            drain,
            keys,
            peers,
            auth,
            http: _,
            rate_limits,
            cors,
            tools,
        } = self;
        server.check()?;
        metrics.check(self.mcp_port())?;
        if let Some(tls) = tls {
            tls.check()?;
        }
        backend.check()?;
        if let Some(redis) = redis {
            redis.check()?;
        }
        if let Some(database) = database {
            database.check()?;
        }
        sessions.check(redis.is_some())?;
        check_handlers("logging", &logging.handlers)?;
        check_handlers("audit", audit)?;
        if let Some(otel) = otel {
            otel.check()?;
        }
        drain.check()?;
        if let Some(Keys { dir }) = keys
            && dir.as_os_str().is_empty()
        {
            return invalid("keys.dir: it is empty: write the directory of the key files, or remove `keys`");
        }
        if let Some(Peers { advertise: Some(address) }) = peers
            && (address.ip().is_unspecified() || address.port() == 0)
        {
            return invalid(format!(
                "peers.advertise: {address} is nowhere: write an address and port that other replicas can reach, as in \
                 10.0.0.7:9090"
            ));
        }
        if let Some(auth) = auth {
            auth.check()?;
        }
        if let Some(limits) = rate_limits {
            limits.check()?;
        }
        if let Some(cors) = cors {
            cors.check()?;
        }
        if let Some(tools) = tools {
            tools.check()?;
        }
        Ok(())
    }

    /// The live part of a file that holds both.
    #[must_use]
    pub fn live(&self) -> Live {
        Live {
            format_version: self.format_version,
            auth: self.auth.clone(),
            http: self.http.clone().unwrap_or_default(),
            rate_limits: self.rate_limits.clone().unwrap_or_default(),
            cors: self.cors.clone().unwrap_or_default(),
            tools: self.tools.clone().unwrap_or_default(),
            log_level: Some(self.logging.level),
        }
    }
}

impl Live {
    /// Checks the file for itself.
    pub fn check(&self) -> Result<(), Invalid> {
        let Self {
            format_version: _,
            auth,
            http: Http { public_urls: _, trusted_proxies: _ },
            rate_limits,
            cors,
            tools,
            log_level: _,
        } = self;
        if let Some(auth) = auth {
            auth.check()?;
        }
        rate_limits.check()?;
        cors.check()?;
        tools.check()
    }
}

/// Checks what depends on both files, after the environment has had its say. `separate`: the live file is one of its own.
pub fn check_together(config: &Config, live: &Live, separate: bool) -> Result<(), Invalid> {
    if separate {
        let sections = [
            ("auth", config.auth.is_some()),
            ("http", config.http.is_some()),
            ("rate_limits", config.rate_limits.is_some()),
            ("cors", config.cors.is_some()),
            ("tools", config.tools.is_some()),
        ];
        if let Some((section, _)) = sections.iter().find(|(_, present)| *present) {
            return invalid(format!("{section}: with a live file this section belongs there: move it"));
        }
    }
    if live.auth.is_none() && !config.server.host.is_loopback() {
        return invalid(format!(
            "auth: it is missing and server.host {} can be reached from other machines: name an issuer, or write \
             `auth: {{anonymous: allow}}` to serve everybody",
            config.server.host
        ));
    }
    Ok(())
}

impl Server {
    fn check(&self) -> Result<(), Invalid> {
        let Self {
            name,
            host: _,
            port: _,
            path,
            transport: _,
            stream_timeout_seconds,
            max_request_body_bytes,
            idle_timeout_seconds: _,
            max_connections: _,
        } = self;
        if name.is_empty() || name.len() > 128 || name.chars().any(char::is_control) {
            return invalid(format!("server.name: {name:?} is not 1 to 128 printable characters"));
        }
        check_path("server.path", path)?;
        let taken = |reserved: &str| path == reserved || path.starts_with(&format!("{reserved}/"));
        if let Some(reserved) = RESERVED.iter().find(|reserved| taken(reserved)) {
            return invalid(format!("server.path: {path} is under {reserved}, which is taken: write another, as /mcp"));
        }
        positive("server.stream_timeout_seconds", *stream_timeout_seconds)?;
        positive("server.max_request_body_bytes", *max_request_body_bytes)?;
        positive("server.idle_timeout_seconds", self.idle_timeout_seconds())?;
        positive("server.max_connections", self.max_connections())
    }
}

impl Metrics {
    fn check(&self, mcp_port: u16) -> Result<(), Invalid> {
        let Self { enabled: _, port, path } = self;
        check_path("metrics.path", path)?;
        if ["/", "/livez", "/readyz", "/server"].contains(&path.as_str()) {
            return invalid(format!("metrics.path: {path} is taken: write another, as /metrics"));
        }
        // Port 0 asks the system for any free port.
        if *port == mcp_port && *port != 0 {
            return invalid(format!("metrics.port: {port} is server.port too: write another, as 9090"));
        }
        Ok(())
    }
}

impl Backend {
    fn check(&self) -> Result<(), Invalid> {
        match self {
            Self::Builtin(_) => Ok(()),
            Self::Container(container) if !matches!(container.url.scheme(), "http" | "https") => invalid(format!(
                "backend.container.url: the scheme {} is neither http nor https: write http://127.0.0.1:8000/mcp",
                container.url.scheme()
            )),
            Self::Container(container) if !container.url.has_host() => {
                invalid("backend.container.url: it has no host: write http://127.0.0.1:8000/mcp")
            }
            Self::Container(_) => Ok(()),
        }
    }
}

impl Sessions {
    fn check(&self, redis: bool) -> Result<(), Invalid> {
        let Self { store, idle_timeout_seconds, max, max_per_principal } = self;
        if *store == Some(SessionStore::Redis) && !redis {
            return invalid("sessions.store: redis needs the section `redis`: add it, or write memory");
        }
        positive("sessions.idle_timeout_seconds", *idle_timeout_seconds)?;
        max.map_or(Ok(()), |max| positive("sessions.max", max))?;
        max_per_principal.map_or(Ok(()), |max| positive("sessions.max_per_principal", max))
    }
}

impl Database {
    fn check(&self) -> Result<(), Invalid> {
        let Self { url, url_file, pool_size, max_overflow, echo: _ } = self;
        match (url, url_file) {
            (Some(_), Some(_)) => return invalid("database: `url` and `url_file` are both given: remove one"),
            (None, None) => return invalid("database: neither `url` nor `url_file` is given: write one"),
            (Some(url), None) => check_database_url("database.url", url)?,
            (None, Some(_)) => {}
        }
        positive("database.pool_size", *pool_size)?;
        if pool_size.checked_add(*max_overflow).is_none_or(|all| all > MOST_CONNECTIONS) {
            return invalid(format!(
                "database.max_overflow: {max_overflow} and pool_size {pool_size} are more than {MOST_CONNECTIONS} \
                 connections together: write less"
            ));
        }
        Ok(())
    }
}

/// The scheme of a database's URL, which is not shown: it may hold a password.
pub fn check_database_url(field: &str, url: &str) -> Result<(), Invalid> {
    const SUPPORTED: &str = "supported are postgresql://host:5432/database and sqlite:/path/to/file";
    // Only what stands before `://` is shown: anything else could be the password.
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => Ok(()),
        _ if url.starts_with("sqlite:") => Ok(()),
        Some((scheme, _)) if scheme.len() <= 20 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') => {
            invalid(format!("{field}: databases of the scheme {scheme} are not supported: {SUPPORTED}"))
        }
        Some(_) | None => invalid(format!("{field}: it is no URL of a database: {SUPPORTED}")),
    }
}

impl Otel {
    fn check(&self) -> Result<(), Invalid> {
        let Self { endpoint, protocol: _, headers_file: _, sample_ratio, service_name, timeout } = self;
        check_http_url("otel.endpoint", endpoint.as_str())?;
        if !(0.0..=1.0).contains(sample_ratio) {
            return invalid(format!("otel.sample_ratio: {sample_ratio} is not between 0 and 1"));
        }
        if service_name.as_ref().is_some_and(String::is_empty) {
            return invalid("otel.service_name: it is empty: write a name, or leave it out to use server.name");
        }
        positive("otel.timeout", *timeout)
    }
}

fn check_handlers(section: &str, handlers: &[Handler]) -> Result<(), Invalid> {
    for (index, handler) in handlers.iter().enumerate() {
        match handler {
            Handler::File { filename } if filename.as_os_str().is_empty() => {
                return invalid(format!("{section}.handlers[{index}].filename: it is empty: write a path"));
            }
            Handler::File { .. } | Handler::Console {} => {}
        }
    }
    Ok(())
}

impl Drain {
    fn check(&self) -> Result<(), Invalid> {
        let Self { grace_seconds, timeout_seconds } = self;
        for (field, value) in [("grace_seconds", grace_seconds), ("timeout_seconds", timeout_seconds)] {
            if *value > 86_400 {
                return invalid(format!("drain.{field}: {value} is more than a day"));
            }
        }
        Ok(())
    }
}

impl Auth {
    fn check(&self) -> Result<(), Invalid> {
        let Self {
            anonymous,
            issuer_url,
            issuers,
            resource_server_url,
            required_scopes,
            tool_scopes,
            method_scopes,
            scope_hierarchy,
            token_cache_ttl: _,
        } = self;
        if issuer_url.is_some() && !issuers.is_empty() {
            return invalid(
                "auth: `issuer_url` and `issuers` are both given: `issuer_url` is short for one issuer; remove one",
            );
        }
        let urls: Vec<(String, &str)> = match issuer_url {
            Some(url) => vec![("auth.issuer_url".to_owned(), url)],
            None => {
                issuers.iter().enumerate().map(|(n, it)| (format!("auth.issuers[{n}].url"), it.url.as_str())).collect()
            }
        };
        if urls.is_empty() && *anonymous == Anonymous::Deny {
            return invalid(
                "auth: no issuer is named: write issuer_url, or `anonymous: allow` to serve everybody without a token",
            );
        }
        for (index, (field, url)) in urls.iter().enumerate() {
            check_http_url(field, url)?;
            if urls[..index].iter().any(|(_, earlier)| earlier == url) {
                return invalid(format!("{field}: {url} is named twice: remove one"));
            }
        }
        if let Some(url) = issuer_url {
            issuer::check_transport("auth.issuer_url", url)?;
        }
        for (index, issuer) in issuers.iter().enumerate() {
            issuer.check(&format!("auth.issuers[{index}]"))?;
        }
        if let Some(url) = resource_server_url {
            check_http_url("auth.resource_server_url", url.as_str())?;
        }
        required_scopes.iter().try_for_each(|scope| policy::check_scope("auth.required_scopes", scope))?;
        policy::check_tool_scopes(tool_scopes)?;
        policy::check_method_scopes(method_scopes)?;
        policy::check_hierarchy(scope_hierarchy)?;
        let rules = [("tool_scopes", tool_scopes.is_empty()), ("method_scopes", method_scopes.is_empty())];
        if let Some((field, _)) = rules.iter().find(|(_, empty)| urls.is_empty() && !empty) {
            return invalid(format!(
                "auth.{field}: without an issuer nobody has a scope: name an issuer, or remove it"
            ));
        }
        Ok(())
    }
}

impl Cors {
    fn check(&self) -> Result<(), Invalid> {
        let Self { allowed_origins, allowed_methods, expose_headers, max_age: _ } = self;
        for (index, origin) in allowed_origins.iter().enumerate() {
            if origin != "*" && origin != "null" && !is_origin(origin) {
                return invalid(format!(
                    "cors.allowed_origins[{index}]: {origin:?} is no origin: write scheme://host[:port], as in https://claude.ai"
                ));
            }
        }
        for (field, tokens) in [("allowed_methods", allowed_methods), ("expose_headers", expose_headers)] {
            if let Some(token) = tokens.iter().find(|token| !is_token(token)) {
                return invalid(format!("cors.{field}: {token:?} cannot stand in a header"));
            }
        }
        Ok(())
    }
}

fn check_path(field: &str, path: &str) -> Result<(), Invalid> {
    if !path.starts_with('/') {
        return invalid(format!("{field}: {path:?} does not begin with a slash: write /{path}"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !path.bytes().all(plain) || path.contains("//") || path.split('/').any(|part| part == "." || part == "..") {
        return invalid(format!(
            "{field}: {path:?} is no plain path: use letters, digits, and - . _ ~ between slashes"
        ));
    }
    if path.len() > 1 && path.ends_with('/') {
        return invalid(format!("{field}: {path:?} ends with a slash: leave it out; both forms are served"));
    }
    Ok(())
}

pub(crate) fn check_http_url(field: &str, text: &str) -> Result<(), Invalid> {
    let wrong = |why: &str| invalid(format!("{field}: {why}: write a URL like https://auth.example.com"));
    match url::Url::parse(text) {
        Err(error) => wrong(&error.to_string()),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => wrong("it is neither http nor https"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => wrong("it has a user or password"),
        Ok(url) if url.fragment().is_some() => wrong("it has a fragment"),
        Ok(_) => Ok(()),
    }
}

fn is_origin(text: &str) -> bool {
    // Browsers send the origin in lower case, without the default port and without a slash.
    url::Url::parse(text).is_ok_and(|url| url.origin().ascii_serialization() == text)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(crate) fn positive(field: &str, value: u32) -> Result<(), Invalid> {
    if value == 0 { invalid(format!("{field}: 0 is too few: write 1 or more")) } else { Ok(()) }
}

pub(crate) fn invalid<T>(message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(message.into()))
}
