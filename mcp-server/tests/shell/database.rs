//! The database of the configuration: a real PostgreSQL and a real SQLite file that come and go.

use std::path::Path;

use mcp_server::database::{Database, Pool};
use mcp_server_config::Database as Section;
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use crate::client::{Answer, call, get};
use crate::postgres::{PASSWORD, Postgres};
use crate::process::{PORTS, Runtime};

fn check(answer: &Answer) -> String {
    answer.json()["checks"]["database"].as_str().unwrap_or_default().to_owned()
}

async fn until_check(runtime: &Runtime, words: &str) -> Answer {
    let answer = runtime.until(runtime.mcp, "/health", |answer| check(answer) == words).await;
    assert_eq!(answer.status.as_u16(), if words == "ok" { 200 } else { 503 });
    answer
}

#[tokio::test]
async fn health_follows_postgresql_and_readiness_does_not() {
    let mut postgres = Postgres::down().await;
    let mut runtime = Runtime::start(&format!("{PORTS}database: {{url: '{}'}}\n", postgres.url())).await;
    let waiting = get(runtime.management, "/readyz").await;
    assert_eq!(waiting.status, 503);
    assert_eq!(waiting.json()["waitingFor"], json!(["database: it has not answered yet"]));

    postgres.up().await;
    runtime.until_ready().await;
    let healthy = until_check(&runtime, "ok").await.json();
    assert_eq!((&healthy["status"], &healthy["checks"]), (&json!("healthy"), &json!({"database": "ok"})));
    let unused = |answer: &Answer| answer.body.contains("mcp_database_connections{state=\"used\"} 0");
    let metrics = runtime.until(runtime.management, "/metrics", unused).await.body;
    assert!(!metrics.contains("mcp_database_connections{state=\"idle\"} 0"), "{metrics}");

    postgres.kill().await;
    let unhealthy = until_check(&runtime, "error: the database does not answer").await;
    assert_eq!(unhealthy.json()["status"], "unhealthy");
    assert_eq!(get(runtime.management, "/readyz").await.status, 200, "readiness stays");
    assert_eq!(call(runtime.mcp, "echo", json!({"text": "a"})).await.status, 200);

    postgres.up().await;
    until_check(&runtime, "ok").await;
    runtime.line("the database answers again").await;
    for line in runtime.lines() {
        let text = line.to_string();
        assert!(!text.contains(PASSWORD) && !text.contains("SELECT"), "{text}");
    }
}

#[tokio::test]
async fn a_rotated_url_counts_for_new_connections() {
    let mut postgres = Postgres::down().await;
    postgres.up().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, postgres.url().replace(PASSWORD, "yesterday's")).unwrap();
    let mut runtime = Runtime::start(&format!("{PORTS}database: {{url_file: {}}}\n", file.display())).await;
    until_check(&runtime, "error: the database refuses the login").await;

    std::fs::write(&file, "mysql://elsewhere").unwrap();
    let line = runtime.line("the database keeps the URL it has").await;
    assert!(line["problem"].as_str().unwrap().contains("scheme mysql are not supported"), "{line}");

    std::fs::write(&file, format!("{}\n", postgres.url())).unwrap();
    until_check(&runtime, "ok").await;
    assert!(!runtime.lines().iter().any(|line| line.to_string().contains("yesterday")));
}

#[tokio::test]
async fn statements_are_logged_where_that_is_asked_for() {
    let mut postgres = Postgres::down().await;
    postgres.up().await;
    let config = format!("{PORTS}database: {{url: '{}', echo: true}}\n", postgres.url());
    let mut runtime = Runtime::start(&config).await;
    let line = runtime.line_where(|line| line["logger"] == "sqlx::query").await;
    assert_eq!(line["summary"], "SELECT 1", "{line}");
}

#[tokio::test]
async fn the_pool_grows_by_its_overflow_and_shrinks_to_its_size() {
    let mut postgres = Postgres::down().await;
    postgres.up().await;
    let section = Section { url: Some(postgres.url()), pool_size: 2, max_overflow: 3, ..Section::default() };
    let database = Database::open(&section).await.unwrap();
    let Pool::Postgres(pool) = database.pool() else { panic!("another driver") };
    let mut watcher: PgConnectOptions = postgres.url().parse().unwrap();
    watcher = watcher.application_name("watcher");
    let mut watcher = watcher.connect().await.unwrap();
    let mut seen = async || {
        let query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mcp-server'";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut watcher).await.unwrap()
    };

    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(pool.acquire().await.unwrap());
    }
    assert_eq!(seen().await, 5);
    assert_eq!(database.connections(), (5, 0));
    assert_eq!(database.ping().await, Err("every connection is in use"));
    assert_eq!(seen().await, 5, "never more than pool_size + max_overflow");

    drop(held);
    while seen().await != 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.ping().await, Ok(()));
    // The one that was asked is idle a moment later.
    while database.connections() != (2, 2) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn health_follows_a_file_of_sqlite() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data.sqlite");
    let runtime = Runtime::start(&format!("{PORTS}database: {{url: 'sqlite:{}'}}\n", file.display())).await;
    let refused = until_check(&runtime, "error: the database's file cannot be opened").await;
    assert!(!refused.body.contains("data.sqlite"), "{refused:?}");

    make(&file).await;
    runtime.until_ready().await;
    until_check(&runtime, "ok").await;

    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![b'x'; good.len()]).unwrap();
    until_check(&runtime, "error: the database refuses the query").await;
    assert_eq!(get(runtime.management, "/readyz").await.status, 200, "readiness stays");

    std::fs::write(&file, good).unwrap();
    until_check(&runtime, "ok").await;
}

async fn make(file: &Path) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("CREATE TABLE things (name TEXT)").execute(&mut connection).await.unwrap();
    sqlx::Connection::close(connection).await.unwrap();
}
