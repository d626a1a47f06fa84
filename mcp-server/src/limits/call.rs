//! The limits of what a message asks for, once it is known: a principal's rate, those of its tools, and how many of its
//! calls are under way. Whatever buckets the request needs are debited here at once.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::who::Who;
use crate::app::App;
use crate::http::Next;
use crate::mcp::Envelope;
use crate::mcp::body::held;
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
        // The call is under way until its response is through.
        Some(place) => response.map(|inner| held(inner, place)),
        None => response,
    }
}
