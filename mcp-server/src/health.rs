//! `GET /health`: the document's schema. For load balancers and people, not for probes: it tells of shared dependencies,
//! and a redis that is down is no reason to restart or to unlist every replica at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::sync::Mutex;

use crate::app::App;

/// Everybody may ask, so dependencies are asked at most this often.
const FRESH: Duration = Duration::from_secs(1);

/// The document's schema.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    status: &'static str,
    timestamp: String,
    /// What is not configured is absent.
    checks: BTreeMap<&'static str, String>,
}

/// The last answer.
#[derive(Debug, Default)]
pub struct HealthCache(Mutex<Option<(Instant, Health)>>);

/// The handler. Who comes while dependencies are asked waits for the same answer.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    let mut last = app.health.0.lock().await;
    let health = match &*last {
        Some((at, health)) if at.elapsed() < FRESH => health.clone(),
        _ => {
            let health = ask(&app).await;
            *last = Some((Instant::now(), health.clone()));
            health
        }
    };
    drop(last);

    let status = if health.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = (status, Json(health)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn ask(app: &App) -> Health {
    let mut checks = BTreeMap::new();
    let database = async { Some(app.database.as_ref()?.ping().await) };
    // Together: each may take its whole time.
    let (database, redis) = tokio::join!(database, app.state.ping());
    if let Some(database) = database {
        checks.insert("database", verdict(database));
    }
    if let Some(redis) = redis {
        checks.insert("redis", verdict(redis));
    }
    if let Some(auth_server) = app.live.current().authenticator.health() {
        checks.insert("auth_server", verdict(auth_server));
    }
    let healthy = checks.values().all(|check| check == "ok");
    Health {
        status: if healthy { "healthy" } else { "unhealthy" },
        timestamp: format!("{:.3}", jiff::Timestamp::now()),
        checks,
    }
}

fn verdict(result: Result<(), impl std::fmt::Display>) -> String {
    result.map_or_else(|why| format!("error: {why}"), |()| "ok".to_owned())
}
