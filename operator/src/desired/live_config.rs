//! ConfigMap `<name>-live`: the part of the runtime's configuration that it reloads while it runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use mcp_crds::McpServerSpec;
use mcp_server_config::{
    Algorithm, Anonymous, Auth, Cors, Count, FORMAT_VERSION, Http, Introspected, Introspection, Issuer, Live, LogLevel,
    MethodScopes, PerClient, PerPrincipal, PerTool, RateLimits, ToolScopes, Tools,
};
use url::Url;

use super::identity::{CONFIG, LIVE};
use super::yaml::{self, number};
use super::{Identity, Invalid, Resolved, endpoint, mounts};
use crate::settings::Settings;

/// The ConfigMap with the live file, and the digest by which a pod names the file it uses. The number of pods, by which
/// they divide a rate, is a key of its own: scaling is no other configuration, and nobody waits until pods have read it.
///
/// # Errors
/// When a URL, network or host of the spec is none.
pub fn build(
    id: &Identity,
    spec: &McpServerSpec,
    refs: &Resolved,
    settings: &Settings,
) -> Result<(ConfigMap, String), Invalid> {
    let live = live(id, spec, settings)?;
    // What the runtime would refuse it must not be given: a circle of scopes, say.
    live.check().map_err(|refused| {
        Invalid::new("spec", format!("the runtime would refuse it ({refused})"), "change what it names")
    })?;
    let text = yaml::document(&live, id)?;
    let digest = mcp_server_config::digest(&text);
    let mut metadata = id.meta(id.live_config_name());
    metadata.labels.get_or_insert_default().insert(CONFIG.to_owned(), LIVE.to_owned());
    let replicas = refs.replicas.unwrap_or(spec.replicas).max(1).to_string();
    let data = BTreeMap::from([(mounts::LIVE_FILE.to_owned(), text), (mounts::REPLICAS_FILE.to_owned(), replicas)]);
    Ok((ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }, digest))
}

fn live(id: &Identity, spec: &McpServerSpec, settings: &Settings) -> Result<Live, Invalid> {
    Ok(Live {
        format_version: FORMAT_VERSION,
        auth: Some(auth(spec)?),
        http: Http { public_urls: endpoint::public_urls(id, spec, settings)?, trusted_proxies: trusted_proxies(spec)? },
        rate_limits: rate_limits(spec)?,
        cors: cors(spec)?,
        tools: Tools { allow: spec.tools.allow.clone(), deny: spec.tools.deny.clone() },
        log_level: Some(log_level(spec.observability.log_level)),
    })
}

/// Without `auth` a server serves everybody who reaches it, which is the cluster: exposing it so is refused.
fn auth(spec: &McpServerSpec) -> Result<Auth, Invalid> {
    let Some(auth) = &spec.auth else {
        return match &spec.expose {
            None => Ok(Auth { anonymous: Anonymous::Allow, ..Auth::default() }),
            Some(_) => Err(Invalid::new(
                "spec.auth",
                "is missing, and expose needs it",
                "name the issuers whose tokens are accepted, or write auth: {anonymous: Allow} to serve everybody",
            )),
        };
    };
    let issuers = auth.issuers.iter().enumerate().map(|(index, issuer)| self::issuer(index, issuer));
    Ok(Auth {
        anonymous: match auth.anonymous {
            mcp_crds::Anonymous::Deny => Anonymous::Deny,
            mcp_crds::Anonymous::Allow => Anonymous::Allow,
        },
        issuer_url: None,
        issuers: issuers.collect::<Result<_, _>>()?,
        resource_server_url: parse_url("spec.auth.resourceUrl", auth.resource_url.as_deref())?,
        required_scopes: auth.required_scopes.clone(),
        token_cache_ttl: Some(number("spec.auth.tokenCacheSeconds", auth.token_cache_seconds)?),
        tool_scopes: auth.tool_scopes.iter().map(tool_scopes).collect(),
        method_scopes: auth.method_scopes.iter().map(method_scopes).collect(),
        scope_hierarchy: auth.scope_hierarchy.clone(),
    })
}

