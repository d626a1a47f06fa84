//! A response body that does not outlast its time.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Passes frames on as they come, until `end` resolves: then `farewell` is the last frame.
pub(crate) struct Lasting {
    pub(crate) inner: Body,
    pub(crate) end: BoxFuture<'static, ()>,
    pub(crate) farewell: Option<Bytes>,
    /// Keeps the drain waiting until the body is through.
    pub(crate) under_way: Option<TaskTrackerToken>,
    pub(crate) ended: bool,
}

impl HttpBody for Lasting {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        // What has come goes out before the end is looked at.
        let frame = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(frame) = frame {
            self.ended = frame.is_none();
            return Poll::Ready(frame);
        }
        if self.end.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.ended = true;
        self.inner = Body::empty();
        self.under_way = None;
        Poll::Ready(self.farewell.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
