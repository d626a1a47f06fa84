//! docs/observability.md lists every metric, with its type and its labels.

use std::collections::BTreeMap;

use mcp_server::app;
use prometheus::proto::MetricType;
use serde_json::json;

use crate::client::call_request;
use crate::layers::{ask, start};

/// By name: type and labels, sorted.
type Metrics = BTreeMap<String, (String, Vec<String>)>;

#[tokio::test]
async fn every_metric_is_in_the_documentation_and_nothing_else() {
    let issuer = e2e_issuer::Issuer::start(e2e_issuer::Options::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "auth: {{anonymous: allow, issuer_url: '{}'}}\n\
         database: {{url: 'sqlite:{}?mode=rwc'}}\n\
         audit: {{handlers: [{{type: file, filename: {}}}]}}\n\
         otel: {{endpoint: 'http://127.0.0.1:9'}}\n",
        issuer.url(),
        directory.path().join("data").display(),
        directory.path().join("audit").display(),
    );
    let app = start(&config).await;
    let builder = http::Request::builder().method("POST").uri("/mcp").header("host", "localhost");
    let answer = ask(&app::router(&app), "127.0.0.1", call_request(builder, "echo", &json!({"text": "a"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let documented = documented();
    loop {
        let registered = registered(&app.metrics.registry().gather());
        let missing: Vec<_> = documented.keys().filter(|name| !registered.contains_key(*name)).collect();
        if missing.is_empty() {
            assert_eq!(registered, documented);
            return;
        }
        // They come with the issuer's first answer.
        assert!(missing.iter().all(|name| name.starts_with("mcp_issuer")), "never registered: {missing:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn registered(families: &[prometheus::proto::MetricFamily]) -> Metrics {
    let each = families.iter().map(|family| {
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY | MetricType::UNTYPED => "another",
        };
        let mut labels: Vec<_> =
            family.get_metric()[0].get_label().iter().map(|label| label.name().to_owned()).collect();
        labels.sort();
        (family.name().to_owned(), (kind.to_owned(), labels))
    });
    each.collect()
}

/// The table's lines: | `name` | type | `label`, `label` | meaning |
fn documented() -> Metrics {
    let page = include_str!("../../../docs/observability.md");
    let rows = page.lines().filter(|line| line.starts_with("| `mcp_") || line.starts_with("| `process_"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    };
    rows.map(row).collect()
}