fn issuer(index: usize, issuer: &mcp_crds::Issuer) -> Result<Issuer, Invalid> {
    let field = |name: &str| format!("spec.auth.issuers[{index}].{name}");
    // Kept as text, because tokens are compared with it byte by byte; but it must be a URL.
    parse_url(&field("url"), Some(&issuer.url))?;
    Ok(Issuer {
        server_url: parse_url(&field("serverUrl"), issuer.server_url.as_deref())?,
        audiences: issuer.audiences.clone(),
        jwks_url: parse_url(&field("jwksUrl"), issuer.jwks_url.as_deref())?,
        algorithms: issuer.algorithms.iter().copied().map(algorithm).collect(),
        ca_file: issuer.ca_bundle.as_ref().map(|bundle| PathBuf::from(mounts::ca_file(bundle))),
        allow_http: issuer.allow_http,
        introspection: issuer
            .introspection
            .as_ref()
            .map(|given| introspection(&field("introspection.url"), given))
            .transpose()?,
        ..Issuer::new(issuer.url.clone())
    })
}

fn introspection(field: &str, given: &mcp_crds::Introspection) -> Result<Introspection, Invalid> {
    let mcp_crds::Introspection { url, client_id, client_secret_ref, tokens } = given;
    Ok(Introspection {
        url: parse_url(field, url.as_deref())?,
        client_id: client_id.clone(),
        client_secret_file: PathBuf::from(mounts::client_secret_file(client_secret_ref)),
        tokens: match tokens {
            mcp_crds::Introspected::Opaque => Introspected::Opaque,
            mcp_crds::Introspected::All => Introspected::All,
        },
    })
}

fn tool_scopes(rule: &mcp_crds::ToolScopes) -> ToolScopes {
    let mcp_crds::ToolScopes { tools, scopes } = rule.clone();
    ToolScopes { tools, scopes }
}

fn method_scopes(rule: &mcp_crds::MethodScopes) -> MethodScopes {
    let mcp_crds::MethodScopes { methods, scopes } = rule.clone();
    MethodScopes { methods, scopes }
}

fn algorithm(algorithm: mcp_crds::Algorithm) -> Algorithm {
    match algorithm {
        mcp_crds::Algorithm::RS256 => Algorithm::RS256,
        mcp_crds::Algorithm::RS384 => Algorithm::RS384,
        mcp_crds::Algorithm::RS512 => Algorithm::RS512,
        mcp_crds::Algorithm::PS256 => Algorithm::PS256,
        mcp_crds::Algorithm::PS384 => Algorithm::PS384,
        mcp_crds::Algorithm::PS512 => Algorithm::PS512,
        mcp_crds::Algorithm::ES256 => Algorithm::ES256,
        mcp_crds::Algorithm::ES384 => Algorithm::ES384,
        mcp_crds::Algorithm::EdDSA => Algorithm::EdDSA,
    }
}

fn trusted_proxies(spec: &McpServerSpec) -> Result<Vec<IpNet>, Invalid> {
    let networks = spec.expose.iter().flat_map(|expose| &expose.trusted_proxies).enumerate();
    let parsed = networks.map(|(index, network)| {
        network.parse().map_err(|_| {
            let field = format!("spec.expose.trustedProxies[{index}]");
            Invalid::new(field, format!("{network:?} is no network"), "write it in CIDR notation, as in 10.0.0.0/8")
        })
    });
    parsed.collect()
}

/// For all pods together: each takes its share.
fn rate_limits(spec: &McpServerSpec) -> Result<RateLimits, Invalid> {
    let mcp_crds::RateLimits { per_client: _, per_principal, per_tool, concurrent_calls_per_principal } =
        &spec.rate_limits;
    let concurrent = concurrent_calls_per_principal;
    Ok(RateLimits {
        per_client: per_client(spec)?,
        per_principal: per_principal.as_ref().map(self::per_principal).transpose()?,
        per_tool: per_tool.iter().enumerate().map(|(index, rate)| tool_rate(index, rate)).collect::<Result<_, _>>()?,
        concurrent_calls_per_principal: concurrent
            .map(|calls| number("spec.rateLimits.concurrentCallsPerPrincipal", calls))
            .transpose()?,
    })
}

