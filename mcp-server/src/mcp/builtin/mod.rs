//! The built-in MCP server: for a first look, and to see what arrives at the other end of proxies and policies.

mod server;
mod tools;

pub(crate) use server::Server;
