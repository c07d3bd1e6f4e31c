//! cuDNN: convolutions by its interface of descriptors, on tensors with their channels innermost, as ours lie.

use super::status::checked;
use super::{Candidate, Library, Plan, Tensors};
use crate::bench::shapes::Subject;
use crate::device::cuda::library::{functions, open};
use crate::device::cuda::{Guest, Part};
use crate::error::{Error, Result};
use crate::ops::conv2d::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight};
use crate::ops::linear::Activation;
use crate::tensor::{DType, TensorType};
use cudarc::cudnn::sys::{
    cudnnActivationDescriptor_t as ActivationOf, cudnnActivationMode_t as Mode, cudnnConvolutionDescriptor_t as ConvolutionOf,
    cudnnConvolutionMode_t as Direction, cudnnDataType_t as Type, cudnnFilterDescriptor_t as FilterOf, cudnnHandle_t as Handle,
    cudnnMathType_t as Math, cudnnNanPropagation_t as Nans, cudnnTensorDescriptor_t as TensorOf, cudnnTensorFormat_t as Format,
};
use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{from_ref, null_mut};
use std::rc::Rc;
use std::sync::Arc;

const NAME: &str = "cudnn";
/// The most bytes that an algorithm may use beside its tensors.
const WORKSPACE: usize = 512 << 20;
/// Numbers of algorithms, of any of the three computations.
const ALGORITHMS: c_int = 8;

type Scalar = *const c_void;
type Memory = *mut c_void;

functions!(Functions {
    cudnnCreate(*mut Handle) -> c_int;
    cudnnDestroy(Handle) -> c_int;
    cudnnGetVersion() -> usize;
    cudnnGetErrorString(c_int) -> *const c_char;
    cudnnSetStream(Handle, *mut c_void) -> c_int;
    cudnnCreateTensorDescriptor(*mut TensorOf) -> c_int;
    cudnnSetTensor4dDescriptor(TensorOf, Format, Type, c_int, c_int, c_int, c_int) -> c_int;
    cudnnDestroyTensorDescriptor(TensorOf) -> c_int;
    cudnnCreateFilterDescriptor(*mut FilterOf) -> c_int;
    cudnnSetFilter4dDescriptor(FilterOf, Type, Format, c_int, c_int, c_int, c_int) -> c_int;
    cudnnDestroyFilterDescriptor(FilterOf) -> c_int;
    cudnnCreateConvolutionDescriptor(*mut ConvolutionOf) -> c_int;
    cudnnSetConvolution2dDescriptor(ConvolutionOf, c_int, c_int, c_int, c_int, c_int, c_int, Direction, Type) -> c_int;
    cudnnSetConvolutionMathType(ConvolutionOf, Math) -> c_int;
    cudnnDestroyConvolutionDescriptor(ConvolutionOf) -> c_int;
    cudnnCreateActivationDescriptor(*mut ActivationOf) -> c_int;
    cudnnSetActivationDescriptor(ActivationOf, Mode, Nans, f64) -> c_int;
    cudnnDestroyActivationDescriptor(ActivationOf) -> c_int;
    cudnnGetConvolutionForwardWorkspaceSize(Handle, TensorOf, FilterOf, ConvolutionOf, TensorOf, c_int, *mut usize) -> c_int;
    cudnnGetConvolutionBackwardDataWorkspaceSize(Handle, FilterOf, TensorOf, ConvolutionOf, TensorOf, c_int, *mut usize) -> c_int;
    cudnnGetConvolutionBackwardFilterWorkspaceSize(Handle, TensorOf, TensorOf, ConvolutionOf, FilterOf, c_int, *mut usize) -> c_int;
    cudnnConvolutionForward(
        Handle, Scalar, TensorOf, Memory, FilterOf, Memory, ConvolutionOf, c_int, Memory, usize, Scalar, TensorOf, Memory
    ) -> c_int;
    cudnnConvolutionBiasActivationForward(
        Handle, Scalar, TensorOf, Memory, FilterOf, Memory, ConvolutionOf, c_int, Memory, usize, Scalar, TensorOf, Memory, TensorOf, Memory,
        ActivationOf, TensorOf, Memory
    ) -> c_int;
    cudnnConvolutionBackwardData(
        Handle, Scalar, FilterOf, Memory, TensorOf, Memory, ConvolutionOf, c_int, Memory, usize, Scalar, TensorOf, Memory
    ) -> c_int;
    cudnnConvolutionBackwardFilter(
        Handle, Scalar, TensorOf, Memory, TensorOf, Memory, ConvolutionOf, c_int, Memory, usize, Scalar, FilterOf, Memory
    ) -> c_int;
    cudnnConvolutionBackwardBias(Handle, Scalar, TensorOf, Memory, Scalar, TensorOf, Memory) -> c_int;
});

