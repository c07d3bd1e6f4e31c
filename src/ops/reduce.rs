//! Sum or mean over the first dimensions, the last, or all.
//!
//! With x seen as [outer, inner], the reduced dimensions first or last:
//!
//! ```text
//! leading   y[i] = s sum over o of x[o, i]      dx[o, i] = s dy[i]
//! trailing  y[o] = s sum over i of x[o, i]      dx[o, i] = s dy[o]
//! ```
//!
//! s is 1 for a sum and 1 / count for a mean. Sums are taken in an order that depends on the shape alone.

use super::{Kernel, Row};
use super::support::case::{Case, Fill};
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real, for_heavy_rows, for_rows, sum, sum_rows, sum_wide};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Columns, Dispatch, Launch, Operand, Summed, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Precision, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("reduce");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("reduce");
#[cfg(feature = "wgpu")]
const SUMS: &str = shader!("common/columns", "common/column_sums", "reduce_leading");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), precision: Precision::Full, wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("reduce", head!("reduce.rs"), cases) };

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The sum divided by the number of terms.
    Mean,
}

/// Which dimensions are reduced; they vanish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axes {
    /// The first so many.
    Leading(usize),
    /// The last so many.
    Trailing(usize),
    /// All: a scalar comes out.
    All,
}

/// The forward pass: x of any shape gives y without the reduced dimensions.
#[derive(Debug, Clone, Copy)]
pub struct Reduce {
    /// What is computed.
    pub reduction: Reduction,
    /// Over which dimensions.
    pub axes: Axes,
}

/// The gradient of x: each element of dy, scaled, wherever it was summed from.
#[derive(Debug, Clone, Copy)]
pub struct ReduceBackward {
    /// The forward pass.
    pub forward: Reduce,
    /// The extents of x.
    pub shape: Shape,
}

/// For [`Launch::sum_columns`]: the sums of the columns of one tensor, times `factor`, to another, which is `stored` as `Real` or f32.
#[cfg(feature = "wgpu")]
pub(super) fn leading(from_to: [Operand; 2], factor: f64, stored: &'static str) -> Dispatch {
    Dispatch::new(SUMS, "reduce_leading_f32", from_to).alias("Result", stored).number(factor)
}

/// Sum or mean of `x` over `axes`.
///
/// # Errors
/// [`crate::Error::Op`] where `x` has fewer dimensions.
pub fn reduce(b: &mut Builder, x: Value, reduction: Reduction, axes: Axes) -> Result<Value> {
    b.apply1(Reduce { reduction, axes }, &[x])
}

impl Reduce {
    /// (outer, inner) extents of x, and whether the inner ones are reduced.
    fn extents(&self, shape: &[usize]) -> (usize, usize, bool) {
        let (split, inner) = match self.axes {
            Axes::Leading(n) => (n, false),
            Axes::Trailing(n) => (shape.len().saturating_sub(n), true),
            Axes::All => (0, true),
        };
        let (outer, rest) = shape.split_at(split.min(shape.len()));
        (outer.iter().product(), rest.iter().product(), inner)
    }

    fn factor(&self, shape: &[usize]) -> f64 {
        let (outer, inner, over_inner) = self.extents(shape);
        let count = if over_inner { inner } else { outer };
        if self.reduction == Reduction::Mean { 1.0 / count as f64 } else { 1.0 }
    }

    fn result(&self, shape: &[usize]) -> Shape {
        match self.axes {
            Axes::Leading(n) => dims_of(shape.get(n..).unwrap_or(&[])),
            Axes::Trailing(n) => dims_of(&shape[..shape.len().saturating_sub(n)]),
            Axes::All => dims_of(&[]),
        }
    }

    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (outer, inner, over_inner) = self.extents(args.shape(0));
        let factor = T::of(self.factor(args.shape(0)));
        let (x, y) = (args.floats(0)?, args.out(0)?);
        if !over_inner {
            sum_rows(
                y,
                outer,
                #[inline(always)]
                |o, sum| {
                    for (s, &x) in sum.iter_mut().zip(&x[o * inner..]) {
                        *s += x;
                    }
                },
            );
            y.iter_mut().for_each(|y| *y *= factor);
        } else if y.len() == 1 {
            y[0] = T::of(sum_wide(x, |x| x)) * factor;
        } else {
            for_heavy_rows(
                y,
                1,
                inner,
                #[inline(always)]
                |o, y| y[0] = sum(&x[o * inner..][..inner], |x| x) * factor,
            );
        }
        Ok(())
    }
}

