//! A client comes again for a stream that broke off. It is looked for within its session only, first here, then in redis:
//! there are the events of calls that run, or ran, at other replicas.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::StatusCode;
use rmcp::ServerHandler;

use super::Hosted;
use super::body::{self};
use super::events::{EventLog, Recorded};
use super::legacy::{Events, Held};
use super::session::BESIDE;
use super::stream::Replaced;
use crate::mcp::body::held;
use crate::mcp::error::{Failure, code};
use crate::mcp::session::Refusal;

/// How often a call at another replica is asked after.
const TAIL: Duration = Duration::from_millis(200);
const SIGN_OF_LIFE: Bytes = Bytes::from_static(b": \n\n");
/// Rounds without an event until a sign of life.
const SILENT_ROUNDS: u32 = 75;

impl<S: ServerHandler> Hosted<S> {
    pub(super) async fn resume(&self, entry: &Held<S>, last: &str) -> Result<Response, Refusal> {
        // What is no id of ours, such as the "0" of other servers, says nothing about what the client has seen.
        let Some((name, number)) = parse(last) else { return Ok(self.beside(entry, Vec::new()).await) };
        if let Some(stream) = entry.content.kept(name) {
            let beside = name.ends_with(BESIDE);
            let replaced = if beside { Replaced::Stays } else { Replaced::Ends };
            let Some(reader) = stream.read_from(number + 1, replaced) else { return Ok(unknown_event()) };
            let first = VecDeque::new();
            let events = body::of(Events { first, reader, _held: entry.streaming() });
            return Ok(body::events(if beside { self.until_drained(events) } else { self.under_way(events) }));
        }
        let Some(log) = &self.shared.events else {
            return Ok(if name.ends_with(BESIDE) { self.beside(entry, Vec::new()).await } else { unknown_event() });
        };
        let key = log.key(&entry.id, name);
        let recorded = log.read_after(&key, number).await.map_err(|_| Refusal::Unavailable)?;
        match recorded {
            // Of a session's own stream nobody waits for the end: what was missed, then what comes here.
            recorded if name.ends_with(BESIDE) => {
                let missed = recorded.map(|recorded| recorded.events).unwrap_or_default();
                let missed: Vec<_> = missed.into_iter().map(|(_, event)| event).collect();
                Ok(self.beside(entry, missed).await)
            }
            Some(recorded) => Ok(self.tail(Arc::clone(log), entry, name, number, recorded)),
            None => Ok(unknown_event()),
        }
    }

    /// What redis has of a call at another replica, and what comes, until the call or its replica is gone.
    fn tail(&self, log: Arc<EventLog>, entry: &Held<S>, name: &str, number: u64, recorded: Recorded) -> Response {
        let mut tail = Tail {
            key: log.key(&entry.id, name),
            log,
            replica: name.split('.').next().unwrap_or_default().to_owned(),
            name: name.to_owned(),
            number,
            ended: false,
            silent: 0,
            ready: VecDeque::new(),
        };
        let held = entry.streaming();
        tail.take(recorded);
        let events = stream::unfold((tail, held), |(mut tail, held)| async move {
            let event = tail.next().await?;
            Some((Ok::<_, std::convert::Infallible>(event), (tail, held)))
        });
        body::events(self.under_way(Body::from_stream(events.boxed())))
    }

    /// The drain waits until it is through.
    fn under_way(&self, events: Body) -> Body {
        held(events, self.shared.calls.token())
    }
}

/// Follows a stream in redis.
struct Tail {
    log: Arc<EventLog>,
    key: String,
    name: String,
    replica: String,
    /// The last event that has gone out.
    number: u64,
    ended: bool,
    silent: u32,
    ready: VecDeque<Bytes>,
}

impl Tail {
    fn take(&mut self, recorded: Recorded) {
        for (number, event) in recorded.events {
            self.number = number;
            self.silent = 0;
            self.ready.push_back(event);
        }
        self.ended |= recorded.ended;
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            tokio::time::sleep(TAIL).await;
            // Asked before the events are read: what it wrote last is among them.
            let alive = self.log.is_alive(&self.replica).await;
            match self.log.read_after(&self.key, self.number).await {
                Ok(Some(recorded)) => self.take(recorded),
                Ok(None) => return None,
                // Redis is away: the client's patience decides.
                Err(_) => {}
            }
            if self.ready.is_empty() && !self.ended && alive == Ok(false) {
                self.log.lost(&self.key, &self.name, self.number).await;
                continue;
            }
            self.silent += 1;
            if self.ready.is_empty() && self.silent.is_multiple_of(SILENT_ROUNDS) {
                return Some(SIGN_OF_LIFE);
            }
        }
    }
}

/// The name of a stream, and the number of its event.
fn parse(id: &str) -> Option<(&str, u64)> {
    let (name, number) = id.rsplit_once('-')?;
    let plain =
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    Some((name, number.parse().ok()?)).filter(|_| plain)
}

/// Not 404, which would tell the client that its session is over.
fn unknown_event() -> Response {
    Failure::new(
        StatusCode::BAD_REQUEST,
        code::INVALID_REQUEST,
        "The event of Last-Event-ID is not one of this session, or is no longer kept.",
    )
    .response()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_event_id_is_a_stream_and_a_number() {
        assert_eq!(parse("abc.1f-7"), Some(("abc.1f", 7)));
        for junk in [
            "",
            "-",
            "7",
            "abc-",
            "-7",
            "abc--7",
            "a{b}-7",
            "abc-x",
            "abc-99999999999999999999999",
            &format!("{}-1", "a".repeat(65)),
        ] {
            assert_eq!(parse(junk), None, "{junk}");
        }
    }
}
