//! Launches that begin before the one before them has ended: where the host asks for it, what the compiler makes of the wait, and what the stand-in, `checked`, tells
//! of kernels that do not wait as they must. A fault ends the use of the device, so each kernel has a process of its own.

use super::nvrtc;
use super::probe::{self, fault, is_simulated};
use super::told::{self, Wrong};
use escnet::device::cuda::build::ARCHS;
use escnet::device::cuda::nvrtc::{OPTIONS, Target};
use escnet::device::cuda::source::{HEADERS, Source};
use escnet::device::cuda::{Dispatch, Image, Operand};
use escnet::graph::Options;
use escnet::{DType, Device, Tensor, TensorType};

pub static KERNELS: Image = Image { stem: "overlap", source: include_str!("kernels/overlap.cu"), fatbin: &[] };
const LEN: usize = 128;

/// Run by the other tests, in a process for each kernel; by itself it has no kernel to run. Behind one that is right runs the one that the process is for: in a graph, or
/// one by one where the name ends with " apart".
#[test]
#[ignore = "run by the other tests, with a kernel's name"]
fn one() {
    let Some(told) = fault() else { return };
    let name = told.trim_end_matches(" apart").to_owned();
    let options = Options { checked: name != told, apart: true, ..Options::default() };
    let x = Tensor::from_i32([LEN], (0..LEN as i32).collect()).unwrap();
    let y = probe::run_with(options, &Device::cuda_simulated().unwrap(), &[x], &[TensorType::new(DType::I32, [LEN]); 2], move |launch| {
        let launched = |kernel: &str| Dispatch::new(&KERNELS, format!("overlap_{kernel}")).overlaps().rows(2).block(64);
        launch.add(launched("all_wait").tensors([Operand::Input(0), Operand::Output(0)]));
        launch.add(launched(&name).tensors([Operand::Output(0), Operand::Output(1)]));
    });
    let right = |y: &[Tensor]| y[1].as_i32().unwrap().iter().enumerate().all(|(i, &y)| y == i as i32 + 2);
    println!("said: {}", y.map_or_else(|e| e.to_string(), |y| if right(&y) { "nothing".to_owned() } else { told::BY_NUMBERS.to_owned() }));
}

fn said(kernel: &str, settings: &[(&str, &str)]) -> String {
    probe::said("overlap::one", kernel, settings)
}

const RIGHT: [&str; 4] = ["all_wait", "next_comes_first", "one_waits_for_its_block", "shared_memory_comes_first"];

#[test]
fn a_kernel_that_does_not_wait_before_it_touches_memory_is_told() {
    if !is_simulated() {
        return;
    }
    let list = told::list(KERNELS.stem);
    let mut missed = Vec::new();
    for seed in ["0", "1", "2"] {
        let settings = [("CUDA_ON_CPU_SEED", seed)];
        for way in ["", " apart"] {
            for kernel in RIGHT {
                assert_eq!(said(&format!("{kernel}{way}"), &settings), "nothing", "{kernel}{way}, seed {seed}");
            }
            for Wrong { name, class, kernel, told } in &list.fault {
                let said = said(&format!("{kernel}{way}"), &settings);
                if !told.iter().chain(&[format!("overlap_{kernel} block")]).all(|word| said.contains(word)) {
                    missed.push(format!("{name} ({class}, {kernel}{way}), seed {seed}: {said}"));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{}:\n{}", list.title, missed.join("\n"));
}

#[test]
fn launches_overlap_on_devices_and_drivers_that_have_it() {
    if !is_simulated() {
        return;
    }
    // What begins early here is told; on others it begins behind the one before it, and its numbers are right.
    for way in ["", " apart"] {
        let said = |arch, driver| said(&format!("reads_before{way}"), &[("CUDA_ON_CPU_ARCH", arch), ("CUDA_ON_CPU_DRIVER", driver)]);
        for (arch, driver) in [("90", "12030"), ("90", "13000"), ("100", "13000"), ("120", "12080")] {
            assert!(said(arch, driver).contains("before griddepcontrol.wait"), "sm_{arch}, {driver}{way}: {}", said(arch, driver));
        }
        for (arch, driver) in [("80", "13000"), ("89", "13000"), ("90", "12020"), ("100", "12000")] {
            assert_eq!(said(arch, driver), "nothing", "sm_{arch}, {driver}{way}");
        }
    }
}

/// A wait that a driver knows nothing of, or that is left out where it knows, is a kernel that reads too early.
#[test]
fn a_compiler_takes_the_wait_from_sm_90_on_and_leaves_it_out_before() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = Source::new(KERNELS.stem, KERNELS.source, HEADERS);
    for arch in ARCHS {
        nvrtc.compile(&source, Target::Cubin(arch), &OPTIONS).unwrap();
        let ptx = nvrtc.compile(&source, Target::Ptx(arch), &OPTIONS).unwrap().code;
        let text = String::from_utf8(ptx).unwrap();
        let kernel = text.split(".entry overlap_all_wait(").nth(1).unwrap().split(".entry").next().unwrap();
        let at = |words: &str| kernel.find(words);
        let [wait, next, read, write] = ["griddepcontrol.wait;", "griddepcontrol.launch_dependents;", "ld.global", "st.global"].map(at);
        assert!(read < write && read.is_some(), "sm_{arch}: {kernel}");
        if matches!(arch, "80" | "86" | "89") {
            assert_eq!((wait, next), (None, None), "sm_{arch}: {kernel}");
        } else {
            assert!(wait.is_some() && wait < next && next < read, "sm_{arch}: {kernel}");
        }
    }
}
