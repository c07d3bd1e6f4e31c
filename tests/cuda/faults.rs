//! What the stand-in, `checked`, tells of copies that go on by themselves and of fragments: each kernel of `kernels/test_faults.cu` is wrong in one way, and
//! `tests/faults/told` says what is told of it. A fault ends the use of the device, so each has a process of its own.

use super::probe::{self, fault, is_simulated};
use super::told::{self, Wrong};
use escnet::device::cuda::Image;
use escnet::{DType, Device, Tensor, TensorType};

static KERNELS: Image = Image { stem: "test_faults", source: include_str!("kernels/test_faults.cu"), fatbin: &[] };

/// Run by the other test, in a process for each kernel; by itself it has no kernel to run.
#[test]
#[ignore = "run by the other test, with a kernel's name"]
fn one() {
    let Some(name) = fault() else { return };
    let x = Tensor::from_i32([64], (0..64).collect()).unwrap();
    let device = Device::cuda_simulated().unwrap();
    let threads = if name == "short_warp" { 48 } else { 64 };
    let y = probe::once(&device, &KERNELS, &format!("test_fault_{name}"), &[x], TensorType::new(DType::I32, [64]), move |dispatch| {
        dispatch.block(threads)
    });
    println!("said: {}", y.map_or_else(|e| e.to_string(), |_| "nothing".to_owned()));
}

/// What is said of a kernel where the order of threads, and whether copies are done late or at once, follow this seed.
fn said(name: &str, seed: &str) -> String {
    probe::said("faults::one", name, &[("CUDA_ON_CPU_SEED", seed)])
}

#[test]
fn each_is_told_in_every_order() {
    if !is_simulated() {
        return;
    }
    let list = told::list(KERNELS.stem);
    let mut wrong = Vec::new();
    for seed in ["0", "1", "2"] {
        assert_eq!(said("none", seed), "nothing");
        for Wrong { name, class, kernel, told } in &list.fault {
            let said = said(kernel, seed);
            // With the kernel's line, and the other one where there is one.
            let lines = if told.iter().any(|word| word.ends_with(" at")) { 2 } else { 1 };
            if !told.iter().all(|word| said.contains(word)) || said.matches("test_faults.cu:").count() < lines {
                wrong.push(format!("{name} ({class}, {kernel}), seed {seed}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", list.title, wrong.join("\n"));
}
