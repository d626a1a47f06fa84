//! What is only looked at when somebody scrapes: it is counted elsewhere already.

use std::sync::{Arc, Weak};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, IntGaugeVec, Opts};

use crate::app::App;

/// Sessions, their events, database connections, and for how long the process has been ending.
pub struct Scraped {
    app: Weak<App>,
    sessions: IntGauge,
    kept_streams: IntGauge,
    kept_bytes: IntGauge,
    draining: Gauge,
    connections: IntGaugeVec,
}

impl Scraped {
    /// Of that runtime.
    pub fn new(app: &Arc<App>) -> Result<Self, prometheus::Error> {
        Ok(Self {
            app: Arc::downgrade(app),
            sessions: IntGauge::new("mcp_active_sessions", "Sessions that this process holds")?,
            kept_streams: IntGauge::new(
                "mcp_event_store_streams",
                "Streams whose events this process keeps for clients that come again",
            )?,
            kept_bytes: IntGauge::new("mcp_event_store_bytes", "Size of the events that this process keeps")?,
            draining: Gauge::new("mcp_drain_seconds", "For how long the process has been ending")?,
            connections: IntGaugeVec::new(
                Opts::new("mcp_database_connections", "Open connections of the database pool"),
                &["state"],
            )?,
        })
    }
}

impl Collector for Scraped {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [self.sessions.desc(), self.kept_streams.desc(), self.kept_bytes.desc(), self.draining.desc()];
        [gauges.concat(), self.connections.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(app) = self.app.upgrade() else { return Vec::new() };
        self.sessions.set(i64::try_from(app.endpoint.sessions()).unwrap_or(i64::MAX));
        let (streams, bytes) = app.endpoint.kept_events();
        self.kept_streams.set(i64::try_from(streams).unwrap_or(i64::MAX));
        self.kept_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.draining.set(app.drain.lasts().as_secs_f64());
        let mut families = self.sessions.collect();
        families.extend(self.kept_streams.collect());
        families.extend(self.kept_bytes.collect());
        families.extend(self.draining.collect());
        if let Some(database) = &app.database {
            let (open, idle) = database.connections();
            self.connections.with_label_values(&["idle"]).set(idle.into());
            self.connections.with_label_values(&["used"]).set(open.saturating_sub(idle).into());
            families.extend(self.connections.collect());
        }
        families
    }
}
