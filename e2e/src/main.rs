//! `e2e`: brings clusters up and down and images into them, and shows the product on one.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::cases;
use e2e::clusters::images::dockerfile;
use e2e::clusters::native::Native;
use e2e::clusters::{Cluster, Level};
use e2e::demo;
use e2e::product::build;
use e2e::product::images::{self, Images};

/// Clusters for tests and demos. MCP_E2E_CLUSTER chooses the provider: native, kind or existing.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a cluster, or reuse it when it runs and is healthy; prints its kubeconfig's path
    Up {
        #[command(flatten)]
        cluster: Name,
        /// `api`: control plane only; `node`: pods, DNS and ingress too
        #[arg(long, value_enum, default_value_t = Level::Node)]
        level: Level,
    },
    /// End a cluster and everything that it made
    Down {
        #[command(flatten)]
        cluster: Name,
    },
    /// Show the product on a cluster, from nothing to a tool call through the ingress; leaves everything running
    Demo {
        #[command(flatten)]
        cluster: Name,
    },
    /// Run the cases of the node level on a cluster, which ends with them unless one fails
    ///
    /// Not part of `cargo test`, which needs no root and no minutes.
    Test {
        /// The cluster's name; not the demo's, so that both can run side by side
        #[arg(long, default_value = "test")]
        name: String,
        /// Run only the cases whose name contains this
        #[arg(long, default_value = "")]
        only: String,
        /// Cases at a time. They wait more than they work
        #[arg(long, default_value_t = 4)]
        parallel: usize,
        /// Give the operator rights in the cases' namespaces only: Roles, no ClusterRole. Needs a cluster of its own
        #[arg(long)]
        namespaced: bool,
        /// Leave the cluster running
        #[arg(long)]
        keep: bool,
    },
    /// Build the product's and the tests' images and load them into a cluster; prints their names
    TestImages {
        #[command(flatten)]
        cluster: Name,
    },
    /// List the native clusters of this machine
    Status,
    /// Print the path of a cluster's kubeconfig
    Kubeconfig {
        #[command(flatten)]
        cluster: Name,
    },
    /// Load an OCI archive into a cluster
    LoadImage {
        /// The archive
        archive: PathBuf,
        #[command(flatten)]
        cluster: Name,
    },
    /// Build a Dockerfile's last stage from compiled binaries and load the image into a cluster
    BuildImage {
        /// The Dockerfile; its folder is the build context
        #[arg(long)]
        dockerfile: PathBuf,
        /// The folder with the compiled, static binaries
        #[arg(long)]
        binary_dir: PathBuf,
        /// The image's name
        #[arg(long)]
        tag: String,
        /// Write the image to this OCI archive instead of loading it
        #[arg(long)]
        output: Option<PathBuf>,
        #[command(flatten)]
        cluster: Name,
    },
}

#[derive(clap::Args)]
struct Name {
    /// The cluster's name
    #[arg(long, default_value = "demo")]
    name: String,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: that would print a backtrace where RUST_BACKTRACE is set.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Action) -> Result<()> {
    match command {
        Action::Up { cluster, level } => println!("{}", Cluster::up(&cluster.name, level)?.kubeconfig().display()),
        Action::Down { cluster } => Cluster::down(&cluster.name)?,
        Action::Demo { cluster } => runtime()?.block_on(demo::run(&cluster.name))?,
        Action::Test { name, only, parallel, namespaced, keep } => {
            runtime()?.block_on(cases::suite(&name, &only, parallel, namespaced))?;
            if !keep {
                Cluster::down(&name)?;
            }
        }
        Action::TestImages { cluster } => {
            build::binaries()?;
            let cluster = Cluster::attach(&cluster.name)?;
            let Images { operator, server, issuer, redis } = images::load(&cluster)?;
            let everything = images::load_everything(&cluster)?;
            [operator, server, issuer, redis, everything].iter().for_each(|image| println!("{image}"));
        }
        Action::Status => Native::status().iter().for_each(|line| println!("{line}")),
        Action::Kubeconfig { cluster } => println!("{}", Cluster::attach(&cluster.name)?.kubeconfig().display()),
        Action::LoadImage { archive, cluster } => Cluster::attach(&cluster.name)?.load_image(&archive)?,
        Action::BuildImage { dockerfile, binary_dir, tag, output: Some(archive), cluster: _ } => {
            dockerfile::build(&dockerfile, &binary_dir, &tag, &archive)?;
        }
        Action::BuildImage { dockerfile, binary_dir, tag, output: None, cluster } => {
            let cluster = Cluster::attach(&cluster.name)?;
            let folder = tempfile::tempdir()?;
            let archive = folder.path().join("image.tar");
            dockerfile::build(&dockerfile, &binary_dir, &tag, &archive)?;
            cluster.load_image(&archive)?;
        }
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
