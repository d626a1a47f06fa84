//! What holds for every body and every header, whatever is in them. `make fuzz` looks for one of which it does not hold.

use std::sync::LazyLock;

use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::message::{self, META_VERSION};
use super::standard_headers::{self, Mirrored, decode};
use super::{Envelope, Kind};
use crate::mcp::error::code;
use crate::mcp::revision;

/// Whatever is accepted is what another parser reads too; whatever is refused is refused in our words.
pub(crate) fn body(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    match message::parse(bytes.clone()) {
        Ok(envelope) => {
            assert_eq!(envelope.bytes, bytes, "the bytes go on as they came");
            check_read(&envelope);
        }
        Err(refused) => check_refusal(refused.response(), &[code::PARSE_ERROR, code::INVALID_REQUEST], &bytes),
    }
    if !message::is_batch(&bytes) {
        return;
    }
    match message::parse_batch(&bytes) {
        Ok(messages) => {
            assert!((1..=50).contains(&messages.len()));
            let all: Option<Vec<Value>> = serde_json::from_slice(&bytes).ok();
            assert!(all.is_none_or(|all| all.len() == messages.len()));
            messages.iter().for_each(check_read);
        }
        Err(refused) => check_refusal(refused.response(), &[code::PARSE_ERROR, code::INVALID_REQUEST], &bytes),
    }
}

/// The envelope says what the whole message says, and would say it again of the same message written anew.
fn check_read(envelope: &Envelope) {
    let message: Value = match serde_json::from_slice(&envelope.bytes) {
        Ok(message) => message,
        Err(error) => {
            // The one thing that passes and is no value: half of a surrogate pair, which programs write that cut text.
            assert!(has_surrogates(&envelope.bytes), "accepted, and no JSON value: {error}");
            return;
        }
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let (params, id) = (message.get("params"), message.get("id"));
    assert_eq!(message["jsonrpc"], "2.0");
    assert_eq!(id.cloned(), envelope.id.as_deref().map(|id| serde_json::from_str(id.get()).expect("an id")));
    assert!(id.is_none_or(|id| id.is_string() || id.is_number()), "an id is text or a number");
    assert_eq!(text(message.get("method")), envelope.method);
    let member = |name| params.and_then(|params| text(params.get(name)));
    assert_eq!(member("name").or_else(|| member("uri")), envelope.name);
    assert_eq!(params.and_then(|params| text(params.get("_meta")?.get(META_VERSION))), envelope.meta_version);
    let answers = message.get("result").or(message.get("error")).is_some();
    let kind = match (id.is_some(), envelope.method.is_some(), answers) {
        (true, true, false) => Kind::Request,
        (false, true, false) => Kind::Notification,
        (_, false, true) => Kind::Response,
        other => panic!("neither request, notification nor response: {other:?}"),
    };
    assert_eq!(kind, envelope.kind);

    // An integer that is too large for this parser would become another number.
    if id.is_some_and(Value::is_f64) {
        return;
    }
    let again = message::parse(message.to_string().into()).expect("the same message, written anew");
    let raw = |envelope: &Envelope| envelope.id.as_deref().map(RawValue::get).map(serde_json::from_str::<Value>);
    assert_eq!(raw(&again).transpose().ok(), raw(envelope).transpose().ok());
    assert_eq!(
        (again.kind, again.method, again.name, again.meta_version, again.traceparent),
        (
            envelope.kind,
            envelope.method.clone(),
            envelope.name.clone(),
            envelope.meta_version.clone(),
            envelope.traceparent.clone()
        )
    );
}

fn has_surrogates(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|four| {
        four.starts_with(br"\u")
            && four[2].eq_ignore_ascii_case(&b'd')
            && matches!(four[3].to_ascii_lowercase(), b'8' | b'9' | b'a'..=b'f')
    })
}

/// Our code, our words, and the id as it came or none.
fn check_refusal(response: Response, codes: &[i32], request: &[u8]) {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Refusal<'a> {
        jsonrpc: &'a str,
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        error: Reason,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reason {
        code: i32,
        message: String,
    }
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let body = response.into_body().collect().now_or_never().expect("whole").expect("no error").to_bytes();
    let refusal: Refusal<'_> = serde_json::from_slice(&body).expect("a JSON-RPC error");
    assert_eq!(refusal.jsonrpc, "2.0");
    assert!(codes.contains(&refusal.error.code), "{}", refusal.error.code);
    let message = &refusal.error.message;
    // How serde_json says where.
    assert!(message.ends_with('.') && !message.contains(" at line "), "words of a library: {message}");
    if let Some(id) = refusal.id {
        let id = id.get().as_bytes();
        assert!(request.windows(id.len()).any(|window| window == id), "an id that nobody sent");
    }
}

