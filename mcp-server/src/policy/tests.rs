use bytes::Bytes;
use http_body_util::BodyExt as _;
use mcp_server_config::{MethodScopes, ToolScopes};
use serde_json::{Value, json};

use super::*;
use crate::auth::Principal;
use crate::mcp::envelope::Kind;

fn caller(scopes: &[&str]) -> Caller {
    let mut scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    scopes.sort_unstable();
    Caller::Principal(Arc::new(Principal {
        issuer: "i".into(),
        subject: "s".into(),
        client_id: None,
        scopes: scopes.into(),
        expires_at: u64::MAX,
    }))
}

fn message(kind: Kind, method: &str, name: Option<&str>) -> Envelope {
    Envelope {
        bytes: Bytes::new(),
        kind,
        id: None,
        method: Some(method.to_owned()),
        name: name.map(str::to_owned),
        meta_version: None,
        traceparent: None,
    }
}

fn call(tool: &str) -> Envelope {
    message(Kind::Request, "tools/call", Some(tool))
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn policy(change: impl FnOnce(&mut Live)) -> Arc<Policy> {
    let mut live = Live { auth: Some(Auth::default()), ..Live::default() };
    change(&mut live);
    Arc::new(Policy::new(&live))
}

/// `read` for everybody with a token, `files:write` for tools that delete, `res` for resources.
fn scoped() -> Arc<Policy> {
    policy(|live| {
        live.auth = Some(Auth {
            required_scopes: strings(&["read"]),
            tool_scopes: vec![ToolScopes { tools: strings(&["delete_*"]), scopes: strings(&["files:write", "read"]) }],
            method_scopes: vec![MethodScopes { methods: strings(&["resources/*"]), scopes: strings(&["res"]) }],
            scope_hierarchy: [
                ("admin".to_owned(), strings(&["files:write", "reader"])),
                ("reader".to_owned(), strings(&["read"])),
            ]
            .into(),
            ..Auth::default()
        });
    })
}

#[test]
fn an_operation_needs_the_scopes_of_its_tool_and_its_method_beside_the_common_ones() {
    let policy = scoped();
    let check = |message: &Envelope, scopes: &[&str]| {
        policy.check(Some(message), &caller(scopes)).map_err(|refusal| format!("{refusal:?}"))
    };
    assert_eq!(check(&call("list"), &["read"]), Ok(()));
    assert_eq!(check(&call("list"), &[]), Err(r#"Scopes(["read"])"#.to_owned()));
    assert_eq!(check(&call("delete_all"), &["read", "files:write"]), Ok(()));
    assert_eq!(check(&message(Kind::Request, "resources/read", Some("file:///a")), &["read", "res"]), Ok(()));
    assert!(check(&message(Kind::Request, "resources/read", Some("delete_all")), &["read"]).is_err());
    // Another method with the same name has nothing to do with the tool.
    assert_eq!(check(&message(Kind::Request, "prompts/get", Some("delete_all")), &["read"]), Ok(()));
}

#[test]
fn one_refusal_names_all_scopes_of_the_operation_once() {
    let policy = scoped();
    for scopes in [&[][..], &["read"], &["files:write"]] {
        assert_eq!(
            policy.check(Some(&call("delete_all")), &caller(scopes)),
            Err(Refusal::Scopes(vec!["read", "files:write"]))
        );
    }
}

#[test]
fn what_is_sent_as_a_notification_needs_the_same() {
    let policy = scoped();
    let notification = message(Kind::Notification, "tools/call", Some("delete_all"));
    assert!(policy.check(Some(&notification), &caller(&["read"])).is_err());
    let nameless = message(Kind::Notification, "tools/call", None);
    let only = self::policy(|live| live.tools.allow = strings(&["echo"]));
    assert_eq!(only.check(Some(&nameless), &caller(&[])), Err(Refusal::UnknownTool));
}

#[test]
fn without_a_message_only_the_common_scopes_count() {
    assert_eq!(scoped().check(None, &caller(&["read"])), Ok(()));
    assert_eq!(scoped().check(None, &caller(&["res"])), Err(Refusal::Scopes(vec!["read"])));
}

#[test]
fn a_scope_grants_what_it_includes_directly_or_by_way_of_others() {
    let policy = scoped();
    assert_eq!(policy.check(Some(&call("delete_all")), &caller(&["admin"])), Ok(()));
    assert_eq!(policy.check(Some(&call("list")), &caller(&["reader"])), Ok(()));
    assert!(policy.check(Some(&call("delete_all")), &caller(&["reader"])).is_err());
    // Nothing is granted upwards.
    assert!(policy.check(Some(&call("list")), &caller(&["files:write"])).is_err());
}

#[test]
fn a_circle_in_the_hierarchy_ends() {
    let policy = policy(|live| {
        live.auth = Some(Auth {
            required_scopes: strings(&["a"]),
            scope_hierarchy: [("a".to_owned(), strings(&["b"])), ("b".to_owned(), strings(&["a"]))].into(),
            ..Auth::default()
        });
    });
    assert_eq!(policy.check(None, &caller(&["b"])), Ok(()));
}

#[test]
fn who_is_served_without_a_token_needs_one_for_what_has_scopes_of_its_own() {
    let policy = scoped();
    assert_eq!(policy.check(Some(&call("list")), &Caller::Anonymous), Ok(()));
    assert_eq!(policy.check(None, &Caller::Anonymous), Ok(()));
    assert_eq!(
        policy.check(Some(&call("delete_all")), &Caller::Anonymous),
        Err(Refusal::Scopes(vec!["read", "files:write"]))
    );
}

#[test]
fn a_hidden_tool_is_none_whatever_the_scopes() {
    let policy = policy(|live| {
        live.tools = Tools { allow: strings(&["read_*", "echo"]), deny: strings(&["*_secret"]) };
    });
    for (tool, there) in
        [("echo", true), ("read_file", true), ("read_secret", false), ("write", false), ("Echo", false)]
    {
        let expected = if there { Ok(()) } else { Err(Refusal::UnknownTool) };
        assert_eq!(policy.check(Some(&call(tool)), &caller(&["admin"])), expected, "{tool}");
    }
}

const LIST: &str = r#" {"jsonrpc" : "2.0","id": 1.0, "x":"\u00e9",
  "result":{ "tools": [ {"name":"read", "n": 1e400 } , {"name":"delete\u005fall"},{"no":"name"}, 7,{"name":"last","é":[ ]}], "nextCursor":"c", "cacheScope":"public" } }"#;

fn filtered(policy: &Arc<Policy>, scopes: &[&str], modern: bool, text: &str) -> Option<String> {
    let listing = policy.listing(&caller(scopes), modern)?;
    Some(listing.filtered(text).expect("readable").unwrap_or_else(|| text.to_owned()))
}

#[test]
fn tools_that_stay_stay_byte_for_byte_and_so_does_everything_around_them() {
    let expected = r#" {"jsonrpc" : "2.0","id": 1.0, "x":"\u00e9",
  "result":{ "tools": [{"name":"read", "n": 1e400 },{"name":"last","é":[ ]}], "nextCursor":"c", "cacheScope":"private" } }"#;
    assert_eq!(filtered(&scoped(), &["read"], true, LIST).as_deref(), Some(expected));
    let everything = filtered(&scoped(), &["read", "files:write"], true, LIST).expect("a listing");
    assert!(everything.contains("delete") && everything.contains("\"private\""), "{everything}");
}

#[test]
fn a_list_that_depends_on_the_caller_is_private_in_every_form_of_the_answer() {
    let list = |result: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    for (result, modern, expected) in [
        (r#"{"tools":[]}"#, true, r#"{"cacheScope":"private","tools":[]}"#),
        (r#"{"tools":[],"cacheScope":null}"#, true, r#"{"tools":[],"cacheScope":"private"}"#),
        (r#"{"cacheScope":"public","tools":[]}"#, false, r#"{"cacheScope":"private","tools":[]}"#),
        (r#"{"tools":[]}"#, false, r#"{"tools":[]}"#),
    ] {
        assert_eq!(filtered(&scoped(), &["read"], modern, &list(result)), Some(list(expected)));
    }
    let denied = policy(|live| live.tools.deny = strings(&["x"]));
    let public = list(r#"{"tools":[{"name":"x"}],"cacheScope":"public"}"#);
    assert_eq!(filtered(&denied, &[], true, &public), Some(list(r#"{"tools":[],"cacheScope":"public"}"#)));
}

#[test]
fn batches_errors_and_other_messages_are_looked_at_and_left_alone() {
    let policy = scoped();
    let batch = format!(r#"[{{"jsonrpc":"2.0","method":"n"}}, {LIST} ,3]"#);
    let result = filtered(&policy, &["read"], true, &batch).expect("a listing");
    assert!(!result.contains("delete") && result.ends_with(" ,3]"), "{result}");
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"tools"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{"tools":null}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":"tools"}"#,
        "null",
    ] {
        assert_eq!(filtered(&policy, &["read"], true, text).as_deref(), Some(text));
    }
}

#[test]
fn what_another_parser_might_read_otherwise_is_not_shown() {
    let listing = scoped().listing(&caller(&["read"]), true).expect("a listing");
    for text in [
        r#"{"result":{},"result":{"tools":[{"name":"delete_all"}]}}"#,
        r#"{"result":{"tools":[],"tools":[{"name":"delete_all"}]}}"#,
        r#"{"result":{"tools":{"0":{"name":"delete_all"}}}}"#,
        r#"{"result":{"tools":[{"name":"delete_all","x":NaN}]}}"#,
        r#"{"result":{"tools":[{"name":"delete_all"}]}} x"#,
    ] {
        assert!(listing.filtered(text).is_err(), "{text}");
    }
    // Of two names one cannot know which counts.
    let twice = r#"{"result":{"tools":[{"name":"echo","name":"delete_all"}],"cacheScope":"private"}}"#;
    assert!(!listing.filtered(twice).expect("readable").expect("a change").contains("delete"));
}

#[test]
fn where_nothing_can_be_hidden_nothing_is_looked_at() {
    assert!(policy(|_| {}).listing(&caller(&[]), true).is_none());
    let required = policy(|live| live.auth = Some(Auth { required_scopes: strings(&["a"]), ..Auth::default() }));
    assert!(required.listing(&caller(&[]), true).is_none());
}

/// What comes out of a stream that arrives in pieces of that size.
async fn events(text: &str, size: usize) -> (Vec<String>, String) {
    let pieces: Vec<Bytes> = text.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
    let body = axum::body::Body::from_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, axum::Error>)));
    let response =
        axum::response::Response::builder().header("content-type", "text/event-stream").header("content-length", "9");
    let listing = scoped().listing(&caller(&["read"]), true).expect("a listing");
    let mut response = filter(response.body(body).expect("a response"), listing, None).await;
    assert!(!response.headers().contains_key("content-length"));
    let mut frames = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        frames.push(String::from_utf8(frame.expect("a frame").into_data().expect("data").to_vec()).expect("text"));
    }
    let all = frames.concat();
    (frames, all)
}

#[tokio::test]
async fn events_pass_at_once_and_byte_for_byte_and_only_the_list_is_changed() {
    let first = ": ping\r\n\r\nid: 1\rdata:{\"jsonrpc\":\"2.0\",\"method\":\"m\"}\rretry: 3\r\r";
    let list = "event: message\nid: 7\ndata: {\"result\":\ndata:{\"tools\":[{\"name\":\"delete_all\"},{\"name\":\"a\"}],\ndata: \"cacheScope\":\"private\"}}\nretry: 5\n\n";
    let last = "id\ndata:\n\n";
    let expected = "event: message\nid: 7\ndata: {\"result\":\ndata: {\"tools\":[{\"name\":\"a\"}],\ndata: \"cacheScope\":\"private\"}}\nretry: 5\n\n";
    let text = format!("{first}{list}{last}");
    for size in [1, 2, 3, 7, 64, 10_000] {
        assert_eq!(events(&text, size).await.1, format!("{first}{expected}{last}"), "pieces of {size}");
    }
    let (frames, _) = events(&text, first.len()).await;
    assert_eq!(frames[0], first, "it does not wait for what comes behind it");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_left_out_and_one_that_is_cut_off_hides_nothing() {
    let (_, all) =
        events("data: {\"result\":{\"tools\":[{\"name\":\"delete_all\",\"x\":NaN}]}}\n\ndata: 5\n\n", 9).await;
    assert_eq!(all, "data: 5\n\n");
    let (_, all) = events("\u{feff}data: {\"result\":{\"tools\":[{\"name\":\"delete_all\"}]}}", 9).await;
    assert!(!all.contains("delete"), "{all}");
    assert!(all.contains("\"tools\":[]"), "{all}");
}

#[tokio::test]
async fn a_document_has_its_new_length_and_one_that_cannot_be_read_is_withheld() {
    let ask = async |headers: &[(&str, &str)], body: &str| {
        let mut response = axum::response::Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let listing = scoped().listing(&caller(&["read"]), true).expect("a listing");
        let response = response.body(axum::body::Body::from(body.to_owned())).expect("a response");
        let id = serde_json::value::RawValue::from_string("\"x\"".to_owned()).expect("an id");
        let (parts, body) = filter(response, listing, Some(&id)).await.into_parts();
        let length = parts.headers.get("content-length").map(|value| value.to_str().expect("digits").to_owned());
        (parts.status.as_u16(), length, body.collect().await.expect("a body").to_bytes())
    };
    let (status, length, body) = ask(&[("content-length", "999")], LIST).await;
    assert_eq!((status, length), (200, Some(body.len().to_string())));
    for (headers, body) in [(&[][..], "<html>"), (&[("content-encoding", "gzip")], LIST), (&[], "\u{0}")] {
        let (status, _, body) = ask(headers, body).await;
        assert_eq!(status, 502);
        let error: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!("x"), &json!(-32603)));
    }
    assert_eq!(ask(&[], "").await.0, 200);
}
