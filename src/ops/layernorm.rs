//! Layer normalisation over the last dimension: `y = (x - mean) rstd w + b` (Ba, Kiros and Hinton 2016).
//!
//! x is [.., D]; mean and `rstd = 1 / sqrt(var + eps)` are a row's, the variance without Bessel's correction; w and b are \[D\]. The
//! variance is the mean of squared differences, taken in a second pass over the row, which is in cache. mean and rstd, [..], are saved
//! for the backward pass:
//!
//! ```text
//! xhat = (x - mean) rstd        g = dy w
//! dx = rstd (g - mean of g - xhat (mean of g xhat)) (+ ds)
//! dw = sum over rows of dy xhat        db = sum over rows of dy
//! ```
//!
//! Bound by memory: x is read once and y written once.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_rows, for_rows_of, sum, sum_rows, sum2};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("layernorm");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/in_place", "common/layernorm", "layernorm");
#[cfg(feature = "wgpu")]
const SUMS: &str = shader!("common/columns", "common/column_sums", "layernorm_backward_weight");

/// The row of the table.
pub const ROW: Row = Row {
    backward: Some(backward),
    precision: Precision::Full,
    wgpu: Kernel::Own,
    cuda: Kernel::Own,
    golden: Some(|case, b, input| Ok(vec![("y", layernorm(b, input("x")?, input("w")?, input("b")?, case.number("eps")?)?)])),
    ..Row::new("layernorm", head!("layernorm.rs"), cases)
};

/// The forward pass. Inputs: x, w, b. Outputs: y; mean and rstd in f32 (optional). In place.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

/// The gradient of x. Inputs: dy, x, w, mean, rstd, and ds with `add`. In place of dy.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormBackwardInput {
    /// There is a sixth input to add to the result: the gradient that reaches x on other ways.
    pub add: bool,
}

/// The gradients of the parameters. Inputs: dy, x, mean, rstd. Outputs: dw, db.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormBackwardWeight;

/// `x` normalised over its last dimension, times `weight`, plus `bias`.
///
/// # Errors
/// [`crate::Error::Op`] where weight or bias do not have the last extent of `x`.
pub fn layernorm(b: &mut Builder, x: Value, weight: Value, bias: Value, eps: f64) -> Result<Value> {
    b.apply1(LayerNorm { eps }, &[x, weight, bias])
}

/// FLOPs of the forward pass for one element.
pub(super) const FLOPS: u64 = 7;

/// Checks x, w and b; gives the type of mean and rstd.
pub(super) fn infer(check: &Check, x: &TensorType, w: &TensorType, b: &TensorType) -> Result<TensorType> {
    check.float("x", x)?;
    check.that(!x.shape.iter().as_slice().is_empty(), "x", "at least one dimension", x)?;
    check.shape("w", w, &[x.shape.rows_and_width().1])?;
    check.same("b", b, w)?;
    Ok(TensorType::f32(rows_of(&x.shape)))
}

/// The extents without the last.
fn rows_of(shape: &Shape) -> Shape {
    dims_of(shape.split_last().map_or(&[], |(_, rows)| rows))
}

/// Normalises a row in place; gives its mean and rstd.
#[inline(always)]
pub(super) fn normalize<T: Real>(row: &mut [T], w: &[T], b: &[T], eps: T) -> (T, T) {
    let n = T::of(row.len() as f64);
    let mean = sum(row, |x| x) / n;
    let variance = sum(
        row,
        #[inline(always)]
        |x| (x - mean) * (x - mean),
    ) / n;
    let rstd = T::ONE / (variance + eps).sqrt();
    for ((x, &w), &b) in row.iter_mut().zip(w).zip(b) {
        *x = (*x - mean) * rstd * w + b;
    }
    (mean, rstd)
}

/// An output with its width, or nothing with width 0.
pub(super) fn optional<T>(out: Option<&mut [T]>, width: usize) -> (&mut [T], usize) {
    out.map_or((&mut [], 0), |out| (out, width))
}

impl Op for LayerNorm {
    fn stem(&self) -> &'static str {
        "layernorm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("layernorm");
        check.count(inputs, 3)?;
        let saved = infer(&check, &inputs[0], &inputs[1], &inputs[2])?;
        Ok(vec![inputs[0], saved, saved])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(FLOPS * inputs[0].len() as u64, inputs, &outputs[..1])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (rows, width) = launch.ty(0).shape.rows_and_width();
        let tensors = (0..3).map(cuda::Operand::Input).chain((0..3).map(cuda::Operand::Output));
        launch.add(cuda::Dispatch::new(&KERNELS, "layernorm_forward_f32").overlaps().tensors(tensors).sizes([width]).number(self.eps).rows(rows));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [x, w, b] = [0, 1, 2].map(Operand::Input);
        let [y, mean, rstd] = [0, 1, 2].map(Operand::Output);
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &[x, y, mean, rstd], |launch| {
            let (rows, width) = launch.ty(0).shape.rows_and_width();
            let dispatch = Dispatch::new(SHADER, "layernorm_forward_f32", [x, y, w, b, mean, rstd]).constant("IN_PLACE", launch.in_place(0));
            let saves = [("SAVE_MEAN", 1), ("SAVE_RSTD", 2)];
            let dispatch = saves.into_iter().fold(dispatch, |d, (name, output)| d.constant(name, launch.out_ty(output).is_some()));
            launch.add(dispatch.constant("ADD", false).size(rows).size(width).number(self.eps).rows(rows));
        });
        Ok(())
    }
}

