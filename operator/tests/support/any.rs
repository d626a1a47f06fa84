//! Any server that the API server would store: values drawn within the bounds of the schema and the CEL rules.

use mcp_crds::McpServerSpec;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::fixture::{Fixture, stored};

/// A server with any name and any valid spec.
pub fn server() -> impl Strategy<Value = Fixture> {
    (name(), spec()).prop_map(|(name, spec)| stored(&name, spec))
}

/// What resolve may find for it.
pub fn controller() -> impl Strategy<Value = Option<String>> {
    of(select(vec!["k8s.io/ingress-nginx".to_owned(), "example.com/unknown".to_owned()]))
}

fn name() -> impl Strategy<Value = String> {
    "[a-z]([-a-z0-9]{0,50}[a-z0-9])?"
}

fn spec() -> impl Strategy<Value = McpServerSpec> {
    let first =
        (backend(), of(expose()), of(auth()), 0..=1000, limits(), of(redis()), (of(database()), of(tls())), of(cors()));
    let second = (observability(), network_policy(), 0..=3600, service(), pod(), runtime(), sessions());
    (first, second).prop_map(|(first, second)| {
        let (backend, expose, auth, replicas, limits, redis, (database, tls), cors) = first;
        let (observability, network_policy, drain, service, pod, runtime, sessions) = second;
        // CEL: an exposed server says who may call it.
        let auth = if expose.is_some() && auth.is_none() { Some(json!({"anonymous": "Allow"})) } else { auth };
        let mut spec = json!({
            "backend": backend, "replicas": replicas, "rateLimits": limits, "observability": observability,
            "networkPolicy": network_policy, "disruption": {"drainSeconds": drain, "maxUnavailable": "50%"}, "service": service, "pod": pod,
            "runtime": runtime, "sessions": sessions,
        });
        if replicas % 3 == 0 {
            spec["autoscaling"] = json!({"minReplicas": replicas % 7 + 1, "maxReplicas": 9});
        }
        let optional = [("expose", expose), ("auth", auth), ("redis", redis), ("database", database), ("tls", tls), ("cors", cors)];
        for (field, value) in optional.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            spec[field] = value;
        }
        serde_json::from_value(spec).unwrap()
    })
}

fn backend() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!({"builtin": {}})), container().prop_map(|container| json!({"container": container}))]
}

/// Mounts the volumes `v0` and `v1`, which every pod has.
fn container() -> impl Strategy<Value = Value> {
    let port = (1..=65535i32).prop_filter("the runtime's", |port| ![18000, 18443, 19090].contains(port));
    let path = "/[a-zA-Z0-9/_.%-]{0,40}";
    let env = btree_map("[A-Z_]{1,12}", secret_looking(), 0..4);
    (port, path, any::<bool>(), vec(secret_looking(), 0..3), env, vec(0..2u8, 0..3), any::<bool>()).prop_map(
        |(port, path, stateless, args, env, mounts, probe)| {
            let env: Vec<_> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mounts: Vec<_> = mounts
                .into_iter()
                .enumerate()
                .map(|(place, volume)| json!({"name": format!("v{volume}"), "mountPath": format!("/mnt/{place}")}))
                .collect();
            let mut container = json!({
                "image": "ghcr.io/acme/server:1", "port": port, "path": path, "stateless": stateless, "args": args,
                "env": env, "volumeMounts": mounts,
            });
            if probe {
                container["probes"] = json!({"startup": {"httpGet": {"path": "/", "port": port}}});
            }
            container
        },
    )
}

/// What a user's environment and arguments may hold; recognisable wherever it turns up.
fn secret_looking() -> impl Strategy<Value = String> {
    "hunter2-[a-zA-Z0-9$()]{8}"
}

fn expose() -> impl Strategy<Value = Value> {
    let hosts = btree_map("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?([.][a-z][a-z0-9]{0,10}){1,3}", Just(()), 1..4);
    let path = prop_oneof![Just("/".to_owned()), "(/[A-Za-z0-9_~][A-Za-z0-9._~-]{0,12}){1,3}"]
        .prop_filter("the runtime's", |path| path != "/health" && !path.starts_with("/.well-known"));
    let proxies = select(vec![json!([]), json!(["10.0.0.0/8"]), json!(["fd00::/8", "192.168.1.0/24"])]);
    let tls = select(vec![
        json!(null),
        json!({}),
        json!({"secretName": "tls"}),
        json!({"secretName": "tls", "issuerRef": {"kind": "ClusterIssuer", "name": "acme"}}),
    ]);
    let named = mcp_operator::exposure::PROFILES.iter().map(|profile| profile.name);
    let profile = select(named.chain(["Auto", "Generic"]).collect::<Vec<_>>());
    let affinity = select(vec!["None", "ClientAddress", "Authorization"]);
    (hosts, path, 10..=86400, affinity, proxies, tls, profile, annotations()).prop_map(
        |(hosts, path, timeout, affinity, proxies, tls, profile, annotations)| {
            let hosts: Vec<_> = hosts.into_keys().collect();
            let gateway =
                (timeout % 2 == 0).then(|| json!({"parentRefs": [{"name": "public", "namespace": "gateways"}]}));
            json!({
                "hosts": hosts, "path": path, "streamTimeoutSeconds": timeout, "affinity": affinity,
                "trustedProxies": proxies, "tls": tls, "gateway": gateway,
                "ingress": {"profile": profile, "annotations": annotations},
            })
        },
    )
}

