//! HTTP/1.1 to something near: the backend of this pod, another replica.
//!
//! A connection is driven by the task that waits for its answer, not by one of its own: a request costs no hop between
//! threads, and one that is dropped takes its connection with it, which is how the other end learns of it.
//!
//! ```text
//! Pool        finds a connection for a request ── Connection  one socket, one request at a time
//!                                              └─ Reply       the body; gives the connection back at its end
//! ```

mod connection;
mod pool;
mod reply;

pub(crate) use pool::{Keep, Pool};
pub(crate) use reply::Reply;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody listens at the address, or the name is unknown.
    Refused,
    /// No connection came about in time.
    Silent,
    /// The connection broke before the answer. The request may have been read.
    Broken,
}
