//! NVRTC, what is built with it, and what is kept of it.

use super::{Scratch, nvrtc};
use escnet::Error;
use escnet::device::cuda::build::{ARCHS, Folder};
use escnet::device::cuda::compiled;
use escnet::device::cuda::nvrtc::{OPTIONS, Target};
use escnet::device::cuda::source::Source;
use std::path::{Path, PathBuf};

const TEXT: &str = r#"#include "common/double.cuh"
extern "C" __global__ void twice_f32(const float* x, float* y) { y[threadIdx.x] = twice(x[threadIdx.x]); }
"#;
const HEADERS: &[(&str, &str)] = &[("common/double.cuh", "#pragma once\n__device__ float twice(float x) { return 2 * x; }\n")];

fn source() -> Source<'static> {
    Source::new("twice", TEXT, HEADERS)
}

#[track_caller]
fn reason<T>(result: escnet::Result<T>) -> String {
    match result {
        Err(Error::Device { reason, .. }) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("no complaint"),
    }
}

#[test]
fn what_does_not_compile_is_an_error_with_what_the_compiler_said() {
    let Some(nvrtc) = nvrtc() else { return };
    let wrong = TEXT.replace("twice(x", "thrice(x");
    let said = reason(nvrtc.compile(&Source::new("wrong", &wrong, HEADERS), Target::Cubin("80"), &OPTIONS));
    for words in ["kernels/wrong.cu for sm_80", "wrong.cu(2)", "NVRTC_ERROR_COMPILATION", "\"thrice\" is undefined"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = reason(nvrtc.compile(&Source::new("alone", TEXT, &[]), Target::Cubin("80"), &OPTIONS));
    assert!(said.contains("common/double.cuh"), "{said}");
    let said = reason(nvrtc.compile(&source(), Target::Cubin("11"), &OPTIONS));
    assert!(said.contains("sm_11") && said.contains("gpu-architecture"), "{said}");
    assert!(reason(nvrtc.compile(&Source::new("zero", "\0", &[]), Target::Cubin("80"), &OPTIONS)).contains("zero"));
}

#[test]
fn every_architecture_is_compiled_for() {
    let Some(nvrtc) = nvrtc() else { return };
    for arch in ARCHS {
        let code = nvrtc.compile(&source(), Target::Cubin(arch), &OPTIONS).unwrap().code;
        assert!(code.starts_with(b"\x7fELF") && code.windows(9).any(|w| w == b"twice_f32"), "{arch}");
    }
    let ptx = nvrtc.compile(&source(), Target::Ptx("80"), &OPTIONS).unwrap().code;
    assert!(ptx.ends_with(b"\0") && ptx.windows(13).any(|w| w == b".target sm_80"));
}

/// A folder of a few kernels.
fn folder() -> Scratch {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("common")).unwrap();
    for (name, text) in HEADERS {
        std::fs::write(scratch.0.join(name), text).unwrap();
    }
    for stem in ["one", "two", "three"] {
        std::fs::write(scratch.0.join(format!("{stem}.cu")), TEXT.replace("twice_f32", stem)).unwrap();
    }
    scratch
}

#[test]
fn two_builds_give_the_same_bytes_and_a_check_finds_every_difference() {
    if nvrtc().is_none() {
        return;
    }
    let (here, there) = (folder(), folder());
    let count = std::sync::atomic::AtomicUsize::new(0);
    let build =
        |scratch: &Scratch| Folder::read(&scratch.0).unwrap().build(&|| _ = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).unwrap();
    let (first, second) = (build(&here), build(&there));
    assert_eq!(count.into_inner(), 6);
    assert_eq!(first.iter().map(|b| b.name.as_str()).collect::<Vec<_>>(), ["one.fatbin", "three.fatbin", "two.fatbin", "manifest.json"]);
    for (a, b) in first.iter().zip(&second) {
        assert!(a.name == b.name && a.bytes == b.bytes, "{}", a.name);
    }

    let read = Folder::read(&here.0).unwrap();
    assert_eq!(read.differences(&first).unwrap().len(), 4, "nothing is there yet");
    read.write(&first).unwrap();
    assert_eq!(read.differences(&second).unwrap(), [""; 0]);
    let images = here.0.join("images");
    let mut damaged = first[0].bytes.clone();
    damaged[100] ^= 1;
    std::fs::write(images.join("one.fatbin"), damaged).unwrap();
    std::fs::remove_file(images.join("two.fatbin")).unwrap();
    std::fs::write(images.join("gone.fatbin"), "").unwrap();
    let lines = read.differences(&second).unwrap();
    for (line, words) in lines.iter().zip(["differing from byte 100", "not there", "of no kernel"]) {
        assert!(line.contains(words), "{lines:?}");
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
    read.write(&second).unwrap();
    assert_eq!(read.differences(&second).unwrap(), [""; 0], "written over, and what is left over removed");
}

#[track_caller]
fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_was_compiled_is_kept_and_what_is_damaged_is_made_again() {
    let Some(nvrtc) = nvrtc() else { return };
    let scratch = Scratch::new();
    let deep = scratch.0.join("deep");
    let get = |arch: &str| compiled(nvrtc, &source(), arch, Some(&deep)).unwrap();
    let code = get("80");
    let [file] = &files(&deep)[..] else { panic!("{:?}", files(&deep)) };
    let kept = std::fs::read(file).unwrap();
    assert!(kept.ends_with(&code));

    // What is kept is what is taken: another whole file in its place, of the same hash, cannot be made from outside, so its time tells.
    let time = || std::fs::metadata(file).unwrap().modified().unwrap();
    let before = time();
    assert!(get("80") == code && time() == before, "found again");
    for damaged in [&kept[..kept.len() / 2], b"", &[&kept[..], b"more"].concat()] {
        std::fs::write(file, damaged).unwrap();
        assert!(get("80") == code, "a damaged file was believed");
        assert!(std::fs::read(file).unwrap() == kept, "a damaged file was left");
    }

    // Another architecture, and another source, are other files.
    assert!(get("90a") != code);
    compiled(nvrtc, &Source::new("twice", &TEXT.replace("threadIdx.x]", "0]"), HEADERS), "80", Some(&deep)).unwrap();
    assert_eq!(files(&deep).len(), 3);
    // A folder that cannot be is no error.
    assert!(compiled(nvrtc, &source(), "80", Some(&file.join("below_a_file"))).unwrap() == code);
}

#[test]
fn several_may_keep_the_same_at_once() {
    let Some(nvrtc) = nvrtc() else { return };
    let scratch = Scratch::new();
    let all: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(|| compiled(nvrtc, &source(), "80", Some(&scratch.0)).unwrap())).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.iter().all(|code| *code == all[0]));
    let [file] = &files(&scratch.0)[..] else { panic!("{:?}", files(&scratch.0)) };
    assert!(std::fs::read(file).unwrap().ends_with(&all[0]));
}
