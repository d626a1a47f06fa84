//! Who gets into which session.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::response::Response;
use http::{Extensions, StatusCode};
use mcp_server_config::Sessions;
use serde_json::value::RawValue;
use tokio::sync::{Mutex, MutexGuard};

use super::records::{Known, Record, Records};
use super::seats::{Seat, Seats};
use super::table::{Content, Entry, Table};
use super::{Owner, capacity, is_id, now};
use crate::mcp::error::{Failure, code};
use crate::metrics::Metrics;
use crate::peers::{Holder, Peers};
use crate::state::Redis;

/// A session ends after a day, however busy it is.
const MAX_AGE: u64 = 24 * 60 * 60;
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long a request of a session that is held here waits for redis. Redis may still have its say afterwards.
const TOUCH_PATIENCE: Duration = Duration::from_millis(100);
/// How often redis is told of a session in use within its idle time, where nobody but its holder can end it.
const TOUCHES: u64 = 8;
/// Sessions whose ids fall together wait for each other; only while one of them is taken over.
const TURNS: usize = 64;

/// Why a request gets into no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It names none, and must.
    Missing,
    /// There is none of that name, or it is not the caller's.
    NotFound,
    /// No room for another.
    Full,
    /// The caller has as many as it may.
    TooMany,
    /// Redis would have to be asked, and does not answer.
    Unavailable,
    /// This process is ending.
    Draining,
    /// The replica that held it was lost while it worked on the request.
    Lost,
}

impl Refusal {
    pub(crate) fn response(self, id: Option<&RawValue>) -> Response {
        match self {
            Self::Missing => {
                Failure::new(StatusCode::BAD_REQUEST, code::TRANSPORT, "The header Mcp-Session-Id is required.")
            }
            Self::NotFound => Failure::new(StatusCode::NOT_FOUND, code::SESSION_NOT_FOUND, "Session not found."),
            Self::Full => Failure::busy("Too many sessions. Try again later.", RETRY_AFTER * 15),
            Self::TooMany => {
                Failure::too_many("You have too many sessions. End one, or try again later.", RETRY_AFTER * 15)
            }
            Self::Unavailable => Failure::busy("Sessions are unavailable. Try again later.", RETRY_AFTER),
            Self::Draining => Failure::busy("This server is shutting down. Try again.", RETRY_AFTER / 2),
            // Not 404: the client would begin anew and might send its call again without being told that it ran.
            Self::Lost => Failure::new(
                StatusCode::BAD_GATEWAY,
                code::INTERNAL_ERROR,
                "The replica that ran the request was lost before it answered.",
            ),
        }
        .of(id)
        .response()
    }
}

/// Where a session is.
pub(crate) enum Found<T> {
    /// In this process.
    Here(Arc<Entry<T>>),
    /// In redis: this process can take it over.
    Known(Record),
    /// In another process, which alone can serve it: [`Peers::forward`].
    Elsewhere(Holder),
}

/// A session that is about to be. Dropped without one, its seat is free again.
pub(crate) struct Beginning {
    pub(crate) id: Arc<str>,
    seat: Seat,
}

/// The sessions of one endpoint.
pub(crate) struct Gate<T> {
    table: Table<T>,
    records: Option<Records>,
    seats: Option<Seats>,
    /// Where sessions are held by the process that opened them, and by no other.
    peers: Option<Arc<Peers>>,
    turns: [Mutex<()>; TURNS],
}

impl<T: Content> Gate<T> {
    /// `redis`: where any replica may take over any session.
    pub(crate) fn new(config: &Sessions, redis: Option<Arc<Redis>>, metrics: &Arc<Metrics>) -> Self {
        Self::with(config, redis, None, metrics)
    }

    /// For sessions whose state lives in the process that opened them. Through redis the other replicas find that process.
    pub(crate) fn holding(config: &Sessions, redis: Arc<Redis>, peers: Arc<Peers>, metrics: &Arc<Metrics>) -> Self {
        Self::with(config, Some(redis), Some(peers), metrics)
    }

    fn with(config: &Sessions, redis: Option<Arc<Redis>>, peers: Option<Arc<Peers>>, metrics: &Arc<Metrics>) -> Self {
        let idle = u64::from(config.idle_timeout_seconds.max(1)).min(MAX_AGE);
        let max = config.max.map_or_else(capacity::default_max, |max| max as usize);
        let seats = Seats::new(config, redis.as_ref(), (idle, idle / TOUCHES + 1), metrics);
        let records = redis.map(|redis| Records::new(redis, idle, MAX_AGE));
        Self {
            table: Table::new(max, idle, MAX_AGE, records.is_some() && peers.is_none()),
            records,
            seats,
            peers,
            turns: [const { Mutex::const_new(()) }; TURNS],
        }
    }

