//! What is said of a server, told as histories: each step is what the cluster shows, and what people then read.
#![expect(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

#[path = "support/fixture.rs"]
#[expect(dead_code, reason = "shared with the golden tests")]
mod fixture;

use std::collections::BTreeSet;
use std::sync::Arc;

use fixture::{Fixture, NAMESPACE, UID, server};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mcp_crds::{McpServer, McpServerStatus};
use mcp_operator::apply::rotation::{Phase, Rotation};
use mcp_operator::cache::{Child, ChildStatus, Endpoint, Key, PodView};
use mcp_operator::error::Error;
use mcp_operator::kind::Kind;
use mcp_operator::status::{Observed, Outcome, status};
use mcp_operator::verify::{Anonymous, Findings, PodAnswer, Target};
use mcp_server_config::report::{BackendReport, BackendState, LiveReport, ServerReport};
use serde_json::{Value, json};

const ADDRESS: &str = "http://demo.team-a.svc.cluster.local/mcp";

/// A server, and what was last said of it.
struct History {
    server: McpServer,
    said: McpServerStatus,
    seconds: i64,
    seen: Observed,
}

impl History {
    fn of(server: Fixture) -> Self {
        let seen = Observed {
            address: Some(ADDRESS.to_owned()),
            selector: Some("a=b".to_owned()),
            backend: Some("builtin".to_owned()),
            target: Some(target(&[])),
            ..Observed::default()
        };
        Self { server: server.build(), said: McpServerStatus::default(), seconds: 0, seen }
    }

    fn say(&mut self, outcome: &Outcome) -> &mut Self {
        self.seconds += 10;
        let now = Timestamp::from_second(self.seconds).unwrap();
        self.said = status(&self.server, outcome, &self.seen, &self.said, now);
        self
    }

    fn programmed(&mut self) -> &mut Self {
        self.say(&Outcome::Programmed)
    }

    fn rollout(&mut self, replicas: i32, updated: i32, ready: i32) -> &mut Self {
        let status =
            json!({"observedGeneration": 1, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready});
        self.deployment(status)
    }

    #[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
    fn deployment(&mut self, status: Value) -> &mut Self {
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "d", "generation": 1}, "status": status
        }))
        .unwrap();
        self.seen.deployment = Some(Arc::new(Child::of_deployment(deployment)));
        self
    }

    fn answers(
        &mut self,
        ready: bool,
        report: Result<ServerReport, String>,
        anonymous: Option<Anonymous>,
    ) -> &mut Self {
        self.seen.target = Some(target(&[("p", ready)]));
        self.seen.findings = Some(Arc::new(Findings {
            live_digest: "digest".to_owned(),
            enforced_auth: false,
            pods: vec![PodAnswer { pod: "p".to_owned(), ready, report }],
            anonymous,
            misses: 0,
        }));
        self
    }

    fn serves(&mut self) -> &mut Self {
        self.answers(true, Ok(report()), Some(Anonymous::Served))
    }

    fn is(&self, kind: &str) -> (&str, &str) {
        let condition = self.said.conditions.iter().find(|condition| condition.type_ == kind);
        condition.map_or(("absent", ""), |condition| (&condition.status, &condition.reason))
    }

    fn since(&self, kind: &str) -> i64 {
        let condition = self.said.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        condition.last_transition_time.0.as_second()
    }

    fn message(&self, kind: &str) -> &str {
        &self.said.conditions.iter().find(|condition| condition.type_ == kind).unwrap().message
    }

    fn address(&self) -> Option<&str> {
        self.said.address.as_ref().map(|address| address.url.as_str())
    }
}

fn target(pods: &[(&str, bool)]) -> Target {
    let endpoint = |(pod, ready): &(&str, bool)| Endpoint {
        pod: (*pod).to_owned(),
        address: "10.0.0.1".parse().unwrap(),
        ready: *ready,
    };
    Target {
        server: Key::new(NAMESPACE, "demo"),
        uid: UID.to_owned(),
        host: "demo.team-a.svc".to_owned(),
        dns: "demo.team-a.svc".to_owned(),
        port: 80,
        path: "/mcp".to_owned(),
        enforces_auth: false,
        tls: None,
        live_digest: "digest".to_owned(),
        mcp_port: 8000,
        management_port: 9090,
        pods: pods.iter().map(endpoint).collect(),
    }
}

