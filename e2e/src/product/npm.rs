//! npm packages, exactly those of a lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Installs what `folder/package-lock.json` says, unless it is there, and tells where: `folder/node_modules`.
pub fn install(folder: &Path) -> Result<PathBuf> {
    let lock = folder.join("package-lock.json");
    let modules = folder.join("node_modules");
    let stamp = modules.join(".installed");
    let wanted = fs::read(&lock).with_context(|| format!("read {}", lock.display()))?;
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(modules);
    }
    let output = Command::new("npm")
        // Without scripts: nothing that we install needs to run code of its own to be installed.
        .args(["ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder)
        .output()
        .context("run npm: is Node.js 20 or newer installed?")?;
    if !output.status.success() {
        bail!("npm ci in {}: {}", folder.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    Ok(modules)
}
