//! The driver API as far as it is needed: every call checked, every object given back when it is dropped.
//!
//! cudarc loads the library when it is first called and panics where there is none, so [`Context::open`] asks first. A context is made current before each
//! call, since it is current to one thread alone.

use crate::error::{Error, Result};
use cudarc::driver::sys as api;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};

/// The oldest driver whose calls are all there: 525.
const OLDEST: c_int = 12000;
/// The oldest whose graphs have edges along which a kernel may begin before the one before it has ended: 545.
const OVERLAPPING: c_int = 12030;
/// The oldest architecture that has code to wait for that: `kernels/common/overlap.cuh`.
const WAITING: u32 = 90;

/// Where one device's work is done: its primary context and its streams.
#[derive(Debug)]
pub(super) struct Context {
    /// What its driver calls it.
    pub device: String,
    /// What errors call it.
    pub name: String,
    /// Where it is on the machine's bus, as NVIDIA's other programs call it.
    pub bus: String,
    /// Its compute capability, times ten.
    pub arch: u32,
    /// Its multiprocessors.
    pub processors: usize,
    /// Whether its driver lets launches overlap.
    overlaps: bool,
    pub number: api::CUdevice,
    context: api::CUcontext,
    /// The main one, where all work is done in its order.
    pub stream: api::CUstream,
    /// What is brought here beside that: see `uploads`.
    pub copies: api::CUstream,
    /// Where launches are recorded, one recording at a time: what other threads put into the main stream meanwhile is not of it.
    records: Mutex<api::CUstream>,
}

// SAFETY: the driver may be called from any thread, on any context; these are handles of objects that live until the context is dropped.
unsafe impl Send for Context {}
// SAFETY: as above; a stream takes work from several threads one after another.
unsafe impl Sync for Context {}

/// The driver's name for what went wrong, and its words.
pub(super) fn words(status: api::CUresult) -> String {
    let text = |ask: unsafe fn(api::CUresult, *mut *const c_char) -> api::CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: `text` is where the driver puts the address of a text of its own.
        unsafe {
            ask(status, &mut text);
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
        }
    };
    let (name, more) = (text(api::cuGetErrorName), text(api::cuGetErrorString));
    if more.is_empty() || more == name { name } else { format!("{name}: {more}") }
}

/// What the driver said of a call for `device`, which asked for so many bytes.
pub(super) fn checked(status: api::CUresult, device: &str, bytes: u64) -> Result<()> {
    match status {
        api::CUresult::CUDA_SUCCESS => Ok(()),
        api::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(Error::OutOfMemory { device: device.to_owned(), bytes }),
        _ if is_final(status) => {
            Err(Error::Device { device: device.to_owned(), reason: format!("{}; this process can use it no more, a new one can", words(status)) })
        }
        _ => Err(Error::Device { device: device.to_owned(), reason: words(status) }),
    }
}

/// What makes every later call fail: the driver's own description of the status says so ("the context cannot be used").
fn is_final(status: api::CUresult) -> bool {
    use api::CUresult as Status;
    matches!(
        status,
        Status::CUDA_ERROR_ILLEGAL_ADDRESS
            | Status::CUDA_ERROR_LAUNCH_FAILED
            | Status::CUDA_ERROR_LAUNCH_TIMEOUT
            | Status::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | Status::CUDA_ERROR_MISALIGNED_ADDRESS
            | Status::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | Status::CUDA_ERROR_INVALID_PC
            | Status::CUDA_ERROR_HARDWARE_STACK_ERROR
            | Status::CUDA_ERROR_ASSERT
            | Status::CUDA_ERROR_ECC_UNCORRECTABLE
    )
}

/// The version of CUDA that the driver is of, such as 13.0.
fn known(version: c_int) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// [`known`] of the driver that is there.
pub(super) fn version() -> String {
    version_number().map(known).unwrap_or_default()
}

fn version_number() -> Option<c_int> {
    let mut version = 0;
    // SAFETY: whoever has a context has loaded the library; there is a place to write to.
    let status = unsafe { api::cuDriverGetVersion(&mut version) };
    (status == api::CUresult::CUDA_SUCCESS).then_some(version)
}

/// Whether there is a driver's library at all.
pub(super) fn is_there() -> bool {
    // SAFETY: loads a library by name, and lets go of it.
    unsafe { api::is_culib_present() }
}

