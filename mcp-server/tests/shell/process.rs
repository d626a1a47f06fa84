//! The real program, with ports of the system's choice. It ends with the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::client;

/// Free ports, and JSON lines that the tests read.
pub const PORTS: &str = "server: {port: 0}\nmetrics: {port: 0}\n";

pub struct Runtime {
    pub mcp: SocketAddr,
    pub management: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
    count: watch::Receiver<usize>,
    directory: TempDir,
}

/// The program, without the environment of the test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-server"));
    command.env_clear().kill_on_drop(true).stdin(Stdio::null());
    command
}

impl Runtime {
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, None, &[]).await
    }

    /// With a clock that is off by so much, as in `+30h`.
    #[allow(dead_code, reason = "of another test program")]
    pub async fn start_at(offset: &str, config: &str) -> Self {
        let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
        assert!(Path::new(&library).exists(), "{library} is needed: apt-get install faketime");
        // Only the clock that people set: waiting goes by another.
        let variables = [("LD_PRELOAD", &*library), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        Self::start_with(config, None, &variables).await
    }

    pub async fn start_with(config: &str, live: Option<&str>, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config_file = directory.path().join("config.yaml");
        std::fs::write(&config_file, config).unwrap();
        let mut command = program();
        command.arg("--config").arg(config_file).envs(variables.iter().copied()).stdout(Stdio::piped());
        if let Some(live) = live {
            let file = directory.path().join("live.yaml");
            std::fs::write(&file, live).unwrap();
            command.arg("--live").arg(file);
        }
        let mut child = command.spawn().unwrap();

        let lines = Arc::<Mutex<Vec<Value>>>::default();
        let (counter, count) = watch::channel(0);
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        tokio::spawn({
            let lines = Arc::clone(&lines);
            async move {
                while let Ok(Some(line)) = output.next_line().await {
                    let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                    lines.lock().unwrap().push(value);
                    counter.send_modify(|count| *count += 1);
                }
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut runtime = Self { mcp: unknown, management: unknown, child, lines, count, directory };
        let serving = runtime.line("serving").await;
        let address = |field: &str| {
            let url = url::Url::parse(serving[field].as_str().unwrap()).unwrap();
            SocketAddr::new([127, 0, 0, 1].into(), url.port().unwrap())
        };
        (runtime.mcp, runtime.management) = (address("endpoint"), address("management"));
        runtime
    }

    /// The first line with that message, once it is there.
    pub async fn line(&mut self, message: &str) -> Value {
        self.line_where(|line| line["message"] == message).await
    }

    /// The first such line, once it is there.
    pub async fn line_where(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            self.count.borrow_and_update();
            let found = self.lines.lock().unwrap().iter().find(|line| fits(line)).cloned();
            if let Some(line) = found {
                return line;
            }
            let ended = self.count.changed().await.is_err();
            assert!(!ended, "the program ended: {:?}", self.lines.lock().unwrap());
        }
    }

    /// Its resident memory.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().clone()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        self.child.wait().await.unwrap()
    }

    /// Waits until `/readyz` or another path answers so.
    pub async fn until(
        &self,
        address: SocketAddr,
        path: &str,
        fits: impl Fn(&client::Answer) -> bool,
    ) -> client::Answer {
        loop {
            let answer = client::get(address, path).await;
            if fits(&answer) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    pub async fn until_ready(&self) {
        self.until(self.management, "/readyz", |answer| answer.status == 200).await;
    }
}

/// A ConfigMap volume: the file is a link to `..data/<name>`, and `..data` a link to a directory that is swapped.
pub fn config_map(directory: &Path, version: u32, name: &str, text: &str) {
    let data = directory.join(format!("..{version}"));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join(name), text).unwrap();
    let next = directory.join("..data_tmp");
    std::os::unix::fs::symlink(format!("..{version}"), &next).unwrap();
    std::fs::rename(&next, directory.join("..data")).unwrap();
    let file = directory.join(name);
    if !file.exists() {
        std::os::unix::fs::symlink(format!("..data/{name}"), file).unwrap();
    }
}
