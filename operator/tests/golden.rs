//! Every child of every fixture, as YAML to review. `cargo insta review`, or `INSTA_UPDATE=always cargo test`, takes a
//! new rendering over.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod support;

use std::path::Path;

use mcp_crds::McpServer;
use mcp_operator::desired::{EnvDigest, Resolved, desired};
use serde_json::Value;
use support::fixture::{self, Fixture};

#[test]
fn every_fixture_renders_as_reviewed() {
    insta::glob!("fixtures/*.yaml", |path| {
        let (server, refs) = load(path);
        let children = desired(&server, &refs, &support::settings()).unwrap();
        let text: Vec<_> = support::objects::all(&children).iter().map(yaml).collect();
        insta::assert_snapshot!(text.join("---\n"));
    });
}

/// The fixture with the same name as the product's own example is that example: the two cannot drift apart unseen.
#[test]
fn every_example_is_accepted() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        // The folders are of the runtime alone: proxies and compose.
        if path.is_dir() {
            continue;
        }
        for document in documents(&std::fs::read_to_string(&path).unwrap()) {
            if document["kind"] == "McpServer" {
                let server = store(&document);
                desired(&server, &Resolved::default(), &support::settings())
                    .unwrap_or_else(|invalid| panic!("{}: {invalid}", path.display()));
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "there are no examples");
}

/// A fixture: the server, and what resolve would have found.
fn load(path: &Path) -> (Fixture, Resolved) {
    let text = std::fs::read_to_string(path).unwrap();
    let mut documents = documents(&text).into_iter();
    let server = store(&documents.next().unwrap());
    let refs = documents.next().map(resolved).unwrap_or_default();
    (server, refs)
}

fn documents(text: &str) -> Vec<Value> {
    let split = text.split("\n---\n").map(str::trim).filter(|document| !document.is_empty());
    split
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .filter(|document: &Value| !document.is_null())
        .collect()
}

fn store(document: &Value) -> Fixture {
    let server: McpServer = serde_json::from_value(document.clone()).unwrap();
    let read = serde_json::to_value(&server).unwrap();
    assert_contains("spec", &read["spec"], &document["spec"]);
    fixture::stored(server.metadata.name.as_ref().unwrap(), server.spec)
}

fn resolved(document: Value) -> Resolved {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Refs {
        ingress_controller: Option<String>,
        #[serde(default)]
        shared_hosts: std::collections::BTreeSet<String>,
        env_digest: Option<String>,
        #[serde(default)]
        shared_claims: std::collections::BTreeSet<String>,
        replicas: Option<i32>,
    }
    let Refs { ingress_controller, shared_hosts, env_digest, shared_claims, replicas } =
        serde_json::from_value(document).unwrap();
    let env_digest = env_digest.map(|digest| EnvDigest { digest, versions: "1a2b3c".to_owned() });
    Resolved { ingress_controller, shared_hosts, env_digest, shared_claims, replicas, ..Resolved::default() }
}

/// A misspelt field of a fixture would be dropped in silence, as the API server drops it.
fn assert_contains(path: &str, read: &Value, written: &Value) {
    match (read, written) {
        (Value::Object(read), Value::Object(written)) => {
            for (key, value) in written {
                let field = format!("{path}.{key}");
                let got = read.get(key).unwrap_or_else(|| panic!("{field} is unknown"));
                assert_contains(&field, got, value);
            }
        }
        (Value::Array(read), Value::Array(written)) => {
            assert_eq!(read.len(), written.len(), "{path}");
            for (index, (read, written)) in read.iter().zip(written).enumerate() {
                assert_contains(&format!("{path}[{index}]"), read, written);
            }
        }
        // Quantities may be numbers, and are read as text.
        (Value::String(read), Value::Number(written)) => assert_eq!(*read, written.to_string(), "{path}"),
        _ => assert_eq!(read, written, "{path}"),
    }
}

fn yaml(object: &Value) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 100_000 };
    serde_saphyr::to_string_with_options(object, options).unwrap()
}
