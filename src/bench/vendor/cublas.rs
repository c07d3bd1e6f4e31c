//! cuBLASLt: products of matrices, with what it can do to a product while it is at hand.
//!
//! It thinks in columns: a matrix [R, C] whose rows lie one behind another is to it one of C rows and R columns, columns one behind another, C apart. So
//! `C = A B` is asked for as `C^T = B^T A^T`: what we call the right factor comes first, and what we call a column of C is a row of its D.

use super::status::checked;
use super::{Candidate, Library, Plan, Tensors};
use crate::bench::shapes::Subject;
use crate::device::cuda::library::{functions, open};
use crate::device::cuda::{Guest, Part};
use crate::error::{Error, Result};
use crate::op::Op;
use crate::ops::linear::{Activation, Linear, LinearBackwardInput, LinearBackwardWeight};
use crate::ops::matmul::MatMul;
use crate::tensor::DType;
use cudarc::cublaslt::sys::{
    cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue, cublasLtHandle_t as Handle, cublasLtMatmulAlgo_t as Algorithm,
    cublasLtMatmulDesc_t as Description, cublasLtMatmulDescAttributes_t as Attribute, cublasLtMatmulHeuristicResult_t as Heuristic,
    cublasLtMatmulPreference_t as Preference, cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute, cublasLtMatrixLayout_t as Layout,
    cublasLtMatrixLayoutAttribute_t as LayoutAttribute, cudaDataType as Type,
};
use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{from_ref, null_mut};
use std::rc::Rc;
use std::sync::Arc;

const NAME: &str = "cublas";
/// Bytes that an algorithm may use beside its matrices: what NVIDIA recommends for Hopper.
const WORKSPACE: usize = 32 << 20;
/// Algorithms that the library's heuristic is asked for.
const ALGORITHMS: usize = 8;

functions!(Functions {
    cublasLtCreate(*mut Handle) -> c_int;
    cublasLtDestroy(Handle) -> c_int;
    cublasLtGetVersion() -> usize;
    cublasLtGetStatusString(c_int) -> *const c_char;
    cublasLtMatmulDescCreate(*mut Description, Compute, Type) -> c_int;
    cublasLtMatmulDescDestroy(Description) -> c_int;
    cublasLtMatmulDescSetAttribute(Description, Attribute, *const c_void, usize) -> c_int;
    cublasLtMatrixLayoutCreate(*mut Layout, Type, u64, u64, i64) -> c_int;
    cublasLtMatrixLayoutDestroy(Layout) -> c_int;
    cublasLtMatrixLayoutSetAttribute(Layout, LayoutAttribute, *const c_void, usize) -> c_int;
    cublasLtMatmulPreferenceCreate(*mut Preference) -> c_int;
    cublasLtMatmulPreferenceDestroy(Preference) -> c_int;
    cublasLtMatmulPreferenceSetAttribute(Preference, PreferenceAttribute, *const c_void, usize) -> c_int;
    cublasLtMatmulAlgoGetHeuristic(Handle, Description, Layout, Layout, Layout, Layout, Preference, c_int, *mut Heuristic, *mut c_int) -> c_int;
    cublasLtMatmul(
        Handle, Description, *const c_void, *const c_void, Layout, *const c_void, Layout, *const c_void, *const c_void, Layout, *mut c_void, Layout,
        *const Algorithm, *mut c_void, usize, *mut c_void
    ) -> c_int;
});

/// The library, on one device.
pub(super) struct Cublas {
    loaded: Rc<Loaded>,
}

struct Loaded {
    // The library stays where it is: it may have threads, and work to do when the program ends.
    functions: ManuallyDrop<Functions>,
    handle: Handle,
    guest: Guest,
    workspace: Part,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: the handle was made in `load`, and whoever used it held this.
        let _ = unsafe { (self.functions.cublasLtDestroy)(self.handle) };
    }
}

impl Loaded {
    fn check(&self, call: &str, status: c_int) -> Result<()> {
        checked(NAME, call, status, self.functions.cublasLtGetStatusString)
    }
}

