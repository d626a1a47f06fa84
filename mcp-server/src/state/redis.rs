//! The redis that replicas share, whatever stands behind it: one server, sentinels, a cluster. A redis that is away costs
//! one request its socket timeout; those of the next second fail at once, and then all but one that tries again, so that a
//! lost redis never stalls what can be served without it. The same holds for a cluster of which one part is away.
//!
//! In a cluster the keys of one command, pipeline or script must be in one slot: what belongs together has the same
//! `{…}` in its keys.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_server_config::Redis as Section;
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::breaker::{Breaker, millis};
use super::fault::Fault;
use super::link::{Connection, Link};
use super::observed::Observed;
use super::script::Script;
use super::source::Source;

/// How long commands fail at once after one has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the files are looked at, and the connections asked for a sign of life.
const WATCH: Duration = Duration::from_secs(5);

/// Redis did not answer. Details are in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("redis is unavailable")]
pub struct Unavailable;

/// The redis that replicas share.
pub struct Redis {
    source: Source,
    timeout: Duration,
    prefix: String,
    lanes: usize,
    link: ArcSwap<Link>,
    /// Held while a new link is made: one at a time.
    relinking: Mutex<()>,
    /// Connections for reads that wait.
    waiting: Arc<Semaphore>,
    started: Instant,
    breaker: Breaker,
    answered_once: AtomicBool,
    observed: Observed,
}

/// A connection of one's own, for a read that waits.
pub struct Waiting {
    connection: Connection,
    timeout: Duration,
    _place: OwnedSemaphorePermit,
}

impl Redis {
    /// Reads the files and checks what they say; connects later. `server` names the keys where no prefix is configured.
    pub(super) async fn open(section: &Section, server: &str) -> Result<Arc<Self>, String> {
        let source = Source::of(section);
        let timeout = Duration::from_secs(section.socket_timeout.max(1).into());
        let most = usize::try_from(section.max_connections).unwrap_or(usize::MAX);
        // More would only split what is pipelined: each is driven by a task, which one processor runs.
        let lanes = std::thread::available_parallelism().map_or(1, usize::from).min(most).max(1);
        let link = Link::new(source.read().await?, lanes, timeout)?;
        let this = Arc::new(Self {
            source,
            timeout,
            prefix: section.key_prefix.clone().unwrap_or_else(|| format!("mcp:{server}")),
            lanes,
            link: ArcSwap::from_pointee(link),
            relinking: Mutex::new(()),
            waiting: Arc::new(Semaphore::new(most.saturating_sub(lanes).clamp(1, Semaphore::MAX_PERMITS))),
            started: Instant::now(),
            breaker: Breaker::new(PAUSE, timeout),
            answered_once: AtomicBool::new(false),
            observed: Observed::new(),
        });
        tokio::spawn(watch(Arc::downgrade(&this)));
        // The first answer gates readiness, and nobody may ask before that.
        tokio::spawn(first_answer(Arc::downgrade(&this)));
        Ok(this)
    }