/// The library, on one device.
pub(super) struct Cudnn {
    loaded: Rc<Loaded>,
}

struct Loaded {
    // The library stays where it is: it may have threads, and work to do when the program ends.
    functions: ManuallyDrop<Functions>,
    handle: Handle,
    guest: Guest,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: the handle was made in `load`, and whoever used it held this.
        let _ = unsafe { (self.functions.cudnnDestroy)(self.handle) };
    }
}

impl Loaded {
    fn check(&self, call: &str, status: c_int) -> Result<()> {
        checked(NAME, call, status, self.functions.cudnnGetErrorString)
    }
}

impl Cudnn {
    /// Loads it.
    ///
    /// # Errors
    /// [`Error::Device`] where it is not there.
    pub fn load(guest: &Guest) -> Result<Self> {
        let fails = |reason: String| Error::Device { device: NAME.to_owned(), reason };
        let files = [if cfg!(windows) { "cudnn64_9.dll" } else { "libcudnn.so.9" }.to_owned()];
        let how = "`pip install nvidia-cudnn-cu13` or `nvidia-cudnn-cu12`, whose folder `lib` LD_LIBRARY_PATH then names, as well as cuBLAS's";
        let library = open(&files).map_err(|reason| fails(format!("{reason}; {how}")))?;
        // SAFETY: their types are those of cudnn_ops.h and cudnn_cnn.h of cuDNN 9; an enumeration is an int.
        let functions = unsafe { Functions::of(library) }.map(ManuallyDrop::new).map_err(|e| fails(e.to_string()))?;
        let stream = guest.enter()?;
        let mut handle = null_mut();
        // SAFETY: the device is the thread's, and `handle` is where the handle is put.
        checked(NAME, "cudnnCreate", unsafe { (functions.cudnnCreate)(&mut handle) }, functions.cudnnGetErrorString)?;
        let loaded = Loaded { functions, handle, guest: guest.clone() };
        // SAFETY: the stream lives as long as the guest.
        loaded.check("cudnnSetStream", unsafe { (loaded.functions.cudnnSetStream)(handle, stream) })?;
        Ok(Cudnn { loaded: Rc::new(loaded) })
    }
}

/// Which of the three products.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pass {
    /// y from x and w; then what is added, and ReLU.
    Forward { bias: bool, residual: bool, relu: bool },
    /// dx from dy and w.
    Input,
    /// dw from dy and x; then what dy adds up to, pixel by pixel.
    Weight { bias: bool },
}

/// One convolution.
#[derive(Debug, Clone, Copy)]
struct Convolution {
    pass: Pass,
    stride: usize,
    padding: usize,
    /// [B, H, W, I], [O, KH, KW, I] and [B, OH, OW, O]; of gradients these are those of x, w and y too.
    x: TensorType,
    w: TensorType,
    y: TensorType,
}