fn per_principal(rate: &mcp_crds::PrincipalRate) -> Result<PerPrincipal, Invalid> {
    let mcp_crds::PrincipalRate { requests, per, burst } = rate;
    Ok(PerPrincipal {
        requests: number("spec.rateLimits.perPrincipal.requests", *requests)?,
        per_seconds: seconds("spec.rateLimits.perPrincipal.per", per)?,
        burst: burst.map(|burst| number("spec.rateLimits.perPrincipal.burst", burst)).transpose()?,
    })
}

fn tool_rate(index: usize, rate: &mcp_crds::ToolRate) -> Result<PerTool, Invalid> {
    let mcp_crds::ToolRate { tools, requests, per, burst } = rate;
    let field = |name: &str| format!("spec.rateLimits.perTool[{index}].{name}");
    Ok(PerTool {
        tools: tools.clone(),
        requests: number(&field("requests"), *requests)?,
        per_seconds: seconds(&field("per"), per)?,
        burst: burst.map(|burst| number(&field("burst"), burst)).transpose()?,
    })
}

fn per_client(spec: &McpServerSpec) -> Result<PerClient, Invalid> {
    let limit = &spec.rate_limits.per_client;
    Ok(PerClient {
        requests: number("spec.rateLimits.perClient.requests", limit.requests)?,
        per_seconds: seconds("spec.rateLimits.perClient.per", &limit.per)?,
        burst: limit.burst.map(|burst| number("spec.rateLimits.perClient.burst", burst)).transpose()?,
        count: count(spec),
    })
}

/// Behind a proxy that is not trusted all clients have one address: counting their requests would let each of them
/// lock out all others. Failed authentications are counted still.
fn count(spec: &McpServerSpec) -> Count {
    match &spec.expose {
        Some(expose) if expose.trusted_proxies.is_empty() => Count::Failures,
        Some(_) | None => Count::Requests,
    }
}

/// `30s`, `1m`, `2h` in seconds.
fn seconds(field: &str, per: &str) -> Result<u32, Invalid> {
    let invalid = || {
        let problem = format!("{per:?} is no period");
        Invalid::new(field, problem, "write a number and s, m or h, as in 30s, 1m or 1h")
    };
    let unit = per.chars().last().ok_or_else(invalid)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(invalid()),
    };
    let count: u32 = per.trim_end_matches(unit).parse().map_err(|_| invalid())?;
    count.checked_mul(factor).filter(|seconds| *seconds > 0).ok_or_else(invalid)
}

fn cors(spec: &McpServerSpec) -> Result<Cors, Invalid> {
    let Some(cors) = &spec.cors else { return Ok(Cors::default()) };
    let default = Cors::default();
    let or = |given: &Vec<String>, default: Vec<String>| if given.is_empty() { default } else { given.clone() };
    Ok(Cors {
        allowed_origins: cors.allowed_origins.clone(),
        allowed_methods: or(&cors.allowed_methods, default.allowed_methods),
        expose_headers: or(&cors.expose_headers, default.expose_headers),
        max_age: number("spec.cors.maxAgeSeconds", cors.max_age_seconds)?,
    })
}

fn log_level(level: mcp_crds::LogLevel) -> LogLevel {
    match level {
        mcp_crds::LogLevel::Error => LogLevel::Error,
        mcp_crds::LogLevel::Warning => LogLevel::Warning,
        mcp_crds::LogLevel::Info => LogLevel::Info,
        mcp_crds::LogLevel::Debug => LogLevel::Debug,
        mcp_crds::LogLevel::Trace => LogLevel::Trace,
    }
}

fn parse_url(field: &str, text: Option<&str>) -> Result<Option<Url>, Invalid> {
    text.map(|text| yaml::url(field, text)).transpose()
}
