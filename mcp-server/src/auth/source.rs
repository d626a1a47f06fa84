//! The keys of one issuer, kept fresh by a task of their own.
//!
//! The task fetches, sleeps for most of the keys' lifetime and fetches again, so that no request waits for a refresh and
//! an idle server notices a lost issuer. Only one thing makes a request wait: a token that names a key nobody has seen.
//! Then the task is woken, at most once in each cool-down, and everybody who waits gets the same answer.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use mcp_server_config::report::IssuerReport;
use rand::Rng as _;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::{debug, info, warn};
use url::Url;

use super::clock::Clock;
use super::discovery::{self, Metadata};
use super::fetch::{FetchError, Fetched, Fetcher};
use super::keys::{Document, KeySet};

/// How long one document may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);
/// How long a request waits for keys: a whole round, discovery included.
pub(super) const WAIT: Duration = Duration::from_secs(6);
/// The time between two fetches that unknown keys cause.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// Lifetimes that `Cache-Control` may set, and the one without it.
const SHORTEST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(60 * 60);
const USUAL: Duration = Duration::from_secs(10 * 60);
/// Keys that old are not used any more, whatever the issuer's state.
const HARD_MAXIMUM: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest pause between two attempts while the issuer fails.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Where the keys come from, and which of them are used. Sources that are equal in this share their keys across
/// reloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) issuer: String,
    /// Where the metadata is.
    pub(super) base: Url,
    /// Where the keys are, if not where the metadata says.
    pub(super) keys: Option<Url>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) algorithms: Vec<Algorithm>,
    /// It may have no keys at all: it is asked about its tokens.
    pub(super) keyless: bool,
}

/// The keys of one issuer. Dropped, its task ends.
pub(super) struct KeySource {
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    origin: Origin,
    clock: Arc<dyn Clock>,
    state: watch::Sender<State>,
    wake: Notify,
    last_wake: Mutex<Option<Duration>>,
}

#[derive(Default)]
struct State {
    /// How many rounds have ended, and how many of them without keys.
    rounds: u64,
    failures: u64,
    /// A round is under way.
    fetching: bool,
    loaded: Option<Loaded>,
    /// Why the last round failed.
    error: Option<FetchError>,
}

struct Loaded {
    keys: Arc<KeySet>,
    at: Duration,
}

/// Keys, and the round that they were seen in.
pub(super) struct Snapshot {
    pub(super) keys: Arc<KeySet>,
    round: u64,
}

impl KeySource {
    /// Starts to fetch.
    pub(super) fn start(origin: Origin, clock: Arc<dyn Clock>) -> Self {
        let shared = Arc::new(Shared {
            origin,
            clock,
            state: watch::Sender::new(State { fetching: true, ..State::default() }),
            wake: Notify::new(),
            last_wake: Mutex::new(None),
        });
        let task = tokio::spawn(keep_fresh(shared.clone())).abort_handle();
        Self { shared, task }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.shared.origin
    }

    /// The keys. `None`: there are none, or they are too old. Waits only while the very first round is under way.
    pub(super) async fn keys(&self) -> Option<Snapshot> {
        self.after_round(0).await
    }

    /// Keys newer than `seen`, for a token whose key is not among those. `None`: there are none yet, and it is too early
    /// to ask the issuer again.
    pub(super) async fn newer(&self, seen: &Snapshot) -> Option<Snapshot> {
        let newer_come = {
            let state = self.shared.state.borrow();
            state.rounds > seen.round || state.fetching
        };
        if newer_come || self.shared.wake_if_cooled_down() { self.after_round(seen.round).await } else { None }
    }

    /// The keys as soon as more than `round` rounds have ended.
    async fn after_round(&self, round: u64) -> Option<Snapshot> {
        let mut states = self.shared.state.subscribe();
        tokio::select! {
            _ = states.wait_for(|state| state.rounds > round) => {}
            () = self.shared.clock.sleep(WAIT) => {}
        }
        let state = states.borrow();
        let keys = self.shared.usable(&state)?;
        Some(Snapshot { keys, round: state.rounds })
    }

    /// Keys have been there once.
    pub(super) fn loaded_once(&self) -> bool {
        self.shared.state.borrow().loaded.is_some()
    }

    pub(super) fn report(&self) -> IssuerReport {
        let state = self.shared.state.borrow();
        IssuerReport {
            url: self.shared.origin.issuer.clone(),
            ok: self.shared.usable(&state).is_some(),
            error: state.error.map(|error| error.to_string()),
        }
    }

    pub(super) fn statistics(&self) -> Statistics {
        let state = self.shared.state.borrow();
        let now = self.shared.clock.monotonic();
        Statistics {
            issuer: self.shared.origin.issuer.clone(),
            age: state.loaded.as_ref().map(|loaded| now.saturating_sub(loaded.at)),
            succeeded: state.rounds - state.failures,
            failed: state.failures,
            introspections: None,
        }
    }
}

/// What the metrics tell of one issuer.
pub(super) struct Statistics {
    pub(super) issuer: String,
    /// The time since the keys in use were fetched.
    pub(super) age: Option<Duration>,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    /// Questions about tokens that were answered, and those that were not.
    pub(super) introspections: Option<(u64, u64)>,
}

