//! What callers may do, as a client sees it: the whole runtime on sockets beside a real issuer, in front of its own tools
//! and in front of a backend.

mod mcp_support;

use anyhow::{Context as _, Result};
use e2e_issuer::{Issuer, Options};
use http::{Method, StatusCode};
use mcp_support::served::Served;
use mcp_support::upstream::{Upstream, json_response};
use mcp_support::{Http, Reply, modern};
use serde_json::{Value, json};

/// Tokens that are for this audience are for the runtime, whatever its port.
const AUDIENCE: &str = "tests";

async fn issuer() -> Result<Issuer> {
    Issuer::start(Options::default()).await
}

/// The section `auth` with that issuer and these further lines.
fn auth(issuer: &Issuer, lines: &str) -> String {
    format!("auth:\n  issuers: [{{url: '{}', audiences: [{AUDIENCE}]}}]\n{lines}\n", issuer.url())
}

const POLICY: &str = "
  required_scopes: [user]
  tool_scopes: [{tools: ['ec*', add], scopes: ['tools:use']}]
  method_scopes: [{methods: ['resources/*'], scopes: [res]}]
  scope_hierarchy: {root: [admin], admin: ['tools:use', user]}
";

fn bearer(issuer: &Issuer, scopes: &str) -> Result<String> {
    Ok(format!("Bearer {}", issuer.token().audience(AUDIENCE).scopes(scopes).mint()?))
}

/// A request of 2026-07-28 with that token.
async fn ask(client: &Http, token: Option<&str>, method: &str, params: Value) -> Reply {
    let (headers, message) = modern(method, params);
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.extend(token.map(|token| ("authorization", token)));
    client.post(&headers, &message).await
}

fn echo() -> Value {
    json!({"name": "echo", "arguments": {"text": "hello"}})
}

fn names(list: &Value) -> Vec<&str> {
    list["result"]["tools"].as_array().into_iter().flatten().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn a_call_without_its_scopes_is_refused_with_one_challenge_for_all_of_them() -> Result<()> {
    let issuer = issuer().await?;
    let served = Served::start(&auth(&issuer, POLICY)).await;
    let client = served.client();
    for scopes in ["", "user", "tools:use", "users tools"] {
        let reply = ask(&client, Some(&bearer(&issuer, scopes)?), "tools/call", echo()).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{scopes}");
        let metadata = format!("http://{}/.well-known/oauth-protected-resource/mcp", served.mcp);
        let expected = format!(
            "Bearer error=\"insufficient_scope\", error_description=\"the token lacks a scope\", \
             resource_metadata=\"{metadata}\", scope=\"user tools:use\""
        );
        assert_eq!(reply.header("www-authenticate"), Some(expected.as_str()), "{scopes}");
        let error = reply.json().await;
        assert_eq!((&error["jsonrpc"], &error["id"]), (&json!("2.0"), &json!(7)));
        assert_eq!(error["error"]["data"]["scope"], "user tools:use");
    }
    assert_eq!((served.attempts("insufficient_scope"), served.attempts("success")), (4.0, 0.0));

    for scopes in ["user tools:use", "admin", "root other"] {
        let reply = ask(&client, Some(&bearer(&issuer, scopes)?), "tools/call", echo()).await;
        assert_eq!(reply.status, StatusCode::OK, "{scopes}");
        assert_eq!(reply.message().await["result"]["content"][0]["text"], "hello", "{scopes}");
    }
    assert_eq!((served.attempts("insufficient_scope"), served.attempts("success")), (4.0, 3.0));
    Ok(())
}

#[tokio::test]
async fn each_message_of_a_batch_needs_its_own_scopes() -> Result<()> {
    let issuer = issuer().await?;
    let served = Served::start(&auth(&issuer, POLICY)).await;
    let client = served.client();
    let token = bearer(&issuer, "user")?;
    let authorized = [("authorization", token.as_str())];
    let params =
        json!({"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let opened = client.post(&authorized, &initialize).await;
    let session = opened.header("mcp-session-id").context("a session")?.to_owned();
    let within = [authorized[0], ("mcp-session-id", session.as_str())];
    let call = |id: &str, tool: &str| {
        let arguments = json!({"text": "hello", "a": 1, "b": 2});
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}})
    };

    // One that is refused takes the others not with it, and is told as the answer to it alone.
    let mut mixed = client.post(&within, &json!([call("w", "whoami"), call("e", "echo")])).await;
    assert_eq!(mixed.status, StatusCode::OK);
    let mut answers = std::collections::BTreeMap::new();
    if mixed.is_event_stream() {
        while let Some(event) = mixed.event().await {
            let data = event.data().context("data")?;
            answers.insert(data["id"].as_str().context("an id")?.to_owned(), data);
        }
    }
    assert!(answers["w"]["result"].is_object(), "{answers:?}");
    assert_eq!(answers["e"]["error"]["data"]["scope"], "user tools:use", "{answers:?}");

    // Where all are refused, so is the request, with a challenge.
    let refused = client.post(&within, &json!([call("e", "echo"), call("a", "add")])).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let challenge = refused.header("www-authenticate").context("a challenge")?;
    assert!(challenge.ends_with("scope=\"user tools:use\""), "{challenge}");
    Ok(())
}

