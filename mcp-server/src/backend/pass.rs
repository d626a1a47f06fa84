//! The body of a response on its way from the backend to the client: every frame as it comes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::outcome::Outcome;
use crate::mcp::calls::Call;

/// Why a body ends early. The client sees a broken connection: there is no way to tell it more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the backend broke off")]
    Backend,
    #[error("the backend's answer is too large")]
    TooLarge,
}

/// See the module.
pub(super) struct Pass<Guard> {
    pub(super) inner: Incoming,
    /// The tool call that this body answers.
    pub(super) call: Option<(Call, Outcome)>,
    /// Bytes that may still come; streams of events have no such limit.
    pub(super) left: Option<u64>,
    /// Kept until the body is through.
    pub(super) _held: Guard,
}

impl<Guard: Unpin> HttpBody for Pass<Guard> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(%error, "the backend broke off");
                self.call = None;
                return Poll::Ready(Some(Err(Broken::Backend)));
            }
            None => {
                if let Some((mut call, outcome)) = self.call.take() {
                    call.finish(outcome.finish().unwrap_or(false));
                }
                return Poll::Ready(None);
            }
        };
        if let Some(bytes) = frame.data_ref() {
            if let Some((call, outcome)) = &mut self.call
                && let Some(ok) = outcome.feed(bytes)
            {
                call.finish(ok);
            }
            if let Some(left) = self.left.as_mut() {
                let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                    self.call = None;
                    return Poll::Ready(Some(Err(Broken::TooLarge)));
                };
                *left = rest;
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Never early: the end is where an outcome becomes known.
    fn is_end_stream(&self) -> bool {
        self.call.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<Guard> Drop for Pass<Guard> {
    /// A body whose length is known is not asked for its end: hyper drops it after the last byte.
    fn drop(&mut self) {
        if let Some((mut call, outcome)) = self.call.take() {
            call.finish(self.inner.is_end_stream() && outcome.finish().unwrap_or(false));
        }
    }
}
