//! What stands in front of the servers: the suite cannot send a token, so this adds it; and it gives each request to the
//! next server in turn, on a connection of its own, as a load balancer without affinity does at its worst. All else, the
//! Host header too, passes as it is. A front can also break off streams, as networks do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::http;

/// What a stream of a call has when it is broken off.
const PROGRESS: &[u8] = b"notifications/progress";

/// Ends with the value.
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: AbortHandle,
}

/// What it does to responses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing.
    Pass,
    /// The response to a POST ends in the middle, after its first progress.
    BreakOff,
}

struct Behind {
    servers: Vec<SocketAddr>,
    next: AtomicUsize,
    token: Option<HeaderValue>,
    manner: Manner,
}

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

impl Front {
    /// In front of these servers.
    pub async fn start(servers: Vec<SocketAddr>, token: Option<&str>, manner: Manner) -> Result<Self> {
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose()?;
        let behind = Arc::new(Behind { servers, next: AtomicUsize::new(0), token, manner });
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen")?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&behind)));
            }
        });
        Ok(Self { address, accepting: accepting.abort_handle() })
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, behind: Arc<Behind>) {
    let _ = stream.set_nodelay(true);
    let pass = service_fn(move |request| {
        let behind = Arc::clone(&behind);
        async move { Ok::<_, Infallible>(behind.pass(request).await) }
    });
    // A client that breaks off has what it wants.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
}

impl Behind {
    async fn pass(&self, mut request: Request<Incoming>) -> Response<Body> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let breaks = self.manner == Manner::BreakOff && request.method() == Method::POST;
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        match http::send(self.servers[turn], request).await {
            Ok(response) if breaks => response.map(|body| broken_off(body).boxed_unsync()),
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
            Err(problem) => {
                let text = Full::from(format!("{problem:#}")).map_err(|never| match never {});
                let mut response = Response::new(text.boxed_unsync());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }
}

/// The body until its first progress has passed; then the connection fails.
fn broken_off(body: Incoming) -> StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>>>> {
    StreamBody::new(futures::stream::unfold((body, false), async |(mut body, broken)| {
        if broken {
            return Some((Err(anyhow::anyhow!("broken off")), (body, broken)));
        }
        let frame = body.frame().await?;
        let reports = |data: &Bytes| data.windows(PROGRESS.len()).any(|window| window == PROGRESS);
        let broken = frame.as_ref().is_ok_and(|frame| frame.data_ref().is_some_and(reports));
        Some((frame.map_err(Into::into), (body, broken)))
    }))
}
