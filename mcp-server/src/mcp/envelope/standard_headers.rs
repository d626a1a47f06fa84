//! The headers in which a request of 2026-07-28 repeats what its body says (SEP-2243), for whatever stands in between. They
//! must say the same: who routes or counts by the headers must not be led astray by the body.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Envelope;
use super::unambiguous::Unambiguous;
use crate::mcp::error::{Failure, code};
use crate::mcp::revision;

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAMETER: &str = "mcp-param-";
/// In a tool's schema: the property is repeated in the header `Mcp-Param-` and this.
const ANNOTATION: &str = "x-mcp-header";

/// The arguments of a tool that are repeated in headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mirrored(Vec<(Vec<String>, HeaderName)>);

impl Mirrored {
    /// Those of a tool's input schema; `None` where there are none. What is annotated beside the rules is no annotation.
    pub(crate) fn of(schema: &Map<String, Value>) -> Option<Self> {
        let mut found = Vec::new();
        collect(schema, &mut Vec::new(), &mut found);
        (!found.is_empty()).then_some(Self(found))
    }
}

fn collect(schema: &Map<String, Value>, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, HeaderName)>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let Some(property) = property.as_object() else { continue };
        path.push(name.clone());
        let header = property.get(ANNOTATION).and_then(Value::as_str).filter(|header| !header.is_empty());
        if let Some(header) = header.and_then(|header| format!("{PARAMETER}{header}").parse().ok()) {
            found.push((path.clone(), header));
        }
        // The depth of a schema that serde_json has read is bounded.
        collect(property, path, found);
        path.pop();
    }
}

/// Header and body name the same protocol revision, where the body names one. That holds in every revision: what decides
/// between them must not be said in two ways.
pub(crate) fn check_revision(headers: &HeaderMap, envelope: &Envelope) -> Result<(), Failure<'static>> {
    let Some(in_body) = envelope.meta_version.as_deref() else { return Ok(()) };
    match only(headers, &HeaderName::from_static(revision::HEADER))? {
        Some(header) if header == in_body => Ok(()),
        Some(_) => Err(mismatch("The header MCP-Protocol-Version differs from the revision in _meta.")),
        None => Err(mismatch("The header MCP-Protocol-Version is missing.")),
    }
}

/// Method, name and arguments are what the headers say.
pub(crate) fn check(
    headers: &HeaderMap,
    envelope: &Envelope,
    mirrored: Option<&Mirrored>,
) -> Result<(), Failure<'static>> {
    match only(headers, &METHOD)? {
        Some(method) if method == envelope.method() => {}
        Some(_) => return Err(mismatch("The header Mcp-Method differs from the method of the message.")),
        None => return Err(mismatch("The header Mcp-Method is missing.")),
    }
    if let Some(name) = named(envelope)? {
        match only(headers, &NAME)?.map(decode) {
            Some(Some(header)) if header == name => {}
            Some(_) => return Err(mismatch("The header Mcp-Name differs from the name or URI of the message.")),
            None => return Err(mismatch("The header Mcp-Name is missing.")),
        }
    }
    mirrored.map_or(Ok(()), |mirrored| check_arguments(headers, envelope, mirrored))
}

/// What the header Mcp-Name repeats; for tasks that is their id (SEP-2663).
fn named(envelope: &Envelope) -> Result<Option<Cow<'_, str>>, Failure<'static>> {
    match envelope.method() {
        "tools/call" | "prompts/get" | "resources/read" => Ok(envelope.name.as_deref().map(Cow::Borrowed)),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Ok(task(envelope)?.map(Cow::Owned)),
        _ => Ok(None),
    }
}

fn task(envelope: &Envelope) -> Result<Option<String>, Failure<'static>> {
    #[derive(Deserialize)]
    struct Message {
        params: Option<Params>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        task_id: Option<String>,
    }
    // An id that is there twice, or is no text, must not pass for none: a backend may well read it.
    let message: Message = serde_json::from_slice(&envelope.bytes)
        .map_err(|_| mismatch("The header Mcp-Name cannot be compared: the message has no readable taskId."))?;
    Ok(message.params.and_then(|params| params.task_id))
}

