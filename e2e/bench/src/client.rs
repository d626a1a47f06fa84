//! HTTP/1.1 over a raw socket, with as little work as a client can do: requests are bytes that were made before, answers
//! are read to their end into one buffer.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One connection that is kept.
pub struct Connection {
    stream: TcpStream,
    /// What has come of the answer.
    buffer: Vec<u8>,
    body: Vec<u8>,
}

/// The head of an answer, and where it ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub status: u16,
    pub session: Option<String>,
    pub events: bool,
    chunked: bool,
    length: usize,
    end: usize,
}

impl Connection {
    /// To a port of this machine.
    pub async fn open(port: u16) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096), body: Vec::new() })
    }

    /// Sends a request and reads the head of its answer; a stream stays open.
    pub async fn begin(&mut self, request: &[u8]) -> Result<Head> {
        self.buffer.clear();
        self.stream.write_all(request).await.context("send a request")?;
        loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                return Ok(head);
            }
            self.more().await?;
        }
    }

    /// Sends a request and reads its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<(Head, &[u8])> {
        let head = self.begin(request).await?;
        if head.chunked {
            self.read_chunks(head.end).await?;
            return Ok((head, &self.body));
        }
        let whole = head.end + head.length;
        while self.buffer.len() < whole {
            self.more().await?;
        }
        ensure!(self.buffer.len() == whole, "more came than the answer");
        let body = head.end..whole;
        Ok((head, &self.buffer[body]))
    }

    async fn more(&mut self) -> Result<()> {
        ensure!(self.stream.read_buf(&mut self.buffer).await.context("read an answer")? > 0, "the server hung up");
        Ok(())
    }

    async fn read_chunks(&mut self, mut at: usize) -> Result<()> {
        self.body.clear();
        loop {
            let Some(line) = find(&self.buffer[at..], b"\r\n") else {
                self.more().await?;
                continue;
            };
            let size = std::str::from_utf8(&self.buffer[at..at + line])?;
            let size = usize::from_str_radix(size, 16).with_context(|| format!("{size:?} is no chunk's size"))?;
            let data = at + line + 2;
            while self.buffer.len() < data + size + 2 {
                self.more().await?;
            }
            self.body.extend_from_slice(&self.buffer[data..data + size]);
            at = data + size + 2;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&bytes[..end]).context("a header is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("no status")?;
        let mut head = Self { status, end: end + 4, ..Self::default() };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { bail!("{line:?} is no header") };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.parse().context("Content-Length is no number")?;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("content-type") {
                head.events = value.starts_with("text/event-stream");
            } else if name.eq_ignore_ascii_case("mcp-session-id") {
                head.session = Some(value.to_owned());
            }
        }
        Ok(Some(head))
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers one request with those pieces, a moment apart.
    async fn answering(pieces: &'static [&'static str]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 64]).await;
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        port
    }

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_whatever_its_pieces_are() {
        for pieces in [
            &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"][..],
            &["HTTP/1.1 200 OK\r\nContent-Le", "ngth: 5\r\n\r", "\nhel", "lo"],
            &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r", "\nh", "e\r\n3\r\nllo\r\n", "0\r\n", "\r\n"],
        ] {
            let mut connection = Connection::open(answering(pieces).await).await.unwrap();
            let (head, body) = connection.ask(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            assert_eq!((head.status, body), (200, b"hello".as_slice()), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn half_an_answer_is_an_error() {
        let port = answering(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel"]).await;
        assert!(Connection::open(port).await.unwrap().ask(b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    }
}
