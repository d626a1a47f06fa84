//! The API level itself: it comes up, tells what was asked of it, and leaves nothing behind.

use e2e::clusters::ApiLevel;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_starts_records_requests_and_leaves_nothing() {
    let level = tokio::task::spawn_blocking(ApiLevel::start).await.unwrap().unwrap();
    let namespaces: Api<Namespace> = Api::all(level.client().await.unwrap());
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some("found-in-the-audit-log".to_owned()), ..Default::default() },
        ..Default::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();

    let created = requests(&level).into_iter().filter(|request| {
        request["verb"] == "create" && request["objectRef"]["name"] == "found-in-the-audit-log"
    });
    let stages: Vec<_> = created.map(|request| request["stage"].clone()).collect();
    assert_eq!(stages, ["ResponseComplete"], "each request is one line");

    let processes = level.processes().to_vec();
    let folder = level.kubeconfig().parent().unwrap().to_owned();
    assert_eq!(processes.len(), 3);
    level.stop().unwrap();
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert!(!folder.exists());
}

/// The API server writes a request down before it ends the response, so what has been answered is there.
fn requests(level: &ApiLevel) -> Vec<Value> {
    let text = std::fs::read_to_string(level.audit_log_path()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
