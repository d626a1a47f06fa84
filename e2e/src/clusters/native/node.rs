//! The node's agents: containerd, kubelet, kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use super::{cgroups, config, network};
use crate::clusters::certificates::{Authority, Client};
use crate::clusters::control_plane::ensure_alive;
use crate::clusters::processes::{Lifetime, Process, Start};
use crate::clusters::tools::Tools;
use crate::clusters::{kubectl, wait};

/// The agent that gives NetworkPolicies an effect: kube-router's.
pub const NETWORK_POLICIES: &str = "network-policies";

/// Writes the configuration of all agents.
pub fn prepare(layout: &Layout, tools: &Tools, authority: &Authority) -> Result<()> {
    let server = format!("https://{}:6443", layout.node_address());
    let node = format!("system:node:{}", layout.node_name());
    authority.server("kubelet", &[&layout.node_name()], &[layout.node_address().into()])?;
    let users = [(node.as_str(), Some("system:nodes"), "kubelet"), ("system:kube-proxy", None, "kube-proxy")];
    for (name, group, file) in users {
        let path = layout.path(file).with_extension("kubeconfig");
        authority.kubeconfig(&Client { name, group }, &server, &path)?;
    }

    for folder in ["cni", "containerd", "kubelet", "pod-logs", "containerd/tmp"] {
        fs::create_dir_all(layout.path(folder)).with_context(|| format!("create {folder}"))?;
    }
    // Empty: the cluster's DNS is the only one, and no search domain of the host may shadow a test's names.
    fs::write(layout.path("resolv.conf"), "").context("write resolv.conf")?;
    let files = [
        ("kubelet.json", config::kubelet(layout)),
        ("kube-proxy.json", config::kube_proxy(layout)),
        ("cni/10-pods.conflist", config::pod_network(layout)),
    ];
    for (name, value) in files {
        fs::write(layout.path(name), serde_json::to_string_pretty(&value)?).with_context(|| format!("write {name}"))?;
    }
    let containerd = config::containerd(layout, &network_plugins()?, &tools.program("runc", "runc")?, snapshotter());
    fs::write(layout.path("containerd.toml"), containerd).context("write containerd.toml")?;
    cgroups::create(layout)
}

/// Starts containerd and waits for its socket.
pub fn start_containerd(layout: &Layout, tools: &Tools) -> Result<Process> {
    let containerd = tools.program("containerd", "containerd")?;
    // It looks for its shim on the PATH, and runs `iptables` by the network plugins.
    let folder = containerd.parent().unwrap_or(Path::new("/"));
    let path = format!("PATH={}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let arguments = [
        path,
        format!("TMPDIR={}", layout.path("containerd/tmp").display()),
        containerd.display().to_string(),
        format!("--config={}", layout.path("containerd.toml").display()),
    ];
    let process = Process::spawn(&Start {
        name: "containerd",
        namespace: Some(&layout.namespace()),
        lifetime: Lifetime::Detached,
        program: Path::new("env"),
        arguments: &arguments,
        log: &layout.path("logs/containerd.log"),
    })?;
    wait("containerd to listen", Duration::from_secs(30), || {
        ensure_alive(std::slice::from_ref(&process), &layout.folder)?;
        Ok(layout.containerd_socket().exists())
    })?;
    Ok(process)
}

/// Starts the kubelet.
pub fn start_kubelet(layout: &Layout, tools: &Tools) -> Result<Process> {
    let arguments = [
        format!("--config={}", layout.path("kubelet.json").display()),
        format!("--kubeconfig={}", layout.path("kubelet.kubeconfig").display()),
        format!("--root-dir={}", layout.path("kubelet").display()),
        format!("--cert-dir={}", layout.path("pki").display()),
        format!("--hostname-override={}", layout.node_name()),
        format!("--node-ip={}", layout.node_address()),
    ];
    layout.control_plane().start(tools, "kubelet", &arguments)
}

/// Starts kube-proxy.
pub fn start_kube_proxy(layout: &Layout, tools: &Tools) -> Result<Process> {
    let arguments = [format!("--config={}", layout.path("kube-proxy.json").display())];
    layout.control_plane().start(tools, "kube-proxy", &arguments)
}

/// Starts what gives NetworkPolicies an effect; the node must be registered. `None` where the kernel has no sets of
/// addresses: the cluster serves without.
pub fn start_network_policies(layout: &Layout, tools: &Tools) -> Result<Option<Process>> {
    let set = ["create", "mcp-e2e-probe", "hash:ip"];
    let probe = network::in_namespace(layout).arg("ipset").args(set).output().context("run ipset")?;
    if !probe.status.success() {
        let reason = String::from_utf8_lossy(&probe.stderr);
        eprintln!("NetworkPolicies have no effect on cluster {}: {}", layout.name, reason.trim());
        return Ok(None);
    }
    let arguments = [
        NETWORK_POLICIES.to_owned(),
        format!("--kubeconfig={}", layout.control_plane().kubeconfig().display()),
        format!("--service-cluster-ip-range={}", layout.service_cidr()),
        format!("--hostname-override={}", layout.node_name()),
    ];
    Process::spawn(&Start {
        name: NETWORK_POLICIES,
        namespace: Some(&layout.namespace()),
        lifetime: Lifetime::Detached,
        program: &tools.program("addons", "addons")?,
        arguments: &arguments,
        log: &layout.path("logs/network-policies.log"),
    })
    .map(Some)
}

/// Waits until the node is Ready.
pub fn wait_until_ready(layout: &Layout, tools: &Tools, processes: &[Process]) -> Result<()> {
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    let arguments = ["get", "node", &layout.node_name(), "-o", path];
    let kubeconfig = layout.control_plane().kubeconfig();
    wait("the node to be Ready", Duration::from_secs(90), || {
        ensure_alive(processes, &layout.folder)?;
        // The kubelet registers its node some seconds after it started.
        Ok(kubectl::run(&tools.kubectl()?, &kubeconfig, &arguments).is_ok_and(|status| status == "True"))
    })
}

/// Debian's folder or upstream's.
fn network_plugins() -> Result<PathBuf> {
    let folders = ["/usr/lib/cni", "/opt/cni/bin"].map(PathBuf::from);
    match folders.into_iter().find(|folder| folder.join("ptp").exists()) {
        Some(folder) => Ok(folder),
        None => bail!("no CNI plugins in /usr/lib/cni or /opt/cni/bin: install containernetworking-plugins"),
    }
}

/// overlayfs where the kernel has it for us; copies of whole images otherwise (slow, but it works anywhere).
fn snapshotter() -> &'static str {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.trim().ends_with("overlay")) { "overlayfs" } else { "native" }
}
