//! The cgroup that holds all pods of a cluster. It also finds every process of every pod again, also those of a cluster
//! whose containerd is gone. Both versions of cgroups: the first has one tree per controller.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::Layout;
use crate::clusters::processes::Process;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes the cluster's cgroup: the kubelet refuses to start when it is missing.
pub fn create(layout: &Layout) -> Result<()> {
    for tree in trees() {
        let group = tree.join(layout.cgroup());
        fs::create_dir_all(&group).with_context(|| format!("create the cgroup {}", group.display()))?;
        // In the first version's cpuset tree a new group has no processor and no memory, and so can run nothing.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            inherit(&tree, &group, file);
        }
    }
    if unified() {
        delegate(Path::new(ROOT))?;
        delegate(&Path::new(ROOT).join(layout.cgroup()))?;
    }
    Ok(())
}

/// Every process in the cluster's pods.
pub fn processes(layout: &Layout) -> Vec<Process> {
    let groups = trees().into_iter().flat_map(|tree| below(&tree.join(layout.cgroup())));
    let mut ids: Vec<i32> = groups
        .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
        .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().filter_map(|id| Process::running("a pod's process", id)).filter(Process::is_alive).collect()
}

/// Removes the cgroups; they must be empty.
pub fn remove(layout: &Layout) {
    for tree in trees() {
        // Deepest first: a cgroup with children cannot be removed. What cannot be removed is reported by the caller's
        // check for leftovers.
        for group in below(&tree.join(layout.cgroup())).iter().rev() {
            let _ = fs::remove_dir(group);
        }
    }
}

/// The cluster's cgroups that exist.
pub fn existing(layout: &Layout) -> Vec<PathBuf> {
    trees().into_iter().map(|tree| tree.join(layout.cgroup())).filter(|group| group.exists()).collect()
}

fn unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Where cgroups are made: one place in the second version, one per controller in the first.
fn trees() -> Vec<PathBuf> {
    if unified() {
        return vec![PathBuf::from(ROOT)];
    }
    let Ok(entries) = fs::read_dir(ROOT) else { return Vec::new() };
    // `cpu` is often a symbolic link to `cpu,cpuacct`; take each tree once.
    let mut trees: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .filter(|tree| tree.join("cgroup.procs").exists())
        .collect();
    trees.sort();
    trees
}

/// The group and all groups below it, parents first.
fn below(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let children = folders.flat_map(|entry| below(&entry.path()));
    std::iter::once(group.to_owned()).chain(children).collect()
}

fn inherit(parent: &Path, child: &Path, file: &str) {
    let empty = fs::read_to_string(child.join(file)).is_ok_and(|text| text.trim().is_empty());
    if let (true, Ok(value)) = (empty, fs::read_to_string(parent.join(file))) {
        let _ = fs::write(child.join(file), value.trim());
    }
}

/// Second version: lets the groups below `group` use all controllers that it has.
fn delegate(group: &Path) -> Result<()> {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).context("read the cgroup controllers")?;
    for controller in controllers.split_whitespace() {
        // Some cannot be delegated; the kubelet complains by name about those that it needs.
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}
