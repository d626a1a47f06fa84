//! ServiceMonitor `<name>`: tells the Prometheus operator where the runtime's metrics are.

use mcp_crds::McpServerSpec;

use super::Identity;
use super::endpoint::MANAGEMENT;
use crate::gateway::{MonitoredPort, ServiceMonitor, ServiceMonitorSpec};

/// `None` unless the spec asks for it.
#[must_use]
pub fn build(id: &Identity, spec: &McpServerSpec) -> Option<ServiceMonitor> {
    let metrics = &spec.observability.metrics;
    let given = metrics.service_monitor.as_ref()?;
    let endpoint =
        MonitoredPort { port: MANAGEMENT.to_owned(), path: metrics.path.clone(), interval: given.interval.clone() };
    let mut monitor =
        ServiceMonitor::new(&id.name, ServiceMonitorSpec { selector: id.selector(), endpoints: vec![endpoint] });
    monitor.metadata = id.meta(&id.name);
    // The user's first: ours win.
    let mut labels = given.labels.clone();
    labels.extend(id.labels());
    monitor.metadata.labels = Some(labels);
    Some(monitor)
}
