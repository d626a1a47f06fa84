//! The TLS Secret of the ingress, by an authority of our own: what cert-manager does in a real installation.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

use crate::clusters::Cluster;

/// The authority's certificate, which clients must trust.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its PEM text.
    pub pem: String,
    /// The same in a file.
    pub file: PathBuf,
}

/// Makes the Secret `name` with a certificate for `hosts`, unless it is there. The authority's certificate is in its key
/// `ca.crt`, as cert-manager puts it there, and is written to `file`.
pub fn ensure(cluster: &Cluster, namespace: &str, name: &str, hosts: &[&str], file: &Path) -> Result<Authority> {
    let found = existing(cluster, namespace, name, hosts);
    let pem = match found {
        Some(pem) => pem,
        None => create(cluster, namespace, name, hosts, None)?,
    };
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    fs::write(file, &pem).with_context(|| format!("write {}", file.display()))?;
    Ok(Authority { pem, file: file.to_owned() })
}

/// Makes the Secret anew, by another authority, with a certificate that ends in so many days.
pub fn renew(cluster: &Cluster, namespace: &str, name: &str, hosts: &[&str], days: i64) -> Result<()> {
    create(cluster, namespace, name, hosts, Some(days)).map(drop)
}

/// The annotation that says which hosts a Secret's certificate is for.
const HOSTS: &str = "e2e.mcp-operator.dev/hosts";

fn existing(cluster: &Cluster, namespace: &str, name: &str, hosts: &[&str]) -> Option<String> {
    let text = cluster.kubectl(&["get", "secret", name, "--namespace", namespace, "-o", "json"]).ok()?;
    let secret: Value = serde_json::from_str(&text).ok()?;
    let same = secret["metadata"]["annotations"][HOSTS] == hosts.join(" ");
    let pem = STANDARD.decode(secret["data"]["ca.crt"].as_str()?).ok()?;
    same.then(|| String::from_utf8(pem).ok()).flatten()
}

fn create(cluster: &Cluster, namespace: &str, name: &str, hosts: &[&str], days: Option<i64>) -> Result<String> {
    let authority = authority(namespace)?;
    let (certificate, key) = server_certificate(&authority, hosts, days)?;
    let encode = |text: &str| STANDARD.encode(text);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace, "annotations": {HOSTS: hosts.join(" ")}},
        "data": {
            "tls.crt": encode(&certificate), "tls.key": encode(&key), "ca.crt": encode(&authority.pem()),
        },
    });
    cluster.kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &secret.to_string())?;
    Ok(authority.pem())
}

/// Named apart: whoever trusts two authorities of one name may try the wrong one's key.
fn authority(namespace: &str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    let name = format!("mcp-operator e2e {namespace}: trust this for tests only");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate()?).context("make the authority")
}

fn server_certificate(
    authority: &CertifiedIssuer<'static, KeyPair>,
    hosts: &[&str],
    days: Option<i64>,
) -> Result<(String, String)> {
    debug_assert!(hosts.iter().all(|host| host.parse::<IpAddr>().is_err()), "hosts are names");
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, hosts.first().copied().unwrap_or_default());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    if let Some(days) = days {
        let end = Timestamp::now().to_zoned(TimeZone::UTC).checked_add(days.days())?;
        params.not_after =
            rcgen::date_time_ymd(end.year().into(), u8::try_from(end.month())?, u8::try_from(end.day())?);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority).context("sign the certificate")?;
    Ok((certificate.pem(), key.serialize_pem()))
}
