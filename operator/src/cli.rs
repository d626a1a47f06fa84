//! The command line.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::settings::{Peers, SecretAccess};

/// Runs MCP servers on Kubernetes: one McpServer in, a production MCP endpoint out.
#[derive(Parser, Debug)]
#[command(name = "mcp-operator", version, about)]
pub struct Cli {
    /// What to do; without it: run the operator.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run the operator.
    #[command(flatten)]
    pub run: Run,
}

/// What else there is to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Prints the CustomResourceDefinition.
    Crd,
}

/// How to run the operator.
#[derive(Args, Debug, Clone)]
pub struct Run {
    /// Namespaces to serve, separated by commas. Default: all of the cluster.
    #[arg(long, env = "MCP_OPERATOR_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Image of the runtime, for servers that do not name one.
    #[arg(long, env = "MCP_OPERATOR_RUNTIME_IMAGE", default_value = "mcp-server:dev")]
    pub runtime_image: String,
    /// When that image is pulled. Default: Kubernetes' rule.
    #[arg(long, env = "MCP_OPERATOR_RUNTIME_IMAGE_PULL_POLICY", value_enum, ignore_case = true)]
    pub runtime_image_pull_policy: Option<PullPolicy>,
    /// How servers are asked whether they serve.
    #[arg(long, env = "MCP_OPERATOR_PROBE_VIA", value_enum, default_value = "cluster")]
    pub probe_via: ProbeVia,
    /// Reconcile without holding the lease: for one process only.
    #[arg(long)]
    pub no_leader_election: bool,
    /// Namespace of the lease. Default: the operator's.
    #[arg(long, env = "MCP_OPERATOR_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Name of the lease: processes with the same one elect one among them.
    #[arg(long, env = "MCP_OPERATOR_LEASE_NAME", default_value = "mcp-operator")]
    pub lease_name: String,
    /// Namespace of the operator, which NetworkPolicies admit. Default: that of its ServiceAccount, if it has one.
    #[arg(long, env = "MCP_OPERATOR_NAMESPACE")]
    pub operator_namespace: Option<String>,
    /// Port of /livez and /readyz. 0 takes a free one.
    #[arg(long, env = "MCP_OPERATOR_HEALTH_PORT", default_value_t = 8081)]
    pub health_port: u16,
    /// Port of /metrics. 0 takes a free one.
    #[arg(long, env = "MCP_OPERATOR_METRICS_PORT", default_value_t = 8080)]
    pub metrics_port: u16,
    /// Servers reconciled at the same time.
    #[arg(long, env = "MCP_OPERATOR_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// Servers that get a changed default image of the runtime at the same time. The first that does not become ready
    /// with it halts the others.
    #[arg(long, env = "MCP_OPERATOR_ROLLOUT_MAX_CONCURRENT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub rollout_max_concurrent: u16,
    /// Seconds that one reconcile may take.
    #[arg(long, env = "MCP_OPERATOR_RECONCILE_DEADLINE_SECONDS", default_value = "30", value_parser = seconds)]
    pub reconcile_deadline_seconds: Duration,
    /// DNS domain of the cluster.
    #[arg(long, env = "MCP_OPERATOR_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Who may reach the MCP port of servers that name nobody, as a JSON list of NetworkPolicy peers (your ingress
    /// controller). Default: everybody.
    #[arg(long, env = "MCP_OPERATOR_MCP_FROM", default_value = "[]")]
    pub mcp_from: Peers,
    /// Who may scrape the metrics of servers, besides the operator, as a JSON list of NetworkPolicy peers (Prometheus).
    #[arg(long, env = "MCP_OPERATOR_METRICS_FROM", default_value = "[]")]
    pub metrics_from: Peers,
    /// What may be done with Secrets: as much as the role has.
    #[arg(long, env = "MCP_OPERATOR_SECRET_ACCESS", value_enum, ignore_case = true, default_value = "Full")]
    pub secret_access: SecretAccess,
    /// Metric series for each server.
    #[arg(long, env = "MCP_OPERATOR_SERVER_METRICS", default_value_t = true, action = clap::ArgAction::Set)]
    pub server_metrics: bool,
    /// Form of the log lines.
    #[arg(long, env = "MCP_OPERATOR_LOG_FORMAT", value_enum, default_value = "json")]
    pub log_format: LogFormat,
    /// The least severe level that is logged: error, warn, info, debug, trace; or a filter as in info,mcp_operator=debug.
    #[arg(long, env = "MCP_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// How servers are asked.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeVia {
    /// By the cluster's own network.
    Cluster,
    /// Through the API server: for an operator outside of the cluster.
    PortForward,
    /// Not at all: `Verified` stays unknown and does not count.
    None,
}

/// Form of the log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// When an image is pulled.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At every container start.
    #[value(name = "Always")]
    Always,
    /// When it is not on the node.
    #[value(name = "IfNotPresent")]
    IfNotPresent,
    /// Never.
    #[value(name = "Never")]
    Never,
}

impl From<PullPolicy> for mcp_crds::PullPolicy {
    fn from(policy: PullPolicy) -> Self {
        match policy {
            PullPolicy::Always => Self::Always,
            PullPolicy::IfNotPresent => Self::IfNotPresent,
            PullPolicy::Never => Self::Never,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number of seconds, 1 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_of_the_chart_are_understood() {
        let cli = Cli::parse_from([
            "mcp-operator",
            "--namespaces=a,b",
            "--runtime-image-pull-policy=IfNotPresent",
            "--probe-via=port-forward",
            "--server-metrics=false",
            "--lease-name=release",
            "--secret-access=None",
            r#"--metrics-from=[{"podSelector":{}}]"#,
        ]);
        assert_eq!(cli.run.namespaces, ["a", "b"]);
        assert_eq!(cli.run.runtime_image_pull_policy, Some(PullPolicy::IfNotPresent));
        assert_eq!(cli.run.probe_via, ProbeVia::PortForward);
        assert!(!cli.run.server_metrics);
        assert_eq!(cli.run.lease_name, "release");
        assert_eq!(cli.run.secret_access, SecretAccess::None);
    }
}