fn report() -> ServerReport {
    ServerReport {
        name: "demo".to_owned(),
        version: "1".to_owned(),
        live: LiveReport { digest: "digest".to_owned(), error: None },
        backend: BackendReport {
            state: BackendState::Ready,
            protocol_versions: vec!["2026-07-28".to_owned(), "2025-11-25".to_owned()],
            tools: Some(5),
            tools_digest: Some("sha256:x".to_owned()),
            ..BackendReport::default()
        },
        ..ServerReport::default()
    }
}

fn ready(server: Fixture) -> History {
    let mut history = History::of(server);
    let wanted = history.server.spec.replicas;
    history.rollout(wanted, wanted, wanted).serves().programmed();
    assert_eq!(history.is("Ready"), ("True", "Ready"), "{:?}", history.said);
    history
}

#[test]
fn every_condition_is_there_from_the_first_word_on() {
    let mut history = History::of(server("demo"));
    history.programmed();
    for kind in ["Accepted", "Programmed", "Available", "Exposed", "Verified", "Ready"] {
        assert_ne!(history.is(kind).0, "absent", "{kind}");
    }
    assert!(history.said.conditions.iter().all(|condition| condition.observed_generation == Some(1)));
    assert_eq!((history.is("Reconciling").0, history.is("Stalled").0), ("True", "absent"));
}

#[test]
fn a_server_becomes_ready_and_publishes_its_address() {
    let mut history = History::of(server("demo"));
    history.programmed();
    assert_eq!((history.is("Available"), history.address()), (("False", "NotCreated"), None));
    history.rollout(1, 1, 0).programmed();
    assert_eq!(history.is("Available"), ("False", "Starting"));
    history.rollout(1, 1, 1).serves().programmed();
    assert_eq!(history.is("Ready"), ("True", "Ready"));
    assert_eq!(history.address(), Some(ADDRESS));
    assert_eq!((history.is("Reconciling").0, history.is("Stalled").0), ("absent", "absent"), "as kstatus wants it");
    assert_eq!(history.said.tools.as_ref().map(|tools| tools.count), Some(5));
    assert_eq!(history.said.server.as_ref().unwrap().protocol_versions[0], "2026-07-28");
}

#[test]
fn saying_the_same_twice_is_saying_nothing() {
    let mut history = ready(server("demo"));
    let before = history.said.clone();
    history.programmed();
    assert_eq!(history.said, before);
}

#[test]
fn a_restarted_operator_repeats_what_it_knew() {
    let mut history = ready(server("demo"));
    let before = history.said.clone();
    history.seen.findings = None;
    history.programmed();
    assert_eq!(history.said, before);
    history.server.metadata.generation = Some(2);
    history.programmed();
    assert_eq!(history.is("Verified"), ("Unknown", "NotAsked"), "of another generation it knows nothing");
}

#[test]
fn a_restarted_operator_repeats_bad_news_too() {
    let mut leaky = History::of(server("demo"));
    leaky.rollout(1, 1, 1).answers(true, Ok(report()), Some(Anonymous::Other(400))).programmed();
    assert_eq!(leaky.is("Verified"), ("False", "UnexpectedAnswer"));
    let mut down = History::of(server("demo"));
    let mut failing = report();
    failing.backend.state = BackendState::Failed;
    down.rollout(1, 1, 0).answers(false, Ok(failing), None).programmed();
    assert_eq!((down.is("Available").1, down.is("Verified").1), ("HandshakeFailed", "HandshakeFailed"));
    for history in [&mut leaky, &mut down] {
        let before = history.said.clone();
        history.seen.findings = None;
        history.programmed();
        assert_eq!(history.said, before);
    }
}

