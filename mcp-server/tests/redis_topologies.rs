//! The connection to redis, whatever stands behind it: one server with ACL or TLS, sentinels, a cluster. All of it real.
#![allow(clippy::unwrap_used)]

mod redis_support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mcp_server::state::{Redis, Script, State};
use mcp_server_config::{Cluster, Config, Redis as Section, Sentinel};
use redis_support::{Authority, Server, eventually, sentinel_of, servers_of_cluster};

async fn open(section: Section) -> Arc<State> {
    let redis = Some(Section { socket_timeout: 2, key_prefix: Some("mcp:test".to_owned()), ..section });
    State::open(&Config { redis, ..Config::default() }).await.unwrap()
}

fn at(url: String) -> Section {
    Section { url: Some(url), ..Section::default() }
}

/// Writes and reads back.
async fn works(redis: &Redis, name: &str) -> bool {
    let key = redis.key(name);
    let set: Result<(), _> = redis.run(redis::cmd("SET").arg(&key).arg("value")).await;
    set.is_ok() && redis.run::<String>(redis::cmd("GET").arg(&key)).await.is_ok_and(|value| value == "value")
}

#[tokio::test]
async fn a_user_of_the_acl_has_its_password_from_a_file_that_may_change() {
    let server =
        Server::start(&["--user", "default", "off", "--user", "runtime", "on", ">first", "~mcp:*", "+@all"]).await;
    let password = server.file("password", "first\n");
    let state = open(Section {
        username: Some("runtime".to_owned()),
        password_file: Some(password.clone()),
        ..at(format!("redis://127.0.0.1:{}", server.port))
    })
    .await;
    let redis = state.redis().unwrap();
    assert!(works(redis, "a").await);
    // The ACL keeps it to its own keys: refused, and no sign that redis is away.
    assert!(redis.run::<()>(redis::cmd("SET").arg("other").arg(1)).await.is_err());
    assert!(works(redis, "a").await, "what is refused does not stop what is not");

    server.ask("runtime:first@", &["ACL", "SETUSER", "runtime", "<first", ">second"]).await;
    server.ask("runtime:second@", &["CLIENT", "KILL", "TYPE", "normal"]).await;
    eventually("the old password is refused", async || !works(redis, "a").await).await;
    std::fs::write(&password, "second").unwrap();
    eventually("the new password is used", async || works(redis, "a").await).await;
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_shows_the_client_certificate() {
    let authority = Authority::new();
    let server = Server::start_with_tls(&authority).await;
    let url = format!("rediss://127.0.0.1:{}", server.tls_port.unwrap());
    let with = |ca: &Authority, identity: Option<(PathBuf, PathBuf)>| {
        let (certificate, key) = identity.unzip();
        Section {
            ca_file: Some(ca.file.clone()),
            client_certificate_file: certificate,
            client_key_file: key,
            ..at(url.clone())
        }
    };
    let known = open(with(&authority, Some(authority.identity("client")))).await;
    assert!(works(known.redis().unwrap(), "a").await);

    let nameless = open(with(&authority, None)).await;
    assert!(!works(nameless.redis().unwrap(), "a").await, "the server asks for a certificate");
    let stranger = Authority::new();
    let elsewhere = open(with(&stranger, Some(authority.identity("client")))).await;
    assert!(!works(elsewhere.redis().unwrap(), "a").await, "an authority that is not trusted");
    let public = open(at(url.clone())).await;
    assert!(!works(public.redis().unwrap(), "a").await, "nor is it by the public ones");
}

#[tokio::test]
async fn a_connection_that_redis_closes_for_idleness_is_kept_or_replaced_before_it_is_needed() {
    let server = Server::start(&[]).await;
    let state = open(at(format!("redis://127.0.0.1:{}", server.port))).await;
    let redis = state.redis().unwrap();
    assert!(works(redis, "a").await);
    server.ask("", &["CLIENT", "KILL", "TYPE", "normal"]).await;
    // Nobody asks meanwhile; the next command finds a connection that works.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(works(redis, "a").await);
}

#[tokio::test]
async fn a_script_runs_in_one_step_also_where_it_is_not_known() {
    let server = Server::start(&[]).await;
    let state = open(at(format!("redis://127.0.0.1:{}", server.port))).await;
    let redis = state.redis().unwrap();
    let script = Script::new("redis.call('INCRBY', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    let key = redis.key("count");
    let run = async || {
        let answer = redis.script::<u32>(&script, |command| {
            command.arg(1).arg(&key).arg(2);
        });
        answer.await
    };
    assert_eq!(run().await, Ok(2));
    assert_eq!(run().await, Ok(4));
    server.ask("", &["SCRIPT", "FLUSH"]).await;
    assert_eq!(run().await, Ok(6));
}

#[tokio::test]
async fn a_read_that_waits_keeps_nobody_else_waiting() {
    let server = Server::start(&[]).await;
    let section = Section { max_connections: 1, ..at(format!("redis://127.0.0.1:{}", server.port)) };
    let state = open(section).await;
    let redis = Arc::clone(state.redis().unwrap());
    let (list, mut waiting) = (redis.key("list"), redis.waiting().await.unwrap());
    assert!(redis.waiting().await.is_err(), "there are no more connections than configured");
    let popped = tokio::spawn({
        let mut command = redis::cmd("BLPOP");
        command.arg(&list).arg(0);
        async move { waiting.run::<(String, String)>(&command, Duration::from_secs(60)).await }
    });
    for _ in 0..10 {
        assert!(works(&redis, "a").await);
    }
    redis.run::<u32>(redis::cmd("RPUSH").arg(&list).arg("item")).await.unwrap();
    assert_eq!(popped.await.unwrap().unwrap().1, "item");
    assert!(redis.waiting().await.is_ok(), "its place is free again");
}

#[tokio::test]
async fn after_a_failover_the_sentinels_are_asked_for_the_new_master() {
    let mut master = Server::start(&["--requirepass", "secret", "--masterauth", "secret"]).await;
    let port = master.port.to_string();
    let replica =
        Server::start(&["--requirepass", "secret", "--masterauth", "secret", "--replicaof", "127.0.0.1", &port]).await;
    replica.until_info("secret", "master_link_status:up").await;
    let sentinel = sentinel_of(master.port, "secret").await;
    sentinel.until_sentinel_knows_replicas(1).await;

    let state = open(Section {
        sentinel: Some(Sentinel {
            master: "main".to_owned(),
            urls: vec!["redis://127.0.0.1:1".to_owned(), format!("redis://127.0.0.1:{}", sentinel.port)],
            username: None,
            password_file: None,
        }),
        password_file: Some(sentinel.file("password", "secret")),
        ..Section::default()
    })
    .await;
    let redis = state.redis().unwrap();
    assert!(works(redis, "before").await);
    // A master does not wait for its replicas: what it has not sent yet ends with it.
    eventually("the replica has it", async || {
        replica.ask_for::<u32>(":secret@", &["EXISTS", "mcp:test:before"]).await == 1
    })
    .await;

    master.stop().await;
    eventually("the new master is written to", async || works(redis, "after").await).await;
    let there: u32 = replica.ask_for(":secret@", &["EXISTS", "mcp:test:before", "mcp:test:after"]).await;
    assert_eq!(there, 2, "what was written before is there too");
}

#[tokio::test]
async fn a_cluster_is_one_redis_also_while_slots_move_and_a_server_is_lost() {
    let mut servers = servers_of_cluster(3, 1).await;
    let state = open(Section {
        cluster: Some(Cluster { urls: vec![format!("redis://127.0.0.1:{}", servers[0].port)] }),
        ..Section::default()
    })
    .await;
    let redis = state.redis().unwrap();
    for name in 0..100 {
        assert!(works(redis, &format!("key:{{{name}}}")).await, "{name}");
    }
    // What belongs together has one slot.
    let mut both = redis::pipe();
    both.cmd("SET").arg(redis.key("a:{x}")).arg(1).ignore();
    both.cmd("INCRBY").arg(redis.key("b:{x}")).arg(3);
    assert_eq!(redis.run_all::<(u32,)>(&both).await, Ok((3,)));
    let script = Script::new("return redis.call('INCRBY', KEYS[1], 1) + redis.call('INCRBY', KEYS[2], 1)");
    for (tag, sum) in [("x", 6), ("y", 2), ("z", 2)] {
        let keys = [redis.key(&format!("a:{{{tag}}}")), redis.key(&format!("b:{{{tag}}}"))];
        let answer = redis.script::<u32>(&script, |command| {
            command.arg(2).arg(&keys);
        });
        assert_eq!(answer.await, Ok(sum));
    }

    // A slot moves to another server.
    let slot: u32 = servers[0].ask_for("", &["CLUSTER", "KEYSLOT", "x"]).await;
    redis_support::move_slot(&servers, slot).await;
    eventually("the moved slot is found", async || works(redis, "a:{x}").await).await;

    // The server that the configuration names is lost: its replica takes over.
    servers[0].stop().await;
    eventually("every slot is served again", async || {
        for name in 0..100 {
            if !works(redis, &format!("key:{{{name}}}")).await {
                return false;
            }
        }
        true
    })
    .await;
}
