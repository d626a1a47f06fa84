//! `mcp-server healthcheck`: for images without curl, asks the server of this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use mcp_server_config::Config;
use tokio::net::TcpStream;

/// Docker's own limit is 3 s as the document sets it; the answer of a redis that hangs must come before.
const DEADLINE: Duration = Duration::from_millis(2_500);

/// Succeeds when `/health` answers 200.
#[tokio::main(flavor = "current_thread")]
pub async fn run(config: &Config) -> anyhow::Result<()> {
    // By TLS the server may ask for a client's certificate; the management listener never does.
    let port = if config.tls.is_some() { config.metrics.port } else { config.mcp_port() };
    let address = SocketAddr::new(reachable(config.server.host), port);
    let status = tokio::time::timeout(DEADLINE, ask(address))
        .await
        .with_context(|| format!("http://{address}/health does not answer"))?
        .with_context(|| format!("cannot ask http://{address}/health"))?;
    if status != StatusCode::OK {
        bail!("http://{address}/health says {status}");
    }
    Ok(())
}

async fn ask(address: SocketAddr) -> anyhow::Result<StatusCode> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/health").header("host", address.to_string()).body(Empty::<&[u8]>::new())?;
    Ok(sender.send_request(request).await?.status())
}

/// A server that listens everywhere is reached by loopback.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    }
}