    /// Ends sessions whose time is over, for as long as the gate is in use. Call within a tokio runtime.
    pub(crate) fn start_sweeping(self: &Arc<Self>, config: &Sessions) {
        let pause = Duration::from_secs(u64::from(config.idle_timeout_seconds / 10).clamp(1, 30));
        tokio::spawn(sweep(Arc::downgrade(self), pause));
    }

    /// Finds the caller's session of that name.
    pub(crate) async fn find(self: &Arc<Self>, id: Option<&str>, owner: &Owner) -> Result<Found<T>, Refusal> {
        let id = id.ok_or(Refusal::Missing)?;
        if !is_id(id) {
            return Err(Refusal::NotFound);
        }
        let now = now();
        let Some(entry) = self.table.get(id, now) else {
            return self.find_in_redis(id, owner, now).await;
        };
        if entry.owner != *owner {
            return Err(Refusal::NotFound);
        }
        entry.used(now);
        self.touch_in_passing(&entry, now).await?;
        Ok(Found::Here(entry))
    }

    async fn find_in_redis(&self, id: &str, owner: &Owner, now: u64) -> Result<Found<T>, Refusal> {
        let records = self.records.as_ref().ok_or(Refusal::NotFound)?;
        let record = records.read(id).await.map_err(|_| Refusal::Unavailable)?;
        let record = record.filter(|record| record.owner == *owner).ok_or(Refusal::NotFound)?;
        match (&record.holder, &self.peers) {
            (Some(holder), Some(peers)) if !peers.is_me(holder) => Ok(Found::Elsewhere(holder.clone())),
            // What only its holder can serve, and is not here, is nowhere.
            (Some(_), _) | (None, Some(_)) => Err(Refusal::NotFound),
            (None, None) if self.table.has_room(now) => Ok(Found::Known(record)),
            (None, None) => Err(Refusal::Full),
        }
    }

    /// This process, where it alone can serve its sessions.
    fn holder(&self) -> Option<Holder> {
        self.peers.as_ref()?.me()
    }

    /// [`Gate::touch`] for a request, which a slow redis must not hold up: it goes on in the background.
    async fn touch_in_passing(self: &Arc<Self>, entry: &Arc<Entry<T>>, now: u64) -> Result<(), Refusal> {
        if self.records.is_none() {
            return Ok(());
        }
        if self.peers.is_some() {
            // Nobody else can have ended it: redis is told now and then, and not waited for.
            if entry.touch_is_due(now, self.table.idle() / TOUCHES) {
                let (gate, entry) = (Arc::clone(self), Arc::clone(entry));
                tokio::spawn(async move { gate.touch(&entry, now).await });
            }
            return Ok(());
        }
        let (gate, entry) = (Arc::clone(self), Arc::clone(entry));
        let mut touching = Box::pin(async move { gate.touch(&entry, now).await });
        match tokio::time::timeout(TOUCH_PATIENCE, &mut touching).await {
            Ok(touched) => touched,
            Err(_) => {
                tokio::spawn(touching);
                Ok(())
            }
        }
    }

    /// Tells redis that the session is used, and learns from it whether another replica has ended it.
    async fn touch(&self, entry: &Entry<T>, now: u64) -> Result<(), Refusal> {
        let Some(records) = &self.records else { return Ok(()) };
        // One that is held by its process is touched now and then only.
        let renews = self.peers.is_some() || entry.touch_is_due(now, self.table.idle() / TOUCHES);
        let known = records.touch(&entry.id, entry.age(now)).await;
        if let (Some(seats), true, Ok(Known::Alive | Known::Lost)) = (&self.seats, renews, &known) {
            seats.renew(&entry.id, &entry.seat).await;
        }
        match known {
            // Without redis the session is served from here.
            Ok(Known::Alive) | Err(_) => Ok(()),
            Ok(Known::Ended) => {
                self.table.remove(&entry.id);
                Err(Refusal::NotFound)
            }
            Ok(Known::Lost) => {
                if let Some(content) = entry.record.get() {
                    let (owner, age, content) = (entry.owner, entry.age(now), content.clone());
                    let principal = entry.seat.principal().map(str::to_owned);
                    let record = Record { owner, age, content, holder: self.holder(), principal };
                    let _ = records.write(&entry.id, &record).await;
                }
                Ok(())
            }
        }
    }