    /// Adds what is known of its answers.
    pub(crate) fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        self.observed.register(registry)
    }

    /// A key of this server: two servers on one redis never meet.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Runs one command.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.check()?;
        self.attempt(async |mut connection| command.query_async(&mut connection).await).await.map_err(|_| Unavailable)
    }

    /// Runs several commands at once. In a cluster their keys are in one slot.
    pub async fn run_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Unavailable> {
        self.check()?;
        self.attempt(async |mut connection| commands.query_async(&mut connection).await).await.map_err(|_| Unavailable)
    }

    /// Runs a script in one round trip. `arguments` are the number of keys, the keys, and the rest.
    pub async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, Unavailable> {
        self.check()?;
        let known = script.by_digest(&arguments);
        match self.attempt(async |mut connection| known.query_async(&mut connection).await).await {
            Err(Some(error)) if error.kind() == ServerErrorKind::NoScript.into() => {
                let unknown = script.by_text(&arguments);
                let answer = self.attempt(async |mut connection| unknown.query_async(&mut connection).await).await;
                answer.map_err(|_| Unavailable)
            }
            answer => answer.map_err(|_| Unavailable),
        }
    }

    /// A connection for reads that wait, as `XREAD BLOCK`: over a shared one all others would wait with them. Refused
    /// where `max_connections` are in use.
    pub async fn waiting(&self) -> Result<Waiting, Unavailable> {
        self.check()?;
        let place = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| Unavailable)?;
        let link = self.link.load_full();
        match timeout(self.timeout, link.own_connection()).await {
            Ok(Ok(connection)) => Ok(Waiting { connection, timeout: self.timeout, _place: place }),
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }

    /// Asks for a sign of life, also while commands fail at once.
    pub(crate) async fn ping(&self) -> Result<(), &'static str> {
        let ping = redis::cmd("PING");
        let answer = self.attempt(async |mut connection| ping.exec_async(&mut connection).await).await;
        answer.map_err(|_| "redis does not answer")
    }

    pub(super) fn answered_once(&self) -> bool {
        self.answered_once.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), Unavailable> {
        if self.breaker.admits(self.now()) { Ok(()) } else { Err(Unavailable) }
    }

    /// The error is `None` where there was no answer in time.
    async fn attempt<T>(&self, ask: impl AsyncFnOnce(Connection) -> RedisResult<T>) -> Result<T, Option<RedisError>> {
        let link = self.link.load_full();
        let lane = link.lane();
        let mut used = None;
        let asked = async {
            let connection = link.connection(lane).await?;
            let shared = Connection::clone(&connection);
            used = Some(connection);
            ask(shared).await
        };
        let begun = Instant::now();
        let error = match timeout(self.timeout, asked).await {
            Ok(Ok(value)) => {
                self.observed.answered(begun.elapsed());
                self.succeeded();
                return Ok(value);
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        let fault = error.as_ref().map_or(Fault::Silence, Fault::of);
        self.failed(&link, fault, error.as_ref());
        match (fault, &used) {
            (Fault::Command | Fault::Server, _) | (Fault::Connection | Fault::Silence, None) => {}
            (Fault::Connection | Fault::Silence, Some(used)) => {
                link.give_up(lane, used, fault == Fault::Silence).await;
            }
            (Fault::Credentials, _) => self.relink(&link).await,
        }
        Err(error)
    }

    fn succeeded(&self) {
        self.breaker.succeeded();
        self.answered_once.store(true, Ordering::Relaxed);
    }

    fn failed(&self, link: &Arc<Link>, fault: Fault, error: Option<&RedisError>) {
        // Kind and code only: the text of some errors quotes arguments.
        let kind = error.map_or("timeout", |error| error.category());
        let code = error.and_then(RedisError::code);
        // A script that redis does not know yet is sent again: that is no error.
        if code != Some("NOSCRIPT") {
            self.observed.failed(fault);
        }
        if fault == Fault::Command {
            self.succeeded();
            if code != Some("NOSCRIPT") {
                tracing::warn!(kind, code, "redis refuses a command");
            }
            return;
        }
        // Commands that were under way when the link was replaced say nothing about the new one.
        let news = Arc::ptr_eq(&self.link.load(), link) && self.breaker.failed(self.now());
        if news {
            tracing::warn!(kind, code, "redis does not answer");
        } else {
            tracing::debug!(kind, code, "redis does not answer");
        }
    }

    /// Makes the link anew from what the files say now, unless somebody did since `seen` was loaded.
    async fn relink(&self, seen: &Arc<Link>) {
        let _one_at_a_time = self.relinking.lock().await;
        if !Arc::ptr_eq(&self.link.load(), seen) {
            return;
        }
        match self.source.read().await.and_then(|target| Link::new(target, self.lanes, self.timeout)) {
            Ok(link) => self.link.store(Arc::new(link)),
            Err(error) => tracing::warn!(%error, "redis: the connections stay what they are"),
        }
    }

    /// Takes what has changed in the files.
    async fn look_at_source(&self) {
        let link = self.link.load_full();
        match self.source.read().await {
            Ok(target) if target == link.target => {}
            Ok(_) => {
                tracing::info!("what is known of redis has changed: connecting anew");
                self.relink(&link).await;
                self.breaker.succeeded();
            }
            Err(error) => tracing::warn!(%error, "redis: the connections stay what they are"),
        }
    }

    /// For the breaker.
    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

impl Waiting {
    /// Runs one command that redis may take so long to answer.
    pub async fn run<T: FromRedisValue>(&mut self, command: &Cmd, wait: Duration) -> Result<T, Unavailable> {
        match timeout(wait.saturating_add(self.timeout), command.query_async(&mut self.connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(_)) | Err(_) => Err(Unavailable),
        }
    }
}

/// Follows files and connections for as long as somebody uses them.
async fn watch(redis: Weak<Redis>) {
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(redis) = redis.upgrade() else { return };
        redis.look_at_source().await;
        redis.link.load_full().keep_alive().await;
    }
}

async fn first_answer(redis: Weak<Redis>) {
    loop {
        let Some(redis) = redis.upgrade() else { return };
        if redis.answered_once() || redis.ping().await.is_ok() {
            return;
        }
        drop(redis);
        tokio::time::sleep(PAUSE).await;
    }
}