fn check_arguments(
    headers: &HeaderMap,
    envelope: &Envelope,
    Mirrored(mirrored): &Mirrored,
) -> Result<(), Failure<'static>> {
    #[derive(Deserialize)]
    struct Message {
        params: Params,
    }
    #[derive(Deserialize)]
    struct Params {
        #[serde(default)]
        arguments: Unambiguous,
    }
    // Arguments that cannot be read here must not pass for none: a backend may well read them.
    let Message { params: Params { arguments: Unambiguous(arguments) } } = serde_json::from_slice(&envelope.bytes)
        .map_err(|_| mismatch("The headers Mcp-Param-… cannot be compared: the arguments cannot be read."))?;
    for (path, name) in mirrored {
        let argument = path.iter().try_fold(&arguments, |value, key| value.get(key)).filter(|value| !value.is_null());
        let same = match (only(headers, name)?.map(decode), argument) {
            (None, None) => true,
            (Some(Some(header)), Some(argument)) => says(&header, argument),
            _ => false,
        };
        if !same {
            return Err(mismatch("A header Mcp-Param-… differs from the argument that it repeats."));
        }
    }
    Ok(())
}

/// Numbers are compared as numbers: 42 and 42.0 are one.
fn says(header: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => header == text,
        Value::Bool(value) => header == if *value { "true" } else { "false" },
        Value::Number(number) => {
            header == number.to_string() || header.parse::<f64>().is_ok_and(|header| Some(header) == number.as_f64())
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The value of a header that there may be once: of several, everybody takes another.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure<'static>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(mismatch("A header that repeats the message is there twice."));
    }
    value.to_str().map(Some).map_err(|_| mismatch("A header that repeats the message has bytes that are not ASCII."))
}

/// `=?base64?…?=` carries what a header cannot. `None`: it is no such text.
pub(super) fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|inner| inner.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok().map(Cow::Owned)
}

