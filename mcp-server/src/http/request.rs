//! What the layers tell each other about a request, as its extensions.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

use mcp_server_config::PublicUrl;

/// Names the request in logs and in the `X-Request-Id` of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The public URL under which the client reached us. With `server.path` it is the RFC 9728 `resource`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked(pub Arc<PublicUrl>);

impl Deref for Asked {
    type Target = PublicUrl;

    fn deref(&self) -> &PublicUrl {
        &self.0
    }
}

/// The other end of the TCP connection: perhaps a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The client as far as trusted proxies tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// It came by TLS.
    pub secure: bool,
}
