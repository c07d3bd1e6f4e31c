//! Residual sum and layer normalisation in one pass: `s = x + residual`, `y = layernorm(s)`.
//!
//! Both inputs are [.., D]. The sum is given too, for the residual path or the backward pass; mean and rstd, [..], are saved for the
//! latter, which is [`super::layernorm`]'s: both inputs get `ds + dlayernorm(dy)`. Bound by memory: two tensors are read, one or two
//! written, where two operators would move five.

use super::{Kernel, Row};
use super::layernorm::{FLOPS, gradients, infer, normalize, optional};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_rows_of};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("add_layernorm");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("common/in_place", "common/layernorm", "add_layernorm");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("add_layernorm", head!("add_layernorm.rs"), cases) };

/// The forward pass. Inputs: x, residual, w, b. Outputs: y; the sum, mean and rstd (optional, the latter in f32). In place of x.
#[derive(Debug, Clone, Copy)]
pub struct AddLayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

/// (layernorm(x + residual), x + residual), normalised over the last dimension, times `weight`, plus `bias`.
///
/// # Errors
/// [`crate::Error::Op`] where the extents do not match.
pub fn add_layernorm(b: &mut Builder, x: Value, residual: Value, weight: Value, bias: Value, eps: f64) -> Result<(Value, Value)> {
    let outputs = b.apply(AddLayerNorm { eps }, &[x, residual, weight, bias])?;
    Ok((outputs[0], outputs[1]))
}

impl Op for AddLayerNorm {
    fn stem(&self) -> &'static str {
        "add_layernorm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("add_layernorm");
        check.count(inputs, 4)?;
        check.same("residual", &inputs[1], &inputs[0])?;
        let saved = infer(&check, &inputs[0], &inputs[2], &inputs[3])?;
        Ok(vec![inputs[0], inputs[0], saved, saved])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming((FLOPS + 1) * inputs[0].len() as u64, inputs, &outputs[..2])
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn optional_outputs(&self) -> &'static [usize] {
        &[1, 2, 3]
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
        let tensors = (0..4).map(cuda::Operand::Input).chain((0..4).map(cuda::Operand::Output));
        launch.add(cuda::Dispatch::new(&KERNELS, "add_layernorm_forward_f32").overlaps().tensors(tensors).sizes([width]).number(self.eps).rows(rows));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let [x, r, w, b] = [0, 1, 2, 3].map(Operand::Input);
        let [y, s, mean, rstd] = [0, 1, 2, 3].map(Operand::Output);
        launch.in_pieces(launch.ty(0).shape.rows_and_width().0, &[x, r, y, s, mean, rstd], |launch| {
            let (rows, width) = launch.ty(0).shape.rows_and_width();
            let operands = [x, y, w, b, mean, rstd, r, s];
            let dispatch = Dispatch::new(SHADER, "add_layernorm_forward_f32", operands).constant("IN_PLACE", launch.in_place(0));
            let saves = [("SAVE_SUM", 1), ("SAVE_MEAN", 2), ("SAVE_RSTD", 3)];
            let dispatch = saves.into_iter().fold(dispatch, |d, (name, output)| d.constant(name, launch.out_ty(output).is_some()));
            launch.add(dispatch.size(rows).size(width).number(self.eps).rows(rows));
        });
        Ok(())
    }
}

