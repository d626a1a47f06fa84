//! A handler whose panics are errors of one call: rmcp runs handlers in tasks of their own, and the client of one that
//! ended by a panic would wait for ever.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use rmcp::model::{
    ClientNotification, ClientRequest, ErrorCode, ErrorData, ProtocolVersion, ServerConfig, ServerResult,
};
use rmcp::service::{NotificationContext, RequestContext, Service};
use rmcp::{RoleServer, ServerHandler};

/// See the module.
pub(super) struct Guarded<S>(Arc<S>);

impl<S> Clone for Guarded<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: ServerHandler> Guarded<S> {
    pub(super) fn new(handler: S) -> Self {
        Self(Arc::new(handler))
    }

    pub(super) fn handler(&self) -> &S {
        &self.0
    }
}

impl<S: ServerHandler> Service<RoleServer> for Guarded<S> {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        AssertUnwindSafe(self.0.handle_request(request, context)).catch_unwind().await.unwrap_or_else(|_| {
            // The panic hook has said where.
            tracing::error!("the handler panicked");
            Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, "Internal error.", None))
        })
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let handled = AssertUnwindSafe(self.0.handle_notification(notification, context)).catch_unwind().await;
        handled.unwrap_or_else(|_| {
            tracing::error!("the handler panicked");
            Ok(())
        })
    }

    fn get_info(&self) -> ServerConfig {
        ServerHandler::get_info(&*self.0)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        ServerHandler::supported_protocol_versions(&*self.0)
    }
}
