//! The questions, over one connection each: bounded in time and size, following no redirect, carrying no credential.
//! Only the server's own Service and pods are ever asked.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use mcp_server_config::report::ServerReport;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use super::findings::Anonymous;
use super::question::Question;
use super::target::Target;
use super::tls::{self, Refusal};
use crate::cache::Endpoint;

/// Time for one question.
const PATIENCE: Duration = Duration::from_secs(3);
/// Largest answer that is read.
const MAX_ANSWER: usize = 256 * 1024;

const SESSION: &str = "mcp-session-id";

/// How pods and Services are reached.
#[derive(Clone)]
pub enum Via {
    /// By the cluster's own network.
    Cluster,
    /// Through the API server, from outside.
    PortForward(Client),
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Nobody listens, or no way leads there.
    #[error("connect to {to}: {why}")]
    Connect {
        /// Whom.
        to: String,
        /// Why not.
        why: String,
    },
    /// The connection broke, or what came is no HTTP.
    #[error("ask {to}: {why}")]
    Exchange {
        /// Whom.
        to: String,
        /// Why not.
        why: String,
    },
    /// Another answer than a report.
    #[error("{to} answered with status {status}")]
    Status {
        /// Whom.
        to: String,
        /// The status.
        status: u16,
    },
    /// What it shows is no good certificate.
    #[error("{to} shows a certificate that is not good: {why}")]
    Certificate {
        /// Whom.
        to: String,
        /// Why not.
        why: String,
    },
    /// No answer in time.
    #[error("{to} did not answer within {} seconds", PATIENCE.as_secs())]
    Late {
        /// Whom.
        to: String,
    },
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Via {
    /// `GET /server` of one pod.
    ///
    /// # Errors
    /// When there is no report.
    pub async fn report(&self, target: &Target, pod: &Endpoint) -> Result<ServerReport, Unanswered> {
        let to = SocketAddr::new(pod.address, target.management_port);
        let name = to.to_string();
        let request = Request::builder().method(Method::GET).uri("/server").header(HOST, &name);
        let answer = self.exchange(&name, request, Bytes::new(), async {
            let stream = match self {
                Self::Cluster => tcp(to).await,
                Self::PortForward(client) => forward(client, target, &pod.pod, target.management_port).await,
            };
            stream.map_err(Refusal::Connection)
        });
        let answer = answer.await?;
        if answer.status != StatusCode::OK {
            return Err(Unanswered::Status { to: name, status: answer.status.as_u16() });
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| Unanswered::Exchange { to: name, why: format!("not a report: {error}") })
    }

    /// Asks without a token, through the Service, as any client would.
    pub async fn anonymous(&self, target: &Target, question: &Question) -> Anonymous {
        match self.ask(target, question).await {
            Ok(answer) => {
                self.end_session(target, &answer).await;
                of_answer(&answer)
            }
            Err(unanswered @ Unanswered::Certificate { .. }) => Anonymous::BadCertificate(unanswered.to_string()),
            Err(unanswered) => Anonymous::Failed(unanswered.to_string()),
        }
    }

    async fn ask(&self, target: &Target, question: &Question) -> Result<Answer, Unanswered> {
        let request = Request::builder().method(Method::POST).header(CONTENT_TYPE, "application/json");
        let request = question.headers().iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.through_service(target, request, Bytes::from(question.body().to_string())).await
    }

    /// A session that the question began would stay until it is idle for long. Not being able to end it is no finding.
    async fn end_session(&self, target: &Target, answer: &Answer) {
        let Some(session) = answer.headers.get(SESSION) else { return };
        let request = Request::builder().method(Method::DELETE).header(SESSION, session);
        let _ = self.through_service(target, request, Bytes::new()).await;
    }

    async fn through_service(
        &self,
        target: &Target,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<Answer, Unanswered> {
        let to = format!("{}:{}", target.host, target.port);
        let request =
            request.uri(&target.path).header(HOST, &target.host).header(ACCEPT, "application/json, text/event-stream");
        self.exchange(&to, request, body, async {
            let stream = match (self, target.ready_pods().next()) {
                (Self::Cluster, _) => tcp((target.dns.as_str(), target.port)).await,
                (Self::PortForward(client), Some(pod)) => forward(client, target, &pod.pod, target.mcp_port).await,
                (Self::PortForward(_), None) => Err("no pod is ready".to_owned()),
            };
            let stream = stream.map_err(Refusal::Connection)?;
            let Some(tls) = &target.tls else { return Ok(stream) };
            let stream = tls::handshake(stream, &target.host, tls.authorities.as_deref()).await?;
            Ok(Box::pin(stream) as Pin<Box<dyn Stream>>)
        })
        .await
    }

    async fn exchange(
        &self,
        to: &str,
        request: http::request::Builder,
        body: Bytes,
        connect: impl Future<Output = Result<Pin<Box<dyn Stream>>, Refusal>>,
    ) -> Result<Answer, Unanswered> {
        let asked = async {
            let stream = connect.await.map_err(|refusal| match refusal {
                Refusal::Connection(why) => Unanswered::Connect { to: to.to_owned(), why },
                Refusal::Certificate(why) => Unanswered::Certificate { to: to.to_owned(), why },
            })?;
            let request = request.header(USER_AGENT, concat!("mcp-operator/", env!("CARGO_PKG_VERSION")));
            let answer = send(stream, request.body(Full::new(body)));
            answer.await.map_err(|why| Unanswered::Exchange { to: to.to_owned(), why })
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(Unanswered::Late { to: to.to_owned() }))
    }
}

async fn tcp(to: impl ToSocketAddrs) -> Result<Pin<Box<dyn Stream>>, String> {
    let stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(Box::pin(stream))
}

async fn forward(client: &Client, target: &Target, pod: &str, port: u16) -> Result<Pin<Box<dyn Stream>>, String> {
    let pods = Api::<Pod>::namespaced(client.clone(), &target.server.namespace);
    let mut forwarder = pods.portforward(pod, &[port]).await.map_err(|error| error.to_string())?;
    let stream = forwarder.take_stream(port).ok_or("the API server opened no stream")?;
    Ok(Box::pin(stream))
}

async fn send(stream: Pin<Box<dyn Stream>>, request: http::Result<Request<Full<Bytes>>>) -> Result<Answer, String> {
    let request = request.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        // A stream that goes on is answer enough: its status counts, and only reports are read.
        let is_stream =
            head.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
        let body = if is_stream {
            Bytes::new()
        } else {
            Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| error.to_string())?.to_bytes()
        };
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    // The connection must be driven while the exchange waits for it; both end together.
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

fn of_answer(answer: &Answer) -> Anonymous {
    match answer.status.as_u16() {
        200 => Anonymous::Served,
        401 => Anonymous::Refused {
            metadata: answer
                .headers
                .get_all(WWW_AUTHENTICATE)
                .iter()
                .any(|value| value.to_str().is_ok_and(|value| value.contains("resource_metadata="))),
        },
        429 => Anonymous::Limited,
        // Restarts. Tells nothing of the server.
        status @ 502..=504 => Anonymous::Failed(format!("status {status}")),
        status => Anonymous::Other(status),
    }
}
