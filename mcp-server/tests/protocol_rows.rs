//! Rows of docs/protocol.md that no other test shows, from outside; and the page itself.

mod mcp_support;

use std::collections::BTreeSet;
use std::path::Path;

use http::{Method, StatusCode};
use mcp_support::{Http, Runtime, config, modern};
use serde_json::json;

async fn served() -> (Runtime, Http) {
    let runtime = Runtime::start(config()).await;
    let http = Http::new(&runtime.url());
    (runtime, http)
}

#[tokio::test]
async fn without_sessions_there_is_only_post() {
    let (_runtime, http) = served().await;
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("accept", "text/event-stream")];
        let reply = http.send(method.clone(), &headers, "").await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert!(reply.header("allow").is_some_and(|allowed| allowed.contains("POST")), "{method}");
    }
}

#[tokio::test]
async fn notifications_are_accepted_without_a_body() {
    let (_runtime, http) = served().await;
    let session = http.session().await;
    let message = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99}});
    for headers in [&[("mcp-session-id", session.as_str())][..], &[("mcp-protocol-version", "2026-07-28")]] {
        let reply = http.post(headers, &message).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        assert!(reply.bytes().await.is_empty());
    }
}

#[tokio::test]
async fn session_ids_are_visible_ascii_and_no_two_are_alike() {
    let (_runtime, http) = served().await;
    let mut ids = BTreeSet::new();
    for _ in 0..50 {
        let id = http.session().await;
        assert!(id.bytes().all(|byte| (0x21..=0x7e).contains(&byte)), "{id:?}");
        // 128 bits are 22 characters of base64.
        assert!(id.len() >= 22, "{id:?} can be guessed");
        assert!(ids.insert(id));
    }
}

#[tokio::test]
async fn a_session_header_means_nothing_without_sessions() {
    let (_runtime, http) = served().await;
    let (mut headers, message) = modern("tools/list", json!({}));
    headers.push(("mcp-session-id", "of-nobody".to_owned()));
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let reply = http.post(&headers, &message).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.header("mcp-session-id").is_none());
}

#[tokio::test]
async fn a_revision_that_nobody_speaks_is_refused_with_those_that_are_spoken() {
    let (_runtime, http) = served().await;
    let session = http.session().await;
    let message = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
    for named in ["2099-01-01", "1.0", "latest"] {
        let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", named)];
        let reply = http.post(&headers, &message).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{named}");
        let error = reply.json().await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(3), &json!(-32022)), "{named}");
        assert!(
            error["error"]["data"]["supported"].as_array().is_some_and(|known| known.contains(&json!("2025-11-25")))
        );
    }
}

#[tokio::test]
async fn a_request_of_a_session_needs_no_revision() {
    let (_runtime, http) = served().await;
    let session = http.session().await;
    let message = json!({"jsonrpc": "2.0", "id": 3, "method": "tools/list"});
    let listed = http.post(&[("mcp-session-id", &session)], &message).await.message().await;
    assert!(listed["result"]["tools"].is_array(), "{listed}");
}

#[tokio::test]
async fn an_unknown_method_is_an_error_in_a_session_and_404_without() {
    let (_runtime, http) = served().await;
    let session = http.session().await;
    let message = json!({"jsonrpc": "2.0", "id": 3, "method": "no/such"});
    let within = http.post(&[("mcp-session-id", &session)], &message).await;
    assert_eq!(within.status, StatusCode::OK);
    assert_eq!(within.message().await["error"]["code"], -32601);
    let alone = http.ask("no/such", json!({})).await;
    assert_eq!(alone.status, StatusCode::NOT_FOUND);
    assert_eq!(alone.json().await["error"]["code"], -32601);
}