    /// Taking over a session from redis is done by one request at a time; those that wait find it here.
    pub(crate) async fn turn(&self, id: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % TURNS as u64).unwrap_or_default();
        self.turns[index].lock().await
    }

    /// A name for another session, where there is room for one: here, and among those of its principal.
    pub(crate) async fn begin(&self, extensions: &Extensions) -> Result<Beginning, Refusal> {
        if !self.table.has_room(now()) {
            return Err(Refusal::Full);
        }
        let id = super::new_id();
        let seat = match &self.seats {
            Some(seats) => seats.take(&id, extensions).await?,
            None => Seat::default(),
        };
        Ok(Beginning { id, seat })
    }

    /// Holds a new session.
    pub(crate) fn hold(&self, begun: Beginning, owner: Owner, content: T) -> Result<Arc<Entry<T>>, Refusal> {
        let (now, Beginning { id, seat }) = (now(), begun);
        self.table.insert(Entry::new(id, owner, now, now, content).seated(seat), now).map_err(|_| Refusal::Full)
    }

    /// Holds a session that another process has begun.
    pub(crate) fn take_over(
        &self,
        id: Arc<str>,
        owner: Owner,
        record: Record,
        content: T,
    ) -> Result<Arc<Entry<T>>, Refusal> {
        let now = now();
        let entry = Entry::new(id, owner, now - record.age, now, content).seated(Seat::of(record.principal.as_deref()));
        let entry = self.table.insert(entry, now).map_err(|_| Refusal::Full)?;
        let _ = entry.record.set(record.content);
        Ok(entry)
    }

    /// Lets every replica know of a session that is held here.
    pub(crate) async fn publish(&self, entry: &Entry<T>, content: String) -> Result<(), Refusal> {
        let Some(records) = &self.records else { return Ok(()) };
        let holder = self.holder();
        if self.peers.is_some() && holder.is_none() {
            // Nobody could come here for it.
            return Ok(());
        }
        let principal = entry.seat.principal().map(str::to_owned);
        let record = Record { owner: entry.owner, age: entry.age(now()), content, holder, principal };
        records.write(&entry.id, &record).await.map_err(|_| Refusal::Unavailable)?;
        let _ = entry.record.set(record.content);
        Ok(())
    }

    /// Ends a session everywhere.
    pub(crate) async fn end(&self, id: &str) -> Result<(), Refusal> {
        self.leave(self.table.remove(id)).await;
        match &self.records {
            Some(records) => records.end(id).await.map_err(|_| Refusal::Unavailable),
            None => Ok(()),
        }
    }

    /// Gives up a session of which nobody has heard yet.
    pub(crate) async fn give_up(&self, id: &str) {
        self.leave(self.table.remove(id)).await;
    }

    /// Its principal may have another.
    async fn leave(&self, ended: Option<Arc<Entry<T>>>) {
        if let (Some(seats), Some(entry)) = (&self.seats, ended) {
            seats.leave(&entry.id, &entry.seat).await;
        }
    }

    /// Calls `act` with what each session holds.
    pub(crate) fn for_each(&self, mut act: impl FnMut(&T)) {
        self.table.all().iter().for_each(|entry| act(&entry.content));
    }

    /// Sessions that are held here.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

async fn sweep<T: Content>(gate: Weak<Gate<T>>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Some(gate) = gate.upgrade() else { return };
        for entry in gate.table.sweep(now()) {
            // A stream without requests keeps its session alive in redis too.
            let _ = gate.touch(&entry, now()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_server_config::{Config, Redis as Section};
    use tokio::time::Instant;

    use super::*;
    use crate::auth::Caller;
    use crate::state::State;

    struct Nothing;

    impl Content for Nothing {
        fn ended(&self, _id: &Arc<str>) {}
    }

    /// Time is virtual: it passes where everybody waits.
    #[tokio::test(start_paused = true)]
    async fn a_redis_that_hangs_does_not_hold_up_a_session_that_is_held_here() {
        // The kernel connects, and nobody ever answers.
        let hanging = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let redis = Some(Section {
            url: Some(format!("redis://{}", hanging.local_addr().expect("bound"))),
            ..Section::default()
        });
        let config = Config { redis, ..Config::default() };
        let state = State::open(&config).await.expect("opened");
        let metrics = Metrics::new("test").expect("metrics");
        let gate = Arc::new(Gate::new(&config.sessions, state.session_redis().cloned(), &metrics));
        let owner = Owner::of(&Caller::Anonymous, state.session_key());
        let begun = gate.begin(&Extensions::new()).await.expect("room");
        let id = Arc::clone(&begun.id);
        gate.hold(begun, owner, Nothing).expect("room");

        let began = Instant::now();
        assert!(matches!(gate.find(Some(&id), &owner).await, Ok(Found::Here(_))));
        assert_eq!(began.elapsed().as_millis(), TOUCH_PATIENCE.as_millis());
        // In the background the silence is noticed, and nobody waits any more.
        tokio::time::sleep(Duration::from_millis(5_100)).await;
        let began = Instant::now();
        assert!(matches!(gate.find(Some(&id), &owner).await, Ok(Found::Here(_))));
        assert!(began.elapsed().is_zero());
    }
}
