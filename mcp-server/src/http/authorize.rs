//! What the caller may do: scopes of the operation, which tools there are. Behind the envelope, because the operation
//! stands in the message, and before everything that costs a backend anything.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use http::{Method, StatusCode};
use tracing::debug;

use super::{Asked, Next, refusal};
use crate::auth::Caller;
use crate::mcp::envelope::{Envelope, Kind};
use crate::mcp::error::{Failure, code};
use crate::mcp::revision::Era;
use crate::policy::{self, Listing, Refusal};
use crate::settings::LiveState;

/// The layer.
pub async fn authorize(request: Request, next: impl Next) -> Response {
    let envelope = request.extensions().get::<Arc<Envelope>>().cloned();
    let envelope = envelope.as_deref();
    let listing = match decide(&request, envelope) {
        Ok(listing) => listing,
        Err(response) => return *response,
    };
    let response = next.run(request).await;
    match listing {
        Some(listing) => policy::filter(response, listing, envelope.and_then(|envelope| envelope.id.as_deref())).await,
        None => response,
    }
}

/// Whether the request goes on, and what of the tools in its answer is shown; `None`: the answer passes as it is.
fn decide(request: &Request, envelope: Option<&Envelope>) -> Result<Option<Listing>, Box<Response>> {
    let extensions = request.extensions();
    let (Some(live), Some(asked), Some(caller)) =
        (extensions.get::<Arc<LiveState>>(), extensions.get::<Asked>(), extensions.get::<Caller>())
    else {
        return Err(Box::new(refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")));
    };
    let id = envelope.and_then(|envelope| envelope.id.as_deref());
    match live.policy.check(envelope, caller) {
        Ok(()) => {}
        Err(Refusal::UnknownTool) => return Err(Box::new(unknown_tool(envelope))),
        Err(Refusal::Scopes(scopes)) => {
            let rejection = live.authenticator.lacks(caller, asked, &scopes);
            debug!(reason = rejection.description(), needed = ?scopes, "the request is refused");
            return Err(Box::new(rejection.response_to(id)));
        }
    }
    // A stream that is resumed may replay the answer of any earlier request.
    let lists = envelope.map_or(*request.method() == Method::GET, |envelope| envelope.method() == "tools/list");
    if !lists {
        return Ok(None);
    }
    let modern = Era::of(envelope, request.headers()) == Era::Stateless;
    Ok(live.policy.listing(caller, modern))
}

/// What a backend says of a name that it does not know. Nothing tells a hidden tool from none.
fn unknown_tool(envelope: Option<&Envelope>) -> Response {
    let is_request = envelope.is_some_and(|envelope| envelope.kind == Kind::Request);
    let status = if is_request { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    let id = envelope.and_then(|envelope| envelope.id.as_deref());
    Failure::new(status, code::INVALID_PARAMS, "Unknown tool.").of(id).response()
}
