//! The runtime: a hardened MCP endpoint in front of a backend.
//!
//! ```text
//! main ── runtime ── settings (boot + live file, environment) ── serve (listeners, drain)
//!                                                      │
//!   mcp listener         app: request id → access log → headers → CORS → Host/Origin → client limit
//!                             → auth → envelope → policy → mcp::Endpoint ── backend, state
//!   management listener  /livez /readyz /metrics /server
//! ```
//!
//! The layer stack is the list in [`app`]; each layer is one file of [`http`] or [`limits`].

// The layers of a request are one future, each type within that of the layer before it: see `http::next`.
#![recursion_limit = "256"]

pub mod app;
pub mod audit;
pub mod auth;
pub mod backend;
pub mod database;
pub mod drain;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod health;
pub mod healthcheck;
pub mod http;
pub mod limits;
pub mod logging;
pub mod management;
pub mod mcp;
pub mod metrics;
pub mod peers;
pub mod policy;
pub mod runtime;
pub mod serve;
pub mod settings;
pub mod state;
pub mod telemetry;
mod wire;

pub use runtime::Runtime;
