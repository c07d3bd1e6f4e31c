//! The contract between operators and the graph.
//!
//! An [`Op`] knows its shapes, its cost and how to compute on each device. It does not know the graph: its backward rule and the
//! patterns that fuse into it stand in the same file, but reach the graph through the table in [`crate::ops`].

use crate::device::cpu::{Args, Packed};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::{Error, Result};
use crate::tensor::{DType, TensorType};
use std::any::Any;
use std::fmt::Debug;

/// What one execution of an operator has to do, whatever the device: the floor that a kernel is measured against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations, a multiply-add counted as two.
    pub flops: u64,
    /// Bytes that must cross the memory bus: every input read once, every output written once.
    pub bytes: u64,
}

impl Cost {
    /// Each input read once, each output written once, and `flops`.
    pub fn streaming(flops: u64, inputs: &[TensorType], outputs: &[TensorType]) -> Self {
        let bytes = inputs.iter().chain(outputs).map(|t| t.bytes() as u64).sum();
        Cost { flops, bytes }
    }
}

impl std::ops::Add for Cost {
    type Output = Cost;
    fn add(self, other: Cost) -> Cost {
        Cost { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(costs: I) -> Cost {
        costs.fold(Cost::default(), |a, b| a + b)
    }
}

/// One operator with its attributes fixed: a pure description, shared between graphs.
pub trait Op: Debug + Any + Send + Sync {
    /// The stem under which everything about the operator is filed: `src/ops/<stem>.rs`, `kernels/<stem>.cu`, ...
    fn stem(&self) -> &'static str;

    /// Which of the stem's computations this is: `forward`, `backward_input`, ...
    fn pass(&self) -> &'static str {
        "forward"
    }

    /// Checks the inputs and says what comes out.
    ///
    /// # Errors
    /// [`Error::Op`] naming the operator, the tensor, what was expected and what was got.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>>;

    /// FLOPs and bytes of one execution. The types are those [`Op::infer`] accepted and returned.
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost;

    /// Pairs (input, output) that may share one buffer. The code reads them through [`Args::in_out`].
    fn in_place(&self) -> &'static [(usize, usize)] {
        &[]
    }

    /// The first output is the first input under another shape: it costs nothing and is never executed.
    fn is_view(&self) -> bool {
        false
    }

    /// Inputs that are state and are changed by the operator. The code reaches them through [`Args::state`].
    fn updates(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Lists of inputs, of `count` in all, that one launch can go through where they lie side by side in memory: each list either updated or only read.
    fn together(&self, _count: usize) -> Vec<Vec<usize>> {
        Vec::new()
    }

    /// Outputs that need not be computed where nobody reads them: what a forward pass saves for the backward.
    fn optional_outputs(&self) -> &'static [usize] {
        &[]
    }

    /// Inputs that stay f32 where the operator computes in half precision: saved statistics, whose rounding would shift whole rows.
    fn exact_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Scratch elements that the CPU code wants beside its outputs, for this many threads.
    fn workspace(&self, _inputs: &[TensorType], _threads: usize) -> usize {
        0
    }

    /// The maths in f64, plain enough to read. The truth that every device is tested against.
    ///
    /// # Errors
    /// Only where the arguments do not fit what [`Op::infer`] promised.
    fn reference(&self, args: &mut Args<f64>) -> Result<()>;

    /// The same in f32 on the CPU: the same code in parallel over rows, or a faster path of its own.
    ///
    /// # Errors
    /// As [`Op::reference`].
    fn cpu(&self, args: &mut Args<f32>) -> Result<()>;

    /// Says what is launched through wgpu, on the tensors and sizes that `launch` knows.
    ///
    /// # Errors
    /// [`Error::Device`] where the operator has no WGSL kernel yet, or not for these sizes.
    #[cfg(feature = "wgpu")]
    fn wgpu(&self, _launch: &mut Launch) -> Result<()> {
        Err(Error::Device { device: "wgpu".to_owned(), reason: format!("`{}` has no WGSL kernel yet: use --device cpu", self.stem()) })
    }