impl LayerNorm {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (rows, width) = args.ty(0).shape.rows_and_width();
        let (w, b, eps) = (args.floats(1)?, args.floats(2)?, T::of(self.eps));
        let (x, y) = args.in_out(0, 0)?;
        let outs = [(y, width), optional(args.optional_out(1), 1), optional(args.optional_out(2), 1)];
        for_rows_of(
            outs,
            rows,
            #[inline(always)]
            |row, [y, mean, rstd]| {
                if let Some(x) = x {
                    y.copy_from_slice(&x[row * width..][..width]);
                }
                let (m, r) = normalize(y, w, b, eps);
                mean.fill(m);
                rstd.fill(r);
            },
        );
        Ok(())
    }
}

impl Op for LayerNormBackwardInput {
    fn stem(&self) -> &'static str {
        "layernorm"
    }

    fn pass(&self) -> &'static str {
        "backward_input"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("layernorm");
        check.count(inputs, if self.add { 6 } else { 5 })?;
        let (dy, x) = (&inputs[0], &inputs[1]);
        check.same("dy", dy, x)?;
        let saved = infer(&check, x, &inputs[2], &inputs[2])?;
        check.same("mean", &inputs[3], &saved)?;
        check.same("rstd", &inputs[4], &saved)?;
        if self.add {
            check.same("ds", &inputs[5], x)?;
        }
        Ok(vec![*x])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(12 * inputs[0].len() as u64, inputs, outputs)
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
        let (rows, width) = launch.ty(1).shape.rows_and_width();
        let ds = if self.add { cuda::Operand::Input(5) } else { cuda::Operand::Nothing };
        let tensors = (0..5).map(cuda::Operand::Input).chain([ds, cuda::Operand::Output(0)]);
        launch.add(cuda::Dispatch::new(&KERNELS, "layernorm_backward_input_f32").tensors(tensors).sizes([width]).rows(rows));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let ds = if self.add { Operand::Input(5) } else { Operand::Nothing };
        let [dy, x, w, mean, rstd] = [0, 1, 2, 3, 4].map(Operand::Input);
        let dx = Operand::Output(0);
        launch.in_pieces(launch.ty(1).shape.rows_and_width().0, &[dy, x, mean, rstd, ds, dx], |launch| {
            let (rows, width) = launch.ty(1).shape.rows_and_width();
            let dispatch = Dispatch::new(SHADER, "layernorm_backward_input_f32", [dy, dx, w, x, mean, rstd, ds]);
            let dispatch = dispatch.constant("IN_PLACE", launch.in_place(0)).constant("ADD", self.add);
            launch.add(dispatch.constant("SAVE_MEAN", false).constant("SAVE_RSTD", false).size(rows).size(width).number(0.0).rows(rows));
        });
        Ok(())
    }
}

impl LayerNormBackwardInput {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (_, width) = args.ty(1).shape.rows_and_width();
        let (x, w, mean, rstd) = (args.floats(1)?, args.floats(2)?, args.floats(3)?, args.floats(4)?);
        let ds = if self.add { Some(args.floats(5)?) } else { None };
        let (dy, dx) = args.in_out(0, 0)?;
        let n = T::of(width as f64);
        for_rows(
            dx,
            width,
            #[inline(always)]
            |row, dx| {
                let at = row * width;
                let (x, m, r) = (&x[at..][..width], mean[row], rstd[row]);
                if let Some(dy) = dy {
                    dx.copy_from_slice(&dy[at..][..width]);
                }
                for (g, &w) in dx.iter_mut().zip(w) {
                    *g *= w;
                }
                let mean_g = sum(dx, |g| g) / n;
                let along = sum2(
                    dx,
                    x,
                    #[inline(always)]
                    |g, x| g * ((x - m) * r),
                ) / n;
                for (g, &x) in dx.iter_mut().zip(x) {
                    *g = r * (*g - mean_g - (x - m) * r * along);
                }
                if let Some(ds) = ds {
                    for (dx, &ds) in dx.iter_mut().zip(&ds[at..]) {
                        *dx += ds;
                    }
                }
            },
        );
        Ok(())
    }
}

