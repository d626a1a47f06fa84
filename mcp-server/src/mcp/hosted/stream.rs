//! What one call, or one session beside its calls, sends: written by the handler's side, read by one response at a time.
//! It is the queue between the two, and the memory that a client which comes again is served from.
//!
//! Events become visible in order. Where they are kept in redis, an event is visible only after redis has it: a client
//! never knows of an event that another replica would not find.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::Notify;

use super::events::EventLog;

/// What is kept for a client that lost its connection.
const KEPT_BYTES: usize = 256 * 1024;
const KEPT_EVENTS: usize = 1024;
/// A writer waits while so much has not been taken by the reader.
const UNREAD_BYTES: usize = 1024 * 1024;

/// Events that went unread because there was no room for more.
pub(in crate::mcp) fn evicted() -> IntCounter {
    static EVICTED: LazyLock<IntCounter> = LazyLock::new(|| {
        let help = "Events of streams that were dropped unread, to make room for later ones";
        IntCounter::new("mcp_event_store_evicted_total", help).expect("a valid name")
    });
    EVICTED.clone()
}

/// How its events are named and kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 2026-07-28: events have no ids and are gone when they are read.
    Passing,
    /// Events have ids and can be asked for again.
    Kept,
}

/// See the module.
pub(super) struct Stream {
    /// Begins the ids of its events; no other stream of the session has it.
    name: Box<str>,
    kind: Kind,
    inner: Mutex<Inner>,
    room: Notify,
    log: Option<Log>,
}

/// Where its events are beside this process.
struct Log {
    events: Arc<EventLog>,
    key: String,
    /// The id of the request that is answered here: who continues for a lost replica must know it.
    request: Option<String>,
    /// One writer at a time: redis takes events in order only.
    turn: tokio::sync::Mutex<()>,
}

/// The number of the first message; 0 is that of the event which begins a stream, where there is one.
pub(super) const FIRST: u64 = 1;

struct Inner {
    events: VecDeque<Bytes>,
    /// The number of the first of `events`.
    first: u64,
    /// Readers see the events before that number.
    visible: u64,
    /// Events become visible as soon as they may; until then only [`Stream::poll_begun`] sees them.
    open: bool,
    /// The next event that the reader has not taken.
    unread: u64,
    bytes: usize,
    unread_bytes: usize,
    ended: Option<Instant>,
    /// The newest reader; 0 where there is none.
    reader: u64,
    readers: u64,
    waker: Option<Waker>,
}

impl Inner {
    fn new() -> Self {
        Self {
            events: VecDeque::new(),
            first: FIRST,
            visible: 0,
            open: false,
            unread: FIRST,
            bytes: 0,
            unread_bytes: 0,
            ended: None,
            reader: 0,
            readers: 0,
            waker: None,
        }
    }

    /// The number of the event that comes next.
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn wake(&mut self) -> Option<Waker> {
        self.waker.take()
    }

    fn trim(&mut self, kind: Kind) {
        let attached = self.reader != 0;
        while let Some(event) = self.events.front() {
            let read = self.first < self.unread;
            let goes = match kind {
                Kind::Passing => read,
                Kind::Kept => {
                    let full = self.bytes > KEPT_BYTES || self.events.len() > KEPT_EVENTS;
                    full && self.first < self.visible && (read || !attached)
                }
            };
            if !goes {
                return;
            }
            self.bytes -= event.len();
            if !read {
                evicted().inc();
                self.unread_bytes -= event.len();
                self.unread = self.first + 1;
            }
            self.first += 1;
            self.events.pop_front();
        }
    }
}

/// What a stream has begun with.
pub(super) enum Begun {
    /// All that it will ever have.
    Whole(Bytes),
    /// Its first event, or none for a while.
    Part,
}

impl Stream {
    pub(super) fn new(name: String, kind: Kind) -> Self {
        Self { name: name.into(), kind, inner: Mutex::new(Inner::new()), room: Notify::new(), log: None }
    }