    /// Says what is launched through CUDA, on the tensors and sizes that `launch` knows.
    ///
    /// # Errors
    /// [`Error::Device`] where the operator has no CUDA kernel yet.
    #[cfg(feature = "cuda")]
    fn cuda(&self, _launch: &mut cuda::Launch) -> Result<()> {
        Err(Error::Device { device: "cuda".to_owned(), reason: format!("`{}` has no CUDA kernel yet: use --device wgpu or cpu", self.stem()) })
    }

    /// A name for the layout into which the CPU code would like a constant input rearranged once, before the first run.
    /// Ops that give one name for one input's type share the copy.
    fn pack_layout(&self, _input: usize) -> Option<&'static str> {
        None
    }

    /// Rearranges a constant input into the layout that [`Op::pack_layout`] named.
    fn pack(&self, _input: usize, _ty: &TensorType, _data: &[f32]) -> Option<Packed> {
        None
    }
}

impl dyn Op {
    /// The operator as its concrete type, where it is that one.
    pub fn downcast<T: Op>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }

    /// `stem` for a forward pass, `stem.pass` for the rest.
    pub fn label(&self) -> String {
        match self.pass() {
            "forward" => self.stem().to_owned(),
            pass => format!("{}.{pass}", self.stem()),
        }
    }

    /// The attributes as `name: value, ..`. Keys of random numbers, which are names that were hashed, are left out.
    pub fn attributes(&self) -> String {
        // A key is 64 bits, mostly of nineteen digits; nothing else that describes an operator is a number of ten.
        let is_key = |word: &str| word.len() >= 10 && word.bytes().all(|b| b.is_ascii_digit());
        let whole = format!("{self:?}");
        let inner = whole.split_once('{').map_or("", |(_, inner)| inner);
        let inner = inner.strip_suffix(')').unwrap_or(inner).strip_suffix('}').unwrap_or(inner).trim();
        let keyless = |word: &'_ str| {
            let digits = word.trim_end_matches(|c: char| !c.is_ascii_digit());
            if is_key(digits) { word[digits.len()..].to_owned() } else { word.to_owned() }
        };
        inner.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '.').map(keyless).collect()
    }

    /// Operator, attributes and types of inputs: what decides how long it takes.
    pub fn signature(&self, inputs: &[TensorType]) -> String {
        let types: Vec<String> = inputs.iter().map(TensorType::to_string).collect();
        format!("{} | {} | {}", self.label(), self.attributes(), types.join(" "))
    }
}

/// The checks that every shape rule is made of. Each names the operator, the tensor, what was expected and what was got.
pub struct Check(pub &'static str);

impl Check {
    /// The number of inputs is exactly `count`.
    pub fn count(&self, inputs: &[TensorType], count: usize) -> Result<()> {
        self.that(inputs.len() == count, "inputs", count, inputs.len())
    }

    /// The tensor has this many dimensions.
    pub fn rank(&self, name: &str, ty: &TensorType, rank: usize) -> Result<()> {
        self.that(ty.shape.iter().count() == rank, name, format!("{rank} dimensions"), ty)
    }

    /// The tensor has exactly these extents.
    pub fn shape(&self, name: &str, ty: &TensorType, shape: &[usize]) -> Result<()> {
        self.that(ty.shape[..] == *shape, name, format!("{shape:?}"), ty)
    }

    /// The tensor holds floating-point numbers.
    pub fn float(&self, name: &str, ty: &TensorType) -> Result<()> {
        self.that(ty.dtype.is_float(), name, "floating point", ty)
    }

    /// The tensor holds i32.
    pub fn int(&self, name: &str, ty: &TensorType) -> Result<()> {
        self.that(ty.dtype == DType::I32, name, "i32", ty)
    }

    /// Two tensors have the same element type and shape.
    pub fn same(&self, name: &str, ty: &TensorType, as_other: &TensorType) -> Result<()> {
        self.that(ty == as_other, name, as_other, ty)
    }

    /// The statement holds.
    pub fn that(&self, holds: bool, name: &str, expected: impl ToString, got: impl ToString) -> Result<()> {
        if holds { Ok(()) } else { Err(Error::op(self.0, name, expected, got)) }
    }
}
