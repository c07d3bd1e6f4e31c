//! `kernels/images`: every file of kernels compiled for every architecture, and a manifest that says what from.
//!
//! An image is two fatbins, one behind the other: machine code, and PTX. Where a driver refuses the first, as one that is older than the compiler may, it is
//! given the second; of one fatbin it would have chosen itself, and chosen the machine code.

use super::fatbin::{self, NvFatbin, Part};
use super::nvrtc::{self, Nvrtc, Target};
use super::source::Source;
use crate::durable::write_atomically;
use crate::error::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What there is machine code for: Ampere, Ada, Hopper with what only it has, Blackwell.
pub const ARCHS: [&str; 6] = ["80", "86", "89", "90a", "100", "120"];
/// What the PTX is for: this and all that comes after it.
pub const PTX_ARCH: u32 = 80;
/// What the PTX says it is written in, lest drivers refuse it that are older than the compiler: the oldest that knows [`PTX_ARCH`].
pub const PTX_VERSION: &str = "7.0";
/// What the assembler is asked to say of each kernel; without effect on its code.
const REPORT: &str = "--ptxas-options=-v";
const IMAGES: &str = "images";
const MANIFEST: &str = "manifest.json";

/// A folder of kernels, read.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    headers: Vec<(String, String)>,
    /// By stem.
    sources: BTreeMap<String, String>,
}

/// What the images were made by, and what each of them is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// NVRTC's version.
    pub nvrtc: String,
    /// nvFatbin's version.
    pub nvfatbin: String,
    /// By stem.
    pub images: BTreeMap<String, Record>,
}

/// What is known of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`Source::hash`] of its source, with all options.
    pub source: String,
    /// Its length.
    pub bytes: usize,
    /// What each kernel takes, by its name and the architecture.
    pub kernels: BTreeMap<String, BTreeMap<String, Usage>>,
}

/// What a kernel takes of an architecture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of static shared memory of a block.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared: u32,
    /// Bytes of a thread's stack.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stack: u32,
    /// Bytes that are spilled from registers, stores and loads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spills: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One file of `kernels/images`.
#[derive(Debug, Clone)]
pub struct Built {
    /// Its name in that folder.
    pub name: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Folder {
    /// Reads `*.cu` of a folder, and `common/*.cuh`.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn read(path: &Path) -> Result<Self> {
        let common = files(&path.join("common"), "cuh")?;
        let headers = common.into_iter().map(|(stem, text)| (format!("common/{stem}.cuh"), text)).collect();
        Ok(Folder { path: path.to_owned(), headers, sources: files(path, "cu")? })
    }

    /// What is in it, sorted.
    pub fn stems(&self) -> impl ExactSizeIterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// Its headers, sorted: what they are included by, and their texts.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// One file, with what it includes.
    pub fn source(&self, stem: &str) -> Option<Source<'_>> {
        let headers: Vec<_> = self.headers().collect();
        self.sources.get(stem).map(|text| Source::new(stem, text, &headers))
    }

    /// Compiles all of it and calls `done` after each file.
    ///
    /// # Errors
    /// [`Error::Device`] where a library is missing, or with what it said of a file.
    pub fn build(&self, done: &(dyn Fn() + Sync)) -> Result<Vec<Built>> {
        let (nvrtc, nvfatbin) = (Nvrtc::get()?, NvFatbin::get()?);
        let all: Vec<Source> = self.stems().filter_map(|stem| self.source(stem)).collect();
        let compile = |source: &Source| {
            let made = image(nvrtc, nvfatbin, source);
            done();
            made
        };
        let images = all.par_iter().map(compile).collect::<Result<Vec<_>>>()?;
        let version = |(major, minor)| format!("{major}.{minor}");
        let mut manifest = Manifest { nvrtc: version(nvrtc.version()), nvfatbin: version(nvfatbin.version()), images: BTreeMap::new() };
        let mut files = Vec::with_capacity(images.len() + 1);
        for (stem, (bytes, record)) in self.stems().zip(images) {
            manifest.images.insert(stem.to_owned(), record);
            files.push(Built { name: format!("{stem}.fatbin"), bytes });
        }
        let text = manifest.text().map_err(|e| Error::io(MANIFEST, e.into()))?;
        files.push(Built { name: MANIFEST.to_owned(), bytes: text.into_bytes() });
        Ok(files)
    }

    /// The manifest that lies in it.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn manifest(&self) -> Result<Manifest> {
        let path = self.path.join(IMAGES).join(MANIFEST);
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        serde_json::from_slice(&text).map_err(|e| Error::io(&path, e.into()))
    }

    /// How what lies in it differs from what was built, a line for each file; without a line where it does not.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn differences(&self, built: &[Built]) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for Built { name, bytes } in built {
            let path = self.path.join(IMAGES).join(name);
            match std::fs::read(&path) {
                Ok(there) if there == *bytes => {}
                Ok(there) => {
                    let at = there.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(there.len().min(bytes.len()));
                    lines.push(format!("{}: {} bytes, built {}, differing from byte {at}", path.display(), there.len(), bytes.len()));
                }
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => lines.push(format!("{}: not there", path.display())),
                Err(e) => return Err(Error::io(path, e)),
            }
        }
        lines.extend(self.left_over(built)?.iter().map(|path| format!("{}: of no kernel", path.display())));
        Ok(lines)
    }

    /// Writes what was built, each file whole, and removes images of kernels that are gone.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn write(&self, built: &[Built]) -> Result<()> {
        let images = self.path.join(IMAGES);
        std::fs::create_dir_all(&images).map_err(|e| Error::io(&images, e))?;
        for Built { name, bytes } in built {
            let path = images.join(name);
            write_atomically(&path, |out| out.write_all(bytes).map_err(|e| Error::io(&path, e)))?;
        }
        self.left_over(built)?.into_iter().try_for_each(|path| std::fs::remove_file(&path).map_err(|e| Error::io(path, e)))
    }

    fn left_over(&self, built: &[Built]) -> Result<Vec<PathBuf>> {
        let images = self.path.join(IMAGES);
        if !images.is_dir() {
            return Ok(Vec::new());
        }
        let of_none = |path: &PathBuf| path.extension().is_some_and(|e| e == "fatbin") && !built.iter().any(|b| path.ends_with(&b.name));
        Ok(paths(&images)?.into_iter().filter(of_none).collect())
    }
}