#[test]
fn a_lost_pod_among_several_degrades_and_the_last_one_takes_all_away() {
    let mut history = ready(server("demo").replicas(3));
    let since = history.since("Available");
    history.rollout(3, 3, 2).programmed();
    assert_eq!(history.is("Available"), ("True", "Degraded"));
    assert_eq!((history.is("Ready").0, history.since("Available")), ("True", since));
    history.rollout(3, 3, 0).answers(false, Err("refused".to_owned()), None).programmed();
    assert_eq!(history.is("Available"), ("False", "Starting"));
    assert_eq!(history.is("Verified"), ("False", "NotServing"));
    assert_eq!(history.address(), None);
}

#[test]
fn a_first_roll_out_is_available_when_all_pods_are() {
    let mut history = History::of(server("demo").replicas(3));
    history.rollout(3, 3, 2).serves().programmed();
    assert_eq!(history.is("Available"), ("False", "Starting"));
    assert_eq!(history.message("Available"), "2 of 3 pods are ready");
}

#[test]
fn a_new_version_is_ready_only_when_it_has_replaced_the_old_one() {
    let mut history = ready(server("demo").replicas(2));
    history.rollout(3, 1, 2).programmed();
    assert_eq!(history.is("Available"), ("True", "RollingOut"));
    assert_eq!(history.is("Verified"), ("Unknown", "RollingOut"));
    assert_eq!((history.is("Ready").0, history.is("Reconciling").0), ("Unknown", "True"));
    assert!(history.address().is_some(), "the old version goes on serving");
    history.rollout(2, 2, 2).programmed();
    assert_eq!(history.is("Ready"), ("True", "Ready"));
}

#[test]
fn until_the_deployments_controller_has_looked_old_words_keep_their_old_generation() {
    let mut history = ready(server("demo"));
    history.server.metadata.generation = Some(2);
    history
        .deployment(json!({"observedGeneration": 0, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}))
        .programmed();
    let ready = history.said.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.observed_generation), ("True", Some(1)), "kubectl wait goes on waiting");
    assert_eq!(history.is("Reconciling").0, "True");
}

#[test]
fn a_new_version_that_crashes_is_told_while_the_old_one_serves() {
    let mut history = ready(server("demo"));
    let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "new"}, "status": {"containerStatuses": [{
        "name": "mcp-server", "image": "x", "imageID": "", "ready": false, "restartCount": 1,
        "lastState": {"terminated": {"exitCode": 2, "message": "bad key"}}, "state": {"waiting": {"reason": "CrashLoopBackOff"}}
    }]}}))
    .unwrap();
    history.seen.pods = vec![Arc::new(PodView::of(pod))];
    history.rollout(2, 1, 1).programmed();
    assert_eq!(history.is("Available"), ("True", "RolloutStalled"));
    assert_eq!(history.is("Ready"), ("Unknown", "RolloutStalled"));
    assert!(history.message("Ready").contains("exited with code 2: bad key"), "{}", history.message("Ready"));
    history
        .deployment(
            json!({"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "readyReplicas": 1, "conditions": [
                {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            ]}),
        )
        .programmed();
    assert_eq!(history.is("Stalled").0, "True");
}

#[test]
fn pods_that_may_not_be_created_say_whose_words_they_are() {
    let mut history = History::of(server("demo"));
    history
        .deployment(json!({"observedGeneration": 1, "conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "pods \"demo-1\" is forbidden: exceeded quota"}
        ]}))
        .programmed();
    assert_eq!(history.is("Available"), ("False", "PodsRefused"));
    assert!(history.message("Available").contains("exceeded quota"));
}

#[test]
fn an_issuer_that_keeps_pods_from_being_ready_is_named() {
    let mut history = History::of(server("demo"));
    let mut waiting = report();
    waiting.issuers = vec![mcp_server_config::report::IssuerReport {
        url: "https://auth.example".to_owned(),
        ok: false,
        error: Some("connection refused".to_owned()),
    }];
    history.rollout(1, 1, 0).answers(false, Ok(waiting), None).programmed();
    assert_eq!(history.is("Ready"), ("False", "IssuerUnreachable"));
    assert!(history.message("Ready").contains("https://auth.example"), "{}", history.message("Ready"));
}

