//! Limits that replicas share through a real redis.

use std::time::Duration;

use axum::Router;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::client::{Answer, call_request, get, request, send};
use crate::layers::{ask, router};
use crate::process::{PORTS, Runtime};
use crate::redis::Redis;
use crate::redis_support::{eventually, servers_of_cluster};

fn at(redis: &Redis) -> String {
    format!(
        "redis: {{url: 'redis://{}', socket_timeout: 1, key_prefix: 'mcp:test'}}\nsessions: {{store: memory}}\n",
        redis.address
    )
}

async fn running() -> Redis {
    let mut redis = Redis::down();
    redis.up().await;
    redis
}

/// Calls a tool at one replica, from that address.
async fn call(replica: &Router, address: &str, tool: &str) -> Answer {
    let builder = Request::builder().method("POST").uri("/mcp").header("host", "localhost:8000");
    ask(replica, address, call_request(builder, tool, &json!({"text": "a", "a": 1, "b": 2}))).await
}

/// How many of so many calls are served, taken by turns.
async fn served(replicas: &[&Router], address: &str, tool: &str, calls: usize) -> usize {
    let mut served = 0;
    for turn in 0..calls {
        let answer = call(replicas[turn % replicas.len()], address, tool).await;
        assert!([200, 429].contains(&answer.status.as_u16()), "{answer:?}");
        served += usize::from(answer.status == 200);
    }
    served
}

const ALL: &str = "rate_limits:
  per_client: {requests: 30, per_seconds: 3600}
  per_principal: {requests: 20, per_seconds: 3600}
  per_tool: [{tools: [ad*], requests: 3, per_seconds: 3600}]
";

#[tokio::test]
async fn replicas_share_the_buckets_of_client_principal_and_tool() {
    let redis = running().await;
    let config = format!("{}{ALL}", at(&redis));
    let (one, other) = (router(&config).await, router(&config).await);
    let both = [&one, &other];
    assert_eq!(served(&both, "192.0.2.1", "add", 10).await, 3, "the tool's");
    assert_eq!(served(&both, "192.0.2.1", "echo", 30).await, 17, "the principal's: what was refused took nothing");
    assert_eq!(served(&both, "192.0.2.2", "echo", 1).await, 1, "another one");

    let only_client = format!("{}rate_limits: {{per_client: {{requests: 9, per_seconds: 3600}}}}\n", at(&redis));
    let (one, other) = (router(&only_client).await, router(&only_client).await);
    assert_eq!(served(&[&one, &other], "192.0.2.1", "echo", 20).await, 9, "the client's");
}

#[tokio::test]
async fn a_refusal_of_redis_has_the_id_and_the_time_to_wait() {
    let redis = running().await;
    let config =
        format!("{}rate_limits: {{per_tool: [{{tools: ['*'], requests: 2, per_seconds: 3600}}]}}\n", at(&redis));
    let (one, other) = (router(&config).await, router(&config).await);
    assert_eq!(served(&[&one], "192.0.2.1", "add", 2).await, 2);
    // It has never seen this principal.
    let answer = call(&other, "192.0.2.1", "add").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.json()["id"], 1);
    assert_eq!(answer.json()["error"]["message"], "Too many calls of this tool.");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1800).contains(&wait), "{wait}");
}

