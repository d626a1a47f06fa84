//! The MCP listener: which paths there are, and the layers in front of them, in order.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};
use http::StatusCode;
use mcp_server_config::Config;

use crate::audit::{self, Audit};
use crate::auth::IssuerMetrics;
use crate::database::Database;
use crate::drain::Drain;
use crate::health::{self, HealthCache};
use crate::http::authenticate::authenticate;
use crate::http::authorize::authorize;
use crate::http::begin::begin;
use crate::http::{cors, headers, host, metadata, refusal, stack};
use crate::limits::{Limiter, call_limit, client_limit, principal_limit};
use crate::logging;
use crate::management::Readiness;
use crate::mcp::envelope::{self, Bodies};
use crate::mcp::{self, Endpoint};
use crate::metrics::{Metrics, Scraped};
use crate::serve::{Tls, TlsError};
use crate::settings::{LiveState, LiveStore, Loaded, SetupError};
use crate::state::{self, State as SharedState};
use crate::telemetry::{self, Tracer};

/// Everything that requests need, made once.
pub struct App {
    /// What needs a restart.
    pub config: Config,
    /// What does not.
    pub live: LiveStore,
    /// What answers `server.path`.
    pub endpoint: Arc<Endpoint>,
    /// What outlives requests.
    pub state: Arc<SharedState>,
    /// The database, where one is configured.
    pub database: Option<Arc<Database>>,
    /// TLS of the MCP listener.
    pub tls: Option<Arc<Tls>>,
    /// The audit stream, where one is configured.
    pub audit: Option<Audit>,
    /// Records traces, where a collector is configured.
    pub tracer: Option<Tracer>,
    /// Who may call how often.
    pub limiter: Arc<Limiter>,
    /// Room for the messages of all requests.
    pub bodies: Bodies,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Where the process is on its way out.
    pub drain: Drain,
    /// The last answer of `/health`.
    pub health: HealthCache,
    /// Whether we have been ready.
    pub readiness: Readiness,
}

/// Why the runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The live configuration cannot be used.
    #[error(transparent)]
    Live(#[from] SetupError),
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] state::StateError),
    /// The database's section of the configuration is wrong.
    #[error("database.{0}")]
    Database(String),
    /// TLS cannot be served.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit stream cannot be written.
    #[error(transparent)]
    Audit(#[from] audit::StartError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Telemetry(#[from] telemetry::StartError),
    /// The endpoint cannot start.
    #[error(transparent)]
    Endpoint(#[from] mcp::StartError),
    /// A metric is registered twice.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl App {
    /// Starts everything behind the listeners. It waits for nothing outside: `/readyz` does.
    pub async fn start(loaded: Loaded) -> Result<Arc<Self>, StartError> {
        Self::start_with(loaded, None).await
    }

    /// The same with an MCP server of the program's own.
    pub async fn start_with(loaded: Loaded, handler: Option<mcp::Handler>) -> Result<Arc<Self>, StartError> {
        let Loaded { config, live, warnings: _ } = loaded;
        let metrics = Metrics::new(&config.server.name)?;
        let tls = config.tls.as_ref().map(|section| Tls::load(section, &metrics)).transpose()?;
        let live = LiveState::new(&config, live, None)?;
        let state = SharedState::open(&config).await?;
        let database = match &config.database {
            Some(section) => Some(Database::open(section).await.map_err(StartError::Database)?),
            None => None,
        };
        let audit = Audit::open(&config.audit, metrics.registry())?;
        let tracer = match &config.otel {
            Some(section) => Some(Tracer::start(section, &config.server.name, metrics.registry())?),
            None => None,
        };
        let endpoint = Endpoint::start_with(&config, Arc::clone(&state), Arc::clone(&metrics), handler).await?;
        let limiter = Limiter::new(state.redis(), &metrics)?;
        metrics.reload(true);
        let app = Arc::new(Self {
            bodies: Bodies::new(config.server.max_request_body_bytes),
            config,
            live: LiveStore::new(live),
            endpoint,
            state,
            database,
            tls,
            audit,
            tracer,
            limiter,
            metrics,
            drain: Drain::default(),
            health: HealthCache::default(),
            readiness: Readiness::default(),
        });
        let registry = app.metrics.registry();
        if let Some(redis) = app.state.redis() {
            redis.register(registry)?;
        }
        registry.register(Box::new(mcp::evicted_events()))?;
        registry.register(Box::new(IssuerMetrics::new(&app)?))?;
        registry.register(Box::new(Scraped::new(&app)?))?;
        registry.register(Box::new(logging::dropped()))?;
        Ok(app)
    }
}

impl App {
    /// Requests to that path are to be in the audit stream, or in traces.
    #[must_use]
    pub fn records(&self, path: &str) -> bool {
        let endpoint = self.config.server.path.as_str();
        (self.audit.is_some() || self.tracer.is_some())
            && path.strip_suffix('/').unwrap_or(path) == endpoint.trim_end_matches('/')
    }

    /// The last spans and audit lines leave the process. Everything that makes some has ended.
    pub async fn flush(&self) {
        if let Some(tracer) = &self.tracer {
            tracer.flush().await;
        }
        if let Some(audit) = &self.audit {
            audit.flush();
        }
    }
}

/// The MCP listener: its paths, each with its layers. `/health` has hardly any: load balancers ask by address, often, and
/// without a token.
pub fn router(app: &Arc<App>) -> Router {
    let path = app.config.server.path.as_str();
    let health = Router::new().route("/health", get(health::health));
    Router::new()
        .merge(with_and_without_slash(path, any(endpoint)))
        .merge(with_and_without_slash(metadata::PREFIX, any(document)))
        .merge(under_prefix(path))
        .fallback(nothing)
        .merge(health.layer(from_fn_with_state(Arc::clone(app), headers::of_health)))
        .with_state(Arc::clone(app))
}

/// What comes in at the endpoint's path, from the outermost layer to what answers.
async fn endpoint(State(app): State<Arc<App>>, request: Request) -> Response {
    let app = &app;
    stack!(request =>
        begin(app),
        headers::security,
        cors::cors,
        host::host,
        host::origin,
        client_limit(app),
        authenticate(app),
        principal_limit(app),
        envelope::layer(&app.bodies),
        call_limit(app),
        authorize,
        answer(app),
    )
    .await
}

/// Everybody may read these, from any page.
async fn document(State(app): State<Arc<App>>, request: Request) -> Response {
    let app = &app;
    stack!(request =>
        begin(app),
        headers::security,
        cors::public,
        host::host,
        client_limit(app),
        metadata::metadata,
    )
    .await
}

/// Any other path.
async fn nothing(State(app): State<Arc<App>>, request: Request) -> Response {
    stack!(request => begin(&app), headers::security, not_found).await
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response {
    app.endpoint.handle(request).await
}

async fn not_found(_: Request) -> Response {
    refusal(StatusCode::NOT_FOUND, "There is nothing at this path")
}

/// RFC 9728 §3.1: the well-known prefix stands before the path of the resource.
fn under_prefix(path: &str) -> Router<Arc<App>> {
    if path == "/" {
        return Router::new();
    }
    with_and_without_slash(&format!("{}{path}", metadata::PREFIX), any(document))
}

/// No redirect from one to the other: clients lose their token on the way, or their TLS.
fn with_and_without_slash(path: &str, handler: MethodRouter<Arc<App>>) -> Router<Arc<App>> {
    let router = Router::new().route(path, handler.clone());
    if path.ends_with('/') { router } else { router.route(&format!("{path}/"), handler) }
}
