//! GPUs through wgpu: Vulkan, Metal, Direct3D 12, software drivers of these, and a browser's WebGPU. It knows no operator.
//!
//! A graph's nodes say what they launch as [`Dispatch`]es; those become pipelines and bind groups once, and a replay is one submission.

/// The text of kernels: the files of `shaders/` by name, those that the others build on first.
macro_rules! shader {
    ($($name:literal),+) => { concat!($(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $name, ".wgsl"))),+) };
}
pub(crate) use shader;

mod abilities;
mod answer;
mod cache;
mod columns;
mod launch;
mod limits;
mod memory;
mod packs;
mod pieces;
mod pipeline;
mod replay;
mod sweep;

pub use crate::device::columns::{Columns, Summed};
pub use abilities::{Abilities, Fragments};
pub use launch::{Dispatch, Launch, Operand};
pub use limits::Limits;
pub(crate) use memory::Memory;
pub(crate) use replay::{Recording, Ticks};
pub use sweep::Side;

use super::choices::{Choices, Told};
use crate::device::Kernel;
use crate::device::now::now;
use crate::error::{Error, Result};
use ::wgpu as api;
use abilities::FRAGMENT_STORAGE;
use pipeline::Pipelines;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What kernels may rely on, on every adapter: WebGPU's own limits, but as few storage buffers as old browsers have.
const PORTABLE: api::Limits = api::Limits { max_storage_buffers_per_shader_stage: 8, ..api::Limits::defaults() };

/// One GPU that was opened. Copies share it.
#[derive(Debug, Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
    told: Told,
}

#[derive(Debug)]
struct Inner {
    name: String,
    /// Vulkan, Metal, ..., its driver and the driver's version.
    driver: String,
    kind: AdapterKind,
    abilities: Abilities,
    device: api::Device,
    queue: api::Queue,
    pipelines: Pipelines,
    /// The name by which what its driver makes of kernels is kept, where it gives that away.
    key: Option<String>,
    /// What went wrong outside an error scope, or why the device was lost: everything after it fails with that reason.
    broken: Arc<Mutex<Option<String>>>,
}

/// An adapter that could be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// Its number in `wgpu:N`.
    pub index: usize,
    /// What its driver calls it.
    pub name: String,
    /// Vulkan, Metal, ...
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// What it is.
    pub kind: AdapterKind,
    /// What its kernels may use.
    pub abilities: Abilities,
    /// How much it offers.
    pub limits: Limits,
}

/// What an adapter is, the better to compute on the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// With memory of its own.
    DiscreteGpu,
    /// Shares the CPU's memory.
    IntegratedGpu,
    /// A part of one, lent to a virtual machine.
    VirtualGpu,
    /// The driver does not say.
    Other,
    /// None at all: a driver that computes on the CPU.
    Software,
}

impl AdapterKind {
    fn of(adapter: &api::Adapter) -> Self {
        match adapter.get_info().device_type {
            api::DeviceType::DiscreteGpu => AdapterKind::DiscreteGpu,
            api::DeviceType::IntegratedGpu => AdapterKind::IntegratedGpu,
            api::DeviceType::VirtualGpu => AdapterKind::VirtualGpu,
            api::DeviceType::Other => AdapterKind::Other,
            api::DeviceType::Cpu => AdapterKind::Software,
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            AdapterKind::DiscreteGpu => "discrete GPU",
            AdapterKind::IntegratedGpu => "integrated GPU",
            AdapterKind::VirtualGpu => "virtual GPU",
            AdapterKind::Other => "other",
            AdapterKind::Software => "software",
        }
    }
}

async fn all_adapters() -> Vec<api::Adapter> {
    let instance = api::Instance::new(api::InstanceDescriptor::new_without_display_handle_from_env());
    if cfg!(target_arch = "wasm32") {
        // A browser shows none but the one that suits best.
        let options = api::RequestAdapterOptions { power_preference: api::PowerPreference::HighPerformance, ..Default::default() };
        return instance.request_adapter(&options).await.into_iter().collect();
    }
    instance.enumerate_adapters(api::Backends::PRIMARY).await
}

