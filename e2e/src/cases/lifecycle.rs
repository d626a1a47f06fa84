//! The end of pods, and of servers.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use kube::api::{WatchEvent, WatchParams};
use kube::core::DynamicObject;
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use super::admission::everything;
use super::context::PATIENCE;
use super::sessions::REDIS;
use super::{Context, Done};
use crate::client::mcp::read_to_result;

pub async fn the_runtime_stops_after_its_clients_and_before_its_backend(context: &Context) -> Result<Done> {
    let spec = format!("{}{}", everything(context.stage.everything().await?), context.exposed_to_everybody());
    context.serve("orderly", &spec)?;
    context.served("orderly").await?;
    let pods = context.pods("orderly").await?;
    let name = pods[0].name_any();

    let session = context.caller().initialize().await?;
    let arguments = json!({"duration": 12, "steps": 6});
    let mut events = session.stream("trigger-long-running-operation", arguments, Some("t")).await?;
    // It runs: the first of its six notifications is here.
    events.next(Duration::from_secs(20)).await?.context("the call ended at once")?;

    let (_, version) = (&name, pods[0].resource_version().context("a pod has a version")?);
    let ending = last_state_of(context, &name, &version);
    let ended = async {
        context.kubectl(&["delete", "pod", &name, "--wait=false"])?;
        let call = read_to_result(&mut events, Duration::from_secs(60)).await.context("the call under way was cut")?;
        Ok((call, std::time::SystemTime::now()))
    };
    let (last, (call, answered)) = tokio::try_join!(ending, ended)?;
    ensure!(call.0 >= 4, "only {} progress notifications came after the deletion", call.0);

    let runtime = terminated(&last, "mcp-server")?;
    let backend = terminated(&last, "backend")?;
    ensure!(runtime.exit_code == 0, "the runtime exited with {}", runtime.exit_code);
    let runtime_end = runtime.finished_at.context("the runtime's end")?.0;
    let backend_end = backend.finished_at.context("the backend's end")?.0;
    // Kubernetes keeps whole seconds.
    let answered = answered.duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let stopped = u64::try_from(runtime_end.as_second())?;
    ensure!(stopped >= answered, "the runtime ended at {stopped}, before its client had the answer at {answered}");
    ensure!(backend_end >= runtime_end, "the backend ended at {backend_end}, the runtime at {runtime_end}");
    Ok(Done::Passed)
}

/// The pod as it was last seen before it was gone.
async fn last_state_of(context: &Context, name: &str, version: &str) -> Result<Pod> {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(290);
    let stream = context.api::<Pod>().watch(&params, version).await?;
    pin_mut!(stream);
    let watch = async {
        while let Some(event) = stream.try_next().await? {
            if let WatchEvent::Deleted(pod) = event {
                return Ok(pod);
            }
        }
        anyhow::bail!("the watch of pod {name} ended before the pod did")
    };
    timeout(PATIENCE, watch).await.with_context(|| format!("pod {name} did not end"))?
}

fn terminated(pod: &Pod, container: &str) -> Result<ContainerStateTerminated> {
    let status = pod.status.as_ref().context("the pod has a status")?;
    let all = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
    let mut states = all.filter(|status| status.name == container).filter_map(|status| status.state.clone());
    let terminated = states.next().and_then(|state| state.terminated);
    terminated.with_context(|| format!("container {container} has not ended: {status:?}"))
}

pub async fn deleting_the_server_leaves_nothing(context: &Context) -> Result<Done> {
    context.redis()?;
    let before = everything_in(context).await?;
    let spec = format!("replicas: 2\nbackend: {{builtin: {{}}}}\n{REDIS}{}", context.exposed_with_auth("user"));
    context.serve("gone", &spec)?;
    context.ready("gone").await?;
    let during = everything_in(context).await?;
    ensure!(during.len() > before.len() + 8, "only these were made: {:?}", during.difference(&before));

    context.kubectl(&["delete", "mcpserver", "gone", "--timeout=60s"])?;
    let nothing_left = context.eventually("nothing is left", async || {
        let left: Vec<_> = everything_in(context).await?.difference(&before).cloned().collect();
        Ok(left.is_empty().then_some(()))
    });
    if let Err(error) = nothing_left.await {
        let left = everything_in(context).await?;
        return Err(error.context(format!("left: {:?}", left.difference(&before))));
    }
    Ok(Done::Passed)
}

/// `kind/name` of every object in the namespace, of every kind that the cluster serves; events aside.
async fn everything_in(context: &Context) -> Result<BTreeSet<String>> {
    let client = &context.client;
    let discovery = Discovery::new(client.clone()).run().await?;
    let kinds = discovery.groups().flat_map(|group| group.recommended_resources());
    let listable = kinds.filter(|(kind, capabilities)| {
        capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST) && kind.kind != "Event"
    });
    let lists = futures::stream::iter(listable).map(|(kind, _)| async move {
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &context.namespace, &kind);
        let objects = api.list_metadata(&kube::api::ListParams::default()).await?;
        let names = objects.items.into_iter().map(|object| format!("{}/{}", kind.kind, object.name_any()));
        anyhow::Ok(names.collect::<Vec<_>>())
    });
    let names: Vec<Vec<String>> = lists.buffer_unordered(8).try_collect().await?;
    Ok(names.into_iter().flatten().collect())
}
