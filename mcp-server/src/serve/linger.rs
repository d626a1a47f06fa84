//! Requests that are answered before they were read. To close a connection on which more comes makes the system reset it,
//! and a reset takes the answer away that is still on its way: the client, or the proxy between, would see a broken
//! connection where 401, 413 or 429 was said. So the rest of a body is read for a while, and thrown away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

/// For so long, and for so many bytes: who goes on sending then is not listening.
const AT_MOST: Duration = Duration::from_secs(5);
const BYTES_AT_MOST: usize = 16 * 1024 * 1024;
/// So little came with the request, and hyper throws it away itself.
const LITTLE: u64 = 4096;

/// A body of an HTTP/1.1 request. What is left of it when it is dropped is thrown away.
pub(super) struct Lingering {
    /// `None`: nothing is left.
    body: Option<Incoming>,
}

impl Lingering {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body: Some(body) }
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if body.is_end_stream() || body.size_hint().exact().is_some_and(|left| left <= LITTLE) {
            return;
        }
        // None: the process ends, and everything with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(timeout(AT_MOST, throw_away(body)));
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let mut left = BYTES_AT_MOST;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
