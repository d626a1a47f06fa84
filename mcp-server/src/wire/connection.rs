//! One socket to a server, for one request at a time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::Fault;

/// A host that is gone without a word is noticed by the kernel, also while nothing is sent.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

type Message = Request<Full<Bytes>>;

/// See the module.
pub(super) struct Connection {
    driver: http1::Connection<TokioIo<TcpStream>, Full<Bytes>>,
    sender: http1::SendRequest<Full<Bytes>>,
    /// The driver has come to its end and must not be asked again.
    ended: bool,
}

/// Why a request has no answer.
pub(super) enum Failed {
    /// Nothing of it has been sent: it may go another way.
    Unsent(Box<Message>),
    /// Nobody knows how far it came.
    Broken,
}

impl Connection {
    pub(super) async fn open(host: &str, port: u16, timeout: Duration) -> Result<Self, Fault> {
        let stream = match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no connection");
                return Err(if error.kind() == std::io::ErrorKind::TimedOut { Fault::Silent } else { Fault::Refused });
            }
            Err(_) => return Err(Fault::Silent),
        };
        let keepalive = TcpKeepalive::new().with_time(SIGN_OF_LIFE).with_interval(SIGN_OF_LIFE / 3).with_retries(3);
        // Where the kernel refuses, requests still pass.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let (sender, driver) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|_| Fault::Broken)?;
        Ok(Self { driver, sender, ended: false })
    }

    /// Sends the request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Message) -> Result<Response<Incoming>, Failed> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (driver, ended) = (&mut self.driver, &mut self.ended);
        let answered = poll_fn(|context| {
            // First the driver: it brings the answer.
            drive(driver, ended, context);
            answer.as_mut().poll(context)
        });
        answered.await.map_err(|mut failed| match failed.take_message() {
            Some(request) => Failed::Unsent(Box::new(request)),
            None => {
                tracing::debug!(error = %failed.error(), "no answer");
                Failed::Broken
            }
        })
    }

    /// Moves bytes between the socket and whoever reads the answer.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, &mut self.ended, context);
    }

    /// Whether it can take another request now. Notices that the other end has closed it meanwhile.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(())
        })
        .await;
        !self.ended && self.sender.is_ready()
    }
}

fn drive(driver: &mut http1::Connection<TokioIo<TcpStream>, Full<Bytes>>, ended: &mut bool, context: &mut Context<'_>) {
    // Its error comes with the answer or the body.
    *ended = *ended || Pin::new(driver).poll(context).is_ready();
}
