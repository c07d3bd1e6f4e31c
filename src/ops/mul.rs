//! Product of two tensors element by element, and of each row with one number.
//!
//! ```text
//! mul       y = a b                da = dy b,        db = dy a
//! mul_rows  y[r, d] = x[r, d] g[r]  dx[r, d] = dy[r, d] g[r],  dg[r] = sum over d of dy[r, d] x[r, d]
//! ```

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::{dims_of, zip};
#[cfg(feature = "wgpu")]
use super::support::elementwise::{Runs, pairwise};
use crate::device::cpu::{Args, Real, dot, for_heavy_rows, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("mul");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/in_place", "common/map", "mul");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("mul", head!("mul.rs"), cases) };

/// `a b` of one shape and type; in place of either.
#[derive(Debug, Clone, Copy)]
pub struct Mul;

/// Each row of x [.., D] times its number in g [..]; in place of x.
#[derive(Debug, Clone, Copy)]
pub struct MulRows;

/// The gradient of g: the dot products of the rows of dy [.., D] and x [.., D].
#[derive(Debug, Clone, Copy)]
pub struct MulRowsBackwardScale;

/// `x y`, both of one shape and type.
///
/// # Errors
/// [`crate::Error::Op`] where they differ.
pub fn mul(b: &mut Builder, x: Value, y: Value) -> Result<Value> {
    b.apply1(Mul, &[x, y])
}

/// Each row of `x` [.., D] times its number in `g` [..].
///
/// # Errors
/// [`crate::Error::Op`] where `g` has not one number a row.
pub fn mul_rows(b: &mut Builder, x: Value, g: Value) -> Result<Value> {
    b.apply1(MulRows, &[x, g])
}

impl Op for Mul {
    fn stem(&self) -> &'static str {
        "mul"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("mul");
        check.count(inputs, 2)?;
        check.float("a", &inputs[0])?;
        check.same("b", &inputs[1], &inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0), (1, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        zip(
            args,
            #[inline(always)]
            |a, b| a * b,
        )
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        zip(
            args,
            #[inline(always)]
            |a, b| a * b,
        )
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        product(launch, 1);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let runs = Runs::Apart(launch.ty(0).len());
        pairwise(launch, SHADER, "mul_forward_f32", runs, |dispatch| dispatch.size(1));
        Ok(())
    }
}

impl MulRows {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let width = args.shape(0).last().copied().unwrap_or(1);
        let g = args.floats(1)?;
        let (x, y) = args.in_out(0, 0)?;
        for_rows(
            y,
            width,
            #[inline(always)]
            |r, y| match x {
                Some(x) => {
                    for (y, &x) in y.iter_mut().zip(&x[r * width..]) {
                        *y = x * g[r];
                    }
                }
                None => {
                    for y in y {
                        *y *= g[r];
                    }
                }
            },
        );
        Ok(())
    }
}

impl Op for MulRows {
    fn stem(&self) -> &'static str {
        "mul"
    }

    fn pass(&self) -> &'static str {
        "rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("mul");
        check.count(inputs, 2)?;
        let (x, g) = (&inputs[0], &inputs[1]);
        check.float("x", x)?;
        check.that(!x.shape[..].is_empty(), "x", "rows", x)?;
        check.same("g", g, &x.with_shape(rows_of(x)))?;
        Ok(vec![*x])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        product(launch, launch.ty(0).shape.last().copied().unwrap_or(1));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let width = launch.ty(0).shape.last().copied().unwrap_or(1);
        let runs = Runs::Apart(launch.ty(1).len());
        pairwise(launch, SHADER, "mul_forward_f32", runs, |dispatch| dispatch.size(width));
        Ok(())
    }
}

/// Products with numbers that `width` elements share.
#[cfg(feature = "cuda")]
fn product(launch: &mut cuda::Launch, width: usize) {
    let n = launch.ty(0).len();
    let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
    launch.add(cuda::Dispatch::new(&KERNELS, format!("mul_forward_{}", launch.dtype())).tensors(tensors).count(n).sizes([width]).over_fours(n));
}

