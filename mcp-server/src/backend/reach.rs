//! Does a backend that is meant for this pod only also answer at the pod's own address, past authentication and limits?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::TcpStream;
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// `None` where the backend is not on the loopback interface, or this host has no other address.
pub(super) async fn reachable_directly(backend: &Url) -> Option<bool> {
    let port = backend.port_or_known_default()?;
    if !is_loopback(backend) {
        return None;
    }
    let addresses: Vec<IpAddr> = own_addresses().collect();
    if addresses.is_empty() {
        return None;
    }
    for address in addresses {
        let attempt = TcpStream::connect(SocketAddr::new(address, port));
        if matches!(tokio::time::timeout(CONNECT_TIMEOUT, attempt).await, Ok(Ok(_))) {
            return Some(true);
        }
    }
    Some(false)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The addresses that packets to the outside would have, of both families. Connecting a UDP socket asks the routing
/// table and sends nothing; the destinations are reserved for documentation.
pub(crate) fn own_addresses() -> impl Iterator<Item = IpAddr> {
    let outside: [(SocketAddr, SocketAddr); 2] = [
        ((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into()),
        ((Ipv6Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9).into()),
    ];
    outside
        .into_iter()
        .filter_map(|(local, remote)| {
            let socket = UdpSocket::bind(local).ok()?;
            socket.connect(remote).ok()?;
            socket.local_addr().ok()
        })
        .map(|address| address.ip())
        .filter(|address| !address.is_loopback() && !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn url(port: u16) -> Url {
        format!("http://127.0.0.1:{port}/mcp").parse().expect("a URL")
    }

    #[tokio::test]
    async fn a_listener_on_loopback_only_is_not_reachable_and_one_on_all_addresses_is() {
        if own_addresses().next().is_none() {
            return; // A host without a network.
        }
        let hidden = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let open = TcpListener::bind("0.0.0.0:0").await.expect("bound");
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        assert_eq!(reachable_directly(&url(port(&hidden))).await, Some(false));
        assert_eq!(reachable_directly(&url(port(&open))).await, Some(true));
    }

    #[tokio::test]
    async fn a_backend_elsewhere_is_not_asked() {
        assert_eq!(reachable_directly(&"http://192.0.2.7:80/mcp".parse().expect("a URL")).await, None);
    }
}
