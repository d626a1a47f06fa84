//! The shell around the MCP endpoint: as a router, and as the real process with its sockets, signals, files and redis.
#![allow(clippy::unwrap_used)]

mod audit;
mod client;
mod command;
mod database;
mod dependencies;
mod documented;
mod drain;
mod hostile;
mod hostile_http2;
mod layers;
mod lifecycle;
mod limits;
mod logs;
mod postgres;
mod process;
mod raw;
mod redis;
#[path = "../redis_support/mod.rs"]
mod redis_support;
mod reload;
mod shared_limits;
mod sockets;
mod tls;
mod tls_client;
mod traces;
