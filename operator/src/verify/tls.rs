//! TLS with the Service: what it shows must be good, where the spec says by whose word.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TLS inside of the pods, as far as asking them is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTls {
    /// PEM of the authorities by which the certificate is checked. `None`: any certificate will do.
    pub authorities: Option<Arc<str>>,
    /// Who has no certificate is hung up on.
    pub needs_client_certificate: bool,
}

/// Why there is no TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The certificate is not good, or cannot be checked.
    Certificate(String),
    /// Something else.
    Connection(String),
}

/// TLS over `stream` with the server `host`.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    host: &str,
    authorities: Option<&str>,
) -> Result<TlsStream<S>, Refusal> {
    let config = config(authorities)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| Refusal::Connection(error.to_string()))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| refusal(&error))
}

fn config(authorities: Option<&str>) -> Result<ClientConfig, Refusal> {
    let Some(pem) = authorities else {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let any = Arc::new(AnyCertificate(provider));
        return Ok(ClientConfig::builder().dangerous().with_custom_certificate_verifier(any).with_no_client_auth());
    };
    let wrong = |why: String| Refusal::Certificate(format!("spec.tls.caBundle cannot be used: {why}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it has no certificate in PEM".to_owned()));
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

fn refusal(error: &io::Error) -> Refusal {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => Refusal::Certificate(why.to_string()),
        _ => Refusal::Connection(error.to_string()),
    }
}

/// Takes any certificate whose key the server has. No credential goes over such a connection, and nothing but a status is
/// believed of the answer.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
