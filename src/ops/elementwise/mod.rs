//! A chain of element-wise operators in one pass: each number goes through all of them while it is in the nearest cache.
//!
//! ```text
//! v = x;  for each step: v = step(v);  y = v
//!
//! Relu, Gelu, Tanh, Sigmoid   v = f(v)
//! Scale(factor)               v = factor v
//! Add, Mul                    v = v + r, v r     r's extents are the last extents of x; r is repeated over the others
//! MulRows                     v[i, d] = v[i, d] g[i]
//! ```
//!
//! Inputs: x, and one for each step that reads a second operand, in the order of the steps. Written by fusion alone (`fusion.rs`), hence
//! after the backward pass, and without a gradient. In f32 the numbers are those of the separate operators, bit by bit; in half precision
//! they are rounded once, at the end, where separate operators round each result.

mod fusion;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "wgpu")]
mod wgpu;

use super::{Kernel, Row};
use super::gelu::Gelu;
use super::relu::Relu;
use super::scale::Scale;
use super::sigmoid::Sigmoid;
use super::support::case::{Case, Fill};
use super::support::elementwise::{Function, dims_of};
use super::tanh::Tanh;
use crate::device::cpu::{Args, Real, for_heavy_rows};
#[cfg(feature = "wgpu")]
use crate::device::wgpu::Launch;
use crate::error::Result;
use crate::op::{Check, Cost, Op};
use crate::tensor::TensorType;

/// The row of the table.
pub const ROW: Row = Row { fusion: Some((90, fusion::absorb)), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("elementwise", head!("mod.rs"), cases) };

/// The chain. Inputs: x, the second operands in the order of their steps. In place of x.
#[derive(Debug, Clone, PartialEq)]
pub struct Elementwise {
    /// What happens to each number, in this order.
    pub steps: Vec<Step>,
}

/// One link of a chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// max(v, 0)
    Relu,
    /// v Phi(v), exact
    Gelu,
    /// tanh(v)
    Tanh,
    /// 1 / (1 + e^-v)
    Sigmoid,
    /// factor v
    Scale(f64),
    /// v + r, where r's extents are the last of x's, or all.
    Add,
    /// v r, where r's extents are the last of x's, or all.
    Mul,
    /// Each row times its number in g [..].
    MulRows,
}

impl Step {
    /// The step has a second operand.
    pub fn is_binary(self) -> bool {
        matches!(self, Step::Add | Step::Mul | Step::MulRows)
    }

    /// FLOPs for one number.
    fn flops(self) -> u64 {
        match self {
            Step::Relu => Relu::FLOPS,
            Step::Gelu => Gelu::FLOPS,
            Step::Tanh => Tanh::FLOPS,
            Step::Sigmoid => Sigmoid::FLOPS,
            Step::Scale(_) => Scale::FLOPS,
            Step::Add | Step::Mul | Step::MulRows => 1,
        }
    }

    /// Takes the step on elements `at..` of x, whose rows are `width` wide. `r` is the whole second operand.
    #[inline(always)]
    fn take<T: Real>(self, v: &mut [T], at: usize, width: usize, r: &[T]) {
        match self {
            Step::Relu => map(v, Relu),
            Step::Gelu => map(v, Gelu),
            Step::Tanh => map(v, Tanh),
            Step::Sigmoid => map(v, Sigmoid),
            Step::Scale(factor) => map(v, Scale { factor }),
            Step::Add => repeat(
                v,
                at,
                r,
                #[inline(always)]
                |v, r| v + r,
            ),
            Step::Mul => repeat(
                v,
                at,
                r,
                #[inline(always)]
                |v, r| v * r,
            ),
            Step::MulRows => mul_rows(v, at, width, r),
        }
    }
}

#[inline(always)]
fn map<T: Real>(v: &mut [T], f: impl Function) {
    for v in v {
        *v = f.value(*v);
    }
}

/// `v = f(v, r)` with r repeated; the first of v is element `at`. Mark `f` `#[inline(always)]`.
#[inline(always)]
fn repeat<T: Real>(mut v: &mut [T], at: usize, r: &[T], f: impl Fn(T, T) -> T) {
    let mut from = at % r.len();
    while !v.is_empty() {
        let (now, rest) = v.split_at_mut(v.len().min(r.len() - from));
        for (v, &r) in now.iter_mut().zip(&r[from..]) {
            *v = f(*v, r);
        }
        (v, from) = (rest, 0);
    }
}

/// Each row times its number in g; the first of v is element `at`.
#[inline(always)]
fn mul_rows<T: Real>(mut v: &mut [T], at: usize, width: usize, g: &[T]) {
    let (mut row, mut left) = (at / width, width - at % width);
    while !v.is_empty() {
        let (now, rest) = v.split_at_mut(v.len().min(left));
        let factor = g[row];
        for v in now {
            *v *= factor;
        }
        (v, row, left) = (rest, row + 1, width);
    }
}

/// Elements that go through all steps together: few enough to stay in the first-level cache beside their operands.
const BLOCK: usize = 1024;

impl Elementwise {
    fn run<T: Real>(&self, args: &mut Args<T>) -> Result<()> {
        let width = args.shape(0).last().copied().unwrap_or(1);
        let mut operands = 1..args.count();
        let mut steps: Vec<(Step, &[T])> = Vec::with_capacity(self.steps.len());
        for &step in &self.steps {
            let operand = if step.is_binary() { operands.next() } else { None };
            steps.push((step, operand.map_or(Ok(&[][..]), |i| args.floats(i))?));
        }
        let (x, y) = args.in_out(0, 0)?;
        for_heavy_rows(
            y,
            BLOCK,
            BLOCK * steps.len(),
            #[inline(always)]
            |block, y| {
                let at = block * BLOCK;
                if let Some(x) = x {
                    y.copy_from_slice(&x[at..][..y.len()]);
                }
                for &(step, operand) in &steps {
                    step.take(y, at, width, operand);
                }
            },
        );
        Ok(())
    }
}

