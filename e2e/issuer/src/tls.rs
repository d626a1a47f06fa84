//! TLS with a certificate authority made on the spot.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer as Signer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate authority that signs the issuer's certificate.
pub struct Authority {
    pem: String,
    signer: Signer<'static, KeyPair>,
}

impl Authority {
    /// Makes one.
    pub fn make() -> Result<Self> {
        let key = KeyPair::generate().context("make the authority's key")?;
        let mut params = CertificateParams::new(Vec::new()).context("describe the authority")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).context("sign the authority's certificate")?.pem();
        Ok(Self { pem, signer: Signer::new(params, key) })
    }

    /// Its certificate, for those who shall trust it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server configuration with a certificate for `names` (DNS names or addresses).
    fn server(&self, names: Vec<String>) -> Result<Arc<ServerConfig>> {
        let key = KeyPair::generate().context("make the server's key")?;
        let certificate = CertificateParams::new(names)
            .context("describe the server's certificate")?
            .signed_by(&key, &self.signer)
            .context("sign the server's certificate")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choose TLS versions")?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .context("use the server's certificate")?;
        Ok(Arc::new(config))
    }
}

/// A listener that speaks TLS. A handshake that fails or takes too long is dropped.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    /// One whose certificate, by this authority, is for `names` (DNS names or addresses).
    pub fn new(tcp: TcpListener, authority: &Authority, names: Vec<String>) -> Result<Self> {
        Ok(Self { tcp, acceptor: TlsAcceptor::from(authority.server(names)?) })
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            if let Ok(Ok(stream)) = timeout(Duration::from_secs(5), self.acceptor.accept(stream)).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
