//! The images that demo and cases run, under tags made from their contents: a changed image has another name, so that
//! Kubernetes rolls to it, and an unchanged one is neither packed nor loaded again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{build, repository};
use crate::clusters::Cluster;
use crate::clusters::images::{Image, dockerfile};
use crate::clusters::tools::Tools;

/// The references of all images, after they were loaded.
#[derive(Clone, Debug)]
pub struct Images {
    /// The operator.
    pub operator: String,
    /// The runtime.
    pub server: String,
    /// The authorization server.
    pub issuer: String,
    /// redis.
    pub redis: String,
}

/// Packs and loads the images that demo and cases share.
pub fn load(cluster: &Cluster) -> Result<Images> {
    let loader = Loader::new(cluster)?;
    Ok(Images {
        operator: loader.built("mcp-operator", "Dockerfile.operator", &["mcp-operator"])?,
        server: loader.built("mcp-server", "Dockerfile.server", &["mcp-server"])?,
        issuer: loader.packed("e2e-issuer", |name| Image::of_binary(name, &build::folder().join("e2e-issuer")))?,
        redis: loader.packed("redis", |name| Image::of_installed_program(name, "redis-server"))?,
    })
}

const AGAIN: &str = "mcp-server-again";

/// Loads the runtime once more, under another name: to a cluster, what a new release is.
pub fn load_server_again(cluster: &Cluster, images: &Images) -> Result<Images> {
    let server = images.server.replacen("mcp-server", AGAIN, 1);
    let file = repository().join("Dockerfile.server");
    let loader = Loader::new(cluster)?;
    loader.load(AGAIN, &server, |archive| dockerfile::build(&file, &build::folder(), &server, archive))?;
    Ok(Images { server, ..images.clone() })
}

/// Packs and loads the official "everything" MCP server: a `container` backend that we did not write.
pub fn load_everything(cluster: &Cluster) -> Result<String> {
    let folder = repository().join("e2e/fixtures/everything");
    let modules = super::npm::install(&folder)?;
    Loader::new(cluster)?.packed("mcp-everything", |name| {
        let mut image = Image::of_installed_program(name, "node")?;
        image.files.extend(files_below(&modules, Path::new("/app/node_modules"))?);
        image.entrypoint.push("/app/node_modules/@modelcontextprotocol/server-everything/dist/index.js".to_owned());
        image.entrypoint.push("streamableHttp".to_owned());
        Ok(image)
    })
}

/// Packs and loads metrics-server and cert-manager, which are one program. Returns its image.
pub fn load_addons(cluster: &Cluster, tools: &Tools) -> Result<String> {
    let program = tools.program("addons", "addons")?;
    Loader::new(cluster)?.packed("e2e-addons", |name| Image::of_binary(name, &program))
}

/// The size in bytes of the archives that were packed last: what a node loads, layers compressed as in a registry.
pub fn archived(names: &[&'static str]) -> Result<Vec<(&'static str, u64)>> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(archives_folder()).context("read the folder of the archives")?.flatten() {
        let file = entry.file_name();
        let name = names.iter().find(|name| file.to_string_lossy().starts_with(&format!("{name}-dev-")));
        if let Some(name) = name {
            sizes.push((*name, entry.metadata()?.len()));
        }
    }
    sizes.sort();
    Ok(sizes)
}

fn archives_folder() -> PathBuf {
    repository().join("target/images")
}

struct Loader<'a> {
    cluster: &'a Cluster,
    archives: PathBuf,
}

impl<'a> Loader<'a> {
    fn new(cluster: &'a Cluster) -> Result<Self> {
        let archives = archives_folder();
        fs::create_dir_all(&archives).with_context(|| format!("create {}", archives.display()))?;
        Ok(Self { cluster, archives })
    }

    /// An image of one of our own Dockerfiles: it changes with the file and with what is copied into it.
    fn built(&self, name: &'static str, file: &str, binaries: &[&str]) -> Result<String> {
        let file = repository().join(file);
        let mut inputs = vec![file.clone()];
        inputs.extend(binaries.iter().map(|binary| build::folder().join(binary)));
        let reference = format!("{name}:dev-{}", digest(&inputs)?);
        self.load(name, &reference, |archive| dockerfile::build(&file, &build::folder(), &reference, archive))
    }

    /// An image that is packed by hand: it changes with its files.
    fn packed(&self, name: &'static str, image: impl FnOnce(&str) -> Result<Image>) -> Result<String> {
        let mut image = image(name)?;
        let mut inputs: Vec<_> = image.files.iter().map(|(here, _)| here.clone()).collect();
        inputs.sort();
        image.reference = format!("{name}:dev-{}", digest(&inputs)?);
        let reference = image.reference.clone();
        self.load(name, &reference, |archive| image.pack(archive))
    }

    fn load(&self, name: &'static str, reference: &str, pack: impl FnOnce(&Path) -> Result<()>) -> Result<String> {
        let archive = self.archives.join(format!("{}.tar", reference.replace(':', "-")));
        if !archive.exists() {
            remove_older(&self.archives, name)?;
            // Written aside: an interrupted packing leaves nothing that looks finished.
            let aside = archive.with_extension("new");
            pack(&aside).with_context(|| format!("pack {reference}"))?;
            fs::rename(&aside, &archive)?;
        }
        if !is_loaded(self.cluster, name, reference) {
            self.cluster.load_image(&archive).with_context(|| format!("load {reference}"))?;
            remember(self.cluster, name, reference)?;
        }
        Ok(reference.to_owned())
    }
}

/// What was loaded is written down in the cluster itself, so that the record ends with it.
const RECORD: [&str; 4] = ["--namespace", "kube-system", "configmap", "e2e-images"];

fn is_loaded(cluster: &Cluster, name: &str, reference: &str) -> bool {
    let path = format!("jsonpath={{.data.{name}}}");
    let [flag, namespace, kind, record] = RECORD;
    // No record, no image.
    cluster.kubectl(&["get", flag, namespace, kind, record, "-o", &path]).is_ok_and(|loaded| loaded == reference)
}

fn remember(cluster: &Cluster, name: &str, reference: &str) -> Result<()> {
    let patch = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": RECORD[3], "namespace": RECORD[1]},
        "data": {name: reference},
    });
    // One field manager an image: applying one does not take back the others.
    let manager = format!("--field-manager=e2e-{name}");
    cluster.kubectl_with_input(&["apply", "--server-side", &manager, "-f", "-"], &patch.to_string()).map(drop)
}

/// All files below a folder, and where they go. Links (npm's `.bin`) are left out.
fn files_below(folder: &Path, target: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let (here, there) = (entry.path(), target.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            files.extend(files_below(&here, &there)?);
        } else if kind.is_file() {
            files.push((here, there));
        }
    }
    Ok(files)
}

/// Archives of the same image with other contents.
fn remove_older(archives: &Path, name: &str) -> Result<()> {
    let prefix = format!("{name}-dev-");
    for entry in fs::read_dir(archives)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Ten hexadecimal digits that change with any of the files.
fn digest(files: &[PathBuf]) -> Result<String> {
    let mut all = Sha256::new();
    for path in files {
        let contents = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        all.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        all.update(Sha256::digest(&contents));
    }
    Ok(all.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_changes_with_contents_and_not_with_the_folder() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = |folder: &tempfile::TempDir, text: &str| {
            let path = folder.path().join("server");
            fs::write(&path, text).unwrap();
            digest(&[path]).unwrap()
        };
        assert_eq!(file(&a, "one"), file(&b, "one"));
        assert_ne!(file(&a, "one"), file(&b, "two"));
    }
}
