//! Follows a response's body to its end, so that a stream's access line has its real duration and size.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tracing::{Span, info};

use super::recording::{Ending, Recording};
use super::request::Busy;
use crate::app::App;
use crate::mcp::Envelope;
use crate::metrics::{Held, KnownMethod};

/// Paths are as long as the client likes; this much of one is logged.
const LOGGED_PATH: usize = 200;

/// What the access line says.
pub struct Observed {
    pub app: Arc<App>,
    pub span: Span,
    pub method: Method,
    /// See [`logged_path`].
    pub path: Box<str>,
    pub client: IpAddr,
    pub started: Instant,
    pub recording: Option<Box<Recording>>,
    /// The request counts as under way until the body ends.
    pub _held: (Held, Option<Busy>),
}

/// What is logged of a path. A copy: the request's own bytes are part of its connection's buffer, and a stream is long.
pub fn logged_path(path: &str) -> Box<str> {
    path[..path.floor_char_boundary(LOGGED_PATH)].into()
}

/// Wraps the response's body.
pub fn observe(response: Response, mut observed: Observed) -> Response {
    if let Some(recording) = &mut observed.recording {
        recording.answered(&response);
    }
    let envelope = response.extensions().get::<Arc<Envelope>>();
    let message = envelope.and_then(|envelope| envelope.method.as_deref()).map(KnownMethod::of);
    let stream = super::headers::is_event_stream(response.headers()).then(|| observed.app.metrics.stream());
    let status = response.status();
    let end = End { observed, status, message, bytes: 0, _stream: stream };
    response.map(|inner| Body::new(ObservedBody { inner, end }))
}

struct ObservedBody {
    inner: Body,
    /// Dropped after the body: what the body has to say at its end is known then.
    end: End,
}

/// Speaks when it is dropped: the body ended, or the client went away.
struct End {
    observed: Observed,
    status: StatusCode,
    message: Option<KnownMethod>,
    bytes: u64,
    _stream: Option<Held>,
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
            self.end.bytes += data.len() as u64;
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

impl Drop for End {
    fn drop(&mut self) {
        let Observed { app, span, method, path, client, started, recording, _held: _ } = &mut self.observed;
        let duration = started.elapsed();
        if let Some(message) = self.message {
            app.metrics.message_answered(message, duration);
        }
        span.in_scope(|| {
            info!(
                method = method.as_str(),
                path = &**path,
                status = self.status.as_u16(),
                %client,
                bytes = self.bytes,
                duration_ms = duration.as_millis() as u64,
                "request",
            );
        });
        if let Some(recording) = recording.take() {
            let (status, response_bytes) = (self.status.as_u16(), self.bytes);
            recording.end(app, &Ending { method, client: *client, status, duration, response_bytes });
        }
    }
}
