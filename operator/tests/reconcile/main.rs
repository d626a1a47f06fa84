//! One reconcile against an API server in memory: what is asked, in which order, and what happens when it fails.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

mod double;
#[path = "../support/fixture.rs"]
#[expect(dead_code, reason = "shared with the golden tests")]
mod fixture;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use double::{Double, Fault};
use fixture::{Fixture, NAMESPACE, UID, server};
use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMetaExt;
use kube::runtime::controller::Action;
use kube::runtime::events::Reporter;
use mcp_crds::McpServer;
use mcp_operator::cache::{Cache, Child, ChildStatus, Guard, JobState, Key, Scope, Server, Unreadable};
use mcp_operator::context::Context;
use mcp_operator::error::{Error, Retry};
use mcp_operator::events::Publisher;
use mcp_operator::kind::Kind;
use mcp_operator::memory::Memory;
use mcp_operator::metrics::Metrics;
use mcp_operator::reconcile::reconcile;
use mcp_operator::settings::{SecretAccess, Settings};
use mcp_operator::upgrade::Upgrades;
use serde_json::{Value, json};

struct World {
    api: Double,
    ctx: Arc<Context>,
}

impl World {
    fn with(server: Fixture) -> Self {
        Self::with_access(server, SecretAccess::Full)
    }

    fn with_access(server: Fixture, secret_access: SecretAccess) -> Self {
        let world = Self::of(Double::new(), Arc::new(Cache::default()), "mcp-server:test", secret_access);
        world.see(server.build());
        world
    }

    fn of(api: Double, cache: Arc<Cache>, image: &str, secret_access: SecretAccess) -> Self {
        let client = api.client();
        let reporter = Reporter { controller: "test".to_owned(), instance: None };
        let metrics = Arc::new(Metrics::new(true).unwrap());
        let (queue, _) = mcp_operator::queue::Queue::new();
        let ctx = Context {
            events: Publisher::new(client.clone(), reporter),
            client,
            cache,
            memory: Memory::default(),
            verifier: None,
            upgrades: Upgrades::new(image.to_owned(), 1, queue, Arc::clone(&metrics)),
            metrics,
            scope: Scope { without_secrets: secret_access == SecretAccess::None, ..Scope::default() },
            deadline: Duration::from_secs(30),
            settings: Settings {
                runtime_image: image.to_owned(),
                runtime_image_pull_policy: None,
                cluster_domain: "cluster.local".to_owned(),
                operator_namespace: None,
                mcp_from: Vec::new(),
                metrics_from: Vec::new(),
                secret_access,
            },
        };
        Self { api, ctx: Arc::new(ctx) }
    }

    /// Another process with another default image of the runtime, in the same cluster.
    fn restarted_with(&self, image: &str) -> Self {
        Self::of(self.api.clone(), Arc::clone(&self.ctx.cache), image, SecretAccess::Full)
    }

    /// With the server `demo`, whose pod is ready and said to be. Time must be virtual.
    async fn serving() -> Self {
        let world = Self::with(server("demo"));
        world.reconcile().await.unwrap();
        world.rollout(1, 1, 1);
        world.reconcile().await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        world.reconcile().await.unwrap();
        world
    }

    /// The watch shows the Deployment with this status.
    fn rollout(&self, version: u32, replicas: i32, ready: i32) {
        let mut object = self.api.get(&deployment_path()).unwrap();
        object["metadata"]["resourceVersion"] = json!((1000 + version).to_string());
        object["status"] = json!({
            "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": ready
        });
        self.ctx.cache.children(Kind::Deployment).put(Child::of_deployment(serde_json::from_value(object).unwrap()));
    }

    /// The watch shows the server with the status that was written, as the API server kept it.
    fn see_status(&self, keep: impl FnOnce(&mut Value)) {
        let path = format!("/apis/mcp-operator.dev/v1alpha1/namespaces/{NAMESPACE}/mcpservers/demo/status");
        let written = self.api.get(&path).unwrap();
        let mut object = serde_json::to_value(&*server("demo")).unwrap();
        object["metadata"]["resourceVersion"] = written["metadata"]["resourceVersion"].clone();
        object["status"] = written["status"].clone();
        keep(&mut object["status"]);
        self.see(serde_json::from_value(object).unwrap());
    }

