//! The watches that feed the cache, and whom each change wakes.

use std::collections::HashSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::apis;
use super::server::neighbours;
use super::{
    Cache, Change, Child, ClassView, Entry, Guard, Index, Key, PodView, ReplicaSetView, Server, SliceView, Table,
};
use crate::cert_manager::Certificate;
use crate::desired::identity::OWNER_UID;
use crate::gateway::{HttpRoute, ServiceMonitor};
use crate::kind::Kind;
use crate::metrics::Metrics;
use crate::queue::Queue;

/// Objects that are asked for at once. All kinds are listed at the same time, and each page is in memory three times: as
/// it came, read, and trimmed.
const PAGE: u32 = 100;

/// First lists at the same time. An operator of thirty namespaces has six hundred watches: the API server refuses that
/// many at once (429), and others with them.
const FIRST_LISTS: usize = 8;

/// Between two looks for an API that a server waits for.
const MISSING_API: Duration = Duration::from_secs(30);

/// Which part of the cluster is watched.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// These namespaces; all, when empty.
    pub namespaces: Vec<String>,
    /// Secrets cannot be seen: whether one exists is not known.
    pub without_secrets: bool,
}

impl Scope {
    /// Whether objects of the cluster itself, such as IngressClasses, may be read.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.namespaces.is_empty()
    }

    fn parts(&self) -> Vec<Option<String>> {
        if self.is_cluster() { vec![None] } else { self.namespaces.iter().cloned().map(Some).collect() }
    }
}

/// Tells when every watch has listed once: until then "not in the cache" does not mean "not in the cluster".
#[derive(Clone, Debug)]
pub struct Synced(watch::Receiver<usize>);

impl Synced {
    /// Whether every watch has listed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        *self.0.borrow() == 0
    }

    /// Waits until every watch has listed. False when the watches ended before.
    pub async fn complete(&mut self) -> bool {
        self.0.wait_for(|missing| *missing == 0).await.is_ok()
    }
}

/// Starts every watch into `tasks`. `server_changed` hears of each server that appears, changes or goes, and tells whether
/// that is news: what is not wakes nobody.
pub fn start(
    client: &Client,
    scope: &Scope,
    cache: &Arc<Cache>,
    queue: &Queue,
    metrics: &Arc<Metrics>,
    server_changed: impl Fn(&Change<Server>) -> bool + Clone + Send + Sync + 'static,
    tasks: &mut JoinSet<()>,
) -> Synced {
    let (missing, synced) = watch::channel(0);
    let missing = Arc::new(missing);
    let first_lists = Arc::new(Semaphore::new(FIRST_LISTS));
    for namespace in scope.parts() {
        let mut part = Part {
            client,
            namespace,
            cache,
            queue,
            metrics,
            missing: &missing,
            first_lists: &first_lists,
            tasks: &mut *tasks,
        };
        part.servers(server_changed.clone());
        part.metadata::<ServiceAccount>(Kind::ServiceAccount);
        part.metadata::<ConfigMap>(Kind::ConfigMap);
        if !scope.without_secrets {
            part.metadata::<Secret>(Kind::Secret);
        }
        // Any may be referred to; of its spec the access modes are needed.
        part.children(Kind::PersistentVolumeClaim, all(), |claim: PersistentVolumeClaim| Child::of_claim(claim));
        part.metadata::<NetworkPolicy>(Kind::NetworkPolicy);
        part.metadata::<Service>(Kind::Service);
        part.metadata::<PodDisruptionBudget>(Kind::PodDisruptionBudget);
        part.children(Kind::HorizontalPodAutoscaler, ours(), |autoscaler: HorizontalPodAutoscaler| {
            Child::of_autoscaler(autoscaler)
        });
        part.children(Kind::Deployment, ours(), |deployment: Deployment| Child::of_deployment(deployment));
        part.children(Kind::Job, ours(), |job: Job| Child::of_job(job));
        part.children(Kind::Ingress, ours(), |ingress: Ingress| Child::of_ingress(ingress));
        part.optional(Kind::Certificate, |certificate: PartialObjectMeta<Certificate>| {
            Child::of(Kind::Certificate, certificate.metadata)
        });
        part.optional(Kind::HttpRoute, |route: HttpRoute| Child::of_http_route(route));
        part.optional(Kind::ServiceMonitor, |monitor: PartialObjectMeta<ServiceMonitor>| {
            Child::of(Kind::ServiceMonitor, monitor.metadata)
        });
        part.owned("Pod", |cache| &cache.pods, |pod: Pod| PodView::of(pod));
        part.owned("ReplicaSet", |cache| &cache.replica_sets, |set: ReplicaSet| ReplicaSetView::of(set));
        part.owned("EndpointSlice", |cache| &cache.slices, |slice: EndpointSlice| SliceView::of(slice));
    }
    if scope.is_cluster() {
        let mut part = Part {
            client,
            namespace: None,
            cache,
            queue,
            metrics,
            missing: &missing,
            first_lists: &first_lists,
            tasks,
        };
        part.classes();
    }
    Synced(synced)
}

