//! The OCI archive format: a tar file with an index, and everything else named by its SHA-256. Packing the same files
//! twice gives the same bytes.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::{Image, full_reference};

/// Packs `image` into the file `archive`.
pub fn write(image: &Image, archive: &Path) -> Result<()> {
    let mut layer = Blob::of_layer(image)?;
    let config = Blob::of_json(&config(image, &layer.digest))?;
    let manifest = Blob::of_json(&manifest(&config, &layer))?;
    let index = Blob::of_json(&index(&image.reference, &manifest.digest, manifest.size))?;

    let file = File::create(archive).with_context(|| format!("create {}", archive.display()))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    append(&mut tar, "oci-layout", &mut Blob::of_json(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    append(&mut tar, "index.json", &mut { index })?;
    append(&mut tar, &manifest.path(), &mut { manifest })?;
    append(&mut tar, &config.path(), &mut { config })?;
    append(&mut tar, &layer.path(), &mut layer)?;
    tar.into_inner()?.flush().with_context(|| format!("write {}", archive.display()))
}

/// Packs a folder in the OCI layout, as image builders write it, under the name `reference`.
pub fn write_layout(layout: &Path, reference: &str, archive: &Path) -> Result<()> {
    let path = layout.join("index.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let found: Value = serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let manifest = &found["manifests"][0];
    let digest = manifest["digest"].as_str().context("the image layout names no manifest")?;
    let size = manifest["size"].as_u64().context("the image layout's manifest has no size")?;
    std::fs::write(&path, index(reference, digest, size).to_string()).context("write the image's name")?;

    let file = File::create(archive).with_context(|| format!("create {}", archive.display()))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    tar.append_dir_all(".", layout)?;
    tar.into_inner()?.flush().with_context(|| format!("write {}", archive.display()))
}

/// Something in the archive that is named by its digest. Layers can be large, so contents wait in a file.
struct Blob {
    contents: File,
    size: u64,
    digest: String,
}

impl Blob {
    fn of_json(value: &Value) -> Result<Self> {
        let mut file = Hashing::new()?;
        file.write_all(value.to_string().as_bytes())?;
        file.finish()
    }

    fn of_layer(image: &Image) -> Result<Self> {
        let mut tar = tar::Builder::new(io::BufWriter::new(Hashing::new()?));
        let mut files = image.files.clone();
        files.sort_by(|a, b| a.1.cmp(&b.1));
        files.dedup_by(|a, b| a.1 == b.1);
        for (path, mode) in folders(&files) {
            tar.append_data(&mut header(EntryType::Directory, 0, mode), relative(&path), io::empty())?;
        }
        for (here, in_image) in &files {
            let file = File::open(here).with_context(|| format!("open {}", here.display()))?;
            let metadata = file.metadata()?;
            let mode = if is_executable(&metadata) { 0o755 } else { 0o644 };
            tar.append_data(&mut header(EntryType::Regular, metadata.len(), mode), relative(in_image), file)
                .with_context(|| format!("pack {}", here.display()))?;
        }
        tar.into_inner()?.into_inner().map_err(|error| error.into_error())?.finish()
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest.trim_start_matches("sha256:"))
    }
}

/// Every folder on the way to a file, and a `/tmp` that anybody may write to.
fn folders(files: &[(PathBuf, PathBuf)]) -> std::collections::BTreeMap<PathBuf, u32> {
    let parents = files.iter().flat_map(|(_, path)| path.ancestors().skip(1)).filter(|path| *path != Path::new("/"));
    let mut folders: std::collections::BTreeMap<_, _> = parents.map(|path| (path.to_owned(), 0o755)).collect();
    folders.insert(PathBuf::from("/tmp"), 0o1777);
    folders
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn is_executable(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o111 != 0
}

fn header(kind: EntryType, size: u64, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn append<W: Write>(tar: &mut tar::Builder<W>, path: &str, blob: &mut Blob) -> Result<()> {
    blob.contents.rewind()?;
    let mut header = header(EntryType::Regular, blob.size, 0o644);
    tar.append_data(&mut header, path, (&mut blob.contents).take(blob.size)).with_context(|| format!("pack {path}"))
}

fn config(image: &Image, layer: &str) -> Value {
    json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": image.entrypoint,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    })
}

/// Go's names, which are the images' names.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn manifest(config: &Blob, layer: &Blob) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.digest,
            "size": config.size,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer.digest,
            "size": layer.size,
        }],
    })
}

fn index(reference: &str, digest: &str, size: u64) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": size,
            // containerd's own: the customary annotation holds only a tag.
            "annotations": {"io.containerd.image.name": full_reference(reference)},
        }],
    })
}

/// A temporary file that counts and hashes what is written to it.
struct Hashing {
    file: File,
    hash: Sha256,
    size: u64,
}

impl Hashing {
    fn new() -> Result<Self> {
        let file = tempfile::tempfile().context("create a temporary file")?;
        Ok(Self { file, hash: Sha256::new(), size: 0 })
    }

    fn finish(self) -> Result<Blob> {
        let hex: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Blob { contents: self.file, size: self.size, digest: format!("sha256:{hex}") })
    }
}

impl Write for Hashing {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hash.update(&buffer[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn packed() -> (tempfile::TempDir, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("server");
        std::fs::write(&binary, "#!").unwrap();
        let archive = folder.path().join("image.tar");
        let library = binary.clone();
        let image = Image::of_binary("mcp-server:dev", &binary).unwrap().with_file(&library, "/usr/lib/x.so");
        image.pack(&archive).unwrap();
        let bytes = std::fs::read(archive).unwrap();
        (folder, bytes)
    }

    fn entries(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            (path, contents)
        });
        entries.collect()
    }

    fn json_of(entries: &BTreeMap<String, Vec<u8>>, digest: &Value) -> Value {
        let path = digest.as_str().unwrap().replace("sha256:", "blobs/sha256/");
        serde_json::from_slice(&entries[&path]).unwrap()
    }

    #[test]
    fn every_digest_and_size_is_that_of_its_contents() {
        let entries = entries(&packed().1);
        for (path, contents) in &entries {
            if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                let hex: String = Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(digest, hex);
            }
        }
        let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        let manifest = json_of(&entries, &index["manifests"][0]["digest"]);
        let config = json_of(&entries, &manifest["config"]["digest"]);
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        assert_eq!(config["config"]["Entrypoint"][0], "/server");
        let name = &index["manifests"][0]["annotations"]["io.containerd.image.name"];
        assert_eq!(name, "docker.io/library/mcp-server:dev");
    }

    #[test]
    fn a_layer_has_all_folders_before_its_files() {
        let entries = entries(&packed().1);
        let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
        let manifest = json_of(&entries, &index["manifests"][0]["digest"]);
        let path = manifest["layers"][0]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
        let mut layer = tar::Archive::new(entries[&path].as_slice());
        let names: Vec<_> =
            layer.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["tmp", "usr", "usr/lib", "server", "usr/lib/x.so"]);
    }

    #[test]
    fn packing_twice_gives_the_same_bytes() {
        assert_eq!(packed().1, packed().1);
    }
}
