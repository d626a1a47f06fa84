//! A response body that does not outlast its time.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// So many frames that have come by the end still go out: the result may be among them.
const LAST_FRAMES: u8 = 16;

/// On a response whose body is there: nothing can be late in it but its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole;

/// How a body ends whose time is over.
pub(crate) enum Farewell {
    /// As if it were complete.
    Nothing,
    /// With this.
    Event(Bytes),
    /// As an error: half of a document must not look like a whole one.
    BreakOff,
}

#[derive(Debug, thiserror::Error)]
#[error("the answer did not end in time")]
struct Late;

/// Passes frames on as they come, until `end` resolves: then it says farewell.
pub(crate) struct Lasting {
    inner: Body,
    /// `None` once it has resolved.
    end: Option<BoxFuture<'static, ()>>,
    last_frames: u8,
    farewell: Farewell,
    /// Keeps the drain waiting until the body is through.
    under_way: Option<TaskTrackerToken>,
    ended: bool,
}

impl Lasting {
    pub(crate) fn new(
        inner: Body,
        end: impl Future<Output = ()> + Send + 'static,
        farewell: Farewell,
        under_way: Option<TaskTrackerToken>,
    ) -> Self {
        Self { inner, end: Some(end.boxed()), last_frames: LAST_FRAMES, farewell, under_way, ended: false }
    }

    /// Whether another frame may pass. One that always has another must not put off the end by that.
    fn may_pass(&mut self, context: &mut Context<'_>) -> bool {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_pending()) {
            return true;
        }
        self.end = None;
        let left = self.last_frames.checked_sub(1);
        self.last_frames = left.unwrap_or_default();
        left.is_some()
    }

    fn say_farewell(&mut self) -> Option<Result<Frame<Bytes>, axum::Error>> {
        self.ended = true;
        self.inner = Body::empty();
        self.under_way = None;
        match std::mem::replace(&mut self.farewell, Farewell::Nothing) {
            Farewell::Nothing => None,
            Farewell::Event(bytes) => Some(Ok(Frame::data(bytes))),
            Farewell::BreakOff => Some(Err(axum::Error::new(Late))),
        }
    }
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
        if self.may_pass(context) {
            match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Ready(frame) => {
                    self.ended = frame.is_none();
                    return Poll::Ready(frame);
                }
                Poll::Pending if self.end.is_some() => return Poll::Pending,
                Poll::Pending => {}
            }
        }
        Poll::Ready(self.say_farewell())
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body, with something that is kept until it is through or dropped.
pub(crate) fn held(inner: Body, kept: impl Send + Unpin + 'static) -> Body {
    Body::new(Held { inner, _kept: kept })
}

struct Held<T> {
    inner: Body,
    _kept: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, future, stream};
    use http_body_util::BodyExt as _;

    use super::*;

    fn endless() -> Body {
        Body::from_stream(stream::repeat(Bytes::from_static(b"x")).map(Ok::<_, axum::Error>))
    }

    #[tokio::test]
    async fn what_has_come_goes_out_and_then_the_farewell() {
        let come = stream::iter([Ok::<_, axum::Error>(Bytes::from_static(b"result "))]);
        let inner = Body::from_stream(come.chain(stream::pending()));
        let body = Lasting::new(inner, future::ready(()), Farewell::Event(Bytes::from_static(b"bye")), None);
        assert_eq!(body.collect().await.expect("complete").to_bytes(), "result bye");
    }

    #[tokio::test]
    async fn a_body_that_never_pauses_ends_too() {
        let body = Lasting::new(endless(), future::ready(()), Farewell::Nothing, None);
        assert_eq!(body.collect().await.expect("complete").to_bytes().len(), usize::from(LAST_FRAMES));
    }

    #[tokio::test]
    async fn half_a_document_is_no_document() {
        let body = Lasting::new(endless(), future::ready(()), Farewell::BreakOff, None);
        assert!(body.collect().await.is_err());
    }
}
