//! Log lines: one JSON object a line, or text for people; to the console, to files, or both. The level changes at run
//! time. What a line holds is in [`record`].
//!
//! Other crates' lines below INFO are never written: HTTP libraries log headers there, and headers hold tokens. rmcp's are
//! not written at all: at every level it logs whole messages and the names of sessions.

mod record;
mod sink;

use mcp_server_config::{LogLevel, Logging};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

pub use sink::{Lines, OpenError};

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
    #[error("logs are already installed: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the process's lines, panics too, where the section says.
pub fn install(logging: &Logging, level: LogLevel) -> Result<Levels, InstallError> {
    let lines = Lines::open(logging)?;
    let (filter, handle) = reload::Layer::new(targets(level));
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(exception = %panic.payload_as_str().unwrap_or("panic"), place, "a task has panicked");
    }));
    Ok(Levels(Some(handle)))
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
