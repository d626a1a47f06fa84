//! Certificates that are made on the spot, and a client that speaks TLS as it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Answer, read};

/// An authority and what it signs.
pub struct Authority {
    pub pem: String,
    signer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as files hold them.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { pem: params.self_signed(&key).unwrap().pem(), signer: Issuer::new(params, key) }
    }

    /// For `localhost` and `mcp.example.com`, until the first day of that year.
    pub fn sign(&self, until: i32) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost", "mcp.example.com"].map(str::to_owned)).unwrap();
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        Pair { certificate: params.signed_by(&key, &self.signer).unwrap().pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    pub fn write(&self, directory: &Path) {
        std::fs::write(directory.join("tls.crt"), &self.certificate).unwrap();
        std::fs::write(directory.join("tls.key"), &self.key).unwrap();
    }
}

/// The section of the configuration for the files of [`Pair::write`].
pub fn section(directory: &Path, more: &str) -> String {
    let at = |name: &str| directory.join(name).display().to_string();
    format!("tls: {{cert_file: {}, key_file: {}{more}}}\n", at("tls.crt"), at("tls.key"))
}

/// A client of one authority.
pub struct Tls {
    pub config: ClientConfig,
    /// Whom it expects.
    pub name: &'static str,
    /// Where it calls from. 127.0.0.2 is this machine too, but no trusted proxy.
    pub from: Ipv4Addr,
}

impl Tls {
    pub fn new(authority: &Authority) -> Self {
        Self::with(authority, &[&rustls::version::TLS13, &rustls::version::TLS12], |_| true, None)
    }

    pub fn with(
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
        offers: impl Fn(CipherSuite) -> bool,
        certificate: Option<&Pair>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| offers(suite.suite()));
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
            }
        };
        Self { config, name: "localhost", from: Ipv4Addr::LOCALHOST }
    }

    pub fn alpn(mut self, protocol: &str) -> Self {
        self.config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        self
    }

    pub async fn connect(&self, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.from, 0).into())?;
        let stream = socket.connect(address).await?;
        let name = ServerName::try_from(self.name).unwrap();
        TlsConnector::from(Arc::new(self.config.clone())).connect(name, stream).await
    }

    /// One request on a connection of its own; an error where the server refuses the client.
    pub async fn ask(&self, address: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let stream = self.connect(address).await?;
        Ok(read(exchange(stream, request).await?).await)
    }
}

/// By the protocol that was agreed on.
pub async fn exchange(
    stream: TlsStream<TcpStream>,
    mut request: Request<Full<Bytes>>,
) -> anyhow::Result<http::Response<hyper::body::Incoming>> {
    let io_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if io_h2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        return Ok(sender.send_request(request).await?);
    }
    let host = request.uri().authority().unwrap().to_string().parse()?;
    request.headers_mut().insert("host", host);
    *request.uri_mut() = request.uri().path_and_query().unwrap().as_str().parse()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}
