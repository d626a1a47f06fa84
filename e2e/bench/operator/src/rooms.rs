//! A network namespace and a mount namespace of our own: pods and Services have real addresses and names there, and
//! nothing of the machine is touched.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Every Service.
pub const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 1);
/// Who answers DNS.
pub const DNS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

const MARK: &str = "BENCH_OPERATOR_ROOMS";

/// The address of that pod.
pub fn pod(index: usize) -> Ipv4Addr {
    let first = u32::from(Ipv4Addr::new(10, 200, 1, 0));
    Ipv4Addr::from(first + u32::try_from(index).unwrap_or_default())
}

/// Whether this process lives in them.
pub fn are_our_own() -> bool {
    std::env::var_os(MARK).is_some()
}

/// Becomes this program again, inside.
pub fn move_in() -> Result<()> {
    let file = tempfile::NamedTempFile::new().context("write a resolv.conf")?;
    std::fs::write(file.path(), format!("nameserver {DNS}\n"))?;
    // An address with a prefix makes all of the prefix local on lo.
    let script = format!(
        "set -e; ip link set lo up; ip address add 10.200.0.1/15 dev lo; \
         mount --bind {} /etc/resolv.conf; exec \"$0\" \"$@\"",
        file.path().display()
    );
    let this = std::env::current_exe().context("find this program")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private", "sh", "-c", &script]).arg(this);
    command.args(std::env::args_os().skip(1)).env(MARK, "1");
    // The file stays: what is mounted must.
    file.keep().context("keep the resolv.conf")?;
    let error = command.exec();
    bail!("cannot unshare networks (package util-linux, as root): {error}")
}