impl Cublas {
    /// Loads it.
    ///
    /// # Errors
    /// [`Error::Device`] where it is not there.
    pub fn load(guest: &Guest) -> Result<Self> {
        let fails = |reason: String| Error::Device { device: NAME.to_owned(), reason };
        let files: Vec<String> = match cfg!(windows) {
            true => vec!["cublasLt64_13.dll".to_owned(), "cublasLt64_12.dll".to_owned()],
            false => ["13", "12"].map(|version| format!("libcublasLt.so.{version}")).to_vec(),
        };
        let how = "it comes with the CUDA toolkit, or `pip install nvidia-cublas` (CUDA 13) or `nvidia-cublas-cu12`, whose folder `lib` LD_LIBRARY_PATH then names";
        let library = open(&files).map_err(|reason| fails(format!("{reason}; {how}")))?;
        // SAFETY: their types are those of cublasLt.h, the same in CUDA 12 and 13.
        let functions = unsafe { Functions::of(library) }.map(ManuallyDrop::new).map_err(|e| fails(e.to_string()))?;
        guest.enter()?;
        let mut handle = null_mut();
        // SAFETY: the device is the thread's, and `handle` is where the handle is put.
        checked(NAME, "cublasLtCreate", unsafe { (functions.cublasLtCreate)(&mut handle) }, functions.cublasLtGetStatusString)?;
        let workspace = guest.allocate(WORKSPACE)?;
        Ok(Cublas { loaded: Rc::new(Loaded { functions, handle, guest: guest.clone(), workspace }) })
    }
}

/// `C = A B`, the first two inputs and the first output.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Product {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    /// A lies as [K, M], B as [N, K].
    transposed: [bool; 2],
    /// Of the factors.
    dtype: DType,
    /// Of the results.
    result: DType,
    follows: Follows,
}

/// What is done to a product.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Follows {
    /// The third input is added to each row.
    bias: bool,
    activation: Option<Activation>,
    /// The second output is the sum before GELU.
    saved: bool,
    /// The second output is what A, transposed, adds up to along K.
    sum: bool,
}

impl Follows {
    fn epilogue(self) -> Epilogue {
        use Epilogue::*;
        match (self.activation, self.bias, self.saved) {
            _ if self.sum => CUBLASLT_EPILOGUE_BGRADB,
            (Some(Activation::Gelu), true, true) => CUBLASLT_EPILOGUE_GELU_AUX_BIAS,
            (Some(Activation::Gelu), false, true) => CUBLASLT_EPILOGUE_GELU_AUX,
            (Some(Activation::Gelu), true, false) => CUBLASLT_EPILOGUE_GELU_BIAS,
            (Some(Activation::Gelu), false, false) => CUBLASLT_EPILOGUE_GELU,
            (Some(Activation::Relu), true, _) => CUBLASLT_EPILOGUE_RELU_BIAS,
            (Some(Activation::Relu), false, _) => CUBLASLT_EPILOGUE_RELU,
            (_, true, _) => CUBLASLT_EPILOGUE_BIAS,
            (_, false, _) => CUBLASLT_EPILOGUE_DEFAULT,
        }
    }
}

