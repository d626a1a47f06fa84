//! The native cluster: one real Kubernetes node made of processes on this machine, in a network namespace of its own.
//! It needs root, and neither Docker nor a registry. What is built for it is in `e2e/kubernetes`.

pub(super) mod addons;
mod cgroups;
mod config;
pub mod layout;
mod network;
mod node;
mod state;
mod teardown;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

pub use self::layout::Layout;
use self::state::State;
use super::kubectl;
use super::processes::Process;
use super::tools::{Level, Tools};

/// A native cluster that runs.
#[derive(Clone, Debug)]
pub struct Native {
    layout: Layout,
    tools: Tools,
}

impl Native {
    /// Starts the cluster `name`, or returns at once when it runs and is healthy. One that is half dead, was made from
    /// other tools, or has another level is ended first.
    pub fn up(name: &str, level: Level) -> Result<Self> {
        layout::check_name(name)?;
        must_be_root()?;
        let tools = Tools::ready(level)?;
        let root = data_folder();
        let _lock = lock(&root, name)?;

        let known = State::read(&root, name);
        if let Some(state) = &known {
            let cluster = Self { layout: Layout::of(&root, name, state.number)?, tools: tools.clone() };
            if cluster.is_healthy(state, level) {
                cluster.refresh_addons(level)?;
                return Ok(cluster);
            }
            eprintln!("cluster {name} is not whole or out of date: starting it anew");
        }
        if let Some(state) = &known {
            teardown::remove(&Layout::of(&root, name, state.number)?, Some(state))?;
        }
        let (layout, record) = claim(&root, name, level, &tools)?;
        let cluster = Self { layout, tools };
        cluster.start(level, record)?;
        Ok(cluster)
    }

    /// The cluster `name`, if it is recorded as running.
    pub fn attach(name: &str) -> Result<Self> {
        let root = data_folder();
        let Some(state) = State::read(&root, name).filter(|state| state.complete) else {
            bail!("no cluster {name} runs: start it with `e2e up --name {name}`");
        };
        Ok(Self { layout: Layout::of(&root, name, state.number)?, tools: Tools::ready(state.level)? })
    }

    /// Ends the cluster `name` and everything that it made. Fine when there is none.
    pub fn down(name: &str) -> Result<()> {
        layout::check_name(name)?;
        let root = data_folder();
        let state = State::read(&root, name);
        let layout = Layout::of(&root, name, state.as_ref().map_or(0, |state| state.number))?;
        if teardown::leftovers(&layout, &[]).is_empty() {
            return Ok(());
        }
        must_be_root()?;
        let _lock = lock(&root, name)?;
        teardown::remove(&layout, State::read(&root, name).as_ref())
    }

    /// One line for each cluster on this machine.
    pub fn status() -> Vec<String> {
        State::all(&data_folder()).iter().map(describe).collect()
    }

    /// Where everything of this cluster is.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The programs that it was made from.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Loads an OCI archive into the node.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        addons::load(&self.layout, &self.tools, archive)
    }

    /// The start of a command that runs in the node's network, as a client there would.
    pub fn in_node_network(&self) -> Command {
        network::in_namespace(&self.layout)
    }

    /// Whether NetworkPolicies have an effect.
    pub fn enforces_network_policies(&self) -> bool {
        let state = State::read(&data_folder(), &self.layout.name);
        state.is_some_and(|state| state.processes.iter().any(|process| process.name == node::NETWORK_POLICIES))
    }

    fn is_healthy(&self, state: &State, level: Level) -> bool {
        let same = state.complete && state.level == level && state.made_from == made_from(&self.layout, &self.tools);
        same && state.processes.iter().all(|process| process.is_alive()) && self.answers()
    }

    fn answers(&self) -> bool {
        let kubeconfig = self.layout.control_plane().kubeconfig();
        self.tools
            .kubectl()
            .and_then(|kubectl| {
                kubectl::run(&kubectl, &kubeconfig, &["get", "--raw", "/readyz", "--request-timeout=5s"])
            })
            .is_ok()
    }

    /// What runs as pods may have been changed or deleted, or be from an older checkout.
    fn refresh_addons(&self, level: Level) -> Result<()> {
        if level == Level::Node {
            addons::apply(&self.layout, &self.tools)?;
            addons::wait_until_ready(&self.layout, &self.tools)?;
        }
        Ok(())
    }

    /// The order is that of need; what takes long and needs nothing, the images, overlaps with the API server's start.
    fn start(&self, level: Level, mut record: Record) -> Result<()> {
        let (layout, tools) = (&self.layout, &self.tools);
        let control_plane = layout.control_plane();

        network::create(layout)?;
        let authority = control_plane.prepare()?;
        for process in control_plane.start_storage_and_api(tools)? {
            record.add(process)?;
        }
        if level == Level::Node {
            node::prepare(layout, tools, &authority)?;
            record.add(node::start_containerd(layout, tools)?)?;
            addons::load_images(layout, tools)?;
        }
        control_plane.wait_until_ready(tools, record.processes())?;
        record.add(control_plane.start_controller_manager(tools)?)?;
        if level == Level::Node {
            record.add(control_plane.start_scheduler(tools)?)?;
            record.add(node::start_kubelet(layout, tools)?)?;
            record.add(node::start_kube_proxy(layout, tools)?)?;
            node::wait_until_ready(layout, tools, record.processes())?;
            if let Some(process) = node::start_network_policies(layout, tools)? {
                record.add(process)?;
            }
            self.refresh_addons(level)?;
        }
        record.complete()
    }
}

