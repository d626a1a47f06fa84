//! Ending a cluster, in whatever state it is: whole, half started, crashed, or left by a machine that was switched off.
//! So nothing is asked of its API server or of containerd; processes are found by record, network namespace, command line
//! and cgroup.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::layout::Layout;
use super::state::State;
use super::{cgroups, network};
use crate::clusters::processes::{self, Process};

/// Ends everything that belongs to the layout and fails if something is left. Fine when there is nothing.
pub fn remove(layout: &Layout, state: Option<&State>) -> Result<()> {
    let started = state.map(|state| state.processes.as_slice()).unwrap_or_default();
    // Not asked but killed: nothing of them is kept, and the API server takes many seconds to say goodbye. The agents
    // first, for they would start again what is ended after them.
    processes::kill(started)?;
    processes::kill(&network::processes(layout))?;
    processes::kill(&shims(layout))?;
    processes::kill(&cgroups::processes(layout))?;

    forget_shim_sockets(layout);
    unmount(&layout.folder)?;
    network::remove(layout)?;
    cgroups::remove(layout);
    forget_container_logs(&layout.folder);
    if layout.folder.exists() {
        fs::remove_dir_all(&layout.folder).with_context(|| format!("remove {}", layout.folder.display()))?;
    }

    let left = leftovers(layout, started);
    if !left.is_empty() {
        bail!("after ending cluster {}, these are left: {}", layout.name, left.join(", "));
    }
    Ok(())
}

/// What exists of the cluster: processes, mounts, network, cgroups, files.
pub fn leftovers(layout: &Layout, started: &[Process]) -> Vec<String> {
    let alive = started.iter().filter(|process| process.is_alive()).cloned();
    let found = alive.chain(network::processes(layout)).chain(shims(layout)).chain(cgroups::processes(layout));
    let mut left: Vec<_> = found.map(|process| format!("process {} ({})", process.id(), process.name)).collect();
    left.extend(mounts_below(&layout.folder).iter().map(|mount| format!("mount {}", mount.display())));
    left.extend(cgroups::existing(layout).iter().map(|group| format!("cgroup {}", group.display())));
    if network::exists(layout) {
        left.push(format!("network namespace {}", layout.namespace()));
    }
    if layout.folder.exists() {
        left.push(format!("folder {}", layout.folder.display()));
    }
    left
}

/// containerd's shims outlive it on purpose. Their command line names the socket of their containerd.
fn shims(layout: &Layout) -> Vec<Process> {
    let socket = layout.containerd_socket().display().to_string();
    processes::find_by_command("containerd-shim", |arguments| {
        arguments.iter().any(|argument| argument == "-address") && arguments.contains(&socket)
    })
}

/// A shim listens on a socket outside of our folder; its bundle says where.
fn forget_shim_sockets(layout: &Layout) {
    let bundles = layout.path("containerd/state/io.containerd.runtime.v2.task/k8s.io");
    let Ok(entries) = fs::read_dir(bundles) else { return };
    for bundle in entries.flatten() {
        let Ok(text) = fs::read_to_string(bundle.path().join("bootstrap.json")) else { continue };
        let Ok(shim) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
        if let Some(socket) = shim["address"].as_str().and_then(|address| address.strip_prefix("unix://")) {
            let _ = fs::remove_file(socket);
        }
    }
}

/// The kubelet links every container's log here, wherever its own folders are.
fn forget_container_logs(folder: &Path) {
    let Ok(links) = fs::read_dir("/var/log/containers") else { return };
    for link in links.flatten() {
        if fs::read_link(link.path()).is_ok_and(|target| target.starts_with(folder)) {
            let _ = fs::remove_file(link.path());
        }
    }
}

fn unmount(folder: &Path) -> Result<()> {
    // Several rounds: a mount can lie on top of another at the same place.
    for _ in 0..10 {
        let mounts = mounts_below(folder);
        if mounts.is_empty() {
            return Ok(());
        }
        for mount in mounts.iter().rev() {
            // Lazily: a process that is just ending may hold it for another moment.
            let _ = Command::new("umount").arg("--lazy").arg(mount).stderr(std::process::Stdio::null()).status();
        }
    }
    bail!("cannot unmount everything below {}", folder.display())
}

fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&table).filter(|mount| mount.starts_with(folder)).collect()
}

/// The fifth field, in which the kernel writes blanks and the like as octal numbers.
fn mount_points(table: &str) -> impl Iterator<Item = PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_blanks() {
        let table =
            "36 35 98:0 / /data/demo/a\\040b rw - ext4 /dev/x rw\n37 35 0:4 net:[1] /run/netns/x rw - nsfs n rw\n";
        let points: Vec<_> = mount_points(table).collect();
        assert_eq!(points, [PathBuf::from("/data/demo/a b"), PathBuf::from("/run/netns/x")]);
    }
}