#[test]
fn a_changed_configuration_is_verified_anew_and_the_address_stays() {
    let mut history = ready(server("demo"));
    history.server.metadata.generation = Some(2);
    history.seen.target.as_mut().unwrap().live_digest = "newer".to_owned();
    history.programmed();
    assert_eq!(history.is("Verified"), ("Unknown", "ReloadPending"));
    assert_eq!(history.is("Ready"), ("Unknown", "ReloadPending"));
    assert!(history.address().is_some());
}

#[test]
fn the_address_goes_when_the_server_moves_and_comes_back_verified() {
    let mut history = ready(server("demo"));
    history.server.metadata.generation = Some(2);
    history.seen.address = Some("https://a.example/mcp".to_owned());
    history.seen.target.as_mut().unwrap().live_digest = "newer".to_owned();
    history.programmed();
    assert_eq!((history.is("Verified").0, history.address()), ("Unknown", None), "nothing answers at the old one");
    history.seen.target.as_mut().unwrap().live_digest = "digest".to_owned();
    history.programmed();
    assert_eq!(history.address(), Some("https://a.example/mcp"));
}

#[test]
fn a_restarted_operator_does_not_repeat_that_pods_serve_when_none_is_ready() {
    let mut history = ready(server("demo"));
    history.seen.target = Some(target(&[("p", false)]));
    history.seen.findings = None;
    history.rollout(1, 1, 0).programmed();
    assert_eq!(history.is("Verified"), ("False", "NotServing"));
    assert_eq!(history.address(), None);
}

#[test]
fn an_unreadable_spec_takes_nothing_back_that_was_said_of_the_pods() {
    let mut history = ready(server("demo"));
    let before = history.said.clone();
    // What there is of a server that cannot be read: the default spec, and no plan.
    history.server.spec = mcp_crds::McpServerSpec::default();
    history.server.metadata.generation = Some(2);
    history.seen = Observed::default();
    let failed = Outcome::Failed(Error::Unreadable("spec.replicas: invalid type".to_owned()));
    history.say(&failed);
    assert_eq!((history.is("Accepted"), history.is("Ready")), (("False", "InvalidSpec"), ("False", "InvalidSpec")));
    assert_eq!((history.is("Programmed").0, history.is("Stalled").0), ("Unknown", "True"));
    for kind in ["Available", "Exposed", "Verified"] {
        let condition = |said: &McpServerStatus| said.conditions.iter().find(|one| one.type_ == kind).cloned();
        assert_eq!(condition(&history.said), condition(&before), "{kind}");
    }
    assert_eq!((&history.said.address, &history.said.selector), (&before.address, &before.selector));
    assert_eq!((history.said.replicas, &history.said.tools), (1, &before.tools));
    let once = history.said.clone();
    history.say(&failed);
    assert_eq!(history.said, once, "said once");
}

#[test]
fn an_unreadable_spec_of_which_nothing_was_said_yet_has_every_condition() {
    let mut history = History::of(server("demo"));
    history.say(&Outcome::Failed(Error::Unreadable("spec.replicas: invalid type".to_owned())));
    assert_eq!((history.is("Available"), history.address()), (("Unknown", "NotAccepted"), None));
    assert_eq!((history.is("Exposed").0, history.is("Verified").0), ("Unknown", "Unknown"));
}

#[test]
fn a_reconcile_that_failed_on_its_way_takes_neither_address_nor_selector() {
    let mut history = ready(server("demo"));
    let before = history.said.clone();
    history.seen.target = None;
    history.seen.findings = None;
    history.say(&Outcome::Failed(Error::Deadline(std::time::Duration::from_secs(30))));
    assert_eq!(history.is("Programmed"), ("False", "TimedOut"));
    assert_eq!(history.is("Verified"), ("True", "Verified"));
    assert_eq!((&history.said.address, &history.said.selector), (&before.address, &before.selector));
}