    fn image(&self) -> String {
        let deployment = self.api.get(&deployment_path()).unwrap();
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    }

    /// The watch shows the server.
    fn see(&self, server: McpServer) {
        self.ctx.cache.servers.replace(Server::of(Guard(Ok(Arc::new(server)))));
    }

    async fn reconcile(&self) -> Result<Action, Error> {
        let metadata =
            ObjectMeta { name: Some("demo".to_owned()), namespace: Some(NAMESPACE.to_owned()), ..Default::default() };
        Box::pin(reconcile(Arc::new(metadata.into_request_partial()), Arc::clone(&self.ctx))).await
    }

    fn status(&self) -> Value {
        let path = format!("/apis/mcp-operator.dev/v1alpha1/namespaces/{NAMESPACE}/mcpservers/demo/status");
        self.api.get(&path).expect("a status was written")["status"].clone()
    }

    fn condition(&self, kind: &str) -> (String, String, String) {
        let conditions = self.status()["conditions"].as_array().unwrap().clone();
        let condition = conditions.into_iter().find(|condition| condition["type"] == kind).unwrap();
        let text = |key: &str| condition[key].as_str().unwrap().to_owned();
        (text("status"), text("reason"), text("message"))
    }

    fn secret(&self, name: &str, version: &str) {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            uid: Some(format!("uid-{name}")),
            resource_version: Some(version.to_owned()),
            ..Default::default()
        };
        self.ctx.cache.children(Kind::Secret).put(Child::of(Kind::Secret, metadata));
    }
}

fn writes(requests: &[String]) -> Vec<&str> {
    requests.iter().map(String::as_str).filter(|request| !request.starts_with("GET")).collect()
}

fn deployment_path() -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/demo")
}

fn secret_path(name: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/secrets/{name}")
}

fn env_digest(world: &World) -> String {
    let deployment = world.api.get(&deployment_path()).unwrap();
    let annotations = deployment["spec"]["template"]["metadata"]["annotations"].clone();
    let digests: Vec<_> = annotations.as_object().unwrap().iter().filter(|(key, _)| key.contains("env")).collect();
    assert_eq!(digests.len(), 1, "{annotations}");
    digests[0].1.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_pods_need_is_written_before_the_pods() {
    let world = World::with(server("demo"));
    world.reconcile().await.unwrap();
    let requests = world.api.requests();
    let writes = writes(&requests);
    let kinds: Vec<_> = writes.iter().map(|request| request.split('/').next().unwrap()).collect();
    let expected = [
        "PATCH serviceaccounts",
        "PATCH configmaps",
        "PATCH configmaps",
        "POST secrets",
        "PATCH networkpolicies",
        "PATCH services",
        "PATCH deployments",
        "PATCH mcpservers",
    ];
    assert_eq!(kinds.iter().filter(|kind| **kind != "POST events").copied().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_second_reconcile_asks_for_nothing() {
    let world = World::with(server("demo").exposed("a.example"));
    world.reconcile().await.unwrap();
    assert!(!world.api.requests().is_empty());
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_change_writes_only_what_it_changes() {
    let world = World::with(server("demo"));
    world.reconcile().await.unwrap();
    world.api.requests();
    let annotations = std::collections::BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let mut changed = server("demo").with(|spec| spec.service.annotations = annotations).build();
    changed.metadata.generation = Some(2);
    changed.metadata.resource_version = Some("2".to_owned());
    world.see(changed);
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), ["PATCH services/demo", "PATCH mcpservers/demo/status"]);
}

/// The next version of a server.
fn changed(server: Fixture) -> McpServer {
    let mut server = server.build();
    server.metadata.generation = Some(2);
    server.metadata.resource_version = Some("2".to_owned());
    server
}

/// A Deployment whose `replicas` nobody owns any more has one pod.
#[tokio::test]
async fn the_number_of_pods_is_held_by_somebody_before_it_is_left_out() {
    let world = World::with(server("demo").replicas(3));
    world.reconcile().await.unwrap();
    world.see(changed(server("demo").replicas(3).autoscaled(2, 5)));
    world.api.requests();
    world.reconcile().await.unwrap();
    let expected = [
        "PATCH horizontalpodautoscalers/demo",
        "GET deployments/demo",
        "PATCH deployments/demo",
        "PATCH deployments/demo",
        "PATCH mcpservers/demo/status",
    ];
    assert_eq!(world.api.requests(), expected);
    let deployment = world.api.get(&deployment_path()).unwrap();
    assert_eq!(deployment["spec"]["replicas"], 3);
    let fields = deployment["metadata"]["managedFields"].to_string();
    assert!(fields.contains("f:template") && !fields.contains("f:replicas"), "the last to apply left it out: {fields}");
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), Vec::<String>::new(), "once");
}

