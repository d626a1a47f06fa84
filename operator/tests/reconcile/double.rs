//! An API server in memory, as far as a reconcile can tell: it stores what is applied, records who set which field, and
//! can be told to fail. Behaviour of the real one is tested in `api_level`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Map, Value, json};
use tower::service_fn;

/// How a request goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The API server refuses with this status.
    Status(u16),
    /// It never answers.
    Hang,
    /// It does what was asked, and the answer is lost.
    LostAnswer,
}

type Faults = Box<dyn FnMut(&Method, &str) -> Option<Fault> + Send>;

#[derive(Clone)]
pub struct Double(Arc<Mutex<State>>);

struct State {
    objects: BTreeMap<String, Value>,
    requests: Vec<String>,
    version: u64,
    faults: Faults,
}

impl Double {
    pub fn new() -> Self {
        let faults: Faults = Box::new(|_, _| None);
        Self(Arc::new(Mutex::new(State { objects: BTreeMap::new(), requests: Vec::new(), version: 100, faults })))
    }

    pub fn client(&self) -> Client {
        let state = Arc::clone(&self.0);
        let service = service_fn(move |request: Request<Body>| {
            let state = Arc::clone(&state);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let path = head.uri.path().to_owned();
                let fault = {
                    let mut state = state.lock().unwrap();
                    state.requests.push(describe(&head.method, &path));
                    (state.faults)(&head.method, &path)
                };
                match fault {
                    Some(Fault::Status(code)) => return Ok(refusal(code)),
                    Some(Fault::Hang) => tokio::time::sleep(Duration::from_secs(1_000_000)).await,
                    Some(Fault::LostAnswer) => {
                        let _ = state.lock().unwrap().answer(&head.method, &path, &body);
                        return Err("the connection broke".into());
                    }
                    None => {}
                }
                let answer = state.lock().unwrap().answer(&head.method, &path, &body);
                Ok::<_, tower::BoxError>(answer)
            }
        });
        Client::new(service, "default")
    }

    /// From now on requests fail where `faults` says so.
    pub fn fail(&self, faults: impl FnMut(&Method, &str) -> Option<Fault> + Send + 'static) {
        self.0.lock().unwrap().faults = Box::new(faults);
    }

    /// What was asked since the last look: `PATCH deployments/demo`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    pub fn put(&self, path: &str, object: Value) {
        self.0.lock().unwrap().objects.insert(path.to_owned(), object);
    }

    pub fn remove(&self, path: &str) {
        self.0.lock().unwrap().objects.remove(path);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().unwrap().objects.get(path).cloned()
    }
}

/// The operations that we send, of objects only.
fn json_patch(object: &mut Value, operation: &Value) {
    let text = |key: &str| operation[key].as_str().unwrap().to_owned();
    let parent =
        |path: &str| path.rsplit_once('/').map(|(parent, key)| (parent.to_owned(), key.replace("~1", "/"))).unwrap();
    let (place, key) = parent(&text("path"));
    let value = match text("op").as_str() {
        "test" => {
            assert_eq!(object.pointer(&text("path")), Some(&operation["value"]));
            return;
        }
        "add" => operation["value"].clone(),
        "copy" => object.pointer(&text("from")).unwrap().clone(),
        "move" => {
            let (place, key) = parent(&text("from"));
            object.pointer_mut(&place).unwrap().as_object_mut().unwrap().remove(&key).unwrap()
        }
        "remove" => {
            object.pointer_mut(&place).unwrap().as_object_mut().unwrap().remove(&key).unwrap();
            return;
        }
        other => panic!("{other}"),
    };
    object.pointer_mut(&place).unwrap()[key] = value;
}

impl State {
    fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        match *method {
            Method::GET if path.ends_with("/secrets") => {
                let items: Vec<_> =
                    self.objects.iter().filter(|(key, _)| key.starts_with(path)).map(|(_, object)| object).collect();
                found(
                    &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items}),
                )
            }
            Method::GET => match self.objects.get(path) {
                Some(object) => found(object),
                None => refusal(404),
            },
            Method::POST => {
                let name = sent["metadata"]["name"].as_str().unwrap_or_default();
                let path = format!("{path}/{name}");
                if path.contains("/events/") {
                    return found(&sent);
                }
                if self.objects.contains_key(&path) {
                    return refusal(409);
                }
                self.store(&path, sent)
            }
            Method::PATCH if path.ends_with("/status") => self.store(path, sent),
            Method::PATCH if sent.is_array() => {
                let Some(mut object) = self.objects.get(path).cloned() else { return refusal(404) };
                for operation in sent.as_array().into_iter().flatten() {
                    json_patch(&mut object, operation);
                }
                self.store(path, object)
            }
            Method::PATCH => {
                // Who names a version means an object of that version, or a new one.
                let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
                let wanted = version(&sent);
                if wanted.is_some() && self.objects.get(path).is_some_and(|there| version(there) != wanted) {
                    return refusal(409);
                }
                self.store(path, sent)
            }
            Method::DELETE => match self.objects.remove(path) {
                Some(_) => found(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success"})),
                None => refusal(404),
            },
            _ => refusal(405),
        }
    }

    fn store(&mut self, path: &str, mut object: Value) -> Response<Body> {
        self.version += 1;
        let fields = fields(&object);
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("resourceVersion".to_owned(), json!(self.version.to_string()));
        metadata.entry("uid").or_insert_with(|| json!(format!("uid-of-{path}")));
        metadata.entry("generation").or_insert(json!(1));
        let managed =
            json!([{"manager": "mcp-operator", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": fields}]);
        metadata.insert("managedFields".to_owned(), managed);
        // Nor what another manager holds: see `apply::handover`.
        let held = self.objects.get(path).and_then(|before| before.pointer("/spec/replicas")).cloned();
        if let (Some(replicas), Some(spec)) = (held, object.pointer_mut("/spec").and_then(Value::as_object_mut)) {
            spec.entry("replicas").or_insert(replicas);
        }
        // Who applies an object does not touch its status.
        if let Some(status) = self.objects.get(path).and_then(|before| before.get("status")) {
            object.as_object_mut().unwrap().entry("status").or_insert(status.clone());
        }
        self.objects.insert(path.to_owned(), object.clone());
        found(&object)
    }
}

/// Every field is set by who sent it; lists are taken as a whole.
fn fields(value: &Value) -> Value {
    let Value::Object(object) = value else { return json!({}) };
    let owned = object.iter().map(|(key, value)| (format!("f:{key}"), fields(value)));
    Value::Object(owned.collect::<Map<_, _>>())
}

fn found(object: &Value) -> Response<Body> {
    Response::new(Body::from(serde_json::to_vec(object).unwrap()))
}

fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "AlreadyExists",
        422 => "Invalid",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "message": format!("refused with {code}"), "reason": reason, "metadata": {}
    });
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .body(Body::from(status.to_string().into_bytes()))
        .unwrap()
}

fn describe(method: &Method, path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    let at = parts.iter().position(|part| *part == "namespaces").map_or(0, |at| at + 2);
    format!("{method} {}", parts[at..].join("/"))
}
