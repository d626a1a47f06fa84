//! One request on a connection of its own.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// Sends a request as it is, and ends the connection with its response.
pub async fn send<B>(address: SocketAddr, request: Request<B>) -> Result<Response<Incoming>>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("speak HTTP")?;
    // It lives as long as the response's body.
    tokio::spawn(connection);
    sender.send_request(request).await.with_context(|| format!("ask {address}"))
}

/// Status and JSON of a GET.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, Value)> {
    ask(address, Method::GET, path, "").await
}

/// Status and JSON of a form.
pub async fn post_form(address: SocketAddr, path: &str, form: &str) -> Result<(u16, Value)> {
    ask(address, Method::POST, path, form).await
}

async fn ask(address: SocketAddr, method: Method, path: &str, form: &str) -> Result<(u16, Value)> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, address.to_string())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form.to_owned())))?;
    let response = send(address, request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.context("read the answer")?.to_bytes();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
