//! One parse of a JSON-RPC message: the members that decide, nothing else is kept. A message that two parsers could read
//! in two ways (a member twice, bytes that are not UTF-8) is refused: what we check must be what the backend does.

use std::borrow::Cow;
use std::fmt;

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Envelope;
use crate::mcp::error::{Failure, code};

/// Deeper nesting is refused; parsers behind us recurse.
const MAX_DEPTH: usize = 100;
/// Longer ids are refused: they are echoed and logged.
const MAX_ID_BYTES: usize = 1024;
/// Messages of one batch at most: each counts as a request all the same.
const MAX_BATCH: usize = 50;
pub(super) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// SEP-414: the one name in `_meta` that has no prefix.
const META_TRACE: &str = "traceparent";

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has an id and a method.
    Request,
    /// It has a method and no id.
    Notification,
    /// It has a result or an error.
    Response,
}

/// Why a body is refused.
#[derive(Debug)]
pub(super) struct Refused {
    code: i32,
    message: &'static str,
    id: Option<Box<RawValue>>,
}

impl Refused {
    fn parse() -> Self {
        Self { code: code::PARSE_ERROR, message: "The request body is not valid JSON.", id: None }
    }

    fn invalid(message: &'static str) -> Self {
        Self { code: code::INVALID_REQUEST, message, id: None }
    }

    fn of(self, id: Option<Box<RawValue>>) -> Self {
        Self { id, ..self }
    }

    pub(super) fn response(&self) -> Response {
        Failure::new(StatusCode::BAD_REQUEST, self.code, self.message).of(self.id.as_deref()).response()
    }
}

/// Reads what decides from a message.
pub(super) fn parse(bytes: Bytes) -> Result<Envelope, Refused> {
    let text = std::str::from_utf8(&bytes).map_err(|_| Refused::parse())?;
    check_shape(text.as_bytes(), MAX_DEPTH)?;
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {}
        Some(b'[') => return Err(refuse_batch(text)),
        _ => return Err(refuse_scalar(text)),
    }
    let head: Head<'_> = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Refused::invalid("The message is not a JSON-RPC message."),
        _ => Refused::parse(),
    })?;
    let id = head.id.map(check_id).transpose()?;
    if head.jsonrpc.as_deref() != Some("2.0") {
        return Err(Refused::invalid("The member jsonrpc must be \"2.0\".").of(id));
    }
    let kind = match (&id, &head.method, head.answers) {
        (Some(_), Some(_), false) => Kind::Request,
        (None, Some(_), false) => Kind::Notification,
        (_, None, true) => Kind::Response,
        _ => return Err(Refused::invalid("The message is neither a request, a notification nor a response.").of(id)),
    };
    let Params { name, uri, meta: Meta { version: meta_version, traceparent } } = head.params.unwrap_or_default();
    let (method, name) = (head.method.map(Cow::into_owned), name.or(uri));
    Ok(Envelope { kind, id, method, name, meta_version, traceparent, bytes })
}

/// The body is an array of messages, or would be one.
pub(super) fn is_batch(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'[')
}

/// Reads each message of a batch. One that is wrong refuses all: nothing of a batch has happened yet.
pub(super) fn parse_batch(bytes: &Bytes) -> Result<Vec<Envelope>, Refused> {
    check_shape(bytes, MAX_DEPTH + 1)?;
    let messages: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|_| Refused::parse())?;
    if messages.is_empty() {
        return Err(Refused::invalid("A batch must not be empty."));
    }
    if messages.len() > MAX_BATCH {
        return Err(Refused::invalid("The batch has too many messages."));
    }
    let parsed = messages.into_iter().map(|message| parse(bytes.slice_ref(message.get().as_bytes())));
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    if parsed.iter().any(|message| message.method() == "initialize") {
        return Err(Refused::invalid("The request initialize must not be part of a batch."));
    }
    Ok(parsed)
}

/// JSON-RPC batches are gone since revision 2025-06-18.
fn refuse_batch(text: &str) -> Refused {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Refused::invalid("This protocol revision has no batches: send one message a request."),
        Err(_) => Refused::parse(),
    }
}

fn refuse_scalar(text: &str) -> Refused {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => Refused::invalid("The message must be a JSON object."),
        Err(_) => Refused::parse(),
    }
}

/// MCP: an id is a string or an integer, never null.
fn check_id(id: &RawValue) -> Result<Box<RawValue>, Refused> {
    let text = id.get();
    let integer = text.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    if !(text.starts_with('"') || integer) {
        return Err(Refused::invalid("The member id must be a string or an integer."));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(Refused::invalid("The member id is too long."));
    }
    Ok(id.to_owned())
}

