//! A real redis, for one test.

use std::process::Stdio;

use mcp_server_config::{Config, Keys, Redis as Section};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::PATIENCE;

/// Keys and data live in a directory of its own; the process ends with the value.
pub struct Redis {
    pub port: u16,
    pub dir: TempDir,
    process: Option<Child>,
    password: Option<String>,
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    pub async fn start_with(password: Option<&str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("keys")).expect("a directory");
        for key in ["session", "request-state", "peer"] {
            std::fs::write(dir.path().join("keys").join(key), [42; 32]).expect("written");
        }
        let port = free_port();
        let mut redis = Self { port, dir, process: None, password: password.map(str::to_owned) };
        redis.up().await;
        redis
    }

    /// Starts the process; its data is gone.
    pub async fn up(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        if let Some(password) = &self.password {
            command.args(["--requirepass", password]);
        }
        command.arg("--dir").arg(self.dir.path());
        let process = command.stdout(Stdio::null()).kill_on_drop(true).spawn();
        self.process = Some(process.expect("redis-server is installed (package redis-server)"));
        let connected = async {
            while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, connected).await.expect("redis starts");
    }

    /// Ends the process.
    pub async fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.expect("killed");
        }
    }

    pub fn set_password(&mut self, password: &str) {
        self.password = Some(password.to_owned());
    }

    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@127.0.0.1:{}/0", self.port),
            None => format!("redis://127.0.0.1:{}/0", self.port),
        }
    }

    /// The configuration of a replica that shares this redis.
    pub fn config(&self, mut config: Config) -> Config {
        config.redis = Some(Section {
            url: Some(self.url()),
            socket_timeout: 2,
            key_prefix: Some("mcp:test-uid".to_owned()),
            ..Section::default()
        });
        config.keys = Some(Keys { dir: self.dir.path().join("keys") });
        config
    }

    /// Asks it something.
    pub async fn ask<T: ::redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let client = ::redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
        let mut ask = ::redis::cmd(command[0]);
        for argument in &command[1..] {
            ask.arg(*argument);
        }
        ask.query_async(&mut connection).await.expect("an answer")
    }
}

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("bound").port()
}
