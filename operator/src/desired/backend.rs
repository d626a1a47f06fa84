//! The user's container: a native sidecar, named `backend`. What the user wrote is passed on as it is, `$(VAR)` and all.

use k8s_openapi::api::core::v1::Container;
use mcp_crds::PullPolicy;

use super::convert;

/// Name of the container.
pub const BACKEND: &str = "backend";

/// The sidecar. Its port is not declared: nobody but the runtime, at the loopback address, should use it.
#[must_use]
pub fn build(given: &mcp_crds::Container) -> Container {
    let mcp_crds::Container {
        image,
        image_pull_policy,
        port: _,
        path: _,
        stateless: _,
        command,
        args,
        env,
        env_from,
        resources,
        probes,
        volume_mounts,
    } = given;
    Container {
        name: BACKEND.to_owned(),
        // Makes an init container a sidecar: started before the runtime, stopped after it, restarted when it exits.
        restart_policy: Some("Always".to_owned()),
        image: Some(image.clone()),
        image_pull_policy: image_pull_policy.map(PullPolicy::as_str).map(str::to_owned),
        command: convert::list(command),
        args: convert::list(args),
        env: convert::list(env),
        env_from: convert::list(env_from),
        resources: Some(convert::resources(resources)),
        startup_probe: probes.as_ref().and_then(|probes| probes.startup.clone()),
        volume_mounts: convert::list(volume_mounts),
        ..Container::default()
    }
}
