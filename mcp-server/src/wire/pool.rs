//! Idle connections to one server.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use tokio::time::Instant;

use super::connection::{Connection, Failed};
use super::{Fault, Reply};

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// A connection that takes longer to come about has nobody at its other end.
    pub(crate) connect_timeout: Duration,
    /// Shorter than that of the server, or requests are sent into a connection that closes.
    pub(crate) idle_timeout: Duration,
    /// Idle connections at most.
    pub(crate) idle: usize,
}

/// Connections to one server.
pub(crate) struct Pool {
    host: String,
    port: u16,
    authority: HeaderValue,
    keep: Keep,
    /// The one used last is the last: the others get old and go.
    idle: Mutex<Vec<(Instant, Connection)>>,
}

impl Pool {
    /// `host` is a name or an address. Call within a tokio runtime.
    pub(crate) fn new(host: &str, port: u16, authority: HeaderValue, keep: Keep) -> Arc<Self> {
        let pool = Arc::new(Self { host: host.to_owned(), port, authority, keep, idle: Mutex::default() });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    /// Sends a request and waits for the head of the answer. A request is sent anew only where its connection was closed
    /// before its first byte: it never runs twice. Dropping the future, or the answer's body, ends it at the server too.
    pub(crate) async fn send(self: &Arc<Self>, mut request: Request<Full<Bytes>>) -> Result<Response<Reply>, Fault> {
        request.headers_mut().insert(HOST, self.authority.clone());
        loop {
            let reused = self.take().await;
            let is_new = reused.is_none();
            let mut connection = match reused {
                Some(connection) => connection,
                None => Connection::open(&self.host, self.port, self.keep.connect_timeout).await?,
            };
            match connection.exchange(request).await {
                Ok(response) => return Ok(response.map(|body| Reply::new(body, connection, Arc::clone(self)))),
                Err(Failed::Unsent(back)) if !is_new => request = *back,
                Err(Failed::Unsent(_) | Failed::Broken) => return Err(Fault::Broken),
            }
        }
    }

    /// An idle connection, unless all are old or closed.
    async fn take(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.lock().pop()?;
            if since.elapsed() >= self.keep.idle_timeout {
                // So are all others.
                self.lock().clear();
                return None;
            }
            if connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    pub(super) fn give_back(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < self.keep.idle {
            idle.push((Instant::now(), connection));
        }
    }

    fn close_old(&self) {
        let now = Instant::now();
        self.lock().retain(|(since, _)| now.duration_since(*since) < self.keep.idle_timeout);
    }

    /// No code under the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what has been idle for too long, for as long as the pool is in use.
async fn sweep(pool: Weak<Pool>) {
    while let Some(pool) = pool.upgrade() {
        pool.close_old();
        let pause = pool.keep.idle_timeout;
        drop(pool);
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
