//! With the statistics of the batch: `mean = sum of x / n`, `var = sum of (x - mean)^2 / n`, `y = act((x - mean) rstd w + b + r)`, r being
//! a residual where there is one: the end of a bottleneck in one operator.
//!
//! Backward, with xhat = (x - mean) rstd and dz = dy where the activation passed, else 0:
//! `db = sum of dz`, `dw = sum of dz xhat`, `dx = w rstd (dz - db / n - xhat dw / n)`, `dr = dz`.
//! Where the activation is ReLU, its mask is computed again from x, which is read anyway: y need not be. With a residual either y or the
//! residual has to be read. It is y: its sign is that of ReLU's, whatever the device made of the sum, and the next layer keeps it anyway,
//! where a residual that is a projection lies in memory for nobody else. dz is written as it is summed, and read for dx.
//!
//! Who made x may have left moments of its rows (`support/moments.rs`): then statistics are those, joined (`moments.rs` sees to it).

use super::{CHECK, check, map_row, rstd, scales, zip_row};
use crate::device::cpu::{Args, Real, for_rows, sum_rows, sum_written_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Cost, Op};
use crate::ops::linear::Activation;
use crate::ops::support::moments::{Moments, join, left_of, take};
use crate::tensor::TensorType;

/// Inputs: x [.., C], w, b \[C\], with `residual` that, of x's type, with `moments` those of x. Outputs: y, in place of x or of the residual, mean,
/// var, rstd \[C\], the last three optional. `var` is the unbiased estimate, with n - 1, as running statistics want it; `rstd` is made of the biased one.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTraining {
    /// Added to the variance.
    pub eps: f64,
    /// Applied to the result: nothing or ReLU.
    pub activation: Activation,
    /// Something is added before the activation.
    pub residual: bool,
    /// Who made x left moments of its rows, the last input: statistics are made of these. Only made by fusion.
    pub moments: bool,
}

/// Inputs: dy, x [.., C], w, b, mean, rstd \[C\], with `residual` y. Outputs: dx, dw and db, all optional, with `residual` dz, which is its gradient.
/// In place of dy: dz, or where there is none dx.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTrainingBackward {
    /// As in [`BatchNormTraining`].
    pub activation: Activation,
    /// There was one, with ReLU behind it. Without ReLU its gradient is dy, and nothing here differs.
    pub residual: bool,
}

/// What comes out of [`batchnorm_training`].
#[derive(Debug, Clone, Copy)]
pub struct BatchStats {
    /// x normalised.
    pub y: Value,
    /// The mean of each channel over the batch: no gradient goes through it.
    pub mean: Value,
    /// The unbiased variance of each channel over the batch: no gradient goes through it.
    pub var: Value,
}

/// x normalised by the statistics of its own rows, times `weight`, plus `bias`, plus the residual, if any, then the activation (nothing or ReLU).
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match, or where x has but one row, whose variance nobody knows.
pub fn batchnorm_training(
    b: &mut Builder,
    x: Value,
    weight: Value,
    bias: Value,
    residual: Option<Value>,
    eps: f64,
    activation: Activation,
) -> Result<BatchStats> {
    let inputs: Vec<Value> = [x, weight, bias].into_iter().chain(residual).collect();
    let outputs = b.apply(BatchNormTraining { eps, activation, residual: residual.is_some(), moments: false }, &inputs)?;
    Ok(BatchStats { y: outputs[0], mean: outputs[1], var: outputs[2] })
}

/// The definition: two passes.
fn in_two_passes<T: Real>(x: &[T], n: usize, c: usize) -> Moments<T> {
    let column = |c0: usize| (0..n).map(move |row| x[row * c + c0]);
    let mean: Vec<T> = (0..c).map(|c| column(c).sum::<T>() / T::of(n as f64)).collect();
    let squares = (0..c).map(|c| column(c).map(|x| (x - mean[c]) * (x - mean[c])).sum()).collect();
    Moments { mean, squares }
}

/// One pass over memory, block by block.
fn by_block(x: &[f32], n: usize, c: usize) -> Moments<f32> {
    const BLOCK: usize = 16 * 1024;
    let rows = (BLOCK / c.max(1)).clamp(8, 128);
    let mut blocks = vec![0.0; n.div_ceil(rows) * 3 * c];
    take(&x[..n * c], c, rows, &mut blocks);
    join(&blocks, c)
}

