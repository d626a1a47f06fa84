//! A real mutating webhook, as service meshes have one: it adds a label and a container to every Deployment.

use axum::Json;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e_issuer::{Authority, TlsListener};

use super::*;

pub async fn what_a_webhook_adds_stays_and_costs_nothing(stage: &mut Stage) -> Result<()> {
    let authority = Authority::make()?;
    let tcp = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("https://{}/", tcp.local_addr()?);
    let listener = TlsListener::new(tcp, &authority, vec!["127.0.0.1".to_owned()])?;
    let app = axum::Router::new().route("/", post(async |Json(review): Json<Value>| Json(answer(&review))));
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "mesh"},
        "webhooks": [{
            "name": "mesh.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": url, "caBundle": STANDARD.encode(authority.pem())},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "webhook"}},
            "rules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["deployments"],
            }],
        }],
    });
    stage.level.kubectl_with_input(&["apply", "-f", "-"], &configuration.to_string())?;
    let result = injected(stage).await;
    stage.level.kubectl(&["delete", "mutatingwebhookconfiguration", "mesh"])?;
    serving.abort();
    result
}

async fn injected(stage: &Stage) -> Result<()> {
    let space = stage.namespace("webhook")?;
    eventually("the webhook is called", async || {
        let probe = json!({"metadata": {"name": "probe"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}}, "replicas": 0,
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}},
        }});
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let probe: Deployment = space.api().create(&params, &serde_json::from_value(probe)?).await?;
        Ok(has_both(&probe).then_some(()))
    })
    .await?;
    space.serve("demo", builtin()).await?;
    space.programmed("demo").await?;
    ensure!(has_both(&space.api().get("demo").await?), "it was made without them");
    sleep(Duration::from_secs(3)).await;

    let mut audit = stage.audit()?;
    space.serve("demo", json!({"backend": {"builtin": {}}, "replicas": 2})).await?;
    space.programmed("demo").await?;
    sleep(Duration::from_secs(5)).await;
    let changed: Deployment = space.api().get("demo").await?;
    ensure!(changed.spec.as_ref().and_then(|spec| spec.replicas) == Some(2) && has_both(&changed), "{changed:?}");
    let writes = audit.of_operator()?.into_iter().filter(|request| request == "patch deployments demo").count();
    ensure!(writes == 1, "one change was written {writes} times");
    Ok(())
}

fn has_both(deployment: &Deployment) -> bool {
    let label = deployment.labels().get("team").is_some_and(|team| team == "platform");
    let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    label && pod.is_some_and(|pod| pod.containers.iter().any(|container| container.name == "proxy"))
}

/// An AdmissionReview's answer: both, unless they are there.
fn answer(review: &Value) -> Value {
    let (request, mut patch) = (&review["request"], Vec::new());
    let metadata = &request["object"]["metadata"];
    if metadata["labels"].is_null() {
        patch.push(json!({"op": "add", "path": "/metadata/labels", "value": {}}));
    }
    patch.push(json!({"op": "add", "path": "/metadata/labels/team", "value": "platform"}));
    let containers = request["object"]["spec"]["template"]["spec"]["containers"].as_array();
    if !containers.into_iter().flatten().any(|container| container["name"] == "proxy") {
        let proxy = json!({"name": "proxy", "image": "proxy:1"});
        patch.push(json!({"op": "add", "path": "/spec/template/spec/containers/-", "value": proxy}));
    }
    let patch = STANDARD.encode(Value::from(patch).to_string());
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch},
    })
}
