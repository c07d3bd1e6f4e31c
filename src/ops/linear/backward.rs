//! The gradients.

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "wgpu")]
use super::wgpu;
use super::{Activation, Linear};
use crate::device::cpu::gemm::{Matrix, Rhs, gemm};
use crate::device::cpu::{Args, Real, for_rows, sum_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda::Launch as CudaLaunch;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::graph::Backward;
use crate::op::{Check, Cost, Op};
use crate::ops::cast::cast;
use crate::ops::gelu::Gelu;
use crate::ops::relu::Relu;
use crate::ops::support::elementwise::MapBackward;
use crate::tensor::{DType, TensorType};

/// The gradient of x: `dx = dy W`, or of what an activation made x of: `dx = dy W act'`. Inputs: dy [.., N], w [N, K], and with an activation what is saved for
/// its derivative, [.., K] in dy's type.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinearBackwardInput {
    /// What made x.
    pub activation: Activation,
    /// dx comes out in f32.
    pub wide: bool,
}

/// The gradients of the parameters: `dW = dy^T x`, `db = sum of the rows of dy`, in f32. Inputs: dy [.., N], x [.., K]. Outputs: dW, db (optional).
#[derive(Debug, Clone, Copy)]
pub struct LinearBackwardWeight;

impl Op for LinearBackwardInput {
    fn stem(&self) -> &'static str {
        "linear"
    }

    fn pass(&self) -> &'static str {
        "backward_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("linear");
        check.count(inputs, if self.activation == Activation::None { 2 } else { 3 })?;
        let (dy, w) = (&inputs[0], &inputs[1]);
        check.rank("w", w, 2)?;
        check.that(dy.shape.rows_and_width().1 == w.shape[0], "dy", format!("a last extent of {}", w.shape[0]), dy)?;
        let dx = dy.with_shape(dy.shape.with_last(w.shape[1]));
        if let Some(saved) = inputs.get(2) {
            check.same("saved", saved, &dx)?;
        }
        Ok(vec![if self.wide { TensorType::new(DType::F32, dx.shape) } else { dx }])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let ((m, n), k) = (inputs[0].shape.rows_and_width(), inputs[1].shape[1]);
        let each = if self.activation == Activation::None { 0 } else { self.activation.flops() + 1 };
        Cost::streaming((2 * m * n * k) as u64 + (m * k) as u64 * each, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let ((m, n), k) = (args.ty(0).shape.rows_and_width(), args.shape(1)[1]);
        let (dy, w, saved, dx) = (args.floats(0)?, args.floats(1)?, self.saved(args)?, args.out(0)?);
        for row in 0..m {
            for col in 0..k {
                let (i, sum) = (row * k + col, (0..n).map(|p| dy[row * n + p] * w[p * k + col]).sum::<f64>());
                dx[i] = sum * saved.map_or(1.0, |saved| self.activation.derivative(saved[i]));
            }
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let ((m, n), k) = (args.ty(0).shape.rows_and_width(), args.shape(1)[1]);
        let (dy, w, saved, dx) = (args.floats(0)?, args.floats(1)?, self.saved(args)?, args.out(0)?);
        gemm(dx, Matrix::new(dy, m, n), Rhs::View(Matrix::new(w, n, k)), 0.0, None)?;
        if let Some(saved) = saved {
            for_rows(
                dx,
                k,
                #[inline(always)]
                |row, dx| {
                    for (dx, &saved) in dx.iter_mut().zip(&saved[row * k..]) {
                        *dx *= self.activation.derivative(saved);
                    }
                },
            );
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        cuda::backward_input(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        wgpu::backward_input(self, launch);
        Ok(())
    }
}

impl LinearBackwardInput {
    fn saved<'a, T: Real>(&self, args: &Args<'a, T>) -> Result<Option<&'a [T]>> {
        if self.activation == Activation::None { Ok(None) } else { args.floats(2).map(Some) }
    }
}

impl Op for LinearBackwardWeight {
    fn stem(&self) -> &'static str {
        "linear"
    }

    fn pass(&self) -> &'static str {
        "backward_weight"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("linear");
        check.count(inputs, 2)?;
        let ((m, n), (rows, k)) = (inputs[0].shape.rows_and_width(), inputs[1].shape.rows_and_width());
        check.that(m == rows, "x", format!("{m} rows"), inputs[1])?;
        Ok(vec![TensorType::f32([n, k]), TensorType::f32([n])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let ((m, n), (_, k)) = (inputs[0].shape.rows_and_width(), inputs[1].shape.rows_and_width());
        Cost::streaming((2 * m * n * k + m * n) as u64, inputs, outputs)
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        let ((m, n), (_, k)) = (args.ty(0).shape.rows_and_width(), args.ty(1).shape.rows_and_width());
        let (dy, x, dw) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        for row in 0..n {
            for col in 0..k {
                dw[row * k + col] = (0..m).map(|p| dy[p * n + row] * x[p * k + col]).sum();
            }
        }
        if let Some(db) = args.optional_out(1) {
            (0..n).for_each(|col| db[col] = (0..m).map(|p| dy[p * n + col]).sum());
        }
        Ok(())
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        let ((m, n), (_, k)) = (args.ty(0).shape.rows_and_width(), args.ty(1).shape.rows_and_width());
        let (dy, x, dw) = (args.floats(0)?, args.floats(1)?, args.out(0)?);
        gemm(dw, Matrix::new(dy, m, n).t(), Rhs::View(Matrix::new(x, m, k)), 0.0, None)?;
        if let Some(db) = args.optional_out(1) {
            sum_rows(
                db,
                m,
                #[inline(always)]
                |row, sum| {
                    for (s, &d) in sum.iter_mut().zip(&dy[row * n..]) {
                        *s += d;
                    }
                },
            );
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut CudaLaunch) -> Result<()> {
        cuda::backward_weight(launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        wgpu::backward_weight(launch);
        Ok(())
    }
}

/// The backward rule. Where y is f32 and x is not, gradients are what x is from here on, save the residual's.
pub fn backward(cx: &mut Backward) -> Result<()> {
    let op: Linear = cx.op()?;
    let Some(whole) = cx.grad(0) else { return Ok(()) };
    let (x, w, y) = (cx.input(0), cx.input(1), cx.output(0));
    let dtype = cx.builder().dtype(x);
    let mut dy = cast(cx.builder(), whole, dtype)?;
    match op.activation {
        Activation::None => {}
        Activation::Relu => {
            let y = cast(cx.builder(), y, dtype)?;
            dy = cx.builder().apply1(MapBackward(Relu), &[dy, y])?;
        }
        Activation::Gelu => {
            let before = cx.output(1);
            dy = cx.builder().apply1(MapBackward(Gelu), &[dy, before])?;
        }
    }
    cx.set_by(0, LinearBackwardInput::default(), &[dy, w])?;
    if cx.needs(1) || (op.bias && cx.needs(2)) {
        let grads = cx.builder().apply(LinearBackwardWeight, &[dy, x])?;
        // Of parameters in 16 bits, which no model has for its own, so are the gradients.
        for (i, dw) in grads.into_iter().take(1 + usize::from(op.bias)).enumerate() {
            let dw = cast(cx.builder(), dw, dtype)?;
            cx.set(1 + i, dw);
        }
    }
    if op.residual {
        let last = op.residual_at();
        let of_y = cx.builder().dtype(y);
        let dr = if op.activation == Activation::None { whole } else { cast(cx.builder(), dy, of_y)? };
        cx.set(last, dr);
    }
    Ok(())
}
