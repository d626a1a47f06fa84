//! The live file: what the runtime reloads while it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::limits::RateLimits;

use crate::policy::{MethodScopes, ToolScopes, Tools};

/// What may change while the runtime runs.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Version of this format: 1.
    #[serde(rename = "formatVersion")]
    pub format_version: u32,
    /// Who may call. Without it nobody may, but for a server at a loopback address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How clients reach the server.
    #[serde(default)]
    pub http: Http,
    /// How often clients may call.
    #[serde(default)]
    pub rate_limits: RateLimits,
    /// Which web pages may call.
    #[serde(default)]
    pub cors: Cors,
    /// Which tools of the backend there are for clients.
    #[serde(default, skip_serializing_if = "Tools::is_default")]
    pub tools: Tools,
    /// The least severe level that is logged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_level: Option<LogLevel>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            format_version: 1,
            auth: None,
            http: Http::default(),
            rate_limits: RateLimits::default(),
            cors: Cors::default(),
            tools: Tools::default(),
            log_level: None,
        }
    }
}

/// A log level.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    #[serde(alias = "WARN")]
    Warning,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Who may call: OAuth 2.1 resource server (MCP authorization, RFC 9728).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// `allow` serves callers without a token.
    pub anonymous: Anonymous,
    /// Shorthand for one issuer with defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_url: Option<String>,
    /// Authorization servers whose tokens are accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
    /// The `resource` of the metadata, and an accepted audience. Default: the public URL that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_server_url: Option<Url>,
    /// Scopes that every token must have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_scopes: Vec<String>,
    /// Scopes that calls of some tools need beside `required_scopes`. A tool that a caller may not call is not listed for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_scopes: Vec<ToolScopes>,
    /// Scopes that some methods need beside `required_scopes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub method_scopes: Vec<MethodScopes>,
    /// Which scopes a scope includes, as in `admin: [read, write]`. What is included includes further ones.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub scope_hierarchy: BTreeMap<String, Vec<String>>,
    /// Seconds for which a verified token is remembered, at most as long as it lives. Default 300.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_cache_ttl: Option<u32>,
}

/// Whether callers without a token are served.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Every caller needs a valid token.
    #[default]
    Deny,
    /// Everybody is served.
    Allow,
}

/// One authorization server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` of its tokens, compared byte by byte.
    pub url: String,
    /// Where its metadata is fetched. Default: `url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_url: Option<Url>,
    /// Accepted `aud` values. Default: the URLs of this server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Where the signing keys are. Default: what the metadata says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<Url>,
    /// Accepted signature algorithms. Default: RS256, PS256, ES256, ES384, EdDSA.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<Algorithm>,
    /// PEM file of the certificate authorities of the issuer's server. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Fetch keys and answers without TLS although the address is no loopback address, no name inside of a cluster and no
    /// single word: whoever is on the way can make tokens then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_http: bool,
    /// Ask the issuer about its tokens (RFC 7662). Without it only JWTs are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
}

impl Issuer {
    /// One with defaults.
    #[must_use]
    pub fn new(url: String) -> Self {
        Self {
            url,
            server_url: None,
            audiences: Vec::new(),
            jwks_url: None,
            algorithms: Vec::new(),
            ca_file: None,
            allow_http: false,
            introspection: None,
        }
    }
}

/// How an issuer is asked about tokens. Good answers are remembered for a minute at most, bad ones for ten seconds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Introspection {
    /// Where. Default: what the metadata says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// The client as which this server asks.
    pub client_id: String,
    /// File with that client's secret, which goes out by `client_secret_basic`. Read for each question.
    pub client_secret_file: PathBuf,
    /// Which tokens are asked about.
    #[serde(default)]
    pub tokens: Introspected,
}

/// Which tokens an issuer is asked about.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Introspected {
    /// Those that are no JWTs. JWTs are verified here and stay good until they expire.
    #[default]
    Opaque,
    /// JWTs too, once they are verified here: one that was revoked is refused within a minute.
    All,
}

/// An asymmetric signature algorithm (RFC 7518, RFC 8037).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// How clients reach the server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The origins (scheme://host[:port]) under which clients reach the server. Their hosts are the accepted `Host`
    /// values; the origin that was asked, with the path, is the RFC 9728 `resource`. The loopback names are always
    /// accepted where the server listens at a loopback address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_urls: Vec<PublicUrl>,
    /// Networks of the proxies whose X-Forwarded-For, X-Real-IP and X-Forwarded-Proto are believed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
}

/// An origin: scheme, host, optional port; no path. Kept as written, in lower case.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// The URL, with path `/`.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// `scheme://host[:port]`, without a slash at the end.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// `host[:port]` as a client puts it into `Host`: the scheme's default port is left out.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority()
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("{text:?} is not an origin ({why}): write scheme://host[:port], as in https://mcp.example.com")
        };
        let url = Url::parse(&text).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a public URL has no user or password: write scheme://host[:port]".to_owned());
        }
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("the scheme is neither http nor https"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has a path, query or fragment"));
        }
        Ok(Self(url))
    }
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.origin().to_owned()
    }
}

/// Cross-origin resource sharing: which web pages may call from a browser.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Origins of web pages. Requests with any other `Origin` are refused with 403.
    pub allowed_origins: Vec<String>,
    /// Methods that such pages may use.
    pub allowed_methods: Vec<String>,
    /// Response headers that such pages may read.
    pub expose_headers: Vec<String>,
    /// Seconds for which browsers remember these rules.
    pub max_age: u32,
}

impl Default for Cors {
    fn default() -> Self {
        let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            allowed_origins: Vec::new(),
            allowed_methods: owned(&["GET", "POST", "DELETE"]),
            expose_headers: owned(&["Mcp-Session-Id", "WWW-Authenticate"]),
            max_age: 3600,
        }
    }
}