/// The adapters of this machine, in the order of their numbers; none in a browser, which shows them to [`Gpu::open_async`] alone.
pub fn adapters() -> Vec<Adapter> {
    let describe = |(index, adapter): (usize, &api::Adapter)| {
        let info = adapter.get_info();
        Adapter {
            index,
            driver: driver(&info),
            name: info.name,
            backend: info.backend.to_string(),
            kind: AdapterKind::of(adapter),
            abilities: Abilities::of(adapter),
            limits: Limits::of(adapter),
        }
    };
    let found = now(async { Ok(all_adapters().await) }).unwrap_or_default();
    found.iter().enumerate().map(describe).collect()
}

/// The driver and its version.
fn driver(info: &api::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_owned()
}

impl Gpu {
    /// Opens an adapter: the one of this number, else the fastest kind there is. Its kernels use no more than `most`.
    ///
    /// # Errors
    /// [`Error::Device`] where there is none, or it cannot do what every kernel relies on.
    pub async fn open_async(index: Option<usize>, most: Abilities) -> Result<Self> {
        let asked = index.map_or_else(|| "wgpu".to_owned(), |i| format!("wgpu:{i}"));
        let fails = |reason: String| Error::Device { device: asked.clone(), reason };
        let found = all_adapters().await;
        if found.is_empty() {
            let help = if cfg!(target_arch = "wasm32") {
                "no adapter; WebGPU may be switched off in this browser's settings, or not work with this graphics driver"
            } else {
                "no adapter; install a Vulkan driver (Mesa 25 or newer for one in software, see tools/software_gpu), or use --device cpu"
            };
            return Err(fails(help.to_owned()));
        }
        let count = found.len();
        let chosen = match index {
            Some(i) => found.into_iter().nth(i),
            None => found.into_iter().min_by_key(AdapterKind::of),
        };
        let adapter = chosen.ok_or_else(|| fails(format!("no such adapter; there are {count}, from 0")))?;
        let abilities = Abilities::of(&adapter).up_to(most);
        let descriptor = api::DeviceDescriptor {
            label: Some("escnet"),
            required_features: (adapter.features() & (api::Features::TIMESTAMP_QUERY | api::Features::PIPELINE_CACHE)) | abilities.features(),
            required_limits: wanted(&adapter.limits(), abilities),
            // SAFETY: what is experimental is used by kernels of this crate alone, and by these only on adapters that say how large matrices may be.
            experimental_features: if abilities.fragments.is_some() { unsafe { api::ExperimentalFeatures::enabled() } } else { Default::default() },
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|e| fails(e.to_string()))?;
        let broken = Arc::new(Mutex::new(None));
        let report = |broken: &Arc<Mutex<Option<String>>>, reason: String| {
            broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        };
        let (on_error, on_loss) = (broken.clone(), broken.clone());
        device.on_uncaptured_error(Arc::new(move |e: api::Error| report(&on_error, e.to_string())));
        device.set_device_lost_callback(move |reason, text| {
            if reason != api::DeviceLostReason::Destroyed {
                report(&on_loss, format!("lost: {text}"));
            }
        });
        let info = adapter.get_info();
        let driver = format!("{} {}", info.backend, driver(&info)).trim().to_owned();
        let pipelines = Pipelines::default();
        let key = device.features().contains(api::Features::PIPELINE_CACHE).then(|| api::util::pipeline_cache_key(&info)).flatten();
        // Browsers often keep it to themselves.
        let name = Some(info.name).filter(|name| !name.is_empty()).unwrap_or_else(|| "unnamed GPU".to_owned());
        let inner = Arc::new(Inner { name, driver, kind: AdapterKind::of(&adapter), abilities, device, queue, pipelines, key, broken });
        Ok(Gpu { inner, told: Told::default() })
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
        // A hash of all files of shaders/: see build.rs.
        let kernels = env!("ESCNET_SHADERS").to_owned();
        Choices { device: self.name().to_owned(), driver: self.inner.driver.clone(), kernels, variants: BTreeMap::new() }
    }

