//! The buckets that replicas share, in redis. One script, one round trip: it looks at every bucket of a request before it
//! takes from any, by redis' own clock, so that a replica whose clock is wrong has no wider window.
//!
//! Key: `<prefix>:limit:{<tag>}:<limit>:<whose>`. The tag is one a server: the buckets of a request are of a client, of a
//! principal and of tools, and a script of a cluster has one slot. Principals are digests: no name of a person is in redis.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::rules::Quota;
use super::who::Who;
use crate::state::breaker::{Breaker, millis};
use crate::state::{Redis, Script};

/// Longer than that no request waits for redis.
const PATIENCE: Duration = Duration::from_millis(100);
/// After one has waited in vain, requests are decided here for so long; then one tries.
const PAUSE: Duration = Duration::from_secs(1);
/// Debits at once that nobody waits for. Further ones are left out: they count here.
const LATER_AT_MOST: usize = 64;

/// Times in microseconds, by redis' clock. Returns 0, or the number of the bucket that is waited for longest; how long;
/// and how long each bucket takes to be empty.
const TAKE_ALL: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('MGET', unpack(KEYS))
local full, wait, levels = 0, 0, {}
for i = 1, #KEYS do
  local empty_at = math.max(tonumber(held[i] or 0), now)
  local over = empty_at + ARGV[2 * i - 1] - now - ARGV[2 * i]
  if over > wait then full, wait = i, over end
  levels[i] = empty_at - now
end
if full == 0 then
  for i = 1, #KEYS do
    levels[i] = levels[i] + ARGV[2 * i - 1]
    redis.call('SET', KEYS[i], string.format('%.0f', now + levels[i]), 'PX', math.ceil(levels[i] / 1000))
  end
end
return {full, wait, unpack(levels)}
";

/// See the module.
pub(super) struct Shared {
    redis: Arc<Redis>,
    script: Script,
    /// What all keys begin with.
    prefix: String,
    started: Instant,
    breaker: Breaker,
    later: Arc<Semaphore>,
}

/// What redis says.
pub(super) struct Verdict {
    /// The bucket that has no room, and how long until it has.
    pub(super) refused: Option<(usize, Duration)>,
    /// How long each bucket takes to be empty.
    pub(super) levels: Vec<Duration>,
}

impl Shared {
    pub(super) fn new(redis: Arc<Redis>) -> Arc<Self> {
        let tag = digest::digest(&digest::SHA256, redis.key("limit").as_bytes());
        let prefix = redis.key(&format!("limit:{{{}}}:", hex(&tag.as_ref()[..4])));
        Arc::new(Self {
            redis,
            script: Script::new(TAKE_ALL),
            prefix,
            started: Instant::now(),
            breaker: Breaker::new(PAUSE, PATIENCE * 2),
            later: Arc::new(Semaphore::new(LATER_AT_MOST)),
        })
    }

    /// Redis was there when it was last asked.
    pub(super) fn is_there(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Takes one request from every bucket, or none. `None`: redis did not say in time.
    pub(super) async fn take_all(&self, quotas: &[(&Quota, Who<'_>)]) -> Option<Verdict> {
        if !self.breaker.admits(self.now()) {
            return None;
        }
        let keys: Vec<String> = quotas.iter().map(|(quota, who)| self.key(quota, who)).collect();
        let asked = self.redis.script::<Vec<u64>>(&self.script, |command| {
            command.arg(keys.len()).arg(&keys);
            for (quota, _) in quotas {
                let (interval, capacity) = quota.whole.micros();
                command.arg(interval).arg(capacity);
            }
        });
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                verdict(&answer)
            }
            failed => {
                if self.breaker.failed(self.now()) {
                    tracing::warn!("rate limits are decided here: redis does not answer in time");
                }
                if failed.is_err() {
                    self.look_closer();
                }
                None
            }
        }
    }

    /// The turn of a debit that nobody waits for, unless there are too many.
    pub(super) fn later(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.later).try_acquire_owned().ok()
    }

    /// Waits longer than a request may: so a connection that takes its time is made all the same, and one that is silent is
    /// found out.
    fn look_closer(&self) {
        let redis = Arc::clone(&self.redis);
        tokio::spawn(async move { redis.ping().await });
    }

    fn key(&self, quota: &Quota, who: &Who<'_>) -> String {
        let mut key = String::with_capacity(self.prefix.len() + quota.name.len() + 40);
        key.push_str(&self.prefix);
        key.push_str(&quota.name);
        key.push(':');
        who.write_digest(&mut key);
        key
    }

    fn now(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

fn verdict(answer: &[u64]) -> Option<Verdict> {
    let (&[full, wait], levels) = answer.split_first_chunk()?;
    let refused = usize::try_from(full).ok()?.checked_sub(1).map(|bucket| (bucket, Duration::from_micros(wait)));
    Some(Verdict { refused, levels: levels.iter().copied().map(Duration::from_micros).collect() })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
