//! The images of CUDA's kernels, the compiler that stands behind them, and what kernels are written in: `cargo nextest run --features cuda --test cuda`.
//!
//! What needs NVRTC, or the assembler, is left out where there is none, but with ESCNET_REQUIRE_DEVICES: `tools/cuda_toolkit cargo nextest run ...` has it. What needs a driver that
//! refuses images wants the stand-in: `tools/cuda_on_cpu/run ...`.

mod arena;
mod assembler;
mod choices;
mod compiler;
mod errors;
mod faults;
mod hopper;
mod hopper_faults;
mod images;
mod overlap;
mod probe;
mod ptx;
mod refused;
mod threads;
#[path = "../faults/told.rs"]
mod told;
mod uploads;

use escnet::device::cuda::nvrtc::Nvrtc;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder of the test's own, gone when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let path = std::env::temp_dir().join(format!("escnet-cuda-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn is_required() -> bool {
    std::env::var_os("ESCNET_REQUIRE_DEVICES").is_some()
}

/// The compiler; none where there is none and none is required.
fn nvrtc() -> Option<&'static Nvrtc> {
    match Nvrtc::get() {
        Ok(nvrtc) => Some(nvrtc),
        Err(e) if is_required() => panic!("{e}: tools/cuda_toolkit install"),
        Err(e) => {
            println!("left out: {e}");
            None
        }
    }
}
