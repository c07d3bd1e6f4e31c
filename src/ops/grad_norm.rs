//! The norm of all gradients together, `norm = s sqrt(sum over tensors and elements of g^2)`, and whether all of them are finite.
//!
//! One node over any number of tensors. On the CPU squares are added in f64, in fixed blocks whose sums are added in order, so that no
//! finite f32 overflows and any number of threads gives the same bits.

use super::Row;
use super::support::case::{Case, Fill};
use super::support::sums;
use crate::device::cpu::{Args, Real};
use crate::error::Result;
use crate::graph::{Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;
use rayon::prelude::*;

/// The row of the table.
pub const ROW: Row = Row { precision: Precision::Full, ..Row::new("grad_norm", cases) };

/// Inputs: gradients of any shapes, and f32[] with `scale`. Outputs: the norm f32[]; i32[1], 0 where an element is NaN or infinite, else 1.
#[derive(Debug, Clone, Copy)]
pub struct GradNorm {
    /// The last input multiplies the norm.
    pub scale: bool,
}

/// (norm f32[], finite i32[1]) of all `grads`; the norm is multiplied by `scale` f32[], such as the inverse of a loss scale.
///
/// # Errors
/// [`crate::Error::Op`] for integers.
pub fn grad_norm(b: &mut Builder, grads: &[Value], scale: Option<Value>) -> Result<(Value, Value)> {
    let inputs: Vec<Value> = grads.iter().copied().chain(scale).collect();
    let outputs = b.apply(GradNorm { scale: scale.is_some() }, &inputs)?;
    Ok((outputs[0], outputs[1]))
}

impl GradNorm {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let count = args.count() - usize::from(self.scale);
        let scale = if self.scale { args.floats(count)?[0].wide() } else { 1.0 };
        let grads = (0..count).map(|i| args.floats(i)).collect::<Result<Vec<_>>>()?;
        let squares: Vec<f64> = grads.into_par_iter().map(|g| sums::total(g, |x| x.wide() * x.wide())).collect();
        let sum: f64 = squares.into_iter().sum();
        args.out(0)?[0] = T::of(scale * sum.sqrt());
        args.out_ints(1)?[0] = i32::from(sum.is_finite());
        Ok(())
    }
}

impl Op for GradNorm {
    fn stem(&self) -> &'static str {
        "grad_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("grad_norm");
        inputs.iter().try_for_each(|ty| check.float("gradient", ty))?;
        if self.scale {
            check.that(!inputs.is_empty(), "scale", "f32[]", "nothing")?;
            check.shape("scale", &inputs[inputs.len() - 1], &[])?;
        }
        Ok(vec![TensorType::f32([]), TensorType::i32([1])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs.iter().map(|ty| 2 * ty.len() as u64).sum(), inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }
}

fn cases() -> Vec<Case> {
    let build = |scale: bool| {
        move |b: &mut Builder, v: &[Value]| {
            let (grads, last) = v.split_at(v.len() - usize::from(scale));
            let (norm, finite) = grad_norm(b, grads, last.first().copied())?;
            Ok(vec![("norm", norm), ("finite", finite)])
        }
    };
    let normal = || Fill::Normal(0.0, 2.0);
    vec![
        Case::new("one element", build(false)).fixed("g", [1], normal()),
        Case::new("three tensors", build(false)).fixed("f", [3, 5], normal()).fixed("g", [131], normal()).fixed("h", [], normal()),
        Case::new("scaled", build(true)).fixed("g", [7], normal()).fixed("h", [2, 3], normal()).fixed("scale", [], Fill::Values(vec![0.25])),
        Case::new("squares beyond f32", build(false)).fixed("g", [40], Fill::Normal(0.0, 1e25)),
        Case::new("several blocks", build(false)).fixed("g", [70_001], normal()).fixed("h", [3], normal()),
        Case::new("2x 3072x768", build(false)).fixed("g", [3072, 768], normal()).fixed("h", [3072, 768], normal()).large(),
    ]
}
