//! Clusters to run the product on. A case asks for [`Cluster::up`] and does not care which provider gives it:
//!
//! | `MCP_E2E_CLUSTER` | cluster | images |
//! | --- | --- | --- |
//! | `native` | a node made of processes on this machine: [`native`] | loaded from a file |
//! | `kind` | kind, where Docker is: [`kind`] | loaded from a file |
//! | `existing` | the one of `KUBECONFIG`: [`existing`] | must be pullable |
//! | not set | `kind` if Docker's daemon answers and `kind` is installed, else `native` | |
//!
//! `existing` is never guessed from a `KUBECONFIG` that happens to be set: tests delete things.
//!
//! [`ApiLevel`] is apart: a control plane without a node, for tests of the operator alone.

pub mod api_level;
pub mod certificates;
pub mod control_plane;
pub mod existing;
pub mod images;
pub mod kind;
pub mod kubectl;
pub mod native;
pub mod processes;
pub mod tools;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

pub use self::api_level::{ApiLevel, Controllers};
use self::existing::Existing;
use self::kind::Kind;
use self::native::Native;
pub use self::tools::Level;

/// Who gives the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Processes on this machine.
    Native,
    /// kind.
    Kind,
    /// Somebody else.
    Existing,
}

impl Provider {
    /// The provider that `MCP_E2E_CLUSTER` names, or the one that fits this machine.
    pub fn chosen() -> Result<Self> {
        match std::env::var("MCP_E2E_CLUSTER").unwrap_or_default().as_str() {
            "" if Kind::is_possible() => Ok(Self::Kind),
            "" | "native" => Ok(Self::Native),
            "kind" => Ok(Self::Kind),
            "existing" => Ok(Self::Existing),
            other => bail!("MCP_E2E_CLUSTER={other}: use native, kind or existing"),
        }
    }
}

/// A running cluster. It keeps running when this value is dropped: `e2e down` ends it.
#[derive(Clone, Debug)]
pub enum Cluster {
    /// Processes on this machine.
    Native(Native),
    /// kind.
    Kind(Kind),
    /// Somebody else's.
    Existing(Existing),
}

impl Cluster {
    /// The cluster `name`, started if need be. Blocks until nodes, DNS and ingress controller are ready: about half a
    /// minute, and minutes more when its programs must be built first.
    pub fn up(name: &str, level: Level) -> Result<Self> {
        match Provider::chosen()? {
            Provider::Native => Native::up(name, level).map(Self::Native),
            Provider::Kind => Kind::up(name).map(Self::Kind),
            Provider::Existing => Existing::from_environment().map(Self::Existing),
        }
    }

    /// The cluster `name`, which must be running.
    pub fn attach(name: &str) -> Result<Self> {
        match Provider::chosen()? {
            Provider::Native => Native::attach(name).map(Self::Native),
            Provider::Kind => Kind::attach(name).map(Self::Kind),
            Provider::Existing => Existing::from_environment().map(Self::Existing),
        }
    }

