//! HAProxy as the two controllers that are made of it would have it.

use std::net::SocketAddr;
use std::path::Path;

use super::Made;
use crate::proxy::both;

/// HAProxy Ingress: rootfs/etc/templates/haproxy/haproxy.tmpl of jcmoraisjr/haproxy-ingress.
pub fn community(name: &str, value: &str, made: &mut Made) -> bool {
    let Some(name) = name.strip_prefix("haproxy-ingress.github.io/") else { return false };
    match name {
        "timeout-server" => made.proxy.push(format!("timeout server {value}")),
        "ssl-redirect" => made.redirect = (value == "true").then_some(302),
        "backend-protocol" => made.inner_tls = value == "h1-ssl",
        "balance-algorithm" => made.balance.push(format!("balance {value}")),
        _ => return false,
    }
    true
}

/// HAProxy Technologies: pkg/annotations of haproxytech/kubernetes-ingress.
pub fn technologies(name: &str, value: &str, made: &mut Made) -> bool {
    let Some(name) = name.strip_prefix("haproxy.org/") else { return false };
    match name {
        "timeout-server" => made.proxy.push(format!("timeout server {value}")),
        "ssl-redirect" => made.redirect = (value == "true").then_some(302),
        // The port in the address that clients are sent to.
        "ssl-redirect-port" => assert_eq!(value, "443"),
        "server-ssl" => made.inner_tls = value == "true",
        "load-balance" => made.balance.push(format!("balance {value}")),
        _ => return false,
    }
    true
}

pub fn file(
    made: &Made,
    directory: &Path,
    [http, https]: [SocketAddr; 2],
    servers: [SocketAddr; 2],
    client_timeout: &str,
) -> String {
    let certificate = both(directory);
    let (proxy, balance) = (made.proxy.join("\n    "), made.balance.join("\n    "));
    let options = if made.inner_tls { "ssl verify none alpn http/1.1" } else { "" };
    let [one, other] = servers;
    let redirect = made.redirect.map(|code| format!("http-request redirect scheme https code {code} if !{{ ssl_fc }}"));
    let redirect = redirect.unwrap_or_default();
    format!(
        "global
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    # The controllers' defaults.
    timeout connect 5s
    timeout http-request 5s
    timeout http-keep-alive 1m
    timeout queue 5s
    timeout client {client_timeout}
    timeout server 50s
    timeout tunnel 1h
frontend clients
    bind {http}
    bind {https} ssl crt {certificate} alpn h2,http/1.1
    {redirect}
    option forwardfor
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    default_backend pods
backend pods
    {balance}
    {proxy}
    server one {one} {options}
    server other {other} {options}
"
    )
}
