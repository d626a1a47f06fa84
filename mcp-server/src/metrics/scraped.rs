//! What is only looked at when somebody scrapes: it is counted elsewhere already.

use std::sync::{Arc, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts};

use crate::app::App;

/// Sessions and database connections.
pub struct Scraped {
    app: Weak<App>,
    sessions: IntGauge,
    connections: IntGaugeVec,
}

impl Scraped {
    /// Of that runtime.
    pub fn new(app: &Arc<App>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            app: Arc::downgrade(app),
            sessions: IntGauge::new("mcp_active_sessions", "Sessions that this process holds")?,
            connections: IntGaugeVec::new(
                Opts::new("mcp_database_connections", "Open connections of the database pool"),
                &["state"],
            )?,
        })
    }
}

impl Collector for Scraped {
    fn desc(&self) -> Vec<&Desc> {
        [self.sessions.desc(), self.connections.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(app) = self.app.upgrade() else { return Vec::new() };
        self.sessions.set(i64::try_from(app.endpoint.sessions()).unwrap_or(i64::MAX));
        let mut families = self.sessions.collect();
        if let Some(database) = &app.database {
            let (open, idle) = database.connections();
            self.connections.with_label_values(&["idle"]).set(idle.into());
            self.connections.with_label_values(&["used"]).set(open.saturating_sub(idle).into());
            families.extend(self.connections.collect());
        }
        families
    }
}