impl Op for LayerNormBackwardWeight {
    fn stem(&self) -> &'static str {
        "layernorm"
    }

    fn pass(&self) -> &'static str {
        "backward_weight"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("layernorm");
        check.count(inputs, 4)?;
        check.same("dy", &inputs[0], &inputs[1])?;
        check.shape("mean", &inputs[2], &rows_of(&inputs[1].shape))?;
        check.same("rstd", &inputs[3], &inputs[2])?;
        let dw = inputs[1].with_shape([inputs[1].shape.rows_and_width().1]);
        Ok(vec![dw, dw])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(5 * inputs[0].len() as u64, inputs, outputs)
    }

    fn workspace(&self, inputs: &[TensorType], _threads: usize) -> usize {
        2 * inputs[0].shape.rows_and_width().1
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        backward_weight(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        backward_weight(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (rows, width) = launch.ty(1).shape.rows_and_width();
        let tensors = |partials| [partials].into_iter().chain((0..4).map(cuda::Operand::Input)).chain((0..2).map(cuda::Operand::Output));
        let kernel = |partials| cuda::Dispatch::new(&KERNELS, "layernorm_backward_weight_f32").tensors(tensors(partials));
        launch.sum_columns(cuda::Columns::summed(rows, width), cuda::Summed::Sums(2), kernel, |dispatch| dispatch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (rows, width) = launch.ty(1).shape.rows_and_width();
        let operands: Vec<Operand> = (0..4).map(Operand::Input).chain((0..2).map(Operand::Output)).collect();
        let dispatch = Dispatch::new(SUMS, "layernorm_backward_weight_f32", operands);
        let matrices: Vec<Operand> = (0..4).map(Operand::Input).collect();
        launch.sum_columns(Columns::summed(rows, width), Summed::Sums(2), dispatch, &matrices);
        Ok(())
    }
}

fn backward_weight<T: Real>(args: &mut Args<T>) -> Result<()> {
    let (rows, width) = args.ty(1).shape.rows_and_width();
    let (dy, x, mean, rstd) = (args.floats(0)?, args.floats(1)?, args.floats(2)?, args.floats(3)?);
    let both = args.workspace()?;
    sum_rows(
        both,
        rows,
        #[inline(always)]
        |row, sums| {
            let (dw, db) = sums.split_at_mut(width);
            let (m, r) = (mean[row], rstd[row]);
            for (((dw, db), &dy), &x) in dw.iter_mut().zip(db).zip(&dy[row * width..]).zip(&x[row * width..]) {
                *dw += dy * ((x - m) * r);
                *db += dy;
            }
        },
    );
    args.out(0)?.copy_from_slice(&both[..width]);
    args.out(1)?.copy_from_slice(&both[width..]);
    Ok(())
}

/// Appends the gradients of a normalised x: (of x, of the parameters), as they are wanted. `ds` is added to the first.
pub(super) fn gradients(
    cx: &mut Backward,
    [dy, x, w, mean, rstd]: [Value; 5],
    ds: Option<Value>,
    wants_input: bool,
    wants_weight: bool,
) -> Result<(Option<Value>, Option<[Value; 2]>)> {
    let (mut dx, mut parameters) = (None, None);
    if wants_input {
        let inputs: Vec<Value> = [dy, x, w, mean, rstd].into_iter().chain(ds).collect();
        dx = Some(cx.builder().apply1(LayerNormBackwardInput { add: ds.is_some() }, &inputs)?);
    }
    if wants_weight {
        let grads = cx.builder().apply(LayerNormBackwardWeight, &[dy, x, mean, rstd])?;
        parameters = Some([grads[0], grads[1]]);
    }
    Ok((dx, parameters))
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let saved = [dy, cx.input(0), cx.input(1), cx.output(1), cx.output(2)];
    let (wants_input, wants_weight) = (cx.needs(0), cx.needs(1) || cx.needs(2));
    let (dx, parameters) = gradients(cx, saved, None, wants_input, wants_weight)?;
    if let Some(dx) = dx {
        cx.set(0, dx);
    }
    if let Some([dw, db]) = parameters {
        cx.set(1, dw);
        cx.set(2, db);
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &[usize]| {
        let width = dims[dims.len() - 1];
        let weights = Fill::Normal(1.0, 0.3);
        let case = Case::of(format!("{dims:?}"), |b, v| layernorm(b, v[0], v[1], v[2], 1e-5)).float("x", dims_of(dims), Fill::Normal(1.0, 3.0));
        case.float("w", [width], weights).normal("b", [width])
    };
    let in_place = Case::of("in place", |b, v| {
        let x = super::tanh::tanh(b, v[0])?;
        layernorm(b, x, v[1], v[2], 1e-5)
    });
    let mut cases: Vec<Case> = [&[1][..], &[0, 7], &[256, 64], &[3, 1], &[2, 3, 7], &[5, 33], &[67, 131], &[2, 65, 257], &[2, 2100]].into_iter().map(case).collect();
    cases.push(in_place.normal("x", [7, 65]).normal("w", [65]).normal("b", [65]));
    cases.push(case(&[577, 768]).large());
    cases
}
