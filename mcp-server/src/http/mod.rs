//! The layers that know only HTTP: one file each. [`crate::app`] puts them into order.

mod request;

pub use request::{Asked, Client, Peer, RequestId};
