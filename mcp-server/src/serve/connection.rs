//! One connection: HTTP/1.1 or HTTP/2, plain or by TLS, within limits. A response is never timed here: streams are long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::ServiceExt as _;
use tracing::debug;

use super::linger::Lingering;
use super::tls::Tls;
use crate::app::App;
use crate::drain::Drain;
use crate::http::{Activity, ByTls, Peer};

/// From the connection to the first request's last header line. A client that sends nothing holds nothing.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Headers of one request, in bytes (HTTP/1.1: with the request line).
const HEADERS_AT_MOST: u32 = 64 * 1024;
/// Header lines of one HTTP/1.1 request.
const LINES_AT_MOST: usize = 100;
/// Requests at once on one HTTP/2 connection.
const STREAMS_AT_MOST: u32 = 256;
/// Requests that one HTTP/2 connection may take back before they are looked at. More is an attack ("rapid reset").
const TAKEN_BACK_AT_MOST: usize = 20;
/// A ping on HTTP/2 connections finds peers that are gone.
const PING: Duration = Duration::from_secs(30);

/// As the process begins to end, an HTTP/1.1 connection without a request is heard for this long: a request that is on its
/// way already would meet a closed connection, and its sender could not know whether it was carried out.
pub(super) const LAST_WORD: Duration = Duration::from_millis(500);

/// What a connection does when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenClosing {
    /// Ends after what is under way.
    Close,
    /// Serves on until the very end: readiness must be seen to be gone.
    Stay,
}

/// What the connections of one listener have in common.
pub(super) struct Service {
    pub app: Arc<App>,
    pub router: Router,
    pub tls: Option<Arc<Tls>>,
    pub end: WhenClosing,
    /// Connections at once.
    pub at_most: usize,
}

/// One connection's own state.
struct Talk {
    peer: SocketAddr,
    activity: Arc<Activity>,
    /// HTTP/2 can say which requests it has seen, so it is closed without a loss.
    http2: AtomicBool,
    closes: bool,
}

/// Serves until the peer closes, nothing has come for long, or the process ends.
pub(super) async fn serve(service: &Service, stream: TcpStream, peer: SocketAddr) {
    let talk = Arc::new(Talk {
        peer,
        activity: Activity::new(),
        http2: AtomicBool::new(false),
        closes: service.end == WhenClosing::Close,
    });
    let Some(tls) = &service.tls else { return exchange(service, stream, &talk).await };
    let drain = &service.app.drain;
    let shaken = tokio::select! {
        stream = tls.accept(stream) => stream,
        () = talk.closing(drain) => None,
        () = drain.cutting() => None,
    };
    if let Some(stream) = shaken {
        // Boxed: what TLS needs is not room that every connection should take.
        Box::pin(exchange(service, stream, &talk)).await;
    }
}

async fn exchange<S>(service: &Service, stream: S, talk: &Arc<Talk>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let app = &service.app;
    let idle_at_most = Duration::from_secs(app.config.server.idle_timeout_seconds().into());
    let builder = builder(idle_at_most);
    let answering = service_fn(|request| answer(service, request, talk));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answering));
    let mut watch = pin!(talk.idle(idle_at_most));
    let mut close = pin!(talk.closing(&app.drain));
    let mut closed = false;
    loop {
        tokio::select! {
            // The connection first: what has come on it already counts, whatever else is due.
            biased;
            ended = connection.as_mut() => {
                if let Err(problem) = ended {
                    // Clients that hang up are no news.
                    debug!(peer = %talk.peer, problem = %problem, "connection ended");
                }
                return;
            }
            () = close.as_mut(), if !closed => {
                closed = true;
                // HTTP/1.1 ends after what is under way, HTTP/2 says GOAWAY before.
                connection.as_mut().graceful_shutdown();
            }
            () = app.drain.cutting() => return,
            () = watch.as_mut() => return,
        }
    }
}

fn builder(idle_at_most: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts it from the end of the previous response, so for later requests it is the idle time too.
        .header_read_timeout(idle_at_most)
        .max_headers(LINES_AT_MOST)
        .max_buf_size(HEADERS_AT_MOST as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_header_list_size(HEADERS_AT_MOST)
        .max_pending_accept_reset_streams(TAKEN_BACK_AT_MOST)
        .max_concurrent_streams(STREAMS_AT_MOST);
    builder
}

fn answer(
    service: &Service,
    request: Request<Incoming>,
    talk: &Arc<Talk>,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<> {
    let (app, talk) = (Arc::clone(&service.app), Arc::clone(talk));
    let version = request.version();
    let busy = talk.activity.request();
    talk.http2.store(version == Version::HTTP_2, Ordering::Relaxed);
    // HTTP/2 ends a single request without the others. Who asks whether to send a body at all need not be waited for.
    let mut request = if version == Version::HTTP_2 || request.headers().contains_key(EXPECT) {
        request.map(Body::new)
    } else {
        request.map(|body| Body::new(Lingering::new(body)))
    };
    let extensions = request.extensions_mut();
    extensions.insert(Peer(talk.peer));
    extensions.insert(Arc::clone(&talk.activity));
    if service.tls.is_some() {
        extensions.insert(ByTls);
    }
    let answering = service.router.clone().oneshot(request);
    async move {
        let _busy = busy;
        let mut response = answering.await?;
        if talk.closes && version != Version::HTTP_2 && app.drain.is_closing() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

impl Talk {
    /// Resolves when the connection has been idle for too long.
    async fn idle(&self, at_most: Duration) {
        loop {
            let limit = if self.activity.served_any() { at_most } else { FIRST_REQUEST };
            match limit.checked_sub(self.activity.idle()) {
                None | Some(Duration::ZERO) => return,
                Some(rest) => tokio::time::sleep(rest).await,
            }
        }
    }

    /// Resolves when the process ends and nothing more is to be heard.
    async fn closing(&self, drain: &Drain) {
        if !self.closes {
            return std::future::pending().await;
        }
        drain.closing().await;
        let begun = Instant::now();
        while !self.http2.load(Ordering::Relaxed) {
            let quiet = self.activity.idle().min(begun.elapsed());
            match LAST_WORD.checked_sub(quiet) {
                None | Some(Duration::ZERO) => return,
                Some(rest) => tokio::time::sleep(rest).await,
            }
        }
    }
}
