//! What is written down about a cluster, so that a later call can reuse it or end exactly what was started.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::clusters::processes::Process;
use crate::clusters::tools::Level;

/// The record of one cluster: `cluster.json` in its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The cluster's name.
    pub name: String,
    /// The number that its addresses are made from.
    pub number: u8,
    /// What was started.
    pub level: Level,
    /// The tools and the configuration that it was made from: others mean a new cluster.
    pub made_from: String,
    /// In the order in which they were started.
    pub processes: Vec<Process>,
    /// Set when everything was up; a cluster whose start was interrupted is not reused.
    pub complete: bool,
}

impl State {
    /// The record in the folder of the cluster `name`, if it has one that can be read.
    pub fn read(root: &Path, name: &str) -> Option<Self> {
        let text = fs::read_to_string(file(&root.join(name))).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// All records under the data folder.
    pub fn all(root: &Path) -> Vec<Self> {
        let Ok(folders) = fs::read_dir(root) else { return Vec::new() };
        let mut states: Vec<_> =
            folders.flatten().filter_map(|folder| Self::read(root, folder.file_name().to_str()?)).collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        states
    }

    /// Writes the record. Called after each start of a process, so that a crash of ours loses none.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        let path = file(&layout.folder);
        let aside = path.with_extension("new");
        let text = serde_json::to_string_pretty(self)?;
        fs::write(&aside, text)
            .and_then(|()| fs::rename(&aside, &path))
            .with_context(|| format!("write {}", path.display()))
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("cluster.json")
}
