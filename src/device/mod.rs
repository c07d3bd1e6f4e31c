//! Devices: memory, upload, launch. They know no operator.

pub mod binding;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod choices;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod columns;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod kernel;
pub(crate) mod memory;
pub(crate) mod now;
#[cfg(feature = "wgpu")]
pub mod wgpu;

use crate::error::{Error, Result};
use crate::tensor::DType;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
pub use choices::Choices;
use cpu::Cpu;
pub use kernel::Kernel;
pub use memory::Room;
use std::path::Path;
use std::sync::Arc;

/// A place where graphs run.
#[derive(Debug, Clone)]
pub struct Device {
    pub(crate) kind: Kind,
    note: Option<Arc<str>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// The CPU path in f32.
    Cpu(Cpu),
    /// Each operator's plain f64 code: the truth that the others are tested against.
    Reference(Cpu),
    /// An NVIDIA GPU's kernels in CUDA.
    #[cfg(feature = "cuda")]
    Cuda(cuda::Gpu),
    /// A GPU's kernels in WGSL.
    #[cfg(feature = "wgpu")]
    Wgpu(wgpu::Gpu),
}

impl From<Kind> for Device {
    fn from(kind: Kind) -> Self {
        Device { kind, note: None }
    }
}

impl Device {
    /// The CPU, in f32, with this many threads; 0 takes one a core.
    ///
    /// # Errors
    /// [`Error::Device`] where the threads cannot be started.
    pub fn cpu(threads: usize) -> Result<Self> {
        Ok(Kind::Cpu(Cpu::new(threads)?).into())
    }

    /// The readable f64 code of every operator, one after another: slow, and the yardstick.
    ///
    /// # Errors
    /// As [`Device::cpu`].
    pub fn reference() -> Result<Self> {
        Ok(Kind::Reference(Cpu::new(1)?).into())
    }

    /// An NVIDIA GPU through CUDA: the device of this number (see [`cuda::adapters`]), else the first.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no driver, it is too old, there is no such device, or kernels would not run on it.
    #[cfg(feature = "cuda")]
    pub fn cuda(index: Option<usize>) -> Result<Self> {
        Ok(Kind::Cuda(cuda::Gpu::open(index)?).into())
    }

    /// The same, with operators that have a kernel of this variant made to use it, whatever they would choose: see [`crate::ops::Row::variants`].
    ///
    /// # Errors
    /// As [`Device::cuda`].
    #[cfg(feature = "cuda")]
    pub fn cuda_with(index: Option<usize>, variant: &'static str) -> Result<Self> {
        Ok(Kind::Cuda(cuda::Gpu::open(index)?.with(variant)).into())
    }

    /// This device for graphs whose operators use this variant of their kernels where they have it, as [`Device::cuda_with`]; none where kernels have no variants.
    #[cfg_attr(not(any(feature = "cuda", feature = "wgpu")), expect(unused_variables))]
    pub fn with_variant(&self, variant: &'static str) -> Option<Self> {
        match &self.kind {
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => Some(Kind::Cuda(gpu.clone().with(variant)).into()),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => Some(Kind::Wgpu(gpu.clone().with(variant)).into()),
            Kind::Cpu(_) | Kind::Reference(_) => None,
        }
    }

