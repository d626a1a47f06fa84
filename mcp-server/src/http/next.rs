//! How layers are put together. axum's own way boxes a future and clones all layers below for each request and layer;
//! written into each other they are one future, and cost what they do.

use axum::extract::Request;
use axum::response::Response;

/// What is behind a layer. axum's `Next` is one too, so a layer also serves as `from_fn` wants it.
pub trait Next: Clone + Send + Sync {
    /// Passes the request on.
    fn run(self, request: Request) -> impl Future<Output = Response> + Send;
}

impl<F, A> Next for F
where
    F: FnOnce(Request) -> A + Clone + Send + Sync,
    A: Future<Output = Response> + Send,
{
    fn run(self, request: Request) -> impl Future<Output = Response> + Send {
        self(request)
    }
}

impl Next for axum::middleware::Next {
    fn run(self, request: Request) -> impl Future<Output = Response> + Send {
        Self::run(self, request)
    }
}

/// `stack!(request => a(state), b, c(state))` is `a(state, request, next)` whose `next` is `b(request, next)` whose `next`
/// is `c(state, request)`: the first layer is the outermost, and the last one answers.
macro_rules! stack {
    ($request:expr => $($layer:ident)::+ $(($state:expr))? $(,)?) => {
        $($layer)::+($(axum::extract::State(Clone::clone($state)),)? $request)
    };
    ($request:expr => $($layer:ident)::+ $(($state:expr))?, $($below:tt)+) => {
        $($layer)::+($(axum::extract::State(Clone::clone($state)),)? $request, move |request| {
            $crate::http::stack!(request => $($below)+)
        })
    };
}
pub(crate) use stack;