#[test]
fn pods_that_nobody_has_told_to_go_are_not_scaled_to_zero() {
    let refused = Outcome::Failed(Error::Missing(vec!["Secret s does not exist".to_owned()]));
    for outcome in [Outcome::Suspended { converged: false }, refused] {
        let mut history = ready(server("demo").replicas(2));
        history.server.spec.replicas = 0;
        history.say(&outcome);
        assert_eq!(history.is("Available"), ("True", "Available"), "{outcome:?}");
        assert_eq!(
            (history.is("Verified"), history.message("Available")),
            (("True", "Verified"), "2 of 2 pods are ready")
        );
        let mut fresh = History::of(server("demo").replicas(0));
        fresh.say(&outcome);
        assert_eq!((fresh.is("Available"), fresh.address()), (("False", "NotCreated"), None), "{outcome:?}");
    }
}

#[test]
fn zero_pods_are_what_was_asked_for() {
    let mut history = ready(server("demo"));
    history.server.spec.replicas = 0;
    history.rollout(0, 0, 0).programmed();
    assert_eq!(history.is("Available"), ("True", "ScaledToZero"));
    assert_eq!(history.is("Verified"), ("True", "ScaledToZero"));
    assert_eq!(history.is("Ready").0, "True");
    assert!(history.address().is_some());
}

#[test]
fn unasked_servers_are_ready_without_being_verified() {
    let mut history = History::of(server("demo"));
    history.seen.probes_off = true;
    history.rollout(1, 1, 1).programmed();
    assert_eq!(history.is("Verified"), ("Unknown", "NotProbed"));
    assert_eq!(history.is("Ready"), ("True", "Ready"));
    assert!(history.address().is_some());
}

#[test]
fn a_refused_spec_stalls_and_running_pods_stay_verified() {
    let mut history = ready(server("demo"));
    history.say(&Outcome::Failed(Error::Missing(vec!["Secret s does not exist".to_owned()])));
    assert_eq!(history.is("Accepted"), ("False", "MissingReference"));
    assert_eq!(history.is("Programmed"), ("Unknown", "NotAccepted"));
    assert_eq!(history.is("Ready"), ("False", "MissingReference"));
    assert_eq!((history.is("Stalled").0, history.is("Reconciling").0), ("True", "absent"));
    assert_eq!(history.is("Verified").0, "True");
    assert!(history.address().is_some());
}

#[test]
fn a_conflict_stalls_and_names_the_object() {
    let mut history = History::of(server("demo"));
    let error = Error::Conflict { kind: Kind::Service, name: "demo".to_owned(), holder: "it has no owner".to_owned() };
    history.say(&Outcome::Failed(error));
    assert_eq!(history.is("Programmed"), ("False", "Conflict"));
    assert!(history.message("Programmed").contains("Service demo"));
    assert_eq!(history.is("Stalled").0, "True");
}

