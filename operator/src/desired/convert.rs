//! Parts of the API that differ from Kubernetes' own types only in what they allow.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Volume};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use mcp_crds::Resources;

/// Empty is absent: under server-side apply an empty list is a claim of its own.
pub(super) fn list<T: Clone>(items: &[T]) -> Option<Vec<T>> {
    (!items.is_empty()).then(|| items.to_vec())
}

pub(super) fn resources(given: &Resources) -> ResourceRequirements {
    let Resources { requests, limits } = given;
    ResourceRequirements { requests: quantities(requests), limits: quantities(limits), claims: None }
}

fn quantities(given: &mcp_crds::Quantities) -> Option<BTreeMap<String, Quantity>> {
    let quantities = given.0.iter().map(|(name, quantity)| (name.clone(), Quantity(quantity.0.clone())));
    (!given.0.is_empty()).then(|| quantities.collect())
}

pub(super) fn volume(given: &mcp_crds::Volume) -> Volume {
    let mcp_crds::Volume {
        name,
        config_map,
        secret,
        empty_dir,
        persistent_volume_claim,
        projected,
        downward_api,
        csi,
        ephemeral,
    } = given.clone();
    Volume {
        name,
        config_map,
        secret,
        empty_dir,
        persistent_volume_claim,
        projected,
        downward_api,
        csi,
        ephemeral,
        ..Volume::default()
    }
}
