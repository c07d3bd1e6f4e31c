//! What several test programs share.
#![allow(dead_code)]

pub mod beam_search;
pub mod cases;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub mod choices;

/// Whether a GPU is missing, whether one that stores numbers in 16 bits is, and whether one whose subgroups multiply fragments. With ESCNET_REQUIRE_DEVICES the
/// first two are never said to be: what needs them fails then.
#[cfg(feature = "wgpu")]
pub fn missing() -> [bool; 3] {
    let required = std::env::var_os("ESCNET_REQUIRE_DEVICES").is_some();
    // The one that `Device::wgpu(None)` opens.
    let gpu = escnet::device::wgpu::adapters().into_iter().min_by_key(|a| a.kind);
    let no_fragments = most().fragments.is_none() || gpu.as_ref().is_none_or(|a| a.abilities.fragments.is_none());
    [gpu.is_none() && !required, gpu.is_none_or(|a| !a.abilities.half) && !required, no_fragments]
}

/// What kernels may use while they are tested. With ESCNET_PORTABLE that is no more than every WebGPU device has.
#[cfg(feature = "wgpu")]
pub fn most() -> escnet::device::wgpu::Abilities {
    use escnet::device::wgpu::Abilities;
    if std::env::var_os("ESCNET_PORTABLE").is_some() { Abilities::PORTABLE } else { Abilities::ALL }
}

/// The GPU that kernels are tested on.
#[cfg(feature = "wgpu")]
pub fn gpu() -> escnet::Result<escnet::Device> {
    escnet::Device::wgpu_with(None, most())
}

/// The same GPU, whose kernels always use no more.
#[cfg(feature = "wgpu")]
pub fn portable_gpu() -> escnet::Result<escnet::Device> {
    escnet::Device::wgpu_with(None, escnet::device::wgpu::Abilities::PORTABLE)
}

/// The CUDA device that kernels are tested on: a GPU, or the stand-in for its driver.
#[cfg(feature = "cuda")]
pub fn cuda() -> escnet::Result<escnet::Device> {
    escnet::Device::cuda(None)
}

/// Whether there is none. With ESCNET_REQUIRE_DEVICES it is never said to be missing.
#[cfg(feature = "cuda")]
pub fn no_cuda() -> bool {
    std::env::var_os("ESCNET_REQUIRE_DEVICES").is_none() && escnet::device::cuda::adapters().is_empty()
}
