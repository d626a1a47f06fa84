//! A handler that says nothing but answers is served without a line to its client: what it learns and what its client sees
//! is the same all the same.

mod mcp_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::StatusCode;
use mcp_server::mcp::Handler;
use mcp_support::{Http, Runtime, config, eventually};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelledNotificationParam, ContentBlock, ErrorData,
    ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::{NotificationContext, RequestContext};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, json};

/// What has become of its calls.
#[derive(Clone, Default)]
struct Quiet(Arc<Seen>);

#[derive(Default)]
struct Seen {
    initialized: AtomicU32,
    cancelled: AtomicU32,
    told: AtomicU32,
}

impl ServerHandler for Quiet {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn on_initialized(&self, _context: NotificationContext<RoleServer>) {
        self.0.initialized.fetch_add(1, Ordering::SeqCst);
    }

    async fn on_cancelled(&self, _what: CancelledNotificationParam, _context: NotificationContext<RoleServer>) {
        self.0.told.fetch_add(1, Ordering::SeqCst);
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = match &*call.name {
            "client" => {
                let name = context.client_info().map(|client| client.name).unwrap_or_default();
                let version = context.protocol_version().map(|version| version.to_string()).unwrap_or_default();
                format!("{name} {version}")
            }
            "wait" => {
                context.ct.cancelled().await;
                self.0.cancelled.fetch_add(1, Ordering::SeqCst);
                "cancelled".to_owned()
            }
            "later" => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                "done".to_owned()
            }
            "report" => {
                if let Some(token) = context.meta.get_progress_token() {
                    let _ = context.peer.notify_progress(ProgressNotificationParam::new(token, 1.0)).await;
                }
                "reported".to_owned()
            }
            "panic" => panic!("as told"),
            _ => "any".to_owned(),
        };
        Ok(CallToolResult::success(vec![ContentBlock::text(text)]).into())
    }

    fn get_tool(&self, _name: &str) -> Option<Tool> {
        None
    }
}

async fn quiet() -> (Runtime, Http, Arc<Seen>) {
    let handler = Quiet::default();
    let seen = Arc::clone(&handler.0);
    let runtime = Runtime::hosting(config(), Handler::new(handler).quiet()).await.ready().await;
    let http = Http::new(&runtime.url()).caller("alice");
    (runtime, http, seen)
}

fn text(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{message}"))
}

#[tokio::test]
async fn it_knows_the_client_of_each_session_and_of_each_request() {
    let (_runtime, http, seen) = quiet().await;
    let opened = http.initialize("2025-06-18").await;
    let session = opened.header("mcp-session-id").expect("a session").to_owned();
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(http.post(&[("mcp-session-id", &session)], &initialized).await.status, StatusCode::ACCEPTED);
    eventually("the handler hears that its client is there", || seen.initialized.load(Ordering::SeqCst) == 1).await;
    let newer = http.session().await;
    let of = async |session: &str| text(&http.call_in(session, "client", json!({})).await.message().await).to_owned();
    let (first, second) = (of(&session).await, of(&newer).await);
    assert!(first.ends_with(" 2025-06-18") && !first.starts_with(' '), "{first}");
    assert!(second.ends_with(" 2025-11-25"), "{second}");
    assert!(text(&http.call("client", json!({})).await).ends_with(" 2026-07-28"));
}

#[tokio::test]
async fn a_call_that_takes_its_time_is_answered_and_one_that_panics_fails_alone() {
    let (_runtime, http, _seen) = quiet().await;
    let session = http.session().await;
    assert_eq!(text(&http.call_in(&session, "later", json!({})).await.message().await), "done");
    assert_eq!(text(&http.call("later", json!({})).await), "done");
    let legacy = http.call_in(&session, "panic", json!({})).await.message().await;
    for answer in [legacy, http.call("panic", json!({})).await] {
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32603), &json!(7)), "{answer}");
    }
    assert_eq!(text(&http.call_in(&session, "any", json!({})).await.message().await), "any");
}

#[tokio::test]
async fn progress_that_was_asked_for_comes_with_the_call() {
    let (_runtime, http, _seen) = quiet().await;
    let session = http.session().await;
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "report", "arguments": {}, "_meta": {"progressToken": "p"}}});
    let mut reply = http.post(&[("mcp-session-id", &session)], &call).await;
    let first = loop {
        if let Some(data) = reply.event().await.expect("an event").data() {
            break data;
        }
    };
    assert_eq!((&first["method"], &first["params"]["progressToken"]), (&json!("notifications/progress"), &json!("p")));
    assert_eq!(text(&reply.message().await), "reported");
}

#[tokio::test]
async fn a_client_cancels_by_saying_so_in_a_session_and_by_leaving_without_one() {
    let (_runtime, http, seen) = quiet().await;
    let session = http.session().await;
    let mut reply = http.call_in(&session, "wait", json!({})).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}});
    assert_eq!(http.post(&[("mcp-session-id", &session)], &cancel).await.status, StatusCode::ACCEPTED);
    while let Some(event) = reply.event().await {
        assert!(event.data().is_none(), "there is no answer: {event:?}");
    }
    eventually("the call and its handler hear of it", || {
        seen.cancelled.load(Ordering::SeqCst) == 1 && seen.told.load(Ordering::SeqCst) == 1
    })
    .await;

    // The end of a session ends its calls.
    let other = http.session().await;
    let _reply = http.call_in(&other, "wait", json!({})).await;
    assert!(http.end(&other).await.is_success());
    eventually("the call ends with its session", || seen.cancelled.load(Ordering::SeqCst) == 2).await;
}
