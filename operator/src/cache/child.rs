//! What is kept of an object that is, or might be, a child: who owns it, what we last wrote, what is still ours, and
//! the status that we report.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, OwnerReference};
use mcp_crds::ParentRef;

use super::fields::FieldSet;
use super::shared::Shared;
use super::table::{Entry, Index, Key};
use crate::desired::EnvDigest;
use crate::desired::deployment::{ENV_DIGEST, ENV_VERSIONS, RUNTIME};
use crate::desired::keys::ROTATION;
use crate::desired::migrations::MIGRATED;
use crate::gateway::{HttpRoute, ParentStatus};
use crate::kind::Kind;
use crate::upgrade::BEFORE;

/// Annotation with the digest of what we last applied.
pub const INTENT: &str = "mcp-operator.dev/intent";

/// One object of the cluster, trimmed.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace and name.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// `metadata.generation`, 0 where there is none.
    pub generation: i64,
    /// The McpServer that it belongs to.
    pub owner: Option<Owner>,
    /// It is being deleted.
    pub deleting: bool,
    /// Digest of what we last applied. Of the generated keys, which are not applied, how far their rotation is.
    pub intent: Option<String>,
    /// What is ours of it.
    pub fields: FieldSet,
    /// What the cluster says of it.
    pub status: ChildStatus,
}

/// An McpServer, as an owner reference names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: Shared,
    /// Its UID: another server may have had the name before.
    pub uid: Shared,
}

/// The status that is read of some kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ChildStatus {
    /// Of no interest.
    #[default]
    None,
    /// Of a Deployment.
    Rollout(Box<Rollout>),
    /// Of an Ingress: the addresses that its controller published.
    Addresses(Vec<String>),
    /// Of an HTTPRoute: what each Gateway's controller says.
    Parents(Vec<Parent>),
    /// Of a Job.
    Job(JobState),
    /// Of a PersistentVolumeClaim: whether pods of several nodes may write to it.
    Shared(bool),
    /// Of a HorizontalPodAutoscaler: why it does not scale, if it does not.
    Autoscaler(Option<String>),
}

/// How far a Job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It has not ended.
    Running,
    /// It ended well.
    Complete,
    /// It will not be tried again; why.
    Failed(String),
}

/// What one Gateway's controller says of an HTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parent {
    /// The Gateway, and where in it.
    pub gateway: ParentRef,
    /// Whether the route is attached and its Service is known. `None`: not said of the newest route yet.
    pub attached: Option<bool>,
    /// Why not.
    pub why: String,
}

/// How far a Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    /// Pods that it asks for: the spec's, or an autoscaler's.
    pub wanted: i32,
    /// The generation that its controller has seen.
    pub observed_generation: i64,
    /// Pods that exist.
    pub replicas: i32,
    /// Pods of the newest template.
    pub updated: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// `ProgressDeadlineExceeded`: the newest template does not come up.
    pub stuck: bool,
    /// Why pods could not even be created: a quota, an admission policy.
    pub refused: Option<String>,
    /// Hash of the migrations that they came after.
    pub migrated: Option<String>,
    /// What its template says of the backend's environment.
    pub environment: Option<EnvDigest>,
    /// Image of the runtime in its template.
    pub image: Option<String>,
    /// The image with which the server was ready before: see [`crate::upgrade`].
    pub image_before: Option<String>,
}

