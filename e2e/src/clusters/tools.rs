//! Where the programs of a cluster are. `e2e/kubernetes/build.sh` builds them once per version into a cache and tells
//! the folders; asking it again costs 50 ms, so nothing here remembers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

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
        let wanted = match level {
            Level::Api => "api-level",
            Level::Node => "node-level",
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes/build.sh");
        let output = Command::new(&script)
            .arg(wanted)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("run {}", script.display()))?;
        if !output.status.success() {
            bail!("{} {wanted} failed: see its messages above", script.display());
        }
        Ok(Self { folders: parse(&String::from_utf8_lossy(&output.stdout)) })
    }

    /// A program by the tool that it is part of: `program("containerd", "ctr")`.
    pub fn program(&self, tool: &str, program: &str) -> Result<PathBuf> {
        let folder = self.folders.get(tool).ok_or_else(|| anyhow!("tool {tool} was not built for this level"))?;
        Ok(folder.join(program))
    }

    /// The one binary that is etcd and all of Kubernetes: its first argument says which part.
    pub fn node(&self) -> Result<PathBuf> {
        self.program("node", "node")
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
}
