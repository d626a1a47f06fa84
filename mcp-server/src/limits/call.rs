//! The limits of what a message asks for, once it is known: a principal's rate, those of its tools, and how many of its
//! calls are under way. Whatever buckets the request needs are debited here at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::places::Place;
use super::who::Who;
use crate::app::App;
use crate::http::Next;
use crate::mcp::Envelope;
use crate::settings::LiveState;

/// In a response: redis has been debited for the request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Debited;

/// The layer.
pub async fn call_limit(State(app): State<Arc<App>>, request: Request, next: impl Next) -> Response {
    let extensions = request.extensions();
    let (Some(live), Some(caller)) = (extensions.get::<Arc<LiveState>>(), Who::caller(extensions)) else {
        return next.run(request).await;
    };
    let (limiter, rules) = (&app.limiter, &live.limits);
    let envelope = extensions.get::<Arc<Envelope>>();
    let id = envelope.and_then(|envelope| envelope.id.as_deref());
    let tool = envelope.and_then(|envelope| envelope.tool());

    // First, since it costs nothing to give back.
    let place = match tool.map(|_| limiter.place(rules, caller)).transpose() {
        Ok(place) => place.flatten(),
        Err(refused) => return limiter.refuse(refused, id),
    };
    let debited = match limiter.admit(rules, Who::client(extensions), caller, tool).await {
        Ok(debited) => debited,
        Err(refused) => return limiter.refuse(refused, id),
    };
    let mut response = next.run(request).await;
    if debited {
        response.extensions_mut().insert(Debited);
    }
    match place {
        Some(place) => response.map(|inner| Body::new(Occupied { inner, _place: place })),
        None => response,
    }
}

/// The body of a call's response: the call is under way until it is through.
struct Occupied {
    inner: Body,
    _place: Place,
}

impl HttpBody for Occupied {
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
