//! Fetches JSON documents of an issuer: bounded in size and time, without redirects, and never from link-local
//! addresses, where clouds keep the credentials of their machines.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;
use tower::Service;
use url::form_urlencoded::byte_serialize;
use url::{Host, Url};

/// The largest document that is read.
const MAX_BYTES: usize = 256 * 1024;
/// How long a connection is kept without a request.
const IDLE: Duration = Duration::from_secs(30);

/// Why a document could not be had. The wording is fixed: it goes into `/health` and `/server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    #[error("the authorization server cannot be reached")]
    Unreachable,
    #[error("the TLS handshake with the authorization server failed: check its certificate and ca_file")]
    Tls,
    #[error("the authorization server did not answer in time")]
    Timeout,
    #[error("the authorization server answered with status {0}")]
    Status(u16),
    #[error("the authorization server's answer is too large")]
    TooLarge,
    #[error("the authorization server's answer is not the JSON that was expected")]
    NotJson,
    #[error("the authorization server's metadata names another issuer: write auth.issuers[].url exactly as it does")]
    OtherIssuer,
    #[error("the authorization server's metadata has no usable jwks_uri")]
    NoKeysUrl,
    #[error(
        "the authorization server's metadata has no introspection_endpoint: write auth.issuers[].introspection.url"
    )]
    NoIntrospectionUrl,
    #[error("the authorization server refuses this server's introspection client: check its id and secret")]
    Credentials,
    #[error("the file auth.issuers[].introspection.client_secret_file cannot be read or is empty")]
    SecretFile,
    #[error("the authorization server names an address without TLS")]
    Insecure,
    #[error("the authorization server is at a link-local address")]
    LinkLocal,
    #[error("the authorization server's key set has no key that the accepted algorithms can use")]
    NoUsableKey,
    #[error("the file auth.issuers[].ca_file cannot be read or has no certificate")]
    CaFile,
}

impl FetchError {
    /// It would be the same at another address of that host.
    pub(super) fn is_of_host(self) -> bool {
        matches!(self, Self::Unreachable | Self::Tls | Self::Timeout | Self::LinkLocal)
    }
}

/// A document and how long it may be used.
pub(super) struct Fetched<T> {
    pub(super) document: T,
    /// By `Cache-Control`; `None`: it says nothing.
    pub(super) fresh_for: Option<Duration>,
}

/// Fetches documents of one issuer.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
}

/// The client as which questions are asked.
pub(super) struct Credentials<'a> {
    pub(super) id: &'a str,
    pub(super) secret: &'a str,
}

impl Credentials<'_> {
    /// `client_secret_basic`: both parts are form-encoded first (RFC 6749, section 2.3.1).
    fn basic(&self) -> Result<HeaderValue, FetchError> {
        let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let text = STANDARD.encode(format!("{}:{}", encode(self.id), encode(self.secret)));
        let mut value = HeaderValue::from_str(&format!("Basic {text}")).map_err(|_| FetchError::Credentials)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Fetcher {
    /// Trusts the authorities of `ca_file`, else the public ones. Read anew for each round of fetches, so that a
    /// changed file counts. `idle`: so many connections are kept for the next request.
    pub(super) async fn new(ca_file: Option<&Path>, idle: usize) -> Result<Self, FetchError> {
        let roots = match ca_file {
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
            Some(file) => read_roots(file.to_owned()).await?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| FetchError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new_with_resolver(Resolver(GaiResolver::new()));
        tcp.enforce_http(false);
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        // Minutes pass between two fetches of keys: an idle connection would only be found dead.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(idle)
            .build(https);
        Ok(Self { client })
    }

    /// GETs a JSON document. The caller sets the deadline.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<Fetched<T>, FetchError> {
        self.send(url, Request::get(url.as_str()), Bytes::new()).await
    }

    /// POSTs a form as a client of the issuer. The caller sets the deadline.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        url: &Url,
        credentials: Credentials<'_>,
        form: String,
    ) -> Result<T, FetchError> {
        let request = Request::post(url.as_str())
            .header(AUTHORIZATION, credentials.basic()?)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        match self.send(url, request, form.into()).await {
            Ok(Fetched { document, fresh_for: _ }) => Ok(document),
            Err(FetchError::Status(401 | 403)) => Err(FetchError::Credentials),
            Err(error) => Err(error),
        }
    }

    async fn send<T: DeserializeOwned>(
        &self,
        url: &Url,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Fetched<T>, FetchError> {
        if literal(url).is_some_and(is_link_local) {
            return Err(FetchError::LinkLocal);
        }
        let request =
            request.header(ACCEPT, "application/json").body(Full::new(body)).map_err(|_| FetchError::Unreachable)?;
        let response = self.client.request(request).await.map_err(|error| classify(&error, url))?;
        // A redirect is a status like others: it could lead anywhere.
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let fresh_for = fresh_for(response.headers());
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => FetchError::TooLarge,
            false => FetchError::Unreachable,
        })?;
        let document = serde_json::from_slice(&body.to_bytes()).map_err(|_| FetchError::NotJson)?;
        Ok(Fetched { document, fresh_for })
    }
}

