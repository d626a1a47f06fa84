//! The life of many servers, phase by phase.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use mcp_crds::McpServer;
use tokio::time::sleep;

use crate::Effort;
use crate::audit::{Audit, Request, Who};
use crate::floor;
use crate::kubelet::Kubelet;
use crate::process::{self, Memory};
use crate::runtime::Runtime;
use crate::samples::{self, Sample};
use crate::stage::{Operator, Stage};

const NAMESPACE: &str = "bench";
const FLOOR: &str = "floor";

/// Everything that was measured of one kind of server.
#[derive(Debug)]
pub struct Measured {
    pub sample: Sample,
    /// Children of one server.
    pub children: usize,
    pub creation: Phase,
    /// Seconds from the first create to the last child, and to the last write.
    pub last_child: f64,
    pub last_write: f64,
    /// Seconds of the same writes by the bare client.
    pub floor: f64,
    pub floor_writes: usize,
    pub rest_unready: Rest,
    pub ready: Phase,
    pub rest_ready: Rest,
    pub change: Phase,
    /// Milliseconds from the answer to the spec patch to the last child write, of each change.
    pub latencies: Vec<f64>,
    pub restart: Phase,
    /// Seconds from the start of the process to its last request, and to its rest.
    pub restart_asked: f64,
    pub restart_idle: f64,
    pub deletion: Phase,
    pub memory_empty: u64,
}

/// What the operator did in one phase.
#[derive(Debug)]
pub struct Phase {
    pub seconds: f64,
    /// Milliseconds of the operator on its processor.
    pub cpu: f64,
    pub requests: BTreeMap<String, usize>,
    pub children: usize,
    pub statuses: usize,
    pub events: usize,
    pub memory: Memory,
}

impl Phase {
    pub fn writes(&self) -> usize {
        self.children + self.statuses + self.events
    }

    /// Requests that write nothing.
    pub fn reads(&self) -> usize {
        self.requests.values().sum::<usize>() - self.writes()
    }
}

/// What the operator did while nothing happened.
#[derive(Debug)]
pub struct Rest {
    pub requests: usize,
    pub minutes: f64,
    /// Milliseconds on its processor.
    pub cpu: f64,
    /// Questions to pods and Services.
    pub asked: usize,
}

struct Bench {
    stage: Stage,
    client: Client,
    audit: Audit,
    runtime: Runtime,
    effort: Effort,
}

pub async fn run(stage: Stage, sample: Sample, effort: Effort, keep: Option<&Path>) -> Result<Measured> {
    let client = stage.client().await?;
    stage.install(&client).await?;
    samples::prepare_cluster(&client).await?;
    samples::prepare(&client, NAMESPACE).await?;
    samples::prepare(&client, FLOOR).await?;
    let audit = Audit::of(stage.level.audit_log_path());
    let runtime = Runtime::start(sample.is_guarded()).await?;
    let mut bench = Bench { stage, client, audit, runtime, effort };
    let measured = bench.phases(sample).await;
    if let Some(folder) = keep {
        std::fs::create_dir_all(folder)?;
        for (what, from) in [("operator", bench.stage.operator_log()), ("audit", bench.stage.level.audit_log_path())] {
            std::fs::copy(from, folder.join(format!("{}-{what}.log", sample.name())))?;
        }
    }
    measured
}