fn auth() -> impl Strategy<Value = Value> {
    let issuers = btree_map(
        "(https://[a-z]{1,8}[.]example[.]com|http://[a-z]{1,8}[.]auth[.]svc)(:[1-9][0-9]{3})?(/[a-z]{1,8})?",
        issuer(),
        1..4,
    );
    let protected = (issuers, vec("[a-z:/]{1,16}", 0..3), 0..=3600).prop_map(|(issuers, scopes, cache)| {
        let issuers: Vec<_> = issuers
            .into_iter()
            .map(|(url, mut issuer)| {
                issuer["url"] = json!(url);
                issuer
            })
            .collect();
        json!({"issuers": issuers, "requiredScopes": scopes, "tokenCacheSeconds": cache})
    });
    prop_oneof![Just(json!({"anonymous": "Allow"})), protected]
}

fn issuer() -> impl Strategy<Value = Value> {
    select(vec![
        json!({}),
        json!({"serverUrl": "http://issuer.auth.svc:8080/", "audiences": ["a"]}),
        json!({"jwksUrl": "https://keys.example.com:8443/", "algorithms": ["ES256"]}),
        json!({"caBundle": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}}}),
        json!({"caBundle": {"secretKeyRef": {"name": "ca", "key": "ca.crt"}}}),
        json!({"introspection": {"clientId": "c", "clientSecretRef": {"name": "client", "key": "secret"}}}),
        json!({"introspection": {"url": "https://i.example:8443/", "clientId": "c", "clientSecretRef": {"name": "client", "key": "other"}, "tokens": "All"}}),
    ])
}

fn rate() -> impl Strategy<Value = Value> {
    (0..=1_000_000, "[1-9][0-9]{0,5}[smh]", of(1..=1_000_000)).prop_map(|(requests, per, burst)| match burst {
        Some(burst) => json!({"requests": requests, "per": per, "burst": burst}),
        None => json!({"requests": requests, "per": per}),
    })
}

fn redis() -> impl Strategy<Value = Value> {
    let key = |key: &str| json!({"name": "redis", "key": key});
    let ca = json!({"secretKeyRef": {"name": "ca", "key": "ca.crt"}});
    let kinds = select(vec![
        json!({"urlSecretRef": key("url")}),
        json!({"urlSecretRef": key("url"), "username": "u", "tls": {"caBundle": ca, "clientSecretName": "client"}}),
        json!({"cluster": {"urls": ["redis://a", "redis://b:7000"]}, "passwordSecretRef": key("password")}),
        json!({
            "sentinel": {"master": "m", "urls": ["rediss://a/1"], "username": "u", "passwordSecretRef": key("sentinel")},
            "username": "u", "passwordSecretRef": key("password"), "tls": {"caBundle": ca}
        }),
    ]);
    (kinds, 1..=10_000, 1..=60).prop_map(|(mut redis, connections, timeout)| {
        redis["maxConnections"] = json!(connections);
        redis["socketTimeoutSeconds"] = json!(timeout);
        redis
    })
}

fn tls() -> impl Strategy<Value = Value> {
    let ca = json!({"configMapKeyRef": {"name": "ca", "key": "ca.crt"}});
    select(vec![
        json!({"secretName": "pod-tls"}),
        json!({"secretName": "pod-tls", "issuerRef": {"name": "internal"}, "caBundle": ca, "minVersion": "1.3"}),
        json!({"secretName": "pod-tls", "ciphers": ["ECDHE+AESGCM"], "clientCa": ca, "clientAuth": "Optional"}),
    ])
}

fn database() -> impl Strategy<Value = Value> {
    let migrations = select(vec![
        json!(null),
        json!({"image": "ghcr.io/acme/migrate:1", "args": ["up"]}),
        json!({"image": "ghcr.io/acme/migrate:1", "env": [{"name": "DATABASE_URL", "value": "postgresql://mine"}]}),
    ]);
    (1..=5000, 0..=5000, any::<bool>(), migrations).prop_map(|(size, overflow, echo, migrations)| {
        let reference = json!({"name": "database", "key": "url"});
        json!({
            "urlSecretRef": reference, "poolSize": size, "maxOverflow": overflow, "echo": echo,
            "migrations": migrations,
        })
    })
}

