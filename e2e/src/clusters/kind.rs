//! The seam for kind, for machines with Docker: the same cases on kind's nodes, where NetworkPolicies have an effect.
//! Starting it is not written yet, so it is taken only when asked for, and then says so.

use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

/// A kind cluster. There is none yet: no value of this type can exist, and the compiler knows it.
#[derive(Clone, Debug)]
pub struct Kind {
    none: Infallible,
}

impl Kind {
    /// Whether this machine could run it.
    pub fn is_possible() -> bool {
        false
    }

    /// Would start the cluster `name`.
    pub fn up(name: &str) -> Result<Self> {
        bail!("cluster {name}: kind is not supported yet; use MCP_E2E_CLUSTER=native or existing")
    }

    /// Would find the cluster `name`.
    pub fn attach(name: &str) -> Result<Self> {
        Self::up(name)
    }

    /// Would end the cluster `name`.
    pub fn down(name: &str) -> Result<()> {
        Self::up(name).map(drop)
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        match self.none {}
    }

    /// Loads an OCI archive.
    pub fn load_image(&self, _archive: &Path) -> Result<()> {
        match self.none {}
    }

    /// The node's address.
    pub fn node_address(&self) -> Result<IpAddr> {
        match self.none {}
    }

    /// Where pods see the ingress controller's requests come from.
    pub fn ingress_networks(&self) -> Result<Vec<String>> {
        match self.none {}
    }

    /// A command in the node's network.
    pub fn in_node_network(&self) -> Command {
        match self.none {}
    }
}
