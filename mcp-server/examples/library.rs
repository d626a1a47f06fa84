//! A server of your own within the shell: tokens, limits, sessions, metrics, logs and draining are there without a line.
//!
//! ```sh
//! cargo run --package mcp-server --example library -- examples/local.yaml
//! ```
//!
//! The configuration is that of `mcp-server` itself; its `backend` is not used. What a handler must know of who calls, it
//! finds in the request's extensions.

use mcp_server::auth::Caller;
use mcp_server::runtime::{Failed, Runtime};
use rmcp::handler::server::tool::Extension;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::{tool, tool_router};

/// What the tool is given.
#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Greeting {
    /// What to begin with, as in `Good morning`.
    words: String,
}

#[derive(Clone)]
struct Greeter;

#[tool_router(server_handler)]
impl Greeter {
    /// Greets whoever calls.
    #[tool]
    async fn greet(
        &self,
        Parameters(Greeting { words }): Parameters<Greeting>,
        Extension(request): Extension<http::request::Parts>,
    ) -> String {
        match request.extensions.get::<Caller>() {
            Some(Caller::Principal(principal)) => format!("{words}, {}!", principal.subject),
            Some(Caller::Anonymous) | None => format!("{words}, whoever you are!"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let config = std::env::args().nth(1).unwrap_or_else(|| "config.yaml".to_owned());
    // Quiet: it answers, and says nothing else. Leave that out for a server that logs to its client, or asks it something.
    Runtime::builder().config_file(config).handler(Greeter).quiet().run().await?;
    Ok(())
}
