//! One window: so many calls over so many connections, each sending its next call when its last one is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;

use crate::calls::{self, Caller, Era};
use crate::client::Connection;
use crate::lineup::Subject;

/// What one window showed.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Processor time of the server for one call, in microseconds.
    pub cpu: f64,
    /// Calls answered in a second.
    pub rate: f64,
    /// Milliseconds within which half of them were answered.
    pub p50: f64,
    /// And 99 of 100.
    pub p99: f64,
}

/// Measures one. Connections and sessions are there before it begins.
pub async fn window(subject: &Subject, era: Era, connections: usize, requests: usize) -> Result<Window> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        clients.push(Client::start(&subject.caller, subject.port, era).await?);
    }

    // This process never sleeps meanwhile. Waking it would be work of the kernel for which the server's process is charged,
    // more than the call itself on a virtual machine, and how often depends on chance, not on the server.
    let mut awake = JoinSet::new();
    awake.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
    let left = Arc::new(AtomicUsize::new(requests));
    let (cpu, begun) = (subject.process.cpu()?, Instant::now());
    let mut running = JoinSet::new();
    for client in clients {
        running.spawn(client.run(Arc::clone(&left)));
    }
    let (mut clients, mut times) = (Vec::new(), Vec::with_capacity(requests));
    while let Some(ended) = running.join_next().await {
        let (client, took) = ended??;
        times.extend(took);
        clients.push(client);
    }
    let (took, cpu) = (begun.elapsed(), subject.process.cpu()? - cpu);
    drop(awake);
    for client in clients {
        client.end().await?;
    }

    ensure!(times.len() == requests, "{} answers for {requests} calls", times.len());
    times.sort_unstable();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    let count = requests as f64;
    Ok(Window { cpu: cpu as f64 / 1e3 / count, rate: count / took.as_secs_f64(), p50: at(50), p99: at(99) })
}

/// One connection with its call.
struct Client {
    connection: Connection,
    call: Vec<u8>,
    /// Ends its session.
    farewell: Option<Vec<u8>>,
    /// The first answer, which was looked at closely. Later ones of JSON are equal to it.
    expected: Option<Vec<u8>>,
}

impl Client {
    /// Connects, begins a session in the legacy era, and makes the first call.
    async fn start(caller: &Caller, port: u16, era: Era) -> Result<Self> {
        let mut connection = Connection::open(port).await?;
        let session = match era {
            Era::Modern => None,
            Era::Legacy => Some(begin_session(&mut connection, caller).await?),
        };
        let call = caller.echo(era, session.as_deref());
        let farewell = session.map(|session| caller.end(&session));
        let mut client = Self { connection, call, farewell, expected: None };
        let (head, body) = client.connection.ask(&client.call).await?;
        ensure!(head.status == 200, "status {}: {}", head.status, String::from_utf8_lossy(body));
        calls::check(body)?;
        client.expected = (!head.events).then(|| body.to_vec());
        Ok(client)
    }

    async fn run(mut self, left: Arc<AtomicUsize>) -> Result<(Self, Vec<Duration>)> {
        let mut times = Vec::new();
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let begun = Instant::now();
            let (head, body) = self.connection.ask(&self.call).await?;
            times.push(begun.elapsed());
            ensure!(head.status == 200, "status {}: {}", head.status, String::from_utf8_lossy(body));
            match &self.expected {
                Some(expected) => ensure!(body == expected, "an answer differs: {}", String::from_utf8_lossy(body)),
                // Ids of events differ.
                None => calls::check(body)?,
            }
        }
        Ok((self, times))
    }

    async fn end(mut self) -> Result<()> {
        if let Some(farewell) = &self.farewell {
            let status = self.connection.ask(farewell).await?.0.status;
            ensure!(matches!(status, 200 | 202 | 204), "the session does not end: status {status}");
        }
        Ok(())
    }
}

/// The handshake of the legacy era; the session's id.
pub async fn begin_session(connection: &mut Connection, caller: &Caller) -> Result<String> {
    let (head, body) = connection.ask(&caller.initialize()).await?;
    ensure!(head.status == 200, "initialize: status {}: {}", head.status, String::from_utf8_lossy(body));
    let session = head.session.context("initialize: no session")?;
    let (head, body) = connection.ask(&caller.initialized(&session)).await?;
    ensure!(head.status == 202, "initialized: status {}: {}", head.status, String::from_utf8_lossy(body));
    Ok(session)
}
