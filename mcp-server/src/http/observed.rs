//! Follows a response's body to its end, so that a stream's access line has its real duration and size.

use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tracing::{Span, info};

use super::request::Busy;
use crate::metrics::Held;

/// What the access line says.
pub struct Observed {
    span: Span,
    method: Method,
    path: String,
    status: StatusCode,
    client: IpAddr,
    started: Instant,
    bytes: u64,
    /// The request counts as under way until the body ends.
    _held: (Held, Option<Busy>),
}

impl Observed {
    /// Without bytes yet.
    pub fn new(
        span: Span,
        method: Method,
        path: String,
        status: StatusCode,
        client: IpAddr,
        started: Instant,
        held: (Held, Option<Busy>),
    ) -> Self {
        Self { span, method, path, status, client, started, bytes: 0, _held: held }
    }
}

/// Wraps the response's body.
pub fn observe(response: Response, observed: Observed) -> Response {
    response.map(|inner| Body::new(ObservedBody { inner, observed }))
}

struct ObservedBody {
    inner: Body,
    observed: Observed,
}

impl HttpBody for ObservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.observed.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        // On drop: the body ended, or the client went away.
        self.span.in_scope(|| {
            info!(
                method = %self.method,
                path = %self.path,
                status = self.status.as_u16(),
                client = %self.client,
                bytes = self.bytes,
                duration_ms = self.started.elapsed().as_millis() as u64,
                "request",
            );
        });
    }
}
