//! The limit by client address, before authentication: what keeps one machine from trying tokens, or from keeping the
//! others out. Where the clients' addresses are not known (a proxy that is not trusted), only failed authentications are
//! debited, and refused: whoever has a token is served, whatever others behind the same proxy do.

use std::net::IpAddr;
use std::num::NonZeroU32;
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
    /// For all replicas together.
    section: PerClient,
    /// This one's share.
    rate: Rate,
    buckets: Cache<Key, Arc<Bucket>>,
    /// Zero of the buckets' clock.
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
    /// `None` where the section switches it off. Each of the `replicas` counts on its own and gives its share of the rate,
    /// rounded up, so that together they never give less than was written. An unchanged section keeps the buckets:
    /// neither a reload nor scaling gives anybody new room.
    #[must_use]
    pub fn new(section: &PerClient, replicas: NonZeroU32, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        if section.requests == 0 {
            return None;
        }
        let rate = rate(section, replicas);
        let (buckets, start) = match previous.filter(|previous| previous.section == *section) {
            Some(previous) if previous.rate == rate => return Some(Arc::clone(previous)),
            Some(previous) => (previous.buckets.clone(), previous.start),
            None => (empty(section), Instant::now()),
        };
        Some(Arc::new(Self { section: section.clone(), rate, buckets, start }))
    }

    fn bucket(&self, client: IpAddr) -> Arc<Bucket> {
        self.buckets.get_with(Key::of(client), Arc::default)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Before the request. Where only failures count there is nothing to refuse yet: behind a proxy that is not trusted,
    /// a refusal would let anybody who fails often enough lock everybody out.
    fn admit(&self, bucket: &Bucket) -> Result<(), Duration> {
        match self.section.count {
            Count::Requests => bucket.take(&self.rate, self.now()),
            Count::Failures => Ok(()),
        }
    }

    /// After it: whether that answer may be given.
    fn settle(&self, bucket: &Bucket, status: StatusCode) -> Result<(), Duration> {
        match self.section.count {
            Count::Failures if status == StatusCode::UNAUTHORIZED => bucket.take(&self.rate, self.now()),
            Count::Failures | Count::Requests => Ok(()),
        }
    }
}

fn rate(section: &PerClient, replicas: NonZeroU32) -> Rate {
    let PerClient { requests, per_seconds, burst, count: _ } = section;
    let share = |whole: u32| whole.div_ceil(replicas.get());
    Rate::new(share(*requests), Duration::from_secs((*per_seconds).into()), share(burst.unwrap_or(*requests)))
}

fn empty(section: &PerClient) -> Cache<Key, Arc<Bucket>> {
    // A bucket that nobody touched for so long is full again, so forgetting it changes nothing. A share that is rounded
    // up takes up to a period longer than the whole rate.
    let full_again =
        rate(section, NonZeroU32::MIN).memory() + Duration::from_secs(u64::from(section.per_seconds).saturating_add(1));
    Cache::builder().max_capacity(CLIENTS_AT_MOST).time_to_idle(full_again).build()
}

/// The layer.
pub async fn client_limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let limit = extensions.get::<Arc<LiveState>>().and_then(|live| live.client_limit.clone());
    let (Some(limit), Some(client)) = (limit, extensions.get::<Client>().copied()) else {
        return next.run(request).await;
    };
    let bucket = limit.bucket(client.address);
    let response = match limit.admit(&bucket) {
        Ok(()) => {
            let response = next.run(request).await;
            limit.settle(&bucket, response.status()).map(|()| response)
        }
        Err(wait) => Err(wait),
    };
    app.metrics.rate_limit("client", response.is_ok());
    response.unwrap_or_else(|wait| {
        debug!(client = %client.address, "the client's rate is used up");
        too_many(wait)
    })
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
        let section = PerClient { requests: 2, per_seconds: 3600, burst: None, count };
        ClientLimit::new(&section, NonZeroU32::MIN, None).unwrap()
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
    fn failures_are_debited_and_refused_and_nothing_else_is() {
        let limit = limit(Count::Failures);
        let bucket = limit.bucket("192.0.2.1".parse().unwrap());
        for _ in 0..10 {
            assert!(limit.settle(&bucket, StatusCode::OK).is_ok());
        }
        for _ in 0..2 {
            assert!(limit.settle(&bucket, StatusCode::UNAUTHORIZED).is_ok());
        }
        assert!(limit.settle(&bucket, StatusCode::UNAUTHORIZED).is_err());
        assert!(limit.admit(&bucket).is_ok(), "others are behind the same address");
        assert!(limit.settle(&bucket, StatusCode::OK).is_ok());
    }

    #[test]
    fn an_unchanged_section_keeps_its_buckets() {
        let old = limit(Count::Requests);
        let new = |section: &PerClient| ClientLimit::new(section, NonZeroU32::MIN, Some(&old));
        assert!(Arc::ptr_eq(&old, &new(&old.section).unwrap()));
        let changed = PerClient { requests: 3, ..old.section.clone() };
        assert!(!Arc::ptr_eq(&old, &new(&changed).unwrap()));
        assert!(new(&PerClient { requests: 0, ..changed }).is_none());
    }

    /// How many requests of one client are admitted at once.
    fn room(limit: &ClientLimit, client: &str) -> usize {
        let bucket = limit.bucket(client.parse().unwrap());
        (0..1000).take_while(|_| limit.admit(&bucket).is_ok()).count()
    }

    fn share(requests: u32, burst: Option<u32>, replicas: u32) -> usize {
        let section = PerClient { requests, per_seconds: 3600, burst, count: Count::Requests };
        room(&ClientLimit::new(&section, NonZeroU32::new(replicas).unwrap(), None).unwrap(), "192.0.2.1")
    }

    #[test]
    fn replicas_share_a_rate_and_round_up() {
        assert_eq!(share(100, None, 1), 100);
        assert_eq!(share(100, None, 3), 34);
        assert_eq!(share(100, Some(10), 3), 4);
        assert_eq!(share(1, None, 1000), 1, "a share is never nothing");
    }

    #[test]
    fn scaling_gives_nobody_new_room() {
        let section = PerClient { requests: 10, per_seconds: 3600, burst: None, count: Count::Requests };
        let two = NonZeroU32::new(2).unwrap();
        let alone = ClientLimit::new(&section, NonZeroU32::MIN, None).unwrap();
        assert_eq!(room(&alone, "192.0.2.1"), 10);
        let shared = ClientLimit::new(&section, two, Some(&alone)).unwrap();
        assert_eq!((room(&shared, "192.0.2.1"), room(&shared, "192.0.2.2")), (0, 5));
        let alone = ClientLimit::new(&section, NonZeroU32::MIN, Some(&shared)).unwrap();
        assert_eq!(room(&alone, "192.0.2.1"), 0);
    }
}