impl Library for Cudnn {
    fn version(&self) -> String {
        // SAFETY: it takes nothing.
        let version = unsafe { (self.loaded.functions.cudnnGetVersion)() };
        // 91002 is 9.10.2.
        format!("cuDNN {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    fn plans(&self, subject: &Subject) -> Result<Vec<Plan>> {
        ways(subject).into_iter().map(|(way, part, without)| Ok(Plan { part, without, candidates: self.candidates(way)? })).collect()
    }
}

/// The convolutions that compute a subject, with what each of them leaves out.
fn ways(subject: &Subject) -> Vec<(Convolution, Option<Subject>, &'static str)> {
    let input = |i: usize| subject.inputs[i].0;
    let output = |i: usize| subject.outputs[i].0;
    let is_wanted = |i: usize| subject.outputs.get(i).is_some_and(|(_, wanted)| *wanted);
    let outputs = |wanted: [bool; 2]| subject.outputs.iter().zip(wanted).map(|((ty, _), wanted)| (*ty, wanted)).collect::<Vec<_>>();
    if let Some(&conv) = subject.op.downcast::<Conv2d>() {
        let Conv2d { stride, padding, bias, residual, .. } = conv;
        let of = |pass: Pass| Convolution { pass, stride, padding, x: input(0), w: input(1), y: output(0) };
        let relu = conv.activation == Activation::Relu;
        let moments = conv.moments.then(|| Subject { outputs: outputs([true, false]), ..subject.clone() });
        let whole = (of(Pass::Forward { bias, residual, relu }), moments, if conv.moments { "moments" } else { "" });
        if !(bias || residual || relu) {
            return vec![whole];
        }
        let op = Arc::new(Conv2d { bias: false, residual: false, activation: Activation::None, moments: false, ..conv });
        let bare = Subject { op, inputs: subject.inputs[..2].to_vec(), outputs: outputs([true, false])[..1].to_vec(), ..subject.clone() };
        vec![whole, (of(Pass::Forward { bias: false, residual: false, relu: false }), Some(bare), "what follows")]
    } else if let Some(&Conv2dBackwardInput { stride, padding, .. }) = subject.op.downcast() {
        vec![(Convolution { pass: Pass::Input, stride, padding, x: output(0), w: input(1), y: input(0) }, None, "")]
    } else if let Some(&Conv2dBackwardWeight { stride, padding, .. }) = subject.op.downcast() {
        vec![(Convolution { pass: Pass::Weight { bias: is_wanted(1) }, stride, padding, x: input(1), w: output(0), y: input(0) }, None, "")]
    } else {
        Vec::new()
    }
}

/// What a convolution is described by, given back when it is dropped.
struct Described {
    loaded: Rc<Loaded>,
    convolution: Convolution,
    x: TensorOf,
    y: TensorOf,
    /// \[O\]
    bias: TensorOf,
    w: FilterOf,
    of: ConvolutionOf,
    activation: ActivationOf,
    /// Zeros for a bias that there is none of.
    zeros: Part,
}

/// The number as the interface takes it.
fn int(n: usize) -> Result<c_int> {
    c_int::try_from(n).map_err(|_| Error::graph(NAME, "extents below 2^31", n))
}

impl Described {
    fn new(loaded: &Rc<Loaded>, convolution: Convolution) -> Result<Self> {
        let Convolution { stride, padding, x, w, y, .. } = convolution;
        let ty = match x.dtype {
            DType::F16 => Type::CUDNN_DATA_HALF,
            DType::BF16 => Type::CUDNN_DATA_BFLOAT16,
            _ => Type::CUDNN_DATA_FLOAT,
        };
        let mut made = Described {
            loaded: loaded.clone(),
            convolution,
            x: null_mut(),
            y: null_mut(),
            bias: null_mut(),
            w: null_mut(),
            of: null_mut(),
            activation: null_mut(),
            zeros: loaded.guest.allocate(4 * w.shape[0])?,
        };
        let f = &loaded.functions;
        // Extents come as N, C, H, W and K, C, R, S, whatever lies innermost.
        for (to, [n, h, width, c]) in [(&mut made.x, four(&x)), (&mut made.y, four(&y)), (&mut made.bias, [1, 1, 1, w.shape[0]])] {
            // SAFETY: there is a place for the handle, and it is set once it is made.
            unsafe {
                loaded.check("cudnnCreateTensorDescriptor", (f.cudnnCreateTensorDescriptor)(to))?;
                let status = (f.cudnnSetTensor4dDescriptor)(*to, Format::CUDNN_TENSOR_NHWC, ty, int(n)?, int(c)?, int(h)?, int(width)?);
                loaded.check("cudnnSetTensor4dDescriptor", status)?;
            }
        }
        // f32 is not to be rounded to TF32 on tensor cores, which the default allows.
        let math = if x.dtype == DType::F32 { Math::CUDNN_FMA_MATH } else { Math::CUDNN_TENSOR_OP_MATH };
        let [k, r, s, c] = four(&w);
        let relu = matches!(convolution.pass, Pass::Forward { relu: true, .. });
        let mode = if relu { Mode::CUDNN_ACTIVATION_RELU } else { Mode::CUDNN_ACTIVATION_IDENTITY };
        let (across, around) = (int(stride)?, int(padding)?);
        // SAFETY: as above.
        unsafe {
            loaded.check("cudnnCreateFilterDescriptor", (f.cudnnCreateFilterDescriptor)(&mut made.w))?;
            let status = (f.cudnnSetFilter4dDescriptor)(made.w, ty, Format::CUDNN_TENSOR_NHWC, int(k)?, int(c)?, int(r)?, int(s)?);
            loaded.check("cudnnSetFilter4dDescriptor", status)?;
            loaded.check("cudnnCreateConvolutionDescriptor", (f.cudnnCreateConvolutionDescriptor)(&mut made.of))?;
            let (direction, sums) = (Direction::CUDNN_CROSS_CORRELATION, Type::CUDNN_DATA_FLOAT);
            let status = (f.cudnnSetConvolution2dDescriptor)(made.of, around, around, across, across, 1, 1, direction, sums);
            loaded.check("cudnnSetConvolution2dDescriptor", status)?;
            loaded.check("cudnnSetConvolutionMathType", (f.cudnnSetConvolutionMathType)(made.of, math))?;
            loaded.check("cudnnCreateActivationDescriptor", (f.cudnnCreateActivationDescriptor)(&mut made.activation))?;
            let status = (f.cudnnSetActivationDescriptor)(made.activation, mode, Nans::CUDNN_PROPAGATE_NAN, 0.0);
            loaded.check("cudnnSetActivationDescriptor", status)?;
        }
        Ok(made)
    }

