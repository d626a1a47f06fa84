//! Files and environment variables, read together: at start, and again for each reload.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use mcp_server_config::{Config, Environment, Invalid, Live, Unknown, check_together, digest, parse_boot, parse_live};

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The boot file, which alone holds the live sections too. Without it everything has its default.
    pub config: Option<PathBuf>,
    /// The live file.
    pub live: Option<PathBuf>,
    /// Stronger than both; the default says nothing.
    pub environment: Environment,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What needs a restart.
    pub config: Config,
    /// What does not.
    pub live: LoadedLive,
    /// What is not an error but should be known.
    pub warnings: Vec<String>,
}

/// The live part, from whichever file it is in.
#[derive(Debug, Clone, Default)]
pub struct LoadedLive {
    /// The sections.
    pub live: Live,
    /// [`digest`] of the file's text.
    pub digest: String,
}

/// Why there is no configuration: file, place, remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file says something wrong.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What.
        source: Invalid,
    },
    /// Files and environment do not go together.
    #[error(transparent)]
    Together(Invalid),
    /// The file beside the live file holds something else than a count.
    #[error("{path}: it holds no number of replicas: write one from 1 on, in digits, or remove the file")]
    Replicas {
        /// The file.
        path: PathBuf,
    },
}

/// Beside the live file: how many processes share a rate, in digits. A file of its own, because scaling changes it, and
/// must not look like another configuration.
const REPLICAS: &str = "replicas";

impl Sources {
    /// Reads everything.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let (mut config, text) = self.boot()?;
        self.environment.apply(&mut config).map_err(LoadError::Together)?;
        let (live, unknown) = match &self.live {
            Some(path) => parse_live_file(path, &read(path)?)?,
            None => (LoadedLive { live: config.live(), digest: digest(&text) }, Vec::new()),
        };
        let live = self.complete(&config, live)?;

        let mut warnings = self.environment.warnings().to_vec();
        warnings.extend(config.tls.iter().flat_map(mcp_server_config::Tls::warnings));
        warnings.extend(unknown.iter().map(|unknown| format!("{unknown} in the live file is ignored")));
        if !config.server.host.is_loopback() && nameless(&live.live) {
            warnings.push(
                "http.public_urls: it is empty, so only requests to localhost are accepted: write the server's URLs"
                    .into(),
            );
        }
        Ok(Loaded { config, live, warnings })
    }

    /// The same for a configuration that a program gives as a value, with the environment on top.
    pub(crate) fn complete_value(&self, config: &Config) -> Result<Loaded, LoadError> {
        let mut config = config.clone();
        self.environment.apply(&mut config).map_err(LoadError::Together)?;
        let live = self.complete(&config, LoadedLive { live: config.live(), digest: digest("") })?;
        Ok(Loaded { config, live, warnings: self.environment.warnings().to_vec() })
    }

    /// Takes the live part from `text`, which is [`Self::live_text`], for a runtime that was started with `running`.
    /// Changes of other sections are named, not made.
    pub fn reload(&self, text: &str, running: &Config) -> Result<(LoadedLive, Vec<String>), LoadError> {
        if let Some(path) = &self.live {
            let (live, unknown) = parse_live_file(path, text)?;
            let warnings = unknown.iter().map(|unknown| format!("{unknown} in the live file is ignored")).collect();
            return Ok((self.complete(running, live)?, warnings));
        }
        let mut config = self.parse_boot_file(text)?;
        self.environment.apply(&mut config).map_err(LoadError::Together)?;
        let live = self.complete(running, LoadedLive { live: config.live(), digest: digest(text) })?;
        let mut warnings = Vec::new();
        if without_live(config) != without_live(running.clone()) {
            warnings.push(
                "sections other than auth, http, rate_limits, cors and tools have changed: restart to use them".into(),
            );
        }
        Ok((live, warnings))
    }

    /// The text of the file that a reload reads, to see whether it has changed. `None` where there is none.
    pub fn live_text(&self) -> Result<Option<String>, LoadError> {
        self.live.as_ref().or(self.config.as_ref()).map(|path| read(path)).transpose()
    }

    /// What the file `replicas` beside the live file says; one where there is none.
    pub fn replicas(&self) -> Result<NonZeroU32, LoadError> {
        let Some(path) = self.live.as_ref().map(|live| live.with_file_name(REPLICAS)) else {
            return Ok(NonZeroU32::MIN);
        };
        match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| LoadError::Replicas { path }),
            Err(source) if source.kind() == ErrorKind::NotFound => Ok(NonZeroU32::MIN),
            Err(source) => Err(LoadError::Read { path, source }),
        }
    }

    fn boot(&self) -> Result<(Config, String), LoadError> {
        let Some(path) = &self.config else { return Ok((Config::default(), String::new())) };
        let text = read(path)?;
        Ok((self.parse_boot_file(&text)?, text))
    }

    fn parse_boot_file(&self, text: &str) -> Result<Config, LoadError> {
        let path = || self.config.clone().unwrap_or_default();
        parse_boot(text).map_err(|source| LoadError::File { path: path(), source })
    }

    fn complete(&self, config: &Config, mut loaded: LoadedLive) -> Result<LoadedLive, LoadError> {
        self.environment.apply_live(&mut loaded.live).map_err(LoadError::Together)?;
        let separate = self.live.is_some();
        check_together(config, &loaded.live, separate).map_err(|source| match self.config.clone() {
            Some(path) => LoadError::File { path, source },
            None => LoadError::Together(source),
        })?;
        Ok(loaded)
    }
}

fn nameless(live: &Live) -> bool {
    live.http.public_urls.is_empty() && live.auth.as_ref().is_none_or(|auth| auth.resource_server_url.is_none())
}

fn parse_live_file(path: &Path, text: &str) -> Result<(LoadedLive, Vec<Unknown>), LoadError> {
    let (live, unknown) = parse_live(text).map_err(|source| LoadError::File { path: path.to_owned(), source })?;
    Ok((LoadedLive { live, digest: digest(text) }, unknown))
}

fn read(path: &Path) -> Result<String, LoadError> {
    std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })
}

fn without_live(config: Config) -> Config {
    let mut config = Config { auth: None, http: None, rate_limits: None, cors: None, tools: None, ..config };
    config.logging.level = mcp_server_config::LogLevel::default();
    config
}
