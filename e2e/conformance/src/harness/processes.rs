//! Processes that a run starts. Each ends with its value, and leaves its output in a file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// A process that does not start in this time never will.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running process.
pub struct Process {
    /// Where it says that it listens.
    pub listening: Listening,
    _child: Child,
}

/// The addresses of a process.
#[derive(Clone, Copy)]
pub struct Listening {
    /// Of what it serves.
    pub address: SocketAddr,
    /// Of its management listener, where it has one.
    pub management: Option<SocketAddr>,
}

impl From<SocketAddr> for Listening {
    fn from(address: SocketAddr) -> Self {
        Self { address, management: None }
    }
}

/// A program beside this one.
pub fn beside(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("find this program")?;
    let program = this.with_file_name(name);
    if !program.is_file() {
        bail!("{} is not built: cargo build --bins", program.display());
    }
    Ok(program)
}

impl Process {
    /// Starts a program and waits for the line in which `listening` finds its address.
    pub async fn start(
        program: &Path,
        arguments: &[&str],
        log: &Path,
        listening: impl Fn(&str) -> Option<Listening>,
    ) -> Result<Self> {
        let about = || format!("start {} (output: {})", program.display(), log.display());
        let output = std::fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
        let mut child = Command::new(program)
            .args(arguments)
            // Of the environment only what says where programs are and how much they tell.
            .env_clear()
            .envs(["PATH", "RUST_BACKTRACE"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(output.try_clone().with_context(about)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(about)?;
        let mut lines = BufReader::new(child.stdout.take().with_context(about)?).lines();
        let mut output = File::from_std(output);
        let found = timeout(PATIENCE, find(&mut lines, &mut output, listening)).await.with_context(about)?;
        let listening = found.with_context(about)?;
        tokio::spawn(async move { find(&mut lines, &mut output, |_| None).await.map(drop) });
        Ok(Self { listening, _child: child })
    }
}

/// Writes lines away until one has the address.
async fn find(
    lines: &mut Lines<BufReader<ChildStdout>>,
    output: &mut File,
    listening: impl Fn(&str) -> Option<Listening>,
) -> Result<Listening> {
    while let Some(line) = lines.next_line().await? {
        output.write_all(format!("{line}\n").as_bytes()).await?;
        if let Some(found) = listening(&line) {
            return Ok(found);
        }
    }
    bail!("it ended")
}

/// The runtime's line about its listeners, or that of the bare fixture.
pub fn serving(line: &str) -> Option<Listening> {
    let of = |url: &str| url.strip_prefix("http://")?.split('/').next()?.parse().ok();
    let Some(url) = line.strip_prefix("serving at ") else {
        let line = serde_json::from_str::<Value>(line).ok().filter(|line| line["message"] == "serving")?;
        return Some(Listening {
            address: of(line["endpoint"].as_str()?)?,
            management: of(line["management"].as_str()?),
        });
    };
    of(url).map(Listening::from)
}
