//! Real servers of the package `redis-server`, in every shape: plain, with TLS, sentinels, a cluster. They end with the
//! values.

#![allow(dead_code, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use redis::FromRedisValue;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Nothing in a test takes that long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// One process, with a directory of its own.
pub struct Server {
    pub port: u16,
    pub tls_port: Option<u16>,
    pub dir: TempDir,
    process: Option<Child>,
    arguments: Vec<String>,
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Self {
        Self::launch(free_port(), None, arguments.iter().map(|each| (*each).to_owned()).collect()).await
    }

    /// It asks clients for a certificate.
    pub async fn start_with_tls(authority: &Authority) -> Self {
        let (certificate, key) = authority.identity("server");
        let tls_port = free_port();
        let file = |path: &Path| path.display().to_string();
        let arguments = [
            ("--tls-port", tls_port.to_string()),
            ("--tls-cert-file", file(&certificate)),
            ("--tls-key-file", file(&key)),
            ("--tls-ca-cert-file", file(&authority.file)),
            ("--tls-auth-clients", "yes".to_owned()),
        ];
        let arguments = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        Self::launch(free_port(), Some(tls_port), arguments).await
    }

    async fn launch(port: u16, tls_port: Option<u16>, arguments: Vec<String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self { port, tls_port, dir, process: None, arguments };
        server.up().await;
        server
    }

    /// Starts the process; its data is gone.
    pub async fn up(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.arg("--dir").arg(self.dir.path()).args(&self.arguments);
        self.process = Some(spawn(command));
        until_listening(self.port).await;
    }

    pub async fn stop(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Says something to it, as `user:password@`.
    pub async fn ask(&self, user: &str, command: &[&str]) {
        let _: redis::Value = self.ask_for(user, command).await;
    }

    pub async fn ask_for<T: FromRedisValue>(&self, user: &str, command: &[&str]) -> T {
        self.try_ask(user, command).await.unwrap()
    }

    async fn try_ask<T: FromRedisValue>(&self, user: &str, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://{user}127.0.0.1:{}", self.port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut ask = redis::cmd(command[0]);
        for argument in &command[1..] {
            ask.arg(*argument);
        }
        ask.query_async(&mut connection).await
    }

    /// Waits until `INFO` has that line.
    pub async fn until_info(&self, password: &str, line: &str) {
        let user = format!(":{password}@");
        eventually(line, async || self.try_ask::<String>(&user, &["INFO"]).await.is_ok_and(|info| info.contains(line)))
            .await;
    }

    pub async fn until_sentinel_knows_replicas(&self, count: usize) {
        eventually("the sentinel knows the replicas", async || {
            let known = self.try_ask::<Vec<redis::Value>>("", &["SENTINEL", "REPLICAS", "main"]).await;
            known.is_ok_and(|known| known.len() == count)
        })
        .await;
    }
}

/// A sentinel that takes a master for lost after a second.
pub async fn sentinel_of(master: u16, password: &str) -> Server {
    let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
    let file = dir.path().join("sentinel.conf");
    let lines = [
        format!("port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", dir.path().display()),
        format!("sentinel monitor main 127.0.0.1 {master} 1"),
        format!("sentinel auth-pass main {password}"),
        "sentinel down-after-milliseconds main 1000".to_owned(),
        "sentinel failover-timeout main 5000".to_owned(),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let mut command = Command::new("redis-server");
    command.arg(file).arg("--sentinel");
    let server = Server { port, tls_port: None, dir, process: Some(spawn(command)), arguments: Vec::new() };
    until_listening(port).await;
    server
}

/// A cluster of so many masters, each with so many replicas. The first servers are masters.
pub async fn servers_of_cluster(masters: usize, replicas: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..masters * (1 + replicas) {
        servers.push(Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]).await);
    }
    let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
    let mut command = Command::new("redis-cli");
    command.args(["--cluster", "create"]).args(addresses);
    command.args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"]);
    let made = command.output().await.expect("redis-cli is installed (package redis-tools)");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    for server in &servers {
        eventually("the cluster is whole", async || {
            let info = server.try_ask::<String>("", &["CLUSTER", "INFO"]).await;
            let replication = server.try_ask::<String>("", &["INFO", "replication"]).await;
            info.is_ok_and(|info| info.contains("cluster_state:ok"))
                && replication.is_ok_and(|it| it.contains("role:master") || it.contains("master_link_status:up"))
        })
        .await;
    }
    servers
}

/// Moves that slot, with what is in it, from its master to the next one.
pub async fn move_slot(servers: &[Server], slot: u32) {
    let mut masters = Vec::new();
    for server in servers {
        let role: Vec<redis::Value> = server.ask_for("", &["ROLE"]).await;
        if role[0] == redis::Value::BulkString(b"master".to_vec()) {
            masters.push((server, server.ask_for::<String>("", &["CLUSTER", "MYID"]).await));
        }
    }
    let slot = slot.to_string();
    let mut owner = None;
    for (index, (server, _)) in masters.iter().enumerate() {
        // Who does not own a slot says where it is.
        if server.try_ask::<redis::Value>("", &["CLUSTER", "COUNTKEYSINSLOT", &slot]).await.is_ok()
            && !server.ask_for::<Vec<String>>("", &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await.is_empty()
        {
            owner = Some(index);
        }
    }
    let from = owner.expect("a master has keys in that slot");
    let to = (from + 1) % masters.len();
    let ((source, source_id), (target, target_id)) = (&masters[from], &masters[to]);
    target.ask("", &["CLUSTER", "SETSLOT", &slot, "IMPORTING", source_id]).await;
    source.ask("", &["CLUSTER", "SETSLOT", &slot, "MIGRATING", target_id]).await;
    let keys: Vec<String> = source.ask_for("", &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
    let port = target.port.to_string();
    for key in &keys {
        source.ask("", &["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
    }
    for (server, _) in [&masters[to], &masters[from]] {
        server.ask("", &["CLUSTER", "SETSLOT", &slot, "NODE", target_id]).await;
    }
}

/// A certificate authority of a test, with its file.
pub struct Authority {
    dir: TempDir,
    pub file: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the name of those that it signs it would look like their own signature.
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { dir, file, issuer }
    }

    /// Files of a certificate for 127.0.0.1 and of its key.
    pub fn identity(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let write = |kind: &str, text: String| {
            let path = self.dir.path().join(format!("{name}.{kind}.pem"));
            std::fs::write(&path, text).unwrap();
            path
        };
        (write("certificate", certificate.pem()), write("key", key.serialize_pem()))
    }
}

fn spawn(mut command: Command) -> Child {
    let child = command.stdout(Stdio::null()).kill_on_drop(true).spawn();
    child.expect("redis-server is installed (package redis-server)")
}

async fn until_listening(port: u16) {
    eventually("redis starts", async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
}

/// Bound and let go: free, unless somebody takes it in the very moment. Low enough for the cluster's own port, which is
/// 10000 higher.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if port < 55_000 {
            return port;
        }
    }
}

/// Waits until it holds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
