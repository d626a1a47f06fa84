//! The operator: one `McpServer` in, every object of a production MCP endpoint out.
//!
//! ```text
//! controller → reconcile → resolve → desired → apply → status
//!  (watches,    (one        (IO in:   (pure:    (IO     (pure: conditions, events)
//!   queue)       screen)     values)   children) out)
//!      ↑                        ↑        ↑         ↑        ↑
//!    cache ─────────────────────┘     exposure     └─ verify asks the running server
//! ```
//!
//! Modules are listed in the order in which data flows through them.

// The order is that of the data; the comments keep rustfmt from sorting it.
pub mod controller;
// What waits for a reconcile, and what the operator remembers between two.
pub mod cache;
pub mod memory;
pub mod queue;
// One server, on one screen.
pub mod context;
pub mod error;
pub mod reconcile;
// IO in.
pub mod resolve;
// Pure.
pub mod desired;
pub mod exposure;
pub mod gateway;
pub mod kind;
// IO out.
pub mod apply;
// Asking the running server.
pub mod verify;
// A few servers at a time.
pub mod upgrade;
// Telling people.
pub mod status;
// And when something changed.
pub mod events;
pub mod text;
// Around it: the process.
pub mod cert_manager;
pub mod cli;
pub mod client;
pub mod health;
pub mod lease;
pub mod metrics;
pub mod operator;
pub mod rbac;
pub mod settings;
