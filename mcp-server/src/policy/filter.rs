//! The answer to a request for tools on its way to the client. A JSON body is held until it is complete, since its length
//! is announced first; of a stream of events only the event that is being received is held.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Limited};
use serde_json::value::RawValue;

use super::events::Splitter;
use super::listing::Listing;
use crate::mcp::error::{Failure, code};
use crate::mcp::is_event_stream;

/// No list of tools is that long, and no other event beside one.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The response as the caller may see it. `id`: that of the request.
pub(crate) async fn filter(response: Response, listing: Listing, id: Option<&RawValue>) -> Response {
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return unreadable("The backend's answer is encoded, so that its tools cannot be filtered.", id);
    }
    let (mut parts, body) = response.into_parts();
    if is_event_stream(&parts.headers) {
        parts.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(parts, Body::new(Events::new(body, listing)));
    }

    let Ok(bytes) = Limited::new(body, MAX_BYTES).collect().await.map(http_body_util::Collected::to_bytes) else {
        return unreadable("The backend's list of tools is too large, or broke off.", id);
    };
    if bytes.trim_ascii().is_empty() {
        return Response::from_parts(parts, Body::from(bytes));
    }
    let Some(filtered) = std::str::from_utf8(&bytes).ok().and_then(|text| listing.filtered(text).ok()) else {
        return unreadable("The backend's list of tools cannot be read.", id);
    };
    let bytes = filtered.map_or(bytes, Bytes::from);
    if parts.headers.contains_key(CONTENT_LENGTH) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// What we cannot read we do not show.
fn unreadable(message: &'static str, id: Option<&RawValue>) -> Response {
    tracing::warn!(message, "a list of tools is withheld");
    Failure::new(StatusCode::BAD_GATEWAY, code::INTERNAL_ERROR, message).of(id).response()
}

#[derive(Debug, thiserror::Error)]
#[error("an event of the backend is too large to be filtered")]
struct TooLarge;

/// A stream of events.
struct Events {
    inner: Body,
    listing: Listing,
    splitter: Splitter,
    ended: bool,
}

impl Events {
    fn new(inner: Body, listing: Listing) -> Self {
        Self { inner, listing, splitter: Splitter::default(), ended: false }
    }

    /// The events that are complete.
    fn complete(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(event) = self.splitter.next() {
            self.listing.event(&event, &mut out);
        }
        out
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while !self.ended {
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.ended = true;
                    let mut out = Vec::new();
                    let rest = self.splitter.rest();
                    self.listing.event(&rest, &mut out);
                    if out.is_empty() {
                        break;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(out.into()))));
                }
            };
            let Ok(bytes) = frame.into_data() else { continue };
            self.splitter.feed(&bytes);
            let out = self.complete();
            if self.splitter.held() > MAX_BYTES {
                self.ended = true;
                return Poll::Ready(Some(Err(axum::Error::new(TooLarge))));
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