fn limits() -> impl Strategy<Value = Value> {
    let per_principal = of((1..=1_000_000, "[1-9][0-9]{0,5}[smh]", of(1..=1_000_000)));
    let per_tool = vec((1..=1_000_000, "[a-z*]{1,8}"), 0..3);
    (rate(), per_principal, per_tool, of(1..=1_000_000)).prop_map(|(client, principal, tools, calls)| {
        let principal =
            principal.map(|(requests, per, burst)| json!({"requests": requests, "per": per, "burst": burst}));
        let tools: Vec<_> =
            tools.into_iter().map(|(requests, name)| json!({"tools": [name], "requests": requests})).collect();
        json!({
            "perClient": client, "perPrincipal": principal, "perTool": tools, "concurrentCallsPerPrincipal": calls,
        })
    })
}

fn sessions() -> impl Strategy<Value = Value> {
    (10..=604_800, of(1..=1_000_000)).prop_map(|(idle, max)| match max {
        Some(max) => json!({"idleTimeoutSeconds": idle, "max": max}),
        None => json!({"idleTimeoutSeconds": idle}),
    })
}

fn cors() -> impl Strategy<Value = Value> {
    (vec("https://[a-z]{1,10}[.]example", 0..3), 0..=86400)
        .prop_map(|(origins, age)| json!({"allowedOrigins": origins, "maxAgeSeconds": age}))
}

fn observability() -> impl Strategy<Value = Value> {
    let levels = select(vec!["ERROR", "WARNING", "INFO", "DEBUG", "TRACE"]);
    // Below the ports of the user's container, which CEL would compare.
    let port = select(vec![json!(null), json!(1024), json!(9999)]);
    let monitor = select(vec![json!(null), json!({"labels": {"app.kubernetes.io/name": "mine"}})]);
    let otlp = select(vec![
        json!(null),
        json!({"endpoint": "http://collector:4318"}),
        json!({"endpoint": "https://c.example", "headersSecretRef": {"name": "otlp", "key": "headers"}, "samplingRatePerMillion": 1}),
    ]);
    let files = any::<bool>();
    (levels, select(vec!["json", "text"]), any::<bool>(), port, monitor, otlp, files).prop_map(
        |(level, format, enabled, port, monitor, otlp, files)| {
            let metrics = json!({"enabled": enabled, "port": port, "serviceMonitor": monitor});
            let mut given = json!({"logLevel": level, "logFormat": format, "metrics": metrics, "otlp": otlp});
            if files {
                given["logVolume"] = json!("v0");
                given["logHandlers"] = json!([{"type": "file", "filename": "server.log"}]);
                given["audit"] = json!({"handlers": [{"type": "file", "filename": "audit.log"}, {"type": "console"}]});
            }
            given
        },
    )
}

fn network_policy() -> impl Strategy<Value = Value> {
    let from = select(vec![json!([]), json!([{"podSelector": {}}])]);
    let to = select(vec![json!([]), json!([{}])]);
    (any::<bool>(), from, to)
        .prop_map(|(enabled, from, to)| json!({"enabled": enabled, "ingressFrom": from, "egressTo": to}))
}

fn service() -> impl Strategy<Value = Value> {
    (select(vec!["ClusterIP", "NodePort", "LoadBalancer"]), annotations())
        .prop_map(|(kind, annotations)| json!({"type": kind, "annotations": annotations}))
}

fn runtime() -> impl Strategy<Value = Value> {
    let image = of("[a-z]{1,10}/mcp-server:[0-9]");
    (image, select(vec!["Always", "IfNotPresent", "Never"])).prop_map(|(image, policy)| match image {
        Some(image) => json!({"image": image, "imagePullPolicy": policy}),
        None => json!({"imagePullPolicy": policy}),
    })
}

/// With labels that try to be ours: CEL refuses them, the operator must not need it.
fn pod() -> impl Strategy<Value = Value> {
    let labels = btree_map(
        prop_oneof![
            "[a-z]{1,10}",
            Just("app.kubernetes.io/instance".to_owned()),
            Just("mcp-operator.dev/owner-uid".to_owned())
        ],
        "[a-z0-9]{1,10}",
        0..4,
    );
    let identity = select(vec![json!(null), json!({"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000})]);
    let account = select(vec![json!(null), json!("custom")]);
    (labels, annotations(), identity, account).prop_map(|(labels, annotations, identity, account)| {
        json!({
            "labels": labels, "annotations": annotations, "securityContext": identity, "serviceAccountName": account,
            "volumes": [{"name": "v0", "emptyDir": {}}, {"name": "v1", "configMap": {"name": "files"}}],
        })
    })
}

fn annotations() -> impl Strategy<Value = Value> {
    btree_map("example[.]com/[a-z]{1,10}", "[ -~]{0,20}", 0..3).prop_map(|annotations| json!(annotations))
}