    /// Ends the cluster `name`. Fine when there is none. An existing cluster is left alone.
    pub fn down(name: &str) -> Result<()> {
        match Provider::chosen()? {
            Provider::Native => Native::down(name),
            Provider::Kind => Kind::down(name),
            Provider::Existing => Ok(()),
        }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Native(native) => native.layout().control_plane().kubeconfig(),
            Self::Kind(kind) => kind.kubeconfig().to_owned(),
            Self::Existing(existing) => existing.kubeconfig().to_owned(),
        }
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        client_of(&self.kubeconfig()).await
    }

    /// Loads an OCI archive, so that pods can use the image by its name with `imagePullPolicy: IfNotPresent`.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        match self {
            Self::Native(native) => native.load_image(archive),
            Self::Kind(kind) => kind.load_image(archive),
            Self::Existing(_) => Existing::check_images_are_pullable(archive),
        }
    }

    /// Where the ingress controller (ports 80 and 443), node ports and host ports are reached from here.
    pub fn node_address(&self) -> Result<IpAddr> {
        match self {
            Self::Native(native) => Ok(native.layout().node_address().into()),
            Self::Kind(kind) => kind.node_address(),
            Self::Existing(existing) => existing.node_address(),
        }
    }

    /// Addresses of this machine that the ingress sees as different clients, to bind a client's socket to; the first is
    /// that of a client that binds none. Only the native cluster has them.
    pub fn client_addresses(&self) -> Vec<Ipv4Addr> {
        match self {
            Self::Native(native) => native.layout().client_addresses().to_vec(),
            Self::Kind(_) | Self::Existing(_) => Vec::new(),
        }
    }

    /// The networks that pods see the ingress controller's requests come from: what to put into `trustedProxies`.
    pub fn ingress_networks(&self) -> Result<Vec<String>> {
        match self {
            // It is on the node's network, and the node speaks to pods from the pods' gateway.
            Self::Native(native) => Ok(vec![native.layout().pod_cidr()]),
            Self::Kind(kind) => kind.ingress_networks(),
            Self::Existing(existing) => existing.ingress_networks(),
        }
    }

    /// Whether NetworkPolicies have an effect. Nobody knows it of an existing cluster.
    pub fn enforces_network_policies(&self) -> Option<bool> {
        match self {
            Self::Native(native) => Some(native.enforces_network_policies()),
            Self::Kind(_) => Some(true),
            Self::Existing(_) => None,
        }
    }

    /// One JSON line (audit.k8s.io/v1 Event, level Metadata) for each request that the API server answered, where it can
    /// be read.
    pub fn audit_log_path(&self) -> Option<PathBuf> {
        match self {
            Self::Native(native) => Some(native.layout().control_plane().audit_log()),
            Self::Kind(_) | Self::Existing(_) => None,
        }
    }

    /// Runs kubectl and returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl::run(&self.kubectl_path()?, &self.kubeconfig(), arguments)
    }

    /// Runs kubectl with standard input: `kubectl_with_input(&["apply", "-f", "-"], yaml)`.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        kubectl::run_with_input(&self.kubectl_path()?, &self.kubeconfig(), arguments, input)
    }

    /// The kubectl to use.
    pub fn kubectl_path(&self) -> Result<PathBuf> {
        match self {
            Self::Native(native) => native.tools().kubectl(),
            Self::Kind(_) | Self::Existing(_) => Ok(PathBuf::from("kubectl")),
        }
    }

    /// The helm to use.
    pub fn helm_path(&self) -> Result<PathBuf> {
        match self {
            Self::Native(native) => native.tools().program("helm", "helm"),
            Self::Kind(_) | Self::Existing(_) => Ok(PathBuf::from("helm")),
        }
    }

    /// Runs helm and returns what it printed.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let helm = self.helm_path()?;
        let output = Command::new(&helm)
            .env("KUBECONFIG", self.kubeconfig())
            .args(arguments)
            .output()
            .with_context(|| format!("start {}", helm.display()))?;
        if !output.status.success() {
            bail!("helm {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The start of a command that runs in the node's network: `in_node_network()?.args(["curl", url])`.
    pub fn in_node_network(&self) -> Result<Command> {
        match self {
            Self::Native(native) => Ok(native.in_node_network()),
            Self::Kind(kind) => Ok(kind.in_node_network()),
            Self::Existing(_) => bail!("an existing cluster's nodes cannot be entered from here"),
        }
    }
}

/// A client for a kubeconfig. The crypto provider must be chosen before the first TLS connection; here, so that no test
/// can forget it.
pub(crate) async fn client_of(kubeconfig: &Path) -> Result<kube::Client> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let parsed = kube::config::Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("read the kubeconfig {}", kubeconfig.display()))?;
    let config = kube::Config::from_custom_kubeconfig(parsed, &kube::config::KubeConfigOptions::default()).await?;
    kube::Client::try_from(config).context("make a client of the kubeconfig")
}

/// Asks again and again until it is so; an error ends it at once.
pub(crate) fn wait(what: &str, patience: Duration, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !is_so()? {
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
