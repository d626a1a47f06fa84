//! Static release binaries, as they go into the images.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::repository;
use crate::clusters::Provider;
use crate::clusters::tools::{Level, Tools};

/// What the images run. musl: they have no C library.
const TARGET: &str = match std::env::consts::ARCH.as_bytes() {
    b"aarch64" => "aarch64-unknown-linux-musl",
    _ => "x86_64-unknown-linux-musl",
};

/// Names a folder with binaries that were compiled elsewhere: then nothing is compiled here.
const COMPILED: &str = "MCP_E2E_BINARIES";

/// The folder with the compiled binaries.
#[must_use]
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os(COMPILED) {
        return PathBuf::from(folder);
    }
    repository().join("target").join(TARGET).join("release")
}

/// Compiles operator, runtime and issuer, and beside them what the cluster is made of: the one is Rust and the other is
/// Go, and neither keeps all cores busy alone.
pub fn binaries_and_tools() -> Result<()> {
    if Provider::chosen()? != Provider::Native {
        return binaries();
    }
    std::thread::scope(|scope| {
        let tools = scope.spawn(|| Tools::ready(Level::Node));
        let binaries = binaries();
        let tools = tools.join().map_err(|_| anyhow!("building the cluster's tools panicked"))?;
        binaries.and(tools.map(drop))
    })
}

/// Compiles operator, runtime and issuer, unless they are up to date. Blocks; minutes, the first time.
pub fn binaries() -> Result<()> {
    if std::env::var_os(COMPILED).is_some() {
        return Ok(());
    }
    add_target()?;
    let mut cargo = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--target", TARGET, "--bins"])
        .args(["--package", "mcp-operator", "--package", "mcp-server", "--package", "e2e-issuer"])
        .current_dir(repository())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let lines = cargo.stderr.take().map(|stderr| BufReader::new(stderr).lines()).context("cargo's messages")?;
    let messages = follow(lines.map_while(Result::ok));
    if !cargo.wait().context("wait for cargo")?.success() {
        bail!("cargo build failed:\n{messages}");
    }
    Ok(())
}

fn add_target() -> Result<()> {
    let output = Command::new("rustup").args(["target", "add", TARGET]).current_dir(repository()).output();
    match output {
        Ok(output) if !output.status.success() => {
            bail!("rustup target add {TARGET}: {}", String::from_utf8_lossy(&output.stderr).trim())
        }
        // Without rustup the toolchain may have the target anyway; if not, cargo says so.
        _ => Ok(()),
    }
}

/// Shows cargo's progress in one line of the terminal and returns its last messages, for the case that it fails.
fn follow(lines: impl Iterator<Item = String>) -> String {
    let terminal = std::io::stderr().is_terminal();
    let mut messages = std::collections::VecDeque::new();
    for line in lines {
        if terminal && line.trim_start().starts_with("Compiling") {
            eprint!("\r\x1b[2K    {}", line.trim());
            let _ = std::io::stderr().flush();
        }
        messages.push_back(line);
        if messages.len() > 60 {
            messages.pop_front();
        }
    }
    if terminal {
        eprint!("\r\x1b[2K");
    }
    messages.into_iter().collect::<Vec<_>>().join("\n")
}