    /// What its driver calls it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it is.
    pub fn kind(&self) -> AdapterKind {
        self.inner.kind
    }

    /// What its kernels may use.
    pub fn abilities(&self) -> Abilities {
        self.inner.abilities
    }

    /// Every kernel that was made for it so far, in the order of the entry points.
    pub fn kernels(&self) -> Vec<Kernel> {
        self.inner.pipelines.kernels()
    }

    /// Keeps what its driver makes of kernels in a file of this folder, written when the GPU is let go, and takes from it what was made before: kernels that are
    /// launched from now on are there sooner. True where the file was of use. One that is damaged or another driver's is as good as none, and so is a folder
    /// that cannot be written to. Without effect where the driver has no such thing (only Vulkan has), and the second time.
    pub fn keep_pipelines(&self, folder: &Path) -> bool {
        self.inner.key.as_ref().is_some_and(|key| self.inner.pipelines.keep(self, key, folder))
    }

    /// Gives the GPU back. Whatever is still asked of it, through whichever copy, fails with [`Error::Device`].
    pub fn close(&self) {
        self.inner.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| "closed".to_owned());
        self.inner.device.destroy();
    }

    fn device(&self) -> &api::Device {
        &self.inner.device
    }

    fn queue(&self) -> &api::Queue {
        &self.inner.queue
    }

    fn error(&self, reason: impl ToString) -> Error {
        Error::Device { device: format!("wgpu ({})", self.name()), reason: reason.to_string() }
    }

    /// Fails where the device is lost or something went wrong that nobody was told of.
    fn check(&self) -> Result<()> {
        let broken = self.inner.broken.lock().unwrap_or_else(PoisonError::into_inner);
        broken.as_ref().map_or(Ok(()), |reason| Err(self.error(reason)))
    }

    /// Runs something that creates objects, and gives what the driver had against it as an error; `bytes` is what it asked for. A browser
    /// tells only later, through `broken`.
    fn scoped<T>(&self, bytes: u64, create: impl FnOnce() -> T) -> Result<T> {
        if cfg!(target_arch = "wasm32") {
            self.check()?;
            return Ok(create());
        }
        let memory = self.device().push_error_scope(api::ErrorFilter::OutOfMemory);
        let internal = self.device().push_error_scope(api::ErrorFilter::Internal);
        let validation = self.device().push_error_scope(api::ErrorFilter::Validation);
        let made = create();
        let pop = |scope: api::ErrorScopeGuard| now(async { Ok(scope.pop().await) });
        let (validation, internal, memory) = (pop(validation)?, pop(internal)?, pop(memory)?);
        if memory.is_some() {
            return Err(Error::OutOfMemory { device: format!("wgpu ({})", self.name()), bytes });
        }
        match validation.or(internal) {
            Some(e) => Err(self.error(e)),
            None => self.check().map(|()| made),
        }
    }

    /// Waits until the queue is empty.
    pub(crate) fn wait(&self) -> Result<()> {
        self.device().poll(api::PollType::wait_indefinitely()).map_err(|e| self.error(e))?;
        self.check()
    }

    /// The largest extent of a grid of workgroups along one axis.
    fn widest_grid(&self) -> u32 {
        self.device().limits().max_compute_workgroups_per_dimension
    }
}

/// The portable limits, but buffers as large as the adapter takes, and the workgroup memory that fragments need.
fn wanted(has: &api::Limits, abilities: Abilities) -> api::Limits {
    let storage = if abilities.fragments.is_some() { FRAGMENT_STORAGE } else { PORTABLE.max_compute_workgroup_storage_size };
    api::Limits {
        max_compute_workgroup_storage_size: storage,
        max_buffer_size: has.max_buffer_size,
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        ..PORTABLE.or_worse_values_from(has)
    }
}