impl Manifest {
    /// As JSON, with a line for each kernel.
    fn text(&self) -> serde_json::Result<String> {
        let mut images = Vec::with_capacity(self.images.len());
        for (stem, Record { source, bytes, kernels }) in &self.images {
            let line = |(name, usage)| Ok(format!("        {}: {}", serde_json::to_string(name)?, serde_json::to_string(usage)?));
            let lines = kernels.iter().map(line).collect::<serde_json::Result<Vec<_>>>()?;
            let head = format!("      \"source\": {},\n      \"bytes\": {bytes}", serde_json::to_string(source)?);
            images.push(format!("    {}: {{\n{head},\n      \"kernels\": {{\n{}\n      }}\n    }}", serde_json::to_string(stem)?, lines.join(",\n")));
        }
        let versions = format!("  \"nvrtc\": {},\n  \"nvfatbin\": {}", serde_json::to_string(&self.nvrtc)?, serde_json::to_string(&self.nvfatbin)?);
        Ok(format!("{{\n{versions},\n  \"images\": {{\n{}\n  }}\n}}\n", images.join(",\n")))
    }
}

/// The hash that a record holds of a source: of it, and of all that decides what becomes of it but the libraries' versions.
pub fn hash(source: &Source) -> String {
    let arch = PTX_ARCH.to_string();
    let ptx = ["compute", &arch, PTX_VERSION];
    source.hash(&[&nvrtc::OPTIONS[..], &[REPORT], &fatbin::OPTIONS, &ARCHS, &ptx].concat())
}

/// A file's image.
fn image(nvrtc: &Nvrtc, nvfatbin: &NvFatbin, source: &Source) -> Result<(Vec<u8>, Record)> {
    let mut kernels: BTreeMap<String, BTreeMap<String, Usage>> = BTreeMap::new();
    let mut cubins = Vec::with_capacity(ARCHS.len());
    for arch in ARCHS {
        let compiled = nvrtc.compile(source, Target::Cubin(arch), &[&nvrtc::OPTIONS[..], &[REPORT]].concat())?;
        for (kernel, usage) in usage(&compiled.log) {
            kernels.entry(kernel).or_default().insert(arch.to_owned(), usage);
        }
        cubins.push((arch, compiled.code));
    }
    let ptx = ptx(nvrtc, source)?;
    let parts: Vec<Part> = cubins.iter().map(|(arch, code)| Part::Cubin(arch, code)).collect();
    let mut bytes = nvfatbin.build(&source.name, &parts)?;
    bytes.extend(nvfatbin.build(&source.name, &[Part::Ptx(&PTX_ARCH.to_string(), &ptx)])?);
    let record = Record { source: hash(source), bytes: bytes.len(), kernels };
    Ok((bytes, record))
}