#[test]
fn a_route_is_exposed_once_a_controller_has_taken_it() {
    let mut history = History::of(server("demo").exposed("a.example").with_tls("tls"));
    history.rollout(1, 1, 1).serves().programmed();
    assert_eq!(history.is("Accepted"), ("True", "ClientAddressUnknown"));
    assert_eq!(history.is("Exposed"), ("False", "NoRoute"));
    let mut ingress = json!({"metadata": {"name": "demo", "namespace": NAMESPACE}});
    let see = |history: &mut History, ingress: &Value| {
        let ingress: Ingress = serde_json::from_value(ingress.clone()).unwrap();
        history.seen.ingress = Some(Arc::new(Child::of_ingress(ingress)));
        history.programmed();
    };
    see(&mut history, &ingress);
    assert_eq!(history.is("Ready"), ("False", "AddressPending"));
    ingress["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}});
    history.seen.pending_certificate = Some("tls".to_owned());
    see(&mut history, &ingress);
    assert_eq!(history.is("Exposed"), ("False", "CertificatePending"));
    history.seen.pending_certificate = None;
    history.seen.shared_hosts = BTreeSet::from(["a.example".to_owned()]);
    see(&mut history, &ingress);
    assert_eq!(history.is("Exposed"), ("True", "HostShared"));
    assert_eq!(history.is("Ready").0, "True");
}

fn through_gateway() -> Fixture {
    server("demo").exposed("a.example").with(|spec| {
        let gateway = json!({"parentRefs": [{"name": "public", "namespace": "gateways"}]});
        spec.expose.as_mut().unwrap().gateway = Some(serde_json::from_value(gateway).unwrap());
    })
}

#[expect(clippy::needless_pass_by_value, reason = "JSON literals read better by value")]
fn route(conditions: Value) -> Arc<Child> {
    let parents = json!([
        {"parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "other", "namespace": "gateways"},
            "controllerName": "example.com/c", "conditions": []},
        {"parentRef": {"name": "public", "namespace": "gateways"}, "controllerName": "example.com/c", "conditions": conditions},
    ]);
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": "demo", "namespace": NAMESPACE, "uid": "r", "generation": 2},
        "spec": {}, "status": {"parents": parents}
    });
    Arc::new(Child::of_http_route(serde_json::from_value(route).unwrap()))
}

fn of_route(kind: &str, status: &str, generation: i64) -> Value {
    json!({
        "type": kind, "status": status, "reason": "Because", "message": "of that", "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z"
    })
}

#[test]
fn a_route_through_a_gateway_is_exposed_when_its_controller_says_so_of_the_newest_route() {
    let mut history = History::of(through_gateway());
    let mut said = |route: Option<Arc<Child>>| {
        history.seen.http_route = route;
        history.programmed();
        let conditions = &history.said.conditions;
        let exposed = conditions.iter().find(|condition| condition.type_ == "Exposed").unwrap();
        (exposed.status.clone(), exposed.reason.clone(), exposed.message.clone())
    };
    let is = |(status, reason, _): &(String, String, String), wanted: (&str, &str)| {
        (status.as_str(), reason.as_str()) == wanted
    };
    assert!(is(&said(None), ("False", "NoRoute")));
    assert!(is(&said(Some(route(json!([])))), ("False", "RoutePending")));
    let old = json!([of_route("Accepted", "True", 1)]);
    assert!(is(&said(Some(route(old))), ("False", "RoutePending")), "it speaks of an earlier route");
    let refused = said(Some(route(json!([of_route("Accepted", "False", 2)]))));
    assert!(is(&refused, ("False", "RouteRefused")));
    assert!(refused.2.contains("Gateway public") && refused.2.contains("Because: of that"), "{}", refused.2);
    let lost = json!([of_route("Accepted", "True", 2), of_route("ResolvedRefs", "False", 2)]);
    assert!(is(&said(Some(route(lost))), ("False", "RouteRefused")));
    let good = json!([of_route("Accepted", "True", 2), of_route("ResolvedRefs", "True", 2)]);
    assert!(is(&said(Some(route(good))), ("True", "Exposed")));
}

#[test]
fn affinity_that_the_controller_lacks_is_said_of_a_route_that_is_there() {
    let mut history = History::of(server("demo").exposed("a.example"));
    let ingress: Ingress = serde_json::from_value(json!({
        "metadata": {"name": "demo", "namespace": NAMESPACE}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    }))
    .unwrap();
    history.seen.ingress = Some(Arc::new(Child::of_ingress(ingress)));
    history.seen.missing_affinity = Some("profile traefik has none".to_owned());
    history.programmed();
    let exposed = history.said.conditions.iter().find(|condition| condition.type_ == "Exposed").unwrap();
    assert_eq!((exposed.status.as_str(), exposed.reason.as_str()), ("True", "AffinityUnavailable"));
}

