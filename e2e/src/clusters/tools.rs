//! Where the programs of a cluster are. `e2e/kubernetes/build.sh` builds them once per version into a cache and tells
//! the folders; asking it again costs 50 ms, so nothing here remembers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// With the value `next` in it, what stands for a cluster has API server and controller manager of the next minor version.
const VERSION: &str = "MCP_E2E_KUBERNETES";

/// How much of Kubernetes is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// etcd, API server and controller manager: objects, no pods.
    Api,
    /// A node that runs pods, DNS and an ingress controller.
    Node,
}

/// The folders of the tools that were built.
#[derive(Clone, Debug)]
pub struct Tools {
    folders: BTreeMap<String, PathBuf>,
}

impl Tools {
    /// Builds what is missing (minutes, the first time; progress on standard error) and tells where everything is.
    pub fn ready(level: Level) -> Result<Self> {
        Self::of(&[match level {
            Level::Api if is_next()? => "next-level",
            Level::Api => "api-level",
            Level::Node => "node-level",
        }])
    }

    /// The same of single tools, by the names that `build.sh` has for them.
    pub fn of(wanted: &[&str]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/build.sh");
        let output = Command::new(&script)
            .args(wanted)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("run {}", script.display()))?;
        if !output.status.success() {
            bail!("{} {} failed: see its messages above", script.display(), wanted.join(" "));
        }
        Ok(Self { folders: parse(&String::from_utf8_lossy(&output.stdout)) })
    }

    /// A program by the tool that it is part of: `program("containerd", "ctr")`.
    pub fn program(&self, tool: &str, program: &str) -> Result<PathBuf> {
        let folder = self.folders.get(tool).ok_or_else(|| anyhow!("tool {tool} was not built for this level"))?;
        Ok(folder.join(program))
    }

    /// The binary that is, among others, that part of Kubernetes: its first argument says which.
    pub fn part(&self, part: &str) -> Result<PathBuf> {
        let in_next = matches!(part, "kube-apiserver" | "kube-controller-manager");
        let tool = if in_next && self.folders.contains_key("next") { "next" } else { "node" };
        self.program(tool, tool)
    }

    /// kubectl of the cluster's own version.
    pub fn kubectl(&self) -> Result<PathBuf> {
        self.program("node", "kubectl")
    }

    /// One line that changes with any tool.
    pub fn fingerprint(&self) -> String {
        self.folders.values().map(|folder| folder.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

fn is_next() -> Result<bool> {
    match std::env::var(VERSION).as_deref() {
        Err(std::env::VarError::NotPresent) | Ok("") => Ok(false),
        Ok("next") => Ok(true),
        other => bail!("{VERSION} is {other:?}: `next`, or unset for the pinned version of the clusters"),
    }
}

fn parse(lines: &str) -> BTreeMap<String, PathBuf> {
    lines
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(tool, folder)| (tool.to_owned(), PathBuf::from(folder)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_lines_become_folders() {
        let tools = Tools { folders: parse("node=/c/node-1\nhelm=/c/helm-2\n") };
        assert_eq!(tools.kubectl().unwrap(), PathBuf::from("/c/node-1/kubectl"));
        assert_eq!(tools.program("helm", "helm").unwrap(), PathBuf::from("/c/helm-2/helm"));
        assert!(tools.program("runc", "runc").is_err());
    }

    #[test]
    fn the_next_version_has_the_api_server_and_no_etcd() {
        let one = Tools { folders: parse("node=/c/node-1\n") };
        let both = Tools { folders: parse("node=/c/node-1\nnext=/c/next-2\n") };
        assert_eq!(one.part("kube-apiserver").unwrap(), PathBuf::from("/c/node-1/node"));
        assert_eq!(both.part("kube-apiserver").unwrap(), PathBuf::from("/c/next-2/next"));
        assert_eq!(both.part("etcd").unwrap(), PathBuf::from("/c/node-1/node"));
    }
}
