//! What the operator remembers of the cluster: every lookup of a reconcile is answered here, so that a converged server
//! costs no request.
//!
//! ```text
//! watch ── one task a kind and namespace ──▶ table (child, pod, server): trimmed before it is stored
//! apply ── the answers to our own writes ──▶ table
//! ```

mod apis;
mod child;
mod class;
mod fields;
mod pod;
mod server;
mod shared;
mod table;
mod watch;

pub use apis::Apis;
pub use child::{Child, ChildStatus, INTENT, JobState, Owner, Parent, Rollout};
pub use class::ClassView;
pub use fields::FieldSet;
pub use pod::{Endpoint, FailureKind, PodFailure, PodView, ReplicaSetView, SliceView};
pub use server::{Guard, Server, Unreadable};
pub use shared::Shared;
pub use table::{Change, Entry, Index, Key, Table, is_older};
pub use watch::{Scope, Synced, start};

use crate::kind::Kind;

/// Everything that is remembered.
#[derive(Debug, Default)]
pub struct Cache {
    /// The servers.
    pub servers: Table<Server>,
    children: [Table<Child>; Kind::ALL.len()],
    /// The pods of our servers.
    pub pods: Table<PodView>,
    /// Their ReplicaSets.
    pub replica_sets: Table<ReplicaSetView>,
    /// The addresses behind their Services.
    pub slices: Table<SliceView>,
    /// The IngressClasses of the cluster.
    pub classes: Table<ClassView>,
    /// The APIs that a cluster may lack.
    pub apis: Apis,
}

impl Cache {
    /// The objects of one kind of child. Of Secrets, ConfigMaps and claims all of the watched namespaces, of other kinds
    /// those with our label.
    #[must_use]
    pub fn children(&self, kind: Kind) -> &Table<Child> {
        // The enum's own order is that of `Kind::ALL`.
        &self.children[kind as usize]
    }

    /// Whether an object that is not in the cache certainly does not exist, as far as the watches have come.
    #[must_use]
    pub fn sees_all(kind: Kind) -> bool {
        matches!(kind, Kind::Secret | Kind::ConfigMap | Kind::PersistentVolumeClaim)
    }
}
