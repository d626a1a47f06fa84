//! A server with nothing to do gives back the pages of the program that only its start or a rare request has needed.
//!
//! The kernel maps sixteen pages around each that is touched, and so after a start nearly all of the program counts as
//! resident. What is given back stays in the page cache. The next request maps what it needs again, and takes about two
//! milliseconds longer.

use std::ffi::c_void;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use procfs::ProcResult;
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use rustix::mm::{Advice, madvise};
use tokio::time::sleep;
use tracing::debug;

use crate::metrics::Metrics;

/// Without a request for so long, a server is idle.
const PAUSE: Duration = Duration::from_secs(10);

/// Gives back once whenever requests have stopped coming. Never ends.
pub(super) async fn give_back(metrics: Arc<Metrics>) {
    let (mut seen, mut given) = (metrics.answered(), false);
    loop {
        sleep(PAUSE).await;
        let answered = metrics.answered();
        if answered != seen {
            (seen, given) = (answered, false);
        } else if !given {
            given = true;
            match unmap() {
                Ok(bytes) => debug!(bytes, "idle: unused parts of the program are given back"),
                Err(error) => debug!(%error, "idle: unused parts of the program cannot be given back"),
            }
        }
    }
}

/// How many bytes are no longer mapped, until they are used again.
fn unmap() -> ProcResult<usize> {
    let process = Process::myself()?;
    let program = MMapPath::Path(process.exe()?);
    let maps = process.smaps()?;
    Ok(maps.iter().filter(|map| map.pathname == program).filter_map(unchanged).filter_map(drop_pages).sum())
}

/// The addresses of a mapping in which every page is the file's: nobody has written to any, and nobody can.
fn unchanged(map: &MemoryMap) -> Option<Range<usize>> {
    let own_pages = map.extension.map.get("Anonymous");
    if map.perms.contains(MMPermissions::WRITE) || own_pages != Some(&0) {
        return None;
    }
    Some(usize::try_from(map.address.0).ok()?..usize::try_from(map.address.1).ok()?)
}

fn drop_pages(pages: Range<usize>) -> Option<usize> {
    let start = std::ptr::with_exposed_provenance_mut::<c_void>(pages.start);
    #[expect(unsafe_code, reason = "there is no other way to say it to the kernel")]
    // SAFETY: a private mapping of a file without a page of its own. What is read from it afterwards comes from the file
    // again, the same bytes as before.
    let dropped = unsafe { madvise(start, pages.len(), Advice::LinuxDontNeed) };
    dropped.is_ok().then_some(pages.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_runs_on_without_its_pages_and_has_fewer() {
        let resident = || -> u64 {
            let process = Process::myself().expect("this process");
            let program = MMapPath::Path(process.exe().expect("its program"));
            let maps = process.smaps().expect("its maps");
            maps.iter().filter(|map| map.pathname == program).map(|map| map.extension.map["Rss"]).sum()
        };
        // Formats, sorts and compares: code and constants of many pages.
        let work = || {
            let mut words: Vec<_> = (0..100).map(|number| format!("{number:x} {:?}", char::from(number))).collect();
            words.sort_unstable();
            words.concat()
        };
        let (before, done) = (resident(), work());
        let given = unmap().expect("pages given back");
        let after = resident();
        assert!(given as u64 >= before - after && after < before, "{before} bytes were resident, {after} are");
        assert_eq!(work(), done);
    }
}
