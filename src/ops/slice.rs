//! A run of indices along one dimension; and its gradient, which puts zeros around it.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("slice");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("slice");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("slice", head!("slice.rs"), cases) };

/// Indices `start .. start + length` of dimension `axis`.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// The dimension that shrinks.
    pub axis: usize,
    /// The first index that is kept.
    pub start: usize,
    /// How many are kept.
    pub length: usize,
}

/// The gradient of [`Slice`]: `dy` within zeros, of extent `whole` along the axis.
#[derive(Debug, Clone, Copy)]
pub struct SliceBackward {
    /// The forward pass.
    pub slice: Slice,
    /// The extent of the dimension before.
    pub whole: usize,
}

/// Indices `start .. start + length` of dimension `axis`.
///
/// # Errors
/// [`crate::Error::Op`] where they reach beyond the dimension.
pub fn slice(b: &mut Builder, x: Value, axis: usize, start: usize, length: usize) -> Result<Value> {
    b.apply1(Slice { axis, start, length }, &[x])
}

impl Slice {
    /// (elements of the kept run, elements before it, elements of the whole) within one block of the dimensions from `axis` on.
    fn run(&self, whole: usize, inner: usize) -> (usize, usize, usize) {
        (self.length * inner, self.start * inner, whole * inner)
    }
}

/// One thread for each element that is written.
#[cfg(feature = "cuda")]
fn cuda_move_runs(launch: &mut cuda::Launch, pass: &str, (kept, before, whole): (usize, usize, usize)) {
    let (n, word) = (launch.out_ty(0).map_or(0, |written| written.len()), launch.word(launch.ty(0)));
    let dispatch = cuda::Dispatch::new(&KERNELS, format!("slice_{pass}_{word}")).tensors([cuda::Operand::Input(0), cuda::Operand::Output(0)]);
    launch.add(dispatch.count(n).sizes([kept, before, whole]).over(n));
}

/// One invocation for each element that is written, of so many runs.
#[cfg(feature = "wgpu")]
fn move_runs(launch: &mut Launch, entry: &str, runs: usize, (kept, before, whole): (usize, usize, usize)) {
    let operands = [Operand::Input(0), Operand::Output(0)];
    launch.in_pieces(runs, &operands, |launch| {
        let n = launch.out_ty(0).map_or(0, |written| written.len());
        launch.add(Dispatch::new(SHADER, entry, operands).size(n).size(kept).size(before).size(whole).over(n));
    });
}

fn with_extent(ty: &TensorType, axis: usize, extent: usize) -> Result<TensorType> {
    let mut shape = ty.shape.to_vec();
    shape[axis] = extent;
    Ok(ty.with_shape(Shape::new(&shape)?))
}

impl Op for Slice {
    fn stem(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("slice");
        check.count(inputs, 1)?;
        let x = &inputs[0];
        check.that(self.axis < x.shape.rank(), "axis", format!("below {}", x.shape.rank()), self.axis)?;
        let fits = self.start.checked_add(self.length).is_some_and(|end| end <= x.shape[self.axis]);
        check.that(fits, "x", format!("at least {}+{} along axis {}", self.start, self.length, self.axis), x)?;
        Ok(vec![with_extent(x, self.axis, self.length)?])
    }

    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, outputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        forward(args, self)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        forward(args, self)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let x = launch.ty(0).shape;
        cuda_move_runs(launch, "forward", self.run(x[self.axis], x[self.axis + 1..].iter().product()));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let x = launch.ty(0).shape;
        let extents = self.run(x[self.axis], x[self.axis + 1..].iter().product());
        move_runs(launch, "slice_forward_u32", x[..self.axis].iter().product(), extents);
        Ok(())
    }
}

fn forward<T: Real>(args: &mut Args<T>, op: &Slice) -> Result<()> {
    let shape = args.shape(0);
    let extents = op.run(shape[op.axis], shape[op.axis + 1..].iter().product());
    match args.ints(0) {
        Ok(x) => cut(x, args.out_ints(0)?, extents),
        Err(_) => cut(args.floats(0)?, args.out(0)?, extents),
    }
    Ok(())
}

fn cut<E: Copy + Send + Sync>(x: &[E], y: &mut [E], (kept, before, whole): (usize, usize, usize)) {
    y.par_chunks_mut(kept.max(1)).enumerate().for_each(|(i, y)| y.copy_from_slice(&x[i * whole + before..][..kept]));
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
        Ok(vec![with_extent(&inputs[0], self.slice.axis, self.whole)?])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        pad(args, self)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        pad(args, self)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let dy = launch.ty(0).shape;
        cuda_move_runs(launch, "backward", self.slice.run(self.whole, dy[self.slice.axis + 1..].iter().product()));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let dy = launch.ty(0).shape;
        let extents = self.slice.run(self.whole, dy[self.slice.axis + 1..].iter().product());
        move_runs(launch, "slice_backward_u32", dy[..self.slice.axis].iter().product(), extents);
        Ok(())
    }
}

fn pad<T: Real>(args: &mut Args<T>, op: &SliceBackward) -> Result<()> {
    let (kept, before, whole) = op.slice.run(op.whole, args.shape(0)[op.slice.axis + 1..].iter().product());
    let (dy, dx) = (args.floats(0)?, args.out(0)?);
    dx.par_chunks_mut(whole.max(1)).enumerate().for_each(|(i, dx)| {
        dx[..before].fill(T::ZERO);
        dx[before..before + kept].copy_from_slice(&dy[i * kept..][..kept]);
        dx[before + kept..].fill(T::ZERO);
    });
    Ok(())
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: Slice = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let x = cx.input(0);
        let whole = cx.builder().shape(x)[op.axis];
        cx.set_by(0, SliceBackward { slice: op, whole }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |name: &str, axis, start, length| Case::of(name, move |b, v| slice(b, v[0], axis, start, length)).normal("x", [3, 7, 5]);
    vec![
        case("first", 0, 0, 1),
        Case::of("of nothing", |b, v| slice(b, v[0], 1, 2, 3)).normal("x", [0, 7, 5]),
        Case::of("of six rows", |b, v| slice(b, v[0], 1, 2, 3)).normal("x", [6, 7, 64]),
        case("middle", 1, 2, 3),
        case("last", 2, 4, 1),
        case("all", 1, 0, 7),
        Case::of("ints", |b, v| slice(b, v[0], 1, 1, 2)).ints("x", [4, 3], Fill::Ints(-5, 5)),
        Case::of("49 of 89", |b, v| slice(b, v[0], 1, 0, 49)).normal("x", [8, 89, 768]).large(),
    ]
}