impl Library for Cublas {
    fn version(&self) -> String {
        // SAFETY: it takes nothing.
        let version = unsafe { (self.loaded.functions.cublasLtGetVersion)() };
        // 120805 is 12.8.5, and so is 130100 13.1.0.
        format!("cuBLASLt {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    fn plans(&self, subject: &Subject) -> Result<Vec<Plan>> {
        let ways = ways(subject);
        ways.into_iter().map(|(product, part, without)| Ok(Plan { part, without, candidates: self.candidates(product)? })).collect()
    }
}

/// The products that compute a subject, with what each of them leaves out.
fn ways(subject: &Subject) -> Vec<(Product, Option<Subject>, &'static str)> {
    let ty = |i: usize| subject.inputs[i].0;
    let is_wanted = |i: usize| subject.outputs.get(i).is_some_and(|(_, wanted)| *wanted);
    let product = |batch: usize, [m, n, k]: [usize; 3], transposed: [bool; 2]| Product {
        batch,
        m,
        n,
        k,
        transposed,
        dtype: ty(0).dtype,
        result: subject.outputs[0].0.dtype,
        follows: Follows::default(),
    };
    // A residual may be in f32 where the factors are not.
    if !subject.inputs.iter().take(2).all(|(of, _)| of.dtype == ty(0).dtype)
        || subject.inputs.iter().any(|(of, _)| of.is_empty())
        || !matches!(ty(0).dtype, DType::F32 | DType::F16 | DType::BF16)
    {
        return Vec::new();
    }
    // What its epilogues do not have is left out, of ours as well: residuals, derivatives, and of factors in 16 bits with a result in f32 a bias in 16 bits.
    let is_wide = subject.outputs[0].0.dtype != ty(0).dtype;
    let bare = |op: Arc<dyn Op>, inputs: usize, left_out: &'static str| {
        let part = Subject { op, inputs: subject.inputs[..inputs].to_vec(), outputs: vec![(subject.outputs[0].0, true)], ..subject.clone() };
        ways(&part).into_iter().map(|(product, ..)| (product, Some(part.clone()), left_out)).collect()
    };
    if let Some(op) = subject.op.downcast::<Linear>().filter(|op| op.residual || (is_wide && (op.bias || op.activation != Activation::None))) {
        let bias = op.bias && !is_wide;
        let left_out = match (op.residual, op.bias == bias) {
            (true, true) => "residual",
            (true, false) => "bias and residual",
            (false, _) => "bias and activation",
        };
        bare(Arc::new(Linear { bias, wide: is_wide, ..Linear::default() }), 2 + usize::from(bias), left_out)
    } else if let Some(linear) = subject.op.downcast::<Linear>() {
        let ((m, k), n) = (ty(0).shape.rows_and_width(), ty(1).shape[0]);
        let biased = Follows { bias: linear.bias, ..Follows::default() };
        let with = |follows: Follows| Product { follows, ..product(1, [m, n, k], [false, true]) };
        if linear.activation == Activation::None {
            return vec![(with(biased), None, "")];
        }
        let whole = Follows { activation: Some(linear.activation), saved: is_wanted(1), ..biased };
        let op = Arc::new(Linear { activation: Activation::None, ..*linear });
        let part = Subject { op, outputs: subject.outputs[..1].to_vec(), ..subject.clone() };
        let left_out = if linear.activation == Activation::Gelu { "gelu" } else { "relu" };
        vec![(with(whole), None, ""), (with(biased), Some(part), left_out)]
    } else if let Some(&op) = subject.op.downcast::<LinearBackwardInput>() {
        let left_out = match op.activation {
            Activation::None => "",
            Activation::Relu => "relu",
            Activation::Gelu => "gelu",
        };
        if !left_out.is_empty() {
            return bare(Arc::new(LinearBackwardInput { activation: Activation::None, ..op }), 2, left_out);
        }
        let ((m, n), k) = (ty(0).shape.rows_and_width(), ty(1).shape[1]);
        vec![(product(1, [m, k, n], [false, false]), None, "")]
    } else if subject.op.downcast::<LinearBackwardWeight>().is_some() {
        let ((m, n), (_, k)) = (ty(0).shape.rows_and_width(), ty(1).shape.rows_and_width());
        let bare = product(1, [n, k, m], [true, false]);
        if !is_wanted(1) {
            return vec![(bare, None, "")];
        }
        let part = Subject { outputs: vec![subject.outputs[0], (subject.outputs[1].0, false)], ..subject.clone() };
        vec![(Product { follows: Follows { sum: true, ..Follows::default() }, ..bare }, None, ""), (bare, Some(part), "bias")]
    } else if let Some(matmul) = subject.op.downcast::<MatMul>() {
        let (a, c) = (ty(0).shape, subject.outputs[0].0.shape);
        let rank = a.iter().count();
        let k = a[if matmul.transpose_a { rank - 2 } else { rank - 1 }];
        vec![(product(a[..rank - 2].iter().product(), [c[rank - 2], c[rank - 1], k], [matmul.transpose_a, matmul.transpose_b]), None, "")]
    } else {
        Vec::new()
    }
}

