//! The definition on a real API server: it is accepted (its rules are within the cost budget), defaults are filled in,
//! and every case of crds/tests/rules.yaml is accepted or refused with the message that the table says.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the report")]

use std::path::{Path, PathBuf};

use e2e::clusters::ApiLevel;
use e2e::clusters::api_level::Controllers;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    accepted: Vec<Case>,
    refused: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(default = "a_name")]
    name: String,
    spec: Value,
    message: Option<String>,
    #[serde(rename = "by")]
    _by: Option<String>,
}

fn a_name() -> String {
    "demo".to_owned()
}

/// One API server for the whole file: starting one takes longer than all of its cases.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_agrees_with_the_definition() {
    let cluster = ApiLevel::start_with(Controllers::None).unwrap();
    let definition = repository("crds/mcpservers.yaml");
    // The way a person does it, who has no Helm: the annotation that this writes must have room for the definition.
    cluster.kubectl(&["apply", "-f", definition.to_str().unwrap()]).unwrap();
    established(&cluster).await;
    let servers = servers(&cluster).await;

    accepts_and_refuses(&servers).await;
    fills_in_defaults(&servers).await;
    accepts_every_example(&cluster);
    explains_itself(&cluster);
}

/// `kubectl wait` fails at once where a definition is so new that it has no conditions yet.
async fn established(cluster: &ApiLevel) {
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd/mcpservers.mcp-operator.dev"];
    for _ in 0..50 {
        if cluster.kubectl(&wait).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    cluster.kubectl(&wait).unwrap();
}

async fn accepts_and_refuses(servers: &Api<DynamicObject>) {
    let table = table();
    for case in &table.accepted {
        if let Err(error) = create(servers, case).await {
            panic!("{}: refused: {error}", case.case);
        }
    }
    for case in &table.refused {
        let message = case.message.as_deref().unwrap();
        match create(servers, case).await {
            Ok(_) => panic!("{}: accepted", case.case),
            Err(kube::Error::Api(status)) => {
                assert!(status.message.contains(message), "{}: {}", case.case, status.message);
            }
            Err(error) => panic!("{}: {error}", case.case),
        }
    }
}

/// A dry run with strict validation, as `kubectl` does it: an unknown field is an error.
async fn create(servers: &Api<DynamicObject>, case: &Case) -> kube::Result<DynamicObject> {
    let server = server(&case.name, &case.spec);
    let strict = PostParams { dry_run: true, ..PostParams::default() };
    let mut request =
        kube::core::Request::new(servers.resource_url()).create(&strict, serde_json::to_vec(&server).unwrap()).unwrap();
    let uri = format!("{}&fieldValidation=Strict", request.uri());
    *request.uri_mut() = uri.parse().unwrap();
    servers.clone().into_client().request(request).await
}

async fn fills_in_defaults(servers: &Api<DynamicObject>) {
    let smallest = server("smallest", &json!({"backend": {"builtin": {}}}));
    let stored = servers.create(&PostParams::default(), &smallest).await.unwrap();
    let spec = &stored.data["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["runtime"]["resources"]["requests"], json!({"cpu": "250m", "memory": "256Mi"}));
    assert_eq!(spec["runtime"]["probes"]["readiness"]["periodSeconds"], 5);
    assert_eq!(spec["rateLimits"]["perClient"], json!({"requests": 100, "per": "1m"}));
    assert_eq!(spec["networkPolicy"], json!({"enabled": true}));
    // What is stored is what the operator's types make of it: nothing is lost, nothing is invented.
    let typed: mcp_crds::McpServerSpec = serde_json::from_value(spec.clone()).unwrap();
    assert_eq!(&serde_json::to_value(typed).unwrap(), spec);
}

fn accepts_every_example(cluster: &ApiLevel) {
    for example in ["quickstart.yaml", "production.yaml", "container.yaml", "mcpserver.yaml"] {
        let path = repository("examples").join(example);
        let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", path.to_str().unwrap()];
        if let Err(error) = cluster.kubectl(&arguments) {
            panic!("examples/{example}: {error}");
        }
    }
}

fn explains_itself(cluster: &ApiLevel) {
    let text = cluster.kubectl(&["explain", "mcp.spec.expose.streamTimeoutSeconds"]).unwrap();
    assert!(text.contains("The longest time in seconds that one stream or call may last"), "{text}");
}

async fn servers(cluster: &ApiLevel) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("mcp-operator.dev", "v1alpha1", "McpServer");
    let resource = ApiResource::from_gvk_with_plural(&kind, "mcpservers");
    Api::namespaced_with(cluster.client().await.unwrap(), "default", &resource)
}

fn server(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "mcp-operator.dev/v1alpha1",
        "kind": "McpServer",
        "metadata": {"name": name},
        "spec": spec,
    }))
    .unwrap()
}

fn table() -> Table {
    serde_saphyr::from_str(&std::fs::read_to_string(repository("crds/tests/rules.yaml")).unwrap()).unwrap()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
