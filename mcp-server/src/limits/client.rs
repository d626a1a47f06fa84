//! The limit by client address, before authentication: what keeps one machine from trying tokens, or from keeping the
//! others out. Where the clients' addresses are not known (a proxy that is not trusted), only failed authentications are
//! debited, and refused: whoever has a token is served, whatever others behind the same proxy do.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use mcp_server_config::Count;

use super::call::Debited;
use super::who::Who;
use crate::app::App;
use crate::http::Next;
use crate::settings::LiveState;

/// The layer.
pub async fn client_limit(State(app): State<Arc<App>>, request: Request, next: impl Next) -> Response {
    let extensions = request.extensions();
    let rules = extensions.get::<Arc<LiveState>>().map(|live| Arc::clone(&live.limits));
    let (Some(rules), Some(client)) = (rules, Who::client(extensions)) else {
        return next.run(request).await;
    };
    let limiter = &app.limiter;
    match &rules.client {
        None => next.run(request).await,
        Some((Count::Requests, _)) => {
            if let Err(refused) = limiter.take_client(&rules, &client) {
                return limiter.refuse(refused, None);
            }
            let response = next.run(request).await;
            if response.extensions().get::<Debited>().is_none() {
                limiter.take_client_later(&rules, client);
            }
            response
        }
        // Before the request there is nothing to refuse yet: behind a proxy that is not trusted, a refusal would let anybody
        // who fails often enough lock everybody out.
        Some((Count::Failures, _)) => {
            let response = next.run(request).await;
            if response.status() != StatusCode::UNAUTHORIZED {
                return response;
            }
            if let Err(refused) = limiter.take_client(&rules, &client) {
                return limiter.refuse(refused, None);
            }
            limiter.take_client_later(&rules, client);
            response
        }
    }
}
