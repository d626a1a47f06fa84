//! What sessions cost: memory of one that is idle with its stream open, and what is left when many have come and gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::calls::{self, Caller, Era};
use crate::client::Connection;
use crate::lineup::{Kind, Lineup, Subject};
use crate::load::begin_session;
use crate::rounds::{Effort, Table};

/// For what ends a moment later: tasks, timers, connections.
const SETTLE: Duration = Duration::from_millis(700);
/// Of the lifecycles, so many go before the first look: what grows with use (caches, pools) has grown by then.
const FIRST_PART: usize = 3;
/// Clients at once.
const CLIENTS: usize = 16;

/// Measures both, with fresh processes.
pub async fn run(lineup: &Lineup<'_>, effort: &Effort, table: &mut Table) -> Result<()> {
    for (name, kind) in [
        ("rmcp", Kind::Rmcp),
        ("everything off", Kind::Off),
        ("everything on", Kind::On),
        ("with redis", Kind::Redis),
        ("proxy, everything on", Kind::StatefulProxy),
    ] {
        eprintln!("{} sessions: {name}", effort.sessions);
        let subject = lineup.start(kind).await.with_context(|| name.to_owned())?;
        let each = idle(&subject, effort.sessions).await.with_context(|| name.to_owned())?;
        table.sessions.push((name, each));
    }
    for (name, kind) in
        [("rmcp", Kind::Rmcp), ("everything on", Kind::On), ("proxy, everything on", Kind::StatefulProxy)]
    {
        eprintln!("{} lifecycles: {name}", effort.lifecycles);
        let subject = lineup.start(kind).await.with_context(|| name.to_owned())?;
        let first = effort.lifecycles / FIRST_PART;
        let before = lifecycles(&subject, first).await.with_context(|| name.to_owned())?;
        let after = lifecycles(&subject, effort.lifecycles - first).await.with_context(|| name.to_owned())?;
        table.lifecycles.push((name, before, after));
    }
    Ok(())
}

/// KiB of one idle session with its stream.
async fn idle(subject: &Subject, sessions: usize) -> Result<f64> {
    // What is made once, at the first session, is not counted.
    let mut streams = open(subject, 20).await?;
    tokio::time::sleep(SETTLE).await;
    let before = subject.process.memory()?.now;
    streams.extend(open(subject, sessions).await?);
    tokio::time::sleep(SETTLE).await;
    let after = subject.process.memory()?.now;
    drop(streams);
    Ok(after.saturating_sub(before) as f64 / sessions as f64)
}

async fn open(subject: &Subject, sessions: usize) -> Result<Vec<Connection>> {
    let mut posts = Connection::open(subject.port).await?;
    let mut streams = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let session = begin_session(&mut posts, &subject.caller).await?;
        let mut stream = Connection::open(subject.port).await?;
        let head = stream.begin(&subject.caller.listen(&session)).await?;
        ensure!(head.status == 200 && head.events, "the stream does not open: status {}", head.status);
        streams.push(stream);
    }
    Ok(streams)
}

/// Resident memory after so many sessions: begun, used once, ended.
async fn lifecycles(subject: &Subject, sessions: usize) -> Result<u64> {
    let left = Arc::new(AtomicUsize::new(sessions));
    let mut running = JoinSet::new();
    for _ in 0..CLIENTS {
        running.spawn(live_and_end(subject.caller.clone(), subject.port, Arc::clone(&left)));
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(subject.process.memory()?.now)
}

async fn live_and_end(caller: Caller, port: u16, left: Arc<AtomicUsize>) -> Result<()> {
    let mut connection = Connection::open(port).await?;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let session = begin_session(&mut connection, &caller).await?;
        let (head, body) = connection.ask(&caller.echo(Era::Legacy, Some(&session))).await?;
        ensure!(head.status == 200, "status {}", head.status);
        calls::check(body)?;
        let status = connection.ask(&caller.end(&session)).await?.0.status;
        ensure!(matches!(status, 200 | 202 | 204), "the session does not end: status {status}");
    }
    Ok(())
}
