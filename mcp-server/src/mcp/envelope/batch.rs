//! Batches, which 2025-03-26 wants received and every later revision has removed. Each message goes its way alone, through
//! limits, scopes and session, as if it had come alone; here the answers come together again.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, future};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;

use super::Envelope;
use crate::http::Next;
use crate::mcp::is_event_stream;
use crate::mcp::revision;

/// The revision that has them, which clients of that time do not name.
const REVISION: &str = "2025-03-26";
/// A single answer of a batch may be that large; what comes in events has no such limit.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Whether a batch may come with these headers.
pub(super) fn may_come(headers: &HeaderMap) -> bool {
    headers.get(revision::HEADER).is_none_or(|version| version == REVISION)
}

/// Lets each message go its way.
pub(super) async fn run(parts: Parts, messages: Vec<Envelope>, next: &impl Next) -> Response {
    let alone = messages.into_iter().map(|envelope| {
        let mut parts = parts.clone();
        let body = Body::from(envelope.bytes.clone());
        parts.extensions.insert(Arc::new(envelope));
        next.clone().run(Request::from_parts(parts, body))
    });
    join(future::join_all(alone).await).await
}

async fn join(responses: Vec<Response>) -> Response {
    // A batch of a session that is gone, or over a limit, is refused as one message is.
    let refused = responses.first().map(Response::status).filter(|status| !status.is_success());
    if refused.is_some_and(|status| responses.iter().all(|response| response.status() == status)) {
        return responses.into_iter().next().unwrap_or_default();
    }
    let (streams, whole): (Vec<_>, Vec<_>) =
        responses.into_iter().partition(|response: &Response| is_event_stream(response.headers()));
    let mut answers = Vec::new();
    for response in whole {
        let body = http_body_util::Limited::new(response.into_body(), MAX_ANSWER_BYTES);
        match body.collect().await.map(http_body_util::Collected::to_bytes) {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => answers.push(bytes),
            Err(error) => tracing::debug!(%error, "an answer of a batch broke off"),
        }
    }
    if streams.is_empty() { together(&answers) } else { events(streams, answers) }
}

/// One array. Notifications alone have no answer.
fn together(answers: &[Bytes]) -> Response {
    if answers.is_empty() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        return response;
    }
    let body = [b"[", answers.join(&b","[..]).as_slice(), b"]"].concat();
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// All events as they come, the answers that are there first.
fn events(streams: Vec<Response>, answers: Vec<Bytes>) -> Response {
    let first = answers.into_iter().map(|answer| Bytes::from([b"data: ", &answer[..], b"\n\n"].concat()));
    let streams = stream::select_all(streams.into_iter().map(|response| whole_events(response.into_body())));
    let body = stream::iter(first).chain(streams).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The events of a body, none in two pieces: those of another body come in between.
fn whole_events(body: Body) -> BoxStream<'static, Bytes> {
    let pending = BytesMut::new();
    stream::unfold((body, pending), |(mut body, mut pending)| async move {
        loop {
            if let Some(end) = end_of_event(&pending) {
                return Some((pending.split_to(end).freeze(), (body, pending)));
            }
            match body.frame().await {
                Some(Ok(frame)) => pending.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
                Some(Err(_)) | None if pending.is_empty() => return None,
                Some(Err(_)) | None => pending.extend_from_slice(b"\n\n"),
            }
        }
    })
    .boxed()
}

/// Behind the empty line that ends the first event.
fn end_of_event(bytes: &[u8]) -> Option<usize> {
    let crlf = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let lf = bytes.windows(2).position(|two| two == b"\n\n").map(|at| at + 2);
    match (lf, crlf) {
        (Some(lf), Some(crlf)) => Some(lf.min(crlf)),
        (lf, crlf) => lf.or(crlf),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(kind: &'static str, status: StatusCode, chunks: &'static [&'static str]) -> Response {
        let body = stream::iter(chunks.iter().map(|chunk| Ok::<_, Infallible>(Bytes::from_static(chunk.as_bytes()))));
        let mut response = Response::new(Body::from_stream(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    async fn text(response: Response) -> String {
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    const JSON: &str = "application/json";
    const EVENTS: &str = "text/event-stream";

    #[tokio::test]
    async fn answers_come_as_one_array_and_notifications_have_none() {
        let nothing = || response(JSON, StatusCode::ACCEPTED, &[]);
        let joined = join(vec![
            response(JSON, StatusCode::OK, &["{\"id\":", "1}"]),
            nothing(),
            response(JSON, StatusCode::TOO_MANY_REQUESTS, &["{\"id\":2}"]),
        ]);
        assert_eq!(text(joined.await).await, r#"[{"id":1},{"id":2}]"#);
        assert_eq!(join(vec![nothing(), nothing()]).await.status(), StatusCode::ACCEPTED);
    }

    #[tokio::test]
    async fn events_are_not_torn_apart() {
        let joined = join(vec![
            response(EVENTS, StatusCode::OK, &["data: a", "1\n", "\ndata: a2\n\n"]),
            response(EVENTS, StatusCode::OK, &["data: b1\r\n\r", "\ndata: b2"]),
            response(JSON, StatusCode::OK, &["{}"]),
        ])
        .await;
        assert!(is_event_stream(joined.headers()));
        let text = text(joined).await;
        for event in ["data: {}\n\n", "data: a1\n\n", "data: a2\n\n", "data: b1\r\n\r\n", "data: b2\n\n"] {
            assert!(text.contains(event), "{event:?} in {text:?}");
        }
    }

    #[tokio::test]
    async fn a_batch_that_is_refused_as_a_whole_is_refused_as_one_message_is() {
        let gone = || response(JSON, StatusCode::NOT_FOUND, &["{\"error\":{}}"]);
        assert_eq!(join(vec![gone(), gone()]).await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn only_the_revision_that_has_them() {
        let version = |version: &'static str| {
            HeaderMap::from_iter([(http::HeaderName::from_static(revision::HEADER), HeaderValue::from_static(version))])
        };
        assert!(may_come(&HeaderMap::new()) && may_come(&version("2025-03-26")));
        assert!(!may_come(&version("2025-06-18")) && !may_come(&version("2026-07-28")));
    }
}
