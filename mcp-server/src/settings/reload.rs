//! Polls the live file and swaps what it says in. Polling, because a ConfigMap volume is replaced by a symbolic link
//! (`..data`) and file systems differ in what they notify; one small read a second is nothing.
//!
//! A text counts once two polls in a row have seen it: a file that an editor is still writing is short, and what it does
//! not say would fall back to defaults.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use mcp_server_config::digest;
use tracing::{error, info, warn};

use super::{LiveState, LoadError, SetupError, Sources};
use crate::app::App;
use crate::logging::Levels;

const PERIOD: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// What is most often a file that was emptied by mistake must not open the server.
    #[error(
        "auth: the section is gone: write auth: {{anonymous: allow}} to serve everybody, or restart to run without it"
    )]
    AuthGone,
}

/// Runs until it is dropped. A file that is wrong changes nothing; it is told once.
pub async fn watch(app: Arc<App>, sources: Sources, levels: Levels) {
    let in_use = Some(app.live.current().digest.clone());
    let mut watcher = Watcher { app, sources, levels, seen: in_use.clone(), tried: in_use, blamed: None };
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        watcher.poll().await;
    }
}

struct Watcher {
    app: Arc<App>,
    sources: Sources,
    levels: Levels,
    /// The digest at the last poll. What cannot be read has none.
    seen: Option<String>,
    /// The digest that was last taken or refused.
    tried: Option<String>,
    /// Why the number of replicas is not known, as it was told.
    blamed: Option<String>,
}

impl Watcher {
    async fn poll(&mut self) {
        let sources = self.sources.clone();
        // A file system may hang; the workers must not.
        let read = tokio::task::spawn_blocking(move || (sources.live_text(), sources.replicas())).await;
        let Ok((text, replicas)) = read else { return };
        self.share(replicas);
        if let Some(text) = text.transpose() {
            self.compare(text);
        }
    }

    fn share(&mut self, replicas: Result<NonZeroU32, LoadError>) {
        match replicas {
            Ok(replicas) => {
                self.blamed = None;
                if replicas != self.app.live.current().replicas {
                    self.app.live.share(replicas);
                    info!(replicas, "each replica gives its share of the rates");
                }
            }
            Err(problem) => {
                let why = problem.to_string();
                if self.blamed.as_ref() != Some(&why) {
                    warn!(error = &problem as &dyn std::error::Error, "the earlier number of replicas stays");
                    self.blamed = Some(why);
                }
            }
        }
    }

    /// Acts when the text has changed and then stood still.
    fn compare(&mut self, text: Result<String, LoadError>) {
        let now = text.as_ref().ok().map(|text| digest(text));
        let stands = now == self.seen;
        self.seen.clone_from(&now);
        if !stands || now == self.tried {
            return;
        }
        self.tried = now;
        match text.map_err(ReloadError::from).and_then(|text| self.reload(&text)) {
            Ok(next) => self.take(next),
            Err(problem) => self.refuse(&problem),
        }
    }

    fn reload(&self, text: &str) -> Result<LiveState, ReloadError> {
        let (loaded, warnings) = self.sources.reload(text, &self.app.config)?;
        for warning in warnings {
            warn!("{warning}");
        }
        let current = self.app.live.current();
        if current.live.auth.is_some() && loaded.live.auth.is_none() {
            return Err(ReloadError::AuthGone);
        }
        Ok(LiveState::new(&self.app.config, loaded, Some(&current))?)
    }

    fn take(&self, next: LiveState) {
        let digest = next.digest.clone();
        self.levels.set(next.live.log_level.unwrap_or(self.app.config.logging.level));
        self.app.live.replace(next);
        self.app.metrics.reload(true);
        info!(%digest, "live configuration reloaded");
    }

    fn refuse(&self, problem: &ReloadError) {
        self.app.live.refuse(problem.to_string());
        self.app.metrics.reload(false);
        error!(error = problem as &dyn std::error::Error, "live configuration refused; the earlier one stays");
    }
}
