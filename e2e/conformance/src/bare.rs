//! The fixture behind rmcp's own HTTP service, without our shell: what the suite says of the library alone, and the
//! upstream that our byte proxy is tested with.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::serve::ListenerExt as _;
use rmcp::model::RequestStateCodec;
use rmcp::transport::StreamableHttpServerConfig;
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use tokio::net::TcpListener;

use crate::fixture::{Fixture, Sealing};

/// The states that it seals live as long as the process.
const KEY: [u8; 32] = *b"a key that is good for a fixture";

/// Serves until the process ends.
pub async fn serve(listener: TcpListener) -> Result<()> {
    let codec = RequestStateCodec::try_new(KEY).context("the key for states")?;
    let fixture = Fixture::new(Sealing::Own(codec));
    let config = StreamableHttpServerConfig::default().with_json_response(true);
    let service =
        StreamableHttpService::new(move || Ok(fixture.clone()), Arc::new(LocalSessionManager::default()), config);
    // Without it every event waits 40 ms for a delayed acknowledgement.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().route_service("/mcp", service)).await.context("serve")
}