#[tokio::test]
async fn a_number_that_could_not_be_held_is_not_left_out() {
    let world = World::with(server("demo").replicas(3));
    world.reconcile().await.unwrap();
    world.see(changed(server("demo").replicas(3).autoscaled(2, 5)));
    world
        .api
        .fail(|method, path| (method == Method::PATCH && path.contains("/deployments/")).then_some(Fault::Status(409)));
    let error = world.reconcile().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff, "{error:?}");
    assert_eq!(world.api.get(&deployment_path()).unwrap()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn a_refused_write_is_said_and_the_pods_wait() {
    for (code, reason) in [(403, "Forbidden"), (422, "Rejected"), (500, "ApplyFailed"), (409, "ApplyFailed")] {
        let world = World::with(server("demo"));
        world.api.fail(move |method, path| {
            (method == Method::PATCH && path.contains("/configmaps/")).then_some(Fault::Status(code))
        });
        let error = world.reconcile().await.unwrap_err();
        assert_eq!(error.reason().as_str(), reason);
        let (status, found, message) = world.condition("Programmed");
        assert_eq!((status.as_str(), found.as_str()), ("False", reason));
        assert!(message.contains("ConfigMap demo-") && message.contains(&format!("refused with {code}")), "{message}");
        assert!(world.api.get(&deployment_path()).is_none(), "pods without their configuration");

        world.api.fail(|_, _| None);
        world.reconcile().await.unwrap();
        assert_eq!(world.condition("Programmed").0, "True", "it recovers by itself");
    }
}

#[tokio::test]
async fn a_route_that_cannot_be_written_does_not_keep_the_pods_from_running() {
    let world = World::with(server("demo").exposed("a.example"));
    world.api.fail(|_, path| path.contains("/ingresses/").then_some(Fault::Status(403)));
    world.reconcile().await.unwrap_err();
    assert!(world.api.get(&deployment_path()).is_some());
    assert_eq!(world.condition("Programmed").1, "Forbidden");
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_hangs_costs_one_deadline() {
    let world = World::with(server("demo"));
    world.api.fail(|_, path| path.contains("/services/").then_some(Fault::Hang));
    let start = tokio::time::Instant::now();
    let error = world.reconcile().await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(error.reason().as_str(), "TimedOut");
    assert_eq!(world.condition("Programmed").1, "TimedOut");
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_done_once() {
    let world = World::with(server("demo"));
    let mut first = true;
    world.api.fail(move |method, path| {
        let lost = first && method == Method::POST && path.ends_with("/secrets");
        first &= !lost;
        lost.then_some(Fault::LostAnswer)
    });
    world.reconcile().await.unwrap_err();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/secrets/demo-keys");
    let keys = world.api.get(&path).unwrap()["data"].clone();
    world.reconcile().await.unwrap();
    assert_eq!(world.api.get(&path).unwrap()["data"], keys, "new keys would end every session");
}

#[tokio::test]
async fn somebody_elses_object_is_not_written_to() {
    let world = World::with(server("demo"));
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "x"}});
    world.api.put(&deployment_path(), foreign.clone());
    let error = world.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::Conflict { kind: Kind::Deployment, .. }), "{error:?}");
    assert_eq!(world.api.get(&deployment_path()), Some(foreign));
}

