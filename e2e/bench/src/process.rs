//! Real processes, each on the processor that it is given, and what the kernel says that they used.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::calls::Caller;
use crate::client::Connection;

/// Nothing takes that long to start unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who runs where.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The server under test, alone.
    pub server: usize,
    /// Everything else: load generator, upstreams, redis.
    pub others: usize,
}

impl Cores {
    /// Takes the last two of the processors that there are, and puts this process on its own.
    pub fn take() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("ask for the processors")?;
        let mut last = (0..CpuSet::MAX_CPU).rev().filter(|cpu| allowed.is_set(*cpu));
        let server = last.next().context("there is no processor")?;
        let others = last.next().unwrap_or_else(|| {
            eprintln!("warning: there is one processor only: times of requests mean nothing");
            server
        });
        let mut own = CpuSet::new();
        own.set(others);
        sched_setaffinity(None, &own).context("move to a processor")?;

        // A thousand streams, and one more descriptor each for a proxy.
        let mut files = getrlimit(Resource::Nofile);
        files.current = files.maximum;
        setrlimit(Resource::Nofile, files).context("raise the limit of open files")?;
        Ok(Self { server, others })
    }
}

/// A process that ends with the value.
pub struct Process {
    name: String,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub now: u64,
    pub most: u64,
}

impl Process {
    /// Starts a program on that processor; `port` is where it will listen.
    pub async fn start<S: AsRef<OsStr>>(name: &str, core: usize, command: &[S], port: u16) -> Result<Self> {
        let mut taskset = Command::new("taskset");
        taskset.args(["--cpu-list", &core.to_string()]).args(command);
        taskset.stdin(Stdio::null()).stdout(Stdio::null());
        // taskset becomes the program, so that the id is the program's.
        let child = taskset.spawn().context("start taskset (package util-linux)")?;
        let mut process = Self { name: name.to_owned(), child };
        process.wait_until_it_listens(port).await?;
        Ok(process)
    }

    async fn wait_until_it_listens(&mut self, port: u16) -> Result<()> {
        let begun = std::time::Instant::now();
        while Connection::open(port).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended at once: {status}", self.name);
            }
            ensure!(begun.elapsed() < PATIENCE, "{} does not listen at port {port}", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until that document of it can be had.
    pub async fn wait_until_ready(&self, port: u16, path: &str) -> Result<()> {
        let begun = std::time::Instant::now();
        let request = Caller::new(port, None).get(path);
        while Connection::open(port).await?.ask(&request).await?.0.status != 200 {
            ensure!(begun.elapsed() < PATIENCE, "{} does not get ready", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Time on a processor since its start, of all its threads, in nanoseconds. Threads that have ended are not in it:
    /// compare two readings only where none ends between.
    pub fn cpu(&self) -> Result<u64> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id())).with_context(|| self.gone())? {
            // One that ends meanwhile.
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
            sum += text.split(' ').next().and_then(|time| time.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(sum)
    }

    /// Its resident memory.
    pub fn memory(&self) -> Result<Memory> {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).with_context(|| self.gone())?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok()).with_context(|| self.gone())
        };
        Ok(Memory { now: field("VmRSS:")?, most: field("VmHWM:")? })
    }

    fn gone(&self) -> String {
        format!("{} has ended", self.name)
    }
}

/// A port that nobody has. Somebody could take it before the process does; then the process says so.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
