//! Container images without Docker and without a registry: packed here, loaded into the cluster from a file.
//!
//! There are three sources:
//! - one static binary: [`Image::of_binary`];
//! - a program from a Debian package with its shared libraries: [`Image::of_installed_program`];
//! - our own Dockerfiles: [`dockerfile::build`], which runs their **last stage only**, over binaries already compiled.
//!
//! # What a Dockerfile must look like
//! ```dockerfile
//! FROM rust:1 AS builder
//! …                                # compiles, and puts its results into /out/ under their final names
//! FROM scratch                     # the last stage needs no base image: nothing can be pulled here
//! COPY --from=builder /out/mcp-operator /mcp-operator
//! USER 65532:65532
//! ENTRYPOINT ["/mcp-operator"]
//! ```
//! - The first stage is called `builder`. Here a folder takes its place, so it is never run.
//! - The last stage is `FROM scratch`, has no `RUN`, and copies single files by `COPY --from=builder /out/FILE …`: each
//!   `FILE` is looked up by that name in the folder with the compiled binaries.
//! - Anything else that it copies comes from the repository's root, which is the build context.
//! - `HEALTHCHECK` exists in Docker's format only; it is ignored here (Kubernetes ignores it too).

pub mod archive;
pub mod dockerfile;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What goes into an image with a single layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name for `image:` in a pod, with a tag.
    pub reference: String,
    /// Files: where they are here, and their absolute path in the image.
    pub files: Vec<(PathBuf, PathBuf)>,
    /// What a container runs.
    pub entrypoint: Vec<String>,
    /// Who it runs as, `uid:gid`.
    pub user: String,
}

impl Image {
    /// An image of one static binary and nothing else but an empty `/tmp`.
    pub fn of_binary(reference: &str, binary: &Path) -> Result<Self> {
        let Some(name) = binary.file_name() else { bail!("{} has no file name", binary.display()) };
        let path = Path::new("/").join(name);
        Ok(Self {
            reference: reference.to_owned(),
            entrypoint: vec![path.display().to_string()],
            files: vec![(binary.to_owned(), path)],
            user: "65532:65532".to_owned(),
        })
    }

    /// An image of a program installed on this machine, with the shared libraries that it needs.
    pub fn of_installed_program(reference: &str, program: &str) -> Result<Self> {
        let binary = find_on_path(program)?;
        Ok(Self {
            reference: reference.to_owned(),
            entrypoint: vec![binary.display().to_string()],
            files: with_libraries(&binary)?,
            user: "65532:65532".to_owned(),
        })
    }

    /// Adds a file.
    #[must_use]
    pub fn with_file(mut self, here: &Path, in_image: &str) -> Self {
        self.files.push((here.to_owned(), PathBuf::from(in_image)));
        self
    }

    /// Writes the image as an OCI archive that `Cluster::load_image` takes.
    pub fn pack(&self, archive: &Path) -> Result<()> {
        archive::write(self, archive)
    }
}

/// The name under which containerd knows what a pod calls `reference`: `redis:7` is short for a longer name.
pub fn full_reference(reference: &str) -> String {
    let (first, rest) = reference.split_once('/').unwrap_or(("", reference));
    let named = if first.contains(['.', ':']) || first == "localhost" {
        reference.to_owned()
    } else if first.is_empty() {
        format!("docker.io/library/{rest}")
    } else {
        format!("docker.io/{reference}")
    };
    let last = named.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { named } else { format!("{named}:latest") }
}

/// The program and all libraries that the dynamic loader would load for it, each at its own path.
fn with_libraries(binary: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let output = Command::new("ldd").arg(binary).output().context("run ldd")?;
    let libraries = libraries(&String::from_utf8_lossy(&output.stdout));
    let files = std::iter::once(binary.to_owned()).chain(libraries);
    // Names are often symbolic links; the image holds the file itself under the name that is asked for.
    files.map(|path| Ok((path.canonicalize().with_context(|| format!("find {}", path.display()))?, path))).collect()
}

/// `libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)`, and the loader itself without an arrow.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = ldd
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn find_on_path(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file()) {
        Some(binary) => Ok(binary),
        None => bail!("{program} is not installed: `e2e/kubernetes/build.sh node-level` installs what the tests need"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_become_the_names_that_containerd_uses() {
        assert_eq!(full_reference("redis"), "docker.io/library/redis:latest");
        assert_eq!(full_reference("mcp-server:dev"), "docker.io/library/mcp-server:dev");
        assert_eq!(full_reference("team/mcp-server:dev"), "docker.io/team/mcp-server:dev");
        assert_eq!(full_reference("localhost/pause:1"), "localhost/pause:1");
        assert_eq!(full_reference("registry.example:5000/a/b"), "registry.example:5000/a/b:latest");
    }

    #[test]
    fn libraries_are_read_from_ldd() {
        let ldd =
            "\tlinux-vdso.so.1 (0x1)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let expected = ["/lib/x/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(ldd), expected);
        assert_eq!(libraries("\tnot a dynamic executable\n"), Vec::<PathBuf>::new());
    }
}
