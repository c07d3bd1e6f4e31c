//! Hashes the WGSL kernels: what was measured of them says nothing once one has changed.

#[path = "src/hash.rs"]
mod hash;

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    let mut files = Vec::new();
    find(Path::new("shaders"), &mut files)?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let name = file.to_string_lossy().replace('\\', "/");
        all.extend(name.bytes().chain([0]).chain(fs::read(&file)?).chain([0]));
    }
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=src/hash.rs");
    println!("cargo::rustc-env=ESCNET_SHADERS={:016x}", hash::fnv1a(all));
    Ok(())
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
