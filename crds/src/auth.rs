//! Who may call the server.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CaBundle, KeyRef, MethodScopes, ToolScopes};

/// Who may call the server. The runtime is an OAuth 2.1 resource server (MCP authorization, RFC 9728).
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.anonymous == 'Allow' || has(self.issuers)",
    "name at least one issuer, or write anonymous: Allow to serve everybody"
))]
#[x_kube(validation = (
    "!(self.anonymous == 'Allow' && has(self.issuers))",
    "anonymous: Allow would ignore the issuers: remove one of the two"
))]
#[x_kube(validation = (
    "has(self.issuers) || !(has(self.toolScopes) || has(self.methodScopes))",
    "toolScopes and methodScopes need issuers: without a token nobody has a scope"
))]
pub struct Auth {
    /// Deny asks every caller for a token; Allow serves everybody.
    #[serde(default)]
    pub anonymous: Anonymous,
    /// Authorization servers whose tokens are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["url".into()]))]
    pub issuers: Vec<Issuer>,
    /// Scopes that every token must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 128)))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Set,
        validation = (
            r#"self.all(scope, scope.matches('^[!#-\\[\\]-~]+$'))"#,
            "a scope has no spaces, quotes or backslashes (RFC 6749, section 3.3); list several scopes one by one"
        )
    )]
    pub required_scopes: Vec<String>,
    /// Scopes that calls of some tools need beside `requiredScopes`. A tool that a caller may not call is not listed for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub tool_scopes: Vec<ToolScopes>,
    /// Scopes that some methods need beside `requiredScopes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Atomic)]
    pub method_scopes: Vec<MethodScopes>,
    /// Which scopes a scope includes, as in `admin: [read, write]`. What is included may include further ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(
        extend("maxProperties" = 64),
        extend("additionalProperties" = {
            "type": "array", "maxItems": 64, "x-kubernetes-list-type": "set",
            "items": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[!#-\[\]-~]+$"}
        })
    )]
    pub scope_hierarchy: BTreeMap<String, Vec<String>>,
    /// Seconds for which a verified token is remembered; never longer than the token lives. 0 verifies each request.
    #[serde(default = "default_token_cache")]
    #[schemars(range(min = 0, max = 3600))]
    pub token_cache_seconds: i32,
    /// The `resource` of the protected-resource metadata, where clients know the server by another URL than the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != '' && !self.contains('#')",
        "must be an absolute http or https URL without a fragment, as in https://mcp.example.com/mcp"
    ))]
    pub resource_url: Option<String>,
}

fn default_token_cache() -> i32 {
    300
}

/// Whether callers without a token are served.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Every caller needs a valid token.
    #[default]
    Deny,
    /// Everybody is served.
    Allow,
}

/// One authorization server.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// The issuer identifier: the `iss` of its tokens, compared byte by byte.
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != '' && !self.contains('#') && !self.contains('?')",
        "must be an absolute http or https URL without query and fragment, as in https://auth.example.com"
    ))]
    pub url: String,
    /// Where the runtime fetches the issuer's metadata, if not at `url` (an address inside the cluster, say).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",
        "must be an absolute http or https URL"
    ))]
    pub server_url: Option<String>,
    /// Accepted `aud` values. Default: the URLs of this server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 512)))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub audiences: Vec<String>,
    /// Where the signing keys are. Default: what the issuer's metadata says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",
        "must be an absolute http or https URL"
    ))]
    pub jwks_url: Option<String>,
    /// Accepted signature algorithms. Default: RS256, PS256, ES256, ES384, EdDSA.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Set)]
    pub algorithms: Vec<Algorithm>,
    /// Certificate authorities of the issuer's server. Default: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<CaBundle>,
    /// Fetch keys and answers without TLS although the address is no name inside of the cluster: whoever is on the way can
    /// make tokens then.
    #[serde(default)]
    pub allow_http: bool,
    /// Ask the issuer about its tokens (RFC 7662). Without it only JWTs are accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
}

/// How an issuer is asked about tokens. Good answers are remembered for a minute at most, bad ones for ten seconds.
#[derive(Serialize, Deserialize, KubeSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Introspection {
    /// Where. Default: what the issuer's metadata says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    #[x_kube(validation = (
        "isURL(self) && url(self).getScheme() in ['http', 'https'] && url(self).getHost() != ''",
        "must be an absolute http or https URL"
    ))]
    pub url: Option<String>,
    /// The client as which this server asks.
    #[schemars(length(min = 1, max = 256))]
    pub client_id: String,
    /// Secret key with that client's secret, which goes out by `client_secret_basic`. Mounted, never read by the operator.
    pub client_secret_ref: KeyRef,
    /// Which tokens are asked about.
    #[serde(default)]
    pub tokens: Introspected,
}

/// Which tokens an issuer is asked about.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Introspected {
    /// Those that are no JWTs. JWTs are verified by their signature and stay good until they expire.
    #[default]
    Opaque,
    /// JWTs too, once their signature is verified: one that was revoked is refused within a minute.
    All,
}

/// An asymmetric signature algorithm (RFC 7518, RFC 8037). Symmetric ones and `none` do not exist here.
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

impl Algorithm {
    /// The registered name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}