/// How many devices there are.
///
/// # Errors
/// [`Error::Device`] where there is no driver, or one that is too old.
pub(super) fn count(asked: &str) -> Result<usize> {
    let fails = |reason: String| Err(Error::Device { device: asked.to_owned(), reason });
    if !is_there() {
        return fails("no CUDA driver; install NVIDIA's, or use --device wgpu or cpu".to_owned());
    }
    let (mut version, mut count) = (0, 0);
    // SAFETY: the library is there, and each call has a place to write to.
    unsafe {
        checked(api::cuInit(0), asked, 0)?;
        checked(api::cuDriverGetVersion(&mut version), asked, 0)?;
        if version < OLDEST {
            return fails(format!("the driver is of CUDA {}; {} or newer is needed", known(version), known(OLDEST)));
        }
        checked(api::cuDeviceGetCount(&mut count), asked, 0)?;
    }
    Ok(count.max(0) as usize)
}

impl Context {
    /// Opens the device of this number.
    ///
    /// # Errors
    /// [`Error::Device`] where there is none, or its kernels would not run.
    pub fn open(asked: &str, index: usize) -> Result<Self> {
        let count = count(asked)?;
        let fails = |reason: String| Err(Error::Device { device: asked.to_owned(), reason });
        if index >= count {
            return fails(format!("no such device; there are {count}, from 0"));
        }
        let (mut device, mut context) = (0, null_mut());
        let (mut major, mut minor, mut processors) = (0, 0, 0);
        let mut text = [0 as c_char; 256];
        use api::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT as PROCESSORS;
        use api::CUdevice_attribute::{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR};
        // SAFETY: the driver was initialised by `count`; each call has a place to write to, the name's with its length.
        let (name, bus) = unsafe {
            checked(api::cuDeviceGet(&mut device, index as c_int), asked, 0)?;
            checked(api::cuDeviceGetName(text.as_mut_ptr(), text.len() as c_int - 1, device), asked, 0)?;
            checked(api::cuDeviceGetAttribute(&mut major, MAJOR, device), asked, 0)?;
            checked(api::cuDeviceGetAttribute(&mut minor, MINOR, device), asked, 0)?;
            checked(api::cuDeviceGetAttribute(&mut processors, PROCESSORS, device), asked, 0)?;
            let name = CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned();
            checked(api::cuDeviceGetPCIBusId(text.as_mut_ptr(), text.len() as c_int - 1, device), asked, 0)?;
            (name, CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
        };
        if major < 8 {
            return fails(format!("{name} has compute capability {major}.{minor}; 8.0 or newer is needed (Ampere)"));
        }
        // SAFETY: as above; what is retained and made here is given back when it is dropped.
        unsafe {
            checked(api::cuDevicePrimaryCtxRetain(&mut context, device), asked, 0)?;
            let mut opened = Context {
                name: format!("cuda ({name})"),
                device: name,
                bus,
                arch: (10 * major + minor) as u32,
                processors: processors.max(1) as usize,
                overlaps: version_number().is_some_and(|version| version >= OVERLAPPING),
                number: device,
                context,
                stream: null_mut(),
                copies: null_mut(),
                records: Mutex::new(null_mut()),
            };
            opened.enter()?;
            opened.stream = opened.new_stream()?;
            opened.copies = opened.new_stream()?;
            opened.records = Mutex::new(opened.new_stream()?);
            Ok(opened)
        }
    }

    /// A stream, which does not wait for what others do on the default stream.
    fn new_stream(&self) -> Result<api::CUstream> {
        let mut stream = null_mut();
        // SAFETY: `stream` is where the driver puts it.
        self.check(unsafe { api::cuStreamCreate(&mut stream, api::CUstream_flags::CU_STREAM_NON_BLOCKING as c_uint) })?;
        Ok(stream)
    }

    pub fn check(&self, status: api::CUresult) -> Result<()> {
        checked(status, &self.name, 0)
    }

    /// Makes it the calling thread's.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained as long as `self` lives.
        self.check(unsafe { api::cuCtxSetCurrent(self.context) })
    }