#[test]
fn several_pods_with_sessions_of_their_own_are_warned_of() {
    let reason = |server: Fixture| {
        let mut history = History::of(server);
        history.programmed();
        history.said.conditions.iter().find(|condition| condition.type_ == "Accepted").unwrap().reason.clone()
    };
    assert_eq!(reason(server("demo")), "Accepted");
    assert_eq!(reason(server("demo").replicas(2)), "SessionsInMemory");
    assert_eq!(reason(server("demo").autoscaled(1, 2)), "SessionsInMemory");
    assert_eq!(reason(server("demo").replicas(2).with_redis("s", "k")), "Accepted");
    let stateless = server("demo").replicas(2).container("a/b").with(|spec| {
        spec.backend.container.as_mut().unwrap().stateless = true;
    });
    assert_eq!(reason(stateless), "Accepted");
}

#[test]
fn a_rotation_that_cannot_be_is_said_before_other_warnings() {
    let mut history = History::of(server("demo").replicas(2));
    history.seen.rotation_refused = true;
    history.programmed();
    assert_eq!(history.is("Accepted"), ("True", "RotationRefused"));
}

/// The kubelet says nothing of a volume whose Secret is not there: the pods would seem to start for ever.
#[test]
fn pods_that_wait_for_their_certificate_say_so() {
    let mut history = History::of(server("demo").with_inner_tls("pod-tls"));
    history.seen.pending_pod_certificate = Some("pod-tls".to_owned());
    history.rollout(1, 1, 0).programmed();
    assert_eq!(history.is("Available"), ("False", "CertificatePending"));
    let said = history.said.conditions.iter().find(|condition| condition.type_ == "Available").unwrap();
    assert!(said.message.contains("Secret pod-tls"), "{}", said.message);
    history.seen.pending_pod_certificate = None;
    history.rollout(1, 1, 1).serves().programmed();
    assert_eq!(history.is("Available"), ("True", "Available"));
}

#[test]
fn a_route_that_cannot_reach_pods_with_tls_is_no_route() {
    let mut history = History::of(server("demo").exposed("a.example").with_inner_tls("pod-tls"));
    let mut ingress = Child::of(Kind::Ingress, ObjectMeta::default());
    ingress.status = ChildStatus::Addresses(vec!["10.0.0.1".to_owned()]);
    history.seen.ingress = Some(Arc::new(ingress));
    for (certain, truth) in [(true, "False"), (false, "True")] {
        history.seen.missing_inner_tls = Some((certain, "profile cilium cannot".to_owned()));
        history.rollout(1, 1, 1).serves().programmed();
        assert_eq!(history.is("Exposed"), (truth, "BackendTlsUnavailable"));
    }
    history.seen.missing_inner_tls = None;
    history.programmed();
    assert_eq!(history.is("Exposed"), ("True", "Exposed"));
}

#[test]
fn keys_that_are_made_anew_are_spoken_of_and_others_are_not() {
    let mut history = ready(server("demo"));
    assert_eq!(history.said.keys, None);
    let since: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    history.seen.rotation = Some(Rotation::fresh(None, since));
    history.programmed();
    assert_eq!(history.said.keys, None, "nobody asked");
    history.seen.rotation = Some(Rotation { request: "one".to_owned(), phase: Phase::Taken, since });
    history.programmed();
    let keys = history.said.keys.clone().unwrap();
    assert_eq!((keys.phase, keys.until.as_deref()), (mcp_crds::KeysPhase::Taken, Some("2026-11-02T00:00:00Z")));
}

