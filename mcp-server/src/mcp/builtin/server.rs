//! The built-in MCP server, as rmcp's handler: one value a session or a stateless request, all sharing what is constant.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{
    CacheScope, CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, ErrorData,
    Implementation, ListToolsResult, MetaObject, PaginatedRequestParams, ProtocolVersion, ServerCapabilities,
    ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::{RoleServer, ServerHandler};

use super::tools;
use crate::mcp::revision;

/// How long a client may keep the list of tools: it changes with the program only.
const LIST_TTL_MILLIS: u64 = 300_000;

/// Where results have the server's identity.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

/// The built-in server.
#[derive(Clone)]
pub(crate) struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    config: ServerConfig,
    tools: Arc<[Tool]>,
    /// [`SERVER_INFO`] and the identity: what 2026-07-28 wants with every result.
    meta: MetaObject,
}

impl Server {
    pub(crate) fn new(name: &str) -> Self {
        let identity = Implementation::new(name, env!("CARGO_PKG_VERSION")).with_title("mcp-server built-in tools");
        let mut meta = MetaObject::new();
        meta.insert(SERVER_INFO.to_owned(), serde_json::to_value(&identity).unwrap_or_default());
        let config = ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(identity)
            .with_protocol_version(ProtocolVersion::V_2025_11_25)
            .with_instructions("Diagnostic tools: echo, add, progress, sleep and whoami.");
        Self { shared: Arc::new(Shared { config, tools: tools::definitions().into(), meta }) }
    }

    fn meta(&self, context: &RequestContext<RoleServer>) -> Option<MetaObject> {
        let stateless = context.protocol_version().is_some_and(|version| version.as_str() >= revision::STATELESS);
        stateless.then(|| self.shared.meta.clone())
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        self.shared.config.clone()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        const SUPPORTED: &[ProtocolVersion] = &[
            ProtocolVersion::V_2025_03_26,
            ProtocolVersion::V_2025_06_18,
            ProtocolVersion::V_2025_11_25,
            ProtocolVersion::V_2026_07_28,
        ];
        Cow::Borrowed(SUPPORTED)
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut result = ListToolsResult::with_all_items(self.shared.tools.to_vec());
        if let Some(meta) = self.meta(&context) {
            result.meta = Some(meta);
            result.ttl_ms = Some(LIST_TTL_MILLIS);
            result.cache_scope = Some(CacheScope::Private);
        }
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(mut result) = tools::call(&request.name, request.arguments, &context).await else {
            return Err(ErrorData::invalid_params("Unknown tool.", None));
        };
        result.meta = self.meta(&context);
        Ok(result.into())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::find(&self.shared.tools, name)
    }

    /// Nothing here ever changes, so the accepted filter is empty; the stream itself is served.
    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::default())
    }

    /// Returning sends the completion result: when the process ends, the client hears it and asks another replica.
    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        context.cancelled().await;
        Ok(())
    }

    async fn on_custom_request(
        &self,
        _request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "Method not found.", None))
    }
}
