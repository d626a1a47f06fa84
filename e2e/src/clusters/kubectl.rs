//! Running kubectl: the shortest way to say most things that a test wants of a cluster.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Runs kubectl and returns what it printed; its error output becomes the error.
pub fn run(kubectl: &Path, kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    run_with_input(kubectl, kubeconfig, arguments, "")
}

/// The same, with standard input: `apply -f -`.
pub fn run_with_input(kubectl: &Path, kubeconfig: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", kubectl.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // kubectl may end before it has read everything; what it then says is the error worth showing.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().context("wait for kubectl")?;
    if !output.status.success() {
        bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
