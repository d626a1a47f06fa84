//! One request to the replica that holds what it is for, and its answer back, as it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::Full;

use super::head::{Head, Way};
use super::{Forwarded, HEADER, Holder, PATH, Peers};
use crate::backend::Outcome;
use crate::mcp::envelope::Envelope;
use crate::mcp::session::Refusal;
use crate::mcp::{farewell, is_event_stream};
use crate::state::wall_clock;
use crate::wire::{Fault, Reply};

/// How often a holder that has not answered yet is looked after.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Peers {
    /// Sends a request on to its holder. `body` are the bytes that the client sent.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        request: &Parts,
        body: Bytes,
        holder: &Holder,
    ) -> Result<Response, Refusal> {
        if request.extensions.get::<Forwarded>().is_some() {
            tracing::warn!(%holder, "a forwarded request would have to be forwarded again");
            return Err(Refusal::Unavailable);
        }
        let way = Way {
            to: &holder.replica,
            from: self.id(),
            number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
            now: wall_clock(),
        };
        let (value, seal) = Head::new(&way, request, &body).seal(&self.key).ok_or(Refusal::Unavailable)?;
        let mut sent = Request::new(Full::new(body));
        *sent.method_mut() = Method::POST;
        *sent.uri_mut() = http::Uri::from_static(PATH);
        sent.headers_mut().insert(HEADER, value);

        let pool = self.pool(holder.address);
        let response = tokio::select! {
            answered = pool.send(sent) => match answered {
                Ok(response) => response,
                Err(fault) => return Err(self.unanswered(fault, holder).await),
            },
            () = self.silent(holder) => {
                tracing::warn!(%holder, "the replica that holds a session does not answer");
                return Err(Refusal::Unavailable);
            }
        };
        let signature = response.headers().get(HEADER).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
        if signature.is_some_and(|signature| self.key.signed(&answered_to(&seal), &signature)) {
            let (this, holder) = (Arc::clone(self), holder.clone());
            let silent = async move { this.silent(&holder).await }.boxed();
            return Ok(answer(response, request, silent));
        }
        match response.status() {
            // Its address belongs to another replica now.
            StatusCode::MISDIRECTED_REQUEST => Err(Refusal::NotFound),
            status => {
                tracing::warn!(%holder, status = status.as_u16(), "a replica refuses what is forwarded to it");
                Err(Refusal::Unavailable)
            }
        }
    }

    async fn unanswered(&self, fault: Fault, holder: &Holder) -> Refusal {
        match fault {
            Fault::Refused => Refusal::NotFound,
            // Its host is gone, or busy.
            Fault::Silent => match self.find(&holder.replica).await {
                Ok(None) => Refusal::NotFound,
                Ok(Some(_)) | Err(_) => Refusal::Unavailable,
            },
            Fault::Broken => Refusal::Lost,
        }
    }

    /// Resolves when the holder shows no life. A call may take long; a process that hangs has no heartbeat.
    async fn silent(&self, holder: &Holder) {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            if matches!(self.find(&holder.replica).await, Ok(None)) {
                return;
            }
        }
    }
}

/// What the holder signs, so that nobody else answers in its place.
pub(super) fn answered_to(seal: &[u8]) -> Vec<u8> {
    [b"answer to ", seal].concat()
}

/// The holder's answer, for the client.
fn answer(response: http::Response<Reply>, request: &Parts, silent: BoxFuture<'static, ()>) -> Response {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = headers(response.headers());
    let envelope = request.extensions.get::<Arc<Envelope>>();
    let owed = envelope.and_then(|envelope| envelope.id.as_deref());
    let last_word = match (is_event_stream(answer.headers()), owed) {
        (true, Some(id)) => LastWord::Event(farewell(Some(id))),
        (true, None) => LastWord::Nothing,
        (false, _) => LastWord::BreakOff,
    };
    let inner = response.into_body();
    *answer.body_mut() = Body::new(Leg { inner: Some(inner), silent, outcome: Outcome::new(true), last_word });
    answer
}

fn headers(from: &HeaderMap) -> HeaderMap {
    let passes = |name: &HeaderName| {
        matches!(*name, CONTENT_TYPE | CONTENT_LENGTH | CONTENT_ENCODING | CACHE_CONTROL | RETRY_AFTER | ALLOW)
            || name == "x-accel-buffering"
            || (name.as_str().starts_with("mcp-") && name != HEADER)
    };
    let passing = from.iter().filter(|(name, _)| passes(name));
    passing.map(|(name, value)| (name.clone(), HeaderValue::clone(value))).collect()
}

/// Why the holder's answer has no end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the connection broke: {0}")]
    Connection(#[source] hyper::Error),
    #[error("it shows no life")]
    Silent,
}

/// How a body ends whose replica is lost.
enum LastWord {
    /// With this, unless the answer is already out.
    Event(Bytes),
    /// As if it were complete: the client comes again, and learns then.
    Nothing,
    /// As an error: half of a document must not look like a whole one.
    BreakOff,
}

/// The body between the holder and the client.
struct Leg {
    inner: Option<Reply>,
    /// Resolves when the holder shows no life.
    silent: BoxFuture<'static, ()>,
    outcome: Outcome,
    last_word: LastWord,
}

impl http_body::Body for Leg {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        let polled = match Pin::new(inner).poll_frame(context) {
            Poll::Ready(frame) => frame.map(|frame| frame.map_err(Broken::Connection)),
            Poll::Pending => {
                ready!(self.silent.as_mut().poll(context));
                Some(Err(Broken::Silent))
            }
        };
        match polled {
            Some(Ok(frame)) => {
                if let (LastWord::Event(_), Some(bytes)) = (&self.last_word, frame.data_ref())
                    && self.outcome.feed(bytes).is_some()
                {
                    self.last_word = LastWord::Nothing;
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "the replica that holds a session was lost in the middle of an answer");
                self.inner = None;
                match std::mem::replace(&mut self.last_word, LastWord::Nothing) {
                    LastWord::Event(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    LastWord::Nothing => Poll::Ready(None),
                    LastWord::BreakOff => Poll::Ready(Some(Err(error))),
                }
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}
