//! Watches, queue and workers, put together. Runs until it is told to stop, and then finishes what it has begun.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt, StreamExt, future};
use kube::api::ObjectMeta;
use kube::core::PartialObjectMetaExt;
use kube::runtime::controller::{Action, Config, Error as RunError, applier};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::CancelableJoinHandle;
use kube::runtime::watcher::Event;
use mcp_crds::McpServer;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info};

use crate::cache::{self, Change, Key, Server};
use crate::context::Context;
use crate::error::Error;
use crate::health::Readiness;
use crate::queue::Queue;
use crate::reconcile::{Handle, error_policy, reconcile};

/// Reconciles every server until `stop`.
pub async fn run(
    ctx: Arc<Context>,
    queue: (Queue, UnboundedReceiver<Key>),
    concurrency: u16,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let (queue, requests) = queue;
    let handles = Arc::new(Handles::default());
    let store = handles.writer.lock().unwrap_or_else(PoisonError::into_inner).as_reader();
    let changed = {
        let (handles, ctx) = (Arc::clone(&handles), Arc::clone(&ctx));
        move |change: &Change<Server>| {
            handles.follow(change, &ctx);
            !is_echo(change, &ctx)
        }
    };
    let mut watches = JoinSet::new();
    let mut synced = cache::start(&ctx.client, &ctx.scope, &ctx.cache, &queue, &ctx.metrics, changed, &mut watches);
    let complete = tokio::select! {
        complete = synced.complete() => complete,
        () = stop.cancelled() => false,
    };
    if !complete {
        return;
    }
    info!(servers = ctx.cache.servers.len(), "every watch has listed: reconciling");
    ctx.upgrades.resume(&ctx.cache);
    readiness.set(true);
    let requests = requests
        .map(|key| Ok::<_, Infallible>(ObjectRef::<Handle>::new(&key.name).within(&key.namespace)))
        .take_until(stop.cancelled_owned());
    applier(
        // A task of its own: rendering uses every core, and a cancelled one ends.
        |handle, ctx| {
            let work = caught(reconcile(handle, ctx)).in_current_span();
            CancelableJoinHandle::spawn(work, &runtime::Handle::current())
        },
        error_policy,
        ctx,
        store,
        requests,
        Config::default().concurrency(concurrency),
    )
    .for_each(|result| {
        match result {
            Ok((server, _)) => debug!(%server, "reconciled"),
            // Said by the error policy.
            Err(RunError::ReconcilerFailed(..)) => {}
            Err(error) => debug!(error = &error as &dyn std::error::Error, "skipped"),
        }
        future::ready(())
    })
    .await;
    info!("every reconcile has ended");
}

/// Whether the watch shows nothing but the status that we sent.
fn is_echo(change: &Change<Server>, ctx: &Context) -> bool {
    use crate::cache::Entry as _;
    let Change { old: Some(old), new: Some(new) } = change else { return false };
    let Some(said) = new.said_since(old) else { return false };
    ctx.memory.with(&new.key(), |memory| memory.hears(said, new.resource_version()))
}

/// A panic is the end of that reconcile, and not of all others: kube's handle would pass it on.
async fn caught(work: impl Future<Output = Result<Action, Error>>) -> Result<Action, Error> {
    // What is shared is behind locks that outlive a panic: see `Table`.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(Error::Panicked(text.unwrap_or("no message").to_owned()))
    })
}

/// The names of the servers, as kube's scheduler wants them. The objects themselves are in our own cache, which can hold
/// one that this release cannot read, and several namespaces.
struct Handles {
    writer: Mutex<Writer<Handle>>,
}

impl Default for Handles {
    fn default() -> Self {
        let mut writer = Writer::default();
        // An empty list, so that the store counts as complete: the queue is not read before our watches have listed.
        writer.apply_watcher_event(&Event::Init);
        writer.apply_watcher_event(&Event::InitDone);
        Self { writer: Mutex::new(writer) }
    }
}

impl Handles {
    fn follow(&self, change: &Change<Server>, ctx: &Context) {
        use crate::cache::Entry as _;
        let event = match (&change.old, &change.new) {
            (_, Some(server)) => Event::Apply(handle(&server.key())),
            (Some(server), None) => {
                ctx.forget(&server.key());
                Event::Delete(handle(&server.key()))
            }
            (None, None) => return,
        };
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).apply_watcher_event(&event);
    }
}

fn handle(key: &Key) -> Handle {
    let metadata = ObjectMeta {
        name: Some(key.name.to_string()),
        namespace: Some(key.namespace.to_string()),
        ..ObjectMeta::default()
    };
    metadata.into_request_partial::<McpServer>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_its_own_reconcile_only() {
        let work = async { panic!("index {}", 3) };
        assert!(matches!(caught(work).await, Err(Error::Panicked(why)) if why == "index 3"));
        assert!(caught(async { Ok(Action::await_change()) }).await.is_ok());
    }
}
