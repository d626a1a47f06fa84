//! A control plane without a node, for tests of the operator: objects are stored, validated, owned and collected, but no
//! pod runs. It needs no root, listens on loopback only, and is up within ten seconds.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::control_plane::{ControlPlane, Ports};
use super::processes::{self, Lifetime, Process};
use super::tools::{Level, Tools};
use super::{client_of, kubectl};

/// A running control plane. Dropping it ends its processes and removes its files; they also end when we are killed.
#[derive(Debug)]
pub struct ApiLevel {
    processes: Vec<Process>,
    control_plane: ControlPlane,
    tools: Tools,
    // Last: fields are dropped in order, and the processes write into it.
    _folder: TempDir,
}

/// What runs beside etcd and the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controllers {
    /// Nothing: what a test creates stays as it is.
    None,
    /// The controller manager: garbage collection, ReplicaSets of Deployments, service accounts and their tokens.
    All,
}

impl ApiLevel {
    /// Starts a control plane of its own, with the controller manager. Blocks until it is ready.
    pub fn start() -> Result<Self> {
        Self::start_with(Controllers::All)
    }

    /// Starts a control plane of its own. Blocks until it is ready.
    pub fn start_with(controllers: Controllers) -> Result<Self> {
        let tools = Tools::ready(Level::Api)?;
        // Between being found free and being listened on, a port may be taken by somebody else.
        let attempts = std::iter::repeat_with(|| Self::try_start(&tools, controllers));
        let mut errors = Vec::new();
        for attempt in attempts.take(3) {
            match attempt {
                Ok(level) => return Ok(level),
                Err(error) => errors.push(format!("{error:#}")),
            }
        }
        bail!("three attempts to start a control plane failed:\n{}", errors.join("\n"))
    }

    fn try_start(tools: &Tools, controllers: Controllers) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("mcp-e2e-").tempdir().context("create a temporary folder")?;
        let control_plane = control_plane(folder.path())?;
        control_plane.prepare()?;
        // From here on in `Self`, so that an error ends what was started.
        let mut level = Self { processes: Vec::new(), control_plane, tools: tools.clone(), _folder: folder };
        level.processes = level.control_plane.start_storage_and_api(&level.tools)?;
        level.control_plane.wait_until_ready(&level.tools, &level.processes)?;
        if controllers == Controllers::All {
            level.processes.push(level.control_plane.start_controller_manager(&level.tools)?);
        }
        Ok(level)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.control_plane.kubeconfig()
    }

    /// A client with the administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        client_of(&self.kubeconfig()).await
    }

    /// Runs kubectl and returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        kubectl::run(&self.tools.kubectl()?, &self.kubeconfig(), arguments)
    }

    /// Runs kubectl with standard input: `kubectl_with_input(&["apply", "-f", "-"], yaml)`.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        kubectl::run_with_input(&self.tools.kubectl()?, &self.kubeconfig(), arguments, input)
    }

    /// One JSON line for each request that the API server answered.
    pub fn audit_log_path(&self) -> PathBuf {
        self.control_plane.audit_log()
    }

    /// The processes that it consists of.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// Ends it, as dropping it does, and tells whether that succeeded.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        // Nothing in it is worth an orderly end, which takes the API server many seconds.
        processes::kill(&std::mem::take(&mut self.processes))
    }
}

impl Drop for ApiLevel {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

fn control_plane(folder: &Path) -> Result<ControlPlane> {
    let [api, etcd, etcd_peer, controller_manager, scheduler] = free_ports()?;
    Ok(ControlPlane {
        folder: folder.to_owned(),
        namespace: None,
        lifetime: Lifetime::Ours,
        address: Ipv4Addr::LOCALHOST,
        // The API server refuses loopback here. This address is reserved for documentation; nothing connects to it.
        advertised: Ipv4Addr::new(192, 0, 2, 1),
        ports: Ports { api, etcd, etcd_peer, controller_manager, scheduler },
        // For as many servers as the benchmark makes.
        service_cidr: "10.96.0.0/16".to_owned(),
        api_service: Ipv4Addr::new(10, 96, 0, 1),
        pod_cidr: "10.97.0.0/24".to_owned(),
    })
}

/// Ports that are free now. All are held while they are chosen, so that they differ.
fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ() {
        let mut ports: [u16; 5] = free_ports().unwrap();
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
