//! Sessions that replicas share through a real redis.

mod mcp_support;

use std::time::Duration;

use http::StatusCode;
use mcp_server::state::State;
use mcp_support::proxy::Proxy;
use mcp_support::redis::Redis;
use mcp_support::{Http, Runtime, config, eventually};
use serde_json::json;

async fn replica(redis: &Redis) -> (Runtime, Http) {
    let runtime = Runtime::start(redis.config(config())).await;
    let http = Http::new(&runtime.url()).caller("alice");
    (runtime, http)
}

async fn add(http: &Http, session: &str) -> StatusCode {
    let reply = http.call_in(session, "add", json!({"a": 1, "b": 2})).await;
    let status = reply.status;
    if status.is_success() {
        assert_eq!(reply.message().await["result"]["structuredContent"]["sum"], 3.0);
    }
    status
}

#[tokio::test]
async fn a_session_survives_the_loss_of_its_replica() {
    let redis = Redis::start().await;
    let (a, on_a) = replica(&redis).await;
    let session = on_a.session().await;
    assert_eq!(add(&on_a, &session).await, StatusCode::OK);
    let mut stream = on_a.listen_in(&session, None).await;
    let seen = stream.event().await.expect("an event").field("id").expect("an id").to_owned();
    drop((a, stream));

    let (b, on_b) = replica(&redis).await;
    assert_eq!(b.endpoint.sessions(), 0);
    assert_eq!(add(&on_b, &session).await, StatusCode::OK);
    assert_eq!(b.endpoint.sessions(), 1);
    let me = on_b.call_in(&session, "whoami", json!({})).await.message().await;
    assert_eq!(me["result"]["structuredContent"]["subject"], "alice");
    // Its stream too, whatever the client has seen of the old one.
    let mut stream = on_b.listen_in(&session, Some(&seen)).await;
    assert!(stream.event().await.expect("an event").field("id").is_some());
    b.endpoint.begin_drain();
    assert_eq!(stream.event().await.expect("an event").field("retry"), Some("1000"));
}

