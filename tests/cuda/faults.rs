//! What the stand-in, `checked`, tells of copies that go on by themselves and of fragments: each kernel of `kernels/test_faults.cu` is wrong in one way. A fault ends
//! the use of the device, so each has a process of its own.

use super::probe::{self, fault, is_simulated};
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
    let all = [
        ("not_waited", &["reads byte", "is copying to at", "and did not wait for"][..]),
        ("waited_for_another", &["reads byte", "is copying to at", "and did not wait for"]),
        ("no_barrier", &["reads byte"]),
        ("barrier_before_wait", &["reads byte", "and did not wait for"]),
        ("not_committed", &["reads byte", "and did not wait for"]),
        ("written_under_way", &["writes byte", "is copying to at"]),
        ("copied_twice", &["writes byte", "is copying to at"]),
        ("source_written", &["writes byte 0 of an allocation", "is copying from at"]),
        ("read_before", &["reads byte", "is copying to at"]),
        ("copy_out_of_bounds", &["reads 4 bytes from byte"]),
        ("copy_not_aligned", &["cp.async of 16 bytes", "not aligned"]),
        ("size_too_large", &["cp.async of 4 bytes, 5 of which"]),
        ("copy_to_global", &["no shared memory"]),
        ("rows_no_barrier", &["race: reads byte", "wrote at"]),
        ("rows_not_aligned", &["ldmatrix: row 0 of matrix 0", "not aligned to 16 bytes"]),
        ("rows_not_written", &["reads byte", "where nothing was written"]),
        ("rows_overwritten", &["race: writes byte", "read at"]),
        ("half_a_warp", &["mma"]),
        ("lanes_apart", &["mma where other lanes of its warp wait elsewhere"]),
        ("kinds_apart", &["mma "]),
        ("short_warp", &["ldmatrix in a warp that has not all of its lanes"]),
    ];
    let mut wrong = Vec::new();
    for seed in ["0", "1", "2"] {
        assert_eq!(said("none", seed), "nothing");
        for (name, words) in all {
            let said = said(name, seed);
            // With the kernel's line, and the other one where there is one.
            let lines = if words.iter().any(|word| word.ends_with(" at")) { 2 } else { 1 };
            if !words.iter().all(|word| said.contains(word)) || said.matches("test_faults.cu:").count() < lines {
                wrong.push(format!("{name}, seed {seed}: {said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
