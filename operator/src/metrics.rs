//! What the operator counts, in the text format of Prometheus. Labels are kinds and reasons; names of servers only in
//! the condition gauge, which can be switched off.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::cache::Key;
use crate::kind::Kind;
use crate::status::{Reason, Type};

/// Value of a condition that a server does not have.
const ABSENT: i8 = i8::MIN;

type Truths = [i8; Type::STEADY.len()];

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
    /// Of each server, in the order of [`Type::STEADY`]. Written out when it is asked for: a thousand servers have six
    /// thousand series, and a gauge for each would be most of what a server costs.
    conditions: Option<Mutex<BTreeMap<Key, Truths>>>,
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
        let conditions = per_server.then(Mutex::default);
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
        let Some(all) = &self.conditions else { return };
        let truths = Type::STEADY.map(|kind| match crate::status::find(conditions, kind) {
            None => ABSENT,
            Some(condition) => match condition.status.as_str() {
                "True" => 1,
                "False" => 0,
                _ => -1,
            },
        });
        all.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone(), truths);
    }

    /// The server is gone: so are its series.
    pub fn forget(&self, server: &Key) {
        if let Some(all) = &self.conditions {
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(server);
        }
    }

    /// All of it, as Prometheus reads it.
    ///
    /// # Errors
    /// When it cannot be written, which memory has no reason for.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        if let Some(all) = &self.conditions {
            write_conditions(&all.lock().unwrap_or_else(PoisonError::into_inner), &mut out)?;
        }
        Ok(out)
    }
}

fn write_conditions(all: &BTreeMap<Key, Truths>, out: &mut Vec<u8>) -> io::Result<()> {
    const NAME: &str = "mcp_operator_server_condition";
    writeln!(out, "# HELP {NAME} Conditions of servers: 1 True, 0 False, -1 Unknown.\n# TYPE {NAME} gauge")?;
    for (Key { namespace, name }, truths) in all {
        for (kind, truth) in Type::STEADY.iter().zip(truths).filter(|(_, truth)| **truth != ABSENT) {
            // Names of objects have nothing that would have to be escaped.
            let condition = kind.as_str();
            writeln!(out, r#"{NAME}{{condition="{condition}",name="{name}",namespace="{namespace}"}} {truth}"#)?;
        }
    }
    Ok(())
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
