//! The HTTP client to a backend in the same pod.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::Full;
use url::{Host, Url};

use crate::wire::{Fault, Keep, Pool, Reply};

/// The backend is in the same pod: where a connection takes longer, nobody is there. Node and Python servers close idle
/// connections after five seconds. A call sent at that moment would be lost, and calls are not repeated, so idle
/// connections are given up before. A new one to the same pod costs next to nothing.
const KEEP: Keep = Keep { connect_timeout: Duration::from_secs(3), idle_timeout: Duration::from_secs(3), idle: 64 };

pub(super) struct Upstream {
    pool: Arc<Pool>,
    target: Uri,
}

impl Upstream {
    /// Call within a tokio runtime.
    pub(super) fn new(url: &Url) -> Result<Self, String> {
        if url.scheme() != "http" {
            return Err(format!("container.url has the scheme {:?}; only http is spoken within a pod", url.scheme()));
        }
        let unusable = || "container.url is not a usable URL".to_owned();
        let host = match url.host().ok_or_else(unusable)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let name = url.host_str().ok_or_else(unusable)?;
        let authority = url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"));
        let authority = HeaderValue::try_from(authority).map_err(|_| unusable())?;
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{}{query}", url.path()).parse().map_err(|_| unusable())?;
        let port = url.port_or_known_default().ok_or_else(unusable)?;
        Ok(Self { pool: Pool::new(&host, port, authority, KEEP), target })
    }

    /// Sends a request, once. Dropping the future, or the response's body, ends it at the backend too.
    pub(super) async fn send(&self, method: Method, headers: HeaderMap, body: Bytes) -> Result<Response<Reply>, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        self.pool.send(request).await
    }
}