    /// With its events in redis too, under that key.
    pub(super) fn with_log(self, events: Arc<EventLog>, key: String, request: Option<String>) -> Self {
        Self { log: Some(Log { events, key, request, turn: tokio::sync::Mutex::new(()) }), ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// An event without data for a reader that begins now: should its connection break, the client comes again from here.
    pub(super) fn mark(&self, retry: Duration) -> Bytes {
        let last = self.lock().unread.saturating_sub(1);
        format!("id: {}-{last}\nretry: {}\ndata: \n\n", self.name, retry.as_millis()).into()
    }

    /// Adds a message. It is in its place at once; the future resolves when the writer may go on.
    pub(super) fn push(self: &Arc<Self>, message: &[u8]) -> impl Future<Output = ()> + Send + 'static {
        let (waker, open) = {
            let mut inner = self.lock();
            if inner.ended.is_none() {
                let event = self.encode(inner.next(), message);
                self.add(&mut inner, event);
            }
            (inner.wake(), inner.open)
        };
        wake(waker);
        let this = Arc::clone(self);
        async move {
            if open && this.log.is_some() {
                this.persist().await;
            }
            this.roomy().await;
        }
    }

    /// Begins a stream that is not yet open with an event without data: from then on the client can come again (SEP-1699).
    pub(super) fn prime(&self, retry: Duration) {
        let event = Bytes::from(format!("id: {}-0\nretry: {}\ndata: \n\n", self.name, retry.as_millis()));
        let mut inner = self.lock();
        if inner.open || inner.first != FIRST {
            return;
        }
        inner.unread_bytes += event.len();
        inner.bytes += event.len();
        inner.events.push_front(event);
        (inner.first, inner.unread) = (0, 0);
    }

    /// Adds the last message.
    pub(super) fn finish(self: &Arc<Self>, message: &[u8]) {
        {
            let mut inner = self.lock();
            if inner.ended.is_none() {
                let event = self.encode(inner.next(), message);
                self.add(&mut inner, event);
            }
        }
        self.end();
    }

    /// No more will come.
    pub(super) fn end(self: &Arc<Self>) {
        let (waker, open) = {
            let mut inner = self.lock();
            if inner.ended.is_some() {
                return;
            }
            inner.ended = Some(Instant::now());
            (inner.wake(), inner.open)
        };
        wake(waker);
        self.room.notify_waiters();
        if open && self.log.is_some() {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.persist().await });
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().ended.is_some()
    }

    /// How long ago it has ended.
    pub(super) fn ended_for(&self) -> Option<Duration> {
        self.lock().ended.map(|at| at.elapsed())
    }

