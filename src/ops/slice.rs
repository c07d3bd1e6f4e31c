//! A range of one dimension: `y = x[.., start..start + len, ..]`, and one entry of a dimension.
//!
//! Any element type. Backward: dy padded with zeros to the extent of x. Pure data movement.

use super::Row;
use super::reshape::reshape;
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_rows};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), ..Row::new("slice", cases) };

/// The forward pass.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// The dimension.
    pub axis: usize,
    /// Where the range starts.
    pub start: usize,
    /// How long it is.
    pub len: usize,
}

/// The gradient: dy in the range, zero elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct SliceBackward {
    /// The dimension.
    pub axis: usize,
    /// Where the range starts.
    pub start: usize,
    /// The extent of x.
    pub extent: usize,
}

/// The entries `start..start + len` of one dimension.
///
/// # Errors
/// [`crate::Error::Op`] where the range is not inside the dimension.
pub fn slice(b: &mut Builder, x: Value, axis: usize, start: usize, len: usize) -> Result<Value> {
    b.apply1(Slice { axis, start, len }, &[x])
}

/// One entry of the middle dimension of `x` [B, L, D]: [B, D].
///
/// # Errors
/// [`crate::Error::Op`] where `x` has not three dimensions, or the index is not inside the second.
pub fn select(b: &mut Builder, x: Value, index: usize) -> Result<Value> {
    Check("slice").rank("x", &b.ty(x), 3)?;
    let shape = b.shape(x);
    let row = slice(b, x, 1, index, 1)?;
    reshape(b, row, [shape[0], shape[2]])
}

/// The shape with one extent replaced.
pub(super) fn with_extent(shape: &Shape, axis: usize, extent: usize) -> Shape {
    let mut dims = shape.to_vec();
    dims[axis] = extent;
    dims_of(&dims)
}

/// Elements of one entry of a dimension.
pub(super) fn inner(shape: &[usize], axis: usize) -> usize {
    shape[axis + 1..].iter().product()
}

impl Op for Slice {
    fn stem(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("slice");
        check.count(inputs, 1)?;
        let extent = inputs[0].shape.get(self.axis).copied();
        check.that(extent.is_some(), "x", format!("a dimension {}", self.axis), inputs[0])?;
        let end = self.start.checked_add(self.len);
        check.that(end.is_some_and(|end| Some(end) <= extent), "x", format!("{}..+{} in dimension {}", self.start, self.len, self.axis), inputs[0])?;
        Ok(vec![inputs[0].with_shape(with_extent(&inputs[0].shape, self.axis, self.len))])
    }

    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, outputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

impl Slice {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let shape = args.shape(0);
        let entry = inner(shape, self.axis);
        let (from, start, width) = (shape[self.axis] * entry, self.start * entry, self.len * entry);
        match args.ints(0) {
            Ok(x) => for_rows(args.out_ints(0)?, width, |row, y| y.copy_from_slice(&x[row * from + start..][..width])),
            Err(_) => {
                let x = args.floats(0)?;
                for_rows(args.out(0)?, width, |row, y| y.copy_from_slice(&x[row * from + start..][..width]));
            }
        }
        Ok(())
    }
}

impl Op for SliceBackward {
    fn stem(&self) -> &'static str {
        "slice"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("slice");
        check.count(inputs, 1)?;
        check.float("dy", &inputs[0])?;
        let fits = inputs[0].shape.get(self.axis).is_some_and(|len| self.start + len <= self.extent);
        check.that(fits, "dy", format!("at most {} of {} in dimension {}", self.extent - self.start, self.extent, self.axis), inputs[0])?;
        Ok(vec![inputs[0].with_shape(with_extent(&inputs[0].shape, self.axis, self.extent))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

impl SliceBackward {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let shape = args.shape(0);
        let entry = inner(shape, self.axis);
        let (start, width) = (self.start * entry, shape[self.axis] * entry);
        let (dy, dx) = (args.floats(0)?, args.out(0)?);
        for_rows(dx, self.extent * entry, |row, dx| {
            let (before, rest) = dx.split_at_mut(start);
            let (inside, after) = rest.split_at_mut(width);
            before.fill(T::ZERO);
            inside.copy_from_slice(&dy[row * width..][..width]);
            after.fill(T::ZERO);
        });
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Slice { axis, start, .. } = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let x = cx.input(0);
        let extent = cx.builder().shape(x)[axis];
        cx.set_by(0, SliceBackward { axis, start, extent }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &[usize], axis: usize, start: usize, len: usize| {
        Case::of(format!("{dims:?}_{axis}[{start}..+{len}]"), move |b, v| slice(b, v[0], axis, start, len)).normal("x", dims_of(dims))
    };
    let ints = Case::of("ints", |b, v| slice(b, v[0], 1, 1, 2)).ints("x", [3, 5], Fill::Ints(-9, 9));
    vec![
        case(&[1], 0, 0, 1),
        case(&[17], 0, 3, 13),
        case(&[2, 5, 7], 0, 1, 1),
        case(&[2, 5, 7], 1, 0, 3),
        case(&[2, 5, 7], 1, 4, 1),
        case(&[2, 3, 5, 7], 2, 1, 4),
        case(&[2, 5, 7], 2, 5, 2),
        case(&[3, 400, 67], 1, 13, 377),
        ints,
        Case::of("select", |b, v| select(b, v[0], 2)).normal("x", [3, 5, 7]),
        case(&[8, 89, 768], 1, 49, 40).large(),
    ]
}
