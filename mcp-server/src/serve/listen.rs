//! One listener's accept loop.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::connection::{self, Service, WhenClosing};

/// Pause after an error of `accept` itself, such as a lack of file descriptors: without it the loop would spin.
const BREATHER: Duration = Duration::from_millis(100);
/// A peer that went without a word (its network, its machine) is asked for after this silence, then at this interval.
const SILENCE: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_secs(10);
const ASK_AT_MOST: u32 = 4;
/// Nor may it leave what we send unacknowledged, or its window closed, for longer: a stream has no other limit.
const UNHEARD: Duration = Duration::from_secs(60);

/// A listener at work. Dropping it stops the accepting, not the connections.
pub(super) struct Listening {
    accepting: JoinHandle<()>,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Listening {
    /// Connections of the listener that closes are those that the metrics count.
    pub fn start(listener: TcpListener, service: Service) -> Self {
        let (stop, connections) = (CancellationToken::new(), TaskTracker::new());
        let accepting = accept(listener, Arc::new(service), stop.clone(), connections.clone());
        Self { accepting: tokio::spawn(accepting), stop, connections }
    }

    /// Closes the listener; gives back the connections that there are.
    pub async fn stop_accepting(mut self) -> TaskTracker {
        self.stop.cancel();
        let _ = (&mut self.accepting).await;
        self.connections.clone()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, stop: CancellationToken, connections: TaskTracker) {
    let room = Arc::new(Semaphore::new(service.at_most));
    let serving = |stream, peer, permit: Option<OwnedSemaphorePermit>| {
        let service = Arc::clone(&service);
        let counted = (service.end == WhenClosing::Close).then(|| service.app.metrics.connection());
        connections.spawn(async move {
            let _held = (permit, counted);
            if tune(&stream).is_ok() {
                connection::serve(&service, stream, peer).await;
            }
        });
    };
    let accepting = async {
        loop {
            // Never closed, so it never fails.
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) => serving(stream, peer, Some(permit)),
                Err(problem) if is_the_peers(problem.kind()) => {}
                Err(problem) => {
                    warn!(error = &problem as &dyn std::error::Error, "cannot accept connections");
                    tokio::time::sleep(BREATHER).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;

    // The kernel has made connections that nobody has accepted yet, and their requests may have come. Closing the listener
    // resets them.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            serving(stream, peer, None);
        }
    }
}

/// Fails only where the peer has gone already.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    // Without it each streamed event waits 40 ms for a delayed ACK.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(SILENCE).with_interval(ASK_AGAIN).with_retries(ASK_AT_MOST);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNHEARD))?;
    Ok(())
}

/// The peer went away between its SYN and our `accept`.
fn is_the_peers(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_went_without_a_word_is_noticed() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && stream.nodelay().unwrap());
        assert_eq!(
            (socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_interval().unwrap()),
            (SILENCE, ASK_AGAIN)
        );
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNHEARD));
    }
}