async fn read_roots(file: PathBuf) -> Result<RootCertStore, FetchError> {
    let text = tokio::fs::read(&file).await.map_err(|error| {
        tracing::warn!(file = %file.display(), %error, "cannot read the issuer's certificate authorities");
        FetchError::CaFile
    })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    if roots.is_empty() { Err(FetchError::CaFile) } else { Ok(roots) }
}

fn classify(error: &hyper_util::client::legacy::Error, url: &Url) -> FetchError {
    tracing::debug!(%url, error = error as &dyn std::error::Error, "a fetch failed");
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return FetchError::Tls;
        }
        if error.is::<LinkLocal>() {
            return FetchError::LinkLocal;
        }
        // The source of an I/O error is the source of what it wraps, which is thereby skipped.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = wrapped.map(|wrapped| wrapped as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    FetchError::Unreachable
}

/// `max-age`, or zero for `no-store` and `no-cache` (RFC 9111, section 5.2.2).
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut fresh = None;
    for directive in directives.flat_map(|value| value.split(',')).map(str::trim) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
            return Some(Duration::ZERO);
        }
        if name.eq_ignore_ascii_case("max-age") {
            fresh = value.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    fresh
}

/// Resolves names as the system does, and refuses those that lead to a link-local address.
#[derive(Clone)]
struct Resolver(GaiResolver);

#[derive(Debug, thiserror::Error)]
#[error("the name leads to a link-local address")]
struct LinkLocal;

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let addresses = self.0.call(name);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = addresses.await?.collect();
            if addresses.iter().any(|address| is_link_local(address.ip())) {
                return Err(io::Error::other(LinkLocal));
            }
            Ok(addresses.into_iter())
        })
    }
}

/// The address of a URL that has one in place of a name: such URLs never reach the resolver.
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Domain(_) => None,
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
    }
}

/// Where machines of clouds find their credentials: link-local addresses, and a few that are not.
fn is_link_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address == ALIBABA_METADATA,
        IpAddr::V6(address) => {
            // Through a NAT64 the last four bytes are an IPv4 address.
            let translated = (address.to_bits() >> 32 == NAT64).then(|| Ipv4Addr::from_bits(address.to_bits() as u32));
            translated.is_some_and(|inner| is_link_local(inner.into()))
                || address.is_unicast_link_local()
                || address == AWS_METADATA_V6
        }
    }
}

const AWS_METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
const ALIBABA_METADATA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// `64:ff9b::/96` (RFC 6052).
const NAT64: u128 = 0x0064_ff9b << 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn cache_control(values: &[&'static str]) -> Option<Duration> {
        fresh_for(&values.iter().map(|value| (CACHE_CONTROL, HeaderValue::from_static(value))).collect())
    }

    #[test]
    fn freshness_is_what_cache_control_says() {
        assert_eq!(cache_control(&[]), None);
        assert_eq!(cache_control(&["public"]), None);
        assert_eq!(cache_control(&["public, max-age=900"]), Some(Duration::from_secs(900)));
        assert_eq!(cache_control(&["public", "Max-Age=\"60\""]), Some(Duration::from_secs(60)));
        assert_eq!(cache_control(&["max-age=900, no-store"]), Some(Duration::ZERO));
        assert_eq!(cache_control(&["max-age=never"]), None);
    }

    #[test]
    fn addresses_of_cloud_metadata_are_known_in_every_notation() {
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            assert!(is_link_local(address.parse().expect("an address")), "{address}");
        }
        for address in ["10.0.0.1", "127.0.0.1", "fd00::1", "::1", "64:ff9b::a00:1", "100.100.100.201"] {
            assert!(!is_link_local(address.parse().expect("an address")), "{address}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_metadata_address_is_refused_when_it_is_resolved() {
        let mut resolver = Resolver(GaiResolver::new());
        let resolve = async |name: &str, resolver: &mut Resolver| resolver.call(name.parse().expect("a name")).await;
        // The system's resolver takes addresses for names, in any notation that it knows.
        for name in ["169.254.169.254", "0xa9fea9fe", "100.100.100.200"] {
            let error = resolve(name, &mut resolver).await.expect_err(name);
            assert!(error.get_ref().is_some_and(|error| error.is::<LinkLocal>()), "{name}: {error}");
        }
        assert!(resolve("localhost", &mut resolver).await.is_ok());
    }

    #[test]
    fn a_client_s_name_and_secret_are_encoded_before_they_are_joined() {
        let credentials = Credentials { id: "a:b", secret: "c d&é" };
        let value = credentials.basic().expect("a value");
        assert_eq!(value, format!("Basic {}", STANDARD.encode("a%3Ab:c+d%26%C3%A9")).as_str());
        assert!(!format!("{value:?}").contains("YSUz"), "it is not shown");
    }
}