    /// The bytes that an algorithm needs beside its tensors; nothing where it does not compute this.
    fn workspace(&self, algorithm: c_int) -> Option<usize> {
        let (f, handle) = (&self.loaded.functions, self.loaded.handle);
        let mut bytes = 0;
        // SAFETY: the descriptors were made in `new`, and there is a place for the number; the library takes any number of an algorithm.
        let status = unsafe {
            match self.convolution.pass {
                Pass::Forward { .. } => (f.cudnnGetConvolutionForwardWorkspaceSize)(handle, self.x, self.w, self.of, self.y, algorithm, &mut bytes),
                Pass::Input => (f.cudnnGetConvolutionBackwardDataWorkspaceSize)(handle, self.w, self.y, self.of, self.x, algorithm, &mut bytes),
                Pass::Weight { .. } => {
                    (f.cudnnGetConvolutionBackwardFilterWorkspaceSize)(handle, self.x, self.y, self.of, self.w, algorithm, &mut bytes)
                }
            }
        };
        (status == 0 && bytes <= WORKSPACE).then_some(bytes)
    }

    /// Puts the convolution of one copy into the stream.
    fn enqueue(&self, algorithm: c_int, workspace: &Part, tensors: &Tensors) -> Result<()> {
        let (f, handle) = (&self.loaded.functions, self.loaded.handle);
        let &Described { x, y, w, of, bias: of_bias, .. } = self;
        let (one, zero) = (1_f32, 0_f32);
        let (one, zero) = (from_ref(&one).cast::<c_void>(), from_ref(&zero).cast::<c_void>());
        let (room, bytes) = (workspace.at as Memory, workspace.len());
        let [first, second, result] = [tensors.input(0)?, tensors.input(1)?, tensors.output(0)?].map(|at| at as Memory);
        self.loaded.guest.enter()?;
        // SAFETY: the descriptors are those of the subject's types, which the tensors have, and these are held until the work is done: by `Vendor::measure`. The scalars
        // are read before the call returns, and no other work of the stream uses the workspace meanwhile.
        unsafe {
            match self.convolution.pass {
                Pass::Forward { bias: false, residual: false, relu: false } => {
                    let status = (f.cudnnConvolutionForward)(handle, one, x, first, w, second, of, algorithm, room, bytes, zero, y, result);
                    self.loaded.check("cudnnConvolutionForward", status)
                }
                Pass::Forward { bias, residual, .. } => {
                    let added = if bias { tensors.input(2)? } else { self.zeros.at } as Memory;
                    let (share, z) = if residual { (one, tensors.input(2 + usize::from(bias))? as Memory) } else { (zero, result) };
                    let status = (f.cudnnConvolutionBiasActivationForward)(
                        handle,
                        one,
                        x,
                        first,
                        w,
                        second,
                        of,
                        algorithm,
                        room,
                        bytes,
                        share,
                        y,
                        z,
                        of_bias,
                        added,
                        self.activation,
                        y,
                        result,
                    );
                    self.loaded.check("cudnnConvolutionBiasActivationForward", status)
                }
                Pass::Input => {
                    let status = (f.cudnnConvolutionBackwardData)(handle, one, w, second, y, first, of, algorithm, room, bytes, zero, x, result);
                    self.loaded.check("cudnnConvolutionBackwardData", status)
                }
                Pass::Weight { bias } => {
                    let status = (f.cudnnConvolutionBackwardFilter)(handle, one, x, second, y, first, of, algorithm, room, bytes, zero, w, result);
                    self.loaded.check("cudnnConvolutionBackwardFilter", status)?;
                    if !bias {
                        return Ok(());
                    }
                    let status = (f.cudnnConvolutionBackwardBias)(handle, one, y, first, zero, of_bias, tensors.output(1)? as Memory);
                    self.loaded.check("cudnnConvolutionBackwardBias", status)
                }
            }
        }
    }
}

/// The four extents of a picture or of filters.
fn four(ty: &TensorType) -> [usize; 4] {
    [ty.shape[0], ty.shape[1], ty.shape[2], ty.shape[3]]
}

impl Drop for Described {
    fn drop(&mut self) {
        let f = &self.loaded.functions;
        // SAFETY: what is not null was made in `new`, and no call uses it any more.
        unsafe {
            for of in [self.x, self.y, self.bias].into_iter().filter(|of| !of.is_null()) {
                let _ = (f.cudnnDestroyTensorDescriptor)(of);
            }
            if !self.w.is_null() {
                let _ = (f.cudnnDestroyFilterDescriptor)(self.w);
            }
            if !self.of.is_null() {
                let _ = (f.cudnnDestroyConvolutionDescriptor)(self.of);
            }
            if !self.activation.is_null() {
                let _ = (f.cudnnDestroyActivationDescriptor)(self.activation);
            }
        }
    }
}

impl Cudnn {
    fn candidates(&self, convolution: Convolution) -> Result<Vec<Candidate>> {
        if convolution.x.is_empty() || convolution.y.is_empty() {
            return Ok(Vec::new());
        }
        let described = Rc::new(Described::new(&self.loaded, convolution)?);
        let needed: Vec<(c_int, usize)> = (0..ALGORITHMS).filter_map(|algorithm| Some((algorithm, described.workspace(algorithm)?))).collect();
        let Some(most) = needed.iter().map(|&(_, bytes)| bytes).max() else { return Ok(Vec::new()) };
        let workspace = self.loaded.guest.allocate(most.max(256))?;
        let candidate = |(algorithm, _)| {
            let (described, workspace) = (described.clone(), workspace.clone());
            Candidate { name: format!("cudnn {algorithm}"), work: Box::new(move |tensors| described.enqueue(algorithm, &workspace, tensors)) }
        };
        Ok(needed.into_iter().map(candidate).collect())
    }
}