#[tokio::test]
async fn methods_that_are_no_more_are_unknown_whatever_their_parameters() {
    let (_runtime, http) = served().await;
    let params = [
        ("initialize", json!({"protocolVersion": "2026-07-28", "capabilities": {}, "clientInfo": {}})),
        ("ping", json!({})),
        ("logging/setLevel", json!({"level": "info"})),
        ("resources/subscribe", json!({"uri": "test://a"})),
        ("resources/unsubscribe", json!({"uri": "test://a"})),
        ("tasks/list", json!({})),
        ("tasks/result", json!({"taskId": "t"})),
    ];
    for (method, params) in params {
        for params in [params, json!({})] {
            let reply = http.ask(method, params).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method}");
            let error = reply.json().await;
            assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32601)), "{method}");
        }
    }
}

#[tokio::test]
async fn a_request_that_stands_alone_must_tell_revision_and_capabilities() {
    let (_runtime, http) = served().await;
    for missing in ["protocolVersion", "clientCapabilities"] {
        let (headers, mut message) = modern("tools/list", json!({}));
        let meta = message["params"]["_meta"].as_object_mut().unwrap();
        meta.remove(&format!("io.modelcontextprotocol/{missing}"));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let reply = http.post(&headers, &message).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{missing}");
        let error = reply.json().await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(7), &json!(-32602)), "{missing}");
    }
    let (headers, message) = modern("server/discover", json!({}));
    assert!(message["params"]["_meta"].get("io.modelcontextprotocol/clientInfo").is_none());
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(http.post(&headers, &message).await.status, StatusCode::OK, "who it is, a client need not say");
}

#[tokio::test]
async fn what_is_listed_is_the_same_for_everybody_and_in_the_same_order() {
    let (_runtime, http) = served().await;
    let first = http.ask("tools/list", json!({})).await.message().await["result"]["tools"].take();
    for caller in ["alice", "bob"] {
        let other = http.clone().caller(caller).ask("tools/list", json!({})).await.message().await;
        assert_eq!(other["result"]["tools"], first);
    }
}

/// Rows that another party has to keep; the page says which.
const NOT_OURS: [&str; 1] = ["A13"];

/// Each row of the page: its id, and the names of its tests.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [id, _, _, _, tests] = cells[..] else { return None };
        let (kind, number) = id.split_at_checked(1)?;
        if !matches!(kind, "T" | "A" | "R") || number.parse::<u8>().is_err() {
            return None;
        }
        let names = tests.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        Some((id.to_owned(), names))
    };
    page.lines().filter_map(row).collect()
}

/// The names of all functions below a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("text");
            let name = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
            found.extend(text.split("fn ").skip(1).filter_map(name));
        }
    }
}

#[test]
fn the_page_has_every_row_and_every_test_that_it_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let page = std::fs::read_to_string(root.join("docs/protocol.md")).unwrap();
    let rows = rows(&page);
    let ids: Vec<&str> = rows.iter().map(|(id, _)| id.as_str()).collect();
    let wanted = [('T', 29), ('A', 13), ('R', 17)];
    let wanted: Vec<String> =
        wanted.iter().flat_map(|(kind, last)| (1..=*last).map(move |n| format!("{kind}{n}"))).collect();
    assert_eq!(ids, wanted, "the rows of docs/protocol.md");

    let mut known = BTreeSet::new();
    functions(&root.join("mcp-server"), &mut known);
    for (id, tests) in rows {
        assert!(!tests.is_empty() || NOT_OURS.contains(&&*id), "docs/protocol.md, {id}: no test shows it");
        for test in tests {
            assert!(known.contains(&test), "docs/protocol.md, {id}: there is no test {test}");
        }
    }
}

#[test]
fn a_row_without_tests_and_a_name_without_a_test_are_found() {
    let page = "| T1 | one | all | we do | `a_test` and `another` |\n| # | head | | | |\n| A2 | two | 26 | ours | |";
    let found = rows(page);
    assert_eq!(found[0], ("T1".to_owned(), vec!["a_test".to_owned(), "another".to_owned()]));
    assert_eq!(found[1], ("A2".to_owned(), Vec::new()));
}
