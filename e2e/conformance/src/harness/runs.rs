//! The runs: what the suite asks, and what stands before it.

use std::path::Path;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tokio::task::JoinSet;

use crate::front::{Front, Manner};
use crate::stage::Stage;
use crate::suite::{Report, Revision, Suite};

/// One arrangement of servers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Run {
    /// The fixture on rmcp's own HTTP service.
    Bare,
    /// The fixture on the shell.
    Shell,
    /// The fixture on bare rmcp, behind the runtime as byte proxy.
    Proxied,
    /// Three replicas of the fixture on the shell.
    Replicas,
    /// Three pods: the fixture on bare rmcp, which keeps its sessions to itself, and the runtime before it.
    Pods,
}

impl Run {
    /// What runs by default.
    pub const REQUIRED: &[Self] = &[Self::Shell, Self::Proxied, Self::Replicas, Self::Pods];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Shell => "shell",
            Self::Proxied => "proxied",
            Self::Replicas => "replicas",
            Self::Pods => "pods",
        }
    }

    /// What is asked, for people.
    pub fn about(self) -> &'static str {
        match self {
            Self::Bare => "bare: the fixture on rmcp's own HTTP service, for comparison",
            Self::Shell => "shell: the fixture on the whole shell",
            Self::Replicas => "replicas: three replicas with one redis, each request to the next one",
            Self::Pods => {
                "pods: three byte proxies, each with a backend that keeps its sessions, each request to the next"
            }
            Self::Proxied => "proxied: the fixture on bare rmcp, behind the runtime as byte proxy with the whole shell",
        }
    }

    fn revisions(self) -> &'static [Revision] {
        match self {
            Self::Bare | Self::Shell | Self::Proxied => &Revision::ALL,
            // 2026-07-28 has no sessions; what listeners are told of, and tasks, live in the fixture's process.
            Self::Replicas | Self::Pods => &[Revision::Sessions],
        }
    }

    /// Starts the servers, and asks them by each revision at once.
    pub async fn go(self, suite: &Suite, folder: &Path) -> Result<Vec<Report>> {
        let mut stage = Stage::set(folder).await?;
        let front = match self {
            Self::Bare => Front::start(vec![stage.bare("bare").await?], None, Manner::Pass).await?,
            Self::Shell => Front::start(vec![stage.shell("shell").await?], Some(&stage.token), Manner::Pass).await?,
            Self::Replicas => {
                let mut replicas = Vec::new();
                for name in ["replica-1", "replica-2", "replica-3"] {
                    replicas.push(stage.shell(name).await?);
                }
                Front::start(replicas, Some(&stage.token), Manner::Pass).await?
            }
            Self::Pods => {
                let mut pods = Vec::new();
                for number in 1..=3 {
                    let backend = stage.bare(&format!("backend-{number}")).await?;
                    pods.push(stage.runtime(&format!("pod-{number}"), backend).await?);
                }
                Front::start(pods, Some(&stage.token), Manner::Pass).await?
            }
            Self::Proxied => {
                let upstream = stage.bare("bare").await?;
                let runtime = stage.runtime("proxy", upstream).await?;
                Front::start(vec![runtime], Some(&stage.token), Manner::Pass).await?
            }
        };
        let mut asking = JoinSet::new();
        for revision in self.revisions() {
            let (suite, output) = (suite.clone(), folder.join(revision.name()));
            let server = front.address;
            asking.spawn(async move { suite.ask(server, *revision, &output).await });
        }
        let mut reports = asking.join_all().await.into_iter().collect::<Result<Vec<_>>>().context(self.about())?;
        reports.sort_by_key(Report::revision);
        Ok(reports)
    }
}