/// The extents of a tensor without the last.
fn rows_of(ty: &TensorType) -> crate::tensor::Shape {
    dims_of(ty.shape.split_last().map_or(&[], |(_, rows)| rows))
}

impl MulRowsBackwardScale {
    fn run<T: Real>(args: &mut Args<T>) -> Result<()> {
        let width = args.shape(0).last().copied().unwrap_or(1);
        let (dy, x) = (args.floats(0)?, args.floats(1)?);
        for_heavy_rows(
            args.out(0)?,
            1,
            width,
            #[inline(always)]
            |r, dg| dg[0] = dot(&dy[r * width..][..width], &x[r * width..][..width]),
        );
        Ok(())
    }
}

impl Op for MulRowsBackwardScale {
    fn stem(&self) -> &'static str {
        "mul"
    }

    fn pass(&self) -> &'static str {
        "rows_backward_scale"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("mul");
        check.count(inputs, 2)?;
        check.same("x", &inputs[1], &inputs[0])?;
        Ok(vec![inputs[0].with_shape(rows_of(&inputs[0]))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(2 * inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        Self::run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        Self::run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        let kernel = format!("mul_rows_backward_scale_{}", launch.dtype());
        launch.add(cuda::Dispatch::new(&KERNELS, kernel).tensors(tensors).sizes([width]).rows(rows));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let operands = [Operand::Input(0), Operand::Output(0), Operand::Input(1)];
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &operands, |launch| {
            let (rows, width) = launch.ty(0).shape.rows_and_width();
            let dispatch = Dispatch::new(SHADER, "mul_rows_backward_scale_f32", operands);
            launch.add(dispatch.constant("IN_PLACE", false).size(rows).size(width).rows(rows));
        });
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let (a, b) = (cx.input(0), cx.input(1));
    if cx.op::<Mul>().is_ok() {
        cx.set_by(0, Mul, &[dy, b])?;
        return cx.set_by(1, Mul, &[dy, a]);
    }
    cx.op::<MulRows>()?;
    cx.set_by(0, MulRows, &[dy, b])?;
    cx.set_by(1, MulRowsBackwardScale, &[dy, a])
}

fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 5] = [&[0, 7], &[1], &[17], &[3, 5, 7], &[9001]];
    let whole = |dims: &[usize]| Case::of(format!("{dims:?}"), |b, v| mul(b, v[0], v[1])).normal("a", dims_of(dims)).normal("b", dims_of(dims));
    let rows = |dims: &'static [usize]| {
        let rows = dims_of(&dims[..dims.len() - 1]);
        Case::of(format!("rows of {dims:?}"), |b, v| mul_rows(b, v[0], v[1])).normal("x", dims_of(dims)).normal("g", rows)
    };
    let in_place = Case::of("rows in place", |b, v| {
        let x = super::relu::relu(b, v[0])?;
        mul_rows(b, x, v[1])
    });
    let known = Case::of("known rows", |b, v| mul_rows(b, v[0], v[1]))
        .float("x", [2, 2], Fill::Values(vec![1.0, 2.0, 3.0, 4.0]))
        .float("g", [2], Fill::Values(vec![10.0, -1.0]))
        .expects("y", vec![10.0, 20.0, -3.0, -4.0]);
    shapes
        .iter()
        .map(|d| whole(d))
        .chain([Case::of("a*a", |b, v| mul(b, v[0], v[0])).normal("a", [33]), whole(&[577, 768]).large()])
        .chain([rows(&[0, 7]), rows(&[128, 64]), rows(&[1]), rows(&[3, 1]), rows(&[5, 67]), rows(&[2, 61, 7]), rows(&[3, 20_000]), rows(&[32, 61, 768]).large()])
        .chain([in_place.float("x", [5, 67], Fill::Distinct).normal("g", [5]), known])
        .collect()
}