#[tokio::test]
async fn an_object_that_lost_its_labels_is_still_ours() {
    let world = World::with(server("demo"));
    let owner = json!([{"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "name": "demo", "uid": UID, "controller": true}]);
    let ours = json!({"metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "x", "ownerReferences": owner}});
    world.api.put(&deployment_path(), ours);
    world.reconcile().await.unwrap();
    assert!(world.api.get(&deployment_path()).unwrap()["spec"].is_object());
}

#[tokio::test]
async fn what_is_written_is_known_with_the_status_of_that_moment() {
    let world = World::with(server("demo").exposed("a.example"));
    let owner = json!([{"apiVersion": "mcp-operator.dev/v1alpha1", "kind": "McpServer", "name": "demo", "uid": UID, "controller": true}]);
    // Its labels were taken off: no watch shows it, and none will show this version again.
    let deployment = json!({
        "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "x", "ownerReferences": owner},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}
    });
    let ingress = json!({
        "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "y", "ownerReferences": owner},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    });
    world.api.put(&deployment_path(), deployment);
    world.api.put(&format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/ingresses/demo"), ingress);
    world.reconcile().await.unwrap();
    let key = Key::new(NAMESPACE, "demo");
    let deployment = world.ctx.cache.children(Kind::Deployment).get(&key).unwrap();
    assert_eq!(deployment.rollout().map(|rollout| (rollout.updated, rollout.ready)), Some((2, 2)));
    let ingress = world.ctx.cache.children(Kind::Ingress).get(&key).unwrap();
    assert_eq!(ingress.status, ChildStatus::Addresses(vec!["192.0.2.1".to_owned()]));
}

/// It was written by the reconcile before, and the watch shows it while this one is under way.
#[tokio::test]
async fn what_was_said_is_known_to_a_reconcile_that_began_before_it_was_seen() {
    let world = World::with(server("demo"));
    let before = world.ctx.cache.servers.get(&Key::new(NAMESPACE, "demo")).unwrap().object.clone().unwrap();
    world.reconcile().await.unwrap();
    world.see_status(|_| {});
    let key = Key::new(NAMESPACE, "demo");
    let seen = world.ctx.cache.servers.get(&key).unwrap();
    let version = seen.object.as_ref().unwrap().metadata.resource_version.clone().unwrap();
    let echo = world.ctx.memory.with(&key, |memory| memory.hears(seen.status().unwrap(), &version));
    assert!(echo, "what the API server gives back is what was sent");
    let known = mcp_operator::status::current(&before, &key, &world.ctx);
    assert_eq!(Some(&known), seen.status());
}

#[tokio::test]
async fn nothing_is_written_while_a_reference_is_missing() {
    let world = World::with(server("demo").with_redis("s", "redis-url"));
    world.reconcile().await.unwrap_err();
    assert_eq!(world.condition("Accepted").1, "MissingReference");
    let requests = world.api.requests();
    let others: Vec<_> = writes(&requests)
        .into_iter()
        .filter(|request| !request.contains("mcpservers") && !request.contains("events"))
        .collect();
    assert_eq!(others, Vec::<&str>::new());
    world.secret("s", "1");
    world.reconcile().await.unwrap();
    assert_eq!(world.condition("Accepted").0, "True");
}

#[tokio::test]
async fn a_secret_in_the_environment_rolls_the_pods_when_its_content_changes_and_only_then() {
    let world = with_token_in_environment();
    let path = secret_path("s");
    let content = |token: &str| json!({"metadata": {"name": "s"}, "data": {"token": token, "other": token}});
    world.api.put(&path, content("b25l"));
    world.secret("s", "1");
    world.reconcile().await.unwrap();
    let first = env_digest(&world);
    world.api.requests();

    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), Vec::<String>::new(), "read once for each version");
    world.secret("s", "2");
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), ["GET secrets/s"], "only its labels have changed");
    world.api.put(&path, content("dHdv"));
    world.secret("s", "3");
    world.reconcile().await.unwrap();
    assert_ne!(env_digest(&world), first);
    world.api.requests();

    // As after a start.
    world.ctx.memory.forget(&Key::new(NAMESPACE, "demo"));
    world.reconcile().await.unwrap();
    let requests = world.api.requests();
    let of_secrets: Vec<_> = requests.iter().filter(|request| request.contains("secrets")).collect();
    assert_eq!(of_secrets, Vec::<&String>::new(), "the Deployment says of which versions its digest is");
}

fn with_token_in_environment() -> World {
    let env: Value = json!({"backend": {"container": {
        "image": "x", "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]
    }}});
    World::with(server("demo").with(|spec| *spec = serde_json::from_value(env).unwrap()))
}

#[tokio::test]
async fn pods_do_not_roll_onto_a_secret_that_has_just_gone() {
    let world = with_token_in_environment();
    // The watch has not told yet.
    world.secret("s", "1");
    let error = world.reconcile().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff, "{error:?}");
    assert!(world.api.get(&deployment_path()).is_none());
}

#[tokio::test]
async fn keys_made_anew_make_the_digest_anew_and_broken_ones_make_none() {
    let world = with_token_in_environment();
    world.api.put(&secret_path("s"), json!({"metadata": {"name": "s"}, "data": {"token": "b25l"}}));
    world.secret("s", "1");
    world.reconcile().await.unwrap();
    let first = env_digest(&world);

    // Somebody deletes the keys; the operator makes new ones.
    world.api.remove(&secret_path("demo-keys"));
    world.ctx.cache.children(Kind::Secret).remove(&Key::new(NAMESPACE, "demo-keys"));
    world.reconcile().await.unwrap();
    assert_ne!(env_digest(&world), first, "and at once: not when the operator restarts");

    // Keys that somebody emptied are no keys.
    let path = secret_path("demo-keys");
    let mut keys = world.api.get(&path).unwrap();
    keys["data"] = json!({"session": "b25l"});
    keys["metadata"]["resourceVersion"] = json!("100000");
    let metadata = serde_json::from_value(keys["metadata"].clone()).unwrap();
    world.api.put(&path, keys);
    world.ctx.cache.children(Kind::Secret).put(Child::of(Kind::Secret, metadata));
    let error = world.reconcile().await.unwrap_err();
    assert!(matches!(error, Error::Keys { key: "peer", .. }), "{error:?}");
}

#[tokio::test]
async fn a_status_that_cannot_be_written_is_tried_again() {
    let world = World::with(server("demo"));
    world.api.fail(|_, path| path.ends_with("/status").then_some(Fault::Status(500)));
    assert_eq!(world.reconcile().await.unwrap_err().reason().as_str(), "ApplyFailed");
    world.api.fail(|_, _| None);
    world.reconcile().await.unwrap();
    assert_eq!(world.condition("Programmed").0, "True");
}

#[tokio::test]
async fn a_refusal_that_could_not_be_said_is_tried_again_soon() {
    let world = World::with(server("demo").with_redis("s", "redis-url"));
    world.api.fail(|_, path| path.ends_with("/status").then_some(Fault::Status(500)));
    let error = world.reconcile().await.unwrap_err();
    assert_eq!(error.retry(), Retry::Backoff, "{error:?}");
    world.api.fail(|_, _| None);
    assert!(matches!(world.reconcile().await.unwrap_err(), Error::Missing(_)));
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_told_so_and_disturbs_nobody() {
    let world = World::with(server("demo"));
    world.reconcile().await.unwrap();
    let said = world.status();
    let available = world.condition("Available");
    let broken = |version: &str, status: &Value| {
        let metadata = ObjectMeta { resource_version: Some(version.to_owned()), ..server("demo").metadata.clone() };
        let status = serde_json::from_value(status.clone()).unwrap();
        let unreadable = Unreadable { metadata, status, error: "spec.replicas: invalid type".to_owned() };
        world.ctx.cache.servers.replace(Server::of(Guard(Err(unreadable))));
    };
    broken("1000", &said);
    world.api.requests();
    world.reconcile().await.unwrap_err();
    assert_eq!(world.condition("Accepted").1, "InvalidSpec");
    assert_eq!((world.condition("Available"), &world.status()["selector"]), (available, &said["selector"]));
    assert!(world.api.get(&deployment_path()).is_some());

    broken("1001", &world.status());
    world.api.requests();
    world.reconcile().await.unwrap_err();
    assert_eq!(world.api.requests(), Vec::<String>::new(), "said once");
}

#[tokio::test]
async fn an_environment_that_cannot_be_read_for_a_moment_takes_neither_address_nor_selector() {
    let env: Value = json!({"backend": {"container": {
        "image": "x", "env": [{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "token"}}}]
    }}});
    let world = World::with(server("demo").with(|spec| *spec = serde_json::from_value(env).unwrap()));
    let content = json!({"metadata": {"name": "s"}, "data": {"token": "b25l"}});
    world.api.put(&format!("/api/v1/namespaces/{NAMESPACE}/secrets/s"), content);
    world.secret("s", "1");
    world.reconcile().await.unwrap();
    let said = world.status();
    assert!(said["selector"].is_string() && said["address"]["url"].is_string(), "{said}");
    world.api.fail(|method, path| (method == Method::GET && path.ends_with("/s")).then_some(Fault::Status(500)));
    world.secret("s", "2");
    world.reconcile().await.unwrap_err();
    assert_eq!(world.condition("Programmed").1, "ApplyFailed");
    assert_eq!(world.status()["selector"], said["selector"], "the scale subresource needs it");
    assert_eq!(world.status()["address"], said["address"]);
}

#[tokio::test]
async fn a_suspended_server_says_what_it_is_missing() {
    let world = World::with(server("demo").with_redis("s", "redis-url").with(|spec| spec.suspend = true));
    world.reconcile().await.unwrap_err();
    assert_eq!(world.condition("Accepted").1, "MissingReference");
    world.secret("s", "1");
    world.reconcile().await.unwrap();
    assert_eq!(
        (world.condition("Accepted").0, world.condition("Programmed").1),
        ("True".to_owned(), "Suspended".to_owned())
    );
}

#[tokio::test]
async fn a_server_that_goes_in_the_middle_is_forgotten() {
    let world = World::with(server("demo"));
    let cache = Arc::clone(&world.ctx.cache);
    world.api.fail(move |_, path| {
        if path.contains("/services/") {
            cache.servers.remove(&Key::new(NAMESPACE, "demo"));
        }
        None
    });
    world.reconcile().await.unwrap();
    let metrics = String::from_utf8(world.ctx.metrics.text().unwrap()).unwrap();
    assert!(!metrics.contains("demo"), "{metrics}");
}

/// Prometheus or a Gateway may come to a cluster later, or never.
#[tokio::test]
async fn a_kind_that_the_cluster_lacks_is_neither_written_nor_pruned() {
    let gateway: Value = json!({"parentRefs": [{"name": "public"}]});
    let exposed = || {
        server("demo").exposed("a.example").with(|spec| {
            spec.expose.as_mut().unwrap().gateway = Some(serde_json::from_value(gateway.clone()).unwrap());
        })
    };
    let world = World::with(exposed());
    world.reconcile().await.unwrap_err();
    let (_, reason, message) = world.condition("Accepted");
    assert_eq!(reason, "MissingReference");
    assert!(message.contains("install the Gateway API"), "{message}");
    world.ctx.cache.apis.serve(Kind::HttpRoute);
    world.reconcile().await.unwrap();
    let path = format!("/apis/gateway.networking.k8s.io/v1/namespaces/{NAMESPACE}/httproutes/demo");
    assert_eq!(world.api.get(&path).unwrap()["spec"]["parentRefs"], gateway["parentRefs"]);
    assert_eq!(world.condition("Exposed").1, "RoutePending");
    world.api.requests();
    world.see(changed(server("demo")));
    world.reconcile().await.unwrap();
    assert!(world.api.requests().contains(&"DELETE httproutes/demo".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_does_in_pieces_is_told_once() {
    let world = World::with(server("demo"));
    world.reconcile().await.unwrap();
    world.api.requests();
    world.rollout(1, 1, 0);
    let soon = world.reconcile().await.unwrap();
    assert_eq!(soon, Action::requeue(Duration::from_millis(500)));
    tokio::time::advance(Duration::from_millis(300)).await;
    world.rollout(2, 1, 1);
    assert_eq!(world.reconcile().await.unwrap(), Action::requeue(Duration::from_millis(200)));
    assert_eq!(world.api.requests(), Vec::<String>::new());
    tokio::time::advance(Duration::from_millis(200)).await;
    world.reconcile().await.unwrap();
    let requests = world.api.requests();
    assert_eq!(requests.iter().filter(|request| request.starts_with("PATCH mcpservers")).count(), 1, "{requests:?}");
    assert_eq!(world.condition("Available").0, "True");
}

#[tokio::test(start_paused = true)]
async fn what_comes_and_goes_at_once_is_not_told() {
    let world = World::serving().await;
    world.api.requests();
    for round in 0..10 {
        world.rollout(2 + 2 * round, 1, 0);
        world.reconcile().await.unwrap();
        tokio::time::advance(Duration::from_millis(400)).await;
        world.rollout(3 + 2 * round, 1, 1);
        world.reconcile().await.unwrap();
        tokio::time::advance(Duration::from_millis(400)).await;
    }
    assert_eq!(world.api.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn a_definition_older_than_the_operator_costs_no_writes() {
    let world = World::with(server("demo"));
    world.reconcile().await.unwrap();
    world.api.requests();
    // What an older definition does not know the API server does not keep.
    world.see_status(|status| {
        status.as_object_mut().unwrap().remove("backend");
        status.as_object_mut().unwrap().remove("selector");
    });
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_turn_has_not_come_keeps_its_pods() {
    let world = World::serving().await;
    world.see_status(|_| {});
    let deployment = world.ctx.cache.children(Kind::Deployment).get(&Key::new(NAMESPACE, "demo"));

    let upgraded = world.restarted_with("mcp-server:new");
    let other = Key::new(NAMESPACE, "other");
    let turn = upgraded.ctx.upgrades.turn(&server("other").build(), &other, deployment.as_deref());
    assert_eq!(turn.waits, None, "another server has the one place");
    upgraded.api.requests();
    upgraded.reconcile().await.unwrap();
    assert_eq!(upgraded.image(), "mcp-server:test");
    assert_eq!(upgraded.condition("Programmed").1, "UpgradePending");
    assert_eq!(upgraded.condition("Ready").0, "True", "it goes on serving");
    let requests = upgraded.api.requests();
    assert!(!requests.iter().any(|request| request.contains("deployments")), "{requests:?}");
    upgraded.reconcile().await.unwrap();
    assert_eq!(upgraded.api.requests(), Vec::<String>::new(), "waiting costs nothing");

    // A change of its own does not wait, and brings the image that it has.
    let mut changed = server("demo").replicas(2).build();
    changed.metadata.generation = Some(2);
    changed.metadata.resource_version = Some("5000".to_owned());
    upgraded.see(changed);
    upgraded.reconcile().await.unwrap();
    let deployment = upgraded.api.get(&deployment_path()).unwrap();
    assert_eq!((deployment["spec"]["replicas"].as_i64(), upgraded.image().as_str()), (Some(2), "mcp-server:test"));

    upgraded.ctx.upgrades.forget(&other);
    upgraded.reconcile().await.unwrap();
    assert_eq!(upgraded.image(), "mcp-server:new");
    assert_eq!(upgraded.condition("Programmed").1, "Programmed");
}
