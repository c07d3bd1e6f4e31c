//! `kernels/images` against the sources, without a compiler.

use escnet::device::cuda::build::{ARCHS, Folder, Usage, hash};
use escnet::device::cuda::fatbin::pieces;
use escnet::device::cuda::source::HEADERS;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn kernels() -> Folder {
    Folder::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")).unwrap()
}

#[test]
fn every_image_is_of_the_source_that_is_there() {
    let (folder, mut wrong) = (kernels(), Vec::new());
    let manifest = folder.manifest().unwrap();
    for stem in folder.stems() {
        let source = folder.source(stem).unwrap();
        match manifest.images.get(stem) {
            None => wrong.push(format!("{stem}: no image")),
            Some(record) if record.source != hash(&source) => wrong.push(format!("{stem}: another source, or another header, than its image is of")),
            Some(_) => {}
        }
    }
    let stems: BTreeSet<&str> = folder.stems().collect();
    wrong.extend(manifest.images.keys().filter(|stem| !stems.contains(stem.as_str())).map(|stem| format!("{stem}: an image without a source")));
    assert!(wrong.is_empty(), "{}\nrun `tools/cuda_toolkit escnet kernels build`", wrong.join("\n"));
}

#[test]
fn every_image_is_whole_and_holds_every_kernel_for_every_architecture() {
    let folder = kernels();
    for (stem, record) in &folder.manifest().unwrap().images {
        let image = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/images/{stem}.fatbin"))).unwrap();
        let pieces = pieces(&image);
        assert_eq!(pieces.len(), 2, "{stem}: machine code and PTX");
        assert_eq!((pieces.iter().map(|p| p.len()).sum::<usize>(), image.len()), (record.bytes, record.bytes), "{stem}");
        assert!(!record.kernels.is_empty(), "{stem}: no kernel");
        for (kernel, usage) in &record.kernels {
            // What sm_90a alone has is in the machine code for that.
            let archs = if kernel.contains("_wgmma") { BTreeSet::from(["90a"]) } else { BTreeSet::from(ARCHS) };
            assert_eq!(usage.keys().map(String::as_str).collect::<BTreeSet<_>>(), archs, "{kernel}");
            assert!(usage.values().all(|u| u.registers > 0), "{kernel}: {usage:?}");
        }
    }
}

/// Kernels that may spill registers into local memory. Numbers of 16 bits on the exact path, so that two blocks have room on a processor: attention's 8 bytes a thread
/// on sm_90a and 16 on sm_86 and 89, linear's 8 on sm_100. Few rows, so that three blocks have room: 20 on sm_100. And 8 beside 192 sums and scores a thread.
const SPILLING: [&str; 8] = [
    "attention_backward_key_wgmma128_bf16",
    "attention_backward_key_wgmma128_f16",
    "attention_backward_query_bf16",
    "attention_backward_query_f16",
    "linear_forward_bf16",
    "linear_forward_f16",
    "matmul_forward_nt_skinny_bf16",
    "matmul_forward_nt_skinny_f16",
];

#[test]
fn no_kernel_spills_registers() {
    let manifest = kernels().manifest().unwrap();
    let all = manifest.images.values().flat_map(|record| &record.kernels);
    let spilling = |(kernel, usage): (&String, &BTreeMap<String, Usage>)| {
        let archs: Vec<_> = usage.iter().filter(|(_, u)| u.spills > 0).map(|(arch, u)| format!("sm_{arch}: {} bytes", u.spills)).collect();
        (!archs.is_empty()).then(|| (kernel.clone(), archs.join(", ")))
    };
    let found: BTreeMap<String, String> = all.filter_map(spilling).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), SPILLING, "{found:#?}");
}

#[test]
fn the_program_carries_every_header() {
    let folder = kernels();
    let there: Vec<_> = folder.headers().collect();
    let names = |headers: &[(&str, &str)]| headers.iter().map(|h| h.0.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(HEADERS), names(&there), "HEADERS in src/device/cuda/source.rs against kernels/common");
    assert!(HEADERS == there, "a header that changed after the program was built");
}
