//! Who the client is, when proxies stand between. Headers count only when a trusted proxy wrote them: anybody else could
//! write any address and so have a rate limit of its own for every request.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, Request};
use ipnet::IpNet;

use super::{ByTls, Client, Peer};

/// The rightmost address of `X-Forwarded-For` that is no trusted proxy, then `X-Real-IP`, then the peer itself.
#[must_use]
pub fn resolve(peer: SocketAddr, by_tls: bool, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let peer = peer.ip().to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return Client { address: peer, secure: by_tls };
    }
    let forwarded = forwarded_for(headers, is_trusted);
    let address = forwarded.or_else(|| real_ip(headers)).unwrap_or(peer);
    Client { address, secure: forwarded_by_tls(headers).unwrap_or(by_tls) }
}

/// The same for a request that has just come.
#[must_use]
pub fn of<T>(request: &Request<T>, trusted: &[IpNet]) -> Client {
    let extensions = request.extensions();
    let peer = extensions.get::<Peer>().map_or(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), |peer| peer.0);
    resolve(peer, extensions.get::<ByTls>().is_some(), request.headers(), trusted)
}

fn forwarded_for(headers: &HeaderMap, is_trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let mut nearest = None;
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    for hop in hops {
        // What is left of a hop that is no address was written by who knows whom.
        let Some(address) = address(hop) else { break };
        nearest = Some(address);
        if !is_trusted(&address) {
            break;
        }
    }
    nearest
}

fn real_ip(headers: &HeaderMap) -> Option<IpAddr> {
    address(headers.get("x-real-ip")?.to_str().ok()?)
}

/// What the nearest proxy says of its own client.
fn forwarded_by_tls(headers: &HeaderMap) -> Option<bool> {
    let last = headers.get_all("x-forwarded-proto").iter().next_back();
    let nearest = last.and_then(|line| line.to_str().ok()).and_then(|line| line.rsplit(',').next());
    nearest.map(|scheme| scheme.trim().eq_ignore_ascii_case("https"))
}

/// With or without a port: some load balancers add it.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    plain.or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        resolve(peer.parse().unwrap(), false, &map, &trusted)
    }

    fn address(peer: &str, headers: &[(&'static str, &str)]) -> String {
        client(peer, headers).address.to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        let forged = [("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "2.2.2.2"), ("x-forwarded-proto", "https")];
        let client = client("203.0.113.7:1", &forged);
        assert_eq!(client.address.to_string(), "203.0.113.7");
        assert!(!client.secure);
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_counts() {
        assert_eq!(address("10.0.0.1:1", &[("x-forwarded-for", "1.1.1.1, 203.0.113.7")]), "203.0.113.7");
        assert_eq!(address("10.0.0.1:1", &[("x-forwarded-for", "203.0.113.7, 10.2.2.2")]), "203.0.113.7");
        let two_lines = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "10.2.2.2, 10.3.3.3")];
        assert_eq!(address("10.0.0.1:1", &two_lines), "203.0.113.7");
        assert_eq!(address("10.0.0.1:1", &[("x-forwarded-for", "10.4.4.4, 10.2.2.2")]), "10.4.4.4");
    }

    #[test]
    fn junk_ends_the_chain() {
        assert_eq!(address("10.0.0.1:1", &[("x-forwarded-for", "1.1.1.1, unknown, 10.2.2.2")]), "10.2.2.2");
        assert_eq!(address("10.0.0.1:1", &[("x-forwarded-for", "junk")]), "10.0.0.1");
    }

    #[test]
    fn real_ip_counts_where_there_is_no_chain() {
        assert_eq!(address("10.0.0.1:1", &[("x-real-ip", "203.0.113.9")]), "203.0.113.9");
        let both = [("x-real-ip", "203.0.113.9"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(address("10.0.0.1:1", &both), "203.0.113.7");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        assert_eq!(address("10.0.0.1:1", &[("x-forwarded-for", "203.0.113.7:4711")]), "203.0.113.7");
        assert_eq!(address("[fd00::1]:1", &[("x-forwarded-for", "[2001:db8::1]:4711")]), "2001:db8::1");
        assert_eq!(address("[fd00::1]:1", &[("x-forwarded-for", "[2001:db8::1]")]), "2001:db8::1");
        assert_eq!(address("[::ffff:10.0.0.1]:1", &[("x-forwarded-for", "::ffff:203.0.113.7")]), "203.0.113.7");
    }

    #[test]
    fn our_own_tls_counts_unless_a_trusted_proxy_says_how_its_client_came() {
        let proto =
            |scheme: &str| HeaderMap::from_iter([("x-forwarded-proto".parse().unwrap(), scheme.parse().unwrap())]);
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let secure = |peer: &str, headers: &HeaderMap| resolve(peer.parse().unwrap(), true, headers, &trusted).secure;
        assert!(secure("203.0.113.7:1", &proto("http")));
        assert!(secure("10.0.0.1:1", &HeaderMap::new()));
        assert!(!secure("10.0.0.1:1", &proto("http")));
    }

    #[test]
    fn a_trusted_proxy_says_how_the_client_came() {
        assert!(client("10.0.0.1:1", &[("x-forwarded-proto", "https")]).secure);
        assert!(!client("10.0.0.1:1", &[("x-forwarded-proto", "http")]).secure);
        assert!(!client("10.0.0.1:1", &[("x-forwarded-proto", "https, http")]).secure);
    }
}
