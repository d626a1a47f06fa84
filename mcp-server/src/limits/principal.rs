//! The limit by principal, right behind authentication: who has no room left is refused before the message is read.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;

use super::who::Who;
use crate::app::App;
use crate::http::Next;
use crate::settings::LiveState;

/// The layer.
pub async fn principal_limit(State(app): State<Arc<App>>, request: Request, next: impl Next) -> Response {
    let extensions = request.extensions();
    if let (Some(live), Some(caller)) = (extensions.get::<Arc<LiveState>>(), Who::caller(extensions))
        && let Err(refused) = app.limiter.check_principal(&live.limits, &caller)
    {
        return app.limiter.refuse(refused, None);
    }
    next.run(request).await
}
