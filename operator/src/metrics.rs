//! What the operator counts, in the text format of Prometheus. Labels are kinds and reasons; names of servers only in
//! the condition gauge, which can be switched off.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::cache::Key;
use crate::kind::Kind;
use crate::status::{Reason, Type};

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    durations: Histogram,
    requests: IntCounterVec,
    children: IntCounterVec,
    watch_failures: IntCounterVec,
    rounds: IntCounterVec,
    leader: IntGauge,
    upgrades: IntGaugeVec,
    conditions: Option<IntGaugeVec>,
}

impl Metrics {
    /// `per_server`: one series for each server and condition.
    ///
    /// # Errors
    /// When two metrics have one name.
    pub fn new(per_server: bool) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let reconciles = counter("mcp_operator_reconcile_total", "Reconciles by their result.", &["result"])?;
        let requests =
            counter("mcp_operator_api_requests_total", "Requests to the API server.", &["verb", "resource", "code"])?;
        let children =
            counter("mcp_operator_apply_total", "Writes of children by what they did.", &["kind", "outcome"])?;
        let watch_failures =
            counter("mcp_operator_watch_failures_total", "Watches that broke with an error.", &["kind"])?;
        let rounds = counter("mcp_operator_verify_total", "Rounds of questions to servers.", &["result"])?;
        let durations = Histogram::with_opts(
            HistogramOpts::new("mcp_operator_reconcile_duration_seconds", "Duration of reconciles.")
                .buckets(vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]),
        )?;
        registry.register(Box::new(durations.clone()))?;
        let leader = IntGauge::new("mcp_operator_leader", "1 while this process reconciles.")?;
        registry.register(Box::new(leader.clone()))?;
        let upgrades = IntGaugeVec::new(
            Opts::new("mcp_operator_runtime_upgrades", "Servers that a changed default image of the runtime is for."),
            &["state"],
        )?;
        registry.register(Box::new(upgrades.clone()))?;
        let conditions = if per_server { Some(condition_gauge(&registry)?) } else { None };
        Ok(Self {
            registry,
            reconciles,
            durations,
            requests,
            children,
            watch_failures,
            rounds,
            leader,
            upgrades,
            conditions,
        })
    }

    /// A reconcile ended.
    pub fn reconciled(&self, failure: Option<Reason>, took: Duration) {
        self.reconciles.with_label_values(&[failure.map_or("success", Reason::as_str)]).inc();
        self.durations.observe(took.as_secs_f64());
    }

    /// The API server answered a request.
    pub fn requested(&self, verb: &str, resource: &str, code: &str) {
        self.requests.with_label_values(&[verb, resource, code]).inc();
    }

    /// A child was written.
    pub fn applied(&self, kind: Kind, outcome: &str) {
        self.children.with_label_values(&[kind.as_str(), outcome]).inc();
    }

    /// A watch broke.
    pub fn watch_failed(&self, kind: &str) {
        self.watch_failures.with_label_values(&[kind]).inc();
    }

    /// A round of questions ended.
    pub fn asked(&self, complete: bool) {
        self.rounds.with_label_values(&[if complete { "complete" } else { "incomplete" }]).inc();
    }

    /// How far a changed default image of the runtime has come.
    pub fn upgrades(&self, waiting: usize, rolling: usize, failed: usize) {
        for (state, count) in [("waiting", waiting), ("rolling", rolling), ("failed", failed)] {
            self.upgrades.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether this process reconciles.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The conditions of a server.
    pub fn conditions(&self, server: &Key, conditions: &[Condition]) {
        let Some(gauge) = &self.conditions else { return };
        for kind in Type::STEADY {
            let Some(condition) = crate::status::find(conditions, kind) else { continue };
            let value = match condition.status.as_str() {
                "True" => 1,
                "False" => 0,
                _ => -1,
            };
            gauge.with_label_values(&[server.namespace.as_str(), server.name.as_str(), kind.as_str()]).set(value);
        }
    }

    /// The server is gone: so are its series.
    pub fn forget(&self, server: &Key) {
        let Some(gauge) = &self.conditions else { return };
        for kind in Type::STEADY {
            // It has no series when it never had a condition.
            let _ = gauge.remove_label_values(&[server.namespace.as_str(), server.name.as_str(), kind.as_str()]);
        }
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    /// When it cannot be written, which memory has no reason for.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

fn condition_gauge(registry: &Registry) -> Result<IntGaugeVec, prometheus::Error> {
    let help = "Conditions of servers: 1 True, 0 False, -1 Unknown.";
    let gauge =
        IntGaugeVec::new(Opts::new("mcp_operator_server_condition", help), &["namespace", "name", "condition"])?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::status::Verdict;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.text().unwrap()).unwrap()
    }

    #[test]
    fn a_server_that_is_gone_leaves_no_series() {
        let (metrics, server) = (Metrics::new(true).unwrap(), Key::new("ns", "demo"));
        let ready = Verdict::yes(Reason::Ready, "").condition(Type::Ready, &[], Some(1), Timestamp::UNIX_EPOCH);
        metrics.conditions(&server, &[ready]);
        let series = r#"mcp_operator_server_condition{condition="Ready",name="demo",namespace="ns"} 1"#;
        assert!(text(&metrics).contains(series), "{}", text(&metrics));
        metrics.forget(&server);
        assert!(!text(&metrics).contains("demo"));
    }

    #[test]
    fn series_of_servers_can_be_switched_off() {
        let metrics = Metrics::new(false).unwrap();
        let ready = Verdict::yes(Reason::Ready, "").condition(Type::Ready, &[], Some(1), Timestamp::UNIX_EPOCH);
        metrics.conditions(&Key::new("ns", "demo"), &[ready]);
        assert!(!text(&metrics).contains("demo"));
    }
}
