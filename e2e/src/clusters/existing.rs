//! A cluster that somebody else runs: the one that `KUBECONFIG` points to. Nothing is installed in it and it is never
//! ended; the cases make their own namespaces.
//!
//! - `KUBECONFIG`: one file.
//! - `MCP_E2E_INGRESS_ADDRESS`: the IP address of its ingress controller; needed by cases that go through the ingress.
//! - `MCP_E2E_INGRESS_NETWORKS`: the networks that pods see it come from, separated by commas; likewise.
//! - `MCP_E2E_IMAGES_PUSHED=1`: says that its nodes can pull the images under test under the names that the cases use.
//!   Without it the cases refuse to start rather than wait for pods that cannot come up.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A cluster that somebody else runs.
#[derive(Clone, Debug)]
pub struct Existing {
    kubeconfig: PathBuf,
}

impl Existing {
    /// The cluster of `KUBECONFIG`.
    pub fn from_environment() -> Result<Self> {
        let Some(kubeconfig) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()).map(PathBuf::from) else {
            bail!("MCP_E2E_CLUSTER=existing needs KUBECONFIG to name the cluster's kubeconfig file")
        };
        if !kubeconfig.is_file() {
            bail!("KUBECONFIG={} is not a file (a list of files is not supported)", kubeconfig.display());
        }
        Ok(Self { kubeconfig })
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The address of its ingress controller.
    pub fn node_address(&self) -> Result<IpAddr> {
        let address = std::env::var("MCP_E2E_INGRESS_ADDRESS")
            .context("set MCP_E2E_INGRESS_ADDRESS to the IP address of the cluster's ingress controller")?;
        address.parse().with_context(|| format!("MCP_E2E_INGRESS_ADDRESS={address} is not an IP address"))
    }

    /// Where pods see the ingress controller's requests come from.
    pub fn ingress_networks(&self) -> Result<Vec<String>> {
        let networks = std::env::var("MCP_E2E_INGRESS_NETWORKS").context(
            "set MCP_E2E_INGRESS_NETWORKS to the networks of the ingress controller's pods, like 10.0.0.0/8",
        )?;
        Ok(networks.split(',').map(|network| network.trim().to_owned()).collect())
    }

    /// Images cannot be loaded here; somebody must have pushed them.
    pub fn check_images_are_pullable(archive: &Path) -> Result<()> {
        if std::env::var("MCP_E2E_IMAGES_PUSHED").is_ok_and(|value| value == "1") {
            return Ok(());
        }
        bail!(
            "{} cannot be loaded into an existing cluster: push the images to a registry that its nodes reach, then \
             set MCP_E2E_IMAGES_PUSHED=1",
            archive.display()
        )
    }
}
