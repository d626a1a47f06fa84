//! The issuer as a handle: start it, steer it, ask it for tokens.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use url::Url;

use crate::behaviour::{Behaviour, Control, Fetches};
use crate::issued::Issued;
use crate::keys::{Generation, Keys};
use crate::routes;
use crate::tls::{Authority, TlsListener};
use crate::token::TokenBuilder;

/// How an issuer is started.
pub struct Options {
    /// Its `iss`. Default: the address it listens at.
    pub url: Option<String>,
    /// Path of the default `iss`, as in `/tenant`. Not used with `url`.
    pub path: String,
    /// Where it listens. Default: a free port at 127.0.0.1.
    pub listen: SocketAddr,
    /// Who may ask for tokens.
    pub clients: Vec<Client>,
    /// Speak TLS with a certificate of this authority for the listening address and `localhost`.
    pub tls: Option<Authority>,
    /// Seconds that tokens of the token endpoint live.
    pub token_seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: None,
            path: String::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clients: Vec::new(),
            tls: None,
            token_seconds: 3600,
        }
    }
}

/// One who may ask for tokens with the grant `client_credentials`.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// `client_id`, and the subject of its tokens.
    pub id: String,
    /// `client_secret`.
    pub secret: String,
    /// Scopes that it may have.
    pub scopes: Vec<String>,
}

impl FromStr for Client {
    type Err = anyhow::Error;

    /// From `id:secret:scope,scope`.
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.splitn(3, ':');
        let (Some(id), Some(secret), scopes) = (parts.next(), parts.next(), parts.next().unwrap_or_default()) else {
            anyhow::bail!("a client is written id:secret:scope,scope");
        };
        ensure!(!id.is_empty() && !secret.is_empty(), "a client is written id:secret:scope,scope");
        let scopes = scopes.split([',', ' ']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
        Ok(Self { id: id.to_owned(), secret: secret.to_owned(), scopes })
    }
}

/// What handle and routes share.
pub(crate) struct Shared {
    pub(crate) url: String,
    /// The path of `url`, without a slash at the end.
    pub(crate) path: String,
    pub(crate) clients: Vec<Client>,
    pub(crate) token_seconds: u64,
    pub(crate) keys: Keys,
    pub(crate) control: Control,
    pub(crate) cache_control: Mutex<Option<String>>,
    pub(crate) issued: Issued,
}

/// A running issuer. Dropped, it stops.
pub struct Issuer {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Issuer {
    /// Starts an issuer with fresh keys.
    pub async fn start(options: Options) -> Result<Self> {
        let Options { url, path, listen, clients, tls, token_seconds } = options;
        let tcp = TcpListener::bind(listen).await.with_context(|| format!("listen at {listen}"))?;
        let address = tcp.local_addr().context("read the listening address")?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = url.unwrap_or_else(|| format!("{scheme}://{address}{path}"));
        let parsed = Url::parse(&url).with_context(|| format!("{url:?} is no URL"))?;
        let shared = Arc::new(Shared {
            path: parsed.path().trim_end_matches('/').to_owned(),
            url,
            clients,
            token_seconds,
            // Making an RSA key takes long enough to stall other tasks.
            keys: Keys::new(tokio::task::spawn_blocking(Generation::make).await??),
            control: Control::new(),
            cache_control: Mutex::new(None),
            issued: Issued::default(),
        });
        let app = routes::router(shared.clone());
        let server = match tls {
            None => tokio::spawn(async move {
                let _ = axum::serve(tcp, app).await;
            }),
            Some(authority) => {
                let names = vec![address.ip().to_string(), "localhost".to_owned()];
                let listener = TlsListener::new(tcp, &authority, names)?;
                tokio::spawn(async move {
                    let _ = axum::serve(listener, app).await;
                })
            }
        };
        Ok(Self { shared, address, server })
    }

    /// Its `iss`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its keys are, at the address it listens at.
    #[must_use]
    pub fn keys_path(&self) -> String {
        format!("{}/jwks", self.shared.path)
    }

    /// Begins a token.
    pub fn token(&self) -> TokenBuilder<'_> {
        TokenBuilder::new(&self.shared)
    }

    /// Takes a token back, as its revocation endpoint does (RFC 7009).
    pub fn revoke(&self, token: &str) {
        self.shared.issued.revoke(token);
    }

    /// Signs with new keys from now on; the old ones stay published.
    pub fn rotate(&self) -> Result<()> {
        self.shared.keys.rotate()
    }

    /// Takes the old keys out of the key set.
    pub fn retire_old_keys(&self) {
        self.shared.keys.retire();
    }

    /// How it answers requests for metadata and keys, and questions about tokens, from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.shared.control.set(behaviour);
    }

    /// The `Cache-Control` of its documents.
    pub fn cache_control(&self, value: &str) {
        *self.shared.cache_control.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(value.to_owned());
    }

    /// How often it was asked.
    #[must_use]
    pub fn fetches(&self) -> Fetches {
        self.shared.control.fetches()
    }

    /// Stops it: from then on nobody listens at its address.
    pub async fn stop(mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    /// Waits until the server ends, which it does only by being dropped or by an error.
    pub async fn wait(mut self) {
        let _ = (&mut self.server).await;
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}