    /// Waits until all work of the main stream is done.
    pub fn wait(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        self.check(unsafe { api::cuStreamSynchronize(self.stream) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: all were made in `open`, and whoever could use them holds the context. What the driver says is of no use here.
        unsafe {
            let _ = api::cuCtxSetCurrent(self.context);
            let records = *self.records.get_mut().unwrap_or_else(PoisonError::into_inner);
            for stream in [self.stream, self.copies, records].into_iter().filter(|stream| !stream.is_null()) {
                let _ = api::cuStreamDestroy_v2(stream);
            }
            let _ = api::cuDevicePrimaryCtxRelease_v2(self.number);
        }
    }
}

/// Kernels that were loaded.
#[derive(Debug)]
pub(super) struct Module {
    context: Arc<Context>,
    raw: api::CUmodule,
    /// The compute capability, times ten, that it was compiled for.
    pub arch: u32,
}

// SAFETY: a handle that the driver takes from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads a fatbin, a cubin or PTX that was made for this architecture; or says in the driver's words why it holds nothing that the driver takes.
    ///
    /// # Errors
    /// [`Error::Device`] for whatever else went wrong.
    pub fn load(context: &Arc<Context>, image: &[u8], arch: u32) -> Result<std::result::Result<Self, String>> {
        use api::CUresult as Status;
        context.enter()?;
        // Its numbers have eight bytes, and PTX ends with a zero.
        let mut words = vec![0_u64; image.len() / 8 + 1];
        bytemuck::cast_slice_mut(&mut words)[..image.len()].copy_from_slice(image);
        let mut raw = null_mut();
        // SAFETY: the image says itself how long it is, and is whole: a fatbin whose length was looked at, or what NVRTC made. The driver copies it.
        let status = unsafe { api::cuModuleLoadData(&mut raw, words.as_ptr().cast()) };
        match status {
            Status::CUDA_ERROR_INVALID_IMAGE
            | Status::CUDA_ERROR_NO_BINARY_FOR_GPU
            | Status::CUDA_ERROR_INVALID_PTX
            | Status::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
            | Status::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | Status::CUDA_ERROR_JIT_COMPILATION_DISABLED
            | Status::CUDA_ERROR_INVALID_SOURCE => Ok(Err(self::words(status))),
            _ => context.check(status).map(|()| Ok(Module { context: context.clone(), raw, arch })),
        }
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: it was loaded in `load`; functions hold on to it.
        unsafe {
            let _ = api::cuCtxSetCurrent(self.context.context);
            let _ = api::cuModuleUnload(self.raw);
        }
    }
}

/// One kernel.
#[derive(Debug)]
pub(super) struct Function {
    module: Arc<Module>,
    raw: api::CUfunction,
}

// SAFETY: a handle that the driver takes from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    /// The kernel of this name, which may use so many bytes of dynamic shared memory.
    pub fn find(module: &Arc<Module>, name: &str, shared: usize) -> Result<Self> {
        let context = &module.context;
        context.enter()?;
        let text = CString::new(name).map_err(|_| Error::graph(name, "a kernel's name", "a zero in it"))?;
        let mut raw = null_mut();
        // SAFETY: the module is loaded, and the name ends with a zero.
        context.check(unsafe { api::cuModuleGetFunction(&mut raw, module.raw, text.as_ptr()) }).map_err(|e| named(e, name))?;
        if shared > 48 << 10 {
            let most = api::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was found.
            context.check(unsafe { api::cuFuncSetAttribute(raw, most, shared as c_int) }).map_err(|e| named(e, name))?;
        }
        Ok(Function { module: module.clone(), raw })
    }
}

fn named(e: Error, name: &str) -> Error {
    match e {
        Error::Device { device, reason } => Error::Device { device, reason: format!("{name}: {reason}") },
        other => other,
    }
}

/// How much of the device a launch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub grid: [u32; 3],
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// Blocks of a cluster, along the first axis.
    pub cluster: u32,
}

