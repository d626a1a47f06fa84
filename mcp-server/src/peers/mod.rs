//! The other replicas of this server. Most state is in redis, where every replica finds it. What is not (a session of a
//! container that keeps its sessions in memory, a call that waits for the client's answer) has a holder, and a request
//! that lands elsewhere is streamed to it.
//!
//! ```text
//! Peers    where this replica is reached
//! forward  one request to its holder                 ── head     what the holder must know, sealed with the key `peer`
//! receive  the other end, at the management listener ── replays  each sealed request counts once
//! ```
//!
//! The holder does not authenticate the caller again: it believes the replica that did. It does check that the session is
//! the caller's. A forwarded request is never forwarded again.

mod forward;
mod head;
mod holder;
mod receive;
mod replays;

pub(crate) use holder::Holder;
pub use receive::router;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use mcp_server_config::Peers as Section;

use self::replays::Replays;
use crate::backend::own_addresses;
use crate::state::{PeerKey, Replica, Unavailable};
use crate::wire::{Keep, Pool};

/// Where a replica takes requests from others.
const PATH: &str = "/peer/mcp";
/// Says who sends; on the answer, that it is one.
const HEADER: &str = "mcp-peer";
/// Replicas are near. Management listeners close idle connections after two minutes.
const KEEP: Keep = Keep { connect_timeout: Duration::from_secs(1), idle_timeout: Duration::from_secs(60), idle: 64 };
/// More addresses than a server has replicas: those of replicas that are gone.
const MANY_POOLS: usize = 64;

/// See the module.
pub struct Peers {
    replica: Arc<Replica>,
    /// Configured.
    advertise: Option<SocketAddr>,
    key: PeerKey,
    pools: Mutex<HashMap<SocketAddr, Arc<Pool>>>,
    /// Of the last request that was sent.
    number: AtomicU64,
    replays: Replays,
}

/// A request extension: it has come from another replica.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded;

impl Peers {
    pub(crate) fn new(section: Option<&Section>, key: PeerKey, replica: Arc<Replica>) -> Arc<Self> {
        Arc::new(Self {
            replica,
            advertise: section.and_then(|section| section.advertise),
            key,
            pools: Mutex::default(),
            number: AtomicU64::new(0),
            replays: Replays::default(),
        })
    }

    /// The management listener is bound: from now on this replica can be found.
    pub fn announce(&self, management: SocketAddr) {
        let found = || match management.ip().is_unspecified() {
            true => own_addresses().next().map(|address| SocketAddr::new(address, management.port())),
            false => Some(management),
        };
        let Some(address) = self.advertise.or_else(found) else {
            tracing::warn!(
                "this host has no address that other replicas could reach, so requests are not forwarded to it: set \
                 peers.advertise"
            );
            return;
        };
        if self.replica.announce(address) {
            tracing::info!(replica = self.id(), %address, "other replicas forward requests here");
        }
    }

    /// What seals requests.
    pub(crate) fn key(&self) -> &PeerKey {
        &self.key
    }

    /// Names this process, anew with every start.
    #[must_use]
    pub fn id(&self) -> &str {
        self.replica.id()
    }

    /// Other replicas can forward requests here.
    #[must_use]
    pub fn is_announced(&self) -> bool {
        self.replica.address().is_some()
    }

    /// This replica, as the holder of something. `None` where others cannot reach it.
    pub(crate) fn me(&self) -> Option<Holder> {
        Some(Holder { replica: self.id().into(), address: self.replica.address()? })
    }

    pub(crate) fn is_me(&self, holder: &Holder) -> bool {
        *holder.replica == *self.id()
    }

    /// The replica of that name, if it lives.
    pub(crate) async fn find(&self, replica: &str) -> Result<Option<Holder>, Unavailable> {
        let address = self.replica.address_of(replica).await?;
        Ok(address.map(|address| Holder { replica: replica.into(), address }))
    }

    fn pool(&self, address: SocketAddr) -> Arc<Pool> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&address) {
            return Arc::clone(pool);
        }
        if pools.len() >= MANY_POOLS {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        let authority = HeaderValue::from_str(&address.to_string());
        let authority = authority.unwrap_or_else(|_| HeaderValue::from_static("peer"));
        let pool = Pool::new(&address.ip().to_string(), address.port(), authority, KEEP);
        pools.insert(address, Arc::clone(&pool));
        pool
    }
}
