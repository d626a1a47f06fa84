//! A converged operator is silent, by the API server's own account.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

use super::{Context, Done};
use crate::product::install;

const NO_AUDIT: &str = "the API server's audit log cannot be read from here";

/// Servers of both kinds, with and without everything optional.
async fn some_servers(context: &Context) -> Result<()> {
    context.redis()?;
    context.serve("plain", "backend: {builtin: {}}\n")?;
    let spec = format!(
        "replicas: 2\nbackend: {{builtin: {{}}}}\n{}{}",
        super::sessions::REDIS,
        context.exposed_with_auth("user, read")
    );
    context.serve("rich", &spec)?;
    // Also one that cannot become ready: patience must not be paid for in requests.
    context.serve("stuck", "backend: {builtin: {}}\nredis: {urlSecretRef: {name: not-there, key: url}}\n")?;
    context.ready("plain").await?;
    context.ready("rich").await?;
    context.condition("stuck", "Accepted", |condition| condition.status == "False").await.map(drop)
}

pub async fn a_converged_operator_sends_nothing_but_its_lease(context: &Context) -> Result<Done> {
    let Some(mut audit) = Audit::open(context)? else { return Ok(Done::Skipped(NO_AUDIT)) };
    some_servers(context).await?;
    // The pods' last status changes, the last events.
    sleep(Duration::from_secs(20)).await;
    audit.skip()?;
    sleep(Duration::from_secs(60)).await;
    let requests = audit.of_operator()?;
    ensure!(requests.iter().any(Request::is_lease), "not even the Lease was renewed: is this the operator's account?");
    let others: Vec<_> = requests.iter().filter(|request| !request.is_lease() && request.verb != "watch").collect();
    ensure!(others.is_empty(), "{} requests in 60 s:\n{}", others.len(), Request::describe(&others));
    Ok(Done::Passed)
}

pub async fn a_restarted_operator_writes_nothing_but_its_lease(context: &Context) -> Result<Done> {
    let Some(mut audit) = Audit::open(context)? else { return Ok(Done::Skipped(NO_AUDIT)) };
    some_servers(context).await?;
    sleep(Duration::from_secs(20)).await;
    audit.skip()?;
    let deployment = format!("deployment/{}", install::RELEASE);
    let cluster = &context.stage.cluster;
    tokio::task::block_in_place(|| {
        cluster.kubectl(&["rollout", "restart", &deployment, "--namespace", install::NAMESPACE])?;
        let wait = ["rollout", "status", &deployment, "--namespace", install::NAMESPACE, "--timeout=120s"];
        cluster.kubectl(&wait)
    })?;
    // Long enough to become the leader and to see every server.
    sleep(Duration::from_secs(40)).await;
    let requests = audit.of_operator()?;
    ensure!(requests.iter().any(|request| request.verb == "list"), "the new operator has not listed anything yet");
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write() && !request.is_lease()).collect();
    ensure!(writes.is_empty(), "{} writes:\n{}", writes.len(), Request::describe(&writes));
    Ok(Done::Passed)
}

/// By the account that the chart gives it, over all that was done before in this run.
pub async fn the_operator_asked_for_nothing_that_the_chart_does_not_grant(context: &Context) -> Result<Done> {
    let Some(audit) = Audit::open(context)? else { return Ok(Done::Skipped(NO_AUDIT)) };
    some_servers(context).await?;
    let requests = Audit { from: context.stage.audited, ..audit }.of_operator()?;
    let is_apply = |request: &&Request| request.verb == "patch" && request.resource == "deployments";
    let applied = requests.iter().find(is_apply).context("no Deployment was written: is this its account?")?;
    ensure!(applied.decision == "allow", "the audit log does not tell what was decided: {:?}", applied.decision);
    // Where the Role goes with its namespace, for a while.
    let lost = context.stage.namespaced.then_some("/namespaces/e2e-recovery/");
    let is_lost = |request: &Request| lost.is_some_and(|lost| request.uri.contains(lost));
    let denied: Vec<_> = requests.iter().filter(|request| request.decision != "allow" && !is_lost(request)).collect();
    ensure!(denied.is_empty(), "{} requests were not allowed:\n{}", denied.len(), Request::describe(&denied));
    Ok(Done::Passed)
}

/// The audit log, read from a remembered place.
struct Audit {
    path: PathBuf,
    from: u64,
}

/// One request of the operator.
struct Request {
    verb: String,
    resource: String,
    uri: String,
    /// By its roles: `allow` or `forbid`. A quota or a namespace that ends refuses otherwise. Empty: not decided on, for it
    /// came too fast (429).
    decision: String,
}

impl Request {
    fn is_lease(&self) -> bool {
        self.resource == "leases"
    }

    /// One line for all, for a failure's message.
    fn describe(requests: &[&Self]) -> String {
        let lines: Vec<_> =
            requests.iter().map(|Self { verb, uri, decision, .. }| format!("  {verb} {uri} ({decision})")).collect();
        lines.join("\n")
    }

    fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

impl Audit {
    fn open(context: &Context) -> Result<Option<Self>> {
        let Some(path) = context.stage.cluster.audit_log_path() else { return Ok(None) };
        let mut audit = Self { path, from: 0 };
        audit.skip()?;
        Ok(Some(audit))
    }

    /// Forgets what was so far.
    fn skip(&mut self) -> Result<()> {
        self.from = std::fs::metadata(&self.path).with_context(|| format!("find {}", self.path.display()))?.len();
        Ok(())
    }

    /// What the operator asked since.
    fn of_operator(&self) -> Result<Vec<Request>> {
        let user = format!("system:serviceaccount:{}:{}", install::NAMESPACE, install::RELEASE);
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut requests = Vec::new();
        for line in BufReader::new(file).lines() {
            // The last line may be half written.
            let Ok(event) = serde_json::from_str::<Value>(&line?) else { continue };
            // A watch is audited when it starts and when it ends.
            if event["user"]["username"] == user.as_str() && event["stage"] == "ResponseComplete" {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let (verb, uri) = (text(&event["verb"]), text(&event["requestURI"]));
                let decision = text(&event["annotations"]["authorization.k8s.io/decision"]);
                requests.push(Request { verb, resource: text(&event["objectRef"]["resource"]), uri, decision });
            }
        }
        Ok(requests)
    }
}
