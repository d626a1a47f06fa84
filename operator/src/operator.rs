//! The operator as a process: client, ports, lease, controller, and an end in good order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::Config;
use kube::runtime::events::Reporter;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cache::{Cache, Scope};
use crate::cli::{ProbeVia, Run};
use crate::context::Context;
use crate::desired::identity::MANAGER;
use crate::events::Publisher;
use crate::health::{self, Readiness};
use crate::lease::Election;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::settings::{SecretAccess, Settings};
use crate::upgrade::Upgrades;
use crate::verify::{Verifier, Via};
use crate::{client, controller};

/// Reconciles under way are given so long when the process is told to stop.
const LAST_RECONCILES: Duration = Duration::from_secs(25);

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// Another process leads: this one must not write any more.
    LeaseLost,
}

/// Runs the operator until `stop`, or until it loses its lease.
///
/// # Errors
/// When it cannot start.
pub async fn run(options: Run, stop: CancellationToken) -> anyhow::Result<End> {
    let metrics = Arc::new(Metrics::new(options.server_metrics)?);
    let readiness = Readiness::default();
    let ports = "open a port: choose another by --health-port or --metrics-port";
    health::serve("health", options.health_port, health::probes(readiness.clone()), stop.clone())
        .await
        .context(ports)?;
    health::serve("metrics", options.metrics_port, health::metrics(Arc::clone(&metrics)), stop.clone())
        .await
        .context(ports)?;

    let config = Config::infer().await.context("find the cluster: no kubeconfig and no service account")?;
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let namespace = options.operator_namespace.clone().or_else(|| in_cluster.then(|| config.default_namespace.clone()));
    let client = client::client(config, &metrics).context("make a client of the API server")?;
    let version = client.apiserver_version().await.context("reach the API server")?;
    info!(kubernetes = version.git_version, operator = env!("CARGO_PKG_VERSION"), "started");

    let mut election = (!options.no_leader_election).then(|| {
        let lease_namespace = options.lease_namespace.clone().or_else(|| namespace.clone());
        let lease_namespace = lease_namespace.as_deref().unwrap_or("default");
        Election::new(client.clone(), lease_namespace, options.lease_name.clone(), identity())
    });
    if let Some(election) = &mut election {
        // Waiting is all that is to be done: an operator that waits is well.
        readiness.set(true);
        tokio::select! {
            () = election.win() => {}
            () = stop.cancelled() => return Ok(End::Stopped),
        }
        readiness.set(false);
    }
    metrics.leads(true);

    let queue = Queue::new();
    let verifier = match options.probe_via {
        ProbeVia::Cluster => Some(Via::Cluster),
        ProbeVia::PortForward => Some(Via::PortForward(client.clone())),
        ProbeVia::None => None,
    };
    let settings = settings(&options, namespace);
    let upgrades = Upgrades::new(
        settings.runtime_image.clone(),
        options.rollout_max_concurrent,
        queue.0.clone(),
        Arc::clone(&metrics),
    );
    let ctx = Arc::new(Context {
        cache: Arc::new(Cache::default()),
        memory: Memory::default(),
        verifier: verifier.map(|via| Verifier::new(via, queue.0.clone(), Arc::clone(&metrics))),
        events: Publisher::new(client.clone(), Reporter { controller: MANAGER.to_owned(), instance: Some(identity()) }),
        metrics: Arc::clone(&metrics),
        // A flag without a value means none, not the namespace without a name.
        scope: Scope {
            namespaces: options.namespaces.iter().filter(|name| !name.is_empty()).cloned().collect(),
            without_secrets: options.secret_access == SecretAccess::None,
        },
        deadline: options.reconcile_deadline_seconds,
        upgrades,
        settings,
        client,
    });
    let work = controller::run(ctx, queue, options.concurrency, readiness, stop.clone());
    tokio::pin!(work);
    let Some(mut election) = election else {
        finish(work, &stop).await;
        return Ok(End::Stopped);
    };
    tokio::select! {
        // In this order: a lost lease ends everything at once.
        biased;
        () = election.hold() => return Ok(End::LeaseLost),
        () = finish(work, &stop) => {}
    }
    election.release().await;
    Ok(End::Stopped)
}

/// Works until `stop`, and then at most a while longer.
async fn finish(work: impl Future<Output = ()>, stop: &CancellationToken) {
    tokio::pin!(work);
    tokio::select! {
        () = &mut work => return,
        () = stop.cancelled() => info!("stopping: finishing what is under way"),
    }
    if timeout(LAST_RECONCILES, work).await.is_err() {
        info!("stopping with reconciles under way");
    }
}

fn settings(options: &Run, operator_namespace: Option<String>) -> Settings {
    Settings {
        runtime_image: options.runtime_image.clone(),
        runtime_image_pull_policy: options.runtime_image_pull_policy.map(Into::into),
        cluster_domain: options.cluster_domain.clone(),
        operator_namespace,
        mcp_from: options.mcp_from.0.clone(),
        metrics_from: options.metrics_from.0.clone(),
        secret_access: options.secret_access,
    }
}

/// A name that no other process has: the pod's, and something of this start.
fn identity() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME")).unwrap_or_else(|_| MANAGER.to_owned());
    format!("{host}_{:08x}", rand::random::<u32>())
}
