//! Every number of pods that a Deployment ever had: one that lasted a moment only would not be seen by asking.

use std::sync::{Arc, Mutex, PoisonError};

use futures::TryStreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, WatchEvent, WatchParams};
use tokio::task::JoinHandle;

/// Watches a namespace with one Deployment until it is dropped.
pub struct Replicas {
    seen: Arc<Mutex<Vec<i32>>>,
    watching: JoinHandle<kube::Result<()>>,
}

impl Replicas {
    /// Begins to watch.
    #[must_use]
    pub fn of(deployments: Api<Deployment>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        Self { watching: tokio::spawn(watch(deployments, Arc::clone(&seen))), seen }
    }

    /// The numbers so far, in their order, each as often as it came anew.
    #[must_use]
    pub fn seen(&self) -> Vec<i32> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch(deployments: Api<Deployment>, seen: Arc<Mutex<Vec<i32>>>) -> kube::Result<()> {
    let events = deployments.watch(&WatchParams::default(), "0").await?;
    futures::pin_mut!(events);
    while let Some(event) = events.try_next().await? {
        let (WatchEvent::Added(deployment) | WatchEvent::Modified(deployment)) = event else { continue };
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) =
            deployment.spec.and_then(|spec| spec.replicas).filter(|number| seen.last() != Some(number))
        {
            seen.push(number);
        }
    }
    Ok(())
}
