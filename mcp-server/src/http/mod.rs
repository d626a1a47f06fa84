//! The layers that know only HTTP: one file each. [`crate::app`] puts them into order.

mod account;
pub mod authenticate;
pub mod authorize;
pub mod begin;
pub mod client;
pub mod cors;
pub mod headers;
pub mod host;
pub mod metadata;
mod next;
mod observed;
mod recording;
mod refusal;
mod request;

pub use account::{Account, Denied};
pub use next::Next;
pub(crate) use next::stack;
pub use refusal::refusal;
pub use request::{Activity, Asked, ByTls, Client, Peer, RequestId};
