//! What a device loads: the image that is in the program, else what NVRTC makes of the source.

use super::build::PTX_ARCH;
use super::driver::{Context, Module};
use super::fatbin::pieces;
use super::nvrtc::{self, Nvrtc, Target};
use super::source::{HEADERS, Source};
use super::{Image, STAND_IN};
use crate::durable::write_atomically;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a file of the cache begins with; the hash of the rest is behind it.
const MAGIC: [u8; 8] = *b"escnetC1";
/// The magic bytes and the hash.
const HEADER: usize = 40;

/// The kernels of an image, in a device. What has to be compiled is kept in `folder`.
///
/// # Errors
/// [`Error::Device`] that says what the driver refused, and what to install.
pub(super) fn load(context: &Arc<Context>, image: &Image, folder: Option<&Path>) -> Result<Module> {
    let mut refused = Vec::new();
    let arch = name_of(context.arch);
    // Machine code, which is there for what the device alone has; then PTX, which lacks that: an older driver on Hopper is better served by NVRTC.
    for (piece, made_for) in pieces(image.fatbin).into_iter().zip([context.arch, PTX_ARCH]) {
        if made_for != context.arch && context.arch == 90 {
            let code = Nvrtc::get().and_then(|nvrtc| compiled(nvrtc, &Source::new(image.stem, image.source, HEADERS), &arch, folder));
            if let Ok(code) = code
                && let Ok(module) = Module::load(context, &code, context.arch)?
            {
                return Ok(module);
            }
        }
        match Module::load(context, piece, made_for)? {
            Ok(module) => return Ok(module),
            Err(words) => refused.push(words),
        }
    }
    // The stand-in has the kernels in itself, also those that were never compiled.
    if refused.is_empty() && context.device.contains(STAND_IN) {
        refused.extend(match Module::load(context, image.fatbin, context.arch)? {
            Ok(module) => return Ok(module),
            Err(words) => Some(words),
        });
    }
    refused.dedup();
    let refused = if refused.is_empty() { "there is no image".to_owned() } else { refused.join("; ") };
    let lacks = |more: String| {
        let file = image.stem;
        Error::Device {
            device: context.name.clone(),
            reason: format!("kernels/{file}.cu: no code for sm_{arch} that the driver takes ({refused}), {more}"),
        }
    };
    let install = "install a newer driver, or NVRTC: CUDA's toolkit, or nvidia-cuda-nvrtc of PyPI, where the system looks for libraries";
    let nvrtc = Nvrtc::get().map_err(|e| lacks(format!("and nothing to compile it with ({e}); {install}")))?;
    let source = Source::new(image.stem, image.source, HEADERS);
    let code = compiled(nvrtc, &source, &arch, folder).map_err(|e| lacks(format!("and it does not compile: {e}")))?;
    Module::load(context, &code, context.arch)?
        .map_err(|words| lacks(format!("nor what NVRTC {}.{} makes of it ({words})", nvrtc.version().0, nvrtc.version().1)))
}

/// The architecture of a compute capability, times ten, with what it alone has.
fn name_of(arch: u32) -> String {
    if arch == 90 { "90a".to_owned() } else { arch.to_string() }
}

/// The machine code that NVRTC makes of a source: from a file in `folder` where it did so before, else made now and kept there. Several processes may do
/// so at once. A file that is damaged, or a folder that cannot be written to, costs time and nothing else.
///
/// # Errors
/// [`Error::Device`] with what the compiler said.
pub fn compiled(nvrtc: &Nvrtc, source: &Source, arch: &str, folder: Option<&Path>) -> Result<Vec<u8>> {
    let (major, minor) = nvrtc.version();
    let version = format!("NVRTC {major}.{minor}");
    let hash = source.hash(&[&nvrtc::OPTIONS[..], &[arch, &version]].concat());
    let path = folder.map(|folder| path_of(folder, source, arch, &hash));
    if let Some(code) = path.as_ref().and_then(|path| std::fs::read(path).ok()).and_then(|file| content(&file, &hash).map(<[u8]>::to_vec)) {
        return Ok(code);
    }
    let code = nvrtc.compile(source, Target::Cubin(arch), &nvrtc::OPTIONS)?.code;
    if let (Some(folder), Some(path)) = (folder, path) {
        let _ = std::fs::create_dir_all(folder);
        let _ = write_atomically(&path, |out| {
            [&MAGIC[..], &digest(&code, &hash), &code].into_iter().try_for_each(|part| out.write_all(part)).map_err(|e| Error::io(&path, e))
        });
    }
    Ok(code)
}

fn path_of(folder: &Path, source: &Source, arch: &str, hash: &str) -> PathBuf {
    let stem = source.name.trim_end_matches(".cu");
    folder.join(format!("{stem}_sm_{arch}_{}.cubin", hash.get(..32).unwrap_or(hash)))
}

/// What a whole file of this hash holds behind its header. Only this gets to the driver, which believes what it is given.
fn content<'a>(file: &'a [u8], hash: &str) -> Option<&'a [u8]> {
    let (header, code) = file.split_at_checked(HEADER)?;
    (header == [&MAGIC[..], &digest(code, hash)].concat()).then_some(code)
}

fn digest(code: &[u8], hash: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(hash.as_bytes());
    hasher.update(code);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, content, digest};

    #[test]
    fn only_a_whole_file_of_the_hash_has_content() {
        let code = b"machine code";
        let file = [&MAGIC[..], &digest(code, "hash"), code].concat();
        assert_eq!(content(&file, "hash"), Some(&code[..]));
        assert!(content(&file, "another").is_none());
        assert!((0..file.len()).all(|len| content(&file[..len], "hash").is_none()));
        for byte in 0..file.len() {
            let mut damaged = file.clone();
            damaged[byte] ^= 1;
            assert!(content(&damaged, "hash").is_none(), "byte {byte}");
        }
    }
}