/// Puts a launch into a stream of its context, behind all other work there; where it `overlaps`, it waits itself for that to be done, if device and driver have this. The arguments lie one
/// behind another, each from a start of its own.
///
/// # Safety
/// The stream is of the function's context. The arguments are those of the kernel, in number, order and type, and what it reaches through them is there until it has run.
/// One that overlaps waits.
pub(super) unsafe fn launch(
    function: &Function,
    stream: api::CUstream,
    extent: Extent,
    overlaps: bool,
    arguments: &mut [u64],
    starts: &[usize],
) -> Result<()> {
    let context = &function.module.context;
    let [grid_x, grid_y, grid_z] = extent.grid;
    // Little-endian: a word of four bytes is the first half of one of eight.
    let mut pointers: Vec<*mut c_void> = starts.iter().map(|&start| std::ptr::from_mut(&mut arguments[start]).cast()).collect();
    use api::CUlaunchAttributeID_enum::{
        CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION as CLUSTER, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION as OVERLAP,
    };
    // SAFETY: all zeros are a value of it, as of every union of plain numbers.
    let [mut cluster, mut overlap]: [api::CUlaunchAttributeValue; 2] = unsafe { std::mem::zeroed() };
    cluster.clusterDim = api::CUlaunchAttributeValue_union__bindgen_ty_1 { x: extent.cluster, y: 1, z: 1 };
    overlap.programmaticStreamSerializationAllowed = 1;
    // What is no code for such devices, as PTX for older ones, does not wait.
    let overlaps = overlaps && context.overlaps && function.module.arch >= WAITING;
    let all = [(extent.cluster > 1, CLUSTER, cluster), (overlaps, OVERLAP, overlap)];
    let asked = all.into_iter().filter(|(is_asked, ..)| *is_asked);
    let mut attributes: Vec<_> = asked.map(|(_, id, value)| api::CUlaunchAttribute { id, pad: [0; 4], value }).collect();
    let config = api::CUlaunchConfig {
        gridDimX: grid_x,
        gridDimY: grid_y,
        gridDimZ: grid_z,
        blockDimX: extent.block,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: extent.shared,
        hStream: stream,
        attrs: attributes.as_mut_ptr(),
        numAttrs: attributes.len() as c_uint,
    };
    // SAFETY: the caller's promise; the driver copies the arguments before it returns.
    unsafe { context.check(api::cuLaunchKernelEx(&config, function.raw, pointers.as_mut_ptr(), null_mut())) }
}

/// Launches that were recorded, to be submitted at once.
#[derive(Debug)]
pub(crate) struct Recorded {
    context: Arc<Context>,
    raw: api::CUgraphExec,
}

// SAFETY: a handle that the driver takes from any thread, one at a time: `launch` is called with the session borrowed.
unsafe impl Send for Recorded {}
// SAFETY: as above.
unsafe impl Sync for Recorded {}

impl Recorded {
    /// Records what `launches` puts into the stream that it is given, none of which is done now.
    pub(super) fn new(context: &Arc<Context>, launches: impl FnOnce(api::CUstream) -> Result<()>) -> Result<Self> {
        let records = context.records.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody else's as long as it is locked.
        Recorded::of_stream(context, *records, || launches(*records))
    }

    /// Records what `launches` puts into this stream of the context. What other threads put into it meanwhile would be recorded too.
    pub(super) fn of_stream(context: &Arc<Context>, stream: api::CUstream, launches: impl FnOnce() -> Result<()>) -> Result<Self> {
        context.enter()?;
        let (mut graph, mut raw) = (null_mut(), null_mut());
        // SAFETY: the stream is the context's; what is captured is ended in any case, and the graph is destroyed when it has been instantiated.
        unsafe {
            context.check(api::cuStreamBeginCapture_v2(stream, api::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))?;
            let launched = launches();
            let ended = context.check(api::cuStreamEndCapture(stream, &mut graph));
            let made = launched.and(ended).and_then(|()| context.check(api::cuGraphInstantiateWithFlags(&mut raw, graph, 0)));
            if !graph.is_null() {
                let _ = api::cuGraphDestroy(graph);
            }
            made?;
        }
        Ok(Recorded { context: context.clone(), raw })
    }

    /// Submits all of it.
    pub fn launch(&self) -> Result<()> {
        self.context.enter()?;
        // SAFETY: the graph lives, and so does what its kernels reach: the recording that holds it holds that too.
        self.context.check(unsafe { api::cuGraphLaunch(self.raw, self.context.stream) })
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: it was instantiated in `of_stream`.
        unsafe {
            let _ = api::cuCtxSetCurrent(self.context.context);
            let _ = api::cuGraphExecDestroy(self.raw);
        }
    }
}
