//! What servers need around them: an issuer and a token of it, a redis, keys, and their configuration files.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::http;
use crate::processes::{PATIENCE, Process, beside, serving};

/// Who the tokens are for.
const AUDIENCE: &str = "conformance";
/// Who asks for them.
const CLIENT: (&str, &str) = ("suite", "a-secret-of-the-suite");

/// Everything that one run has started; it ends with the value.
pub struct Stage {
    folder: PathBuf,
    issuer: Process,
    redis: Process,
    /// A token that every server here accepts.
    pub token: String,
    servers: Vec<Process>,
}

impl Stage {
    /// Starts issuer and redis.
    pub async fn set(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder.join("keys")).with_context(|| format!("create {}", folder.display()))?;
        // The same for all replicas, as in a cluster. They protect nothing outside of this run.
        for name in ["session", "request-state", "peer"] {
            std::fs::write(folder.join("keys").join(name), name.repeat(8)).context("write a key")?;
        }
        let client = format!("{}:{}:user,read", CLIENT.0, CLIENT.1);
        let issuer = Process::start(
            &beside("e2e-issuer")?,
            &["--listen", "127.0.0.1:0", "--client", &client],
            &folder.join("issuer.log"),
            |line| line.split_once(" listens at ")?.1.parse::<SocketAddr>().ok().map(Into::into),
        )
        .await?;
        let redis = redis(folder).await?;
        let token = token(issuer.listening.address).await?;
        Ok(Self { folder: folder.to_owned(), issuer, redis, token, servers: Vec::new() })
    }

    /// Starts the fixture on rmcp's own HTTP service.
    pub async fn bare(&mut self, name: &str) -> Result<SocketAddr> {
        let arguments = ["--bare", "--listen", "127.0.0.1:0"];
        let log = self.folder.join(format!("{name}.log"));
        let process = Process::start(&beside("conformance-server")?, &arguments, &log, serving).await?;
        Ok(self.keep(process))
    }

    /// Starts the fixture on the shell, with everything that it has switched on.
    pub async fn shell(&mut self, name: &str) -> Result<SocketAddr> {
        let config = self.everything("shell");
        self.configured("conformance-server", name, &config).await
    }

    /// Starts the fixture on the shell with defaults, which answers everybody of this machine.
    pub async fn open_shell(&mut self, name: &str) -> Result<SocketAddr> {
        let config = json!({"formatVersion": 1, "server": {"name": name, "port": 0}, "metrics": {"port": 0}});
        self.configured("conformance-server", name, &config).await
    }

    /// Starts the runtime with everything that it has switched on, in front of `upstream`.
    pub async fn runtime(&mut self, name: &str, upstream: SocketAddr) -> Result<SocketAddr> {
        let mut config = self.everything(name);
        config["backend"] = json!({"container": {"url": format!("http://{upstream}/mcp")}});
        self.configured("mcp-server", name, &config).await
    }

    /// Starts the runtime with its own tools.
    pub async fn builtin(&mut self, name: &str) -> Result<SocketAddr> {
        let config = self.everything(name);
        self.configured("mcp-server", name, &config).await
    }

    async fn configured(&mut self, program: &str, name: &str, config: &Value) -> Result<SocketAddr> {
        let file = self.folder.join(format!("{name}.yaml"));
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).with_context(|| format!("write {}", file.display()))?;
        let file = file.to_str().context("a folder with a name in UTF-8")?;
        let log = self.folder.join(format!("{name}.log"));
        let process = Process::start(&beside(program)?, &["--config", file], &log, serving).await?;
        let management = process.listening.management.context("the address of the management listener")?;
        until_ready(management).await.with_context(|| format!("wait for {name}: see {}", log.display()))?;
        Ok(self.keep(process))
    }

    fn keep(&mut self, process: Process) -> SocketAddr {
        let address = process.listening.address;
        self.servers.push(process);
        address
    }

    /// The whole shell: tokens, limits that the suite does not reach, redis, metrics, access log.
    fn everything(&self, name: &str) -> Value {
        json!({
            "formatVersion": 1,
            "server": {"name": name, "host": "127.0.0.1", "port": 0},
            "metrics": {"enabled": true, "port": 0},
            "auth": {
                "issuers": [{"url": format!("http://{}", self.issuer.listening.address), "audiences": [AUDIENCE]}],
                "required_scopes": ["user", "read"],
            },
            "rate_limits": {"per_client": {"requests": 100_000, "per_seconds": 1}},
            "redis": {"url": format!("redis://{}/0", self.redis.listening.address), "key_prefix": "mcp:conformance"},
            "sessions": {"store": "redis"},
            "keys": {"dir": self.folder.join("keys")},
            "logging": {"format": "json", "level": "INFO"},
        })
    }
}

/// Until backend, keys and redis have been reached.
async fn until_ready(management: SocketAddr) -> Result<()> {
    let ready = async {
        loop {
            if http::get(management, "/readyz").await?.0 == 200 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.context("it is not ready")?
}

async fn redis(folder: &Path) -> Result<Process> {
    let port = free_port()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let port = port.to_string();
    let arguments = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    Process::start(Path::new("redis-server"), &arguments, &folder.join("redis.log"), |line| {
        line.contains("Ready to accept connections").then_some(address.into())
    })
    .await
    .context("is the package redis-server installed?")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    Ok(listener.local_addr()?.port())
}

async fn token(issuer: SocketAddr) -> Result<String> {
    let (id, secret) = CLIENT;
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&resource={AUDIENCE}");
    let (status, body) = http::post_form(issuer, "/token", &form).await?;
    ensure!(status == 200, "the issuer answers {status}: {body}");
    body["access_token"].as_str().map(str::to_owned).context("a token from the issuer")
}
