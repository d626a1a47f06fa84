//! The API level itself: it comes up, tells what was asked of it, and leaves nothing behind.

use std::time::Duration;

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

    assert_eq!(stages_of_creation(&level).await, ["ResponseComplete"], "each request is one line");

    let processes = level.processes().to_vec();
    let folder = level.kubeconfig().parent().unwrap().to_owned();
    assert_eq!(processes.len(), 3);
    level.stop().unwrap();
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert!(!folder.exists());
}

/// The API server may write a request down a moment after it was answered.
async fn stages_of_creation(level: &ApiLevel) -> Vec<String> {
    for _ in 0..50 {
        let text = std::fs::read_to_string(level.audit_log_path()).unwrap_or_default();
        let stages: Vec<_> = text.lines().filter_map(stage_of_creation).collect();
        if !stages.is_empty() {
            return stages;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Vec::new()
}

/// `None` also for a line that is being written.
fn stage_of_creation(line: &str) -> Option<String> {
    let request: Value = serde_json::from_str(line).ok()?;
    let wanted = request["verb"] == "create" && request["objectRef"]["name"] == "found-in-the-audit-log";
    wanted.then(|| request["stage"].as_str().map(str::to_owned))?
}
