//! Metrics that exist only where TLS is served here.

use jiff::Timestamp;
use prometheus::{Gauge, IntCounterVec, Opts, Registry};

/// How a handshake ended: a label.
#[derive(Debug, Clone, Copy)]
pub(super) enum Handshake {
    Success,
    Failed,
    TooSlow,
}

pub(super) struct TlsMetrics {
    expiry: Gauge,
    handshakes: IntCounterVec,
    reloads: IntCounterVec,
}

impl TlsMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let expiry = Gauge::new(
            "mcp_tls_certificate_expiry_timestamp_seconds",
            "When the certificate in use ends, in seconds since 1970",
        )?;
        let counters = |name, help| IntCounterVec::new(Opts::new(name, help), &["result"]);
        let handshakes = counters("mcp_tls_handshakes_total", "TLS handshakes with clients")?;
        let reloads = counters("mcp_tls_reloads_total", "Reloads of the certificate files")?;
        registry.register(Box::new(expiry.clone()))?;
        registry.register(Box::new(handshakes.clone()))?;
        registry.register(Box::new(reloads.clone()))?;
        Ok(Self { expiry, handshakes, reloads })
    }

    pub(super) fn certificate(&self, not_after: Timestamp) {
        self.expiry.set(not_after.as_duration().as_secs_f64());
    }

    pub(super) fn handshake(&self, result: Handshake) {
        let result = match result {
            Handshake::Success => "success",
            Handshake::Failed => "failed",
            Handshake::TooSlow => "timeout",
        };
        self.handshakes.with_label_values(&[result]).inc();
    }

    pub(super) fn reload(&self, ok: bool) {
        self.reloads.with_label_values(&[if ok { "success" } else { "error" }]).inc();
    }
}
