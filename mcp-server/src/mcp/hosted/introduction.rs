//! What a hosted server offers: asked at the start, as a client would, for `/server` and the metrics.

use std::sync::Arc;

use mcp_server_config::report::{BackendReport, BackendState};
use rmcp::ServerHandler;
use rmcp::model::{ClientRequest, PaginatedRequestParams, RequestId, RequestOptionalParam, ServerResult};
use rmcp::service::{RequestContext, Service as _};
use serde_json::Value;

use super::Hosted;
use super::line::{Line, Nowhere, Silent};
use crate::backend;
use crate::mcp::envelope::standard_headers::Mirrored;
use crate::mcp::revision;

/// Pages of tools; a handler that goes on for ever is not asked for ever.
const MAX_PAGES: usize = 100;

impl<S: ServerHandler> Hosted<S> {
    pub(super) async fn introduce(&self) {
        let tools = self.tools().await;
        let names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).map(str::to_owned).collect();
        self.shared.metrics.set_known_tools(names);
        let mirrored = tools.iter().filter_map(|tool| {
            let mirrored = tool["inputSchema"].as_object().and_then(Mirrored::of);
            Some((tool["name"].as_str()?.to_owned(), mirrored))
        });
        self.mirrored.store(Arc::new(mirrored.collect()));
        let identity = ServerHandler::get_info(self.service.handler()).server_info;
        let spoken = |version: &&str| self.versions.iter().any(|spoken| spoken.as_str() == *version);
        let report = BackendReport {
            state: BackendState::Ready,
            error: None,
            server_name: Some(identity.name),
            server_version: Some(identity.version),
            protocol_versions: revision::SUPPORTED.iter().copied().filter(spoken).map(str::to_owned).collect(),
            tools: u32::try_from(tools.len()).ok(),
            tools_digest: Some(backend::digest(&tools)),
            ..BackendReport::clone(&self.report.load())
        };
        self.report.store(Arc::new(report));
    }

    async fn tools(&self) -> Vec<Value> {
        let mut tools = Vec::new();
        if ServerHandler::get_info(self.service.handler()).capabilities.tools.is_none() {
            return tools;
        }
        let line = Line::open(Silent, Some(self.client.clone()), Nowhere);
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let params = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let list = RequestOptionalParam { params, ..RequestOptionalParam::default() };
            let context = RequestContext::new(RequestId::Number(0), line.peer().clone());
            let listed = self.service.handle_request(ClientRequest::ListToolsRequest(list), context).await;
            let Ok(ServerResult::ListToolsResult(page)) = listed else {
                tracing::warn!("the handler does not list its tools");
                return tools;
            };
            tools.extend(page.tools.iter().filter_map(|tool| serde_json::to_value(tool).ok()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        tools
    }
}
