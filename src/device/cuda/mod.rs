//! NVIDIA's GPUs through CUDA's driver, which is loaded when it is asked for. It knows no operator.
//!
//! A graph's nodes say what they launch as [`Dispatch`]es; these are bound to buffers once, captured into a CUDA graph, and replayed. The same code runs on
//! `tools/cuda_on_cpu`, a stand-in for the driver that computes on the CPU.

/// A file of `kernels/`, by its stem.
macro_rules! image {
    ($stem:literal) => {
        $crate::device::cuda::Image {
            stem: $stem,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/", $stem, ".cu")),
            fatbin: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/images/", $stem, ".fatbin")),
        }
    };
}
pub(crate) use image;

mod allocation;
pub mod build;
mod columns;
mod downloads;
mod driver;
mod event;
pub mod fatbin;
#[cfg(feature = "vendor")]
mod guest;
mod images;
mod launch;
pub(crate) mod library;
mod limits;
mod memory;
pub mod nvrtc;
mod pages;
mod replay;
pub mod source;
mod sweep;
mod tensor_map;
mod uploads;

pub use crate::device::columns::{Columns, Summed};
pub(crate) use allocation::Part;
#[cfg(feature = "vendor")]
pub(crate) use driver::Recorded;
#[cfg(feature = "vendor")]
pub(crate) use guest::Guest;
pub use images::compiled;
pub use launch::{BLOCK, Dispatch, Launch, Operand};
pub use limits::Limits;
pub(crate) use memory::Memory;
pub(crate) use replay::{Recording, Ticks};
pub use sweep::Side;
pub use tensor_map::{Swizzle, TensorMap, Tile};

use super::choices::{Choices, Told};
use crate::error::{Error, Result};
use crate::hash::fnv1a;
use downloads::Downloads;
use driver::{Context, Function, Module};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use uploads::Uploads;

/// The kernels of one file, compiled.
#[derive(Debug)]
pub struct Image {
    /// The stem of the file.
    pub stem: &'static str,
    /// Its text.
    pub source: &'static str,
    /// What the driver loads: what [`build`] made of it.
    pub fatbin: &'static [u8],
}

/// Tells what the driver makes of images: all of them are made alike.
static SMALL: Image = image!("relu");

/// What the stand-in calls itself.
const STAND_IN: &str = "CUDA on CPU";

/// One GPU that was opened. Copies share it.
#[derive(Debug, Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    told: Told,
}

#[derive(Debug)]
struct Inner {
    // What is of the context stands before it.
    loaded: Mutex<Loaded>,
    /// See [`Gpu::arch`].
    arch: OnceLock<u32>,
    uploads: Mutex<Uploads>,
    downloads: Mutex<Downloads>,
    context: Arc<Context>,
}

#[derive(Debug, Default)]
struct Loaded {
    functions: HashMap<(String, usize), Arc<Function>>,
    modules: HashMap<&'static str, Arc<Module>>,
    /// Where what has to be compiled is kept.
    folder: Option<PathBuf>,
}

/// A device that could be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its number in `cuda:N`.
    pub index: usize,
    /// What its driver calls it.
    pub name: String,
    /// The version of CUDA that its driver is of.
    pub driver: String,
    /// Its compute capability, times ten.
    pub arch: u32,
    /// How much it has.
    pub limits: Limits,
    /// It is the stand-in that computes on the CPU.
    pub is_simulated: bool,
}

/// The devices of this machine, in the order of their numbers; none where there is no driver.
pub fn adapters() -> Vec<Adapter> {
    survey().0
}

/// [`adapters`], and why others cannot be used: the driver that is there is too old or does not start, or a device is too old. Nothing where there is no driver.
pub fn survey() -> (Vec<Adapter>, Vec<Error>) {
    let describe = |index: usize| {
        let context = Context::open(&format!("cuda:{index}"), index)?;
        let (name, limits) = (context.device.clone(), Limits::of(&context)?);
        Ok(Adapter { index, is_simulated: name.contains(STAND_IN), name, driver: driver::version(), arch: context.arch, limits })
    };
    let (mut found, mut unusable) = (Vec::new(), Vec::new());
    match driver::is_there().then(|| driver::count("cuda")) {
        None => {}
        Some(Err(reason)) => unusable.push(reason),
        Some(Ok(count)) => (0..count).map(describe).for_each(|device| match device {
            Ok(adapter) => found.push(adapter),
            Err(reason) => unusable.push(reason),
        }),
    }
    (found, unusable)
}

