//! What a driver made of kernels, kept in a file from one run of a program to the next.
//!
//! The file is named by the adapter and this library's version. It says in its first bytes what the rest must hash to, and wgpu's own header in the rest
//! which driver wrote it. Several processes may share it: each replaces it whole.

use super::{Gpu, api};
use crate::durable::write_atomically;
use crate::error::Error;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"escnetP1";
/// The magic bytes and the hash.
const HEADER: usize = 16;

/// Written when it is dropped, where it has changed.
#[derive(Debug)]
pub(super) struct Cache {
    pub raw: api::PipelineCache,
    path: PathBuf,
    /// Hash of what the file held; none where it held nothing of use.
    known: Option<u64>,
}

impl Cache {
    /// Of the adapter that goes by `key`; none where the driver will not have it.
    pub fn open(gpu: &Gpu, key: &str, folder: &Path) -> Option<Self> {
        let path = folder.join(format!("{key}_escnet_{}.bin", env!("CARGO_PKG_VERSION")));
        let file = std::fs::read(&path).unwrap_or_default();
        let create = |data: Option<&[u8]>| {
            let descriptor = api::PipelineCacheDescriptor { label: Some("kernels"), data, fallback: true };
            // SAFETY: `data` must come from `PipelineCache::get_data`. Only what `Drop` below wrote passes `content`: its first bytes are a hash of the
            // others, so that a damaged, cut or foreign file does not. wgpu compares adapter and driver by the header that `get_data` put in. Whoever can
            // forge a file in the user's own folder of caches can replace the driver's own as well.
            gpu.scoped(0, || unsafe { gpu.device().create_pipeline_cache(&descriptor) }).ok()
        };
        if let Some((data, hash)) = content(&file)
            && let Some(raw) = create(Some(data))
        {
            return Some(Cache { raw, path, known: Some(hash) });
        }
        create(None).map(|raw| Cache { raw, path, known: None })
    }

    /// True where the file was of use.
    pub fn is_found(&self) -> bool {
        self.known.is_some()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        let Some(data) = self.raw.get_data() else { return };
        let hash = hash(&data);
        let (Some(folder), true) = (self.path.parent(), self.known != Some(hash)) else { return };
        // A folder that cannot be written to costs the next run some time, nothing more.
        let _ = std::fs::create_dir_all(folder);
        let _ = write_atomically(&self.path, |out| {
            [&MAGIC[..], &hash.to_le_bytes(), &data].into_iter().try_for_each(|part| out.write_all(part)).map_err(|e| Error::io(&self.path, e))
        });
    }
}

/// What a whole file holds behind its header, and the hash of it.
fn content(file: &[u8]) -> Option<(&[u8], u64)> {
    let (header, data) = file.split_at_checked(HEADER)?;
    let hash = hash(data);
    (header == [MAGIC, hash.to_le_bytes()].concat()).then_some((data, hash))
}

fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::{HEADER, MAGIC, content, hash};

    #[test]
    fn only_a_whole_file_has_content() {
        let data = b"what a driver wrote";
        let file = [&MAGIC[..], &hash(data).to_le_bytes(), data].concat();
        assert_eq!(content(&file), Some((&data[..], hash(data))));
        assert!((0..file.len()).all(|len| content(&file[..len]).is_none()));
        for byte in 0..file.len() {
            let mut damaged = file.clone();
            damaged[byte] ^= 1;
            assert!(content(&damaged).is_none(), "byte {byte} of {HEADER} and more");
        }
    }
}
