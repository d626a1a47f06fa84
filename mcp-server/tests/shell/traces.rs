//! Traces, with a collector that decodes what it gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use http::{HeaderMap, StatusCode};
use mcp_server::metrics::KnownMethod;
use mcp_server::telemetry::{Finished, Tracer};
use mcp_server_config::Otel;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustix::process::Signal;
use serde_json::json;
use tokio::net::TcpListener;

use crate::client::{call, call_request, get, request, send};
use crate::process::{PORTS, Runtime};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// OTLP over HTTP, as far as spans go.
#[derive(Clone)]
struct Collector {
    address: SocketAddr,
    /// With the service and the headers they came with.
    spans: Arc<Mutex<Vec<(String, Span, HeaderMap)>>>,
    answer: Arc<AtomicU16>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            spans: Arc::default(),
            answer: Arc::new(AtomicU16::new(200)),
        };
        let collector = this.clone();
        let router = Router::new().fallback(move |request: Request| {
            let collector = collector.clone();
            async move { collector.take(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        this
    }

    async fn take(&self, request: Request) -> StatusCode {
        let (parts, body) = request.into_parts();
        assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/v1/traces"));
        assert_eq!(parts.headers["content-type"], "application/x-protobuf");
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let message = ExportTraceServiceRequest::decode(bytes).unwrap();
        for resource in message.resource_spans {
            let service = text(&resource.resource.unwrap().attributes, "service.name").unwrap();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().unwrap().extend(spans.map(|span| (service.clone(), span, parts.headers.clone())));
        }
        StatusCode::from_u16(self.answer.load(Ordering::Relaxed)).unwrap()
    }

    /// The configuration that sends to it.
    fn config(&self, more: &str) -> String {
        format!("{PORTS}otel: {{endpoint: 'http://{}'{more}}}\n", self.address)
    }

    fn of(&self, service: &str) -> Vec<Span> {
        let spans = self.spans.lock().unwrap();
        spans.iter().filter(|(of, ..)| of == service).map(|(_, span, _)| span.clone()).collect()
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Ends it, which sends what waits.
async fn end(mut runtime: Runtime) {
    runtime.signal(Signal::TERM);
    assert!(runtime.ended().await.success());
}

#[tokio::test]
async fn a_request_is_a_span_of_the_senders_trace_and_the_backends_parent() {
    let collector = Collector::start().await;
    let backend = Runtime::start(&format!("{}server: {{port: 0, name: backend}}\n", collector.config("")).replacen(
        "server: {port: 0}\n",
        "",
        1,
    ))
    .await;
    let front = format!(
        "{}backend: {{container: {{url: 'http://{}/mcp'}}}}\n",
        collector.config(", service_name: front"),
        backend.mcp
    );
    let front = Runtime::start(&front).await;
    front.until_ready().await;
    let builder = request("POST", front.mcp, "/mcp").header("traceparent", SAMPLED);
    let answer = send(call_request(builder, "echo", &json!({"text": "argument-secret"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    end(front).await;
    end(backend).await;

    let spans = collector.of("front");
    assert_eq!(spans.len(), 1, "{spans:?}");
    let span = &spans[0];
    assert_eq!((hex(&span.trace_id).as_str(), hex(&span.parent_span_id).as_str()), (TRACE, "b7ad6b7169203331"));
    assert_eq!((span.name.as_str(), span.kind), ("tools/call echo", 2));
    assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
    for (key, expected) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("mcp.protocol.version", "2026-07-28"),
        ("http.request.method", "POST"),
        ("network.transport", "tcp"),
    ] {
        assert_eq!(text(&span.attributes, key).as_deref(), Some(expected), "{key}");
    }
    assert_eq!(value(&span.attributes, "http.response.status_code"), Some(Value::IntValue(200)));
    assert_eq!((value(&span.attributes, "error.type"), &span.status), (None, &None));
    assert!(!format!("{spans:?}").contains("secret"));

    let behind = collector.of("backend").into_iter().find(|span| span.name == "tools/call echo").unwrap();
    assert_eq!((behind.trace_id, behind.parent_span_id), (span.trace_id.clone(), span.span_id.clone()));
}

#[tokio::test]
async fn failures_are_errors_and_unknown_tools_have_no_name() {
    let collector = Collector::start().await;
    let runtime = Runtime::start(&collector.config("")).await;
    call(runtime.mcp, "no_such_tool", json!({})).await;
    let builder = request("POST", runtime.mcp, "/mcp").header("origin", "https://evil.example.com");
    send(call_request(builder, "echo", &json!({}))).await;
    get(runtime.mcp, "/nothing").await;
    end(runtime).await;

    let spans = collector.of("mcp-server");
    assert_eq!(spans.len(), 2, "only requests to the endpoint: {spans:?}");
    assert_eq!(spans[0].name, "tools/call");
    assert!(!format!("{spans:?}").contains("no_such_tool"));
    assert_eq!(text(&spans[1].attributes, "error.type").as_deref(), Some("origin"));
    assert!(spans.iter().all(|span| span.status.as_ref().is_some_and(|status| status.code == 2)), "{spans:?}");
    assert!(spans.iter().all(|span| span.parent_span_id.is_empty() && span.trace_id.len() == 16), "{spans:?}");
}

#[tokio::test]
async fn who_sends_a_trace_has_decided_whether_it_is_recorded() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let headers = directory.path().join("headers");
    std::fs::write(&headers, "x-api-key=hunter2\n").unwrap();
    let config = collector.config(&format!(", sample_ratio: 0, headers_file: {}", headers.display()));
    let mut runtime = Runtime::start(&config).await;
    for context in [None, Some(SAMPLED.replace("-01", "-00")), Some(SAMPLED.to_owned())] {
        let builder = request("POST", runtime.mcp, "/mcp");
        let builder = context.iter().fold(builder, |builder, context| builder.header("traceparent", context));
        send(call_request(builder, "echo", &json!({"text": "a"}))).await;
    }
    runtime.line("request").await;
    assert!(!runtime.lines().iter().any(|line| line.to_string().contains("hunter2")));
    end(runtime).await;
    let spans = collector.spans.lock().unwrap().clone();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!((hex(&spans[0].1.trace_id).as_str(), &spans[0].2["x-api-key"]), (TRACE, &"hunter2".parse().unwrap()));
}

#[tokio::test]
async fn a_collector_that_refuses_is_told_and_counted() {
    let collector = Collector::start().await;
    collector.answer.store(400, Ordering::Relaxed);
    let mut runtime = Runtime::start(&collector.config("")).await;
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);
    let line = runtime.line("spans are lost").await;
    assert_eq!(line["exception"], "the collector answered with status 400 Bad Request");
    let failed = |answer: &crate::client::Answer| answer.body.contains("mcp_otel_spans_total{result=\"failed\"} 1");
    runtime.until(runtime.management, "/metrics", failed).await;
}

/// Nobody accepts there: a connection waits in the kernel's queue, and an answer never comes.
#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let registry = prometheus::Registry::new();
    let tracer = Tracer::start(&Otel::new(endpoint.parse().unwrap()), "test", &registry).unwrap();
    for _ in 0..5000 {
        tracer.end(Finished {
            trace: tracer.begin(None),
            duration: std::time::Duration::ZERO,
            http_method: "POST",
            status: 200,
            method: Some(KnownMethod::of("tools/call")),
            tool: None,
            version: None,
            denied: None,
            succeeded: Some(true),
        });
    }
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let dropped = text.lines().find_map(|line| line.strip_prefix("mcp_otel_spans_total{result=\"dropped\"} ")).unwrap();
    // The queue has 2048 places; nobody else runs on this thread.
    assert_eq!(dropped, "2952");
}
