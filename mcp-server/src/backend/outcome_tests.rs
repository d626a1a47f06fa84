//! What counts as success, however the bytes are cut.

use super::*;

fn of_json(text: &str) -> Option<bool> {
    let mut outcome = Outcome::new(false);
    outcome.feed(text.as_bytes());
    outcome.finish()
}

fn of_events(text: &str) -> Option<bool> {
    let mut outcome = Outcome::new(true);
    outcome.feed(text.as_bytes());
    outcome.finish()
}

#[test]
fn a_result_is_a_success_and_an_error_is_not() {
    assert_eq!(of_json(r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#), Some(true));
    assert_eq!(of_json(r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"result"}}"#), Some(false));
    assert_eq!(of_json(r#"{"result":{"content":[],"isError": true},"id":1}"#), Some(false));
    assert_eq!(of_json(r#"{"result":{"isError":false,"content":[]},"id":1}"#), Some(true));
    assert_eq!(of_json("{}"), None);
    assert_eq!(of_json("garbage"), None);
}

#[test]
fn look_alikes_deeper_down_or_in_strings_do_not_count() {
    for text in [
        r#"{"result":{"structuredContent":{"isError":true,"error":{}},"content":[{"isError":true}]}}"#,
        r#"{"result":{"content":[{"text":"\"isError\":true,\"error\":1"}]}}"#,
        r#"{"result":{"x":"isError","y":true}}"#,
        r#"{"id":"error","result":{"isError":"true"}}"#,
        r#"{"params":{"isError":true},"result":{}}"#,
    ] {
        assert_eq!(of_json(text), Some(true), "{text}");
    }
}

#[test]
fn the_response_is_found_among_the_events() {
    let progress = "id: 1\nevent: message\ndata: {\"method\":\"notifications/progress\",\"params\":{\"error\":1}}\n\n";
    assert_eq!(of_events(progress), None);
    assert_eq!(of_events(&format!(": ping\n\n{progress}data: {{\"id\":1,\"result\":{{}}}}\n\n")), Some(true));
    assert_eq!(of_events(&format!("{progress}data:{{\"id\":1,\r\ndata: \"error\":{{}}}}\r\n\r\n")), Some(false));
    assert_eq!(of_events("retry: 3000\ndata:\n\ndata: {\"result\":{\"isError\":true}}\r\r"), Some(false));
}

#[test]
fn ids_of_events_are_noticed() {
    for (text, has_ids) in [
        ("id: 1\ndata: {}\n\n", true),
        ("data: {\"id\":1}\n\n", false),
        ("data: {}\r\nid:x\r\n\r\n", true),
        ("idle: 1\n", false),
        ("i\nd:\n", false),
    ] {
        for cut in 0..text.len() {
            let mut outcome = Outcome::new(true);
            outcome.feed(&text.as_bytes()[..cut]);
            outcome.feed(&text.as_bytes()[cut..]);
            assert_eq!(outcome.has_event_ids(), has_ids, "{text:?} cut at {cut}");
        }
    }
}

#[test]
fn the_outcome_is_known_with_the_event_and_not_only_at_the_end() {
    let mut outcome = Outcome::new(true);
    assert_eq!(outcome.feed(b"data: {\"result\":{}}\n"), None);
    assert_eq!(outcome.feed(b"\n"), Some(true));
}

proptest::proptest! {
    #[test]
    fn it_agrees_with_a_real_parser(
        is_error: Option<bool>,
        text in "\\PC{0,20}",
        error: bool,
        cut in 0_usize..200,
    ) {
        let mut result = serde_json::json!({"content": [{"type": "text", "text": text}], "structuredContent": {"error": text}});
        if let Some(is_error) = is_error {
            result["isError"] = is_error.into();
        }
        let mut message = serde_json::json!({"jsonrpc": "2.0", "id": text});
        if error { message["error"] = result } else { message["result"] = result }
        let bytes = message.to_string().into_bytes();
        let (first, rest) = bytes.split_at(cut.min(bytes.len()));
        let mut outcome = Outcome::new(false);
        outcome.feed(first);
        outcome.feed(rest);
        proptest::prop_assert_eq!(outcome.finish(), Some(!error && is_error != Some(true)));
    }
}
