//! Polls the live file and swaps what it says in. Polling, because a ConfigMap volume is replaced by a symbolic link
//! (`..data`) and file systems differ in what they notify; one small read a second is nothing.

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
}

/// Runs until it is dropped. A file that is wrong changes nothing; it is told once.
pub async fn watch(app: Arc<App>, sources: Sources, levels: Levels) {
    let mut seen = Some(app.live.current().digest.clone());
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What cannot be read has no digest: it is told once, and read again as soon as it is back.
        let text = off_thread(sources.clone(), |sources| sources.live_text()).await;
        let now = match &text {
            Ok(Some(text)) => Some(digest(text)),
            Ok(None) => return,
            Err(_) => None,
        };
        if now == seen {
            continue;
        }
        seen = now;
        match reload(&app, &sources, &levels, text.err()).await {
            Ok(digest) => {
                app.metrics.reload(true);
                info!(%digest, "live configuration reloaded");
            }
            Err(problem) => {
                app.live.refuse(problem.to_string());
                app.metrics.reload(false);
                error!(error = &problem as &dyn std::error::Error, "live configuration refused; the earlier one stays");
            }
        }
    }
}

async fn reload(
    app: &App,
    sources: &Sources,
    levels: &Levels,
    unreadable: Option<LoadError>,
) -> Result<String, ReloadError> {
    if let Some(problem) = unreadable {
        return Err(problem.into());
    }
    let config = app.config.clone();
    let (loaded, warnings) = off_thread(sources.clone(), move |sources| sources.reload(&config)).await?;
    for warning in warnings {
        warn!("{warning}");
    }
    let current = app.live.current();
    let next = LiveState::new(&app.config, loaded, Some(&current))?;
    let digest = next.digest.clone();
    levels.set(next.live.log_level.unwrap_or(app.config.logging.level));
    app.live.replace(next);
    Ok(digest)
}

/// A file system may hang; the workers must not.
async fn off_thread<T: Send + 'static>(
    sources: Sources,
    read: impl FnOnce(&Sources) -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    match tokio::task::spawn_blocking(move || read(&sources)).await {
        Ok(result) => result,
        Err(panic) => Err(LoadError::Read { path: "the configuration".into(), source: std::io::Error::other(panic) }),
    }
}
