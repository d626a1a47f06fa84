//! The client of the API server, with every request counted.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::core::PartialObjectMeta;
use kube::{Client, Config};
use tower::{BoxError, Layer, Service};

use crate::metrics::Metrics;

/// A connection that is silent for so long is dead: without it a list whose answer was lost would be waited for for ever.
/// More than the 295 seconds for which kube lets a watch be silent.
const SILENCE: Duration = Duration::from_secs(310);

/// A client of the API server that `config` names.
///
/// # Errors
/// When its certificates cannot be used.
pub fn client(mut config: Config, metrics: &Arc<Metrics>) -> Result<Client, kube::Error> {
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("mcp-operator/", env!("CARGO_PKG_VERSION")))));
    Ok(ClientBuilder::try_from(config)?.with_layer(&Counting(Arc::clone(metrics))).build())
}

/// Sends a request of whose answer only the metadata is needed: the API server sends no more than that.
///
/// # Errors
/// Those of the request.
pub async fn metadata<K: Clone>(
    client: &Client,
    mut request: Request<Vec<u8>>,
) -> Result<PartialObjectMeta<K>, kube::Error> {
    let accept = HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    request.headers_mut().insert(ACCEPT, accept);
    client.request(request).await
}

/// Counts requests by verb, resource and status.
#[derive(Clone, Debug)]
pub struct Counting(pub Arc<Metrics>);

/// See [`Counting`].
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: Arc::clone(&self.0) }
    }
}

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let asked = Asked::of(request.method(), request.uri().path(), request.uri().query().unwrap_or_default());
        let (answer, metrics) = (self.inner.call(request), Arc::clone(&self.metrics));
        Box::pin(async move {
            let answer = answer.await;
            let status = answer.as_ref().map(|answer| answer.status());
            metrics.requested(asked.verb, &asked.resource, status.as_ref().map_or("error", |status| status.as_str()));
            answer
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    verb: &'static str,
    resource: String,
}

impl Asked {
    /// Verb and resource as RBAC and the audit log name them.
    fn of(method: &Method, path: &str, query: &str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        // /api/v1/… and /apis/<group>/<version>/…
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => &[],
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
            rest => rest,
        };
        let (resource, named) = match rest {
            [] => ("none".to_owned(), false),
            [resource] => ((*resource).to_owned(), false),
            [resource, _] => ((*resource).to_owned(), true),
            [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
        };
        let verb = match *method {
            Method::GET if query.contains("watch=true") || query.contains("watch=1") => "watch",
            Method::GET if named => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "other",
        };
        Self { verb, resource }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_named_as_in_rbac() {
        let asked = |method: Method, path: &str, query: &str| {
            let Asked { verb, resource } = Asked::of(&method, path, query);
            format!("{verb} {resource}")
        };
        let deployment = "/apis/apps/v1/namespaces/ns/deployments/demo";
        assert_eq!(asked(Method::PATCH, deployment, "force=true"), "patch deployments");
        assert_eq!(asked(Method::GET, deployment, ""), "get deployments");
        assert_eq!(asked(Method::GET, "/api/v1/secrets", "watch=true"), "watch secrets");
        assert_eq!(asked(Method::GET, "/api/v1/namespaces/ns/secrets", ""), "list secrets");
        let status = "/apis/mcp-operator.dev/v1alpha1/namespaces/ns/mcpservers/demo/status";
        assert_eq!(asked(Method::PATCH, status, ""), "patch mcpservers/status");
        assert_eq!(asked(Method::GET, "/version", ""), "list none");
    }
}
