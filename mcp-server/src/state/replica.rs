//! This process among the replicas of a server: its name, and a sign of life in redis that the others see. A replica whose
//! sign is gone has ended or cannot be reached by anybody who needs redis.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::random_bytes;
use super::redis::{Redis, Unavailable};

/// Between two signs.
const BEAT: Duration = Duration::from_secs(3);
/// A replica without a sign for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// See the module.
pub struct Replica {
    id: Arc<str>,
    redis: Option<Arc<Redis>>,
}

impl Replica {
    /// Call within a tokio runtime.
    pub(super) fn start(redis: Option<Arc<Redis>>) -> Arc<Self> {
        let id: String = random_bytes::<6>().iter().map(|byte| format!("{byte:02x}")).collect();
        let this = Arc::new(Self { id: id.into(), redis });
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
        sign.arg(key(redis, this.id())).arg(1).arg("EX").arg(GONE_AFTER.as_secs());
        // Redis says when it fails.
        let _ = redis.run::<()>(&sign).await;
        drop(this);
        tokio::time::sleep(BEAT).await;
    }
}
