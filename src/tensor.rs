//! Element types, shapes and host tensors. A tensor is always contiguous and row-major.

use crate::error::{Error, Result};
use half::{bf16, f16};
use std::fmt;
use std::ops::Deref;

/// Element type of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32: 8 bits of exponent, 7 of fraction.
    BF16,
    /// Signed 32-bit integers: token ids, labels, lengths, masks, counters.
    I32,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 => 2,
        }
    }

    /// True for the floating-point types.
    pub const fn is_float(self) -> bool {
        !matches!(self, DType::I32)
    }

    /// The name used on the command line and in kernel symbols: `f32`, `f16`, `bf16`, `i32`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
        }
    }

    /// The inverse of [`DType::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [DType::F32, DType::F16, DType::BF16, DType::I32].into_iter().find(|d| d.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The most dimensions a tensor may have.
pub const MAX_RANK: usize = 6;

/// The extents of a tensor, outermost first. A scalar has none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    rank: u8,
    dims: [usize; MAX_RANK],
}

impl Shape {
    /// A shape of at most [`MAX_RANK`] dimensions.
    ///
    /// # Errors
    /// [`Error::Argument`] where there are more, or where their product overflows.
    pub fn new(dims: &[usize]) -> Result<Self> {
        let fits = dims.len() <= MAX_RANK && dims.iter().try_fold(4usize, |n, &d| n.checked_mul(d.max(1))).is_some();
        if !fits {
            return Err(Error::Argument {
                name: "shape",
                expected: format!("at most {MAX_RANK} dimensions that fit memory"),
                got: format!("{dims:?}"),
            });
        }
        Ok(Self::from_fitting(dims))
    }

    fn from_fitting(dims: &[usize]) -> Self {
        let mut shape = Shape { rank: dims.len() as u8, dims: [1; MAX_RANK] };
        shape.dims[..dims.len()].copy_from_slice(dims);
        shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.iter().product()
    }

    /// True where one of the extents is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank.into()
    }

    /// The extent of the last dimension (1 for a scalar) and the product of all before it.
    pub fn rows_and_width(&self) -> (usize, usize) {
        match self.split_last() {
            Some((&width, rest)) => (rest.iter().product(), width),
            None => (1, 1),
        }
    }

    /// The same shape with its last dimension replaced.
    pub fn with_last(&self, last: usize) -> Self {
        let mut shape = *self;
        if shape.rank > 0 {
            shape.dims[shape.rank as usize - 1] = last;
        }
        shape
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        const { assert!(N <= MAX_RANK) };
        Self::from_fitting(&dims)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self[..])
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self[..])
    }
}

/// Element type and shape: all that is known of a tensor before it holds numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

impl TensorType {
    /// Element type and shape together.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    /// An f32 tensor of this shape.
    pub fn f32(shape: impl Into<Shape>) -> Self {
        Self::new(DType::F32, shape)
    }

    /// An i32 tensor of this shape.
    pub fn i32(shape: impl Into<Shape>) -> Self {
        Self::new(DType::I32, shape)
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// True where there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Self {
        Self::new(self.dtype, shape)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// The elements of a host tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// [`DType::F32`]
    F32(Vec<f32>),
    /// [`DType::F16`]
    F16(Vec<f16>),
    /// [`DType::BF16`]
    BF16(Vec<bf16>),
    /// [`DType::I32`]
    I32(Vec<i32>),
}

/// A tensor in host memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    ty: TensorType,
    data: Data,
}

impl Tensor {
    /// A tensor of these elements.
    ///
    /// # Errors
    /// [`Error::Argument`] where the count differs from the shape's.
    pub fn new(shape: impl Into<Shape>, data: Data) -> Result<Self> {
        let shape = shape.into();
        let (dtype, len) = match &data {
            Data::F32(v) => (DType::F32, v.len()),
            Data::F16(v) => (DType::F16, v.len()),
            Data::BF16(v) => (DType::BF16, v.len()),
            Data::I32(v) => (DType::I32, v.len()),
        };
        if len != shape.len() {
            return Err(Error::Argument { name: "data", expected: format!("{} elements for shape {shape}", shape.len()), got: len.to_string() });
        }
        Ok(Tensor { ty: TensorType { dtype, shape }, data })
    }

