//! What is measured: each subject as a process with its configuration, and what it is compared with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e_issuer::{Algorithm, Issuer, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::calls::{Caller, Era};
use crate::process::{Cores, Process, free_port};

/// Never reached, so that the limit is paid for and refuses nobody.
const REQUESTS: u32 = 50_000_000;

/// A process under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bare axum handler.
    Floor,
    /// Bare rmcp.
    Rmcp,
    /// nginx in front of the floor.
    Nginx,
    /// Ours: anonymous, no limit, no access log.
    Off,
    /// Ours with limits and access log.
    Limited,
    /// Ours with ES256 tokens too.
    On,
    /// Ours with everything, and sessions in redis.
    Redis,
    /// Ours with everything, in front of the floor.
    Proxy,
    /// The same in front of bare rmcp, which has sessions.
    StatefulProxy,
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    pub era: Era,
}

const fn row(name: &'static str, kind: Kind, era: Era) -> Row {
    Row { name, kind, era }
}

/// In the order in which they are measured: what is compared stands side by side.
pub const ROWS: [Row; 13] = [
    row("floor", Kind::Floor, Era::Modern),
    row("nginx", Kind::Nginx, Era::Modern),
    row("proxy, everything on", Kind::Proxy, Era::Modern),
    row("rmcp", Kind::Rmcp, Era::Modern),
    row("everything on", Kind::On, Era::Modern),
    row("limits and log", Kind::Limited, Era::Modern),
    row("everything off", Kind::Off, Era::Modern),
    row("with redis", Kind::Redis, Era::Modern),
    row("rmcp, session", Kind::Rmcp, Era::Legacy),
    row("everything on, session", Kind::On, Era::Legacy),
    row("limits and log, session", Kind::Limited, Era::Legacy),
    row("everything off, session", Kind::Off, Era::Legacy),
    row("with redis, session", Kind::Redis, Era::Legacy),
];

/// What rows cost is told as a multiple of this one in the same era.
pub fn reference(row: &Row) -> Row {
    let name = match (row.kind, row.era) {
        (Kind::Proxy | Kind::StatefulProxy, _) => "nginx",
        (_, Era::Modern) => "rmcp",
        (_, Era::Legacy) => "rmcp, session",
    };
    ROWS.into_iter().find(|other| other.name == name).unwrap_or(*row)
}

/// Starts subjects.
pub struct Lineup<'a> {
    pub this: PathBuf,
    pub server: PathBuf,
    pub cores: &'a Cores,
}

/// A subject at work, with what it needs.
pub struct Subject {
    pub process: Process,
    pub caller: Caller,
    pub port: u16,
    _helpers: Vec<Process>,
    _issuer: Option<Issuer>,
    _files: TempDir,
}

