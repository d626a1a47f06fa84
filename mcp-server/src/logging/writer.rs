//! Takes lines from whoever makes them to one console or file, in a thread of its own: the makers only copy bytes, and many
//! lines leave in one write. A line waits at most [`GATHER`].
//!
//! The room for waiting lines is bounded. When it is used up (a terminal that is stopped, a file system that hangs) further
//! lines are dropped and counted: nobody who serves a request waits for who reads logs. At the end of the process, and
//! after a panic, [`Writer::flush`] waits until all that was taken is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mcp_server_config::Handler;
use prometheus::IntCounter;
use tracing::{error, info, warn};

/// Bytes of waiting lines. A line of a request has about 500.
const ROOM: usize = 4 * 1024 * 1024;
/// So many bytes are written without waiting for more.
const ENOUGH: usize = 64 * 1024;
/// What is written later than this comes in the next write.
const GATHER: Duration = Duration::from_millis(10);
/// How often it is looked whether somebody has moved the file away, as logrotate does.
const LOOK: Duration = Duration::from_secs(1);
/// The thread writes and no more.
const STACK: usize = 128 * 1024;

/// A file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{section}: cannot open {path}: {source}")]
pub struct OpenError {
    section: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// One console or file.
pub struct Writer {
    shared: Arc<Shared>,
    dropped: IntCounter,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    wanted: Condvar,
    /// Wakes who waits for the thread.
    written: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    /// Lines that were dropped since the thread last looked.
    dropped: u64,
    /// Batches that the thread has taken and has written, or has failed to write.
    taken: u64,
    done: u64,
    /// Somebody waits: gather no longer.
    hurry: bool,
    reopen: bool,
}

impl Writer {
    /// Opens the file and starts the thread. `section` is that of the configuration; `dropped` counts lines that are lost.
    pub fn open(section: &'static str, handler: &Handler, dropped: IntCounter) -> Result<Self, OpenError> {
        let (target, path) = match handler {
            Handler::Console {} => (Target::Console, PathBuf::from("stdout")),
            Handler::File { filename } => (Target::open(section, filename)?, filename.clone()),
        };
        let shared = Arc::new(Shared { queue: Mutex::default(), wanted: Condvar::new(), written: Condvar::new() });
        let thread = Thread { section, shared: Arc::clone(&shared), target, lost: dropped.clone(), failing: None };
        std::thread::Builder::new()
            .name(format!("{section} writer"))
            .stack_size(STACK)
            .spawn(move || thread.run())
            .map_err(|source| OpenError { section, path, source })?;
        Ok(Self { shared, dropped })
    }

    /// Takes a line, which ends with a line feed. Never waits for the console or the file.
    pub fn write(&self, line: &[u8]) {
        let mut queue = self.shared.lock();
        if queue.lines.len() + line.len() > ROOM {
            queue.dropped += 1;
            drop(queue);
            self.dropped.inc();
            return;
        }
        let before = queue.lines.len();
        queue.lines.extend_from_slice(line);
        // The thread sleeps only while there is nothing, and wakes early when there is enough.
        let wake = before == 0 || (before < ENOUGH && queue.lines.len() >= ENOUGH);
        drop(queue);
        if wake {
            self.shared.wanted.notify_one();
        }
    }

    /// Waits until every line that was taken is written, at most so long.
    pub fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut queue = self.shared.lock();
        let all = if queue.lines.is_empty() { queue.taken } else { queue.taken + 1 };
        while queue.done < all {
            queue.hurry = true;
            self.shared.wanted.notify_one();
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            queue = self.shared.written.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens the file anew before the next line: somebody has moved it away.
    pub fn reopen(&self) {
        let mut queue = self.shared.lock();
        queue.reopen = true;
        queue.hurry = true;
        drop(queue);
        self.shared.wanted.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Thread {
    section: &'static str,
    shared: Arc<Shared>,
    target: Target,
    lost: IntCounter,
    /// Lines lost since writing began to fail.
    failing: Option<u64>,
}

struct Batch {
    dropped: u64,
    reopen: bool,
}

impl Thread {
    fn run(mut self) {
        let mut lines = Vec::new();
        let mut looked = Instant::now();
        loop {
            let Batch { dropped, reopen } = self.next(&mut lines);
            if reopen || looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.target.follow(reopen);
            }
            let written = self.target.write(&lines);
            self.tell(written, &lines, dropped);
            lines.clear();
            // One burst must not hold its memory for ever.
            lines.shrink_to(ENOUGH * 2);
            self.shared.lock().done += 1;
            self.shared.written.notify_all();
        }
    }

    /// Waits for lines and takes them.
    fn next(&self, lines: &mut Vec<u8>) -> Batch {
        let wanted = &self.shared.wanted;
        let mut queue = self.shared.lock();
        while queue.lines.is_empty() && !queue.reopen {
            queue.hurry = false;
            queue = wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let more = |queue: &mut Queue| !queue.hurry && queue.lines.len() < ENOUGH;
        queue = wanted.wait_timeout_while(queue, GATHER, more).unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(lines, &mut queue.lines);
        queue.hurry = false;
        queue.taken += 1;
        Batch { dropped: std::mem::take(&mut queue.dropped), reopen: std::mem::take(&mut queue.reopen) }
    }

    /// Says once that writing fails and once that it works again: each word is a line that may fail too.
    fn tell(&mut self, written: io::Result<()>, lines: &[u8], dropped: u64) {
        let (section, target) = (self.section, self.target.name());
        match written {
            Err(source) => {
                let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.lost.inc_by(count);
                if self.failing.is_none() {
                    error!(section, target, error = &source as &dyn std::error::Error, "lines cannot be written");
                }
                *self.failing.get_or_insert(0) += count;
            }
            Ok(()) => {
                if let Some(lost) = self.failing.take() {
                    info!(section, target, lost, "lines can be written again");
                }
            }
        }
        if dropped > 0 {
            warn!(section, target, dropped, "lines were dropped: they came faster than they could be written");
        }
    }
}

enum Target {
    Console,
    File {
        path: PathBuf,
        file: File,
        /// The file ends within a line.
        torn: bool,
    },
}

impl Target {
    fn open(section: &'static str, path: &Path) -> Result<Self, OpenError> {
        let file = append(path).map_err(|source| OpenError { section, path: path.to_owned(), source })?;
        Ok(Self::File { path: path.to_owned(), file, torn: false })
    }

    fn name(&self) -> String {
        match self {
            Self::Console => "console".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// Opens the file anew if it is no longer the one at its path. Where that fails the old one is written on.
    fn follow(&mut self, asked: bool) {
        let Self::File { path, file, torn } = self else { return };
        let same = |path: &Path, file: &File| {
            let (there, ours) = (std::fs::metadata(path).ok()?, file.metadata().ok()?);
            Some((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        };
        if !asked && same(path, file) == Some(true) {
            return;
        }
        if let Ok(opened) = append(path) {
            (*file, *torn) = (opened, false);
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Console => io::stdout().lock().write_all(lines),
            Self::File { file, torn, .. } => {
                if std::mem::take(torn) {
                    file.write_all(b"\n").inspect_err(|_| *torn = true)?;
                }
                let before = position(file);
                // What a full disk took of a line stays there: the next line must not begin in it.
                file.write_all(lines).inspect_err(|_| *torn = position(file) != before)
            }
        }
    }
}

fn position(file: &File) -> Option<u64> {
    file.metadata().ok().map(|metadata| metadata.len())
}

/// Appending: whoever rotates the file by truncation leaves no hole.
fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
