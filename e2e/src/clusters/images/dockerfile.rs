//! Builds the last stage of one of our Dockerfiles with buildah, without a daemon, a base image or a compiler: the stage
//! `builder` is replaced by a folder that holds the binaries already compiled. See [the contract](super).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive;

/// Builds `dockerfile` and writes the image as an OCI archive.
pub fn build(dockerfile: &Path, binaries: &Path, reference: &str, archive: &Path) -> Result<()> {
    let text = fs::read_to_string(dockerfile).with_context(|| format!("read {}", dockerfile.display()))?;
    let context = dockerfile.canonicalize()?.parent().map(Path::to_owned).context("a Dockerfile is in a folder")?;
    let work = tempfile::tempdir().context("create a temporary folder")?;
    let builder = stand_in_for_builder(&text, binaries, work.path())?;

    // buildah reads a reference without a host as one to be searched for; this one it only writes.
    let image = "localhost/build:latest";
    buildah(work.path())
        .args(["build", "--isolation=chroot", "--format=oci", "--quiet", "--tag", image])
        .arg(format!("--build-context=builder={}", builder.display()))
        .arg("--file")
        .arg(dockerfile)
        .arg(context)
        .run()?;
    let layout = work.path().join("layout");
    buildah(work.path()).args(["push", "--quiet", image]).arg(format!("oci:{}", layout.display())).run()?;
    archive::write_layout(&layout, reference, archive)
}

/// Makes the folder that takes the place of the stage `builder`: `/out/` with the files that the last stage copies.
fn stand_in_for_builder(dockerfile: &str, binaries: &Path, work: &Path) -> Result<PathBuf> {
    let builder = work.join("builder");
    let out = builder.join("out");
    fs::create_dir_all(&out).context("create the folder for the binaries")?;
    for name in copied_from_builder(dockerfile)? {
        let binary = binaries.join(&name);
        fs::copy(&binary, out.join(&name))
            .with_context(|| format!("the image needs {}: compile it first", binary.display()))?;
    }
    Ok(builder)
}

/// The `FILE`s of all `COPY --from=builder /out/FILE …`.
fn copied_from_builder(dockerfile: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for line in dockerfile.lines().filter(|line| line.trim_start().starts_with("COPY") && line.contains("--from=")) {
        let mut words = line.split_whitespace().skip(1).skip_while(|word| word.starts_with("--"));
        let source = words.next().unwrap_or_default();
        match source.strip_prefix("/out/") {
            Some(name) if line.contains("--from=builder ") && !name.is_empty() && !name.contains('/') => {
                names.push(name.to_owned());
            }
            _ => bail!("`{}`: the last stage may only `COPY --from=builder /out/FILE …`", line.trim()),
        }
    }
    Ok(names)
}

/// buildah with its storage in `work`, apart from whatever the machine has.
fn buildah(work: &Path) -> Buildah {
    let mut command = Command::new("buildah");
    command.arg("--storage-driver=vfs");
    command.arg(format!("--root={}", work.join("storage").display()));
    command.arg(format!("--runroot={}", work.join("run").display()));
    Buildah { command }
}

struct Buildah {
    command: Command,
}

impl Buildah {
    fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    fn run(mut self) -> Result<()> {
        let output = self.command.output().context("run buildah: is it installed?")?;
        if !output.status.success() {
            bail!("{:?} failed:\n{}", self.command, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_the_last_stage_copies_are_found() {
        let dockerfile = "FROM rust:1 AS builder\nCOPY . .\nFROM scratch\nCOPY --from=builder /out/mcp-server /mcp-server\n\
                          COPY --chmod=755 --from=builder /out/kubectl-mcp /kubectl-mcp\n";
        assert_eq!(copied_from_builder(dockerfile).unwrap(), ["mcp-server", "kubectl-mcp"]);
    }

    #[test]
    fn other_sources_are_refused_with_the_rule() {
        for line in ["COPY --from=busybox /bin/sh /sh", "COPY --from=builder /out/ /", "COPY --from=builder /src/x /x"]
        {
            let error = copied_from_builder(line).unwrap_err().to_string();
            assert!(error.contains("/out/FILE"), "{error}");
        }
    }
}