impl Lineup<'_> {
    /// Starts one and waits until it serves.
    pub async fn start(&self, kind: Kind) -> Result<Subject> {
        let files = tempfile::tempdir().context("make a directory")?;
        match kind {
            Kind::Floor => self.own("floor", files).await,
            Kind::Rmcp => self.own("rmcp", files).await,
            Kind::Nginx => self.nginx(files).await,
            Kind::Off | Kind::Limited | Kind::On | Kind::Redis | Kind::Proxy | Kind::StatefulProxy => {
                self.ours(kind, files).await
            }
        }
    }

    async fn own(&self, name: &str, files: TempDir) -> Result<Subject> {
        let port = free_port()?;
        let process = self.serve(name, self.cores.server, port).await?;
        Ok(Subject { process, caller: Caller::new(port, None), port, _helpers: vec![], _issuer: None, _files: files })
    }

    /// This program as a server.
    async fn serve(&self, name: &str, core: usize, port: u16) -> Result<Process> {
        let listen = format!("127.0.0.1:{port}");
        Process::start(name, core, &[self.this.as_os_str(), name.as_ref(), listen.as_ref()], port).await
    }

    async fn nginx(&self, files: TempDir) -> Result<Subject> {
        let (port, upstream) = (free_port()?, free_port()?);
        let helper = self.serve("floor", self.cores.others, upstream).await?;
        let config = files.path().join("nginx.conf");
        std::fs::write(&config, nginx_config(files.path(), port, upstream))?;
        let command = ["nginx".as_ref(), "-p".as_ref(), files.path().as_os_str(), "-c".as_ref(), config.as_os_str()];
        let started = Process::start("nginx (package nginx)", self.cores.server, &command, port).await;
        let (process, caller) = (started?, Caller::new(port, None));
        Ok(Subject { process, caller, port, _helpers: vec![helper], _issuer: None, _files: files })
    }

    async fn ours(&self, kind: Kind, files: TempDir) -> Result<Subject> {
        let (port, management) = (free_port()?, free_port()?);
        let mut config = json!({
            "formatVersion": 1,
            "server": {"host": "127.0.0.1", "port": port},
            "metrics": {"port": management},
            "auth": {"anonymous": "allow"},
            "rate_limits": {"per_client": {"requests": 0}},
            "logging": {"level": "ERROR", "handlers": [{"type": "console"}]},
        });
        let (mut helpers, mut issuer, mut token) = (Vec::new(), None, None);
        if kind != Kind::Off {
            config["rate_limits"] = json!({"per_client": {"requests": REQUESTS, "per_seconds": 1}});
            let file = files.path().join("access.log");
            config["logging"] = json!({"level": "INFO", "handlers": [{"type": "file", "filename": file}]});
        }
        if !matches!(kind, Kind::Off | Kind::Limited) {
            let started = Issuer::start(Options::default()).await?;
            config["auth"] =
                json!({"issuers": [{"url": started.url(), "algorithms": ["ES256"]}], "required_scopes": ["user"]});
            let audience = format!("http://127.0.0.1:{port}/mcp");
            token = Some(started.token().algorithm(Algorithm::ES256).audience(&audience).scopes("user read").mint()?);
            issuer = Some(started);
        }
        match kind {
            Kind::Redis => helpers.push(self.redis(&mut config, files.path()).await?),
            Kind::Proxy => helpers.push(self.upstream("floor", &mut config).await?),
            Kind::StatefulProxy => helpers.push(self.upstream("rmcp", &mut config).await?),
            Kind::Floor | Kind::Rmcp | Kind::Nginx | Kind::Off | Kind::Limited | Kind::On => {}
        }

        // JSON is YAML.
        let file = files.path().join("config.yaml");
        std::fs::write(&file, config.to_string())?;
        let command = [self.server.as_os_str(), "--no-env-overrides".as_ref(), "--config".as_ref(), file.as_os_str()];
        let process = Process::start("mcp-server", self.cores.server, &command, port).await?;
        process.wait_until_ready(management, "/readyz").await?;
        let caller = Caller::new(port, token);
        Ok(Subject { process, caller, port, _helpers: helpers, _issuer: issuer, _files: files })
    }

    async fn upstream(&self, name: &str, config: &mut Value) -> Result<Process> {
        let port = free_port()?;
        config["backend"] = json!({"container": {"url": format!("http://127.0.0.1:{port}/mcp")}});
        self.serve(name, self.cores.others, port).await
    }

    async fn redis(&self, config: &mut Value, files: &Path) -> Result<Process> {
        let port = free_port()?;
        config["redis"] = json!({"url": format!("redis://127.0.0.1:{port}/0")});
        let text = port.to_string();
        let command = ["redis-server", "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &text];
        let command = [&command[..], &["--dir", files.to_str().context("a path that is no text")?]].concat();
        Process::start("redis-server (package redis-server)", self.cores.others, &command, port).await
    }
}

/// One process that does nothing but pass on, over connections that are kept.
fn nginx_config(folder: &Path, port: u16, upstream: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 4096; }}
        http {{
          access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
          keepalive_requests 100000000; tcp_nodelay on;
          upstream floor {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 100000000; }}
          server {{
            listen 127.0.0.1:{port};
            location / {{
              proxy_pass http://floor; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_buffering off;
            }}
          }}
        }}"
    )
}
