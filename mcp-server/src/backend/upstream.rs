//! The HTTP client to a backend in the same pod.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

/// The backend is in the same pod: where a connection takes longer, nobody is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Node and Python servers close idle connections after five seconds. A call sent at that moment would be lost, and calls
/// are not repeated, so idle connections are given up before. A new one to the same pod costs next to nothing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_CONNECTIONS: usize = 64;

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody listens.
    Unreachable,
    /// The connection broke before the response.
    Broken,
}

pub(super) struct Upstream {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
}

impl Upstream {
    pub(super) fn new(url: &Url) -> Result<Self, String> {
        if url.scheme() != "http" {
            return Err(format!("container.url has the scheme {:?}; only http is spoken within a pod", url.scheme()));
        }
        let uri = url.as_str().parse().map_err(|_| "container.url is not a usable URL".to_owned())?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        // A request is sent anew only where its connection was closed before its first byte: it never runs twice.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Ok(Self { client, uri })
    }

    /// Sends a request. Dropping the future, or the response's body, ends it at the backend too.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        self.client.request(request).await.map_err(|error| {
            tracing::debug!(%error, "the backend did not answer");
            if error.is_connect() { Fault::Unreachable } else { Fault::Broken }
        })
    }
}
