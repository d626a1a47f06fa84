//! The whole runtime as a library: a program brings its MCP server, and gets the shell around it.
//!
//! ```no_run
//! # use rmcp::ServerHandler;
//! #[derive(Clone)]
//! struct MyServer;
//! impl ServerHandler for MyServer {}
//!
//! # async fn run() -> Result<(), mcp_server::runtime::Failed> {
//! use mcp_server::runtime::Runtime;
//!
//! Runtime::builder().config_file("config.yaml").handler(MyServer).run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The handler sees who calls in the request's extensions: [`crate::auth::Caller`] within `http::request::Parts`.

use std::path::PathBuf;
use std::sync::Arc;

use mcp_server_config::{Config, Environment};
use rmcp::ServerHandler;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::app::{App, StartError};
use crate::audit::Audit;
use crate::logging::{self, Levels};
use crate::mcp::Handler;
use crate::serve::{BindError, Ending, Server};
use crate::settings::{self, LoadError, Loaded, Sources};

/// Why the runtime has not served.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The configuration cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Logs cannot be written.
    #[error("logging: {0}")]
    Logging(String),
    /// Signals cannot be heard.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    /// Something behind the listeners cannot start.
    #[error("cannot start: {0}")]
    Start(#[from] StartError),
    /// An address cannot be listened at.
    #[error(transparent)]
    Bind(#[from] BindError),
}

/// The runtime, not yet running.
pub struct Runtime {
    sources: Sources,
    config: Option<Box<Config>>,
    handler: Option<Handler>,
    quiet: bool,
}

impl Runtime {
    /// Without anything said it serves the built-in tools at <http://127.0.0.1:8000/mcp>.
    #[must_use]
    pub fn builder() -> Self {
        Self { sources: Sources::default(), config: None, handler: None, quiet: false }
    }

    /// The configuration as a value. It is not reloaded.
    #[must_use]
    pub fn config(self, config: Config) -> Self {
        Self { config: Some(Box::new(config)), ..self }
    }

    /// The configuration as a file, whose live sections are reloaded when it changes.
    #[must_use]
    pub fn config_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.config = Some(path.into());
        self
    }

    /// The sections that are reloaded, in a file of their own.
    #[must_use]
    pub fn live_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources.live = Some(path.into());
        self
    }

    /// Variables that are stronger than the files.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.sources.environment = environment;
        self
    }

    /// The MCP server, in place of the built-in one. One value serves everybody.
    #[must_use]
    pub fn handler<S: ServerHandler>(self, handler: S) -> Self {
        Self { handler: Some(Handler::new(handler)), ..self }
    }

    /// A value of the MCP server for each session of the 2025 revisions, and one for all other requests.
    #[must_use]
    pub fn handler_per_session<S: ServerHandler>(self, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        Self { handler: Some(Handler::per_session(make)), ..self }
    }

    /// The handler says nothing but answers, and progress where it was asked for: [`Handler::quiet`].
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Reads and checks the configuration.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        match &self.config {
            Some(config) => self.sources.complete_value(config),
            None => self.sources.load(),
        }
    }

    /// Serves until SIGTERM or SIGINT, then drains. Call within a tokio runtime of several threads.
    pub async fn run(self) -> Result<Ending, Failed> {
        let loaded = self.load()?;
        self.run_loaded(loaded).await
    }

    /// The same with what [`Runtime::load`] has given.
    pub async fn run_loaded(self, loaded: Loaded) -> Result<Ending, Failed> {
        // Whatever uses TLS or signatures needs it. A program that has installed one keeps it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let level = loaded.live.live.log_level.unwrap_or(loaded.config.logging.level);
        let levels =
            logging::install(&loaded.config.logging, level).map_err(|error| Failed::Logging(error.to_string()))?;
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        // Before anything slow: a signal during the start must end it properly.
        let signals = signals().map_err(Failed::Signals)?;
        let reloads = self.config.is_none();
        let handler = self.handler.map(|handler| if self.quiet { handler.quiet() } else { handler });
        let app = App::start_with(loaded, handler).await?;
        reopen_on_hangup(Arc::clone(&app)).map_err(Failed::Signals)?;
        let server = Server::bind(Arc::clone(&app)).await?;
        announce(&app, &server);
        let reloading = reloads.then(|| tokio::spawn(reload(Arc::clone(&app), self.sources, levels)));
        let ending = server.run(signals).await;
        if let Some(reloading) = reloading {
            reloading.abort();
        }
        app.flush().await;
        Ok(ending)
    }
}

async fn reload(app: Arc<App>, sources: Sources, levels: Levels) {
    settings::watch(app, sources, levels).await;
}

fn announce(app: &App, server: &Server) {
    let (Ok(mcp), Ok(management)) = (server.mcp_address(), server.management_address()) else { return };
    let scheme = if app.tls.is_some() { "https" } else { "http" };
    info!(
        version = env!("CARGO_PKG_VERSION"),
        name = %app.config.server.name,
        backend = app.endpoint.report().kind,
        endpoint = %format_args!("{scheme}://{mcp}{}", app.config.server.path),
        management = %format_args!("http://{management}"),
        "serving",
    );
}

/// SIGHUP says that log files have been moved away; unheard it would end the process. That they have is also noticed.
fn reopen_on_hangup(app: Arc<App>) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            logging::reopen();
            app.audit.iter().for_each(Audit::reopen);
            info!("SIGHUP: log files are opened anew");
        }
    });
    Ok(())
}

fn signals() -> std::io::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => info!("SIGTERM"),
                _ = interrupt.recv() => info!("SIGINT"),
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
