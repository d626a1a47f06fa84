//! What the runtime is measured against, served by this program itself: built by the same compiler with the same options
//! and allocator.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::calls::{self, TEXT};

/// Answers every call with the bytes of the right answer and looks at nothing. So that it can stand behind the byte proxy
/// too, it answers the questions of a handshake, which are told apart by a header.
pub async fn floor(listen: SocketAddr) -> Result<()> {
    let echo = calls::answer().to_string();
    let handler = move |headers: HeaderMap, request: Request| async move {
        // Read to its end, as every handler would.
        let _body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        match headers.get("mcp-method").map(|method| method.as_bytes()) {
            Some(b"server/discover") => document(calls::discovered().to_string()),
            Some(b"tools/list") => document(calls::listed().to_string()),
            _ => document(echo),
        }
    };
    serve(listen, Router::new().route("/mcp", post(handler))).await
}

fn document(body: String) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// rmcp's own HTTP service with one tool, as lean as its interface allows: nothing is built per request that could be
/// built once.
pub async fn rmcp(listen: SocketAddr) -> Result<()> {
    let echo = Echo(Arc::new(Tool::new("echo", "Returns the text that it is given.", schema())));
    let config = StreamableHttpServerConfig::default().with_json_response(true);
    let service =
        StreamableHttpService::new(move || Ok(echo.clone()), Arc::new(LocalSessionManager::default()), config);
    serve(listen, Router::new().nest_service("/mcp", service)).await
}

async fn serve(listen: SocketAddr, router: Router) -> Result<()> {
    // Without it each streamed event waits 40 ms for a delayed ACK.
    let listener = TcpListener::bind(listen).await?.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

fn schema() -> JsonObject {
    let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
    schema.as_object().cloned().unwrap_or_default()
}

#[derive(Clone)]
struct Echo(Arc<Tool>);

impl ServerHandler for Echo {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("bare", "0"))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(vec![Tool::clone(&self.0)]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = request.arguments.as_ref().and_then(|arguments| arguments.get("text")).and_then(Value::as_str);
        let Some(text) = text.filter(|_| request.name == "echo") else {
            return Err(ErrorData::invalid_params("Unknown tool.", None));
        };
        debug_assert_eq!(text, TEXT);
        let mut result = CallToolResult::structured(json!({"text": text}));
        result.content = vec![ContentBlock::text(text)];
        Ok(result.into())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        (self.0.name == name).then(|| Tool::clone(&self.0))
    }
}
