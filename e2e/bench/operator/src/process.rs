//! What the kernel says of a process, and who runs on which processor.

use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Who runs where.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// The operator, alone.
    pub operator: usize,
    /// The API server, etcd, this process.
    pub others: usize,
}

impl Cores {
    /// Takes the last two of the processors that there are, and puts this process, and what it starts, on one.
    pub fn take() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("ask for the processors")?;
        let mut last = (0..CpuSet::MAX_CPU).rev().filter(|cpu| allowed.is_set(*cpu));
        let operator = last.next().context("there is no processor")?;
        let others = last.next().unwrap_or_else(|| {
            eprintln!("warning: there is one processor only: times mean nothing");
            operator
        });
        Ok(Self { operator, others })
    }

    /// Puts this thread, and what it starts from now on, there.
    pub fn stay(core: usize) -> Result<()> {
        let mut own = CpuSet::new();
        own.set(core);
        sched_setaffinity(None, &own).context("move to a processor")
    }
}

/// The start of a command on that processor.
pub fn on(core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &core.to_string()]);
    command
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub now: u64,
    pub most: u64,
}

/// Milliseconds on a processor, of all threads that there ever were.
pub fn cpu(child: &Child) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).context("the process has ended")?;
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_ascii_whitespace()).context("read its times")?;
    // Of proc(5) the 14th and the 15th; the state after the name is the third. A tick is a hundredth of a second.
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 * 10.0)
}

/// Its resident memory.
pub fn memory(child: &Child) -> Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).context("the process has ended")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim_end_matches("kB").trim().parse().ok()).context("the process has ended")
    };
    Ok(Memory { now: field("VmRSS:")?, most: field("VmHWM:")? })
}
