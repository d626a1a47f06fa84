//! The certificates and kubeconfigs of a cluster, made anew for each: one authority, one certificate per component, and
//! the groups in them that Kubernetes' built-in roles are bound to.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

/// The folder with a cluster's keys and certificates, and the authority that signs them.
pub struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Who a client certificate is for.
pub struct Client<'a> {
    /// The file name, and the user.
    pub name: &'a str,
    /// The group that gives the rights, where the user's name does not.
    pub group: Option<&'a str>,
}

impl Authority {
    /// Makes the authority: `ca.crt` and `ca.key`.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "mcp-operator-e2e");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("make the authority")?;
        let authority = Self { folder: folder.to_owned(), issuer };
        authority.write("ca.crt", &authority.issuer.pem())?;
        authority.write("ca.key", &authority.issuer.key().serialize_pem())?;
        Ok(authority)
    }

    /// Makes a key pair `NAME.key`, `NAME.pub` that needs no certificate.
    pub fn key_pair(&self, name: &str) -> Result<()> {
        let pair = KeyPair::generate()?;
        self.write(&format!("{name}.key"), &pair.serialize_pem())?;
        self.write(&format!("{name}.pub"), &pair.public_key_pem())
    }

    /// A server certificate `NAME.crt` for these names and addresses.
    pub fn server(&self, name: &str, dns: &[&str], addresses: &[IpAddr]) -> Result<()> {
        let mut params = CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)
    }

    /// A client certificate `NAME.crt`.
    pub fn client(&self, client: &Client<'_>) -> Result<()> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, client.name);
        if let Some(group) = client.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&file_name(client.name), params)
    }

    /// A client certificate and the kubeconfig `path` that uses it, complete in itself.
    pub fn kubeconfig(&self, client: &Client<'_>, server: &str, path: &Path) -> Result<()> {
        self.client(client)?;
        let data = |extension: &str| -> Result<String> {
            let path = self.folder.join(file_name(client.name)).with_extension(extension);
            Ok(STANDARD.encode(fs::read(&path).with_context(|| format!("read {}", path.display()))?))
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "mcp-operator-e2e",
            "contexts": [{"name": "mcp-operator-e2e", "context": {"cluster": "mcp-operator-e2e", "user": client.name}}],
            "clusters": [{"name": "mcp-operator-e2e", "cluster": {
                "server": server,
                "certificate-authority-data": STANDARD.encode(self.issuer.pem()),
            }}],
            "users": [{"name": client.name, "user": {
                "client-certificate-data": data("crt")?,
                "client-key-data": data("key")?,
            }}],
        });
        write_private(path, &serde_json::to_string_pretty(&config)?)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("sign {name}"))?;
        self.write(&format!("{name}.crt"), &certificate.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        write_private(&self.folder.join(name), text)
    }
}

/// `system:node:demo` is a fine user but no fine file name.
fn file_name(user: &str) -> String {
    user.rsplit(':').next().unwrap_or(user).to_owned()
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
