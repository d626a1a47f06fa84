//! The tokens that were issued and not revoked: what introspection is about.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// Claims by token. What has expired is forgotten.
#[derive(Default)]
pub(crate) struct Issued(Mutex<HashMap<String, Map<String, Value>>>);

impl Issued {
    pub(crate) fn add(&self, token: &str, claims: Map<String, Value>) {
        let now = now();
        let mut tokens = self.lock();
        tokens.retain(|_, claims| is_alive(claims, now));
        tokens.insert(token.to_owned(), claims);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.lock().remove(token);
    }

    /// The answer of RFC 7662, section 2.2.
    pub(crate) fn introspect(&self, token: &str) -> Value {
        match self.lock().get(token).filter(|claims| is_alive(claims, now())) {
            None => json!({"active": false}),
            Some(claims) => {
                let mut answer =
                    Map::from_iter([("active".to_owned(), json!(true)), ("token_type".to_owned(), json!("Bearer"))]);
                answer.extend(claims.clone());
                Value::Object(answer)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Map<String, Value>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_alive(claims: &Map<String, Value>, now: f64) -> bool {
    claims.get("exp").and_then(Value::as_f64).is_none_or(|exp| now < exp)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