impl Gpu {
    /// Opens the device of this number.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where there is no driver, it is too old, there is no such device, or its kernels would not run.
    pub fn open(index: Option<usize>) -> Result<Self> {
        let asked = index.map_or_else(|| "cuda".to_owned(), |i| format!("cuda:{i}"));
        let context = Arc::new(Context::open(&asked, index.unwrap_or(0))?);
        let (loaded, uploads, downloads) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Gpu { inner: Arc::new(Inner { loaded, arch: OnceLock::new(), uploads, downloads, context }), told: Told::default() })
    }

    /// The same one, for graphs whose operators use this variant of their kernels where they have it.
    #[must_use]
    pub fn with(self, variant: &'static str) -> Self {
        Gpu { told: self.told.with(variant), ..self }
    }

    /// What it tells nodes of variants.
    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// No choices yet, for this device.
    pub(super) fn choices(&self) -> Choices {
        // The record has a hash of each file's source and of all that decides what becomes of it.
        let kernels = format!("{:016x}", fnv1a(include_str!("../../../kernels/images/manifest.json").bytes()));
        Choices { device: self.name().to_owned(), driver: self.driver(), kernels, variants: BTreeMap::new() }
    }

    /// The version of CUDA that the driver is of.
    pub fn driver(&self) -> String {
        driver::version()
    }

    /// What its driver calls it.
    #[allow(clippy::misnamed_getters)] // The context's `name` is what errors call it.
    pub fn name(&self) -> &str {
        &self.inner.context.device
    }

    /// Where it is on the machine's bus, such as 0000:41:00.0.
    pub fn bus(&self) -> &str {
        &self.inner.context.bus
    }

    /// The compute capability, times ten, that its kernels are for: its own, or less where the driver takes no more of images than their PTX, which lacks what
    /// newer devices alone have. Whoever chooses among kernels goes by this.
    pub fn arch(&self) -> u32 {
        // A driver that takes nothing is an error where a kernel is first asked for.
        *self.inner.arch.get_or_init(|| self.module(&SMALL).map_or(self.inner.context.arch, |module| module.arch))
    }

    /// How many multiprocessors it has.
    pub fn processors(&self) -> usize {
        self.inner.context.processors
    }

    /// True where the driver is a stand-in that computes on the CPU.
    pub fn is_simulated(&self) -> bool {
        self.name().contains(STAND_IN)
    }

    /// Keeps what has to be compiled in this folder, from one run to the next: see [`compiled`].
    pub fn keep_compiled(&self, folder: &Path) {
        self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner).folder = Some(folder.to_owned());
    }

    /// Whether the driver takes our kernels: those of one small file stand for all.
    ///
    /// # Errors
    /// [`crate::Error::Device`] where it takes neither machine code nor PTX of them, and they cannot be compiled here.
    pub fn probe(&self) -> Result<()> {
        self.function(&SMALL, "relu_forward_f32", 0).map(|_| ())
    }

    fn context(&self) -> &Arc<Context> {
        &self.inner.context
    }

    /// Copies to where a part begins, in the order of all other work: see [`Uploads`].
    fn write(&self, to: &Part, bytes: &[u8]) -> Result<()> {
        self.inner.uploads.lock().unwrap_or_else(PoisonError::into_inner).write(to, bytes)
    }

    /// Copies from where a part begins, once all work before is done: see [`Downloads`].
    fn read(&self, from: &Part, bytes: &mut [u8]) -> Result<()> {
        self.inner.downloads.lock().unwrap_or_else(PoisonError::into_inner).read(from, bytes)
    }

    /// A kernel, loaded when it is first asked for.
    fn function(&self, image: &'static Image, kernel: &str, shared: usize) -> Result<Arc<Function>> {
        let module = self.module(image)?;
        let mut loaded = self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kernel.to_owned(), shared);
        if let Some(function) = loaded.functions.get(&key) {
            return Ok(function.clone());
        }
        let function = Arc::new(Function::find(&module, kernel, shared)?);
        loaded.functions.insert(key, function.clone());
        Ok(function)
    }

    /// The kernels of an image, loaded when one of them is first asked for.
    fn module(&self, image: &'static Image) -> Result<Arc<Module>> {
        let mut loaded = self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = loaded.modules.get(image.stem) {
            return Ok(module.clone());
        }
        let module = Arc::new(images::load(self.context(), image, loaded.folder.as_deref())?);
        loaded.modules.insert(image.stem, module.clone());
        Ok(module)
    }
}