#[tokio::test]
async fn every_kind_of_request_needs_the_common_scopes_and_some_methods_need_more() -> Result<()> {
    let issuer = issuer().await?;
    let served = Served::start(&auth(&issuer, POLICY)).await;
    let client = served.client();
    let poor = bearer(&issuer, "other")?;
    for method in [Method::GET, Method::DELETE] {
        let headers = [("authorization", poor.as_str()), ("accept", "text/event-stream"), ("mcp-session-id", "x")];
        let reply = client.send(method.clone(), &headers, "").await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{method}");
        assert!(reply.header("www-authenticate").context("a challenge")?.ends_with("scope=\"user\""));
    }
    let user = bearer(&issuer, "user")?;
    assert_eq!(ask(&client, Some(&user), "server/discover", json!({})).await.status, StatusCode::OK);
    let reply = ask(&client, Some(&user), "resources/list", json!({})).await;
    assert!(reply.header("www-authenticate").context("a challenge")?.ends_with("scope=\"user res\""));
    assert_ne!(ask(&client, Some(&bearer(&issuer, "user res")?), "resources/list", json!({})).await.status, 403);
    // A notification is executed by some backends.
    let message = json!({"jsonrpc": "2.0", "method": "tools/call", "params": echo()});
    let headers = [("authorization", user.as_str()), ("mcp-protocol-version", "2025-11-25")];
    assert_eq!(client.post(&headers, &message).await.status, StatusCode::FORBIDDEN);
    Ok(())
}

#[tokio::test]
async fn who_needs_no_token_is_asked_for_one_where_a_tool_has_scopes() -> Result<()> {
    let issuer = issuer().await?;
    let served = Served::start(&auth(&issuer, &format!("  anonymous: allow{POLICY}"))).await;
    let client = served.client();
    let reply = ask(&client, None, "tools/call", echo()).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    let challenge = reply.header("www-authenticate").context("a challenge")?;
    assert!(challenge.starts_with("Bearer resource_metadata=") && challenge.ends_with("scope=\"user tools:use\""));
    assert_eq!(served.attempts("missing"), 1.0);

    let whoami = json!({"name": "whoami", "arguments": {}});
    assert_eq!(ask(&client, None, "tools/call", whoami).await.status, StatusCode::OK);
    assert_eq!(
        names(&ask(&client, None, "tools/list", json!({})).await.message().await),
        ["progress", "sleep", "whoami"]
    );
    assert_eq!((served.attempts("success"), served.attempts("missing")), (0.0, 1.0));
    Ok(())
}

#[tokio::test]
async fn the_metadata_lists_the_scopes_of_tools_and_methods_too() -> Result<()> {
    let issuer = issuer().await?;
    let extra = "  required_scopes: [user, offline_access]\n  tool_scopes: [{tools: ['*'], scopes: [user, call]}]\n";
    let served = Served::start(&auth(&issuer, extra)).await;
    let client = Http::new(&format!("http://{}/.well-known/oauth-protected-resource/mcp", served.mcp));
    let document = client.send(Method::GET, &[], "").await.json().await;
    assert_eq!(document["scopes_supported"], json!(["user", "call"]));
    let challenge = ask(&served.client(), None, "tools/list", json!({})).await;
    assert!(challenge.header("www-authenticate").context("a challenge")?.ends_with("scope=\"user\""));
    Ok(())
}

#[tokio::test]
async fn a_list_of_tools_shows_what_the_caller_may_call_and_is_for_nobody_else() -> Result<()> {
    let issuer = issuer().await?;
    let served = Served::start(&auth(&issuer, POLICY)).await;
    let client = served.client();
    for (scopes, shown) in
        [("user", &["progress", "sleep", "whoami"][..]), ("admin", &["add", "echo", "progress", "sleep", "whoami"])]
    {
        let reply = ask(&client, Some(&bearer(&issuer, scopes)?), "tools/list", json!({})).await;
        let length: Option<usize> = reply.header("content-length").and_then(|length| length.parse().ok());
        let text = reply.text().await;
        assert!(length.is_none_or(|length| length == text.len()), "{length:?}");
        let list: Value = serde_json::from_str(&text)?;
        let mut names = names(&list);
        names.sort_unstable();
        assert_eq!(names, shown, "{scopes}");
        assert_eq!(list["result"]["cacheScope"], "private", "{scopes}");
    }
    Ok(())
}