/// As recorded from clusters: what a pod says, and what is then said of the server.
#[test]
fn every_failure_of_a_pod_is_told_by_its_name() {
    let container = |state: Value, last: Value| {
        json!({"containerStatuses": [{
            "name": "backend", "image": "acme/x:1", "imageID": "", "ready": false, "restartCount": 3,
            "state": state, "lastState": last,
        }]})
    };
    let back_off =
        json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}});
    let cases = [
        (
            container(json!({"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}), json!({})),
            "ImagePullFailed",
            "manifest unknown",
        ),
        (
            container(json!({"waiting": {"reason": "InvalidImageName"}}), json!({})),
            "ImagePullFailed",
            "InvalidImageName",
        ),
        (
            container(
                json!({"waiting": {"reason": "CreateContainerConfigError", "message": "container has runAsNonRoot and image will run as root"}}),
                json!({}),
            ),
            "ContainerInvalid",
            "image will run as root",
        ),
        (
            container(back_off.clone(), json!({"terminated": {"exitCode": 1, "message": "a\nno such module: x\n"}})),
            "Crashing",
            "exited with code 1: no such module: x",
        ),
        (
            container(back_off, json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}})),
            "OutOfMemory",
            "more memory than its limit",
        ),
        (
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available: 1 node(s) had untolerated taint"}]}),
            "Unschedulable",
            "untolerated taint",
        ),
    ];
    for (status, reason, words) in cases {
        let mut history = History::of(server("demo"));
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap();
        history.seen.pods = vec![Arc::new(PodView::of(pod))];
        history.rollout(1, 1, 0).programmed();
        assert_eq!(history.is("Available"), ("False", reason));
        assert_eq!(history.is("Ready"), ("False", reason));
        assert!(history.message("Ready").contains(words), "{}", history.message("Ready"));
    }
}

#[test]
fn an_autoscaler_that_cannot_scale_is_told_while_the_pods_serve() {
    let mut history = ready(server("demo"));
    let since = history.since("Available");
    let autoscaler = |conditions: Value| {
        let object = json!({
            "metadata": {"name": "demo", "namespace": NAMESPACE},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "demo"}},
            "status": {"conditions": conditions, "desiredReplicas": 1},
        });
        Some(Arc::new(Child::of_autoscaler(serde_json::from_value(object).unwrap())))
    };
    history.seen.autoscaler = autoscaler(json!([
        {"type": "AbleToScale", "status": "True", "reason": "SucceededGetScale"},
        {"type": "ScalingActive", "status": "False", "reason": "FailedGetContainerResourceMetric",
            "message": "the HPA was unable to compute the replica count: no metrics returned from resource metrics API"},
    ]));
    history.programmed();
    assert_eq!(history.is("Available"), ("True", "AutoscalerFailing"));
    assert!(history.message("Available").contains("no metrics returned"), "{}", history.message("Available"));
    assert_eq!((history.is("Ready").0, history.since("Available")), ("True", since), "clients are served");
    history.seen.autoscaler =
        autoscaler(json!([{"type": "ScalingActive", "status": "False", "reason": "ScalingDisabled"}]));
    history.programmed();
    assert_eq!(history.is("Available").1, "Available", "it rests on purpose");
}

/// Threat 8 of docs/security.md: what an untrusted server says of itself is stored and shown.
#[test]
fn a_servers_own_words_are_bounded_and_clean() {
    let mut history = History::of(server("demo"));
    let mut hostile = report();
    hostile.backend.server_name = Some(format!("\u{1b}[31m{{{{ .Values }}}}\n<script>{}", "x".repeat(1_000_000)));
    hostile.backend.server_version = Some("\u{202e}1\0".to_owned());
    hostile.backend.protocol_versions = (0..10_000).map(|_| "9".repeat(10_000)).collect();
    hostile.backend.tools = Some(u32::MAX);
    hostile.backend.tools_digest = Some("d".repeat(1_000_000));
    history.rollout(1, 1, 1).answers(true, Ok(hostile), Some(Anonymous::Served)).programmed();
    let stored = serde_json::to_string(&history.said).unwrap();
    assert!(stored.len() < 16 * 1024, "{} bytes in etcd", stored.len());
    let said = history.said.server.clone().unwrap();
    let shown = [said.name.as_str(), &said.version, history.message("Verified")].concat();
    assert!(!shown.chars().any(|char| char.is_control() || char == '\u{202e}'), "{shown:?}");
    assert!(said.protocol_versions.len() <= 16);
}
