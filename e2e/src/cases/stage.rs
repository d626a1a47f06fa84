//! What all cases share: the cluster, the product installed on it, and an authorization server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::sync::OnceCell;
use tokio::task::block_in_place;

use super::{ALL, Case};
use crate::client::http::{self, Endpoint, Version};
use crate::client::token::{self, Credentials};
use crate::clusters::{Cluster, Level};
use crate::product::images::{self, Images};
use crate::product::{build, certificates, fixtures, install, repository};

/// The host name of the authorization server.
pub const ISSUER_HOST: &str = "issuer.mcp.test";
/// Its issuer identifier.
pub const ISSUER: &str = "https://issuer.mcp.test";
/// Its namespace.
const ISSUER_NAMESPACE: &str = "e2e-issuer";

/// The stage that cases play on.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// What was loaded.
    pub images: Images,
    /// Where the ingress controller listens.
    pub ingress: IpAddr,
    /// The authorization server, as seen from outside of the cluster.
    pub issuer: Endpoint,
    /// How long the API server's audit log was before the operator came, where it can be read.
    pub audited: u64,
    /// The operator serves the namespaces of the cases and has rights in no other.
    pub namespaced: bool,
    everything: OnceCell<String>,
}

impl Stage {
    /// Builds, starts and installs what is missing. The cluster `name` keeps running afterwards.
    pub async fn set(name: &str, namespaced: bool) -> Result<Arc<Self>> {
        let name = name.to_owned();
        let preparing = tokio::task::spawn_blocking(move || prepare(&name, namespaced));
        let (cluster, images, authority, audited) = preparing.await??;
        let ingress = cluster.node_address()?;
        let issuer = Endpoint {
            tls: true,
            host: ISSUER_HOST.to_owned(),
            address: SocketAddr::new(ingress, 443),
            source: None,
            version: Version::Http1,
            trust: http::trust(&authority.pem)?,
        };
        Ok(Arc::new(Self { cluster, images, ingress, issuer, audited, namespaced, everything: OnceCell::new() }))
    }

    /// Installs the operator again, or upgrades it, with those images and further arguments for Helm.
    pub fn install(&self, images: &Images, more: &[&str]) -> Result<()> {
        self.install_chart(&install::chart(), images, more)
    }

    /// The same with a chart of which the folder or the package is given.
    pub fn install_chart(&self, chart: &str, images: &Images, more: &[&str]) -> Result<()> {
        install_scoped(&self.cluster, chart, images, self.namespaced, more)
    }

    /// The image of a backend that we did not write. Loaded when the first case asks.
    pub async fn everything(&self) -> Result<&str> {
        let image = self.everything.get_or_try_init(async || block_in_place(|| images::load_everything(&self.cluster)));
        image.await.map(String::as_str).context("the image of the official everything server")
    }

    /// A token of the authorization server for `resource`.
    pub async fn token(&self, scope: &str, resource: &str) -> Result<String> {
        token::fetch(&self.issuer, &credentials(), scope, resource).await
    }
}

/// Who cases ask for tokens as.
#[must_use]
pub fn credentials() -> Credentials {
    Credentials { id: fixtures::CLIENT_ID.to_owned(), secret: fixtures::CLIENT_SECRET.to_owned() }
}

/// The `auth.issuers` entry of the authorization server: its public name, and where pods find it.
#[must_use]
pub fn issuer_entry() -> String {
    let inside = format!("http://issuer.{ISSUER_NAMESPACE}.svc.cluster.local");
    format!("{{url: {ISSUER}, serverUrl: {inside}, jwksUrl: {inside}/jwks}}")
}

/// Where files of a run go.
pub fn work_folder() -> PathBuf {
    repository().join("target/e2e")
}

/// With the operator's own NetworkPolicy. Namespaces of which the chart is told must be there before: it makes a Role in
/// each.
fn install_scoped(cluster: &Cluster, chart: &str, images: &Images, namespaced: bool, more: &[&str]) -> Result<()> {
    let mut values = vec!["--set=networkPolicy.enabled=true".to_owned()];
    if namespaced {
        let names: Vec<_> = ALL.iter().map(Case::namespace).collect();
        values.push(format!("--set=watchNamespaces={{{}}}", names.join(",")));
    }
    let values = values.iter().map(String::as_str).chain(more.iter().copied());
    install::helm_upgrade(cluster, chart, images, &values.collect::<Vec<_>>())
}

fn prepare(name: &str, namespaced: bool) -> Result<(Cluster, Images, certificates::Authority, u64)> {
    build::binaries_and_tools()?;
    let cluster = Cluster::up(name, Level::Node)?;
    let audited = cluster.audit_log_path().and_then(|log| log.metadata().ok()).map_or(0, |log| log.len());
    let images = images::load(&cluster)?;
    if namespaced {
        ALL.iter().try_for_each(|case| fixtures::namespace(&cluster, &case.namespace()))?;
    }
    install_scoped(&cluster, &install::chart(), &images, namespaced, &[])?;
    fixtures::namespace(&cluster, ISSUER_NAMESPACE)?;
    let file = work_folder().join("issuer-ca.crt");
    let authority = certificates::ensure(&cluster, ISSUER_NAMESPACE, "mcp-tls", &[ISSUER_HOST], &file)?;
    fixtures::issuer(&cluster, ISSUER_NAMESPACE, ISSUER_HOST, &images)?;
    fixtures::wait_for(&cluster, ISSUER_NAMESPACE, "issuer")?;
    Ok((cluster, images, authority, audited))
}
