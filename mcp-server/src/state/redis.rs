//! One multiplexed connection to redis, made when it is first needed and made anew when it breaks or when the URL's file
//! changes. A redis that is away costs one request its socket timeout; those of the next second fail at once, and then all
//! but one that tries again, so that a lost redis never stalls what can be served without it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_server_config::Redis as Section;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, FromRedisValue, Pipeline, RedisError, RedisResult};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::breaker::{Breaker, millis};
use super::source::{self, Source};

/// How long commands fail at once after one has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the URL's file is looked at.
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
    link: ArcSwap<Link>,
    /// Held while a new link is made: one at a time.
    relinking: Mutex<()>,
    started: Instant,
    breaker: Breaker,
    answered_once: AtomicBool,
}

struct Link {
    url: String,
    manager: ConnectionManager,
}

impl Redis {
    /// Reads the URL and checks it; connects later. `server` names the keys where no prefix is configured.
    pub(super) async fn open(section: &Section, server: &str) -> Result<Arc<Self>, String> {
        let source = Source::of(section)?;
        let timeout = Duration::from_secs(section.socket_timeout.max(1).into());
        let link = Link::new(source.url().await?, timeout)?;
        let this = Arc::new(Self {
            source,
            timeout,
            prefix: section.key_prefix.clone().unwrap_or_else(|| format!("mcp:{server}")),
            link: ArcSwap::from_pointee(link),
            relinking: Mutex::new(()),
            started: Instant::now(),
            breaker: Breaker::new(PAUSE, timeout),
            answered_once: AtomicBool::new(false),
        });
        if this.source.may_change() {
            tokio::spawn(watch(Arc::downgrade(&this)));
        }
        // The first answer gates readiness, and nobody may ask before that.
        tokio::spawn(first_answer(Arc::downgrade(&this)));
        Ok(this)
    }

    /// A key of this server: two servers on one redis never meet.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Runs one command.
    pub async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.check()?;
        self.attempt(async |mut manager| command.query_async(&mut manager).await).await
    }

    /// Runs several commands at once.
    pub async fn run_all<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, Unavailable> {
        self.check()?;
        self.attempt(async |mut manager| commands.query_async(&mut manager).await).await
    }

    /// Asks for a sign of life, also while commands fail at once.
    pub(super) async fn ping(&self) -> Result<(), &'static str> {
        let answer: Result<String, Unavailable> =
            self.attempt(async |mut manager| redis::cmd("PING").query_async(&mut manager).await).await;
        answer.map(drop).map_err(|_| "redis does not answer")
    }

    pub(super) fn answered_once(&self) -> bool {
        self.answered_once.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), Unavailable> {
        if self.breaker.admits(self.now()) { Ok(()) } else { Err(Unavailable) }
    }

    async fn attempt<T>(&self, ask: impl AsyncFnOnce(ConnectionManager) -> RedisResult<T>) -> Result<T, Unavailable> {
        let link = self.link.load_full();
        match tokio::time::timeout(self.timeout, ask(link.manager.clone())).await {
            Ok(Ok(value)) => {
                self.breaker.succeeded();
                self.answered_once.store(true, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => {
                self.failed(&link, Some(&error)).await;
                Err(Unavailable)
            }
            Err(_) => {
                self.failed(&link, None).await;
                Err(Unavailable)
            }
        }
    }

    async fn failed(&self, link: &Arc<Link>, error: Option<&RedisError>) {
        // Kind and code only: the text of some errors quotes arguments.
        let kind = error.map_or("timeout", |error| error.category());
        let code = error.and_then(RedisError::code);
        // Commands that were under way when the link was replaced say nothing about the new one.
        let news = Arc::ptr_eq(&self.link.load(), link) && self.breaker.failed(self.now());
        if news {
            tracing::warn!(kind, code, "redis does not answer");
        } else {
            tracing::debug!(kind, code, "redis does not answer");
        }
        // The manager connects again by itself after an I/O error. It keeps a refused login for ever, and a connection
        // whose other end is gone without a word.
        if error.is_none_or(|error| error.is_timeout() || !error.is_io_error()) {
            self.relink(link).await;
        }
    }

    /// Makes the link anew from the URL as it is now, unless somebody did since `seen` was loaded.
    async fn relink(&self, seen: &Arc<Link>) {
        let _one_at_a_time = self.relinking.lock().await;
        if !Arc::ptr_eq(&self.link.load(), seen) {
            return;
        }
        match self.source.url().await.and_then(|url| Link::new(url, self.timeout)) {
            Ok(link) => self.link.store(Arc::new(link)),
            Err(error) => tracing::warn!(%error, "redis keeps the URL it has"),
        }
    }

    /// Takes a changed URL from the file.
    async fn look_at_source(&self) {
        let link = self.link.load_full();
        match self.source.url().await {
            Ok(url) if url == link.url => {}
            Ok(_) => {
                tracing::info!("the URL of redis has changed");
                self.relink(&link).await;
                self.breaker.succeeded();
            }
            Err(error) => tracing::warn!(%error, "redis keeps the URL it has"),
        }
    }

    /// For the breaker.
    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

impl Link {
    fn new(url: String, timeout: Duration) -> Result<Self, String> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(2)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(500))
            .set_connection_timeout(Some(timeout))
            .set_response_timeout(Some(timeout));
        let manager = ConnectionManager::new_lazy_with_config(source::client(&url, timeout)?, config)
            .map_err(|_| "the connection cannot be set up".to_owned())?;
        Ok(Self { url, manager })
    }
}

/// Follows the URL's file for as long as the connection is in use.
async fn watch(redis: Weak<Redis>) {
    loop {
        tokio::time::sleep(WATCH).await;
        let Some(redis) = redis.upgrade() else { return };
        redis.look_at_source().await;
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