/// What a product is described by, given back when it is dropped.
struct Described {
    loaded: Rc<Loaded>,
    product: Product,
    description: Description,
    preference: Preference,
    /// Of its first factor, its second, and the result.
    layouts: [Layout; 3],
}

impl Described {
    fn new(loaded: &Rc<Loaded>, product: Product) -> Result<Self> {
        let Product { batch, m, n, k, transposed: [a, b], dtype, result, follows, .. } = product;
        let mut made = Described { loaded: loaded.clone(), product, description: null_mut(), preference: null_mut(), layouts: [null_mut(); 3] };
        let f = &loaded.functions;
        let type_of = |dtype: DType| match dtype {
            DType::F16 => Type::CUDA_R_16F,
            DType::BF16 => Type::CUDA_R_16BF,
            _ => Type::CUDA_R_32F,
        };
        // Sums in f32; of f32 that is exact too, where FAST_TF32 would be the other choice.
        // SAFETY: there is a place for each handle.
        unsafe {
            let status = (f.cublasLtMatmulDescCreate)(&mut made.description, Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F);
            loaded.check("cublasLtMatmulDescCreate", status)?;
            loaded.check("cublasLtMatmulPreferenceCreate", (f.cublasLtMatmulPreferenceCreate)(&mut made.preference))?;
        }
        // CUBLAS_OP_T and CUBLAS_OP_N.
        let operation = i32::from;
        made.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, &operation(b))?;
        made.set(Attribute::CUBLASLT_MATMUL_DESC_TRANSB, &operation(a))?;
        made.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE, &follows.epilogue())?;
        if follows.saved {
            made.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, &(n as i64))?;
        }
        // Some memory for the heuristic, which may look at how pointers are aligned.
        made.point(|| Ok(loaded.workspace.at), || Ok(loaded.workspace.at))?;
        // Rows and columns as it sees them: the width of ours, and their number.
        let matrices = [if b { [k, n] } else { [n, k] }, if a { [m, k] } else { [k, m] }, [n, m]];
        for (i, ([rows, columns], dtype)) in matrices.into_iter().zip([dtype, dtype, result]).enumerate() {
            // SAFETY: there is a place for the handle.
            let status = unsafe { (f.cublasLtMatrixLayoutCreate)(&mut made.layouts[i], type_of(dtype), rows as u64, columns as u64, rows as i64) };
            loaded.check("cublasLtMatrixLayoutCreate", status)?;
            if batch > 1 {
                let (count, apart) = (batch as i32, (rows * columns) as i64);
                made.lay(i, LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count)?;
                made.lay(i, LayoutAttribute::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &apart)?;
            }
        }
        let most = PreferenceAttribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
        // SAFETY: the preference was made, and the number is read before the call returns.
        let status = unsafe { (f.cublasLtMatmulPreferenceSetAttribute)(made.preference, most, from_ref(&WORKSPACE).cast(), size_of::<usize>()) };
        loaded.check("cublasLtMatmulPreferenceSetAttribute", status)?;
        Ok(made)
    }

    /// Of the product; `T` is the type that the header gives for the attribute.
    fn set<T: Copy>(&self, attribute: Attribute, value: &T) -> Result<()> {
        // SAFETY: the description was made, and the value is read before the call returns.
        let status =
            unsafe { (self.loaded.functions.cublasLtMatmulDescSetAttribute)(self.description, attribute, from_ref(value).cast(), size_of::<T>()) };
        self.loaded.check("cublasLtMatmulDescSetAttribute", status)
    }

    /// Of a layout.
    fn lay<T: Copy>(&self, i: usize, attribute: LayoutAttribute, value: &T) -> Result<()> {
        // SAFETY: as in `set`.
        let status =
            unsafe { (self.loaded.functions.cublasLtMatrixLayoutSetAttribute)(self.layouts[i], attribute, from_ref(value).cast(), size_of::<T>()) };
        self.loaded.check("cublasLtMatrixLayoutSetAttribute", status)
    }

    /// Sets the pointers that belong to the description: to what is added, and to the second output.
    fn point(&self, added: impl Fn() -> Result<u64>, second: impl Fn() -> Result<u64>) -> Result<()> {
        let Follows { bias, saved, sum, .. } = self.product.follows;
        if bias {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &added()?)?;
        }
        if sum {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, &second()?)?;
        }
        if saved {
            self.set(Attribute::CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, &second()?)?;
        }
        Ok(())
    }

    /// What the heuristic recommends, the best first; nothing where the library does not compute this.
    fn algorithms(&self) -> Result<Vec<Algorithm>> {
        const NOT_SUPPORTED: c_int = cudarc::cublaslt::sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED as c_int;
        let [first, second, result] = self.layouts;
        // SAFETY: all zeros are a value of it: plain numbers, and a status whose zero is success.
        let mut found: [Heuristic; ALGORITHMS] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        // SAFETY: everything was made in `new`; there is room for as many answers as are asked for.
        let status = unsafe {
            (self.loaded.functions.cublasLtMatmulAlgoGetHeuristic)(
                self.loaded.handle,
                self.description,
                first,
                second,
                result,
                result,
                self.preference,
                ALGORITHMS as c_int,
                found.as_mut_ptr(),
                &mut count,
            )
        };
        if status == NOT_SUPPORTED {
            return Ok(Vec::new());
        }
        self.loaded.check("cublasLtMatmulAlgoGetHeuristic", status)?;
        Ok(found.iter().take(count.max(0) as usize).map(|found| found.algo).collect())
    }

    /// Puts the product of one copy into the stream.
    fn enqueue(&self, algorithm: &Algorithm, tensors: &Tensors) -> Result<()> {
        self.point(|| tensors.input(2), || tensors.output(1))?;
        let ([first, second, result], [a, b, c]) = (self.layouts, [tensors.input(0)?, tensors.input(1)?, tensors.output(0)?]);
        let (one, zero) = (1_f32, 0_f32);
        let Loaded { functions, handle, guest, workspace } = &*self.loaded;
        let stream = guest.enter()?;
        // SAFETY: the layouts are those of the subject's types, which the tensors have, and these are held until the work is done: by `Vendor::measure`. The scalars are
        // read before the call returns, and no other work of the stream uses the workspace meanwhile.
        let status = unsafe {
            (functions.cublasLtMatmul)(
                *handle,
                self.description,
                from_ref(&one).cast(),
                b as *const c_void,
                first,
                a as *const c_void,
                second,
                from_ref(&zero).cast(),
                c as *const c_void,
                result,
                c as *mut c_void,
                result,
                algorithm,
                workspace.at as *mut c_void,
                WORKSPACE,
                stream,
            )
        };
        self.loaded.check("cublasLtMatmul", status)
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        let f = &self.loaded.functions;
        // SAFETY: what is not null was made in `new`, and no call uses it any more.
        unsafe {
            for layout in self.layouts.into_iter().filter(|layout| !layout.is_null()) {
                let _ = (f.cublasLtMatrixLayoutDestroy)(layout);
            }
            if !self.preference.is_null() {
                let _ = (f.cublasLtMatmulPreferenceDestroy)(self.preference);
            }
            if !self.description.is_null() {
                let _ = (f.cublasLtMatmulDescDestroy)(self.description);
            }
        }
    }
}

impl Cublas {
    fn candidates(&self, product: Product) -> Result<Vec<Candidate>> {
        let described = Rc::new(Described::new(&self.loaded, product)?);
        let candidate = |(i, algorithm): (usize, Algorithm)| {
            let described = described.clone();
            Candidate { name: format!("cublasLt {i}"), work: Box::new(move |tensors| described.enqueue(&algorithm, tensors)) }
        };
        Ok(described.algorithms()?.into_iter().enumerate().map(candidate).collect())
    }
}
