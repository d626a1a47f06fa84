//! Who calls. Nothing below this layer sees a request without a [`Caller`], or with a token.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::AUTHORIZATION;
use tracing::{Span, debug};

use super::{Asked, refusal};
use crate::app::App;
use crate::auth::Caller;
use crate::metrics::AuthResult;
use crate::settings::LiveState;

/// The layer.
pub async fn authenticate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let (Some(live), Some(asked)) = (extensions.get::<Arc<LiveState>>().cloned(), extensions.get::<Asked>().cloned())
    else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };

    let (mut parts, body): (_, Body) = request.into_parts();
    let started = Instant::now();
    let decided = live.authenticator.authenticate(&parts, &asked).await;
    let result = decided.as_ref().map_or_else(|rejection| rejection.result(), |_| AuthResult::Success);
    // An open server authenticates nobody: a count of such requests would drown the attempts.
    if !matches!(decided, Ok(Caller::Anonymous)) {
        app.metrics.auth_attempt(result, started.elapsed());
    }
    let caller = match decided {
        Ok(caller) => caller,
        Err(rejection) => {
            debug!(reason = rejection.description(), "the request is refused");
            return rejection.into_response();
        }
    };

    if let Caller::Principal(principal) = &caller {
        Span::current().record("user_id", &*principal.subject);
    }
    // The token was for us: no backend, tool or log below ever sees it (MCP authorization, "Token Passthrough").
    parts.headers.remove(AUTHORIZATION);
    parts.extensions.insert(caller);
    next.run(Request::from_parts(parts, body)).await
}
