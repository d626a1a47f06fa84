//! Children as plain JSON objects, for what must hold for all of them.

use mcp_operator::desired::{Children, keys};
use serde::Serialize;
use serde_json::Value;

/// Keys that are recognised wherever they turn up.
pub const MATERIAL: keys::Material =
    keys::Material { session: [b'S'; 32], request_state: [b'R'; 32], peer: [b'P'; 32] };

/// Every object, in the order of `Children`.
pub fn all(children: &Children) -> Vec<Value> {
    let Children {
        service_account,
        boot_config,
        live_config,
        keys,
        certificate,
        network_policy,
        service,
        migrations,
        deployment,
        disruption_budget,
        autoscaler,
        ingress,
        http_route,
        service_monitor,
        rotate_keys: _,
        live_digest: _,
    } = children;
    let objects = [
        service_account.as_ref().map(json),
        Some(json(boot_config)),
        Some(json(live_config)),
        Some(json(&keys.with(&MATERIAL, "{}".to_owned()))),
        certificate.as_ref().map(json),
        network_policy.as_ref().map(json),
        Some(json(service)),
        migrations.as_ref().map(|(job, _)| json(job)),
        Some(json(deployment)),
        disruption_budget.as_ref().map(json),
        autoscaler.as_ref().map(json),
        ingress.as_ref().map(json),
        http_route.as_ref().map(json),
        service_monitor.as_ref().map(json),
    ];
    objects.into_iter().flatten().collect()
}

fn json<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}
