//! Softmax over the last dimension: `y_i = e^(x_i - max x) / sum of e^(x_j - max x)`.
//!
//! Any shape; a row of negative infinity alone gives NaN, as in PyTorch. Backward: `dx = y (dy - sum of dy y)`, from the saved y. Bound
//! by memory: each element is read and written once.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, dot, for_rows, max, sum};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("softmax");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/in_place", "common/softmax", "softmax");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|_, b, input| Ok(vec![("y", softmax(b, input("x")?)?)])),
    ..Row::new("softmax", head!("softmax.rs"), cases)
};

/// The forward pass; in place.
#[derive(Debug, Clone, Copy)]
pub struct Softmax;

/// The gradient. Inputs: dy, y; in place of dy.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxBackward;

/// Softmax over the last dimension of `x`.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn softmax(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(Softmax, &[x])
}

impl Op for Softmax {
    fn stem(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("softmax");
        check.count(inputs, 1)?;
        check.float("x", &inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(12 * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        forward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        forward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        cuda_row_launch(launch, &KERNELS, "softmax_forward_f32", &[cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        row_launch(launch, SHADER, "softmax_forward_f32", &[Operand::Input(0), Operand::Output(0)]);
        Ok(())
    }
}

fn forward<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (_, width) = args.ty(0).shape.rows_and_width();
    let (x, y) = args.in_out(0, 0)?;
    for_rows(
        y,
        width,
        #[inline(always)]
        |row, y| {
            if let Some(x) = x {
                y.copy_from_slice(&x[row * width..][..width]);
            }
            let top = max(y);
            for y in y.iter_mut() {
                *y = (*y - top).exp();
            }
            let scale = T::ONE / sum(y, |y| y);
            for y in y {
                *y *= scale;
            }
        },
    );
    Ok(())
}

impl Op for SoftmaxBackward {
    fn stem(&self) -> &'static str {
        "softmax"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("softmax");
        check.count(inputs, 2)?;
        check.float("dy", &inputs[0])?;
        check.same("y", &inputs[1], &inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(4 * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run_backward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run_backward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        cuda_row_launch(launch, &KERNELS, "softmax_backward_f32", &[cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        row_launch(launch, SHADER, "softmax_backward_f32", &[Operand::Input(0), Operand::Output(0), Operand::Input(1)]);
        Ok(())
    }
}

fn run_backward<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (_, width) = args.ty(0).shape.rows_and_width();
    let y = args.floats(1)?;
    let (dy, dx) = args.in_out(0, 0)?;
    for_rows(
        dx,
        width,
        #[inline(always)]
        |row, dx| {
            let y = &y[row * width..][..width];
            if let Some(dy) = dy {
                dx.copy_from_slice(&dy[row * width..][..width]);
            }
            let along = dot(dx, y);
            for (dx, &y) in dx.iter_mut().zip(y) {
                *dx = y * (*dx - along);
            }
        },
    );
    Ok(())
}

fn backward(cx: &mut Backward) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        let y = cx.output(0);
        cx.set_by(0, SoftmaxBackward, &[dy, y])?;
    }
    Ok(())
}

/// One block a row of the first input.
#[cfg(feature = "cuda")]
pub(super) fn cuda_row_launch(launch: &mut cuda::Launch, image: &'static cuda::Image, kernel: &str, operands: &[cuda::Operand]) {
    let (rows, width) = launch.ty(0).shape.rows_and_width();
    launch.add(cuda::Dispatch::new(image, kernel).overlaps().tensors(operands.iter().copied()).sizes([width]).rows(rows));
}

/// One workgroup a row of the first input, in whose place the output may be.
#[cfg(feature = "wgpu")]
pub(super) fn row_launch(launch: &mut Launch, source: &'static str, entry: &str, operands: &[Operand]) {
    launch.in_pieces(launch.ty(0).shape.rows_and_width().0, operands, |launch| {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let dispatch = Dispatch::new(source, entry, operands).constant("IN_PLACE", launch.in_place(0));
        launch.add(dispatch.size(rows).size(width).rows(rows));
    });
}

/// The cases of an operator on rows.
pub(super) fn row_cases(build: fn(&mut Builder, Value) -> Result<Value>) -> Vec<Case> {
    let shapes: [&[usize]; 8] = [&[0, 7], &[12, 64], &[1], &[3, 1], &[2, 3, 7], &[5, 31], &[2, 33], &[3, 1025]];
    let small = shapes.iter().map(|dims| {
        Case::of(format!("{dims:?}"), move |b, v| build(b, v[0])).float("x", dims_of(dims), Fill::Normal(1.0, 4.0))
    });
    let in_place = Case::of("in place", move |b, v| {
        let x = super::tanh::tanh(b, v[0])?;
        build(b, x)
    });
    small.chain([in_place.normal("x", [7, 65]), Case::of("3x30524", move |b, v| build(b, v[0])).normal("x", [3, 30524]).large()]).collect()
}

fn cases() -> Vec<Case> {
    let masked = Fill::Values(vec![0.5, f64::NEG_INFINITY, 2.0, -800.0, 800.0, 799.0]);
    let masked = Case::of("-inf", |b, v| softmax(b, v[0])).fixed("x", [2, 3], masked);
    row_cases(softmax).into_iter().chain([masked]).collect()
}