    /// A tensor of f32.
    ///
    /// # Errors
    /// See [`Tensor::new`].
    pub fn from_f32(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Self> {
        Self::new(shape, Data::F32(data))
    }

    /// A tensor of i32.
    ///
    /// # Errors
    /// See [`Tensor::new`].
    pub fn from_i32(shape: impl Into<Shape>, data: Vec<i32>) -> Result<Self> {
        Self::new(shape, Data::I32(data))
    }

    /// An f32 scalar.
    pub fn scalar(value: f32) -> Self {
        Tensor { ty: TensorType::f32([]), data: Data::F32(vec![value]) }
    }

    /// A tensor of this type, all zero.
    pub fn zeros(ty: TensorType) -> Self {
        let n = ty.len();
        let data = match ty.dtype {
            DType::F32 => Data::F32(vec![0.0; n]),
            DType::F16 => Data::F16(vec![f16::ZERO; n]),
            DType::BF16 => Data::BF16(vec![bf16::ZERO; n]),
            DType::I32 => Data::I32(vec![0; n]),
        };
        Tensor { ty, data }
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        self.ty
    }

    /// Extents.
    pub fn shape(&self) -> Shape {
        self.ty.shape
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements as f32; none where the tensor is of another type.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.data {
            Data::F32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements as i32; none where the tensor is of another type.
    pub fn as_i32(&self) -> Option<&[i32]> {
        match &self.data {
            Data::I32(v) => Some(v),
            _ => None,
        }
    }

    /// The elements widened to f64, whatever their type.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(v) => v.iter().map(|&x| x.into()).collect(),
            Data::F16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::BF16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I32(v) => v.iter().map(|&x| x.into()).collect(),
        }
    }

    /// The elements widened (or, for integers, converted) to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            Data::F16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::BF16(v) => v.iter().map(|&x| x.into()).collect(),
            Data::I32(v) => v.iter().map(|&x| x as f32).collect(),
        }
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`Error::Argument`] where the count differs.
    pub fn reshape(self, shape: impl Into<Shape>) -> Result<Self> {
        Self::new(shape, self.data)
    }

    /// The tensor with its dimensions reordered: dimension `i` of the result is `order[i]` of `self`.
    ///
    /// # Errors
    /// [`Error::Argument`] where `order` is not a permutation of the dimensions.
    pub fn permute(&self, order: &[usize]) -> Result<Self> {
        let shape = self.shape();
        let mut seen = order.to_vec();
        seen.sort_unstable();
        if !seen.iter().copied().eq(0..shape.rank as usize) {
            return Err(Error::Argument {
                name: "order",
                expected: format!("a permutation of {} dimensions", shape.rank),
                got: format!("{order:?}"),
            });
        }
        let to = Shape::from_fitting(&order.iter().map(|&i| shape[i]).collect::<Vec<_>>());
        let data = match &self.data {
            Data::F32(v) => Data::F32(permuted(v, &shape, order)),
            Data::F16(v) => Data::F16(permuted(v, &shape, order)),
            Data::BF16(v) => Data::BF16(permuted(v, &shape, order)),
            Data::I32(v) => Data::I32(permuted(v, &shape, order)),
        };
        Self::new(to, data)
    }
}

/// `from` of `shape`, its dimensions reordered.
fn permuted<E: Copy>(from: &[E], shape: &Shape, order: &[usize]) -> Vec<E> {
    let mut to = Vec::with_capacity(from.len());
    permute_each(shape, order, |i| to.push(from[i]));
    to
}

/// Visits the row-major source index of every element of the permuted tensor, in the result's order.
pub(crate) fn permute_each(shape: &[usize], order: &[usize], mut visit: impl FnMut(usize)) {
    let rank = shape.len();
    let mut stride = [0usize; MAX_RANK];
    let mut step = 1;
    for i in (0..rank).rev() {
        stride[i] = step;
        step *= shape[i];
    }
    if step == 0 {
        return;
    }
    let extent: Vec<usize> = order.iter().map(|&i| shape[i]).collect();
    let jump: Vec<usize> = order.iter().map(|&i| stride[i]).collect();
    let mut at = vec![0usize; rank];
    let mut offset = 0;
    for _ in 0..step {
        visit(offset);
        for d in (0..rank).rev() {
            at[d] += 1;
            offset += jump[d];
            if at[d] < extent[d] {
                break;
            }
            offset -= jump[d] * extent[d];
            at[d] = 0;
        }
    }
}
