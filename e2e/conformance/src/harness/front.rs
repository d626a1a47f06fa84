//! What stands in front of the servers: the suite cannot send a token, so this adds it; and it gives each request to the
//! next server in turn, on a connection of its own, as a load balancer without affinity does at its worst. All else, the
//! Host header too, passes as it is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::http;

/// Ends with the value.
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: AbortHandle,
}

struct Behind {
    servers: Vec<SocketAddr>,
    next: AtomicUsize,
    token: Option<HeaderValue>,
}

impl Front {
    /// In front of these servers.
    pub async fn start(servers: Vec<SocketAddr>, token: Option<&str>) -> Result<Self> {
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose()?;
        let behind = Arc::new(Behind { servers, next: AtomicUsize::new(0), token });
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
        async move { Ok::<_, std::convert::Infallible>(behind.pass(request).await) }
    });
    // A client that breaks off has what it wants.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), pass).await;
}

impl Behind {
    async fn pass(&self, mut request: Request<Incoming>) -> Response<Either<Incoming, String>> {
        if let Some(token) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len();
        match http::send(self.servers[turn], request).await {
            Ok(response) => response.map(Either::Left),
            Err(problem) => {
                let mut response = Response::new(Either::Right(format!("{problem:#}")));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    }
}
