//! How many sessions one principal has at once: `sessions.max_per_principal`. Without a token a principal is its address, as
//! for all limits.
//!
//! With redis all replicas count together: one sorted set a principal, `<prefix>:principal:{<digest>}:sessions`, has its
//! sessions, each until redis' clock says that it must have ended. A session in use says so again and again, so that one
//! whose replica is lost takes no seat for longer than it may be idle. Without redis each replica gives its share.

use std::sync::Arc;

use http::Extensions;
use mcp_server_config::Sessions;
use tokio::runtime::Handle;

use super::Refusal;
use crate::limits::{Place, Places, Who};
use crate::metrics::Metrics;
use crate::settings::LiveState;
use crate::state::{Redis, Script, Unavailable};

/// The name of the limit in metrics.
const LIMIT: &str = "sessions";

/// KEYS: the principal's set. ARGV: the session, its seconds, and how many there may be (-1: it is there already).
const SIT: &str = r"
local time = redis.call('TIME')
local most = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time[1])
if most >= 0 and redis.call('ZCARD', KEYS[1]) >= most then return 0 end
redis.call('ZADD', KEYS[1], time[1] + ARGV[2], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
";

/// Counts sessions by principal.
pub(super) struct Seats {
    most: u32,
    metrics: Arc<Metrics>,
    room: Room,
}

enum Room {
    /// This replica's share.
    Here(Arc<Places>),
    Shared(Arc<Shared>),
}

struct Shared {
    redis: Arc<Redis>,
    script: Script,
    /// For which a session that is not heard of is counted.
    seconds: u64,
}

/// A session's place among those of its principal.
#[derive(Default)]
pub(crate) struct Seat {
    here: Option<Place>,
    /// The principal's name in redis.
    principal: Option<Arc<str>>,
    /// Until there is a session: one that leaves this replica keeps its seat.
    returned: Option<Returned>,
}

/// Gives a seat back when it is dropped.
struct Returned {
    shared: Arc<Shared>,
    principal: Arc<str>,
    id: Arc<str>,
    kept: bool,
}

impl Seats {
    /// `None` where there is no such limit. `idle`: seconds after which a session ends. It is renewed within `pause` of them.
    pub(super) fn new(
        config: &Sessions,
        redis: Option<&Arc<Redis>>,
        (idle, pause): (u64, u64),
        metrics: &Arc<Metrics>,
    ) -> Option<Self> {
        let room = match redis {
            Some(redis) => {
                // A seat must not end before its session does, and was perhaps renewed a pause ago.
                let shared = Shared { redis: Arc::clone(redis), script: Script::new(SIT), seconds: idle + pause };
                Room::Shared(Arc::new(shared))
            }
            None => Room::Here(Places::new()),
        };
        Some(Self { most: config.max_per_principal?, metrics: Arc::clone(metrics), room })
    }

    /// A seat for the session of that name, of whoever asks for it.
    pub(super) async fn take(&self, id: &Arc<str>, extensions: &Extensions) -> Result<Seat, Refusal> {
        let Some(who) = Who::caller(extensions) else { return Ok(Seat::default()) };
        let seat = match &self.room {
            Room::Here(places) => {
                let replicas = extensions.get::<Arc<LiveState>>().map_or(1, |live| live.replicas.get());
                let place = places.take(who, self.most.div_ceil(replicas));
                place.map(|place| Seat { here: Some(place), ..Seat::default() })
            }
            Room::Shared(shared) => {
                let mut principal = String::new();
                who.write_digest(&mut principal);
                let seated = shared.sit(&principal, id, i64::from(self.most)).await;
                let principal: Arc<str> = principal.into();
                seated.map_err(|_| Refusal::Unavailable)?.then(|| Seat {
                    here: None,
                    principal: Some(Arc::clone(&principal)),
                    returned: Some(Returned { shared: Arc::clone(shared), principal, id: Arc::clone(id), kept: false }),
                })
            }
        };
        self.metrics.rate_limit(LIMIT, seat.is_some());
        seat.ok_or(Refusal::TooMany)
    }

    /// The session is in use.
    pub(super) async fn renew(&self, id: &str, seat: &Seat) {
        if let (Room::Shared(shared), Some(principal)) = (&self.room, &seat.principal) {
            // Redis says when it fails; the session goes on.
            let _ = shared.sit(principal, id, -1).await;
        }
    }

    /// The session is over, everywhere.
    pub(super) async fn leave(&self, id: &str, seat: &Seat) {
        if let (Room::Shared(shared), Some(principal)) = (&self.room, &seat.principal) {
            shared.leave(principal, id).await;
        }
    }
}

impl Seat {
    /// That of a session which was opened elsewhere.
    pub(super) fn of(principal: Option<&str>) -> Self {
        Self { principal: principal.map(Into::into), ..Self::default() }
    }

    /// There is a session now.
    pub(super) fn taken(self) -> Self {
        if let Some(mut returned) = self.returned {
            returned.kept = true;
        }
        Self { here: self.here, principal: self.principal, returned: None }
    }

    pub(super) fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        let (shared, principal, id) = (Arc::clone(&self.shared), Arc::clone(&self.principal), Arc::clone(&self.id));
        if let (false, Ok(runtime)) = (self.kept, Handle::try_current()) {
            runtime.spawn(async move { shared.leave(&principal, &id).await });
        }
    }
}

impl Shared {
    async fn sit(&self, principal: &str, id: &str, most: i64) -> Result<bool, Unavailable> {
        let key = self.key(principal);
        self.redis
            .script(&self.script, |command| {
                command.arg(1).arg(&key).arg(id).arg(self.seconds).arg(most);
            })
            .await
    }

    async fn leave(&self, principal: &str, id: &str) {
        let mut command = redis::cmd("ZREM");
        command.arg(self.key(principal)).arg(id);
        let _ = self.redis.run::<()>(&command).await;
    }

    fn key(&self, principal: &str) -> String {
        self.redis.key(&format!("principal:{{{principal}}}:sessions"))
    }
}
