//! What goes wrong in a cluster, and what people then read. The controller manager is real; of kubelet and scheduler,
//! which are not there, the words are written into pods as they write them.

use k8s_openapi::api::core::v1::{Pod, ResourceQuota};

use super::*;

pub async fn a_quota_that_refuses_pods_is_told_in_its_own_words(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("quota")?;
    let quota: ResourceQuota =
        serde_json::from_value(json!({"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}))?;
    space.api::<ResourceQuota>().create(&PostParams::default(), &quota).await?;
    eventually("the quota is counted", async || {
        let status = space.api::<ResourceQuota>().get("none").await?.status.unwrap_or_default();
        Ok(status.hard.map(drop))
    })
    .await?;
    space.serve("demo", builtin()).await?;
    let refused = space.condition("demo", "Available", |condition| condition.reason == "PodsRefused").await?;
    ensure!(refused.status == "False" && refused.message.contains("exceeded quota: none"), "{refused:?}");
    space.condition("demo", "Ready", |condition| condition.reason == "PodsRefused").await?;
    space.api::<ResourceQuota>().delete("none", &DeleteParams::default()).await?;
    a_pod(&space, "demo").await.context("the pods come once the quota is gone").map(drop)
}

pub async fn an_admission_policy_that_refuses_a_child_is_told_in_its_own_words(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("policy")?;
    let policy = "\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-services}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: policy}}
    resourceRules:
      - {apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [services]}
  validations:
    - {expression: \"false\", message: \"this team has no Services\"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-services}
spec: {policyName: no-services, validationActions: [Deny]}
";
    stage.level.kubectl_with_input(&["apply", "-f", "-"], policy)?;
    eventually("the policy is in force", async || {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"generateName": "probe-"}, "spec": {"ports": [{"port": 80}]}
        }))?;
        match space.api::<Service>().create(&PostParams::default(), &service).await {
            Err(kube::Error::Api(status)) if status.message.contains("no Services") => Ok(Some(())),
            _ => Ok(None),
        }
    })
    .await?;
    space.serve("demo", builtin()).await?;
    let refused = space.condition("demo", "Programmed", |condition| condition.status == "False").await?;
    ensure!(["Rejected", "Forbidden"].contains(&refused.reason.as_str()), "{refused:?}");
    ensure!(
        refused.message.contains("Service demo") && refused.message.contains("this team has no Services"),
        "{refused:?}"
    );
    space.condition("demo", "Stalled", |condition| condition.status == "True").await?;
    space.exists::<Deployment>("demo").await.context("pods do not need the Service to run")?;
    stage.level.kubectl(&["delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "no-services"])?;
    // It is tried again by itself, ever later: a change of the server is quicker.
    space.serve("demo", json!({"backend": {"builtin": {}}, "service": {"annotations": {"a": "b"}}})).await?;
    space.programmed("demo").await
}

/// Each as the kubelet or the scheduler writes it, and what is read then.
const TROUBLE: &[(&str, &str, &[&str])] = &[
    (
        r#"{"containerStatuses": [{"name": "mcp-server", "image": "mcp-server:test", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"mcp-server:test\""}}}]}"#,
        "ImagePullFailed",
        &["mcp-server:test", "Back-off pulling image"],
    ),
    (
        r#"{"containerStatuses": [{"name": "mcp-server", "image": "mcp-server:test", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 78, "reason": "Error", "message": "starting\nline 4: unknown key prot\n"}}}]}"#,
        "Crashing",
        &["exited with code 78", "line 4: unknown key prot"],
    ),
    (
        r#"{"containerStatuses": [{"name": "mcp-server", "image": "mcp-server:test", "imageID": "", "ready": false, "restartCount": 5,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}"#,
        "OutOfMemory",
        &["more memory than its limit"],
    ),
    (
        r#"{"containerStatuses": [{"name": "mcp-server", "image": "mcp-server:test", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"gone\" not found"}}}]}"#,
        "ContainerInvalid",
        &["secret \"gone\" not found"],
    ),
    (
        r#"{"containerStatuses": [], "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient memory."}]}"#,
        "Unschedulable",
        &["3 Insufficient memory"],
    ),
];

pub async fn every_trouble_of_a_pod_reaches_ready(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("trouble")?;
    space.serve("demo", builtin()).await?;
    let pod = a_pod(&space, "demo").await?;
    for (status, reason, words) in TROUBLE {
        let status: Value = serde_json::from_str(status)?;
        pod_status(&space, &pod, status).await?;
        let told = space.condition("demo", "Available", |condition| condition.reason == *reason).await?;
        ensure!(told.status == "False", "{told:?}");
        let missing: Vec<_> = words.iter().filter(|word| !told.message.contains(**word)).collect();
        ensure!(missing.is_empty(), "{missing:?} is not in {:?}", told.message);
        ensure!(told.message.ends_with(&format!("(docs/conditions.md#{})", reason.to_lowercase())), "{told:?}");
        space.condition("demo", "Ready", |condition| condition.reason == *reason).await?;
    }
    Ok(())
}

/// `kubectl wait` must not take the old word for the new one, and must end when the new one is there.
pub async fn kubectl_wait_waits_for_the_newest_generation(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("wait")?;
    space.serve("demo", builtin()).await?;
    let pod = a_pod(&space, "demo").await?;
    let wait = |patience: &str| {
        let patience = format!("--timeout={patience}");
        stage.level.kubectl(&["wait", "mcpserver/demo", "-n", "wait", "--for=condition=Ready", &patience])
    };
    let early = wait("1s").err().context("it is not ready yet")?;
    ensure!(format!("{early:#}").contains("timed out"), "{early:#}");
    ready(&space, &pod, "True").await?;
    wait("60s").context("the pod is ready")?;
    // What cannot work takes the word back, for this generation.
    space.serve("demo", with_redis()).await?;
    space.condition("demo", "Accepted", |condition| condition.status == "False").await?;
    ensure!(wait("1s").is_err(), "a server that is refused is not ready");
    Ok(())
}

/// A pod that comes and goes is told by what it is in between, and seldom.
pub async fn a_pod_that_flaps_is_no_storm_of_writes(stage: &mut Stage) -> Result<()> {
    let space = stage.namespace("flapping")?;
    space.serve("demo", builtin()).await?;
    let pod = a_pod(&space, "demo").await?;
    ready(&space, &pod, "True").await?;
    space.condition("demo", "Ready", |condition| condition.status == "True").await?;
    sleep(Duration::from_secs(2)).await;
    let mut audit = stage.audit()?;
    let turns = 20;
    for turn in 0..turns {
        ready(&space, &pod, if turn % 2 == 0 { "False" } else { "True" }).await?;
        sleep(Duration::from_millis(100)).await;
    }
    space.condition("demo", "Ready", |condition| condition.status == "True").await?;
    sleep(Duration::from_secs(3)).await;
    let requests = audit.of_operator()?;
    let writes = requests.iter().filter(|request| request.starts_with("patch mcpservers/status demo")).count();
    let events = requests.iter().filter(|request| request.contains(" events ")).count();
    ensure!(writes + events <= turns / 2, "{writes} statuses and {events} events of {turns} turns");
    Ok(())
}

/// The one pod that the controller manager made.
async fn a_pod(space: &Space, server: &str) -> Result<String> {
    let ours = ListParams::default().labels(&format!("app.kubernetes.io/instance={server}"));
    eventually("there is a pod", async || {
        let pods = space.api::<Pod>().list(&ours).await?.items;
        Ok(pods.first().map(|pod| pod.name_any()))
    })
    .await
}

async fn pod_status(space: &Space, pod: &str, status: Value) -> Result<()> {
    let patch = Patch::Merge(json!({"status": status}));
    space.api::<Pod>().patch_status(pod, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn ready(space: &Space, pod: &str, status: &str) -> Result<()> {
    let conditions = json!([{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    pod_status(space, pod, json!({"phase": "Running", "conditions": conditions})).await
}
