//! A TCP proxy whose connections can be made to fall silent, as when the node of the other end is lost.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub struct Proxy {
    pub port: u16,
    /// Connections of earlier generations are silent.
    generation: watch::Sender<u64>,
    server: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    pub async fn to(address: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let generation = watch::Sender::new(0);
        let current = generation.clone();
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, address, current.subscribe()));
            }
        });
        Self { port, generation, server }
    }

    /// Every connection there is stays open, and nothing passes any more. New ones work.
    pub fn freeze(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }
}

async fn pass(mut client: TcpStream, address: SocketAddr, mut generation: watch::Receiver<u64>) {
    let mut server = TcpStream::connect(address).await.expect("connected");
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        changed = generation.changed() => {
            if changed.is_ok() {
                std::future::pending::<()>().await;
            }
        }
    }
}