impl Bench {
    async fn phases(&mut self, sample: Sample) -> Result<Measured> {
        let children = floor::children(sample)?;
        eprintln!("{} servers, {}: {children} children each", self.effort.count, sample.name());
        let kubelet = Kubelet { client: self.client.clone(), namespace: NAMESPACE.to_owned(), sample };
        let operator = self.stage.operator()?;
        self.audit.quiet(10).await?;
        let memory_empty = process::memory(&operator.child)?.now;

        let begun = self.begin(&operator, "creation")?;
        self.create(sample).await?;
        // Each child and one status.
        self.audit.quiet(self.effort.count * (children + 1)).await?;
        let creation = self.end(begun, &operator)?;
        let first =
            self.audit.by(Who::Others).filter(|request| request.verb == "create" && request.resource == "mcpservers");
        let first = first.map(|request| request.received).min().context("nothing was created")?;
        let last = |of: fn(&Request) -> bool| {
            let writes = self.audit.operator().filter(|request| of(request)).map(|request| request.answered);
            seconds(first, writes.max().unwrap_or(first))
        };
        let (last_child, last_write) = (last(Request::is_child), last(Request::is_write));
        let rest_unready = self.rest(&operator).await?;

        let begun = self.begin(&operator, "all become ready")?;
        kubelet.make_ready(&self.runtime).await?;
        self.audit.quiet(self.effort.count).await?;
        let ready = self.end(begun, &operator)?;
        self.ensure_ready().await?;
        operator.idle().await?;
        let rest_ready = self.rest(&operator).await?;

        let begun = self.begin(&operator, "changes")?;
        let changes = self.effort.changes.min(self.effort.count);
        for index in 0..changes {
            kubelet.change(&samples::name(index), index).await?;
        }
        self.audit.quiet(changes).await?;
        let change = self.end(begun, &operator)?;
        let latencies = (0..changes).filter_map(|index| self.latency(&samples::name(index))).collect();
        self.ensure_ready().await?;

        eprintln!("  restart");
        operator.stop().await?;
        self.audit.forget()?;
        let operator = self.stage.operator()?;
        let started = now();
        let idle = operator.idle().await?;
        self.audit.quiet(10).await?;
        let restart = self.end((operator.started, 0.0), &operator)?;
        let asked = self.audit.operator().map(|request| request.answered).max().unwrap_or(started);
        let restart_asked = seconds(started, asked);

        let begun = self.begin(&operator, "deletion")?;
        self.delete().await?;
        operator.idle().await?;
        self.audit.quiet(0).await?;
        let deletion = self.end(begun, &operator)?;
        operator.stop().await?;

        let (floor, floor_writes) = self.floor(sample, children).await?;
        Ok(Measured {
            sample,
            children,
            creation,
            last_child,
            last_write,
            floor,
            floor_writes,
            rest_unready,
            ready,
            rest_ready,
            change,
            latencies,
            restart,
            restart_asked,
            restart_idle: idle.as_secs_f64(),
            deletion,
            memory_empty,
        })
    }

    fn begin(&mut self, operator: &Operator, phase: &str) -> Result<(Instant, f64)> {
        eprintln!("  {phase}");
        self.audit.forget()?;
        Ok((Instant::now(), process::cpu(&operator.child)?))
    }

    fn end(&mut self, (begun, cpu): (Instant, f64), operator: &Operator) -> Result<Phase> {
        self.audit.read()?;
        let count = |of: fn(&Request) -> bool| self.audit.operator().filter(|request| of(request)).count();
        Ok(Phase {
            seconds: begun.elapsed().as_secs_f64(),
            cpu: process::cpu(&operator.child)? - cpu,
            requests: self.audit.by_verb(),
            children: count(Request::is_child),
            statuses: count(|request| request.is_write() && request.is_status()),
            events: count(|request| request.is_write() && request.is_event()),
            memory: process::memory(&operator.child)?,
        })
    }

    async fn rest(&mut self, operator: &Operator) -> Result<Rest> {
        let (begun, cpu) = self.begin(operator, "rest")?;
        self.runtime.asked();
        sleep(self.effort.rest).await;
        self.audit.read()?;
        Ok(Rest {
            requests: self.audit.operator().count(),
            minutes: begun.elapsed().as_secs_f64() / 60.0,
            cpu: process::cpu(&operator.child)? - cpu,
            asked: self.runtime.asked(),
        })
    }

