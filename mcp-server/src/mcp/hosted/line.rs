//! A `Peer` and what is said through it. rmcp makes peers only together with a loop that serves them, so a line is that
//! loop: what it sends goes to an [`Outlet`], and what it is to serve or to hear comes in by [`Line::push`]. Dropping the
//! line ends it, and cancels what it serves.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::ready;

use futures::future::BoxFuture;
use rmcp::RoleServer;
use rmcp::model::{
    ClientJsonRpcMessage, ClientNotification, ClientRequest, ErrorCode, ErrorData, InitializeRequestParams,
    ServerConfig, ServerJsonRpcMessage, ServerResult,
};
use rmcp::service::{
    NotificationContext, Peer, RequestContext, RunningService, RxJsonRpcMessage, Service, TxJsonRpcMessage,
    serve_directly_with_ct,
};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Where the messages of a line go.
pub(super) trait Outlet: Send + Sync + 'static {
    /// The message is in its place when this returns; the future resolves when another one may come.
    fn send(&self, message: ServerJsonRpcMessage) -> BoxFuture<'static, ()>;
}

/// See the module.
pub(super) struct Line<S: Service<RoleServer>> {
    inbox: mpsc::UnboundedSender<ClientJsonRpcMessage>,
    running: RunningService<RoleServer, S>,
}

impl<S: Service<RoleServer>> Line<S> {
    /// `client` is what the peer knows of its client.
    pub(super) fn open(service: S, client: Option<InitializeRequestParams>, outlet: impl Outlet) -> Self {
        let (inbox, messages) = mpsc::unbounded_channel();
        let transport = Messages { outlet: Box::new(outlet), messages };
        let running = serve_directly_with_ct(service, transport, client, CancellationToken::new());
        Self { inbox, running }
    }

    pub(super) fn peer(&self) -> &Peer<RoleServer> {
        self.running.peer()
    }

    /// Bounded by the limits on requests: each message here is one.
    pub(super) fn push(&self, message: ClientJsonRpcMessage) {
        // A loop that has ended has nobody to answer to.
        let _ = self.inbox.send(message);
    }
}

/// Serves nothing: for a peer through which a handler speaks that is called directly.
pub(super) struct Silent;

impl Service<RoleServer> for Silent {
    fn handle_request(
        &self,
        _request: ClientRequest,
        _context: RequestContext<RoleServer>,
    ) -> impl Future<Output = Result<ServerResult, ErrorData>> + Send + '_ {
        ready(Err(ErrorData::new(ErrorCode::INTERNAL_ERROR, "Internal error.", None)))
    }

    fn handle_notification(
        &self,
        _notification: ClientNotification,
        _context: NotificationContext<RoleServer>,
    ) -> impl Future<Output = Result<(), ErrorData>> + Send + '_ {
        ready(Ok(()))
    }

    fn get_info(&self) -> ServerConfig {
        ServerConfig::default()
    }
}

/// Nobody hears what is said.
pub(super) struct Nowhere;

impl Outlet for Nowhere {
    fn send(&self, message: ServerJsonRpcMessage) -> BoxFuture<'static, ()> {
        drop(message);
        Box::pin(ready(()))
    }
}

/// One type for all outlets: rmcp's loop is large, and there is one of it for each type of transport.
struct Messages {
    outlet: Box<dyn Outlet>,
    messages: mpsc::UnboundedReceiver<ClientJsonRpcMessage>,
}

impl Transport<RoleServer> for Messages {
    type Error = Infallible;

    fn name() -> Cow<'static, str> {
        "line".into()
    }

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        let sent = self.outlet.send(item);
        async move {
            sent.await;
            Ok(())
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        self.messages.close();
        Ok(())
    }
}
