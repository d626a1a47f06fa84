//! Which of the APIs that a cluster may lack this one serves, and which of the others somebody waits for.

use std::sync::atomic::{AtomicBool, Ordering};

use kube::Client;

use crate::kind::Kind;

/// What is known of the optional APIs.
#[derive(Debug, Default)]
pub struct Apis {
    served: [AtomicBool; Kind::ALL.len()],
    wanted: [AtomicBool; Kind::ALL.len()],
}

impl Apis {
    /// Whether objects of that kind can be written.
    #[must_use]
    pub fn serves(&self, kind: Kind) -> bool {
        !kind.is_optional() || self.served[kind as usize].load(Ordering::Relaxed)
    }

    /// From now on they can.
    pub fn serve(&self, kind: Kind) {
        self.served[kind as usize].store(true, Ordering::Relaxed);
    }

    /// A server waits for it.
    pub fn want(&self, kind: Kind) {
        self.wanted[kind as usize].store(true, Ordering::Relaxed);
    }

    /// Whether a server waits for it.
    #[must_use]
    pub fn is_wanted(&self, kind: Kind) -> bool {
        self.wanted[kind as usize].load(Ordering::Relaxed)
    }
}

/// Asks the API server. What it does not answer it does not serve, for now.
pub(super) async fn is_served(client: &Client, kind: Kind) -> bool {
    let resource = kind.resource();
    let list = client.list_api_group_resources(&resource.api_version).await;
    list.is_ok_and(|list| list.resources.iter().any(|served| served.name == resource.plural))
}
