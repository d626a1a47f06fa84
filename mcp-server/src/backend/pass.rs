//! The body of a response on its way from the backend to the client: every frame as it comes. Between events, and only
//! there, a stream that is silent gets a sign of life; one that breaks off before its answer gets an error in its place.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::HttpBody;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use serde_json::value::RawValue;
use tokio::time::{Instant, Sleep};

use super::outcome::Outcome;
use crate::mcp::calls::Call;
use crate::mcp::farewell;
use crate::wire::Reply;

/// Proxies on the way close what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE: Bytes = Bytes::from_static(b": \n\n");

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
    inner: Reply,
    /// The tool call that this body answers.
    call: Option<Call>,
    /// Follows the body, where a call or a request waits for what is in it.
    outcome: Option<Outcome>,
    shape: Shape,
    /// Kept until the body is through.
    _held: Guard,
}

/// What kind of body it is.
pub(super) enum Shape {
    /// A document, of which so many bytes may still come.
    Document { left: u64 },
    /// A stream of events. It has no limit but time.
    Events(Events),
}

/// Where a stream of events is.
pub(super) struct Events {
    /// The request that the stream owes an answer.
    owed: Option<Box<RawValue>>,
    /// The last bytes that have passed.
    tail: [u8; 4],
    /// When the last frame came.
    last: Instant,
    /// Made when it is first silent.
    silence: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Shape {
    pub(super) fn document(limit: u64) -> Self {
        Self::Document { left: limit }
    }

    pub(super) fn events(owed: Option<&RawValue>) -> Self {
        let owed = owed.map(RawValue::to_owned);
        Self::Events(Events { owed, tail: *b"\0\0\n\n", last: Instant::now(), silence: None, over: false })
    }
}

impl Events {
    fn passed(&mut self, bytes: &[u8]) {
        self.last = Instant::now();
        let kept = bytes.len().min(self.tail.len());
        self.tail.rotate_left(kept);
        let at = self.tail.len() - kept;
        self.tail[at..].copy_from_slice(&bytes[bytes.len() - kept..]);
    }

    /// An empty line was the last thing.
    fn is_between_events(&self) -> bool {
        self.tail.ends_with(b"\n\n") || self.tail.ends_with(b"\r\n\r\n") || self.tail.ends_with(b"\r\r")
    }

    /// Resolves after each long silence.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let (last, between) = (self.last, self.is_between_events());
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(last + KEEP_ALIVE)));
        while silence.as_mut().poll(context).is_ready() {
            // What came meanwhile has not moved the timer: it is moved once, here.
            let due = self.last + KEEP_ALIVE;
            let is_due = due <= Instant::now();
            if is_due {
                self.last = Instant::now();
            }
            silence.as_mut().reset(self.last + KEEP_ALIVE);
            if is_due && between {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

impl<Guard> Pass<Guard> {
    /// `call`: the tool call that the body answers.
    pub(super) fn new(inner: Reply, call: Option<Call>, shape: Shape, held: Guard) -> Self {
        let outcome = match &shape {
            Shape::Document { .. } => call.is_some().then(|| Outcome::new(false)),
            Shape::Events(events) => (call.is_some() || events.owed.is_some()).then(|| Outcome::new(true)),
        };
        Self { inner, call, outcome, shape, _held: held }
    }

    fn pass(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Broken> {
        let Some(bytes) = frame.data_ref() else { return Ok(frame) };
        if let Some(outcome) = &mut self.outcome
            && let Some(ok) = outcome.feed(bytes)
        {
            if let Some(mut call) = self.call.take() {
                call.finish(ok);
            }
            // The answer is there: nothing is owed any more.
            self.outcome = None;
            if let Shape::Events(events) = &mut self.shape {
                events.owed = None;
            }
        }
        match &mut self.shape {
            Shape::Events(events) => events.passed(bytes),
            Shape::Document { left } => match left.checked_sub(bytes.len() as u64) {
                Some(rest) => *left = rest,
                None => {
                    self.call = None;
                    return Err(Broken::TooLarge);
                }
            },
        }
        Ok(frame)
    }

    /// The end: an error in place of the answer that is owed. Where the stream has event ids the answer may still be had by
    /// resuming, which is the client's to do.
    fn last_word(&mut self) -> Option<Frame<Bytes>> {
        let Shape::Events(events) = &mut self.shape else { return None };
        events.over = true;
        let owed = events.owed.take()?;
        let resumable = self.outcome.as_ref().is_some_and(Outcome::has_event_ids);
        self.call = None;
        (!resumable).then(|| Frame::data(farewell(Some(&owed))))
    }
}

impl<Guard: Unpin> HttpBody for Pass<Guard> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if matches!(&this.shape, Shape::Events(events) if events.over) {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(this.pass(frame))),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the backend broke off");
                this.call = None;
                match &this.shape {
                    Shape::Events(_) => Poll::Ready(this.last_word().map(Ok)),
                    Shape::Document { .. } => Poll::Ready(Some(Err(Broken::Backend))),
                }
            }
            Poll::Ready(None) => {
                if let (Some(call), Some(outcome)) = (&mut this.call, &this.outcome) {
                    call.finish(outcome.finish().unwrap_or(false));
                }
                Poll::Ready(this.last_word().map(Ok))
            }
            Poll::Pending => match &mut this.shape {
                Shape::Events(events) => events.poll_silence(context).map(|()| Some(Ok(Frame::data(SIGN_OF_LIFE)))),
                Shape::Document { .. } => Poll::Pending,
            },
        }
    }

    /// Never early: the end is where an outcome becomes known.
    fn is_end_stream(&self) -> bool {
        match &self.shape {
            Shape::Events(events) => events.over,
            Shape::Document { .. } => self.call.is_none() && self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.shape {
            Shape::Events(_) => SizeHint::default(),
            Shape::Document { .. } => self.inner.size_hint(),
        }
    }
}

impl<Guard> Drop for Pass<Guard> {
    /// A body whose length is known is not asked for its end: hyper drops it after the last byte.
    fn drop(&mut self) {
        if let (Some(call), Some(outcome)) = (&mut self.call, &self.outcome) {
            call.finish(self.inner.is_end_stream() && outcome.finish().unwrap_or(false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn between_events_is_where_an_empty_line_was() {
        let Shape::Events(mut events) = Shape::events(None) else { panic!("events") };
        assert!(events.is_between_events(), "before the first");
        for (bytes, between) in [
            (&b"data: 1"[..], false),
            (b"\n", false),
            (b"\n", true),
            (b"data: 2\r\n", false),
            (b"\r", false),
            (b"\n", true),
            (b"id: 3\r\r", true),
            (b"x\n\n", true),
            (b"", true),
            (b":", false),
        ] {
            events.passed(bytes);
            assert_eq!(events.is_between_events(), between, "{bytes:?}");
        }
    }

    /// Time is virtual: it passes where everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_gives_a_sign_of_life_four_times_a_minute_and_never_within_an_event() {
        let Shape::Events(mut events) = Shape::events(None) else { panic!("events") };
        let began = Instant::now();
        std::future::poll_fn(|context| events.poll_silence(context)).await;
        assert_eq!(began.elapsed(), KEEP_ALIVE);
        tokio::time::sleep(Duration::from_secs(10)).await;
        events.passed(b"data: 1\n\n");
        std::future::poll_fn(|context| events.poll_silence(context)).await;
        assert_eq!(began.elapsed().as_secs(), 40);
        events.passed(b"data: ");
        let within = std::future::poll_fn(|context| events.poll_silence(context));
        assert!(tokio::time::timeout(KEEP_ALIVE * 10, within).await.is_err());
    }
}
