//! The PTX of every image, put through the assembler: a driver would do that on the day it takes no machine code, and nobody before.

use super::{Scratch, is_required, nvrtc};
use escnet::device::cuda::build::{Folder, PTX_ARCH, ptx};
use escnet::device::cuda::source::Source;
use std::path::Path;
use std::process::Command;

/// What the assembler says of a file's PTX; none where there is no assembler or no compiler, and none is required.
fn assemble(source: &Source) -> Option<Result<(), String>> {
    let text = ptx(nvrtc()?, source).unwrap();
    let scratch = Scratch::new();
    let path = scratch.0.join("kernels.ptx");
    std::fs::write(&path, text.strip_suffix(b"\0").unwrap()).unwrap();
    let arch = format!("--gpu-name=sm_{PTX_ARCH}");
    match Command::new("ptxas").arg(arch).arg(&path).arg("--output-file").arg(scratch.0.join("kernels.cubin")).output() {
        Ok(out) if out.status.success() => Some(Ok(())),
        Ok(out) => Some(Err(String::from_utf8_lossy(&out.stderr).into_owned())),
        Err(e) if is_required() => panic!("ptxas: {e}: tools/cuda_toolkit install"),
        Err(e) => {
            println!("left out: ptxas: {e}");
            None
        }
    }
}

#[test]
fn every_image_s_ptx_is_of_the_version_that_it_says() {
    let folder = Folder::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")).unwrap();
    for stem in folder.stems() {
        if let Some(Err(said)) = assemble(&folder.source(stem).unwrap()) {
            panic!("{stem}: {said}");
        }
    }
}

#[test]
fn what_is_newer_than_its_version_is_refused() {
    // Of PTX 7.8, and of sm_90.
    let text = r#"extern "C" __global__ void newer() { asm("barrier.cluster.arrive;"); }"#;
    if let Some(said) = assemble(&Source::new("newer", text, &[])) {
        assert!(said.as_ref().is_err_and(|words| words.contains("7.8")), "{said:?}");
    }
}
