//! Clients that we did not write: each is a program of `e2e/sdk` that says of every check whether it holds.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::front::{Front, Manner};
use crate::stage::Stage;
use crate::tally::Tally;

/// A client that has not ended in this time hangs.
const PATIENCE: Duration = Duration::from_secs(150);
/// As the standard library has it.
const SUCCESS: &str = "exit status: 0";

/// A program, and the SDK that it uses.
#[derive(Clone)]
pub struct Sdk {
    name: String,
    command: Vec<String>,
}

/// What the clients speak with.
#[derive(Clone, Copy)]
pub enum Server {
    /// The runtime's own tools.
    Builtin,
    /// The fixture on the shell.
    Shell,
    /// The fixture on the shell without tokens, behind the runtime as byte proxy.
    Proxied,
}

/// The revisions before 2026-07-28, or that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Era {
    Legacy,
    Modern,
}

/// What one client found in one era.
pub struct Report {
    title: String,
    tally: Tally,
    problems: Vec<String>,
}

impl FromStr for Sdk {
    type Err = anyhow::Error;

    /// From `name=program argument`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, command) = text.split_once('=').context("a client is written name=command")?;
        let command: Vec<String> = command.split_ascii_whitespace().map(str::to_owned).collect();
        anyhow::ensure!(!command.is_empty(), "the client {name} has no command");
        Ok(Self { name: name.to_owned(), command })
    }
}

impl Server {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Builtin, Self::Shell, Self::Proxied];

    /// As a folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Shell => "shell",
            Self::Proxied => "proxied",
        }
    }

    /// For people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Builtin => "builtin: the runtime's own tools, with the whole shell",
            Self::Shell => "shell: the fixture on the whole shell",
            Self::Proxied => "proxied: the fixture, behind the runtime as byte proxy with the whole shell",
        }
    }

    /// Checks that a client makes at least.
    fn expected(self, era: Era) -> usize {
        match (self, era) {
            (Self::Builtin, Era::Legacy) => 7,
            (Self::Builtin, Era::Modern) => 5,
            (Self::Shell | Self::Proxied, Era::Legacy) => 9,
            (Self::Shell | Self::Proxied, Era::Modern) => 8,
        }
    }

    /// Starts the server, and lets the clients meet it, all at once.
    pub async fn meet(self, sdks: &[Sdk], folder: &Path) -> Result<Vec<Report>> {
        let mut stage = Stage::set(folder).await?;
        let server = match self {
            Self::Builtin => stage.builtin("builtin").await?,
            Self::Shell => stage.shell("shell").await?,
            Self::Proxied => {
                // Not bare rmcp: it forgets a call that ends while its stream is broken off.
                let upstream = stage.open_shell("upstream").await?;
                stage.runtime("proxy", upstream).await?
            }
        };
        let cutting = Front::start(vec![server], None, Manner::BreakOff).await?;
        let mut meeting = JoinSet::new();
        for sdk in sdks {
            for era in [Era::Legacy, Era::Modern] {
                let (sdk, token) = (sdk.clone(), stage.token.clone());
                let (cutting, expected) = (cutting.address, self.expected(era));
                meeting.spawn(async move { sdk.run(server, cutting, &token, era, expected).await });
            }
        }
        let mut reports = meeting.join_all().await.into_iter().collect::<Result<Vec<_>>>().context(self.about())?;
        reports.sort_by(|one, other| one.title.cmp(&other.title));
        Ok(reports)
    }
}

impl Sdk {
    async fn run(
        &self,
        server: SocketAddr,
        cutting: SocketAddr,
        token: &str,
        era: Era,
        expected: usize,
    ) -> Result<Report> {
        let url = |address: SocketAddr| format!("http://localhost:{}/mcp", address.port());
        let era = match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        };
        let mut client = Command::new(&self.command[0])
            .args(&self.command[1..])
            .args(["--url", &url(server), "--cutting-url", &url(cutting), "--token", token, "--era", era])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.command[0]))?;
        let mut output = client.stdout.take().context("the client's output")?;
        let mut said = Vec::new();
        let ended = timeout(PATIENCE, output.read_to_end(&mut said)).await;
        let ending = match ended {
            Ok(_) => client.wait().await.context("wait for the client")?.to_string(),
            Err(_) => "no end: it hangs".to_owned(),
        };
        let mut report = Report::read(&format!("{}, {era}", self.name), &String::from_utf8_lossy(&said));
        let Tally { passed, failed } = report.tally;
        if ending != SUCCESS || passed + failed < expected {
            let made = passed + failed;
            report.problems.push(format!("it made {made} of {expected} checks, with {ending}"));
        }
        Ok(report)
    }
}

impl Report {
    fn read(title: &str, output: &str) -> Self {
        let mut report = Self { title: title.to_owned(), tally: Tally::default(), problems: Vec::new() };
        for line in output.lines() {
            if line.starts_with("ok ") {
                report.tally.passed += 1;
            } else if let Some(problem) = line.strip_prefix("failed ") {
                report.tally.failed += 1;
                report.problems.push(problem.to_owned());
            }
        }
        report
    }

    /// What is wrong with the client as a whole is a failure too.
    pub fn tally(&self) -> Tally {
        Tally { passed: self.tally.passed, failed: self.problems.len() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "  {}: {}", self.title, self.tally())?;
        self.problems.iter().try_for_each(|problem| writeln!(formatter, "    ✗ {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_counted() {
        let report = Report::read("go, modern", "ok one\nfailed two: it is three\nsome other words\nok four\n");
        assert_eq!(report.tally(), Tally { passed: 2, failed: 1 });
        assert_eq!(report.problems, ["two: it is three"]);
    }

    #[test]
    fn a_client_is_a_name_and_a_command() {
        let sdk: Sdk = "python=/env/bin/python main.py".parse().unwrap();
        assert_eq!((sdk.name.as_str(), sdk.command.len()), ("python", 2));
        assert!("python".parse::<Sdk>().is_err());
        assert!("python=".parse::<Sdk>().is_err());
    }
}