impl Op for Elementwise {
    fn stem(&self) -> &'static str {
        "elementwise"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("elementwise");
        let binary: Vec<Step> = self.steps.iter().copied().filter(|s| s.is_binary()).collect();
        check.count(inputs, 1 + binary.len())?;
        let x = &inputs[0];
        check.float("x", x)?;
        for (step, r) in binary.iter().zip(&inputs[1..]) {
            match (step, x.shape.split_last()) {
                (Step::MulRows, Some((_, rows))) => check.same("g", r, &x.with_shape(dims_of(rows)))?,
                (Step::MulRows, None) => check.that(false, "x", "rows", x)?,
                _ => check.that(x.shape.ends_with(&r.shape) && r.dtype == x.dtype, "r", format!("the last extents of {x}"), r)?,
            }
        }
        Ok(vec![*x])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops: u64 = self.steps.iter().map(|s| s.flops()).sum();
        Cost::streaming(flops * outputs[0].len() as u64, inputs, outputs)
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
    fn cuda(&self, launch: &mut crate::device::cuda::Launch) -> Result<()> {
        cuda::launch(self, launch);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        wgpu::launch(self, launch);
        Ok(())
    }
}

/// Fusion alone writes chains, so the cases build them by hand; without gradients, since there is no backward rule.
fn cases() -> Vec<Case> {
    use Step::{Add, Gelu, Mul, MulRows, Relu, Scale, Sigmoid, Tanh};
    let normal = Fill::Normal(0.0, 1.0);
    let of = |name: String, steps: &[Step]| {
        let steps = steps.to_vec();
        Case::of(name, move |b, v| b.apply1(Elementwise { steps: steps.clone() }, v))
    };
    // Every step once, and most in another order; whole operands, one row, a number a row.
    let mixed = [Add, Tanh, MulRows, Gelu, Mul, Scale(-1.5), Add, Relu, Mul, Sigmoid, Tanh];
    let chain = |dims: &[usize]| {
        let (rows, row) = dims.split_at(dims.len() - 1);
        let case = of(format!("{dims:?}"), &mixed).fixed("x", dims_of(dims), normal.clone()).fixed("whole", dims_of(dims), normal.clone());
        let case = case.fixed("g", dims_of(rows), normal.clone()).fixed("row", dims_of(row), normal.clone());
        case.fixed("last", dims_of(&dims[dims.len() / 2..]), normal.clone()).fixed("factors", dims_of(dims), normal.clone())
    };
    // More steps and operands than one launch takes.
    let long = of("long".to_owned(), &[&mixed[..], &mixed[..3], &[Scale(2.0), Mul, Relu]].concat()).fixed("x", [5, 7], normal.clone());
    let others: [(&str, &[usize]); 8] =
        [("a", &[5, 7]), ("b", &[5]), ("c", &[7]), ("d", &[5, 7]), ("e", &[7]), ("f", &[7]), ("g", &[5]), ("h", &[5, 7])];
    let long = others.iter().fold(long, |case, (name, dims)| case.fixed(name, dims_of(dims), normal.clone()));
    let single = |step: Step| {
        let case = of(format!("{step:?}"), &[step]).fixed("x", [3, 5, 7], normal.clone());
        match step {
            MulRows => case.fixed("g", [3, 5], normal.clone()),
            Add | Mul => case.fixed("r", [5, 7], normal.clone()),
            _ => case,
        }
    };
    let in_place = Case::of("in place", move |b, v| {
        let x = super::relu::relu(b, v[0])?;
        b.apply1(Elementwise { steps: vec![Tanh, Add, Sigmoid] }, &[x, v[1]])
    });
    let itself = Case::of("x + x", move |b, v| {
        let x = super::tanh::tanh(b, v[0])?;
        b.apply1(Elementwise { steps: vec![Gelu, Add] }, &[x, x])
    });
    let known = of("known operands".to_owned(), &[Add, MulRows, Relu, Mul, Scale(-0.5), Add])
        .fixed("x", [2, 2], Fill::Values(vec![1.0, -2.0, 3.0, -4.0]))
        .fixed("row", [2], Fill::Values(vec![1.0, 2.0]))
        .fixed("g", [2], Fill::Values(vec![10.0, -1.0]))
        .fixed("factors", [2, 2], Fill::Values(vec![1.0, 1.0, 1.0, 2.0]))
        .fixed("whole", [2, 2], Fill::Values(vec![11.0, 2.0, 3.0, 5.0]))
        .expects("y", vec![1.0, 2.0, 3.0, 3.0]);
    let functions = of("known functions".to_owned(), &[Gelu, Tanh, Sigmoid])
        .fixed("x", [2], Fill::Values(vec![1.0, -2.0]))
        .expects("y", vec![0.665_192_486, 0.488_634_735]);
    [Relu, Gelu, Tanh, Sigmoid, Scale(0.3), Add, Mul, MulRows]
        .map(single)
        .into_iter()
        .chain([&[1][..], &[0, 7], &[128, 64], &[17], &[9001], &[3, 5, 7], &[301, 33], &[3, 2500], &[2, 61, 7]].map(chain))
        .chain([in_place.fixed("x", [5, 67], Fill::Distinct).fixed("r", [67], normal.clone()), itself.fixed("x", [33], normal.clone())])
        .chain([long, of("18 steps".to_owned(), &[Tanh, Scale(1.5)].repeat(9)).fixed("x", [301], normal.clone()), known, functions, chain(&[577, 768]).large()])
        .collect()
}
