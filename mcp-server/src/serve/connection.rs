//! One connection: HTTP/1.1, or HTTP/2 with prior knowledge, within limits. A body is never timed: streams are long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tower::ServiceExt as _;
use tracing::debug;

use crate::drain::Drain;
use crate::http::{Activity, Peer};

/// From the connection to the first request's last header line. A client that sends nothing holds nothing.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Without a request. Longer than ingress controllers keep their connections (nginx 60 s, Traefik 90 s): who closes first
/// should be the proxy, or it sends a request into a closing connection.
const IDLE: Duration = Duration::from_secs(120);
/// Headers of one request, in bytes (HTTP/1.1: with the request line).
const HEADERS_AT_MOST: u32 = 64 * 1024;
/// Requests at once on one HTTP/2 connection.
const STREAMS_AT_MOST: u32 = 256;
/// A ping on HTTP/2 connections finds peers that are gone.
const PING: Duration = Duration::from_secs(30);

/// Who has connected as the process begins to end is heard once, instead of being hung up on.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What a connection does when the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenClosing {
    /// Ends after what is under way.
    Close,
    /// Serves on until the very end: readiness must be seen to be gone.
    Stay,
}

/// Serves until the peer closes, nothing has come for long, or the process ends.
pub(super) async fn serve(drain: &Drain, stream: TcpStream, peer: SocketAddr, router: Router, end: WhenClosing) {
    let activity = Activity::new();
    let service = {
        let activity = Arc::clone(&activity);
        service_fn(move |request| answer(router.clone(), request, peer, Arc::clone(&activity)))
    };
    let builder = builder();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut watch = pin!(idle(&activity));
    let mut close = pin!(closing(drain, &activity));
    let mut closed = end == WhenClosing::Stay;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(problem) = ended {
                    // Clients that hang up are no news.
                    debug!(%peer, problem = %problem, "connection ended");
                }
                return;
            }
            () = close.as_mut(), if !closed => {
                closed = true;
                // HTTP/1.1 says `Connection: close`, HTTP/2 GOAWAY; what is under way goes on.
                connection.as_mut().graceful_shutdown();
            }
            () = drain.cutting() => return,
            () = watch.as_mut() => return,
        }
    }
}

async fn closing(drain: &Drain, activity: &Activity) {
    drain.closing().await;
    if !activity.served_any() {
        tokio::time::sleep(LAST_WORD).await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts it from the end of the previous response, so for later requests it is the idle time too.
        .header_read_timeout(IDLE)
        .max_buf_size(HEADERS_AT_MOST as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .max_header_list_size(HEADERS_AT_MOST)
        .max_concurrent_streams(STREAMS_AT_MOST);
    builder
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: Arc<Activity>,
) -> Result<Response, Infallible> {
    let _busy = activity.request();
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    request.extensions_mut().insert(Arc::clone(&activity));
    router.oneshot(request).await
}

/// Resolves when the connection has been idle for too long.
async fn idle(activity: &Activity) {
    loop {
        let limit = if activity.served_any() { IDLE } else { FIRST_REQUEST };
        match limit.checked_sub(activity.idle()) {
            None | Some(Duration::ZERO) => return,
            Some(rest) => tokio::time::sleep(rest).await,
        }
    }
}