/// A tool whose arguments are repeated in headers, each type once.
static MIRRORED: LazyLock<Mirrored> = LazyLock::new(|| {
    let schema = json!({"properties": {
        "text": {"type": "string", "x-mcp-header": "Text"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
    }});
    Mirrored::of(schema.as_object().expect("an object")).expect("annotated")
});

/// Where they are in the arguments, and in which headers.
const ARGUMENTS: [(&str, &str); 3] =
    [("/text", "mcp-param-text"), ("/count", "mcp-param-count"), ("/deep/flag", "mcp-param-flag")];

/// Lines `name: value`, an empty line, a message. What is accepted says the same twice; what says the same twice is
/// accepted.
pub(crate) fn headers(input: &[u8]) {
    let split = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (lines, body) = input.split_at(split);
    let headers: HeaderMap = lines.split(|byte| *byte == b'\n').filter_map(header).collect();
    for value in headers.values().filter_map(|value| value.to_str().ok()) {
        check_decoding(value);
    }
    let Ok(envelope) = message::parse(Bytes::copy_from_slice(body.get(2..).unwrap_or_default())) else { return };
    let checked = standard_headers::check_revision(&headers, &envelope)
        .and_then(|()| standard_headers::check(&headers, &envelope, Some(&MIRRORED)));
    match checked {
        Ok(()) => check_agreement(&headers, &envelope),
        Err(failure) => check_refusal(failure.of(envelope.id.as_deref()).response(), &[code::HEADER_MISMATCH], body),
    }
    if let Some(right) = written(&envelope) {
        let accepted = standard_headers::check_revision(&right, &envelope)
            .and_then(|()| standard_headers::check(&right, &envelope, Some(&MIRRORED)));
        assert!(accepted.is_ok(), "refused, and right: {right:?} {accepted:?}");
    }
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
}

/// Two texts never come from one value, and none is lost.
fn check_decoding(value: &str) {
    let encoded = value.strip_prefix("=?base64?").is_some_and(|inner| inner.ends_with("?="));
    match decode(value) {
        Some(text) if encoded => assert_eq!(encode(&text), value),
        Some(text) => assert_eq!(text, value),
        None => assert!(encoded),
    }
    assert_eq!(decode(&encode(value)).as_deref(), Some(value));
}

fn encode(text: &str) -> String {
    format!("=?base64?{}?=", BASE64_STANDARD.encode(text))
}

/// The value of the only header of that name.
fn said(headers: &HeaderMap, name: &str) -> Option<String> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().expect("ASCII");
    assert!(values.next().is_none(), "{name} is there twice");
    decode(value).map(std::borrow::Cow::into_owned)
}

fn check_agreement(headers: &HeaderMap, envelope: &Envelope) {
    if let Some(version) = &envelope.meta_version {
        assert_eq!(said(headers, revision::HEADER).as_ref(), Some(version));
    }
    assert_eq!(headers["mcp-method"].to_str().ok(), Some(envelope.method()));
    let Ok(message) = serde_json::from_slice::<Value>(&envelope.bytes) else {
        assert!(has_surrogates(&envelope.bytes), "accepted, and no JSON value");
        return;
    };
    let name = match envelope.method() {
        "tools/call" | "prompts/get" | "resources/read" => envelope.name.clone(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => {
            message.pointer("/params/taskId").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    assert!(name.is_none() || said(headers, "mcp-name") == name);
    for (pointer, header) in ARGUMENTS {
        let argument = argument(&message, pointer);
        match (argument, said(headers, header)) {
            (None, None) => {}
            (Some(Value::String(text)), Some(said)) => assert_eq!(*text, said),
            (Some(Value::Bool(value)), Some(said)) => assert_eq!(value.to_string(), said),
            (Some(Value::Number(number)), Some(said)) => {
                assert_eq!(number.as_f64(), said.parse().ok(), "{number} {said}");
            }
            (argument, said) => panic!("{pointer} is {argument:?} in the message and {said:?} in the header"),
        }
    }
}

fn argument<'a>(message: &'a Value, pointer: &str) -> Option<&'a Value> {
    message.pointer("/params/arguments")?.pointer(pointer).filter(|value| !value.is_null())
}

/// The headers that a client would send with that message, where there can be such.
fn written(envelope: &Envelope) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).ok().filter(|value| value.to_str().is_ok())?;
        headers.insert(name, value);
        Some(())
    };
    if let Some(version) = &envelope.meta_version {
        add(revision::HEADER, version)?;
    }
    add("mcp-method", envelope.method())?;
    // A message that can be read in two ways is never right.
    let _: super::unambiguous::Unambiguous = serde_json::from_slice(&envelope.bytes).ok()?;
    let message: Value = serde_json::from_slice(&envelope.bytes).ok()?;
    let task = message.pointer("/params/taskId");
    match envelope.method() {
        "tasks/get" | "tasks/update" | "tasks/cancel" => match (message.get("params"), task) {
            (Some(Value::Object(_)) | None, Some(Value::String(id))) => add("mcp-name", &encode(id))?,
            (Some(Value::Object(_) | Value::Null) | None, Some(Value::Null) | None) => {}
            _ => return None,
        },
        _ => envelope.name.as_deref().map_or(Some(()), |name| add("mcp-name", &encode(name)))?,
    }
    if !message.get("params").is_some_and(Value::is_object) {
        return None;
    }
    for (pointer, header) in ARGUMENTS {
        match argument(&message, pointer) {
            None => {}
            Some(Value::String(text)) => add(header, &encode(text))?,
            Some(scalar @ (Value::Bool(_) | Value::Number(_))) => add(header, &scalar.to_string())?,
            Some(Value::Null | Value::Array(_) | Value::Object(_)) => return None,
        }
    }
    Some(headers)
}
