//! The limit by client address, before authentication: what keeps one machine from trying tokens, or from keeping the
//! others out. Where the clients' addresses are not known (a proxy that is not trusted), only failed authentications are
//! debited, so that honest clients do not share one rate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use mcp_server_config::{Count, PerClient};
use moka::sync::Cache;
use tracing::debug;

use super::gcra::{Bucket, Rate};
use crate::app::App;
use crate::http::{Client, refusal};
use crate::settings::LiveState;

/// Clients that are remembered at once. Who is forgotten for others' sake starts with a full bucket.
const CLIENTS_AT_MOST: u64 = 100_000;

/// The limit and the buckets of all clients.
#[derive(Debug)]
pub struct ClientLimit {
    section: PerClient,
    rate: Rate,
    buckets: Cache<Key, Arc<Bucket>>,
    start: Instant,
}

/// An IPv4 address, or the /64 that one IPv6 client has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key(u64, bool);

impl Key {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits()), false),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64, true),
        }
    }
}

impl ClientLimit {
    /// `None` where the section switches it off. An unchanged section keeps the buckets: a reload gives nobody new room.
    #[must_use]
    pub fn new(section: &PerClient, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if section.requests == 0 {
            return None;
        }
        if let Some(previous) = previous
            && previous.section == *section
        {
            return Some(Arc::clone(previous));
        }
        let PerClient { requests, per_seconds, burst, count: _ } = section;
        let rate = Rate::new(*requests, Duration::from_secs((*per_seconds).into()), burst.unwrap_or(*requests));
        let buckets = Cache::builder()
            .max_capacity(CLIENTS_AT_MOST)
            // A bucket that nobody touched for so long is full again, so forgetting it changes nothing.
            .time_to_idle(rate.memory() + Duration::from_secs(1))
            .build();
        Some(Arc::new(Self { section: section.clone(), rate, buckets, start: Instant::now() }))
    }

    fn bucket(&self, client: IpAddr) -> Arc<Bucket> {
        self.buckets.get_with(Key::of(client), Arc::default)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Before the request: takes, or only looks where failures count.
    fn admit(&self, bucket: &Bucket) -> Result<(), Duration> {
        match self.section.count {
            Count::Requests => bucket.take(&self.rate, self.now()),
            Count::Failures => bucket.check(&self.rate, self.now()),
        }
    }

    /// After it.
    fn settle(&self, bucket: &Bucket, status: StatusCode) {
        if self.section.count == Count::Failures && status == StatusCode::UNAUTHORIZED {
            // Several at once may have been admitted by the last of the room; then nothing is left to take.
            let _ = bucket.take(&self.rate, self.now());
        }
    }
}

/// The layer.
pub async fn client_limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let limit = extensions.get::<Arc<LiveState>>().and_then(|live| live.client_limit.clone());
    let (Some(limit), Some(client)) = (limit, extensions.get::<Client>().copied()) else {
        return next.run(request).await;
    };
    let bucket = limit.bucket(client.address);
    let admitted = limit.admit(&bucket);
    app.metrics.rate_limit("client", admitted.is_ok());
    if let Err(wait) = admitted {
        debug!(client = %client.address, "the client's rate is used up");
        return too_many(wait);
    }
    let response = next.run(request).await;
    limit.settle(&bucket, response.status());
    response
}

/// 429 with the whole seconds to wait.
fn too_many(wait: Duration) -> Response {
    let mut response = refusal(StatusCode::TOO_MANY_REQUESTS, "Too many requests");
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn limit(count: Count) -> Arc<ClientLimit> {
        ClientLimit::new(&PerClient { requests: 2, per_seconds: 3600, burst: None, count }, None).unwrap()
    }

    #[test]
    fn clients_have_buckets_of_their_own_and_an_ipv6_network_has_one() {
        let limit = limit(Count::Requests);
        let admit = |address: &str| limit.admit(&limit.bucket(address.parse().unwrap())).is_ok();
        assert!(admit("192.0.2.1") && admit("192.0.2.1") && !admit("192.0.2.1"));
        assert!(!admit("::ffff:192.0.2.1"));
        assert!(admit("192.0.2.2"));
        assert!(admit("2001:db8::1") && admit("2001:db8::2:3") && !admit("2001:db8::4"));
        assert!(admit("2001:db8:0:1::1"));
    }

    #[test]
    fn failures_are_debited_only_when_they_fail() {
        let limit = limit(Count::Failures);
        let bucket = limit.bucket("192.0.2.1".parse().unwrap());
        for _ in 0..10 {
            assert!(limit.admit(&bucket).is_ok());
            limit.settle(&bucket, StatusCode::OK);
        }
        limit.settle(&bucket, StatusCode::UNAUTHORIZED);
        assert!(limit.admit(&bucket).is_ok());
        limit.settle(&bucket, StatusCode::UNAUTHORIZED);
        assert!(limit.admit(&bucket).is_err());
    }

    #[test]
    fn an_unchanged_section_keeps_its_buckets() {
        let old = limit(Count::Requests);
        let same = ClientLimit::new(&old.section, Some(&old)).unwrap();
        assert!(Arc::ptr_eq(&old, &same));
        let changed = PerClient { requests: 3, ..old.section.clone() };
        assert!(!Arc::ptr_eq(&old, &ClientLimit::new(&changed, Some(&old)).unwrap()));
        assert!(ClientLimit::new(&PerClient { requests: 0, ..changed }, Some(&old)).is_none());
    }
}
