//! What a driver does not take, by a stand-in that refuses as it is told to. It reads that when it is loaded, so every case is a process.

use super::probe::{fault, is_simulated, said};
use super::{Scratch, nvrtc};
use escnet::graph::{Builder, Options, Segment, Session, Store};
use escnet::ops::matmul::matmul;
use escnet::{DType, Device, TensorType};
use std::path::Path;
use std::process::Command;

/// What `escnet verify` says of softmax's golden file, where the stand-in takes images but for these kinds of them, and what is compiled is kept in `folder`.
fn with(refused: &str, folder: &Path, more: &[(&str, &str)]) -> String {
    let golden = Scratch::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ops/softmax.safetensors");
    std::fs::copy(file, golden.0.join("softmax.safetensors")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_escnet"));
    program.args(["verify", "--device", "cuda:sim"]).arg(&golden.0).env("CUDA_ON_CPU_REFUSE", refused).env("ESCNET_CACHE", folder);
    let out = program.envs(more.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.success(), text.contains(RESULT), "{text}");
    text
}

const RESULT: &str = "8 tensors are within their limits";

#[test]
fn ptx_is_given_to_a_driver_that_refuses_machine_code() {
    if !is_simulated() {
        return;
    }
    let scratch = Scratch::new();
    for (refused, arch) in [("", "90"), ("first", "89")] {
        let said = with(refused, &scratch.0, &[("CUDA_ON_CPU_ARCH", arch)]);
        assert!(said.contains(RESULT), "{said}");
    }
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0, "something was compiled");
}

#[test]
#[ignore = "run by the other test, with a driver of its own"]
fn product() {
    if fault().is_none() {
        return;
    }
    let mut b = Builder::new();
    let x = b.input("x", TensorType::new(DType::BF16, [128, 128])).unwrap();
    let y = matmul(&mut b, x, x).unwrap();
    // The second would overlap with the first, where its code waits for that.
    let y = matmul(&mut b, y, x).unwrap();
    b.output("y", y);
    let mut store = Store::new(&Device::cuda(None).unwrap());
    let mut session = Session::new(b.finish(), &mut store, Options::default()).unwrap();
    session.run(&mut store, Segment::Run).unwrap();
    session.read("y", &mut store).unwrap();
    let kernels: Vec<_> = session.times().unwrap().into_iter().flat_map(|node| node.kernels).map(|kernel| kernel.entry).collect();
    println!("said: {}", kernels.join(" "));
}

/// The stand-in alone, of these paths, without the toolkit's libraries.
fn stand_in(paths: &str) -> &str {
    paths.split(':').find(|path| Path::new(path).join("libcuda.so.1").exists()).unwrap()
}

/// Whether a compiler is found by LD_LIBRARY_PATH if at all.
fn is_nvrtc_found_by_path_alone() -> bool {
    std::env::var_os("CUDA_PATH").is_none() && !Path::new("/usr/local/cuda").exists()
}

#[test]
fn kernels_are_chosen_by_what_the_driver_takes() {
    if !is_simulated() {
        return;
    }
    let paths = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let chosen = |arch, refused, paths: &str| {
        said("refused::product", "any", &[("CUDA_ON_CPU_ARCH", arch), ("CUDA_ON_CPU_REFUSE", refused), ("LD_LIBRARY_PATH", paths)])
    };
    let is = |arch, refused, paths: &str, kernel: &str| {
        let chosen = chosen(arch, refused, paths);
        assert!(chosen.ends_with(&format!("_{kernel}_bf16")), "{arch}, refused {refused}: {chosen}");
    };
    for (arch, refused, kernel) in [("90", "", "wgmma128"), ("89", "", "mma64"), ("120", "first", "mma64")] {
        is(arch, refused, &paths, kernel);
    }
    // PTX is for compute capability 8.0, and has no warpgroups' products; NVRTC compiles for the device itself.
    if is_nvrtc_found_by_path_alone() {
        is("90", "first", stand_in(&paths), "mma64");
    }
    if nvrtc().is_some() {
        is("90", "first", &paths, "wgmma128");
        is("90", "fatbins", &paths, "wgmma128");
    }
}

#[test]
fn what_a_driver_refuses_is_compiled_and_kept() {
    if !is_simulated() || nvrtc().is_none() {
        return;
    }
    let scratch = Scratch::new();
    let names = || std::fs::read_dir(&scratch.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    for _ in 0..2 {
        let said = with("fatbins", &scratch.0, &[]);
        assert!(said.contains(RESULT), "{said}");
        assert!(matches!(&names()[..], [name] if name.starts_with("softmax_sm_90a_")), "{:?}", names());
    }
    // An architecture that this compiler does not know.
    let said = with("fatbins", &scratch.0, &[("CUDA_ON_CPU_ARCH", "81")]);
    for words in ["kernels/softmax.cu: no code for sm_81", "CUDA_ERROR_NO_BINARY_FOR_GPU", "it does not compile", "gpu-architecture"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = with("all", &scratch.0, &[]);
    assert!(said.contains("nor what NVRTC") && said.contains("CUDA_ERROR_NO_BINARY_FOR_GPU"), "{said}");
}

#[test]
fn where_nothing_serves_an_error_says_what_to_install() {
    if !is_simulated() || !is_nvrtc_found_by_path_alone() {
        return;
    }
    let paths = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let said = with("fatbins", &Scratch::new().0, &[("LD_LIBRARY_PATH", stand_in(&paths))]);
    for words in ["kernels/softmax.cu: no code for sm_90a", "CUDA_ERROR_NO_BINARY_FOR_GPU", "libnvrtc.so.13", "nvidia-cuda-nvrtc", "newer driver"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// What `escnet devices` says that `auto` is, with these settings of the stand-in.
fn auto_with(settings: &[(&str, &str)]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_escnet")).arg("devices").envs(settings.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    text
}

#[test]
fn auto_takes_a_real_gpu_whose_driver_takes_the_kernels_and_no_stand_in() {
    if !is_simulated() {
        return;
    }
    const NAME: (&str, &str) = ("CUDA_ON_CPU_NAME", "NVIDIA H200");
    assert!(auto_with(&[NAME]).contains("auto is cuda (NVIDIA H200)"));
    assert!(!auto_with(&[]).contains("auto is cuda"));
    let scratch = Scratch::new();
    let said = auto_with(&[NAME, ("CUDA_ON_CPU_REFUSE", "all"), ("ESCNET_CACHE", scratch.0.to_str().unwrap())]);
    assert!(!said.contains("auto is cuda") && said.contains("no code for sm_90a"), "{said}");
}
