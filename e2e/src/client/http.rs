//! A small HTTP client that decides what the usual ones decide for their users: the protocol version, the address to
//! connect to and the address to come from. One connection a request, so that a request says one thing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Longer than anything that should take time, shorter than a test's patience.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// The HTTP version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS by ALPN.
    Http2,
}

impl Version {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// Where a server is reached: its origin, and the socket address that stands in for its DNS record.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https` or `http`.
    pub tls: bool,
    /// The host that is asked for.
    pub host: String,
    /// Where to connect to.
    pub address: SocketAddr,
    /// Where to come from, if not from wherever the system says.
    pub source: Option<IpAddr>,
    /// The version to speak.
    pub version: Version,
    /// Trusts the authority of the server's certificate. The ALPN protocol is set at each connection.
    pub trust: Arc<rustls::ClientConfig>,
}

impl Endpoint {
    /// The same server by another version.
    #[must_use]
    pub fn over(&self, version: Version) -> Self {
        Self { version, ..self.clone() }
    }

    /// The same server, asked from another address of this machine.
    #[must_use]
    pub fn from(&self, source: IpAddr) -> Self {
        Self { source: Some(source), ..self.clone() }
    }

    /// The origin: `https://host`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host)
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&self, method: Method, path: &str, headers: HeaderMap, body: &[u8]) -> Result<Answer> {
        let what = format!("{method} {}{path}", self.origin());
        let response = self.open(method, path, headers, body).await?;
        let (parts, incoming) = response.into_parts();
        let collected = timeout(ANSWER, incoming.collect()).await;
        let bytes = collected.with_context(|| format!("{what}: no end of the answer"))??.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body: bytes })
    }

    /// Sends a GET without headers.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, HeaderMap::new(), b"").await
    }

    /// Sends a request and returns as soon as the answer's head is there.
    pub async fn stream(&self, method: Method, path: &str, headers: HeaderMap, body: &[u8]) -> Result<Events> {
        let response = self.open(method, path, headers, body).await?;
        Ok(Events::new(response))
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: &[u8],
    ) -> Result<http::Response<Incoming>> {
        let what = format!("{method} {}{path} at {}", self.origin(), self.address);
        let request = self.request(method, path, headers, body)?;
        let exchange = async {
            let tcp = self.connect().await?;
            if !self.tls {
                return exchange(self.version, tcp, request).await;
            }
            let mut config = rustls::ClientConfig::clone(&self.trust);
            config.alpn_protocols = vec![self.version.alpn().to_vec()];
            let name = ServerName::try_from(self.host.clone()).context("host name")?;
            let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.context("TLS handshake")?;
            let agreed = tls.get_ref().1.alpn_protocol();
            if self.version == Version::Http2 && agreed != Some(self.version.alpn()) {
                bail!("the server does not offer h2");
            }
            exchange(self.version, tls, request).await
        };
        timeout(ANSWER, exchange).await.with_context(|| format!("{what}: no answer"))?.context(what)
    }

    fn request(&self, method: Method, path: &str, headers: HeaderMap, body: &[u8]) -> Result<Request<Full<Bytes>>> {
        // HTTP/1.1 names the host in a header, HTTP/2 in the URL.
        let mut request = match self.version {
            Version::Http1 => Request::builder().uri(path).header(http::header::HOST, &self.host),
            Version::Http2 => Request::builder().uri(format!("{}{path}", self.origin())),
        };
        if let Some(all) = request.headers_mut() {
            all.extend(headers);
        }
        Ok(request.method(method).body(Full::new(Bytes::copy_from_slice(body)))?)
    }

    async fn connect(&self) -> Result<TcpStream> {
        let socket = if self.address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0)).with_context(|| format!("come from {source}"))?;
        }
        let stream = timeout(CONNECT, socket.connect(self.address)).await.context("connect: no answer")??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn exchange<S>(version: Version, stream: S, request: Request<Full<Bytes>>) -> Result<http::Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    // The connection lives in its own task until the answer's body has been read or dropped.
    Ok(match version {
        Version::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
        Version::Http2 => {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        }
    })
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The text of a header, empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON in {} {:?}", self.status, self.text()))
    }

    /// The JSON-RPC message in the body, be it JSON or the last message of an event stream.
    pub fn message(&self) -> Result<Value> {
        if !self.header("content-type").starts_with("text/event-stream") {
            return self.json();
        }
        let text = self.text();
        let mut messages =
            text.lines().filter_map(|line| line.strip_prefix("data:")).filter(|data| !data.trim().is_empty());
        let last = messages.next_back().with_context(|| format!("no message in the stream {text:?}"))?;
        serde_json::from_str(last).with_context(|| format!("no JSON in {last:?}"))
    }

    /// Fails unless the status is `wanted`; the error shows what came instead.
    pub fn expect(self, wanted: StatusCode) -> Result<Self> {
        if self.status != wanted {
            bail!("expected {wanted}, got {}: {}", self.status, self.text());
        }
        Ok(self)
    }
}

/// An answer that is read as it arrives: server-sent events with the instant of each.
pub struct Events {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    pending: String,
}

impl Events {
    fn new(response: http::Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status: parts.status, headers: parts.headers, body, pending: String::new() }
    }

    /// The next JSON-RPC message and when it arrived; `None` at the end of the stream. Comments, priming events and
    /// whatever else has no data are passed over.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<(Instant, Value)>> {
        let deadline = Instant::now() + patience;
        loop {
            while let Some(end) = self.pending.find("\n\n") {
                let event: String = self.pending.drain(..end + 2).collect();
                if let Some(data) = data_of(&event) {
                    let value = serde_json::from_str(&data).with_context(|| format!("no JSON in {data:?}"))?;
                    return Ok(Some((Instant::now(), value)));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = timeout(left, self.body.frame()).await.with_context(|| format!("nothing for {patience:?}"))?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(bytes) = frame.context("read the stream")?.into_data() {
                self.pending.push_str(&String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
            }
        }
    }
}

/// The `data:` lines of one event, joined as the event-stream format says.
fn data_of(event: &str) -> Option<String> {
    let lines: Vec<&str> =
        event.lines().filter_map(|line| line.strip_prefix("data:")).map(|data| data.trim_start_matches(' ')).collect();
    let data = lines.join("\n");
    (!data.trim().is_empty()).then_some(data)
}

/// Trusts exactly the certificates of a PEM file's text.
pub fn trust(authority: &str) -> Result<Arc<rustls::ClientConfig>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(certificate.context("read the authority's PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_events_data_is_all_its_data_lines() {
        assert_eq!(data_of("id: 1\ndata: {\"a\":\ndata: 1}\n\n").as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(data_of(": ping\n\n"), None);
        assert_eq!(data_of("id: 0\nretry: 3000\ndata:\n\n"), None);
    }
}
