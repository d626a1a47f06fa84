//! Reads the answer to one question of the handshake: JSON, or an event stream that has it somewhere.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::ask::Trouble;
use crate::mcp::session;
use crate::wire::Reply;

/// The id of every question; there is one at a time.
pub(super) const ID: &str = "mcp-server-handshake";
const MAX_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Answer {
    message: Value,
    /// The session that the backend opened with it.
    pub(super) session: Option<HeaderValue>,
}

impl Answer {
    pub(super) fn result(mut self) -> Result<Value, Trouble> {
        if self.message.get("error").is_some() {
            return Err(Trouble::Refused);
        }
        match self.message.get_mut("result") {
            Some(result) if result.is_object() => Ok(result.take()),
            _ => Err(Trouble::NotMcp),
        }
    }

    pub(super) fn error_code(&self) -> Option<i64> {
        self.message.get("error")?.get("code")?.as_i64()
    }
}

pub(super) async fn read(response: Response<Reply>) -> Result<Answer, Trouble> {
    let session = response.headers().get(session::HEADER).cloned();
    let status = response.status();
    let content_type = essence(response.headers());
    let body = response.into_body();
    let message = match content_type.as_str() {
        // Errors of the protocol come as JSON with a status of their own.
        "application/json" => read_json(body).await?,
        "text/event-stream" if status.is_success() => read_events(body).await?,
        _ if status.is_client_error() && status != http::StatusCode::NOT_FOUND => return Err(Trouble::Refused),
        _ => return Err(Trouble::NotMcp),
    };
    Ok(Answer { message, session })
}

/// The media type without parameters, in lower case.
pub(super) fn essence(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

async fn read_json(body: Reply) -> Result<Value, Trouble> {
    let mut bytes = Vec::new();
    collect(body, |chunk| {
        bytes.extend_from_slice(chunk);
        None::<()>
    })
    .await?;
    serde_json::from_slice(&bytes).map_err(|_| Trouble::NotMcp)
}

async fn read_events(body: Reply) -> Result<Value, Trouble> {
    let mut pending = Vec::new();
    let found = collect(body, |chunk| {
        pending.extend(chunk.iter().copied().filter(|byte| *byte != b'\r'));
        while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = pending.drain(..end + 2).collect();
            if let Some(message) = message_of(&event) {
                return Some(message);
            }
        }
        None
    });
    found.await?.ok_or(Trouble::NotMcp)
}

/// Feeds the body to `take` until that returns something.
async fn collect<T>(mut body: Reply, mut take: impl FnMut(&[u8]) -> Option<T>) -> Result<Option<T>, Trouble> {
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let Ok(chunk) = frame.map_err(|_| Trouble::Broken)?.into_data() else { continue };
        seen += chunk.len();
        if seen > MAX_BYTES {
            return Err(Trouble::TooLarge);
        }
        if let Some(found) = take(&chunk) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The answer, if the event is it.
fn message_of(event: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(event).ok()?;
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    let message: Value = serde_json::from_str(&data.join("\n")).ok()?;
    (message["id"] == ID).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_the_event_with_our_id() {
        assert!(message_of(b"id: 1\ndata:\n\n").is_none());
        assert!(message_of(b"data: {\"id\":7,\"result\":{}}\n\n").is_none());
        let event = format!("event: message\ndata: {{\"id\":\"{ID}\",\ndata: \"result\":{{}}}}\n\n");
        assert!(message_of(event.as_bytes()).is_some());
    }
}