impl Op for BatchNormTraining {
    fn stem(&self) -> &'static str {
        "batchnorm"
    }

    fn pass(&self) -> &'static str {
        "training"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        CHECK.count(inputs, self.moments_at() + usize::from(self.moments))?;
        let (x, w) = (inputs[0], inputs[1]);
        check(&x, &[("weight", &w), ("bias", &inputs[2])])?;
        if self.residual {
            CHECK.same("residual", &inputs[RESIDUAL], &x)?;
        }
        if self.moments {
            CHECK.same("moments", &inputs[self.moments_at()], &left_of(&x))?;
        }
        CHECK.that(x.shape.rows_and_width().0 > 1, "x", "more than one row to take statistics of", x)?;
        CHECK.that(self.activation != Activation::Gelu, "activation", "none or ReLU", "GELU")?;
        Ok(vec![x, w, w, w])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let each = if self.moments { 3 } else { 7 } + u64::from(self.residual) + u64::from(self.activation == Activation::Relu);
        Cost::streaming(each * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.residual { &[(0, 0), (RESIDUAL, 0)] } else { &[(0, 0)] }
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args, in_two_passes)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args, by_block)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        super::cuda::training(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        self.launch(launch);
        Ok(())
    }
}

/// Which input the residual is.
pub(super) const RESIDUAL: usize = 3;

impl BatchNormTraining {
    /// Which input moments are.
    pub(super) fn moments_at(&self) -> usize {
        RESIDUAL + usize::from(self.residual)
    }

    fn run<T: Real>(&self, args: &mut Args<T>, moments: impl Fn(&[T], usize, usize) -> Moments<T>) -> Result<()> {
        let (n, c) = args.ty(0).shape.rows_and_width();
        let (w, b) = (args.floats(1)?, args.floats(2)?);
        // y may hold the one or the other already.
        let residual = self.residual.then(|| args.floats(RESIDUAL).ok());
        let (given, y) = args.in_out(0, 0)?;
        let Moments { mean, squares } = if self.moments { join(args.floats(self.moments_at())?, c) } else { moments(given.unwrap_or(y), n, c) };
        let rstd: Vec<T> = squares.iter().map(|&s| rstd(s / T::of(n as f64), self.eps)).collect();
        if let Some(out) = args.optional_out(1) {
            out.copy_from_slice(&mean);
        }
        if let Some(out) = args.optional_out(2) {
            out.iter_mut().zip(&squares).for_each(|(out, &s)| *out = s / T::of((n - 1) as f64));
        }
        if let Some(out) = args.optional_out(3) {
            out.copy_from_slice(&rstd);
        }
        let map = Affine { mean: &mean, scale: &scales(w, |c| rstd[c]), shift: b };
        let relu = self.activation == Activation::Relu;
        for_rows(
            y,
            c,
            #[inline(always)]
            |row, y| {
                let (map, y) = (map.of_width(c), &mut y[..c]);
                let x = given.map(|x| &x[row * c..]);
                match residual {
                    Some(residual) => zip_row(
                        x,
                        residual.map(|r| &r[row * c..]),
                        y,
                        #[inline(always)]
                        |i, x, r| rectified(relu, map.value(i, x) + r),
                    ),
                    None => map_row(
                        x,
                        y,
                        #[inline(always)]
                        |i, x| rectified(relu, map.value(i, x)),
                    ),
                }
            },
        );
        Ok(())
    }
}

/// z, or ReLU of it.
#[inline(always)]
fn rectified<T: Real>(relu: bool, z: T) -> T {
    if relu && z < T::ZERO { T::ZERO } else { z }
}

/// `(x - mean) scale + shift`: in one place, so that the backward pass finds the very same numbers.
struct Affine<'a, T> {
    mean: &'a [T],
    scale: &'a [T],
    shift: &'a [T],
}

impl<T: Real> Affine<'_, T> {
    #[inline(always)]
    fn value(&self, c: usize, x: T) -> T {
        (x - self.mean[c]) * self.scale[c] + self.shift[c]
    }

    /// The gradient that passes ReLU.
    #[inline(always)]
    fn masked(&self, c: usize, dy: T, x: T) -> T {
        if self.value(c, x) > T::ZERO { dy } else { T::ZERO }
    }

    /// The same, with lengths that the compiler can see: inner loops then check none.
    #[inline(always)]
    fn of_width(&self, c: usize) -> Self {
        Affine { mean: &self.mean[..c], scale: &self.scale[..c], shift: &self.shift[..c] }
    }
}

impl Op for BatchNormTrainingBackward {
    fn stem(&self) -> &'static str {
        "batchnorm"
    }

    fn pass(&self) -> &'static str {
        "training_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        CHECK.count(inputs, 6 + usize::from(self.residual))?;
        let (dy, x, w) = (inputs[0], inputs[1], inputs[2]);
        check(&x, &[("weight", &w), ("bias", &inputs[3]), ("mean", &inputs[4]), ("rstd", &inputs[5])])?;
        CHECK.same("dy", &dy, &x)?;
        if !self.residual {
            return Ok(vec![x, w, w]);
        }
        CHECK.same("y", &inputs[6], &x)?;
        CHECK.that(self.activation == Activation::Relu, "activation", "ReLU behind a residual", format!("{:?}", self.activation))?;
        Ok(vec![x, w, w, x])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let mask = match self.activation {
            Activation::Relu if self.residual => 1,
            Activation::Relu => 3,
            _ => 0,
        };
        Cost::streaming((10 + mask) * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        if self.residual { &[(0, 3)] } else { &[(0, 0)] }
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
        super::cuda::training_backward(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        self.launch(launch);
        Ok(())
    }
}

