//! Responses: a message as JSON, or a stream of events with a sign of life where it is silent.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use tokio::time::{Instant, Sleep};

use crate::mcp::body::Whole;

/// Comments keep a silent stream open through proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE: Bytes = Bytes::from_static(b": \n\n");
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One message.
pub(super) fn json(status: StatusCode, message: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(Whole);
    response
}

/// Events that are all there.
pub(super) fn all_events(events: Bytes) -> Response {
    let mut response = self::events(Body::from(events));
    response.extensions_mut().insert(Whole);
    response
}

/// Events.
pub(super) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Nothing.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Where the events of a response come from.
pub(super) trait Source: Send + Unpin + 'static {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

/// A body of those events.
pub(super) fn of(source: impl Source) -> Body {
    Body::new(Live { source, silence: None, ended: false })
}

struct Live<S> {
    source: S,
    /// Made when it is first silent.
    silence: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl<S: Source> HttpBody for Live<S> {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match self.source.poll_next(context) {
            Poll::Ready(Some(event)) => {
                if let Some(silence) = &mut self.silence {
                    silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                }
                Poll::Ready(Some(Ok(Frame::data(event))))
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => {
                let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(KEEP_ALIVE)));
                if silence.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                silence.as_mut().reset(Instant::now() + KEEP_ALIVE);
                // It must be polled for the new time to count.
                let _ = silence.as_mut().poll(context);
                Poll::Ready(Some(Ok(Frame::data(SIGN_OF_LIFE))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
