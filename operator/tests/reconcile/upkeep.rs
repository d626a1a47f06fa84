//! Migrations before the pods, keys that are made anew, and an operator with fewer rights on Secrets.

use super::*;

fn jobs(world: &World, state: JobState) {
    let child = world.ctx.cache.children(Kind::Job).all().into_iter().next().expect("a Job was created");
    let resource_version = format!("{}0", child.resource_version);
    let ended = Child { status: ChildStatus::Job(state), resource_version, ..(*child).clone() };
    world.ctx.cache.children(Kind::Job).replace(ended);
}

fn migrating() -> Fixture {
    server("demo").with(|spec| {
        let database =
            json!({"urlSecretRef": {"name": "db", "key": "url"}, "migrations": {"image": "example/migrate:1"}});
        spec.database = Some(serde_json::from_value(database).unwrap());
    })
}

#[tokio::test]
async fn pods_come_after_their_migrations_and_a_failed_one_keeps_those_of_before() {
    let world = World::with(migrating());
    world.secret("db", "1");
    world.reconcile().await.unwrap_err();
    let requests = world.api.requests();
    assert_eq!(writes(&requests).iter().filter(|request| request.starts_with("POST jobs")).count(), 1, "{requests:?}");
    assert!(!requests.iter().any(|request| request.starts_with("PATCH deployments")), "{requests:?}");
    assert_eq!(world.condition("Programmed").1, "Migrating");

    world.reconcile().await.unwrap_err();
    assert_eq!(world.api.requests(), [""; 0], "it is created once");

    jobs(&world, JobState::Failed("BackoffLimitExceeded: it failed".to_owned()));
    world.reconcile().await.unwrap_err();
    let (status, reason, message) = world.condition("Programmed");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "MigrationFailed"));
    assert!(message.contains("BackoffLimitExceeded: it failed; delete the Job to try again"), "{message}");
    assert_eq!(world.condition("Stalled").1, "MigrationFailed");
    world.api.requests();

    jobs(&world, JobState::Complete);
    world.reconcile().await.unwrap();
    assert!(world.api.requests().iter().any(|request| request.starts_with("PATCH deployments")));
    assert_eq!(world.condition("Programmed").1, "Programmed");
}

#[tokio::test]
async fn a_job_that_is_gone_runs_no_second_time() {
    let world = World::with(migrating());
    world.secret("db", "1");
    world.reconcile().await.unwrap_err();
    jobs(&world, JobState::Complete);
    world.reconcile().await.unwrap();
    world.api.requests();
    let job = world.ctx.cache.children(Kind::Job).all().into_iter().next().unwrap();
    world.ctx.cache.children(Kind::Job).remove(&job.key);
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), [""; 0]);
    let changed = migrating().with(|spec| {
        spec.database.as_mut().unwrap().migrations.as_mut().unwrap().args.push("again".to_owned());
    });
    world.see(crate::changed(changed));
    world.reconcile().await.unwrap_err();
    assert!(world.api.requests().iter().any(|request| request.starts_with("POST jobs")), "another one");
}

fn rotating(value: &str) -> McpServer {
    let mut server = server("demo").build();
    server.metadata.resource_version = Some("2".to_owned());
    server.metadata.annotations = Some([("mcp-operator.dev/rotate-keys".to_owned(), value.to_owned())].into());
    server
}

#[tokio::test]
async fn keys_are_made_anew_when_the_annotation_asks_for_it_and_not_before() {
    let world = World::with(server("demo"));
    world.reconcile().await.unwrap();
    world.api.requests();
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), [""; 0]);
    world.see(rotating("one"));
    let action = world.reconcile().await.unwrap();
    let requests = world.api.requests();
    assert!(requests.iter().any(|request| request == "PATCH secrets/demo-keys"), "{requests:?}");
    let patched = world.api.get(&secret_path("demo-keys")).unwrap();
    for name in ["session", "request-state", "peer"] {
        let [now, coming] =
            [name.to_owned(), format!("{name}.next")].map(|key| patched["data"][key].as_str().unwrap().to_owned());
        assert_ne!(now, coming, "{name}");
    }
    assert_eq!(world.status()["keys"]["phase"], "Announced");
    assert_eq!(world.status()["keys"]["rotation"], "one");
    assert!(format!("{action:?}").contains("18"), "woken after the announcement: {action:?}");
    world.reconcile().await.unwrap();
    assert_eq!(writes(&world.api.requests()), [""; 0], "pods have to learn of it first");
}

#[tokio::test]
async fn fresh_keys_are_not_made_anew() {
    let world = World::with(server("demo"));
    world.see(rotating("one"));
    world.reconcile().await.unwrap();
    world.api.requests();
    world.reconcile().await.unwrap();
    assert_eq!(world.api.requests(), [""; 0]);
}

/// Without any right on Secrets nothing is asked of them, and nothing is said to be missing.
#[tokio::test]
async fn an_operator_without_secrets_asks_for_none() {
    let with_env = server("demo").container("example/server").with_redis("redis", "url").with(|spec| {
        let env = json!([{"secretRef": {"name": "env"}}]);
        spec.backend.container.as_mut().unwrap().env_from = serde_json::from_value(env).unwrap();
    });
    let world = World::with_access(with_env, SecretAccess::None);
    world.reconcile().await.unwrap();
    let requests = world.api.requests();
    assert!(!requests.iter().any(|request| request.contains("secrets")), "{requests:?}");
    assert_eq!(world.condition("Accepted").1, "Accepted");
    assert_eq!(world.condition("Programmed").1, "Programmed");
}

/// Without `get` a Secret's version stands for its content.
#[tokio::test]
async fn an_operator_that_may_not_read_rolls_pods_by_versions() {
    let with_env = server("demo").container("example/server").with(|spec| {
        let env = json!([{"secretRef": {"name": "env"}}]);
        spec.backend.container.as_mut().unwrap().env_from = serde_json::from_value(env).unwrap();
    });
    let world = World::with_access(with_env, SecretAccess::NoGet);
    world.secret("env", "1");
    world.reconcile().await.unwrap();
    let first = env_digest(&world);
    assert!(!world.api.requests().iter().any(|request| request.starts_with("GET secrets")));
    world.secret("env", "2");
    world.reconcile().await.unwrap();
    assert_ne!(env_digest(&world), first);
    assert!(!world.api.requests().iter().any(|request| request.starts_with("GET secrets")));
}