impl BatchNormTrainingBackward {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (n, c) = args.ty(1).shape.rows_and_width();
        let (x, w, shift, mean, rstd) = (args.floats(1)?, args.floats(2)?, args.floats(3)?, args.floats(4)?, args.floats(5)?);
        let scale = scales(w, |c| rstd[c]);
        let map = Affine { mean: &mean[..c], scale: &scale[..c], shift: &shift[..c] };
        let relu = self.activation == Activation::Relu && !self.residual;

        // Both sums at once: of dz, and of dz (x - mean).
        let mut sums = vec![T::ZERO; 2 * c];
        let (given, mut dx) = if self.residual {
            let (given, y, dx) = (args.in_out(0, 3)?, args.floats(6)?, args.optional_out(0));
            (Some(masked_sums(&mut sums, given, y, x, mean)), dx)
        } else {
            let (given, dx) = match args.out_ty(0) {
                Some(_) => args.in_out(0, 0).map(|(dy, dx)| (dy, Some(dx)))?,
                None => (Some(args.floats(0)?), None),
            };
            let dy = given.or(dx.as_deref()).unwrap_or(&[]);
            sum_rows(
                &mut sums,
                n,
                #[inline(always)]
                |row, sums| {
                    let map = map.of_width(c);
                    let (plain, by_x) = sums.split_at_mut(c);
                    let (dy, x, by_x) = (&dy[row * c..][..c], &x[row * c..][..c], &mut by_x[..c]);
                    for i in 0..c {
                        let dz = if relu { map.masked(i, dy[i], x[i]) } else { dy[i] };
                        plain[i] += dz;
                        by_x[i] += dz * (x[i] - map.mean[i]);
                    }
                },
            );
            (given, dx)
        };
        let (db, dw) = sums.split_at_mut(c);
        dw.iter_mut().zip(rstd).for_each(|(dw, &rstd)| *dw *= rstd);
        if let Some(dx) = &mut dx {
            // dx = scale dz - (offset + slope (x - mean))
            let part = T::ONE / T::of(n as f64);
            let offset: Vec<T> = (0..c).map(|i| scale[i] * db[i] * part).collect();
            let slope: Vec<T> = (0..c).map(|i| scale[i] * rstd[i] * dw[i] * part).collect();
            for_rows(
                dx,
                c,
                #[inline(always)]
                |row, dx| {
                    let (map, offset, slope, x) = (map.of_width(c), &offset[..c], &slope[..c], &x[row * c..][..c]);
                    map_row(
                        given.map(|dy| &dy[row * c..]),
                        &mut dx[..c],
                        #[inline(always)]
                        |i, dy| {
                            let dz = if relu { map.masked(i, dy, x[i]) } else { dy };
                            map.scale[i] * dz - (offset[i] + slope[i] * (x[i] - map.mean[i]))
                        },
                    );
                },
            );
        }
        if let Some(out) = args.optional_out(1) {
            out.copy_from_slice(dw);
        }
        if let Some(out) = args.optional_out(2) {
            out.copy_from_slice(db);
        }
        Ok(())
    }
}

/// The sums of dz and of dz (x - mean) behind a residual; gives dz, which is dy where y is greater than 0 and may hold dy already.
fn masked_sums<'a, T: Real>(sums: &mut [T], (dy, dz): (Option<&[T]>, &'a mut [T]), y: &[T], x: &[T], mean: &[T]) -> &'a [T] {
    let c = mean.len();
    sum_written_rows(
        sums,
        x.len() / c.max(1),
        dz,
        #[inline(always)]
        |row, sums, dz| {
            let (plain, by_x) = sums.split_at_mut(c);
            if let Some(dy) = dy {
                dz.copy_from_slice(&dy[row * c..][..c]);
            }
            let (y, x, mean, dz, by_x) = (&y[row * c..][..c], &x[row * c..][..c], &mean[..c], &mut dz[..c], &mut by_x[..c]);
            for i in 0..c {
                dz[i] = if y[i] > T::ZERO { dz[i] } else { T::ZERO };
                plain[i] += dz[i];
                by_x[i] += dz[i] * (x[i] - mean[i]);
            }
        },
    );
    dz
}

/// The backward rule.
pub fn backward(cx: &mut Backward) -> Result<()> {
    let op: BatchNormTraining = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let residual = op.residual && op.activation == Activation::Relu;
        let mut inputs = vec![dy, cx.input(0), cx.input(1), cx.input(2), cx.output(1), cx.output(3)];
        inputs.extend(residual.then(|| cx.output(0)));
        let grads = cx.builder().apply(BatchNormTrainingBackward { activation: op.activation, residual }, &inputs)?;
        (0..3).for_each(|i| cx.set(i, grads[i]));
        if op.residual {
            cx.set(RESIDUAL, if residual { grads[3] } else { dy });
        }
    }
    Ok(())
}
