//! Events of running calls in redis, so that a client whose replica is lost gets from another one what it has not seen.
//!
//! One redis stream for each stream of a session: `<prefix>:events:{<session>}:<stream>`, in the slot of the session.
//! Entries have the numbers of the events. Only the replica that runs the call writes, and the last entry says that it is
//! the last; a stream without it whose replica is gone has lost its call.
//!
//! Beside them the hash `<prefix>:events:{<session>}` has the stream of each call that runs for longer than a moment, by the
//! id of its request: who is told at another replica that the call is cancelled finds the one that runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::streams::StreamRangeReply;

use super::stream::FIRST;
use crate::state::{Redis, Replica, Unavailable};

/// How long a client may come again after a stream has ended, or after its last event.
const KEPT: Duration = Duration::from_secs(300);
const ENTRIES_AT_MOST: usize = 1024;
/// No call runs for longer than its session may live.
const RUNS_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the events of all sessions are.
pub(super) struct EventLog {
    redis: Arc<Redis>,
    replica: Arc<Replica>,
    /// Redis does not take events, and that has been said.
    failing: AtomicBool,
}

/// What redis has of a stream.
pub(super) struct Recorded {
    /// Each with its number.
    pub(super) events: Vec<(u64, Bytes)>,
    /// The last of them is the last of all.
    pub(super) ended: bool,
}

impl EventLog {
    pub(super) fn new(redis: Arc<Redis>, replica: Arc<Replica>) -> Self {
        Self { redis, replica, failing: AtomicBool::new(false) }
    }

    pub(super) fn key(&self, session: &str, stream: &str) -> String {
        self.redis.key(&format!("events:{{{session}}}:{stream}"))
    }

    /// Adds events, of which the first has that number. Without redis they are not kept: the call goes on all the same.
    pub(super) async fn append(&self, key: &str, request: Option<&str>, from: u64, events: &[Bytes], ended: bool) {
        let begins = from <= FIRST && request.is_some();
        if events.is_empty() && !ended && !begins {
            return;
        }
        let mut commands = redis::pipe();
        if let (Some(request), Some((calls, stream))) = (request, key.rsplit_once(':')) {
            if ended {
                commands.cmd("HDEL").arg(calls).arg(request).ignore();
            } else if begins {
                commands.cmd("HSET").arg(calls).arg(request).arg(stream).ignore();
                commands.cmd("EXPIRE").arg(calls).arg(RUNS_AT_MOST.as_secs()).ignore();
            }
        }
        for (number, event) in (from..).zip(events) {
            let entry = add(&mut commands, key, number).arg("event").arg(&event[..]);
            if let Some(request) = request {
                entry.arg("request").arg(request);
            }
            entry.ignore();
        }
        if ended {
            add(&mut commands, key, from + events.len() as u64).arg("end").arg(1).ignore();
        }
        commands.cmd("EXPIRE").arg(key).arg(KEPT.as_secs()).ignore();
        let failed = self.redis.run_all::<()>(&commands).await.is_err();
        if failed && !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!("redis takes no events: streams that break off now cannot be continued at another replica");
        } else if !failed && self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("redis takes events again");
        }
    }

    /// The events after that number; `None` where redis knows no such stream.
    pub(super) async fn read_after(&self, key: &str, number: u64) -> Result<Option<Recorded>, Unavailable> {
        let mut commands = redis::pipe();
        commands.cmd("EXISTS").arg(key);
        commands.cmd("XRANGE").arg(key).arg(format!("({}-0", entry(number))).arg("+");
        let (there, entries): (bool, StreamRangeReply) = self.redis.run_all(&commands).await?;
        if !there {
            return Ok(None);
        }
        let mut recorded = Recorded { events: Vec::new(), ended: false };
        for mut item in entries.ids {
            recorded.ended |= item.map.contains_key("end");
            let number = item.id.split('-').next().and_then(|id| id.parse::<u64>().ok()).unwrap_or_default();
            if let Some(redis::Value::BulkString(event)) = item.map.remove("event") {
                recorded.events.push((number.saturating_sub(1), event.into()));
            }
        }
        Ok(Some(recorded))
    }
}

impl EventLog {
    /// The replica that runs the call which answers that request, if one does and has for a moment.
    pub(super) async fn runs(&self, session: &str, request: &str) -> Result<Option<String>, Unavailable> {
        let mut command = redis::cmd("HGET");
        command.arg(self.redis.key(&format!("events:{{{session}}}"))).arg(request);
        let stream: Option<String> = self.redis.run(&command).await?;
        Ok(stream.and_then(|stream| Some(stream.split_once('.')?.0.to_owned())))
    }

    /// The replica of that name runs.
    pub(super) async fn is_alive(&self, replica: &str) -> Result<bool, Unavailable> {
        self.replica.is_alive(replica).await
    }

    /// Ends the stream of a call whose replica is gone: the client is told so, and the call is not run again. Of those that
    /// find it out, one writes.
    pub(super) async fn lost(&self, key: &str, name: &str, number: u64) {
        let mut last = redis::cmd("XREVRANGE");
        last.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        let Ok(entries) = self.redis.run::<StreamRangeReply>(&last).await else { return };
        let request = entries.ids.into_iter().next().and_then(|entry| entry.get::<String>("request"));
        let id = request.unwrap_or_else(|| "null".to_owned());
        let number = number + 1;
        let event = format!(
            "id: {name}-{number}\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32603,\"message\":\"{LOST}\"}}}}\n\n"
        );
        self.append(key, Some(&id), number, &[event.into()], true).await;
    }
}

/// What a client hears whose call was lost.
const LOST: &str =
    "The server that ran this call was lost. It may or may not have taken effect, and was not run again.";

/// Redis knows no entry 0-0.
fn entry(number: u64) -> u64 {
    number + 1
}

fn add<'a>(commands: &'a mut redis::Pipeline, key: &str, number: u64) -> &'a mut redis::Pipeline {
    commands.cmd("XADD").arg(key).arg("MAXLEN").arg("~").arg(ENTRIES_AT_MOST).arg(format!("{}-0", entry(number)))
}
