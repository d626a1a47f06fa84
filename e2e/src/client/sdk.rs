//! The official TypeScript SDK as a process: `e2e/client`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::token::Credentials;
use crate::product::npm;

/// How the SDK client is started.
#[derive(Clone, Debug)]
pub struct Sdk {
    arguments: Vec<String>,
}

/// Where its packages are: exactly those of the lock file.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("client")
}

/// Installs the client's packages unless they are there.
pub async fn install() -> Result<()> {
    tokio::task::spawn_blocking(|| npm::install(&folder())).await?.map(drop)
}

impl Sdk {
    /// A client of `url`, whose host (and each of `also`) is at `address`, with certificates of the authority in `ca`.
    #[must_use]
    pub fn new(url: &str, address: IpAddr, also: &[&str], ca: &Path) -> Self {
        let host = url.split("://").last().and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
        let mut arguments = vec!["--url".to_owned(), url.to_owned(), "--ca".to_owned(), ca.display().to_string()];
        for host in std::iter::once(host).chain(also.iter().copied()) {
            arguments.extend(["--resolve".to_owned(), format!("{host}={address}")]);
        }
        Self { arguments }
    }

    /// Only by this protocol era: `legacy` or `modern`.
    #[must_use]
    pub fn era(self, era: &str) -> Self {
        self.with(&["--era", era])
    }

    /// With a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.with(&["--token", token])
    }

    /// With client credentials of the issuer `issuer`, which the SDK finds by the server's metadata.
    #[must_use]
    pub fn credentials(self, who: &Credentials, scope: &str, issuer: &str) -> Self {
        let Credentials { id, secret } = who;
        self.with(&["--client-id", id, "--client-secret", secret, "--scope", scope, "--issuer", issuer])
    }

    fn with(mut self, more: &[&str]) -> Self {
        self.arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Runs a command to its end and returns its events.
    pub async fn run(&self, command: &[&str]) -> Result<Vec<Value>> {
        let mut running = self.start(command)?;
        // Nothing follows on standard input.
        running.input.take();
        let mut events = Vec::new();
        loop {
            let event = running.next(Duration::from_secs(150)).await?;
            let done = event["event"] == "done";
            events.push(event);
            if done {
                return Ok(events);
            }
        }
    }

    /// Starts a `session`, which is then given its calls one by one.
    pub async fn session(&self) -> Result<Running> {
        let mut running = self.start(&["session"])?;
        running.until("connected", Duration::from_secs(30)).await?;
        Ok(running)
    }

    fn start(&self, command: &[&str]) -> Result<Running> {
        let mut child = Command::new("node")
            .arg(folder().join("src/main.js"))
            .args(command)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start node")?;
        let output = child.stdout.take().context("node's standard output")?;
        let output = BufReader::new(output).lines();
        Ok(Running { input: child.stdin.take(), output, warnings: Vec::new(), _child: child })
    }
}

/// A running client.
pub struct Running {
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    /// What the SDK tried again by itself. Worth telling when nothing comes afterwards.
    warnings: Vec<Value>,
    /// Killed when this is dropped.
    _child: Child,
}

impl Running {
    /// Calls a tool in the session and returns the `result` event.
    pub async fn call(&mut self, tool: &str, arguments: &Value) -> Result<Value> {
        let line = format!("{}\n", serde_json::json!({"tool": tool, "arguments": arguments}));
        let input = self.input.as_mut().context("the session's input is closed")?;
        input.write_all(line.as_bytes()).await.context("write to the client")?;
        self.until("result", Duration::from_secs(90)).await
    }

    /// Reads events until the one called `wanted`. Warnings are passed over; a failure is an error.
    async fn until(&mut self, wanted: &str, patience: Duration) -> Result<Value> {
        loop {
            let event = self.next(patience).await?;
            if event["event"] == wanted {
                return Ok(event);
            }
        }
    }

    async fn next(&mut self, patience: Duration) -> Result<Value> {
        let line = timeout(patience, self.output.next_line()).await;
        let line = line.with_context(|| {
            format!("the SDK client said nothing for {patience:?}; its warnings before: {:?}", self.warnings)
        })??;
        let line = line.context("the SDK client ended without a last word: see its messages above")?;
        let event: Value = serde_json::from_str(&line).with_context(|| format!("no event in {line:?}"))?;
        if event["event"] == "warning" {
            self.warnings.push(event.clone());
        }
        if event["event"] == "error" || event["event"] == "failed" {
            bail!("the SDK client failed: {event}");
        }
        Ok(event)
    }
}
