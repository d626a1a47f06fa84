//! A real PostgreSQL from the distribution's package `postgresql`, on a port and in a folder of its own.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Of the user `mcp`.
pub const PASSWORD: &str = "hunter2";

pub struct Postgres {
    pub address: SocketAddr,
    folder: TempDir,
    child: Option<Child>,
}

impl Postgres {
    /// Makes a database cluster and chooses a port; starts nothing.
    pub async fn down() -> Self {
        // Bound and let go: free, unless somebody takes it in the very moment.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let this = Self { address, folder: tempfile::tempdir().unwrap(), child: None };
        std::fs::write(this.path("password"), PASSWORD).unwrap();
        if is_root() {
            let owned = Command::new("chown").arg("-R").arg("postgres").arg(this.folder.path()).status().await.unwrap();
            assert!(owned.success());
        }
        let (data, password) = (this.path("data"), this.path("password"));
        let made = program("initdb")
            .arg("-D")
            .arg(data)
            .args(["--username=mcp", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--pwfile"])
            .arg(password)
            .stdout(Stdio::null())
            .status()
            .await
            .unwrap();
        assert!(made.success());
        this
    }

    pub async fn up(&mut self) {
        let child = program("postgres")
            .arg("-D")
            .arg(self.path("data"))
            .args(["-p", &self.address.port().to_string(), "-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=30"])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.child = Some(child);
        // Its port is open before it takes logins.
        while PgConnection::connect(&self.url()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Kills it, as a lost machine would. What it started notices and ends too.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
        // Its lock stays behind until the last of its processes has gone.
        std::fs::remove_file(self.path("data/postmaster.pid")).unwrap();
    }

    pub fn url(&self) -> String {
        format!("postgresql://mcp:{PASSWORD}@{}/postgres", self.address)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A program of the newest version that is installed. None of them runs as root.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let programs = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists());
    let program = programs.max().expect("PostgreSQL is needed: apt-get install postgresql");
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(Path::new("/proc/self")).unwrap().uid() == 0
}
