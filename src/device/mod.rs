//! Devices: memory, upload, launch. They know no operator.

pub mod binding;
pub mod cpu;
pub(crate) mod memory;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use crate::error::{Error, Result};
use crate::tensor::DType;
use cpu::Cpu;

/// A place where graphs run.
#[derive(Debug, Clone)]
pub struct Device(pub(crate) Kind);

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The CPU path in f32.
    Cpu(Cpu),
    /// Each operator's plain f64 code: the truth that the others are tested against.
    Reference(Cpu),
    /// A GPU's kernels in WGSL.
    #[cfg(feature = "wgpu")]
    Wgpu(wgpu::Gpu),
}

impl Device {
    /// The CPU, in f32, with this many threads; 0 takes one a core.
    ///
    /// # Errors
    /// [`Error::Device`] where the threads cannot be started.
    pub fn cpu(threads: usize) -> Result<Self> {
        Ok(Device(Kind::Cpu(Cpu::new(threads)?)))
    }

    /// The readable f64 code of every operator, one after another: slow, and the yardstick.
    ///
    /// # Errors
    /// As [`Device::cpu`].
    pub fn reference() -> Result<Self> {
        Ok(Device(Kind::Reference(Cpu::new(1)?)))
    }

    /// A GPU through wgpu: the adapter of this number (see [`wgpu::adapters`]), else the fastest kind there is.
    ///
    /// # Errors
    /// [`Error::Device`] where there is none.
    #[cfg(feature = "wgpu")]
    pub fn wgpu(adapter: Option<usize>) -> Result<Self> {
        Ok(Device(Kind::Wgpu(wgpu::Gpu::open(adapter)?)))
    }

    /// A device by its name: `auto`, `cpu`, `reference`, `wgpu` or `wgpu:N`.
    ///
    /// # Errors
    /// [`Error::Device`] for an unknown name, or where there is no such device.
    pub fn parse(name: &str, threads: usize) -> Result<Self> {
        let unknown = |reason: &str| Err(Error::Device { device: name.to_owned(), reason: reason.to_owned() });
        let (kind, number) = name.split_once(':').map_or((name, None), |(kind, number)| (kind, Some(number)));
        match (kind, number.map(str::parse::<usize>)) {
            ("auto" | "cpu", None) => Self::cpu(threads),
            ("reference", None) => Self::reference(),
            #[cfg(feature = "wgpu")]
            ("wgpu", None) => Self::wgpu(None),
            #[cfg(feature = "wgpu")]
            ("wgpu", Some(Ok(number))) => Self::wgpu(Some(number)),
            #[cfg(not(feature = "wgpu"))]
            ("wgpu", _) => unknown("this program was built without it: build with --features wgpu"),
            _ => unknown("unknown; known are auto, cpu, reference, wgpu, wgpu:N"),
        }
    }

    /// CPU threads that work in it; none in a GPU.
    pub(crate) fn threads(&self) -> usize {
        match &self.0 {
            Kind::Cpu(cpu) | Kind::Reference(cpu) => cpu.threads(),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => 0,
        }
    }

    /// Runs work on the host, in the device's threads where it has some.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Kind::Cpu(cpu) | Kind::Reference(cpu) => cpu.install(work),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => work(),
        }
    }

    /// True where tensors of this type can lie in it.
    pub(crate) fn holds(&self, dtype: DType) -> bool {
        match &self.0 {
            Kind::Cpu(_) | Kind::Reference(_) => matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::I32),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => matches!(dtype, DType::F32 | DType::I32),
        }
    }

    /// The name [`Device::parse`] understands.
    pub fn name(&self) -> &'static str {
        match &self.0 {
            Kind::Cpu(_) => "cpu",
            Kind::Reference(_) => "reference",
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => "wgpu",
        }
    }
}