impl AddLayerNorm {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (rows, width) = args.ty(0).shape.rows_and_width();
        let (residual, w, b, eps) = (args.floats(1)?, args.floats(2)?, args.floats(3)?, T::of(self.eps));
        let (x, y) = args.in_out(0, 0)?;
        let sum = optional(args.optional_out(1), width);
        let outs = [(y, width), sum, optional(args.optional_out(2), 1), optional(args.optional_out(3), 1)];
        for_rows_of(
            outs,
            rows,
            #[inline(always)]
            |row, [y, sum, mean, rstd]| {
                let at = row * width;
                if let Some(x) = x {
                    y.copy_from_slice(&x[at..][..width]);
                }
                for (y, &r) in y.iter_mut().zip(&residual[at..]) {
                    *y += r;
                }
                if !sum.is_empty() {
                    sum.copy_from_slice(y);
                }
                let (m, r) = normalize(y, w, b, eps);
                mean.fill(m);
                rstd.fill(r);
            },
        );
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let ds = cx.grad(1);
    let (wants_input, wants_weight) = (cx.needs(0) || cx.needs(1), cx.needs(2) || cx.needs(3));
    let (mut dx, mut parameters) = (ds, None);
    if let Some(dy) = cx.grad(0) {
        let saved = [dy, cx.output(1), cx.input(2), cx.output(2), cx.output(3)];
        (dx, parameters) = gradients(cx, saved, ds, wants_input, wants_weight)?;
    }
    if let Some(dx) = dx {
        cx.set(0, dx);
        cx.set(1, dx);
    }
    if let Some([dw, db]) = parameters {
        cx.set(2, dw);
        cx.set(3, db);
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let inputs = |case: Case, dims: &[usize]| {
        let width = dims[dims.len() - 1];
        let case = case.float("x", dims_of(dims), Fill::Normal(1.0, 3.0)).normal("residual", dims_of(dims));
        case.float("w", [width], Fill::Normal(1.0, 0.3)).normal("b", [width])
    };
    let both = |dims: &[usize]| {
        let build = Case::new(format!("{dims:?}"), |b, v| {
            let (y, s) = add_layernorm(b, v[0], v[1], v[2], v[3], 1e-5)?;
            Ok(vec![("y", y), ("s", s)])
        });
        inputs(build, dims)
    };
    let normed = |name: &str, dims: &[usize]| inputs(Case::of(name, |b, v| Ok(add_layernorm(b, v[0], v[1], v[2], v[3], 1e-12)?.0)), dims);
    // The sum alone: the parameters get no gradient.
    let sum = Case::of("sum alone", |b, v| {
        let (_, s) = add_layernorm(b, v[0], v[1], v[2], v[3], 1e-5)?;
        super::tanh::tanh(b, s)
    });
    let sum = sum.normal("x", [3, 5]).normal("residual", [3, 5]).fixed("w", [5], Fill::Normal(1.0, 0.3)).fixed("b", [5], Fill::Normal(0.0, 1.0));
    let in_place = Case::of("in place", |b, v| {
        let x = super::tanh::tanh(b, v[0])?;
        Ok(add_layernorm(b, x, v[1], v[2], v[3], 1e-5)?.0)
    });
    let in_place = inputs(in_place, &[7, 65]);
    let same = Case::of("x + x", |b, v| Ok(add_layernorm(b, v[0], v[0], v[1], v[2], 1e-5)?.0)).normal("x", [3, 17]);
    let same = same.normal("w", [17]).normal("b", [17]);
    let known = Case::new("known", |b, v| {
        let (y, s) = add_layernorm(b, v[0], v[1], v[2], v[3], 0.0)?;
        Ok(vec![("y", y), ("s", s)])
    });
    // The sum has mean 3 and variance 1.
    let known = known.expects("y", vec![7.0, 13.0]).expects("s", vec![2.0, 4.0]);
    let values = |a: f64, b: f64| Fill::Values(vec![a, b]);
    let known = known.fixed("x", [2], values(3.0, 1.0)).fixed("residual", [2], values(-1.0, 3.0)).fixed("w", [2], values(2.0, 2.0));
    let known = known.fixed("b", [2], values(9.0, 11.0));
    let mut cases: Vec<Case> = [&[1][..], &[0, 7], &[256, 64], &[3, 1], &[2, 3, 7], &[67, 131], &[2, 2100]].into_iter().map(both).collect();
    cases.extend([known, normed("normed alone", &[5, 33]), sum, in_place, same, normed("577x768", &[577, 768]).large()]);
    cases
}
