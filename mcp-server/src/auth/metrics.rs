//! The issuers in the metrics: how old their keys are, and how often they could not be had.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Opts};

use super::authenticator::Authenticator;
use crate::app::App;

/// Asks the authenticator in use at each scrape, so that issuers come and go with the live configuration. The label
/// `issuer` takes only values of the configuration.
pub struct IssuerMetrics {
    app: Weak<App>,
    /// Locked, since each scrape fills it anew.
    vectors: Mutex<Vectors>,
    descriptions: Vec<Desc>,
}

struct Vectors {
    age: GaugeVec,
    fetches: IntCounterVec,
    introspections: IntCounterVec,
    lookups: IntCounterVec,
}

impl IssuerMetrics {
    /// For the issuers of that runtime.
    pub fn new(app: &Arc<App>) -> Result<Self, prometheus::Error> {
        let age = GaugeVec::new(
            Opts::new("mcp_issuer_keys_age_seconds", "Time since the issuer's signing keys in use were fetched"),
            &["issuer"],
        )?;
        let fetches = IntCounterVec::new(
            Opts::new("mcp_issuer_fetches_total", "Attempts to fetch the issuer's signing keys"),
            &["issuer", "result"],
        )?;
        let introspections = IntCounterVec::new(
            Opts::new("mcp_introspections_total", "Questions to the issuer about tokens"),
            &["issuer", "result"],
        )?;
        let lookups = IntCounterVec::new(
            Opts::new("mcp_token_cache_lookups_total", "Tokens that were remembered (hit) and that were not (miss)"),
            &["result"],
        )?;
        let vectors = Vectors { age, fetches, introspections, lookups };
        let descriptions = vectors.all().iter().flat_map(|vector| vector.desc()).cloned().collect();
        Ok(Self { app: Arc::downgrade(app), vectors: Mutex::new(vectors), descriptions })
    }
}

impl Collector for IssuerMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(app) = self.app.upgrade() else {
            return Vec::new();
        };
        let vectors = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
        vectors.fill(&app.live.current().authenticator);
        let mut families: Vec<_> = vectors.all().iter().flat_map(|vector| vector.collect()).collect();
        // Without issuers there is no series, and a family without one is an error to the encoder.
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

impl Vectors {
    fn all(&self) -> [&dyn Collector; 4] {
        let Self { age, fetches, introspections, lookups } = self;
        [age, fetches, introspections, lookups]
    }

    fn fill(&self, authenticator: &Authenticator) {
        let Self { age: _, fetches, introspections, lookups } = self;
        self.age.reset();
        [fetches, introspections, lookups].iter().for_each(|vector| vector.reset());
        let (hits, misses) = authenticator.lookups();
        self.lookups.with_label_values(&["hit"]).inc_by(hits);
        self.lookups.with_label_values(&["miss"]).inc_by(misses);
        for issuer in authenticator.statistics() {
            let name = issuer.issuer.as_str();
            if let Some(age) = issuer.age {
                self.age.with_label_values(&[name]).set(age.as_secs_f64());
            }
            self.fetches.with_label_values(&[name, "success"]).inc_by(issuer.succeeded);
            self.fetches.with_label_values(&[name, "error"]).inc_by(issuer.failed);
            if let Some((answered, failed)) = issuer.introspections {
                self.introspections.with_label_values(&[name, "success"]).inc_by(answered);
                self.introspections.with_label_values(&[name, "error"]).inc_by(failed);
            }
        }
    }
}
