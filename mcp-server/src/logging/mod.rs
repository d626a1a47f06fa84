//! Log lines: one JSON object a line, or text for people; to the console, to files, or both. The level changes at run
//! time. What a line holds is in [`record`]; how it leaves the process, and what happens where it cannot, in [`writer`].
//!
//! Other crates' lines below INFO are never written: HTTP libraries log headers there, and headers hold tokens. rmcp's are
//! not written at all: at every level it logs whole messages and the names of sessions. Of the database's, only the
//! statements are, where `database.echo` asks for them.

mod record;
mod sink;
mod writer;

use std::sync::OnceLock;
use std::time::Duration;

use mcp_server_config::{LogLevel, Logging};
use prometheus::IntCounter;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

use self::sink::Lines;
pub use self::writer::{OpenError, Writer};

/// A console that is stopped must not keep the process from ending.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The process's handlers. Like the subscriber they are there once, and until the end.
static WRITERS: OnceLock<Vec<Writer>> = OnceLock::new();
static DROPPED: OnceLock<IntCounter> = OnceLock::new();

/// Changes the level.
#[derive(Clone)]
pub struct Levels(Option<reload::Handle<Targets, Registry>>);

impl Levels {
    /// For a process that has not installed our logs, as a test.
    #[must_use]
    pub fn fixed() -> Self {
        Self(None)
    }

    /// From now on that level holds.
    pub fn set(&self, level: LogLevel) {
        if let Some(handle) = &self.0 {
            // It fails only when the subscriber is gone, and with it the logs.
            let _ = handle.reload(targets(level));
        }
    }
}

/// Why logs cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A log file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The process has other logs.
    #[error("logs are already installed")]
    Twice,
}

/// Sends the process's lines, panics too, where the section says.
pub fn install(logging: &Logging, level: LogLevel) -> Result<Levels, InstallError> {
    let open = |handler| Writer::open("logging", handler, dropped());
    let writers = logging.handlers.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    WRITERS.set(writers).map_err(|_| InstallError::Twice)?;
    let lines = Lines { format: logging.format, writers: writers_in_use() };
    let (filter, handle) = reload::Layer::new(targets(level));
    tracing_subscriber::registry().with(filter).with(lines).try_init().map_err(|_| InstallError::Twice)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(exception = %panic.payload_as_str().unwrap_or("panic"), place, "a task has panicked");
        // It may have been the process's last word.
        flush();
    }));
    Ok(Levels(Some(handle)))
}

/// Waits until all lines are written, but not for long. The last thing that a process does.
pub fn flush() {
    for writer in writers_in_use() {
        writer.flush(LAST_LINES);
    }
}

/// Opens the log files anew: they have been moved away.
pub fn reopen() {
    for writer in writers_in_use() {
        writer.reopen();
    }
}

/// `mcp_log_lines_dropped_total`: lines that found no room, or that a file did not take.
#[must_use]
pub fn dropped() -> IntCounter {
    let new =
        || IntCounter::new("mcp_log_lines_dropped_total", "Log lines that could not be written").expect("a valid name");
    DROPPED.get_or_init(new).clone()
}

fn writers_in_use() -> &'static [Writer] {
    WRITERS.get().map(Vec::as_slice).unwrap_or_default()
}

fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(ours.min(LevelFilter::INFO))
        .with_target("mcp_server", ours)
        .with_target("rmcp", LevelFilter::OFF)
        .with_target("sqlx", LevelFilter::OFF)
        .with_target("sqlx::query", LevelFilter::INFO)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn no_level_lets_libraries_log_messages_headers_or_sessions() {
        for level in [LogLevel::Info, LogLevel::Debug, LogLevel::Trace] {
            let targets = targets(level);
            assert!(!targets.would_enable("rmcp::transport::streamable_http_server::session::local", &Level::ERROR));
            assert!(!targets.would_enable("hyper::proto::h1", &Level::DEBUG));
            assert!(targets.would_enable("mcp_server::mcp::calls", &Level::INFO));
        }
    }
}
