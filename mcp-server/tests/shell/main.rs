//! The shell around the MCP endpoint: as a router, and as the real process with its sockets, signals, files and redis.
#![allow(clippy::unwrap_used)]

mod client;
mod command;
mod database;
mod dependencies;
mod layers;
mod lifecycle;
mod limits;
mod logs;
mod postgres;
mod process;
mod redis;
mod reload;
mod sockets;
mod tls;
mod tls_client;