impl Drop for KeySource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn usable(&self, state: &State) -> Option<Arc<KeySet>> {
        let loaded = state.loaded.as_ref()?;
        let age = self.clock.monotonic().saturating_sub(loaded.at);
        (age < HARD_MAXIMUM).then(|| loaded.keys.clone())
    }

    fn wake_if_cooled_down(&self) -> bool {
        let now = self.clock.monotonic();
        let mut last = self.last_wake.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.saturating_sub(last) < COOL_DOWN) {
            return false;
        }
        *last = Some(now);
        // At once, not when the task gets to it: whoever comes in between waits for this round too.
        self.round_begins();
        self.wake.notify_one();
        true
    }

    fn round_begins(&self) {
        self.state.send_modify(|state| state.fetching = true);
    }

    /// Publishes the result in one step: who sees `fetching` false sees the round's keys too.
    fn round_ends(&self, result: Result<KeySet, FetchError>) {
        let at = self.clock.monotonic();
        let issuer = &self.origin.issuer;
        self.state.send_modify(|state| {
            state.rounds += 1;
            state.fetching = false;
            match result {
                Ok(keys) => {
                    if state.loaded.is_none() || state.error.is_some() {
                        info!(issuer, keys = keys.len(), "the issuer's keys are loaded");
                    } else {
                        debug!(issuer, keys = keys.len(), "the issuer's keys are loaded");
                    }
                    state.loaded = Some(Loaded { keys: Arc::new(keys), at });
                    state.error = None;
                }
                Err(error) => {
                    warn!(issuer, %error, stale = state.loaded.is_some(), "the issuer's keys could not be fetched");
                    state.failures += 1;
                    state.error = Some(error);
                }
            }
        });
    }
}

/// Fetches for as long as the source lives.
async fn keep_fresh(shared: Arc<Shared>) {
    let mut known_url = None;
    let mut failures = 0;
    loop {
        let pause = match round(&shared, known_url.take()).await {
            Ok((keys, lifetime, url)) => {
                shared.round_ends(Ok(keys));
                failures = 0;
                known_url = url;
                lifetime.mul_f64(0.8)
            }
            Err(error) => {
                shared.round_ends(Err(error));
                failures += 1;
                retry_after(failures)
            }
        };
        // A planned round asks for the metadata anew; one for an unknown key only for the keys.
        tokio::select! {
            () = shared.clock.sleep(pause) => known_url = None,
            () = shared.wake.notified() => {}
        }
        shared.round_begins();
    }
}

/// One second, then twice as long each time, and up to a fifth less so that replicas do not ask at once.
fn retry_after(failures: u32) -> Duration {
    let pause = Duration::from_secs(1 << failures.saturating_sub(1).min(5)).min(LONGEST_RETRY);
    pause.mul_f64(rand::rng().random_range(0.8..=1.0))
}

/// The keys, how long they are fresh, and where they were.
async fn round(shared: &Shared, known_url: Option<Url>) -> Result<(KeySet, Duration, Option<Url>), FetchError> {
    let Shared { origin, clock, .. } = shared;
    let fetcher = Fetcher::new(origin.ca_file.as_deref(), 0).await?;
    let url = match origin.keys.clone().or(known_url) {
        Some(url) => url,
        None => match discover(origin, &**clock, &fetcher, discovery::keys_url).await {
            Err(FetchError::NoKeysUrl) if origin.keyless => return Ok((KeySet::default(), USUAL, None)),
            found => found?,
        },
    };
    let Fetched { document, fresh_for } = get::<Document>(&**clock, &fetcher, &url).await?;
    let keys = KeySet::parse(document, &origin.algorithms).ok_or(FetchError::NoUsableKey)?;
    let lifetime = fresh_for.map_or(USUAL, |lifetime| lifetime.clamp(SHORTEST, LONGEST));
    Ok((keys, lifetime, Some(url)))
}

/// What `take` finds in the first metadata document that is good.
pub(super) async fn discover(
    origin: &Origin,
    clock: &dyn Clock,
    fetcher: &Fetcher,
    take: fn(&Metadata, &str, &Url) -> Result<Url, FetchError>,
) -> Result<Url, FetchError> {
    let Origin { issuer, base, .. } = origin;
    let mut failure = FetchError::Status(404);
    for url in discovery::metadata_urls(base) {
        let found = get::<Metadata>(clock, fetcher, &url).await;
        match found.and_then(|found| take(&found.document, issuer, base)) {
            Ok(url) => return Ok(url),
            // The other addresses are on the same host.
            Err(error) if error.is_of_host() => return Err(error),
            Err(FetchError::Status(404)) => {}
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn get<T: DeserializeOwned>(clock: &dyn Clock, fetcher: &Fetcher, url: &Url) -> Result<Fetched<T>, FetchError> {
    tokio::select! {
        fetched = fetcher.get(url) => fetched,
        () = clock.sleep(DEADLINE) => Err(FetchError::Timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_grow_to_half_a_minute_and_no_further() {
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (1000, 30)] {
            let pause = retry_after(failures);
            let longest = Duration::from_secs(longest);
            assert!(pause <= longest && pause >= longest.mul_f64(0.79), "{failures}: {pause:?}");
        }
    }
}
