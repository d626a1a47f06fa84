//! What is read from a message, and what is refused.

use super::*;

fn read(text: &str) -> Result<Envelope, Refused> {
    parse(Bytes::copy_from_slice(text.as_bytes()))
}

fn refusal(text: &str) -> (i32, Option<String>) {
    let refused = read(text).expect_err("refused");
    (refused.code, refused.id.map(|id| id.get().to_owned()))
}

#[test]
fn a_tool_call_is_read() {
    let envelope = read(
        r#" {"jsonrpc":"2.0","id":"a\"1","method":"tools/call","params":{"name":"ad\u0064","arguments":{"name":"x"},
            "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","other":[1]}},"unknown":{"method":"no"}}"#,
    )
    .expect("read");
    assert_eq!(envelope.kind, Kind::Request);
    assert_eq!(envelope.tool(), Some("add"));
    assert_eq!(envelope.id.expect("an id").get(), r#""a\"1""#);
    assert_eq!(envelope.meta_version.as_deref(), Some("2026-07-28"));
}

#[test]
fn the_trace_context_of_meta_is_read_and_junk_is_none() {
    let of = |meta: &str| {
        let params = format!(r#"{{"name":"a","_meta":{meta}}}"#);
        read(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#))
            .expect("read")
            .traceparent
    };
    assert_eq!(of(r#"{"traceparent":"00-0af7-b7ad-01"}"#).as_deref(), Some("00-0af7-b7ad-01"));
    for meta in ["{}", r#"{"traceparent":7}"#, r#"{"TraceParent":"00-0af7-b7ad-01"}"#] {
        assert_eq!(of(meta), None, "{meta}");
    }
}

#[test]
fn notifications_and_responses_are_told_apart() {
    let notification = read(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).expect("read");
    assert_eq!((notification.kind, notification.tool()), (Kind::Notification, None));
    let response = read(r#"{"jsonrpc":"2.0","id":7,"result":null}"#).expect("read");
    assert_eq!(response.kind, Kind::Response);
    let error = read(r#"{"jsonrpc":"2.0","error":{"code":1,"message":""}}"#).expect("read");
    assert_eq!(error.kind, Kind::Response);
}

#[test]
fn params_of_any_shape_are_let_through() {
    for params in ["[1,2]", "null", r#"{"name":7,"uri":{"a":1}}"#, r#"{"_meta":{}}"#] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x/y","params":{params}}}"#);
        let envelope = read(&text).expect("read");
        assert_eq!((envelope.name, envelope.meta_version), (None, None), "{params}");
    }
    let uri = read(r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a"}}"#).expect("read");
    assert_eq!(uri.name.as_deref(), Some("file:///a"));
}

#[test]
fn what_is_not_json_is_a_parse_error() {
    for text in ["", "{", "nonsense", r#"{"jsonrpc":"2.0","id":1,"method":"a"} x"#, "[1,", "{\"a\":\"\u{1}\"}"] {
        assert_eq!(refusal(text).0, code::PARSE_ERROR, "{text}");
    }
    let bytes = Bytes::from_static(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"x\":\"\xff\"}");
    assert_eq!(parse(bytes).expect_err("refused").code, code::PARSE_ERROR);
}

#[test]
fn what_is_not_a_message_is_an_invalid_request() {
    for text in [
        "7",
        "\"text\"",
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
        "{}",
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
    ] {
        assert_eq!(refusal(text).0, code::INVALID_REQUEST, "{text}");
    }
}

#[test]
fn the_id_is_echoed_where_it_could_be_read() {
    assert_eq!(
        refusal(r#"{"jsonrpc":"1.0","id":12345678901234567890,"method":"a"}"#).1.as_deref(),
        Some("12345678901234567890")
    );
    assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":"q"}"#).1.as_deref(), Some("\"q\""));
}

#[test]
fn a_member_that_comes_twice_is_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{},"_meta":{}}}"#,
    ] {
        assert_eq!(refusal(text).0, code::INVALID_REQUEST, "{text}");
    }
}

#[test]
fn a_member_that_some_parser_takes_for_another_is_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","Method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","ID":1,"method":"ping"}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{},\"param\u{17f}\":{}}",
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","NAM\u0045":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"Uri":"b"}}"#,
    ] {
        assert_eq!(refusal(text).0, code::INVALID_REQUEST, "{text}");
    }
    let deeper =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"Name":1,"ID":2}}}"#;
    assert!(read(deeper).is_ok());
}

#[test]
fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
    let nested = |depth: usize| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    assert!(read(&nested(MAX_DEPTH - 1)).is_ok());
    assert_eq!(refusal(&nested(MAX_DEPTH)).0, code::INVALID_REQUEST);
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"x":"\"{}"}}}}"#, "[".repeat(1000));
    assert!(read(&text).is_ok());
}

#[test]
fn a_number_that_nobody_can_hold_is_refused_and_one_that_is_large_is_not() {
    let with = |text: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"x":[{text}]}}}}"#);
    let digits = "9".repeat(400);
    for number in ["1e999", "-1E+999", "0.1e400", &digits, &format!("-{digits}.5")] {
        assert_eq!(refusal(&with(number)).0, code::INVALID_REQUEST, "{number}");
        assert!(read(&with(&format!("\"{number}\""))).is_ok(), "text is text");
        let batch = Bytes::from(format!("[{}]", with(number)));
        assert_eq!(parse_batch(&batch).expect_err("refused").code, code::INVALID_REQUEST);
    }
    for number in ["1e308", "1e-999", "0e999", "12345678901234567890", &digits[..308]] {
        assert!(read(&with(number)).is_ok(), "{number}");
    }
    for junk in ["1e", "1e+", "1.e5", "1-1"] {
        assert_eq!(refusal(&with(junk)).0, code::PARSE_ERROR, "{junk}");
    }
}

#[test]
fn an_overlong_id_is_refused() {
    let text = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"a"}}"#, "x".repeat(MAX_ID_BYTES));
    assert_eq!(refusal(&text).0, code::INVALID_REQUEST);
}

proptest::proptest! {
    #[test]
    fn no_body_makes_it_panic(bytes: Vec<u8>) {
        let _ = parse(Bytes::from(bytes));
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads(id: i64, method in "[a-z/]{1,12}", name in "\\PC{0,12}") {
        let text = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": name}}).to_string();
        let envelope = read(&text).expect("read");
        proptest::prop_assert_eq!(envelope.id.map(|id| id.get().to_owned()), Some(id.to_string()));
        proptest::prop_assert_eq!(envelope.method.expect("a method"), method);
        proptest::prop_assert_eq!(envelope.name.expect("a name"), name);
    }
}
