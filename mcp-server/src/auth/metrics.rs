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
        let descriptions = age.desc().into_iter().chain(fetches.desc()).cloned().collect();
        Ok(Self { app: Arc::downgrade(app), vectors: Mutex::new(Vectors { age, fetches }), descriptions })
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
        let mut families = vectors.age.collect();
        families.extend(vectors.fetches.collect());
        // Without issuers there is no series, and a family without one is an error to the encoder.
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

impl Vectors {
    fn fill(&self, authenticator: &Authenticator) {
        self.age.reset();
        self.fetches.reset();
        for issuer in authenticator.statistics() {
            let name = issuer.issuer.as_str();
            if let Some(age) = issuer.age {
                self.age.with_label_values(&[name]).set(age.as_secs_f64());
            }
            self.fetches.with_label_values(&[name, "success"]).inc_by(issuer.succeeded);
            self.fetches.with_label_values(&[name, "error"]).inc_by(issuer.failed);
        }
    }
}