fn all() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

fn ours() -> watcher::Config {
    all().labels(OWNER_UID)
}

/// One namespace, or the whole cluster.
struct Part<'a> {
    client: &'a Client,
    namespace: Option<String>,
    cache: &'a Arc<Cache>,
    queue: &'a Queue,
    metrics: &'a Arc<Metrics>,
    missing: &'a Arc<watch::Sender<usize>>,
    first_lists: &'a Arc<Semaphore>,
    tasks: &'a mut JoinSet<()>,
}

impl Part<'_> {
    fn servers(&mut self, changed: impl Fn(&Change<Server>) -> bool + Send + Sync + 'static) {
        let (cache, queue) = (Arc::clone(self.cache), self.queue.clone());
        let wake = move |change: &Change<Server>| {
            if !changed(change) {
                return;
            }
            change.entries().for_each(|server| queue.push(server.key()));
            neighbours(change, &cache.servers).into_iter().for_each(|other| queue.push(other));
        };
        let api = self.api::<Guard>();
        self.follow("McpServer", api, all(), |cache| &cache.servers, Server::of, wake);
    }

    fn metadata<K>(&mut self, kind: Kind)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        // Any Secret, ConfigMap and claim may be referenced; of the other kinds only our own matter.
        let config = if Cache::sees_all(kind) { all() } else { ours() };
        self.children(kind, config, move |object: PartialObjectMeta<K>| Child::of(kind, object.metadata));
    }

    fn children<K>(&mut self, kind: Kind, config: watcher::Config, trim: impl Fn(K) -> Child + Send + 'static)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let (api, wake) = (self.api::<K>(), self.wake_by_child(kind));
        self.follow(kind.as_str(), api, config, move |cache| cache.children(kind), trim, wake);
    }

    /// Of an API that the cluster may lack. Whether it has come is asked again only while a server waits for it.
    fn optional<K>(&mut self, kind: Kind, trim: impl Fn(K) -> Child + Send + 'static)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let (api, wake, mut begun) = (self.api::<K>(), self.wake_by_child(kind), self.begin());
        let (client, queue) = (self.client.clone(), self.queue.clone());
        let (cache, metrics) = (Arc::clone(self.cache), Arc::clone(self.metrics));
        self.tasks.spawn(async move {
            while !begun.in_turn(apis::is_served(&client, kind)).await {
                begun.list();
                sleep(MISSING_API).await;
                while !cache.apis.is_wanted(kind) {
                    sleep(MISSING_API).await;
                }
            }
            cache.apis.serve(kind);
            if begun.listed {
                // Those that waited for it go on.
                cache.servers.all().iter().for_each(|server| queue.push(server.key()));
            }
            let name = kind.as_str();
            watching(name, api, ours(), cache, metrics, begun, move |cache| cache.children(kind), trim, wake).await;
        });
    }

    fn wake_by_child(&self, kind: Kind) -> impl Fn(&Change<Child>) + Send + 'static + use<> {
        let (cache, queue) = (Arc::clone(self.cache), self.queue.clone());
        move |change: &Change<Child>| {
            for child in change.entries() {
                owners(child.as_ref()).for_each(|owner| queue.push(owner));
                if Cache::sees_all(kind) {
                    let referrers = cache.servers.find(&Index::Reference(kind, child.key()));
                    referrers.iter().for_each(|server| queue.push(server.key()));
                }
            }
        }
    }

    fn owned<K, T>(&mut self, name: &'static str, table: fn(&Cache) -> &Table<T>, trim: fn(K) -> T)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
        T: Entry + Send + Sync + 'static,
    {
        let queue = self.queue.clone();
        let wake = move |change: &Change<T>| {
            for entry in change.entries() {
                owners(entry.as_ref()).for_each(|owner| queue.push(owner));
            }
        };
        let api = self.api::<K>();
        self.follow(name, api, ours(), table, trim, wake);
    }

    fn classes(&mut self) {
        let (cache, queue) = (Arc::clone(self.cache), self.queue.clone());
        // Classes change about never: look at every server then.
        let wake = move |_: &Change<ClassView>| cache.servers.all().iter().for_each(|server| queue.push(server.key()));
        let api = Api::<IngressClass>::all(self.client.clone());
        self.follow("IngressClass", api, all(), |cache| &cache.classes, ClassView::of, wake);
    }

    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    fn follow<K, T>(
        &mut self,
        name: &'static str,
        api: Api<K>,
        config: watcher::Config,
        table: impl Fn(&Cache) -> &Table<T> + Send + 'static,
        trim: impl Fn(K) -> T + Send + 'static,
        wake: impl Fn(&Change<T>) + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        T: Entry + Send + Sync + 'static,
    {
        let (cache, metrics) = (Arc::clone(self.cache), Arc::clone(self.metrics));
        let begun = self.begin();
        self.tasks.spawn(watching(name, api, config, cache, metrics, begun, table, trim, wake));
    }

    /// A watch that is waited for at the start.
    fn begin(&self) -> Begun {
        self.missing.send_modify(|missing| *missing += 1);
        Begun {
            namespace: self.namespace.clone(),
            missing: Arc::clone(self.missing),
            first_lists: Arc::clone(self.first_lists),
            listed: false,
        }
    }
}

/// A watch on its way.
struct Begun {
    namespace: Option<String>,
    missing: Arc<watch::Sender<usize>>,
    first_lists: Arc<Semaphore>,
    listed: bool,
}

impl Begun {
    /// When it is its turn.
    async fn in_turn<T>(&self, ask: impl Future<Output = T>) -> T {
        // Never closed: waiting cannot fail.
        let _turn = self.first_lists.acquire().await;
        ask.await
    }

    /// It is not waited for any more.
    fn list(&mut self) {
        if !self.listed {
            self.listed = true;
            self.missing.send_modify(|missing| *missing -= 1);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the whole of a watch, for a task of its own")]
async fn watching<K, T>(
    name: &'static str,
    api: Api<K>,
    config: watcher::Config,
    cache: Arc<Cache>,
    metrics: Arc<Metrics>,
    mut begun: Begun,
    table: impl Fn(&Cache) -> &Table<T>,
    trim: impl Fn(K) -> T,
    wake: impl Fn(&Change<T>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Entry,
{
    // Never closed: waiting cannot fail.
    let mut turn = Arc::clone(&begun.first_lists).acquire_owned().await.ok();
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut listing: HashSet<Key> = HashSet::new();
    while let Some(event) = events.next().await {
        let table = table(&cache);
        match event {
            Ok(Event::Init) => listing.clear(),
            Ok(Event::InitApply(object)) => {
                let entry = trim(object);
                listing.insert(entry.key());
                wake(&table.replace(entry));
            }
            Ok(Event::InitDone) => {
                for gone in table.sweep(begun.namespace.as_deref(), &listing) {
                    wake(&Change { old: Some(gone), new: None });
                }
                listing = HashSet::new();
                drop(turn.take());
                if !begun.listed {
                    debug!(kind = name, "listed");
                    begun.list();
                }
            }
            Ok(Event::Apply(object)) => wake(&table.put(trim(object))),
            Ok(Event::Delete(object)) => wake(&table.remove(&trim(object).key())),
            Err(error) => {
                // Others need not wait for what cannot be listed.
                drop(turn.take());
                metrics.watch_failed(name);
                warn!(kind = name, error = &error as &dyn std::error::Error, "watch failed, trying again");
            }
        }
    }
}

/// The servers that an entry belongs to.
fn owners<T: Entry>(entry: &T) -> impl Iterator<Item = Key> + use<T> {
    entry.indexes().into_iter().filter_map(|index| match index {
        Index::Server(server) => Some(server),
        Index::Host(_) | Index::Reference(..) => None,
    })
}
