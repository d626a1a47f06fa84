//! Connections of one target. Commands of many requests are pipelined over few connections, which are made when they are
//! first needed and made anew when they break; each new one asks the sentinels anew for the master.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::SentinelClient;
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisFuture, RedisResult, Value};
use tokio::sync::Mutex;

use super::source::Target;

/// Makes connections.
pub(super) enum Connector {
    Node(Client),
    /// Held while the sentinels are asked, which only a new connection does.
    Sentinel(Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

/// A connection to whatever it is. Clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connector {
    /// `answer`: how long an answer is waited for.
    async fn connect(&self, timeout: Duration, answer: Duration) -> RedisResult<Connection> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(timeout)).set_response_timeout(Some(answer));
        match self {
            Self::Node(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Node)
            }
            Self::Sentinel(client) => {
                let master = client.lock().await.async_get_client().await?;
                master.get_multiplexed_async_connection_with_config(&config).await.map(Connection::Node)
            }
            Self::Cluster(client) => {
                let config = ClusterConfig::new().set_connection_timeout(timeout).set_response_timeout(answer);
                client.get_async_connection_with_config(config).await.map(Connection::Cluster)
            }
        }
    }
}

impl Connection {
    /// Whether it is still of use.
    async fn answers(&mut self, within: Duration) -> bool {
        let ping = redis::cmd("PING");
        matches!(tokio::time::timeout(within, ping.exec_async(self)).await, Ok(Ok(())))
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Node(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

/// The connections of a target.
pub(super) struct Link {
    pub(super) target: Target,
    connector: Connector,
    timeout: Duration,
    lanes: Box<[Lane]>,
    next: AtomicUsize,
}

/// One connection for commands, once it is there.
pub(super) struct Lane {
    connection: ArcSwapOption<Connection>,
    /// Held while it is made: one at a time.
    connecting: Mutex<()>,
}

impl Link {
    pub(super) fn new(target: Target, lanes: usize, timeout: Duration) -> Result<Self, String> {
        let lane = || Lane { connection: ArcSwapOption::empty(), connecting: Mutex::new(()) };
        Ok(Self {
            connector: target.connector(timeout)?,
            target,
            timeout,
            lanes: std::iter::repeat_with(lane).take(lanes.max(1)).collect(),
            next: AtomicUsize::new(0),
        })
    }

    /// The lane whose turn it is.
    pub(super) fn lane(&self) -> &Lane {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        &self.lanes[turn % self.lanes.len()]
    }

    /// A lane's connection; it is made where there is none.
    pub(super) async fn connection(&self, lane: &Lane) -> RedisResult<Arc<Connection>> {
        if let Some(connection) = lane.connection.load_full() {
            return Ok(connection);
        }
        let _one_at_a_time = lane.connecting.lock().await;
        if let Some(connection) = lane.connection.load_full() {
            return Ok(connection);
        }
        let connection = Arc::new(self.connector.connect(self.timeout, self.timeout).await?);
        lane.connection.store(Some(Arc::clone(&connection)));
        Ok(connection)
    }

    /// A connection of one's own, whose answers may take any time.
    pub(super) async fn own_connection(&self) -> RedisResult<Connection> {
        self.connector.connect(self.timeout, Duration::MAX).await
    }

    /// That connection has failed: the next command makes another, and so do the other lanes', which are as old and lead to
    /// the same server. One of a cluster is many, of which it replaces the broken ones itself; it is given up only when it is
    /// `silent`, and only for one that works: the servers that the configuration names may be away while those that it has
    /// learned of are not.
    pub(super) async fn give_up(&self, lane: &Lane, failed: &Arc<Connection>, silent: bool) {
        match &self.connector {
            Connector::Node(_) | Connector::Sentinel(_) => {
                let held = lane.connection.compare_and_swap(failed, None);
                // Else it was given up before, and the others may be new.
                if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, failed)) {
                    self.lanes.iter().for_each(|lane| lane.connection.store(None));
                }
            }
            Connector::Cluster(_) if !silent => {}
            Connector::Cluster(_) => {
                let connecting = self.connector.connect(self.timeout, self.timeout);
                if let Ok(Ok(connection)) = tokio::time::timeout(self.timeout, connecting).await {
                    lane.connection.compare_and_swap(failed, Some(Arc::new(connection)));
                }
            }
        }
    }

    /// Asks every connection for a sign of life, so that a dead one is found before a request needs it, and none is closed
    /// for idleness.
    pub(super) async fn keep_alive(&self) {
        for lane in &self.lanes {
            let Some(connection) = lane.connection.load_full() else { continue };
            if !Connection::clone(&connection).answers(self.timeout).await {
                tracing::debug!("a connection to redis is given up: it gave no sign of life");
                self.give_up(lane, &connection, true).await;
            }
        }
    }
}
