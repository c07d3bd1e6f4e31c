//! Logarithm of the softmax over the last dimension: `y_i = x_i - max x - ln(sum of e^(x_j - max x))`.
//!
//! Any shape; a row of negative infinity alone gives NaN, as in PyTorch. Backward: `dx = dy - e^y sum of dy`, from the saved y. Bound by
//! memory: each element is read and written once.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_rows, max, sum};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("log_softmax");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/in_place", "common/softmax", "log_softmax");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("log_softmax", head!("log_softmax.rs"), cases) };

/// The forward pass; in place.
#[derive(Debug, Clone, Copy)]
pub struct LogSoftmax;

/// The gradient. Inputs: dy, y; in place of dy.
#[derive(Debug, Clone, Copy)]
pub struct LogSoftmaxBackward;

/// Log-softmax over the last dimension of `x`.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn log_softmax(b: &mut Builder, x: Value) -> Result<Value> {
    b.apply1(LogSoftmax, &[x])
}

impl Op for LogSoftmax {
    fn stem(&self) -> &'static str {
        "log_softmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("log_softmax");
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
        super::softmax::cuda_row_launch(launch, &KERNELS, "log_softmax_forward_f32", &[cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        super::softmax::row_launch(launch, SHADER, "log_softmax_forward_f32", &[Operand::Input(0), Operand::Output(0)]);
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
            let whole = sum(
                y,
                #[inline(always)]
                |y| (y - top).exp(),
            );
            // Taken off one after the other: the difference of a small number and the logarithm keeps its digits.
            let log = whole.ln();
            for y in y {
                *y = (*y - top) - log;
            }
        },
    );
    Ok(())
}

impl Op for LogSoftmaxBackward {
    fn stem(&self) -> &'static str {
        "log_softmax"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("log_softmax");
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
        let tensors = [cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)];
        super::softmax::cuda_row_launch(launch, &KERNELS, "log_softmax_backward_f32", &tensors);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        super::softmax::row_launch(launch, SHADER, "log_softmax_backward_f32", &[Operand::Input(0), Operand::Output(0), Operand::Input(1)]);
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
            let whole = sum(dx, |dy| dy);
            for (dx, &y) in dx.iter_mut().zip(y) {
                *dx -= y.exp() * whole;
            }
        },
    );
    Ok(())
}

fn backward(cx: &mut Backward) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        let y = cx.output(0);
        cx.set_by(0, LogSoftmaxBackward, &[dy, y])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let known = Case::of("known", |b, v| log_softmax(b, v[0])).expects("y", vec![0.25f64.ln(), 0.75f64.ln()]);
    let known = known.fixed("x", [2], Fill::Values(vec![0.0, 3.0f64.ln()]));
    super::softmax::row_cases(log_softmax).into_iter().chain([known]).collect()
}