impl Child {
    /// Trims an object of which only the metadata is known.
    #[must_use]
    pub fn of(kind: Kind, metadata: ObjectMeta) -> Self {
        let owner = metadata.owner_references.as_deref().and_then(server_owner);
        // Others' objects are only looked up as references: their fields are of no interest.
        let fields = match (&owner, metadata.managed_fields) {
            (Some(owner), Some(entries)) => FieldSet::of(&entries, &owner.uid),
            _ => FieldSet::default(),
        };
        let intent = if kind == Kind::Secret { ROTATION } else { INTENT };
        Self {
            kind,
            key: Key::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default()),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            generation: metadata.generation.unwrap_or_default(),
            owner,
            deleting: metadata.deletion_timestamp.is_some(),
            intent: metadata.annotations.and_then(|mut annotations| annotations.remove(intent)),
            fields,
            status: ChildStatus::None,
        }
    }

    /// Trims a Deployment.
    #[must_use]
    pub fn of_deployment(deployment: Deployment) -> Self {
        let status = ChildStatus::Rollout(Box::new(Rollout::of(&deployment)));
        Self { status, ..Self::of(Kind::Deployment, deployment.metadata) }
    }

    /// Trims an Ingress.
    #[must_use]
    pub fn of_ingress(ingress: Ingress) -> Self {
        let points = ingress.status.and_then(|status| status.load_balancer).and_then(|balancer| balancer.ingress);
        let addresses =
            points.unwrap_or_default().into_iter().filter_map(|point| point.hostname.or(point.ip)).collect();
        Self { status: ChildStatus::Addresses(addresses), ..Self::of(Kind::Ingress, ingress.metadata) }
    }

    /// Trims a claim.
    #[must_use]
    pub fn of_claim(claim: PersistentVolumeClaim) -> Self {
        let modes = claim.spec.and_then(|spec| spec.access_modes).unwrap_or_default();
        let shared = modes.iter().any(|mode| mode == "ReadWriteMany");
        Self { status: ChildStatus::Shared(shared), ..Self::of(Kind::PersistentVolumeClaim, claim.metadata) }
    }

    /// Trims a Job.
    #[must_use]
    pub fn of_job(job: Job) -> Self {
        let conditions = job.status.and_then(|status| status.conditions).unwrap_or_default();
        let is = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True");
        let state = match (is("Complete"), is("Failed")) {
            (Some(_), _) => JobState::Complete,
            (None, Some(failed)) => {
                let [reason, message] =
                    [&failed.reason, &failed.message].map(|text| text.as_deref().unwrap_or_default());
                JobState::Failed(format!("{reason}: {message}"))
            }
            (None, None) => JobState::Running,
        };
        Self { status: ChildStatus::Job(state), ..Self::of(Kind::Job, job.metadata) }
    }

    /// Trims an HTTPRoute.
    #[must_use]
    pub fn of_http_route(route: HttpRoute) -> Self {
        let generation = route.metadata.generation.unwrap_or_default();
        let parents = route.status.map(|status| status.parents).unwrap_or_default();
        let parents = parents.into_iter().map(|parent| Parent::of(parent, generation)).collect();
        Self { status: ChildStatus::Parents(parents), ..Self::of(Kind::HttpRoute, route.metadata) }
    }

    /// Trims a HorizontalPodAutoscaler.
    #[must_use]
    pub fn of_autoscaler(autoscaler: HorizontalPodAutoscaler) -> Self {
        let conditions = autoscaler.status.and_then(|status| status.conditions).unwrap_or_default();
        // It cannot act, or it does not know what to do. One of a Deployment with no pods rests on purpose.
        let why = ["AbleToScale", "ScalingActive"].into_iter().find_map(|kind| {
            let failing = conditions.iter().find(|condition| condition.type_ == kind && condition.status == "False")?;
            let reason = failing.reason.as_deref().unwrap_or_default();
            (reason != "ScalingDisabled")
                .then(|| format!("{reason}: {}", failing.message.as_deref().unwrap_or_default()))
        });
        Self { status: ChildStatus::Autoscaler(why), ..Self::of(Kind::HorizontalPodAutoscaler, autoscaler.metadata) }
    }

    /// Whether it belongs to the McpServer with that UID.
    #[must_use]
    pub fn belongs_to(&self, uid: &str) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.uid == *uid)
    }

    /// How far the Deployment is.
    #[must_use]
    pub fn rollout(&self) -> Option<&Rollout> {
        match &self.status {
            ChildStatus::Rollout(rollout) => Some(rollout),
            _ => None,
        }
    }

    /// How far the Job is.
    #[must_use]
    pub fn job(&self) -> Option<&JobState> {
        match &self.status {
            ChildStatus::Job(state) => Some(state),
            _ => None,
        }
    }

    /// Image of the runtime in a Deployment's template, and the one with which the server was ready before.
    #[must_use]
    pub fn runtime(&self) -> Option<(&str, Option<&str>)> {
        let rollout = self.rollout()?;
        Some((rollout.image.as_deref()?, rollout.image_before.as_deref()))
    }
}

impl Parent {
    fn of(parent: ParentStatus, generation: i64) -> Self {
        let of_type = |kind: &str| {
            let current = |condition: &&Condition| condition.observed_generation.is_none_or(|seen| seen >= generation);
            parent.conditions.iter().find(|condition| condition.type_ == kind).filter(current)
        };
        let (accepted, resolved) = (of_type("Accepted"), of_type("ResolvedRefs"));
        let refused = accepted.into_iter().chain(resolved).find(|condition| condition.status == "False");
        let why = refused.map(|condition| format!("{}: {}", condition.reason, condition.message)).unwrap_or_default();
        let attached = match (accepted, refused) {
            (_, Some(_)) => Some(false),
            (Some(accepted), None) if accepted.status == "True" => Some(true),
            _ => None,
        };
        Self { gateway: parent.parent_ref, attached, why }
    }
}

impl Rollout {
    fn of(deployment: &Deployment) -> Self {
        let spec = deployment.spec.as_ref();
        let pod = spec.and_then(|spec| spec.template.spec.as_ref());
        let runtime = pod.and_then(|pod| pod.containers.iter().find(|container| container.name == RUNTIME));
        let annotation = |metadata: Option<&ObjectMeta>, name| metadata?.annotations.as_ref()?.get(name).cloned();
        let [own, of_pods] = [Some(&deployment.metadata), spec.and_then(|spec| spec.template.metadata.as_ref())];
        let environment = annotation(of_pods, ENV_DIGEST).zip(annotation(own, ENV_VERSIONS));
        let template = Self {
            wanted: spec.and_then(|spec| spec.replicas).unwrap_or_default(),
            image: runtime.and_then(|container| container.image.clone()),
            image_before: annotation(own, BEFORE),
            migrated: annotation(own, MIGRATED),
            environment: environment.map(|(digest, versions)| EnvDigest { digest, versions }),
            ..Self::default()
        };
        let Some(status) = &deployment.status else { return template };
        let conditions = status.conditions.as_deref().unwrap_or_default();
        let condition = |kind: &str, wanted: &str| {
            conditions.iter().find(|condition| condition.type_ == kind && condition.status == wanted)
        };
        Self {
            observed_generation: status.observed_generation.unwrap_or_default(),
            replicas: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            stuck: condition("Progressing", "False")
                .is_some_and(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded")),
            refused: condition("ReplicaFailure", "True").map(|condition| condition.message.clone().unwrap_or_default()),
            ..template
        }
    }
}

/// The McpServer that an object's owner references name as its controller.
#[must_use]
pub fn server_owner(owners: &[OwnerReference]) -> Option<Owner> {
    let ours =
        |owner: &&OwnerReference| owner.kind == "McpServer" && owner.api_version.starts_with("mcp-operator.dev/");
    owners.iter().find(ours).map(|owner| Owner { name: (&owner.name).into(), uid: (&owner.uid).into() })
}

impl Entry for Child {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }

    fn indexes(&self) -> Vec<Index> {
        let server = |owner: &Owner| Index::Server(Key::new(&self.key.namespace, &owner.name));
        self.owner.iter().map(server).collect()
    }
}
