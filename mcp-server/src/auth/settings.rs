//! What the live file says, in the form in which requests need it.

use std::collections::HashSet;

use mcp_server_config::{Anonymous, Auth, Http, Introspected, Introspection, Issuer};
use url::Url;

use super::authenticator::Authenticator;
use super::introspection::IntrospectionSettings;
use super::keys;
use super::resource;
use super::source::Origin;

/// Seconds that a verified token is remembered where the configuration names no other time.
const CACHE_SECONDS: u32 = 300;

/// What an [`Authenticator`] is made of.
pub struct Setup<'a> {
    /// The live file's section. Absent, everybody is served: the configuration's check allows that only for a server at
    /// a loopback address.
    pub auth: Option<&'a Auth>,
    /// The public URLs.
    pub http: &'a Http,
    /// `server.path`.
    pub path: &'a str,
    /// The authenticator in use until now: key sets of unchanged issuers are kept.
    pub previous: Option<&'a Authenticator>,
}

/// Why an [`Authenticator`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Nobody could ever get in.
    #[error("auth: no issuer is named: write issuer_url, or `anonymous: allow` to serve everybody without a token")]
    NoIssuer,
    /// An issuer that cannot be asked for its keys.
    #[error("auth.issuers: {url:?} is no URL ({source}): write one like https://auth.example.com")]
    Issuer {
        /// As written.
        url: String,
        /// What is wrong with it.
        source: url::ParseError,
    },
}

/// The checked section.
pub(super) struct Settings {
    /// Callers without a token are served.
    pub(super) anonymous: bool,
    pub(super) issuers: Vec<IssuerSettings>,
    pub(super) required_scopes: Vec<String>,
    /// Those and the ones of single methods and tools, each once.
    pub(super) scopes: Vec<String>,
    /// The `resource` that is the same for every public URL.
    pub(super) resource: Option<String>,
    /// The public URLs as audiences, in canonical form.
    pub(super) audiences: HashSet<String>,
    pub(super) cache_seconds: u32,
}

/// One issuer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct IssuerSettings {
    pub(super) origin: Origin,
    /// Accepted audiences in canonical form; empty: those of the server.
    pub(super) audiences: HashSet<String>,
    pub(super) introspection: Option<IntrospectionSettings>,
}

impl Settings {
    pub(super) fn of(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let open = Auth { anonymous: Anonymous::Allow, ..Auth::default() };
        let auth = setup.auth.unwrap_or(&open);
        let anonymous = auth.anonymous == Anonymous::Allow;

        let short = auth.issuer_url.as_ref().map(|url| Issuer::new(url.clone()));
        let issuers: Vec<_> = short.iter().chain(&auth.issuers).map(issuer).collect::<Result<_, _>>()?;
        if issuers.is_empty() && !anonymous {
            return Err(SetupError::NoIssuer);
        }

        let resource = auth.resource_server_url.as_ref().map(|url| resource::canonical(url.as_str()));
        let public = setup.http.public_urls.iter().map(|url| resource::resource(url, setup.path));
        Ok(Self {
            anonymous,
            issuers,
            required_scopes: auth.required_scopes.clone(),
            scopes: scopes(auth),
            audiences: public.chain(resource.clone()).collect(),
            resource,
            cache_seconds: auth.token_cache_ttl.unwrap_or(CACHE_SECONDS),
        })
    }
}

fn scopes(auth: &Auth) -> Vec<String> {
    let of_methods = auth.method_scopes.iter().flat_map(|rule| &rule.scopes);
    let of_tools = auth.tool_scopes.iter().flat_map(|rule| &rule.scopes);
    let mut scopes: Vec<String> = Vec::new();
    for scope in auth.required_scopes.iter().chain(of_methods).chain(of_tools) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    scopes
}

fn issuer(issuer: &Issuer) -> Result<IssuerSettings, SetupError> {
    let Issuer { url, server_url, audiences, jwks_url, algorithms, ca_file, allow_http: _, introspection } = issuer;
    let base = match server_url {
        Some(server) => server.clone(),
        None => Url::parse(url).map_err(|source| SetupError::Issuer { url: url.clone(), source })?,
    };
    let origin = Origin {
        issuer: url.clone(),
        base,
        keys: jwks_url.clone(),
        ca_file: ca_file.clone(),
        algorithms: keys::allowed(algorithms),
        keyless: introspection.is_some(),
    };
    let introspection = introspection.as_ref().map(|introspection| {
        let Introspection { url, client_id, client_secret_file, tokens } = introspection;
        IntrospectionSettings {
            origin: origin.clone(),
            url: url.clone(),
            client_id: client_id.clone(),
            client_secret_file: client_secret_file.clone(),
            all: *tokens == Introspected::All,
        }
    });
    let audiences = audiences.iter().map(|audience| resource::canonical(audience)).collect();
    Ok(IssuerSettings { origin, audiences, introspection })
}
