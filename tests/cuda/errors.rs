//! A driver that cannot be used, or can be no more: typed errors that say what to do. The stand-in reads what it shall be when it is loaded, so every case is a process.

use super::Scratch;
use super::probe::{self, fault, is_simulated, said};
use escnet::device::cuda::Image;
use escnet::{DType, Device, Error, Result, Tensor, TensorType};
use std::path::Path;
use std::process::Command;

/// What the program says, and its exit code, where it is to use this device.
fn program(device: &str, settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let golden = Scratch::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/ops/relu.safetensors");
    std::fs::copy(file, golden.0.join("relu.safetensors")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_escnet"));
    let out = program.args(["verify", "--device", device]).arg(&golden.0).envs(settings.iter().copied()).output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn a_driver_or_device_that_cannot_be_used_is_an_error_that_says_why() {
    if !is_simulated() {
        return;
    }
    let (code, said) = program("cuda", &[]);
    assert_eq!(code, Some(0), "{said}");
    let cases = [
        ("cuda", ("CUDA_ON_CPU_NO_DEVICE", "1"), "device cuda: CUDA_ERROR_NO_DEVICE"),
        ("cuda", ("CUDA_ON_CPU_DRIVER", "11080"), "device cuda: the driver is of CUDA 11.8; 12.0 or newer is needed"),
        ("cuda:0", ("CUDA_ON_CPU_ARCH", "75"), "has compute capability 7.5; 8.0 or newer is needed (Ampere)"),
        ("cuda:99", ("CUDA_ON_CPU_ARCH", "90"), "device cuda:99: no such device; there are 1, from 0"),
    ];
    for (device, setting, words) in cases {
        let (code, said) = program(device, &[setting]);
        assert!(code == Some(4) && said.contains(words), "{setting:?}: {code:?} {said}");
    }
    // Without the stand-in there is no driver, unless the machine has one.
    if !Path::new("/dev/nvidiactl").exists() {
        let (code, said) = program("cuda", &[("LD_LIBRARY_PATH", "")]);
        assert!(code == Some(4) && said.contains("device cuda: no CUDA driver; install NVIDIA's, or use --device wgpu or cpu"), "{code:?} {said}");
    }
}

static KERNELS: Image = Image { stem: "test_faults", source: include_str!("kernels/test_faults.cu"), fatbin: &[] };

fn launch(device: &Device, kernel: &str, shared: usize) -> Result<Tensor> {
    let x = Tensor::from_i32([64], (0..64).collect())?;
    let kernel = format!("test_fault_{kernel}");
    probe::once(device, &KERNELS, &kernel, &[x], TensorType::new(DType::I32, [64]), move |dispatch| dispatch.block(64).shared(shared))
}

#[test]
#[ignore = "run by the other test, with a kernel that goes wrong"]
fn lost() {
    let Some(kernel) = fault() else { return };
    let device = Device::cuda_simulated().unwrap();
    launch(&device, "none", 0).unwrap();
    let is_lost = |e: &Error| matches!(e, Error::Device { reason, .. } if reason.contains("CUDA_ERROR_") && reason.ends_with("this process can use it no more, a new one can"));
    // The same is said of what goes wrong, of a kernel that is right after it, by whichever handle, and nothing panics where it is let go.
    let errors = [launch(&device, &kernel, 0), launch(&device, "none", 0), Device::cuda(None).and_then(|again| launch(&again, "none", 0))];
    let errors = errors.map(|outcome| outcome.map_or_else(|e| (is_lost(&e), e.to_string()), |_| (false, "nothing".to_owned())));
    drop(device);
    println!("said: {errors:?}");
}

#[test]
fn a_kernel_that_goes_wrong_ends_the_use_of_the_device_in_this_process() {
    if !is_simulated() {
        return;
    }
    let told = said("errors::lost", "copy_out_of_bounds", &[]);
    assert_eq!(told.matches("(true, ").count(), 3, "{told}");
}

#[test]
#[ignore = "run by the other test, with so many KiB of shared memory"]
fn shared() {
    let Some(kibibytes) = fault() else { return };
    let outcome = launch(&Device::cuda_simulated().unwrap(), "none", kibibytes.parse::<usize>().unwrap() << 10);
    println!("said: {}", outcome.map_or_else(|e| e.to_string(), |_| "nothing".to_owned()));
}

#[test]
fn a_block_has_as_much_shared_memory_as_its_architecture_gives() {
    if !is_simulated() {
        return;
    }
    for (arch, most) in [("80", 163), ("86", 99), ("89", 99), ("90", 227), ("100", 227), ("120", 99)] {
        let with = |kibibytes: usize| said("errors::shared", &kibibytes.to_string(), &[("CUDA_ON_CPU_ARCH", arch)]);
        assert_eq!(with(most), "nothing", "{arch}");
        assert!(with(most + 1).contains("CUDA_ERROR_INVALID_VALUE"), "{arch}: {}", with(most + 1));
    }
}
