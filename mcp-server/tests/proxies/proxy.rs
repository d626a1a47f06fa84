//! One reverse proxy in the foreground, with the configuration of `examples/`.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::tls_client::Pair;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Caddy,
    Haproxy,
}

pub struct Proxy {
    pub http: SocketAddr,
    pub https: SocketAddr,
    log: PathBuf,
    errors: PathBuf,
    _child: Child,
    _directory: TempDir,
}

impl Proxy {
    /// The example in front of two servers.
    pub async fn start(kind: Kind, certificate: &Pair, servers: [SocketAddr; 2]) -> Self {
        Self::start_with(kind, certificate, |directory, ports| substituted(kind, directory, ports, servers)).await
    }

    /// With what `text` makes of a folder with the certificate and of the addresses for HTTP and HTTPS.
    pub async fn start_with(
        kind: Kind,
        certificate: &Pair,
        text: impl FnOnce(&Path, [SocketAddr; 2]) -> String,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (http, https) = (free(), free());
        certificate.write(directory.path());
        let log = directory.path().join("access.log");
        let text = text(directory.path(), [http, https]);
        let file = directory.path().join("proxy.conf");
        std::fs::write(&file, text).unwrap();

        let mut command = command(kind, &file, directory.path());
        // HAProxy logs to its standard output.
        let output = if kind == Kind::Haproxy { &log } else { &directory.path().join("output.log") };
        command.stdout(std::fs::File::create(output).unwrap());
        command.stderr(std::fs::File::create(directory.path().join("errors.log")).unwrap());
        let mut child =
            command.kill_on_drop(true).stdin(Stdio::null()).spawn().unwrap_or_else(|_| panic!("{}", missing(kind)));
        while TcpStream::connect(https).await.is_err() || TcpStream::connect(http).await.is_err() {
            let ended = child.try_wait().unwrap();
            let errors = std::fs::read_to_string(directory.path().join("errors.log")).unwrap();
            assert!(ended.is_none(), "{kind:?} does not start: {errors}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let errors = directory.path().join("errors.log");
        Self { http, https, log, errors, _child: child, _directory: directory }
    }

    /// The access log as it is now.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it says of its own.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

/// The example's text.
pub fn example(kind: Kind) -> String {
    let file = match kind {
        Kind::Nginx => "nginx/nginx.conf",
        Kind::Caddy => "caddy/Caddyfile",
        Kind::Haproxy => "haproxy/haproxy.cfg",
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(file);
    std::fs::read_to_string(path).unwrap()
}

fn missing(kind: Kind) -> &'static str {
    match kind {
        Kind::Nginx => "nginx is needed: apt-get install nginx",
        Kind::Caddy => "caddy is needed: apt-get install caddy",
        Kind::Haproxy => "haproxy is needed: apt-get install haproxy",
    }
}

fn command(kind: Kind, file: &Path, directory: &Path) -> Command {
    let (program, arguments): (_, &[&str]) = match kind {
        // Debian has it where only root looks. One process, so that nothing is left behind when it is killed.
        Kind::Nginx => ("/usr/sbin/nginx", &["-g", "daemon off; master_process off;", "-p", "DIRECTORY", "-c", "FILE"]),
        Kind::Caddy => ("caddy", &["run", "--adapter", "caddyfile", "--config", "FILE"]),
        Kind::Haproxy => ("/usr/sbin/haproxy", &["-db", "-f", "FILE"]),
    };
    let mut command = Command::new(program);
    for argument in arguments {
        match *argument {
            "FILE" => command.arg(file),
            "DIRECTORY" => command.arg(directory),
            argument => command.arg(argument),
        };
    }
    command.env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
    command
}

/// Certificate and key in one file, as HAProxy wants them.
pub fn both(directory: &Path) -> String {
    let both = ["tls.crt", "tls.key"].map(|name| std::fs::read_to_string(directory.join(name)).unwrap()).concat();
    let file = directory.join("both.pem");
    std::fs::write(&file, both).unwrap();
    file.display().to_string()
}

/// Only ports, paths and certificates differ from what a person would use.
fn substituted(kind: Kind, directory: &Path, [http, https]: [SocketAddr; 2], servers: [SocketAddr; 2]) -> String {
    let at = |name: &str| directory.join(name).display().to_string();
    let changes: Vec<(&str, String)> = match kind {
        Kind::Nginx => vec![
            ("listen 443", format!("listen {https}")),
            ("listen 80;", format!("listen {http};")),
            ("/etc/ssl/certs/mcp.example.com.crt", at("tls.crt")),
            ("/etc/ssl/private/mcp.example.com.key", at("tls.key")),
            ("/run/nginx.pid", at("nginx.pid")),
            ("/var/log/nginx/error.log", at("errors.log")),
            ("/var/log/nginx/access.log", at("access.log")),
            ("127.0.0.1:8000", servers[0].to_string()),
            ("127.0.0.1:8001", servers[1].to_string()),
        ],
        Kind::Caddy => vec![
            ("tls your-email@example.com", format!("tls {} {}", at("tls.crt"), at("tls.key"))),
            ("/var/log/caddy/access.log", at("access.log")),
            ("127.0.0.1:8000", servers[0].to_string()),
            ("127.0.0.1:8001", servers[1].to_string()),
        ],
        Kind::Haproxy => {
            vec![
                ("bind :443", format!("bind {https}")),
                ("bind :80", format!("bind {http}")),
                ("/etc/haproxy/mcp.example.com.pem", both(directory)),
                ("127.0.0.1:8000", servers[0].to_string()),
                ("127.0.0.1:8001", servers[1].to_string()),
            ]
        }
    };
    let mut text = example(kind);
    for (written, instead) in changes {
        assert!(text.contains(written), "{written:?} is not in the example of {kind:?}");
        text = text.replace(written, &instead);
    }
    if kind == Kind::Caddy {
        // Caddy has no other place for ports.
        let options =
            format!("admin off\nhttp_port {}\nhttps_port {}\ndefault_bind 127.0.0.1", http.port(), https.port());
        text = format!("{{\n{options}\n}}\n{text}");
    }
    text
}

/// Bound and let go: free, unless somebody takes it in the very moment.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
