//! With given statistics: an affine map of each channel.
//!
//! Backward, the statistics held fixed: `dx = dy rstd w`, `dw = sum of dy (x - mean) rstd`, `db = sum of dy`.

use super::{CHECK, check, map_row, rstd, scales};
use crate::device::cpu::{Args, Real, for_rows, sum_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Cost, Op};
use crate::tensor::TensorType;

/// Inputs: x [.., C], w, b, mean, var \[C\]. Output: y, in place of x.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f64,
}

/// Inputs: dy, x [.., C], w, mean, var \[C\]. Outputs: dx, in place of dy, dw and db, all optional.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormBackward {
    /// As in [`BatchNorm`].
    pub eps: f64,
}

/// `(x - mean) / sqrt(var + eps) weight + bias` for each channel, the last dimension of x.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn batchnorm(b: &mut Builder, x: Value, weight: Value, bias: Value, mean: Value, var: Value, eps: f64) -> Result<Value> {
    b.apply1(BatchNorm { eps }, &[x, weight, bias, mean, var])
}

impl Op for BatchNorm {
    fn stem(&self) -> &'static str {
        "batchnorm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        CHECK.count(inputs, 5)?;
        check(&inputs[0], &[("weight", &inputs[1]), ("bias", &inputs[2]), ("mean", &inputs[3]), ("var", &inputs[4])])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(3 * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        super::cuda::inference(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        self.launch(launch);
        Ok(())
    }
}

impl BatchNorm {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (w, b, mean, var) = (args.floats(1)?, args.floats(2)?, args.floats(3)?, args.floats(4)?);
        let scale = scales(w, |c| rstd(var[c], self.eps));
        let (x, y) = args.in_out(0, 0)?;
        let c = w.len();
        for_rows(
            y,
            c,
            #[inline(always)]
            |row, y| {
                let (mean, scale, b) = (&mean[..c], &scale[..c], &b[..c]);
                map_row(
                    x.map(|x| &x[row * c..]),
                    &mut y[..c],
                    #[inline(always)]
                    |i, x| (x - mean[i]) * scale[i] + b[i],
                );
            },
        );
        Ok(())
    }
}

impl Op for BatchNormBackward {
    fn stem(&self) -> &'static str {
        "batchnorm"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        CHECK.count(inputs, 5)?;
        let (dy, x, w) = (inputs[0], inputs[1], inputs[2]);
        check(&x, &[("weight", &w), ("mean", &inputs[3]), ("var", &inputs[4])])?;
        CHECK.same("dy", &dy, &x)?;
        Ok(vec![x, w, w])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(6 * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        super::cuda::inference_backward(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        self.launch(launch);
        Ok(())
    }
}

impl BatchNormBackward {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (rows, c) = args.ty(1).shape.rows_and_width();
        let (x, w, mean, var) = (args.floats(1)?, args.floats(2)?, args.floats(3)?, args.floats(4)?);
        let (given, mut dx) = match args.out_ty(0) {
            Some(_) => args.in_out(0, 0).map(|(dy, dx)| (dy, Some(dx)))?,
            None => (Some(args.floats(0)?), None),
        };
        let (dw, db) = (args.optional_out(1), args.optional_out(2));
        if dw.is_some() || db.is_some() {
            let dy = given.or(dx.as_deref()).unwrap_or(&[]);
            let mut sums = vec![T::ZERO; 2 * c];
            sum_rows(
                &mut sums,
                rows,
                #[inline(always)]
                |row, sums| {
                    let (dw, db) = sums.split_at_mut(c);
                    let (dy, x, mean, db) = (&dy[row * c..][..c], &x[row * c..][..c], &mean[..c], &mut db[..c]);
                    for i in 0..c {
                        dw[i] += dy[i] * (x[i] - mean[i]);
                        db[i] += dy[i];
                    }
                },
            );
            if let Some(dw) = dw {
                dw.iter_mut().enumerate().for_each(|(c, dw)| *dw = sums[c] * rstd(var[c], self.eps));
            }
            if let Some(db) = db {
                db.copy_from_slice(&sums[c..]);
            }
        }
        if let Some(dx) = &mut dx {
            let scale = scales(w, |c| rstd(var[c], self.eps));
            for_rows(
                dx,
                c,
                #[inline(always)]
                |row, dx| {
                    let scale = &scale[..c];
                    map_row(
                        given.map(|dy| &dy[row * c..]),
                        &mut dx[..c],
                        #[inline(always)]
                        |i, dy| dy * scale[i],
                    );
                },
            );
        }
        Ok(())
    }
}

/// The backward rule. The statistics get no gradient.
pub fn backward(cx: &mut Backward, op: BatchNorm) -> Result<()> {
    if let Some(dy) = cx.grad(0) {
        let (x, w, mean, var) = (cx.input(0), cx.input(1), cx.input(3), cx.input(4));
        let grads = cx.builder().apply(BatchNormBackward { eps: op.eps }, &[dy, x, w, mean, var])?;
        (0..3).for_each(|i| cx.set(i, grads[i]));
    }
    Ok(())
}
