//! Starting programs that outlive us, and ending them again: exactly those. A process is remembered by its id *and* its
//! start time, because ids are reused: a recorded id alone could name somebody else's process tomorrow.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process that we started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What it is, for messages: `kubelet`.
    pub name: String,
    pid: i32,
    /// In clock ticks since boot, as in /proc/PID/stat.
    start_time: u64,
}

/// How long a process may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is stopped: it outlives us and our terminal.
    Detached,
    /// As long as we do: an interrupted test leaves nothing running.
    Ours,
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    /// What it is, for messages.
    pub name: &'a str,
    /// The network namespace to start it in, if not ours.
    pub namespace: Option<&'a str>,
    /// How long it may run.
    pub lifetime: Lifetime,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
    /// The file for what it prints.
    pub log: &'a Path,
}

impl Process {
    /// Starts a process in a session of its own, so that no key pressed in our terminal reaches it.
    pub fn spawn(start: &Start<'_>) -> Result<Self> {
        let Start { name, log, .. } = *start;
        let output = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let mut command = command(start);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let pid = spawn_and_reap(command)
            .with_context(|| format!("start {name}: are setsid, setpriv and nsenter (util-linux) installed?"))?;
        let Some(stat) = Stat::of(pid) else { bail!("{name} ended at once: see {}", log.display()) };
        Ok(Self { name: name.to_owned(), pid, start_time: stat.start_time })
    }

    /// A process that runs now, whoever started it.
    pub fn running(name: &str, pid: i32) -> Option<Self> {
        Stat::of(pid).map(|stat| Self { name: name.to_owned(), pid, start_time: stat.start_time })
    }

    /// Whether it still runs. A zombie does not.
    pub fn is_alive(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.start_time == self.start_time && stat.state != 'Z')
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.pid
    }

    fn signal(&self, signal: Signal) {
        if !self.is_alive() {
            return;
        }
        if let Some(pid) = Pid::from_raw(self.pid) {
            // It may end between the check and the signal: that is what we wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

/// The program behind wrappers that replace themselves by it, so that the child's id is the program's.
fn command(start: &Start<'_>) -> Command {
    let mut command = Command::new("setsid");
    if start.lifetime == Lifetime::Ours {
        command.args(["setpriv", "--pdeathsig", "KILL"]);
    }
    if let Some(namespace) = start.namespace {
        // Not `ip netns exec`: it mounts a new /sys, which hides the cgroups from the kubelet and from containerd.
        command.arg("nsenter").arg(format!("--net=/var/run/netns/{namespace}"));
    }
    command.arg(start.program).args(start.arguments);
    command
}

/// Starts a child on a thread of its own, which then waits for it: the child would otherwise stay as a zombie when it
/// ends before us. It must be the thread that starts it, because "the parent died" (`--pdeathsig`) means that thread.
fn spawn_and_reap(mut command: Command) -> Result<i32> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let child = command.spawn();
        // If nobody listens any more, the child runs all the same and is waited for.
        let _ = sender.send(child.as_ref().map(std::process::Child::id).map_err(|error| error.to_string()));
        child.map(|mut child| child.wait())
    });
    let id = receiver.recv().context("the starting thread ended")?.map_err(anyhow::Error::msg)?;
    i32::try_from(id).context("process id out of range")
}

/// Ends processes: asks all of them, gives them `patience` together, then kills. Fails if one survives even that.
pub fn stop(processes: &[Process], patience: Duration) -> Result<()> {
    processes.iter().for_each(|process| process.signal(Signal::TERM));
    if all_ended(processes, patience) {
        return Ok(());
    }
    processes.iter().for_each(|process| process.signal(Signal::KILL));
    if all_ended(processes, Duration::from_secs(10)) {
        return Ok(());
    }
    let survivors: Vec<_> =
        processes.iter().filter(|p| p.is_alive()).map(|p| format!("{} (process {})", p.name, p.pid)).collect();
    bail!("these did not end when killed: {}", survivors.join(", "))
}

/// Ends processes that hold nothing worth saving.
pub fn kill(processes: &[Process]) -> Result<()> {
    processes.iter().for_each(|process| process.signal(Signal::KILL));
    stop(processes, Duration::from_secs(5))
}

fn all_ended(processes: &[Process], patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if !processes.iter().any(Process::is_alive) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All processes whose command line satisfies `wanted`.
pub fn find_by_command(name: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<Process> {
    find(name, |pid| command_line(pid).is_some_and(|arguments| wanted(&arguments)))
}

/// All processes in the network namespace that the file `namespace` stands for.
pub fn find_by_network(name: &str, namespace: &Path) -> Vec<Process> {
    let Ok(wanted) = fs::metadata(namespace) else { return Vec::new() };
    find(name, |pid| {
        fs::metadata(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    })
}

fn find(name: &str, wanted: impl Fn(i32) -> bool) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| wanted(*pid))
        .filter_map(|pid| Process::running(name, pid))
        .filter(Process::is_alive)
        .collect()
}

fn command_line(pid: i32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
}

struct Stat {
    state: char,
    start_time: u64,
}

impl Stat {
    fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses and may itself contain both spaces and parentheses.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3 of proc(5), the start time field 22.
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Self { state, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = Stat::parse("7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 4242 9 9").unwrap();
        assert_eq!((stat.state, stat.start_time), ('S', 4242));
    }

    #[test]
    fn a_process_lives_until_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::spawn(&Start {
            name: "sleep",
            namespace: None,
            lifetime: Lifetime::Ours,
            program: Path::new("sleep"),
            arguments: &["600".to_owned()],
            log: &folder.path().join("log"),
        })
        .unwrap();
        assert!(process.is_alive());
        stop(std::slice::from_ref(&process), Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn a_reused_id_is_not_our_process() {
        let own = Process::running("test", i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.is_alive());
        let other = Process { start_time: own.start_time + 1, ..own };
        assert!(!other.is_alive());
    }
}