#[tokio::test]
async fn a_hidden_tool_is_neither_listed_nor_callable_in_either_era_and_a_reload_hides_at_once() -> Result<()> {
    let served = Served::start("tools: {allow: ['*'], deny: [echo]}").await;
    let client = served.client();
    assert_eq!(
        names(&client.ask("tools/list", json!({})).await.message().await),
        ["add", "progress", "sleep", "whoami"]
    );
    let unknown = client.call("no-such-tool", json!({})).await;
    let hidden = client.call("echo", json!({"text": "x"})).await;
    assert_eq!(hidden, unknown, "nothing tells a hidden tool from none");
    assert_eq!(hidden["error"]["code"], -32602);

    let session = client.session().await;
    let headers = [("mcp-session-id", session.as_str()), ("mcp-protocol-version", "2025-11-25")];
    let list =
        client.post(&headers, &json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"})).await.message().await;
    assert_eq!((names(&list), &list["id"]), (vec!["add", "progress", "sleep", "whoami"], &json!("l")));
    assert_eq!(list["result"].get("cacheScope"), None, "that revision has no such member");
    let reply = client.call_in(&session, "echo", json!({"text": "x"})).await;
    assert_eq!(reply.message().await["error"]["code"], -32602);

    served.reload("tools: {allow: [echo]}");
    assert_eq!(names(&client.ask("tools/list", json!({})).await.message().await), ["echo"]);
    assert_eq!(client.call("echo", json!({"text": "x"})).await["result"]["content"][0]["text"], "x");
    assert_eq!(client.call("add", json!({"a": 1, "b": 2})).await["error"]["code"], -32602);
    Ok(())
}

#[tokio::test]
async fn a_backend_s_list_is_filtered_as_json_and_as_events_and_a_hidden_tool_is_not_asked_for() -> Result<()> {
    let list = |events: bool| {
        let message = json!({"jsonrpc": "2.0", "id": 7, "result": {
            "tools": [{"name": "read", "x": 1}, {"name": "delete_all"}], "cacheScope": "public", "ttlMs": 1000,
        }});
        if !events {
            return json_response(&message);
        }
        let text =
            format!(": ping\n\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"n\"}}\n\ndata: {message}\n\n");
        http::Response::builder().header("content-type", "text/event-stream").body(text.into()).expect("a response")
    };
    for events in [false, true] {
        let upstream = Upstream::start(move |_, message| match message["method"].as_str() {
            Some("tools/list") => list(events && message["id"] == 7),
            _ => json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": []}})),
        })
        .await;
        let issuer = issuer().await?;
        let backend = format!("backend: {{container: {{url: '{}'}}}}\n", upstream.url);
        let policy = "  tool_scopes: [{tools: ['delete_*'], scopes: [w]}]\n";
        let served = Served::start(&format!("{backend}{}tools: {{deny: [secret]}}\n", auth(&issuer, policy))).await;
        let client = served.client();
        let token = bearer(&issuer, "r")?;
        let list = ask(&client, Some(&token), "tools/list", json!({})).await.message().await;
        assert_eq!(list["result"]["tools"], json!([{"name": "read", "x": 1}]));
        assert_eq!((&list["result"]["cacheScope"], &list["result"]["ttlMs"]), (&json!("private"), &json!(1000)));

        let secret = json!({"name": "secret", "arguments": {}});
        let error = ask(&client, Some(&token), "tools/call", secret).await.message().await;
        assert_eq!(error["error"]["code"], -32602);
        let delete = json!({"name": "delete_all", "arguments": {}});
        assert_eq!(ask(&client, Some(&token), "tools/call", delete).await.status, StatusCode::FORBIDDEN);
        assert!(upstream.seen.lock().expect("no panic").iter().all(|(method, _)| method != "tools/call"));
        let read = json!({"name": "read", "arguments": {}});
        assert_eq!(ask(&client, Some(&token), "tools/call", read).await.status, StatusCode::OK);
        for name in ["authorization", "cookie", "proxy-authorization"] {
            assert!(!upstream.headers_of("tools/call").contains_key(name), "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_credential_of_the_caller_reaches_the_handler_behind_the_layers() -> Result<()> {
    let issuer = issuer().await?;
    let upstream =
        Upstream::start(|_, message| json_response(&json!({"jsonrpc": "2.0", "id": message["id"], "result": {}})))
            .await;
    let served =
        Served::start(&format!("backend: {{container: {{url: '{}'}}}}\n{}", upstream.url, auth(&issuer, ""))).await;
    let (headers, message) = modern("tools/call", json!({"name": "x"}));
    let token = bearer(&issuer, "")?;
    let mut all: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.extend([
        ("authorization", token.as_str()),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("cookie", "sid=secret"),
    ]);
    assert_eq!(served.client().post(&all, &message).await.status, StatusCode::OK);
    let seen = upstream.seen.lock().expect("no panic").clone();
    let secrets = [token.trim_start_matches("Bearer "), "c2VjcmV0", "secret"];
    for (method, headers) in seen {
        for (name, value) in &headers {
            let value = value.to_str().unwrap_or_default();
            assert!(!secrets.iter().any(|secret| value.contains(secret)), "{method} {name}: {value}");
        }
    }
    Ok(())
}