    /// No choices among variants yet, for this device, its driver and its kernels; none where kernels have no variants.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub fn choices(&self) -> Option<Choices> {
        self.told().map(|(_, choices)| choices)
    }

    /// Makes operators use what was measured, in sessions that begin from now on.
    ///
    /// # Errors
    /// [`Error::Device`] where the choices are of another device, driver or of other kernels, or kernels have no variants here.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub fn choose_by(&self, choices: Choices) -> Result<()> {
        let fails = || Error::Device { device: self.describe(), reason: "its kernels have no variants to choose among".to_owned() };
        let (told, own) = self.told().ok_or_else(fails)?;
        told.choose_by(&own, choices)
    }

    /// What nodes are told of variants, and what [`Device::choices`] gives.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn told(&self) -> Option<(&choices::Told, Choices)> {
        match &self.kind {
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => Some((gpu.told(), gpu.choices())),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => Some((gpu.told(), gpu.choices())),
            Kind::Cpu(_) | Kind::Reference(_) => None,
        }
    }

    /// The stand-in for CUDA's driver that computes on the CPU (`tools/cuda_on_cpu`), where it is the one that is found.
    ///
    /// # Errors
    /// [`Error::Device`] where the driver is a real one, or there is none.
    #[cfg(feature = "cuda")]
    pub fn cuda_simulated() -> Result<Self> {
        let fails = |reason: &str| Error::Device { device: "cuda:sim".to_owned(), reason: reason.to_owned() };
        let gpu = cuda::Gpu::open(None).map_err(|_| fails("no stand-in for the driver was found: run this through tools/cuda_on_cpu/run"))?;
        if gpu.is_simulated() { Ok(Kind::Cuda(gpu).into()) } else { Err(fails("the driver that was found is a real one: --device cuda")) }
    }

    /// A GPU through wgpu: the adapter of this number (see [`wgpu::adapters`]), else the fastest kind there is.
    ///
    /// # Errors
    /// [`Error::Device`] where there is none; always in a browser, see [`Device::wgpu_async`].
    #[cfg(feature = "wgpu")]
    pub fn wgpu(adapter: Option<usize>) -> Result<Self> {
        now::now(Self::wgpu_async(adapter))
    }

    /// The same; a browser opens its GPU no other way.
    ///
    /// # Errors
    /// [`Error::Device`] where there is none.
    #[cfg(feature = "wgpu")]
    pub async fn wgpu_async(adapter: Option<usize>) -> Result<Self> {
        Self::wgpu_with_async(adapter, wgpu::Abilities::ALL).await
    }

    /// A GPU whose kernels use no more than `most`, where a driver is not to be trusted with all it offers.
    ///
    /// # Errors
    /// As [`Device::wgpu`].
    #[cfg(feature = "wgpu")]
    pub fn wgpu_with(adapter: Option<usize>, most: wgpu::Abilities) -> Result<Self> {
        now::now(Self::wgpu_with_async(adapter, most))
    }

    #[cfg(feature = "wgpu")]
    async fn wgpu_with_async(adapter: Option<usize>, most: wgpu::Abilities) -> Result<Self> {
        Ok(Kind::Wgpu(wgpu::Gpu::open_async(adapter, most).await?).into())
    }

    /// A device by its name, to compute in `dtype`: `auto`, `cpu`, `reference`, `cuda`, `cuda:N`, `cuda:sim`, `wgpu` or `wgpu:N`. `auto` takes a GPU where there is one, it can
    /// compute in `dtype` and the program was built for it, through CUDA before wgpu; else the CPU. A driver in software is no GPU.
    ///
    /// # Errors
    /// [`Error::Device`] for an unknown name, where there is no such device, or it does not compute in `dtype`.
    pub fn parse(name: &str, threads: usize, dtype: DType) -> Result<Self> {
        let unknown = |reason: &str| Err(Error::Device { device: name.to_owned(), reason: reason.to_owned() });
        let (kind, number) = name.split_once(':').map_or((name, None), |(kind, number)| (kind, Some(number)));
        let device = match (kind, number.map(str::parse::<usize>)) {
            #[cfg(feature = "cuda")]
            ("cuda", None) => Self::cuda(None),
            #[cfg(feature = "cuda")]
            ("cuda", Some(Ok(number))) => Self::cuda(Some(number)),
            #[cfg(feature = "cuda")]
            ("cuda", Some(Err(_))) if number == Some("sim") => Self::cuda_simulated(),
            #[cfg(not(feature = "cuda"))]
            ("cuda", _) => unknown("this program was built without it: build with --features cuda"),
            ("auto", None) => Self::auto(threads, dtype),
            ("cpu", None) => Self::cpu(threads),
            ("reference", None) => Self::reference(),
            #[cfg(feature = "wgpu")]
            ("wgpu", None) => Self::wgpu(None),
            #[cfg(feature = "wgpu")]
            ("wgpu", Some(Ok(number))) => Self::wgpu(Some(number)),
            #[cfg(not(feature = "wgpu"))]
            ("wgpu", _) => unknown("this program was built without it: build with --features wgpu"),
            _ => unknown("unknown; known are auto, cpu, reference, cuda, cuda:N, cuda:sim, wgpu, wgpu:N"),
        }?;
        if device.holds(dtype) { Ok(device) } else { unknown(&format!("does not compute in {dtype}; use --dtype f32, or --device cpu")) }
    }

    fn auto(threads: usize, dtype: DType) -> Result<Self> {
        let mut reasons = Vec::new();
        for opened in [Self::best_cuda, Self::best_wgpu].into_iter().flat_map(|best| best()) {
            let gpu = match opened {
                Ok(gpu) if gpu.holds(dtype) => gpu,
                Ok(gpu) => {
                    reasons.push(format!("{} does not compute in {dtype}", gpu.describe()));
                    continue;
                }
                Err(reason) => {
                    reasons.push(reason.to_string());
                    continue;
                }
            };
            let note = (!reasons.is_empty()).then(|| format!("auto: {}; {} is used", reasons.join("; "), gpu.describe()).into());
            return Ok(Device { note, ..gpu });
        }
        let is_built = cfg!(any(feature = "cuda", feature = "wgpu"));
        let reason = if reasons.is_empty() { "no GPU was found".to_owned() } else { reasons.join("; ") };
        let note = is_built.then(|| format!("auto: {reason}; the CPU is used").into());
        Ok(Device { note, ..Self::cpu(threads)? })
    }

    /// The first GPU of CUDA, if its driver takes our kernels; where none can be used, why.
    #[cfg(feature = "cuda")]
    fn best_cuda() -> Vec<Result<Self>> {
        let (found, unusable) = cuda::survey();
        match found.iter().find(|adapter| !adapter.is_simulated) {
            Some(gpu) => vec![cuda::Gpu::open(Some(gpu.index)).and_then(|gpu| gpu.probe().map(|()| Kind::Cuda(gpu).into()))],
            None => unusable.into_iter().map(Err).collect(),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn best_cuda() -> Vec<Result<Self>> {
        Vec::new()
    }

    /// The fastest kind of a GPU that wgpu finds.
    #[cfg(feature = "wgpu")]
    fn best_wgpu() -> Vec<Result<Self>> {
        let gpu = wgpu::adapters().into_iter().filter(|a| a.kind != wgpu::AdapterKind::Software).min_by_key(|a| a.kind);
        gpu.map(|gpu| Self::wgpu(Some(gpu.index))).into_iter().collect()
    }

    #[cfg(not(feature = "wgpu"))]
    fn best_wgpu() -> Vec<Result<Self>> {
        Vec::new()
    }

    /// Keeps what a GPU's driver makes of kernels in this folder, and takes from there what it made before, with the choices that were kept for it (`Choices`); as good as none where it
    /// is damaged or cannot be written. Without effect on the CPU.
    #[cfg_attr(not(any(feature = "wgpu", feature = "cuda")), expect(unused_variables))]
    pub fn keep_pipelines(&self, folder: &Path) {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        self.told().iter().for_each(|(told, own)| told.take_from(folder, own));
        match &self.kind {
            Kind::Cpu(_) | Kind::Reference(_) => {}
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => gpu.keep_compiled(folder),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => drop(gpu.keep_pipelines(folder)),
        }
    }

    /// The GPU, where it is one of CUDA.
    #[cfg(feature = "cuda")]
    pub fn cuda_gpu(&self) -> Option<&cuda::Gpu> {
        if let Kind::Cuda(gpu) = &self.kind { Some(gpu) } else { None }
    }

    /// What there is to say about how `auto` chose.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The device in words: its name, and which one it is.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Cpu(cpu) => format!("cpu ({})", cpu.describe()),
            Kind::Reference(_) => "reference".to_owned(),
            #[cfg(feature = "cuda")]
            Kind::Cuda(gpu) => format!("cuda ({})", gpu.name()),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => format!("wgpu ({})", gpu.name()),
        }
    }

    /// The GPU, where it is one.
    #[cfg(feature = "wgpu")]
    pub fn gpu(&self) -> Option<&wgpu::Gpu> {
        if let Kind::Wgpu(gpu) = &self.kind { Some(gpu) } else { None }
    }

    /// CPU threads that work in it; none in a GPU.
    pub(crate) fn threads(&self) -> usize {
        match &self.kind {
            Kind::Cpu(cpu) | Kind::Reference(cpu) => cpu.threads(),
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => 0,
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => 0,
        }
    }

    /// True where runs are queued, so that reading waits for all of them; elsewhere results are there when a run returns.
    pub(crate) fn runs_ahead(&self) -> bool {
        !matches!(self.kind, Kind::Cpu(_) | Kind::Reference(_))
    }

    /// Runs work on the host, in the device's threads where it has some.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.kind {
            Kind::Cpu(cpu) | Kind::Reference(cpu) => cpu.install(work),
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => work(),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => work(),
        }
    }

    /// True where tensors of this type can lie in it.
    pub(crate) fn holds(&self, dtype: DType) -> bool {
        match &self.kind {
            Kind::Cpu(_) | Kind::Reference(_) => matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::I32),
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => matches!(dtype, DType::F32 | DType::F16 | DType::BF16 | DType::I32),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(gpu) => matches!(dtype, DType::F32 | DType::I32) || (dtype == DType::F16 && gpu.abilities().half),
        }
    }

    /// The name [`Device::parse`] understands.
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Cpu(_) => "cpu",
            Kind::Reference(_) => "reference",
            #[cfg(feature = "cuda")]
            Kind::Cuda(_) => "cuda",
            #[cfg(feature = "wgpu")]
            Kind::Wgpu(_) => "wgpu",
        }
    }
}
