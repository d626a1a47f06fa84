//! A real redis from the distribution's package `redis-server`, on a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

pub struct Redis {
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Redis {
    /// Chooses a port, starts nothing.
    pub fn down() -> Self {
        // Bound and let go: free, unless somebody takes it in the very moment.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { address, child: None }
    }

    pub async fn up(&mut self) {
        let child = Command::new("redis-server")
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--port",
                &self.address.port().to_string(),
            ])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is needed: apt-get install redis-server");
        self.child = Some(child);
        while self.ping().await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub async fn stop(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    async fn ping(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(b"PING\r\n").await?;
        stream.read_exact(&mut [0; 7]).await?;
        Ok(())
    }
}
