//! Sends spans to the collector: a bounded queue, and one task that empties it. Who makes a span never waits; a collector
//! that is away costs the spans that the queue cannot hold, and `mcp_otel_spans_total` says how many.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mcp_server_config::Otel;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prometheus::{IntCounter, Registry};
use prost::Message as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::span::{Finished, attribute};
use crate::metrics::register::counters;

/// Spans that wait at most, and those of one message: the defaults of OpenTelemetry's own SDKs.
const QUEUE: usize = 2048;
const BATCH: usize = 512;
/// A span waits so long for others.
const GATHER: Duration = Duration::from_secs(5);
/// Between attempts to send the same spans.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// The way to the collector.
pub(super) struct Exporter {
    queue: mpsc::Sender<Order>,
    dropped: IntCounter,
}

enum Order {
    Span(Box<Finished>, SystemTime),
    /// Send what there is, and say when that is done.
    Flush(oneshot::Sender<()>),
}

impl Exporter {
    /// Starts the task. Call within a tokio runtime.
    pub(super) fn start(section: &Otel, server: &str, registry: &Registry) -> Result<Self, super::StartError> {
        let spans = counters(
            registry,
            "mcp_otel_spans_total",
            "Spans that were sent to the collector, that it did not take, or that found no room in the queue",
            &["result"],
        )?;
        let [exported, failed, dropped] =
            ["exported", "failed", "dropped"].map(|result| spans.with_label_values(&[result]));
        let (queue, orders) = mpsc::channel(QUEUE);
        let sender = Sender {
            client: client()?,
            url: url(section),
            headers_file: section.headers_file.clone(),
            timeout: Duration::from_secs(section.timeout.max(1).into()),
            resource: resource(section.service_name.as_deref().unwrap_or(server)),
            exported,
            failed,
            away: false,
        };
        tokio::spawn(run(orders, sender));
        Ok(Self { queue, dropped })
    }

    /// Never waits.
    pub(super) fn send(&self, finished: Finished) {
        if self.queue.try_send(Order::Span(Box::new(finished), SystemTime::now())).is_err() {
            self.dropped.inc();
        }
    }

    /// Waits until what is in the queue was tried to be sent once.
    pub(super) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        if self.queue.send(Order::Flush(sender)).await.is_ok() {
            let _ = done.await;
        }
    }
}

/// Until the exporter is dropped.
async fn run(mut orders: mpsc::Receiver<Order>, mut sender: Sender) {
    let mut batch = Vec::new();
    while let Some(order) = orders.recv().await {
        let mut waiting = take(order, &mut batch);
        let gathered = tokio::time::sleep(GATHER);
        tokio::pin!(gathered);
        while waiting.is_none() && batch.len() < BATCH {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => waiting = take(order, &mut batch),
                    None => break,
                },
                () = &mut gathered => break,
            }
        }
        sender.send(std::mem::take(&mut batch), waiting.is_some()).await;
        if let Some(waiting) = waiting {
            let _ = waiting.send(());
        }
    }
}

fn take(order: Order, batch: &mut Vec<Span>) -> Option<oneshot::Sender<()>> {
    match order {
        Order::Span(finished, at) => {
            batch.push(finished.span(at));
            None
        }
        Order::Flush(done) => Some(done),
    }
}

struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    headers_file: Option<PathBuf>,
    timeout: Duration,
    resource: Resource,
    exported: IntCounter,
    failed: IntCounter,
    /// The collector did not take the last spans, and that is in the log.
    away: bool,
}

/// Why the collector has not got the spans. The wording is fixed: no URL, no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum SendError {
    #[error("otel.headers_file cannot be read, or a line of it is no `name=value`")]
    Headers,
    #[error("the collector cannot be reached")]
    Unreachable,
    #[error("the collector did not answer in time")]
    Timeout,
    #[error("the collector answered with status {0}")]
    Status(StatusCode),
}

impl SendError {
    /// OTLP: these statuses, and no answer at all, may be better the next time.
    fn may_pass(self) -> bool {
        match self {
            Self::Headers => false,
            Self::Unreachable | Self::Timeout => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl Sender {
    async fn send(&mut self, spans: Vec<Span>, last: bool) {
        if spans.is_empty() {
            return;
        }
        let count = spans.len() as u64;
        let body = Bytes::from(self.message(spans).encode_to_vec());
        let mut outcome = self.post(body.clone()).await;
        for pause in PAUSES {
            match outcome {
                Err(problem) if problem.may_pass() && !last => {
                    tokio::time::sleep(pause).await;
                    outcome = self.post(body.clone()).await;
                }
                Ok(()) | Err(_) => break,
            }
        }
        match outcome {
            Ok(()) => {
                self.exported.inc_by(count);
                if std::mem::take(&mut self.away) {
                    info!("the collector takes spans again");
                }
            }
            Err(problem) => {
                self.failed.inc_by(count);
                if !std::mem::replace(&mut self.away, true) {
                    warn!(error = &problem as &dyn std::error::Error, "spans are lost");
                }
            }
        }
    }

    fn message(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }],
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), SendError> {
        let mut request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(Full::new(body))
            .map_err(|_| SendError::Unreachable)?;
        request.headers_mut().extend(self.headers().await?);
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(SendError::Status(response.status())),
            Ok(Err(_)) => Err(SendError::Unreachable),
            Err(_) => Err(SendError::Timeout),
        }
    }

    /// Read for each message, so that a rotated key counts.
    async fn headers(&self) -> Result<HeaderMap, SendError> {
        let Some(file) = &self.headers_file else { return Ok(HeaderMap::new()) };
        let text = tokio::fs::read_to_string(file).await.map_err(|_| SendError::Headers)?;
        text.lines().filter(|line| !line.trim().is_empty()).map(header).collect::<Option<_>>().ok_or(SendError::Headers)
    }
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once('=')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

/// OTLP/HTTP: the signal's path is appended to the endpoint.
fn url(section: &Otel) -> String {
    format!("{}/v1/traces", section.endpoint.as_str().trim_end_matches('/'))
}

fn resource(service: &str) -> Resource {
    let text = |key, value: &str| attribute(key, Value::StringValue(value.to_owned()));
    let mut attributes = vec![text("service.name", service), text("service.version", env!("CARGO_PKG_VERSION"))];
    // In a pod: its name.
    if let Ok(host) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
        attributes.push(text("service.instance.id", host.trim()));
    }
    Resource { attributes, ..Resource::default() }
}

fn client() -> Result<Client<HttpsConnector<HttpConnector>, Full<Bytes>>, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(https))
}
