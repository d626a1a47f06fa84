//! From files to a configuration of rustls. What is wrong is said with the field and the file; no message holds any of
//! their contents.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use mcp_server_config::{CipherFamily, ClientAuth, Invalid, Tls, TlsVersion};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

/// The files as they are at one moment.
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What the listener needs of them.
pub(super) struct Material {
    pub(super) server: Arc<ServerConfig>,
    /// When the certificate ends.
    pub(super) not_after: Timestamp,
    pub(super) digest: [u8; 32],
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read.
    #[error("tls.{field}: cannot read {path}: {source}")]
    Read {
        /// The configuration's key.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("tls.{field}: {path} {what}")]
    Content {
        /// The configuration's key.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        what: String,
    },
    /// The key is of another certificate.
    #[error("tls: {key} is not the key of the certificate in {certificate}: write files of one pair")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate has ended.
    #[error("tls.cert_file: the certificate in {path} has expired at {not_after}: renew it")]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// When.
        not_after: Timestamp,
    },
    /// The section contradicts itself.
    #[error(transparent)]
    Section(#[from] Invalid),
    /// The library does not take it.
    #[error("tls: {0}")]
    Library(#[from] rustls::Error),
}

impl Files {
    pub(super) fn read(section: &Tls) -> Result<Self, Unusable> {
        let Tls { cert_file, key_file, client_ca_file, min_version: _, ciphers: _, client_auth: _ } = section;
        Ok(Self {
            certificate: read("cert_file", cert_file)?,
            key: read("key_file", key_file)?,
            client_ca: client_ca_file.as_deref().map(|path| read("client_ca_file", path)).transpose()?,
        })
    }

    /// Names their contents. Nothing can be told from it.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut all = Sha256::new();
        for part in [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            all.update(Sha256::digest(part));
        }
        all.finalize().into()
    }

    pub(super) fn build(&self, section: &Tls) -> Result<Material, Unusable> {
        let chain = certificates("cert_file", &section.cert_file, &self.certificate)?;
        let not_after = not_after(&section.cert_file, &chain)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| content("key_file", &section.key_file, "holds no private key in PEM form"))?;

        let provider = Arc::new(provider(section)?);
        let versions: &[_] = match section.min_version {
            TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::V1_3 => &[&rustls::version::TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(text) => builder.with_client_cert_verifier(verifier(section, text, provider)?),
        };
        let mut server = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Unusable::Mismatch { certificate: section.cert_file.clone(), key: section.key_file.clone() }
            }
            rustls::Error::General(_) => {
                content("key_file", &section.key_file, "holds a key of a kind that is not known: use ECDSA or RSA")
            }
            other => Unusable::Library(other),
        })?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Sealed by keys that rotate and never leave the process: nothing is kept for clients. New with every new
        // certificate or authority, so no ticket outlives what it was given under.
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Material { server: Arc::new(server), not_after, digest: self.digest() })
    }
}

fn provider(section: &Tls) -> Result<CryptoProvider, Unusable> {
    let families = section.families()?;
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| family(suite).is_none_or(|family| families.contains(&family)));
    Ok(provider)
}

/// Of TLS 1.2's. Those of 1.3 are in none.
fn family(suite: &SupportedCipherSuite) -> Option<CipherFamily> {
    match suite.suite() {
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(CipherFamily::AesGcm),
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(CipherFamily::ChaCha20),
        _ => None,
    }
}

fn verifier(
    section: &Tls,
    text: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let path = section.client_ca_file.as_deref().unwrap_or(Path::new(""));
    let field = "client_ca_file";
    let mut roots = RootCertStore::empty();
    for authority in certificates(field, path, text)? {
        roots.add(authority).map_err(|_| content(field, path, "holds a certificate that cannot be read"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match section.client_auth {
        Some(ClientAuth::Optional) => builder.allow_unauthenticated(),
        Some(ClientAuth::Required) | None => builder,
    };
    builder.build().map_err(|error| content(field, path, &format!("cannot be used: {error}")))
}

fn certificates(field: &'static str, path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => Err(content(field, path, "holds no certificate in PEM form")),
    }
}

/// Of the server's own certificate, the first one.
fn not_after(path: &Path, chain: &[CertificateDer<'_>]) -> Result<Timestamp, Unusable> {
    let unreadable = || content("cert_file", path, "holds a certificate that cannot be read");
    let first = chain.first().ok_or_else(unreadable)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(first).map_err(|_| unreadable())?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).map_err(|_| unreadable())
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, Unusable> {
    std::fs::read(path).map_err(|source| Unusable::Read { field, path: path.to_owned(), source })
}

fn content(field: &'static str, path: &Path, what: &str) -> Unusable {
    Unusable::Content { field, path: path.to_owned(), what: what.to_owned() }
}