#[tokio::test]
async fn keys_have_one_slot_name_nobody_and_end_when_the_bucket_is_empty() {
    let redis = running().await;
    let one = router(&format!("{}{ALL}", at(&redis))).await;
    assert_eq!(served(&[&one], "192.0.2.1", "add", 1).await, 1);
    let client = redis::Client::open(format!("redis://{}", redis.address)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut keys: Vec<String> = redis::cmd("KEYS").arg("*:limit:*").query_async(&mut connection).await.unwrap();
    keys.sort();
    let tag = keys[0].strip_prefix("mcp:test:limit:{").and_then(|rest| rest.split('}').next()).unwrap();
    let address = "4:00000000c0000201";
    assert_eq!(
        keys,
        [
            format!("mcp:test:limit:{{{tag}}}:client:requests:30/3600/30:{address}"),
            format!("mcp:test:limit:{{{tag}}}:principal:20/3600/20:{address}"),
            format!("mcp:test:limit:{{{tag}}}:tool:ad*:3/3600/3:{address}"),
        ]
    );
    let seconds: u64 = redis::cmd("TTL").arg(&keys[2]).query_async(&mut connection).await.unwrap();
    assert!((1190..=1200).contains(&seconds), "one of three in an hour: {seconds}");
}

#[tokio::test]
async fn failed_authentications_at_one_replica_count_at_all() {
    let redis = running().await;
    let config = format!(
        "{}auth: {{issuer_url: 'http://127.0.0.1:9'}}\nrate_limits: {{per_client: {{requests: 6, per_seconds: 3600}}}}\n",
        at(&redis)
    );
    let (one, other) = (router(&config).await, router(&config).await);
    for _ in 0..6 {
        assert_eq!(call(&one, "192.0.2.1", "echo").await.status, 401);
    }
    assert_eq!(call(&one, "192.0.2.1", "echo").await.status, 429);
    let mut admitted = 0;
    while call(&other, "192.0.2.1", "echo").await.status == 401 {
        admitted += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(admitted < 6, "the other one has learned of it: {admitted}");
}

#[tokio::test]
async fn the_buckets_of_a_request_are_in_one_slot_of_a_cluster() {
    let servers = servers_of_cluster(3, 0).await;
    let url = format!("redis://127.0.0.1:{}", servers[1].port);
    let config = format!("redis: {{cluster: {{urls: ['{url}']}}}}\nsessions: {{store: memory}}\n{ALL}");
    let (one, other) = (router(&config).await, router(&config).await);
    // The first ones may be decided here, while the connection is made.
    eventually("redis decides", async || {
        let before = keys_of(&servers).await;
        call(&one, "192.0.2.9", "echo").await;
        call(&other, "192.0.2.9", "echo").await;
        keys_of(&servers).await > before
    })
    .await;
    assert_eq!(served(&[&one, &other], "192.0.2.1", "add", 10).await, 3);
}

async fn keys_of(servers: &[crate::redis_support::Server]) -> u32 {
    let mut keys = 0;
    for server in servers {
        keys += server.ask_for::<u32>("", &["DBSIZE"]).await;
    }
    keys
}

const LIVE: &str = "formatVersion: 1
auth: {anonymous: allow}
http: {trusted_proxies: [127.0.0.0/8]}
rate_limits: {per_client: {requests: 0}, per_principal: {requests: 10, per_seconds: 3600}}
";

/// A process among two, behind a proxy that names the clients.
async fn replica(redis: &Redis) -> Runtime {
    let mut replica = Runtime::start_with(&format!("{PORTS}{}", at(redis)), Some(LIVE), &[]).await;
    replica.write("replicas", "2");
    replica.line_where(|line| line["replicas"] == 2).await;
    replica
}

async fn served_by(replicas: &[&Runtime], client: &str, calls: usize) -> usize {
    let mut served = 0;
    for turn in 0..calls {
        let builder = request("POST", replicas[turn % replicas.len()].mcp, "/mcp").header("x-forwarded-for", client);
        let answer = send(call_request(builder, "echo", &json!({"text": "a"}))).await;
        assert!([200, 429].contains(&answer.status.as_u16()), "{answer:?}");
        served += usize::from(answer.status == 200);
    }
    served
}

async fn degraded(replica: &Runtime) -> u64 {
    let metrics = get(replica.management, "/metrics").await.body;
    let line = metrics.lines().find_map(|line| line.strip_prefix("mcp_rate_limit_degraded_total ")).unwrap().to_owned();
    line.parse().unwrap()
}

/// Waits until one replica alone gives more than its share.
async fn until_shared(replica: &Runtime, network: u8) {
    for client in 1..=250 {
        if served_by(&[replica], &format!("198.51.{network}.{client}"), 6).await == 6 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("redis was not found again");
}

#[tokio::test]
async fn without_redis_each_gives_its_share_and_says_so_until_redis_is_back() {
    let mut redis = running().await;
    let (one, other) = (replica(&redis).await, replica(&redis).await);
    until_shared(&one, 1).await;
    until_shared(&other, 2).await;
    assert_eq!(served_by(&[&one, &other], "203.0.113.1", 20).await, 10);

    redis.stop().await;
    assert_eq!(served_by(&[&one], "203.0.113.2", 20).await, 5);
    assert_eq!(served_by(&[&other], "203.0.113.2", 20).await, 5);
    assert_eq!(served_by(&[&one, &other], "203.0.113.1", 4).await, 0, "what is used up stays so");
    assert!(degraded(&one).await >= 20 && degraded(&other).await >= 20);

    redis.up().await;
    until_shared(&one, 3).await;
    until_shared(&other, 4).await;
    let before = degraded(&one).await + degraded(&other).await;
    assert_eq!(served_by(&[&one, &other], "203.0.113.3", 20).await, 10);
    assert_eq!(degraded(&one).await + degraded(&other).await, before);
}

#[tokio::test]
async fn a_redis_that_hangs_holds_nobody_up() {
    let redis = running().await;
    let one = replica(&redis).await;
    until_shared(&one, 1).await;
    let client = redis::Client::open(format!("redis://{}", redis.address)).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // Far longer than the test waits for anything.
    redis::cmd("CLIENT").arg("PAUSE").arg(600_000).arg("ALL").exec_async(&mut connection).await.unwrap();
    assert_eq!(served_by(&[&one], "203.0.113.1", 20).await, 5);
    assert!(degraded(&one).await >= 5);
}

/// Nothing that a refused request leaves behind may stay: 100,000 strangers, each refused.
#[tokio::test]
async fn refused_requests_leave_no_memory_behind() {
    const WARM: u32 = 10_000;
    const MANY: u32 = 100_000;
    const CLOSED: &str = "formatVersion: 1
auth: {issuer_url: 'http://127.0.0.1:9'}
http: {trusted_proxies: [127.0.0.0/8]}
";
    let runtime = Runtime::start_with(PORTS, Some(CLOSED), &[]).await;
    // The test keeps the lines that it reads.
    let quiet = format!("{CLOSED}log_level: ERROR\n");
    runtime.write("live.yaml", &quiet);
    let digest = mcp_server_config::digest(&quiet);
    runtime.until(runtime.management, "/server", |answer| answer.json()["live"]["digest"] == digest.as_str()).await;

    refuse(&runtime, 0..WARM).await;
    let before = runtime.resident_kib();
    refuse(&runtime, WARM..WARM + MANY).await;
    let grown = runtime.resident_kib().saturating_sub(before);
    // The buckets are bounded: 2 MiB. The rest is slack for the allocator.
    assert!(grown < 24 * 1024, "{MANY} refused requests took {grown} KiB");
}

async fn refuse(runtime: &Runtime, strangers: std::ops::Range<u32>) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http();
    let workers = (0..8).map(|worker| {
        let (client, strangers, address) = (client.clone(), strangers.clone(), runtime.mcp);
        tokio::spawn(async move {
            for stranger in strangers.filter(|stranger| stranger % 8 == worker) {
                let builder = request("POST", address, "/mcp")
                    .header("x-forwarded-for", std::net::Ipv4Addr::from(0x0b00_0000 + stranger).to_string());
                let request = call_request(builder, "echo", &json!({}));
                let response = client.request(request).await.unwrap();
                assert_eq!(response.status(), 401);
                response.into_body().collect().await.unwrap();
            }
        })
    });
    for worker in workers {
        worker.await.unwrap();
    }
}