/// The record on disk, written after every start.
struct Record {
    layout: Layout,
    state: State,
}

impl Record {
    fn add(&mut self, process: Process) -> Result<()> {
        self.state.processes.push(process);
        self.state.write(&self.layout)
    }

    fn processes(&self) -> &[Process] {
        &self.state.processes
    }

    fn complete(mut self) -> Result<()> {
        self.state.complete = true;
        self.state.write(&self.layout)
    }
}

/// Takes a number for a new cluster and writes it down at once, so that a cluster started at the same time takes another.
fn claim(root: &Path, name: &str, level: Level, tools: &Tools) -> Result<(Layout, Record)> {
    let _lock = lock(root, "numbers")?;
    let layout = Layout::of(root, name, free_number(root)?)?;
    // What a cluster without a readable record has left under our names would be in the way.
    teardown::remove(&layout, None)?;
    fs::create_dir_all(&layout.folder).with_context(|| format!("create {}", layout.folder.display()))?;
    let state = State {
        name: name.to_owned(),
        number: layout.number,
        level,
        made_from: made_from(&layout, tools),
        processes: Vec::new(),
        complete: false,
    };
    state.write(&layout)?;
    Ok((layout.clone(), Record { layout, state }))
}

/// A text that changes with the tools and with the configuration, so that nobody tests on a cluster of older code.
fn made_from(layout: &Layout, tools: &Tools) -> String {
    let configuration = [
        layout.control_plane().configuration(),
        config::kubelet(layout).to_string(),
        config::kube_proxy(layout).to_string(),
        config::pod_network(layout).to_string(),
        config::containerd(layout, Path::new("plugins"), Path::new("runc"), "snapshotter"),
    ];
    let hash = Sha256::digest(configuration.concat());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{} {hash}", tools.fingerprint())
}

/// Where clusters live: `MCP_E2E_DATA`, or a folder that survives the terminal but is nobody's home.
fn data_folder() -> PathBuf {
    std::env::var_os("MCP_E2E_DATA").map_or_else(|| PathBuf::from("/var/lib/mcp-operator-e2e"), PathBuf::from)
}

/// Holds the lock `what` until the value is dropped. Two starts of one cluster would take each other's processes.
fn lock(root: &Path, what: &str) -> Result<File> {
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    let path = root.join(format!(".{what}.lock"));
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    file.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn free_number(root: &Path) -> Result<u8> {
    let recorded = State::all(root).into_iter().map(|state| state.number);
    layout::free_number(&recorded.chain(network::numbers_in_use()).collect::<Vec<_>>())
}

fn must_be_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!(
        "the native cluster needs root (network namespaces, mounts, cgroups): run as root, or use another cluster \
         with MCP_E2E_CLUSTER=kind or MCP_E2E_CLUSTER=existing"
    )
}

fn describe(state: &State) -> String {
    let dead: Vec<_> = state.processes.iter().filter(|p| !p.is_alive()).map(|p| p.name.as_str()).collect();
    let health = match (state.complete, dead.as_slice()) {
        (false, _) => "incomplete".to_owned(),
        (true, []) => "running".to_owned(),
        (true, dead) => format!("broken (ended: {})", dead.join(", ")),
    };
    format!("{}\tnative\t{:?}\t{health}\t10.88.{}.1", state.name, state.level, state.number)
}