    async fn create(&self, sample: Sample) -> Result<()> {
        let servers = Api::<kube::api::DynamicObject>::namespaced_with(
            self.client.clone(),
            NAMESPACE,
            &kube::api::ApiResource::erase::<McpServer>(&()),
        );
        let each = (0..self.effort.count).map(|index| {
            let servers = servers.clone();
            async move {
                let server = serde_json::from_value(sample.server(&samples::name(index))?)?;
                servers.create(&PostParams::default(), &server).await.context("create a server")?;
                Ok::<_, anyhow::Error>(())
            }
        });
        stream::iter(each).buffer_unordered(32).try_collect().await
    }

    async fn delete(&self) -> Result<()> {
        let servers = Api::<McpServer>::namespaced(self.client.clone(), NAMESPACE);
        let each = (0..self.effort.count).map(|index| {
            let servers = servers.clone();
            async move { servers.delete(&samples::name(index), &DeleteParams::default()).await.map(drop) }
        });
        stream::iter(each).buffer_unordered(32).try_collect::<()>().await.context("delete a server")
    }

    /// A benchmark of an operator that says something else would be worth nothing.
    async fn ensure_ready(&self) -> Result<()> {
        let servers = Api::<McpServer>::namespaced(self.client.clone(), NAMESPACE);
        let servers = servers.list(&kube::api::ListParams::default()).await?.items;
        let unready = servers.iter().find_map(|server| {
            let conditions = server.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            let current = |seen: Option<i64>| seen == server.metadata.generation;
            let is_ready = ready.is_some_and(|ready| ready.status == "True" && current(ready.observed_generation));
            (!is_ready).then(|| format!("{:?}: {conditions:?}", server.metadata.name))
        });
        ensure!(unready.is_none(), "not ready: {}", unready.unwrap_or_default());
        Ok(())
    }

    /// From the answer to the spec patch to the last child write that answers it, in milliseconds.
    fn latency(&self, server: &str) -> Option<f64> {
        let patched = self
            .audit
            .by(Who::Others)
            .find(|request| request.verb == "patch" && request.resource == "mcpservers" && request.name == server)?;
        let children = self.audit.operator().filter(|request| request.is_child() && request.name.starts_with(server));
        let last = children.map(|request| request.answered).max()?;
        Some(seconds(patched.answered, last) * 1e3)
    }

    /// Seconds of the bare client, and how many writes it sent.
    async fn floor(&mut self, sample: Sample, children: usize) -> Result<(f64, usize)> {
        eprintln!("  the same writes by a bare client");
        // As the first status of the operator: as large, with the same fields.
        let status = serde_json::json!({
            "observedGeneration": 1, "backend": "builtin", "replicas": 0, "readyReplicas": 0, "selector": "app=x",
            "conditions": (["Accepted", "Programmed", "Available", "Exposed", "Verified", "Ready", "Reconciling"]).map(|kind| {
                serde_json::json!({
                    "type": kind, "status": "Unknown", "reason": "NotAsked", "message": "0 of 1 pod is ready",
                    "observedGeneration": 1, "lastTransitionTime": "2026-01-01T00:00:00Z",
                })
            }),
        });
        self.audit.forget()?;
        floor::measure(&self.stage, FLOOR, sample, self.effort.count, &status).await?;
        sleep(Duration::from_secs(1)).await;
        self.audit.read()?;
        let writes: Vec<_> = self.audit.by(Who::Floor).filter(|request| request.is_write()).collect();
        let expected = self.effort.count * (children + 2);
        ensure!(writes.len() == expected, "the floor sent {} of {expected} writes", writes.len());
        let first = writes.iter().map(|request| request.received).min().unwrap_or_default();
        let last = writes.iter().map(|request| request.answered).max().unwrap_or_default();
        Ok((seconds(first, last), writes.len()))
    }
}

fn seconds(from: i64, to: i64) -> f64 {
    (to - from) as f64 / 1e6
}

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}