/// Refuses what parsers behind us would choke on or read in different ways, before any that recurses. Linear.
fn check_shape(text: &[u8], depth_at_most: usize) -> Result<(), Refused> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => at += string_length(&text[at..]),
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_at_most {
                    return Err(Refused::invalid("The message is nested too deeply."));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'0'..=b'9' => {
                let begin = at - 1;
                at = begin + number_length(&text[begin..]);
                if is_out_of_range(&text[begin..at]) {
                    return Err(Refused::invalid("The message has a number that is out of range."));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Up to and with the quote that ends the string.
fn string_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', text.get(at..).unwrap_or_default()) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

fn number_length(text: &[u8]) -> usize {
    let ends = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    text.iter().position(ends).unwrap_or(text.len())
}

/// `1e999` is JSON, but no number that anybody can hold: one parser makes it infinity, another nothing at all, and a third
/// refuses it. No program that writes JSON writes it.
fn is_out_of_range(number: &[u8]) -> bool {
    let suspicious = number.len() > f64::MAX_10_EXP as usize || memchr::memchr2(b'e', b'E', number).is_some();
    // What is no number at all is told by the parser.
    suspicious && serde_json::from_slice::<f64>(number).is_err() && serde_json::from_slice::<IgnoredAny>(number).is_ok()
}

/// The members of a message.
#[derive(Default)]
struct Head<'a> {
    jsonrpc: Option<Cow<'a, str>>,
    id: Option<&'a RawValue>,
    method: Option<Cow<'a, str>>,
    params: Option<Params>,
    /// `result` or `error` is there, also where it is `null`.
    answers: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Head<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadVisitor)
    }
}

struct HeadVisitor;

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = Head<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
        let mut head = Head::default();
        let mut members = Members::new(["jsonrpc", "id", "method", "params", "result", "error"]);
        while let Some(Key(key)) = map.next_key()? {
            match members.known(&key)? {
                Some("jsonrpc") => head.jsonrpc = map.next_value::<Option<Key<'de>>>()?.map(|Key(text)| text),
                Some("id") => head.id = Some(map.next_value()?),
                Some("method") => head.method = map.next_value::<Option<Key<'de>>>()?.map(|Key(text)| text),
                Some("params") => head.params = map.next_value()?,
                known => {
                    map.next_value::<IgnoredAny>()?;
                    head.answers |= known.is_some();
                }
            }
        }
        Ok(head)
    }
}

/// The members that count of an object. Where one comes twice, or almost, parsers differ in which they take: those of Go
/// take a name in any case.
struct Members<const N: usize> {
    names: [&'static str; N],
    seen: [bool; N],
}

impl<const N: usize> Members<N> {
    fn new(names: [&'static str; N]) -> Self {
        Self { names, seen: [false; N] }
    }

    /// The name, if it is one that counts.
    fn known<E: serde::de::Error>(&mut self, key: &str) -> Result<Option<&'static str>, E> {
        let Some(index) = self.names.iter().position(|name| key.chars().map(fold).eq(name.chars())) else {
            return Ok(None);
        };
        if self.names[index] != key {
            return Err(E::custom("a member differs in case only from one that counts"));
        }
        if std::mem::replace(&mut self.seen[index], true) {
            return Err(E::custom("a member comes twice"));
        }
        Ok(Some(self.names[index]))
    }
}

/// The lower case. Unicode has two characters beside ASCII whose case pairs them with ASCII letters.
fn fold(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// What decides within `params`. Methods that we do not know may put anything there.
#[derive(Default)]
struct Params {
    name: Option<String>,
    uri: Option<String>,
    meta: Meta,
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamsVisitor)
    }
}

struct ParamsVisitor;

impl<'de> Visitor<'de> for ParamsVisitor {
    type Value = Params;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("params")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
        let mut params = Params::default();
        let mut members = Members::new(["name", "uri", "_meta"]);
        while let Some(Key(key)) = map.next_key()? {
            match members.known(&key)? {
                Some("name") => params.name = map.next_value::<Text>()?.0,
                Some("uri") => params.uri = map.next_value::<Text>()?.0,
                Some(_) => params.meta = map.next_value()?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(params)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Params, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Params::default())
    }

    fn visit_unit<E>(self) -> Result<Params, E> {
        Ok(Params::default())
    }
}

/// A member's name, without a copy where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A string; anything else counts as none.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        match serde_json::from_str(raw.get()) {
            Ok(text) => Ok(Self(Some(text))),
            // Half of a surrogate pair is no text for us, and may be one for a backend.
            Err(_) if raw.get().starts_with('"') => Err(serde::de::Error::custom("a string that is no text")),
            Err(_) => Ok(Self(None)),
        }
    }
}

/// What decides within `_meta`.
#[derive(Default)]
struct Meta {
    version: Option<String>,
    traceparent: Option<String>,
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MetaVisitor;
        impl<'de> Visitor<'de> for MetaVisitor {
            type Value = Meta;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meta, A::Error> {
                let mut meta = Meta::default();
                let mut seen = false;
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        META_VERSION if std::mem::replace(&mut seen, true) => {
                            return Err(serde::de::Error::custom("a member comes twice"));
                        }
                        META_VERSION => meta.version = map.next_value::<Text>()?.0,
                        META_TRACE => meta.traceparent = map.next_value::<Text>()?.0,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(meta)
            }
        }
        deserializer.deserialize_map(MetaVisitor)
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