    /// Of the events that are kept here.
    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Nothing has come yet.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().events.is_empty()
    }

    /// Whether there is something, before it is opened.
    pub(super) fn poll_begun(&self, context: &Context<'_>) -> Poll<Begun> {
        let mut inner = self.lock();
        if inner.ended.is_some() {
            let mut whole = Vec::with_capacity(inner.bytes);
            inner.events.iter().for_each(|event| whole.extend_from_slice(event));
            return Poll::Ready(Begun::Whole(whole.into()));
        }
        if !inner.events.is_empty() {
            return Poll::Ready(Begun::Part);
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Lets readers see what is there and what comes.
    pub(super) async fn open(&self) {
        self.lock().open = true;
        self.persist().await;
    }

    async fn persist(&self) {
        if let Some(log) = &self.log {
            let _turn = log.turn.lock().await;
            let (from, events, ended) = {
                let inner = self.lock();
                let from = inner.visible.max(inner.first);
                let skip = usize::try_from(from - inner.first).unwrap_or(usize::MAX);
                (from, inner.events.iter().skip(skip).cloned().collect::<Vec<_>>(), inner.ended.is_some())
            };
            // Without redis the stream goes on; only another replica could not continue it.
            log.events.append(&log.key, log.request.as_deref(), from, &events, ended).await;
            self.show(from + events.len() as u64);
        } else {
            let next = self.lock().next();
            self.show(next);
        }
    }

    fn show(&self, upto: u64) {
        let waker = {
            let mut inner = self.lock();
            inner.visible = inner.visible.max(upto);
            inner.trim(self.kind);
            inner.wake()
        };
        wake(waker);
    }

    async fn roomy(&self) {
        loop {
            let room = self.room.notified();
            {
                let inner = self.lock();
                if inner.ended.is_some() || inner.reader == 0 || inner.unread_bytes <= UNREAD_BYTES {
                    return;
                }
            }
            room.await;
        }
    }

    /// A reader from that event on: what was asked for may be gone. The one before it gets nothing any more.
    pub(super) fn read_from(self: &Arc<Self>, from: u64, replaced: Replaced) -> Option<Reader> {
        let mut inner = self.lock();
        if from < inner.first || from > inner.next() {
            return None;
        }
        inner.readers += 1;
        inner.reader = inner.readers;
        inner.unread = from;
        let skip = usize::try_from(from - inner.first).unwrap_or(usize::MAX);
        inner.unread_bytes = inner.events.iter().skip(skip).map(Bytes::len).sum();
        let number = inner.reader;
        let waker = inner.wake();
        drop(inner);
        wake(waker);
        Some(Reader { stream: Arc::clone(self), number, replaced })
    }

    /// A reader of all that has not been read.
    pub(super) fn read_on(self: &Arc<Self>, replaced: Replaced) -> Option<Reader> {
        let from = self.lock().unread;
        self.read_from(from, replaced)
    }

    fn add(&self, inner: &mut Inner, event: Bytes) {
        inner.bytes += event.len();
        inner.unread_bytes += event.len();
        inner.events.push_back(event);
        if inner.open && self.log.is_none() {
            inner.visible = inner.next();
        }
        inner.trim(self.kind);
    }

    fn encode(&self, number: u64, message: &[u8]) -> Bytes {
        let mut event = Vec::with_capacity(message.len() + self.name.len() + 32);
        if self.kind == Kind::Kept {
            // Writing to a vector cannot fail.
            let _ = writeln!(event, "id: {}-{number}", self.name);
        }
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(message);
        event.extend_from_slice(b"\n\n");
        event.into()
    }

    /// No code under the lock can panic half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Outside of the lock: waking runs foreign code.
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// What a reader does when a newer one has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It ends.
    Ends,
    /// It stays and is silent: a client that opened the stream of its session twice would come again and again.
    Stays,
}

/// Takes the events of a stream.
pub(super) struct Reader {
    stream: Arc<Stream>,
    number: u64,
    replaced: Replaced,
}

impl Reader {
    pub(super) fn poll_next(&mut self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut inner = self.stream.lock();
        if inner.reader != self.number {
            return match self.replaced {
                Replaced::Ends => Poll::Ready(None),
                Replaced::Stays => Poll::Pending,
            };
        }
        let at = inner.unread;
        if at < inner.visible {
            let index = usize::try_from(at - inner.first).unwrap_or(usize::MAX);
            let Some(event) = inner.events.get(index).cloned() else { return Poll::Ready(None) };
            inner.unread += 1;
            inner.unread_bytes -= event.len();
            let roomy = inner.unread_bytes <= UNREAD_BYTES;
            inner.trim(self.stream.kind);
            drop(inner);
            if roomy {
                self.stream.room.notify_waiters();
            }
            return Poll::Ready(Some(event));
        }
        if inner.ended.is_some() && at == inner.next() {
            return Poll::Ready(None);
        }
        inner.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.stream.lock();
        if inner.reader == self.number {
            inner.reader = 0;
            inner.waker = None;
            inner.trim(self.stream.kind);
            drop(inner);
            // Nobody reads: the writer need not wait.
            self.stream.room.notify_waiters();
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
