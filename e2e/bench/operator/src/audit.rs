//! Every request, by the API server's own account.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::sleep;

/// Silence for so long is the end of a phase.
const QUIET: Duration = Duration::from_secs(4);
/// Nothing takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The requests since a moment.
pub struct Audit {
    path: PathBuf,
    from: u64,
    half: Vec<u8>,
    /// What was read since [`Audit::forget`].
    pub requests: Vec<Request>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub who: Who,
    pub verb: String,
    pub resource: String,
    pub name: String,
    /// Microseconds, by the API server's clock.
    pub received: i64,
    pub answered: i64,
}

/// Who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Operator,
    Floor,
    Others,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    stage: String,
    verb: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Object,
    request_received_timestamp: Timestamp,
    stage_timestamp: Timestamp,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Object {
    resource: String,
    subresource: String,
    name: String,
}

impl Request {
    fn of(line: Line) -> Option<Self> {
        let who = match line.user_agent.as_str() {
            agent if agent.starts_with("mcp-operator/") => Who::Operator,
            crate::floor::AGENT => Who::Floor,
            _ => Who::Others,
        };
        // A watch is written down when it begins and when it ends.
        if (line.verb == "watch") != (line.stage == "ResponseStarted") {
            return None;
        }
        let Object { resource, subresource, name } = line.object_ref;
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        Some(Self {
            who,
            verb: line.verb,
            resource,
            name,
            received: line.request_received_timestamp.as_microsecond(),
            answered: line.stage_timestamp.as_microsecond(),
        })
    }

    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete")
    }

    pub fn is_status(&self) -> bool {
        self.resource == "mcpservers/status"
    }

    pub fn is_event(&self) -> bool {
        self.resource == "events"
    }

    /// A write of a child: neither status nor event.
    pub fn is_child(&self) -> bool {
        self.is_write() && !self.is_status() && !self.is_event()
    }
}

impl Audit {
    pub fn of(path: PathBuf) -> Self {
        Self { path, from: 0, half: Vec::new(), requests: Vec::new() }
    }

    /// Reads what was written down meanwhile.
    pub fn read(&mut self) -> Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        self.from += file.read_to_end(&mut self.half)? as u64;
        let end = self.half.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let complete: Vec<u8> = self.half.drain(..end).collect();
        let lines = complete.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        self.requests.extend(lines.filter_map(Request::of));
        Ok(())
    }

    /// Begins anew.
    pub fn forget(&mut self) -> Result<()> {
        self.read()?;
        self.requests.clear();
        Ok(())
    }

    /// The operator's requests but for the Lease and for watches that begin anew.
    pub fn operator(&self) -> impl Iterator<Item = &Request> {
        self.by(Who::Operator).filter(|request| request.resource != "leases" && request.verb != "watch")
    }

    pub fn by(&self, who: Who) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(move |request| request.who == who)
    }

    /// Waits until the operator has sent at least `fewest` requests and then none for a while.
    pub async fn quiet(&mut self, fewest: usize) -> Result<()> {
        let (begun, mut last, mut count) = (Instant::now(), Instant::now(), 0);
        while count < fewest || last.elapsed() < QUIET {
            ensure!(begun.elapsed() < PATIENCE, "the operator does not come to rest: {count} of {fewest} requests");
            sleep(Duration::from_millis(250)).await;
            self.read()?;
            let now = self.operator().count();
            if now != count {
                (last, count) = (Instant::now(), now);
            }
        }
        Ok(())
    }

    /// How many requests of each verb and resource the operator sent.
    pub fn by_verb(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for request in self.operator() {
            *counts.entry(format!("{} {}", request.verb, request.resource)).or_default() += 1;
        }
        counts
    }
}
