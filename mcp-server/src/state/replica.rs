//! This process among the replicas of a server: its name, and a sign of life in redis that the others see, with the address
//! at which they reach it. A replica whose sign is gone has ended or cannot be reached by anybody who needs redis.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::random_bytes;
use super::redis::{Redis, Unavailable};

/// Between two signs.
const BEAT: Duration = Duration::from_secs(3);
/// Before its address is known, which it is soon.
const BEAT_UNANNOUNCED: Duration = Duration::from_millis(500);
/// A replica without a sign for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Seconds since 1970, for what one replica says and another checks.
pub(crate) fn wall_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// See the module.
pub struct Replica {
    id: Arc<str>,
    redis: Option<Arc<Redis>>,
    address: OnceLock<SocketAddr>,
    announced: Notify,
}

impl Replica {
    /// Call within a tokio runtime.
    pub(super) fn start(redis: Option<Arc<Redis>>) -> Arc<Self> {
        let id: String = random_bytes::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
        let this = Arc::new(Self { id: id.into(), redis, address: OnceLock::new(), announced: Notify::new() });
        if this.redis.is_some() {
            tokio::spawn(beat(Arc::downgrade(&this)));
        }
        this
    }

    /// Unique among the replicas of all times: twelve hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where the others reach it: its sign says so from now on. Returns whether that is news.
    pub(crate) fn announce(&self, address: SocketAddr) -> bool {
        let is_news = self.address.set(address).is_ok();
        self.announced.notify_one();
        is_news
    }

    /// Where the others reach it.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// Where the replica of that name is reached, if it runs and can be.
    pub(crate) async fn address_of(&self, id: &str) -> Result<Option<SocketAddr>, Unavailable> {
        let Some(redis) = &self.redis else { return Ok(None) };
        let address: Option<String> = redis.run(redis::cmd("GET").arg(key(redis, id))).await?;
        Ok(address.and_then(|address| address.parse().ok()))
    }

    /// The replica of that name runs. Without redis only this one is known.
    pub async fn is_alive(&self, id: &str) -> Result<bool, Unavailable> {
        match &self.redis {
            _ if id == self.id() => Ok(true),
            Some(redis) => redis.run(redis::cmd("EXISTS").arg(key(redis, id))).await,
            None => Ok(false),
        }
    }
}

fn key(redis: &Redis, id: &str) -> String {
    redis.key(&format!("replica:{id}"))
}

async fn beat(replica: Weak<Replica>) {
    loop {
        let Some(this) = replica.upgrade() else { return };
        let Some(redis) = &this.redis else { return };
        let mut sign = redis::cmd("SET");
        let told = this.address();
        let address = told.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
        sign.arg(key(redis, this.id())).arg(address).arg("EX").arg(GONE_AFTER.as_secs());
        // Redis says when it fails.
        let _ = redis.run::<()>(&sign).await;
        // No reference is held while it waits, or the replica would never end.
        if this.address() != told {
            // Announced in the meantime.
        } else if told.is_some() {
            drop(this);
            tokio::time::sleep(BEAT).await;
        } else {
            let _ = tokio::time::timeout(BEAT_UNANNOUNCED, this.announced.notified()).await;
        }
    }
}