fn mismatch(message: &'static str) -> Failure<'static> {
    Failure::new(StatusCode::BAD_REQUEST, code::HEADER_MISMATCH, message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::mcp::envelope::Kind;

    fn call(name: &str, arguments: &Value) -> Envelope {
        let message = json!({"params": {"name": name, "arguments": arguments}});
        Envelope {
            bytes: Bytes::from(message.to_string()),
            method: Some("tools/call".to_owned()),
            name: Some(name.to_owned()),
            ..Envelope::new(Kind::Request)
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn agrees(pairs: &[(&'static str, &str)], envelope: &Envelope, mirrored: Option<&Mirrored>) -> bool {
        check(&headers(pairs), envelope, mirrored).is_ok()
    }

    #[test]
    fn method_and_name_are_those_of_the_body_exactly() {
        let call = call("echo", &json!({}));
        assert!(agrees(&[("mcp-method", "tools/call"), ("mcp-name", "echo")], &call, None));
        for wrong in [
            &[("mcp-name", "echo")][..],
            &[("mcp-method", "tools/call")],
            &[("mcp-method", "tools/list"), ("mcp-name", "echo")],
            &[("mcp-method", "Tools/Call"), ("mcp-name", "echo")],
            &[("mcp-method", "tools/call"), ("mcp-name", "Echo")],
            &[("mcp-method", "tools/call"), ("mcp-method", "tools/call"), ("mcp-name", "echo")],
            &[("mcp-method", "tools/call"), ("mcp-name", "echo"), ("mcp-name", "other")],
        ] {
            assert!(!agrees(wrong, &call, None), "{wrong:?}");
        }
    }

    #[test]
    fn the_name_of_a_task_is_its_id() {
        let message = json!({"params": {"taskId": "t-1"}});
        let get = Envelope {
            bytes: Bytes::from(message.to_string()),
            method: Some("tasks/get".to_owned()),
            ..Envelope::new(Kind::Request)
        };
        assert!(agrees(&[("mcp-method", "tasks/get"), ("mcp-name", "t-1")], &get, None));
        assert!(!agrees(&[("mcp-method", "tasks/get"), ("mcp-name", "t-2")], &get, None));
        assert!(!agrees(&[("mcp-method", "tasks/get")], &get, None));
    }

    #[test]
    fn what_a_header_cannot_carry_comes_in_base64() {
        for (name, header) in [
            ("grüße", "=?base64?Z3LDvMOfZQ==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
        ] {
            assert!(
                agrees(&[("mcp-method", "tools/call"), ("mcp-name", header)], &call(name, &json!({})), None),
                "{name}"
            );
        }
        for header in ["=?base64?!!!?=", "=?base64?/w==?=", "=?base64?eA?=", "=?BASE64?eA==?="] {
            assert!(
                !agrees(&[("mcp-method", "tools/call"), ("mcp-name", header)], &call("x", &json!({})), None),
                "{header}"
            );
        }
    }

    #[test]
    fn annotated_arguments_are_repeated_in_headers() {
        let schema = json!({"properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "deep": {"properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
            "odd": {"x-mcp-header": "no token"}, "plain": {},
        }});
        let mirrored = Mirrored::of(schema.as_object().expect("an object")).expect("some");
        assert_eq!(mirrored.0.len(), 3);
        let base = [("mcp-method", "tools/call"), ("mcp-name", "t")];
        let check = |arguments: &Value, more: &[(&'static str, &str)]| {
            agrees(&[&base[..], more].concat(), &call("t", arguments), Some(&mirrored))
        };
        assert!(check(&json!({}), &[]));
        assert!(check(&json!({"region": null}), &[]));
        assert!(check(
            &json!({"region": "eu", "count": 42.0}),
            &[("mcp-param-region", "eu"), ("mcp-param-count", "42")]
        ));
        assert!(check(&json!({"deep": {"flag": true}}), &[("mcp-param-flag", "true")]));
        assert!(!check(&json!({"region": "eu"}), &[]));
        assert!(!check(&json!({"region": "eu"}), &[("mcp-param-region", "us")]));
        assert!(!check(&json!({}), &[("mcp-param-region", "eu")]));
        assert!(!check(&json!({"deep": {"flag": true}}), &[("mcp-param-flag", "True")]));
        assert!(Mirrored::of(json!({"properties": {"a": {}}}).as_object().expect("an object")).is_none());
    }

    /// A parser that gives up where a backend's goes on must not make us think that there is nothing to compare.
    #[test]
    fn what_cannot_be_read_without_doubt_does_not_pass_for_nothing() {
        let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
        let mirrored = Mirrored::of(schema.as_object().expect("an object")).expect("some");
        let message = |method: &str, params: &str| Envelope {
            bytes: Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)),
            method: Some(method.to_owned()),
            name: (method == "tools/call").then(|| "t".to_owned()),
            ..Envelope::new(Kind::Request)
        };
        let call = [("mcp-method", "tools/call"), ("mcp-name", "t")];
        for arguments in [r#"{"region":"eu","x":"\ud800"}"#, r#"{"region":"eu","region":null}"#] {
            let call_with = message("tools/call", &format!(r#"{{"name":"t","arguments":{arguments}}}"#));
            assert!(!agrees(&call, &call_with, Some(&mirrored)), "{arguments}");
            assert!(agrees(&call, &call_with, None), "nothing is compared");
        }
        let twice = message("tools/call", r#"{"name":"t","arguments":{},"arguments":{"region":"eu"}}"#);
        assert!(!agrees(&call, &twice, Some(&mirrored)));
        for params in [r#"{"taskId":"a","taskId":"b"}"#, r#"{"taskId":"\ud800"}"#, r#"{"taskId":7}"#] {
            assert!(!agrees(&[("mcp-method", "tasks/get")], &message("tasks/get", params), None), "{params}");
        }
        assert!(agrees(&[("mcp-method", "tasks/get")], &message("tasks/get", "{}"), None), "there is none");
    }
}