#[tokio::test]
async fn keys_begin_with_the_prefix_and_their_life_is_renewed_by_use() {
    let redis = Redis::start().await;
    let (_runtime, http) = replica(&redis).await;
    let session = http.session().await;
    let keys: Vec<String> = redis.ask(&["KEYS", "*:session:*"]).await;
    assert_eq!(keys, [format!("mcp:test-uid:session:{{{session}}}")]);
    let mut fields: Vec<String> = redis.ask(&["HKEYS", &keys[0]]).await;
    fields.sort_unstable();
    assert_eq!(fields, ["content", "created", "owner"]);
    let owner: String = redis.ask(&["HGET", &keys[0], "owner"]).await;
    assert!(!owner.contains("alice"));

    let _: i64 = redis.ask(&["EXPIRE", &keys[0], "100"]).await;
    assert_eq!(add(&http, &session).await, StatusCode::OK);
    let seconds: i64 = redis.ask(&["TTL", &keys[0]]).await;
    assert!((1790..=1800).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn another_principal_finds_no_session_at_any_replica() {
    let redis = Redis::start().await;
    let (_a, on_a) = replica(&redis).await;
    let (b, on_b) = replica(&redis).await;
    let session = on_a.session().await;
    let mallory = Http::new(&b.url()).caller("mallory");
    assert_eq!(add(&mallory, &session).await, StatusCode::NOT_FOUND);
    assert_eq!(mallory.end(&session).await, StatusCode::NOT_FOUND);
    assert_eq!(mallory.listen_in(&session, Some("0")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(b.endpoint.sessions(), 0, "nothing was restored for the thief");
    assert_eq!(add(&on_b, &session).await, StatusCode::OK);
    assert_eq!(add(&mallory, &session).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_session_that_ends_at_one_replica_ends_at_all() {
    let redis = Redis::start().await;
    let (a, on_a) = replica(&redis).await;
    let (_b, on_b) = replica(&redis).await;
    let (_c, on_c) = replica(&redis).await;
    let session = on_a.session().await;
    assert_eq!(add(&on_b, &session).await, StatusCode::OK);
    // At a replica that has never seen it.
    assert!(on_c.end(&session).await.is_success());
    for http in [&on_a, &on_b, &on_c] {
        assert_eq!(add(http, &session).await, StatusCode::NOT_FOUND);
    }
    assert_eq!(a.endpoint.sessions(), 0);
}

/// On several threads and again and again: requests must not get at a session's worker before its handshake is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_requests_at_once_restore_a_session_once() {
    let redis = Redis::start().await;
    let (_a, on_a) = replica(&redis).await;
    let (b, on_b) = replica(&redis).await;
    for held in 1..=20 {
        let session = on_a.session().await;
        let calls = (0..20).map(|id| {
            let (http, session) = (on_b.clone(), session.clone());
            tokio::spawn(async move {
                let params = json!({"name": "add", "arguments": {"a": 1, "b": 2}});
                let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
                let reply = http.post(&[("mcp-session-id", &session)], &call).await;
                (reply.status, reply.message().await)
            })
        });
        for (status, message) in futures::future::try_join_all(calls).await.expect("no panic") {
            assert_eq!((status, &message["result"]["structuredContent"]["sum"]), (StatusCode::OK, &json!(3.0)));
        }
        assert_eq!(b.endpoint.sessions(), held);
    }
}

#[tokio::test]
async fn at_the_cap_an_idle_session_gives_way_only_later_and_new_ones_are_refused() {
    let redis = Redis::start().await;
    let mut one = redis.config(config());
    one.sessions.max = Some(1);
    let a = Runtime::start(one.clone()).await;
    let on_a = Http::new(&a.url());
    let session = on_a.session().await;
    assert_eq!(on_a.initialize("2025-11-25").await.status, StatusCode::SERVICE_UNAVAILABLE);
    // The other replica has room for one, and it is taken.
    let b = Runtime::start(one).await;
    let on_b = Http::new(&b.url());
    on_b.session().await;
    let full = on_b.call_in(&session, "add", json!({"a": 1, "b": 2})).await;
    assert_eq!(full.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(full.header("retry-after").is_some());
}

#[tokio::test]
async fn replicas_count_the_sessions_of_a_principal_together() {
    let redis = Redis::start().await;
    let start = || async {
        let mut config = redis.config(config());
        (config.sessions.max_per_principal, config.sessions.idle_timeout_seconds) = (Some(2), 3);
        let runtime = Runtime::start(config).await;
        let http = Http::new(&runtime.url()).caller("alice");
        (runtime, http)
    };
    let ((a, on_a), (b, on_b)) = (start().await, start().await);
    let first = on_a.session().await;
    let second = on_b.session().await;
    for http in [&on_a, &on_b] {
        let refused = http.initialize("2025-11-25").await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.header("retry-after").is_some());
        assert_eq!(refused.json().await["id"], 0);
    }
    Http::new(&a.url()).caller("bob").session().await;
    let keys: Vec<String> = redis.ask(&["KEYS", "*:principal:*"]).await;
    assert!(keys.len() == 2 && keys.iter().all(|key| !key.contains("alice") && !key.contains("bob")), "{keys:?}");

    // Ended where it was not opened.
    assert!(on_b.end(&first).await.is_success());
    let third = on_a.session().await;
    assert_eq!(on_b.initialize("2025-11-25").await.status, StatusCode::TOO_MANY_REQUESTS);

    // The replica is lost with its sessions; one that is in use elsewhere is counted on, the other only for a while.
    drop((a, on_a));
    let used = async {
        loop {
            assert_eq!(add(&on_b, &second).await, StatusCode::OK);
            let opened = on_b.initialize("2025-11-25").await;
            if opened.status.is_success() {
                return;
            }
            assert_eq!(opened.status, StatusCode::TOO_MANY_REQUESTS);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(mcp_support::PATIENCE, used).await.expect("the seat of the lost session is free");
    assert_eq!(on_b.initialize("2025-11-25").await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(add(&on_b, &third).await, StatusCode::NOT_FOUND);
    assert_eq!(b.endpoint.sessions(), 2);
}

#[tokio::test]
async fn without_redis_held_sessions_go_on_and_the_rest_is_503() {
    let mut redis = Redis::start().await;
    let (a, on_a) = replica(&redis).await;
    let (_b, on_b) = replica(&redis).await;
    let session = on_a.session().await;
    assert_eq!(a.state.ping().await, Some(Ok(())));

    redis.down().await;
    assert!(matches!(a.state.ping().await, Some(Err(_))));
    assert_eq!(add(&on_a, &session).await, StatusCode::OK, "held here");
    for refused in [
        on_b.call_in(&session, "add", json!({"a": 1, "b": 2})).await,
        on_a.initialize("2025-11-25").await,
        on_b.initialize("2025-11-25").await,
    ] {
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.header("retry-after").is_some());
        assert!(!refused.text().await.contains("127.0.0.1"), "no address, no library's text");
    }
    assert_eq!(a.endpoint.sessions(), 1, "a refused session leaves nothing");
    // What needs no session needs no redis.
    assert_eq!(on_b.call("add", json!({"a": 1, "b": 2})).await["result"]["structuredContent"]["sum"], 3.0);

    // It comes back empty: the session that a replica still holds is written again.
    redis.up().await;
    let back = async {
        while a.state.ping().await != Some(Ok(())) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(mcp_support::PATIENCE, back).await.expect("it reconnects");
    assert_eq!(add(&on_a, &session).await, StatusCode::OK);
    let statuses = async {
        while add(&on_b, &session).await != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(mcp_support::PATIENCE, statuses).await.expect("the other replica serves it");
    on_b.session().await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_replaced() {
    let redis = Redis::start().await;
    let proxy = Proxy::to(([127, 0, 0, 1], redis.port).into()).await;
    let mut config = redis.config(config());
    config.redis.as_mut().expect("the section").url = Some(format!("redis://127.0.0.1:{}", proxy.port));
    let state = State::open(&config).await.expect("opened");
    assert_eq!(state.ping().await, Some(Ok(())));
    proxy.freeze();
    assert!(matches!(state.ping().await, Some(Err(_))));
    assert_eq!(state.ping().await, Some(Ok(())), "the next command has a new connection");
}

#[tokio::test]
async fn the_first_answer_is_waited_for_and_not_longer() {
    let mut redis = Redis::start().await;
    redis.down().await;
    let state = State::open(&redis.config(config())).await.expect("it opens without redis");
    assert!(!state.first_success());
    redis.up().await;
    eventually("redis has answered", || state.first_success()).await;
    redis.down().await;
    assert!(matches!(state.ping().await, Some(Err("redis does not answer"))));
    assert!(state.first_success());
}

#[tokio::test]
async fn a_password_is_rotated_through_the_file() {
    let mut redis = Redis::start_with(Some("first")).await;
    let file = redis.dir.path().join("url");
    std::fs::write(&file, format!("{}\n", redis.url())).expect("written");
    let mut config = redis.config(config());
    let section = config.redis.as_mut().expect("the section");
    (section.url, section.url_file) = (None, Some(file.clone()));
    let state = State::open(&config).await.expect("opened");
    assert_eq!(state.ping().await, Some(Ok(())));

    redis.down().await;
    redis.set_password("second");
    redis.up().await;
    assert!(matches!(state.ping().await, Some(Err(_))), "the old password is refused");
    std::fs::write(&file, redis.url()).expect("written");
    let rotated = async {
        while state.ping().await != Some(Ok(())) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(mcp_support::PATIENCE, rotated).await.expect("the new password is used");
}

#[tokio::test]
async fn a_wrong_section_is_refused_by_name() {
    let mut config = config();
    config.sessions.store = Some(mcp_server_config::SessionStore::Redis);
    let error = State::open(&config).await.map(|_| ()).expect_err("no redis");
    assert!(error.to_string().contains("sessions.store"), "{error}");
}
