//! What the layers tell each other about a request, as its extensions.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_server_config::PublicUrl;
use tokio::time::Instant;

/// Names the request in logs and in the `X-Request-Id` of the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// A new one: a UUID of version 4.
    #[must_use]
    pub fn random() -> Self {
        // The thread's generator: asking the system each time costs more than the rest of the layer.
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
        Self((*id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer())).into())
    }
}

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

/// The connection is encrypted, and ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByTls;

/// The client as far as trusted proxies tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// It came by TLS.
    pub secure: bool,
}

/// Whether a connection is in use, so that idle ones can be closed without cutting a stream.
#[derive(Debug)]
pub struct Activity {
    under_way: AtomicUsize,
    idle_since: Mutex<Instant>,
    served: AtomicUsize,
}

impl Activity {
    /// For a connection that was accepted now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            under_way: AtomicUsize::new(0),
            idle_since: Mutex::new(Instant::now()),
            served: AtomicUsize::new(0),
        })
    }

    /// A request has come; it lasts until the guard is dropped.
    pub fn request(self: &Arc<Self>) -> Busy {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// Any request has come yet.
    #[must_use]
    pub fn served_any(&self) -> bool {
        self.served.load(Ordering::Relaxed) > 0
    }

    /// How long no request has been under way; zero while one is.
    #[must_use]
    pub fn idle(&self) -> Duration {
        if self.under_way.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        self.idle_since.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// One request of a connection.
#[derive(Debug)]
#[must_use]
pub struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}
