//! How cases and demo call a server: by plain HTTP where every byte and every instant matters, and by the official
//! TypeScript SDK where it matters that we did not write the client.

pub mod http;
pub mod mcp;
pub mod replicas;
pub mod sdk;
pub mod token;

pub use self::replicas::Replicas;
pub use http::{Answer, Endpoint, Events, Version};
pub use sdk::Sdk;