impl Op for Reduce {
    fn stem(&self) -> &'static str {
        "reduce"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("reduce");
        check.count(inputs, 1)?;
        let x = &inputs[0];
        check.float("x", x)?;
        let (Axes::Leading(n) | Axes::Trailing(n)) = self.axes else { return Ok(vec![x.with_shape([])]) };
        check.that(n <= x.shape[..].len(), "x", format!("at least {n} dimensions"), x)?;
        Ok(vec![x.with_shape(self.result(&x.shape))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (outer, inner, trailing) = self.extents(&launch.ty(0).shape);
        let (tensors, factor) = ([cuda::Operand::Input(0), cuda::Operand::Output(0)], self.factor(&launch.ty(0).shape));
        if trailing {
            launch.add(cuda::Dispatch::new(&KERNELS, "reduce_trailing_f32").tensors(tensors).count(inner).number(factor).rows(outer));
        } else {
            let kernel = |partials| cuda::Dispatch::new(&KERNELS, "reduce_leading_f32").tensors([partials]).tensors(tensors);
            launch.sum_columns(cuda::Columns::summed(outer, inner), cuda::Summed::Sums(1), kernel, |dispatch| dispatch.number(factor));
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (outer, inner, trailing) = self.extents(&launch.ty(0).shape);
        let (operands, factor) = ([Operand::Input(0), Operand::Output(0)], self.factor(&launch.ty(0).shape));
        if trailing {
            launch.in_pieces(outer, &operands, |launch| {
                let outer = launch.out_ty(0).map_or(0, |y| y.len());
                let dispatch = Dispatch::new(SHADER, "reduce_trailing_f32", operands).constant("TRAILING", true);
                launch.add(dispatch.size(outer).size(inner).number(factor).rows(outer));
            });
        } else {
            launch.sum_columns(Columns::summed(outer, inner), Summed::Sums(1), leading(operands, factor, "Real"), &operands[..1]);
        }
        Ok(())
    }
}

impl ReduceBackward {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let (_, inner, over_inner) = self.forward.extents(&self.shape);
        let factor = T::of(self.forward.factor(&self.shape));
        let (dy, dx) = (args.floats(0)?, args.out(0)?);
        for_rows(
            dx,
            inner,
            #[inline(always)]
            |o, dx| match over_inner {
                true => dx.fill(dy[o] * factor),
                false => {
                    for (dx, &dy) in dx.iter_mut().zip(dy) {
                        *dx = dy * factor;
                    }
                }
            },
        );
        Ok(())
    }
}

impl Op for ReduceBackward {
    fn stem(&self) -> &'static str {
        "reduce"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("reduce");
        check.count(inputs, 1)?;
        check.shape("dy", &inputs[0], &self.forward.result(&self.shape))?;
        Ok(vec![inputs[0].with_shape(self.shape)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(outputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        self.run(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        self.run(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let (_, inner, trailing) = self.forward.extents(&self.shape);
        let (n, factor) = (self.shape.len(), self.forward.factor(&self.shape));
        let dispatch = cuda::Dispatch::new(&KERNELS, "reduce_backward_f32").tensors([cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        launch.add(dispatch.count(n).count(inner).number(factor).flag(trailing).over(n));
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let (outer, inner, trailing) = self.forward.extents(&self.shape);
        let operands = [Operand::Input(0), Operand::Output(0)];
        launch.in_pieces(outer, if trailing { &operands } else { &operands[1..] }, |launch| {
            let n = launch.out_ty(0).map_or(0, |dx| dx.len());
            let dispatch = Dispatch::new(SHADER, "reduce_backward_f32", operands).constant("TRAILING", trailing);
            launch.add(dispatch.size(n / inner.max(1)).size(inner).number(self.forward.factor(&self.shape)).over(n));
        });
        Ok(())
    }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let forward: Reduce = cx.op()?;
    let x = cx.input(0);
    let shape = cx.builder().shape(x);
    if let Some(dy) = cx.grad(0) {
        cx.set_by(0, ReduceBackward { forward, shape }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &'static [usize], reduction: Reduction, axes: Axes| {
        Case::of(format!("{dims:?}_{reduction:?}_{axes:?}").to_lowercase(), move |b, v| reduce(b, v[0], reduction, axes)).normal("x", dims_of(dims))
    };
    let mut cases = Vec::new();
    for reduction in [Reduction::Sum, Reduction::Mean] {
        for axes in [Axes::Leading(1), Axes::Leading(2), Axes::Trailing(1), Axes::Trailing(2), Axes::All] {
            cases.push(case(&[3, 5, 37], reduction, axes));
        }
    }
    let known = |name: &str, reduction: Reduction, axes: Axes, want: &[f64]| {
        let case = Case::of(name, move |b, v| reduce(b, v[0], reduction, axes));
        case.float("x", [2, 3], Fill::Values(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0])).expects("y", want.to_vec())
    };
    let ones = |name: &str, dims: &[usize], axes: Axes, want: &[f64]| {
        let case = Case::of(name, move |b, v| reduce(b, v[0], Reduction::Sum, axes));
        case.fixed("x", dims_of(dims), Fill::Uniform(1.0, 1.0)).expects("y", want.to_vec())
    };
    cases.extend([
        ones("ones leading", &[2000, 1], Axes::Leading(1), &[2000.0]),
        ones("ones trailing", &[2, 333], Axes::Trailing(1), &[333.0, 333.0]),
        ones("ones all", &[40_001], Axes::All, &[40_001.0]),
        known("known leading", Reduction::Mean, Axes::Leading(1), &[4.5, 9.0, 18.0]),
        known("known trailing", Reduction::Sum, Axes::Trailing(1), &[7.0, 56.0]),
        known("known all", Reduction::Mean, Axes::All, &[10.5]),
        case(&[1], Reduction::Sum, Axes::All),
        case(&[256, 64], Reduction::Mean, Axes::Trailing(1)),
        case(&[256, 64], Reduction::Mean, Axes::Leading(1)),
        case(&[0, 64], Reduction::Sum, Axes::Trailing(1)),
        ones("none leading", &[0, 3], Axes::Leading(1), &[0.0; 3]),
        ones("none trailing", &[3, 0], Axes::Trailing(1), &[0.0; 3]),
        ones("none of all", &[0, 3], Axes::All, &[0.0]),
        case(&[5], Reduction::Mean, Axes::Leading(0)),
        case(&[5], Reduction::Mean, Axes::Trailing(0)),
        case(&[70_001], Reduction::Mean, Axes::All),
        case(&[2000, 3], Reduction::Sum, Axes::Leading(1)),
        case(&[3, 20_011], Reduction::Sum, Axes::Trailing(1)),
        case(&[300, 70], Reduction::Mean, Axes::Leading(1)),
        case(&[32, 577, 768], Reduction::Mean, Axes::All).large(),
        case(&[64, 577, 768], Reduction::Sum, Axes::Leading(2)).large(),
    ]);
    cases
}
