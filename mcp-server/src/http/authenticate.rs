//! Who calls. Nothing below this layer sees a request without a [`Caller`], or with a token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use tracing::{Span, debug};

use super::{Account, Asked, Next, refusal};
use crate::app::App;
use crate::auth::Caller;
use crate::metrics::{AuthResult, Metrics};
use crate::settings::LiveState;

/// The layer.
pub async fn authenticate(State(app): State<Arc<App>>, request: Request, next: impl Next) -> Response {
    let extensions = request.extensions();
    let (Some(live), Some(asked)) = (extensions.get::<Arc<LiveState>>().cloned(), extensions.get::<Asked>().cloned())
    else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
    };

    let (mut parts, body): (_, Body) = request.into_parts();
    let started = Instant::now();
    let decided = live.authenticator.authenticate(&parts, &asked).await;
    let mut attempt = Attempt { metrics: &app.metrics, duration: started.elapsed(), result: Some(AuthResult::Success) };
    let caller = match decided {
        Ok(caller) => caller,
        Err(rejection) => {
            debug!(reason = rejection.description(), "the request is refused");
            attempt.result = Some(rejection.result());
            return rejection.into_response();
        }
    };
    // An open server authenticates nobody: a count of such requests would drown the attempts.
    if caller == Caller::Anonymous {
        attempt.result = None;
    }

    Account::called_by(&parts.extensions, &caller);
    if let Caller::Principal(principal) = &caller {
        Span::current().record("user_id", &*principal.subject);
    }
    // They were for us, or for a proxy before us: no backend, tool or log below ever sees them (MCP authorization, "Token
    // Passthrough").
    for credential in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        parts.headers.remove(credential);
    }
    parts.extensions.insert(caller);
    let response = next.run(Request::from_parts(parts, body)).await;
    // What the token allows is known only where the message is.
    if let Some(result) = response.extensions().get::<AuthResult>() {
        attempt.result = Some(*result);
    }
    response
}

/// Counted once, when its result is known or the client has gone.
struct Attempt<'a> {
    metrics: &'a Metrics,
    duration: Duration,
    result: Option<AuthResult>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some(result) = self.result {
            self.metrics.auth_attempt(result, self.duration);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use http::HeaderMap;
    use mcp_server_config::{PublicUrl, parse_boot};
    use tower::ServiceExt as _;

    use super::*;
    use crate::settings::{Loaded, LoadedLive};

    #[tokio::test]
    async fn what_is_behind_the_layer_sees_the_caller_and_no_credential() {
        let config = parse_boot("").expect("a configuration");
        let live = LoadedLive { live: config.live(), digest: String::new() };
        let app = App::start(Loaded { config, live, warnings: Vec::new() }).await.expect("an app");
        let behind = async |headers: HeaderMap, request: Request| {
            assert_eq!(request.extensions().get::<Caller>(), Some(&Caller::Anonymous));
            headers.keys().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let router = Router::new().fallback(behind).layer(from_fn_with_state(Arc::clone(&app), authenticate));
        let asked = PublicUrl::try_from("http://localhost".to_owned()).expect("an origin");
        let mut request = http::Request::post("/mcp").extension(app.live.current()).extension(Asked(Arc::new(asked)));
        for name in ["authorization", "proxy-authorization", "cookie", "mcp-method"] {
            request = request.header(name, "Bearer secret").header(name, "Basic c2VjcmV0");
        }
        let response = router.oneshot(request.body(Body::empty()).expect("a request")).await.expect("a response");
        let names = axum::body::to_bytes(response.into_body(), 1000).await.expect("a body");
        assert_eq!(names, "mcp-method");
    }
}