/// A file's PTX as its image holds it, for [`PTX_ARCH`], with a zero behind it.
///
/// # Errors
/// [`Error::Device`] with what the compiler said.
pub fn ptx(nvrtc: &Nvrtc, source: &Source) -> Result<Vec<u8>> {
    let compiled = nvrtc.compile(source, Target::Ptx(&PTX_ARCH.to_string()), &nvrtc::OPTIONS)?;
    lowered(&compiled.code).ok_or_else(|| Error::graph(&source.name, "PTX with its version", "none"))
}

/// PTX that says it is of [`PTX_VERSION`].
fn lowered(ptx: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(ptx).ok()?;
    let from = text.find("\n.version ")? + 1;
    let to = from + text[from..].find('\n')?;
    Some([&text[..from], ".version ", PTX_VERSION, &text[to..]].concat().into_bytes())
}

/// What the assembler said of each kernel.
fn usage(log: &str) -> Vec<(String, Usage)> {
    let mut found: Vec<(String, Usage)> = Vec::new();
    let mut function = "";
    for line in log.lines() {
        let quoted = || line.split('\'').nth(1);
        // The number before these words.
        let number = |words: &str| line.split(words).next().filter(|before| before.len() < line.len())?.rsplit(' ').next()?.parse::<u32>().ok();
        if line.contains("Compiling entry function") {
            found.extend(quoted().map(|name| (name.to_owned(), Usage::default())));
        } else if let Some((_, name)) = line.split_once("Function properties for ") {
            function = name.trim();
        } else if let Some((kernel, usage)) = found.last_mut() {
            // Other functions, which kernels call, are reported as well.
            if kernel == function {
                usage.stack = number(" bytes stack frame").unwrap_or(usage.stack);
                let spilled = [" bytes spill stores", " bytes spill loads"].map(|words| number(words).unwrap_or(0));
                usage.spills += spilled.iter().sum::<u32>();
            }
            usage.registers = number(" registers").unwrap_or(usage.registers);
            usage.shared = number(" bytes smem").unwrap_or(usage.shared);
        }
    }
    found
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut paths = entries.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>().map_err(|e| Error::io(folder, e))?;
    paths.sort();
    Ok(paths)
}

/// The texts of a folder's files with this extension, by stem.
fn files(folder: &Path, extension: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for path in paths(folder)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == extension)) {
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        found.extend(path.file_stem().map(|stem| (stem.to_string_lossy().into_owned(), text)));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Manifest, Record, Usage, lowered, usage};
    use std::collections::BTreeMap;

    #[test]
    fn a_manifest_is_written_a_line_a_kernel_and_read_again() {
        let usage = Usage { registers: 25, shared: 32, ..Usage::default() };
        let kernels = ["a", "b"].map(|name| (name.to_owned(), BTreeMap::from([("80".to_owned(), usage), ("90a".to_owned(), usage)])));
        let record = Record { source: "hash".to_owned(), bytes: 7, kernels: kernels.into() };
        let images = BTreeMap::from([("one".to_owned(), record.clone()), ("two".to_owned(), record)]);
        let manifest = Manifest { nvrtc: "13.0".to_owned(), nvfatbin: "13.0".to_owned(), images };
        let text = manifest.text().unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        let line = r#"        "a": {"80":{"registers":25,"shared":32},"90a":{"registers":25,"shared":32}},"#;
        assert_eq!(text.lines().filter(|l| *l == line).count(), 2, "{text}");
    }

    #[test]
    fn the_assembler_is_understood() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'a' for 'sm_90a'\n\
            ptxas info    : Function properties for a\n\
            ptxas         .     16 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads\n\
            ptxas info    : Used 25 registers, used 1 barriers, 32 bytes smem, 396 bytes cmem[0]\n\
            ptxas info    : Compiling entry function 'b' for 'sm_90a'\n\
            ptxas info    : Function properties for called\n\
            ptxas         .     99 bytes stack frame, 9 bytes spill stores, 9 bytes spill loads\n\
            ptxas info    : Function properties for b\n\
            ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 8 registers, used 0 barriers\n";
        let a = Usage { registers: 25, shared: 32, stack: 16, spills: 12 };
        assert_eq!(usage(log), [("a".to_owned(), a), ("b".to_owned(), Usage { registers: 8, ..Usage::default() })]);
    }

    #[test]
    fn the_version_is_lowered_and_nothing_else() {
        let ptx = b"// .version 1\n\n.version 9.0\n.target sm_80\n.version 9.0\0";
        assert_eq!(lowered(ptx).as_deref(), Some(&b"// .version 1\n\n.version 7.0\n.target sm_80\n.version 9.0\0"[..]));
        assert_eq!(lowered(b"nothing"), None);
    }
}
