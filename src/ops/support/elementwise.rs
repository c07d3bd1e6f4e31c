//! Operators that treat every element alike: each is a function and its derivative; the rest is here.

use super::case::{Case, Fill};
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};
use std::fmt::Debug;

/// A function of one number with its derivative.
pub trait Function: Debug + Clone + Copy + Send + Sync + 'static {
    /// The stem of the operator.
    const STEM: &'static str;
    /// FLOPs of one evaluation, as counted in [`Cost`].
    const FLOPS: u64;
    /// Whether [`Function::derivative`] is given y = f(x) (else x).
    const DERIVATIVE_OF_OUTPUT: bool;
    /// f(x)
    fn value<T: Real>(&self, x: T) -> T;
    /// df/dx, from y = f(x) or from x.
    fn derivative<T: Real>(&self, x_or_y: T) -> T;
    /// `shaders/<stem>.wgsl`
    #[cfg(feature = "wgpu")]
    const SHADER: &'static str;
    /// `kernels/<stem>.cu`
    #[cfg(feature = "cuda")]
    const KERNELS: &'static cuda::Image;
    /// The numbers that kernels take after `n`.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn numbers(&self) -> Vec<f64> {
        Vec::new()
    }
}

/// `y = f(x)`, element by element, any shape; in place.
#[derive(Debug, Clone, Copy)]
pub struct Map<F>(pub F);

/// `dx = dy f'(x)`. Inputs: dy, and x or y as [`Function::DERIVATIVE_OF_OUTPUT`] says; in place of dy.
#[derive(Debug, Clone, Copy)]
pub struct MapBackward<F>(pub F);

/// One kernel over the elements of the first input: `<stem>_<pass>_<dtype>`, with the tensors, `n`, and the function's numbers.
#[cfg(feature = "cuda")]
fn cuda_over<F: Function>(function: &F, pass: &str, launch: &mut cuda::Launch, operands: &[cuda::Operand]) {
    let n = launch.ty(0).len();
    let dispatch = cuda::Dispatch::new(F::KERNELS, format!("{}_{pass}_{}", F::STEM, launch.dtype())).tensors(operands.iter().copied()).count(n);
    launch.add(function.numbers().into_iter().fold(dispatch, cuda::Dispatch::number).over_fours(n));
}

/// One kernel over the elements of the first input: entry point `<stem>_<pass>_f32`, `IN_PLACE` where the output took its buffer over.
#[cfg(feature = "wgpu")]
fn launch_over<F: Function>(function: &F, pass: &str, launch: &mut Launch, operands: &[Operand]) {
    launch.in_pieces(launch.ty(0).len(), operands, |launch| {
        let n = launch.ty(0).len();
        let dispatch = Dispatch::new(F::SHADER, format!("{}_{pass}_f32", F::STEM), operands);
        let dispatch = dispatch.constant("IN_PLACE", launch.in_place(0)).size(n);
        launch.add(function.numbers().into_iter().fold(dispatch, Dispatch::number).over(n));
    });
}

/// One map over the elements of the first input with numbers `r` of the second, of which each of so many `runs` has its own, or all have the same.
/// The input whose buffer the output took over is the shader's `x`. `finish` adds what the shader's `Size` has after `n`.
#[cfg(feature = "wgpu")]
pub fn pairwise(launch: &mut Launch, source: &'static str, entry: &str, runs: Runs, finish: impl Fn(Dispatch) -> Dispatch) {
    let (x, r) = if launch.in_place(1) { (1, 0) } else { (0, 1) };
    let operands = [Operand::Input(x), Operand::Output(0), Operand::Input(r)];
    let (runs, cut) = match runs {
        Runs::Apart(runs) => (runs, &operands[..]),
        Runs::Alike(runs) => (runs, &operands[..2]),
    };
    launch.in_pieces(runs, cut, |launch| {
        let n = launch.ty(0).len();
        launch.add(finish(Dispatch::new(source, entry, operands).constant("IN_PLACE", launch.in_place(x)).size(n).over(n)));
    });
}

/// Elements that go together in [`pairwise`], counted.
#[cfg(feature = "wgpu")]
#[derive(Debug, Clone, Copy)]
pub enum Runs {
    /// Each has numbers of its own.
    Apart(usize),
    /// All have the same.
    Alike(usize),
}

/// Elements that make a row of their own when there are no rows.
const BLOCK: usize = 4096;

/// `out = f(input)` for an output that may have taken over the input's buffer. Mark `f` `#[inline(always)]`.
pub fn map<T: Real>(args: &mut Args<T>, input: usize, f: impl Fn(T) -> T + Sync) -> Result<()> {
    let (x, y) = args.in_out(input, 0)?;
    for_rows(
        y,
        BLOCK,
        #[inline(always)]
        |block, y| match x {
            Some(x) => {
                for (y, &x) in y.iter_mut().zip(&x[block * BLOCK..]) {
                    *y = f(x);
                }
            }
            None => {
                for y in y {
                    *y = f(*y);
                }
            }
        },
    );
    Ok(())
}

/// `out = f(a, b)` of two inputs of one shape, for an output that may have taken over the first or the second input's buffer. Mark `f`
/// `#[inline(always)]`.
pub fn zip<T: Real>(args: &mut Args<T>, f: impl Fn(T, T) -> T + Sync) -> Result<()> {
    let (a, b) = (args.floats(0).ok(), args.floats(1).ok());
    let y = args.out(0)?;
    for_rows(
        y,
        BLOCK,
        #[inline(always)]
        |block, y| {
            let at = block * BLOCK;
            match (a, b) {
                (Some(a), Some(b)) => {
                    for ((y, &a), &b) in y.iter_mut().zip(&a[at..]).zip(&b[at..]) {
                        *y = f(a, b);
                    }
                }
                (None, Some(b)) => {
                    for (y, &b) in y.iter_mut().zip(&b[at..]) {
                        *y = f(*y, b);
                    }
                }
                (Some(a), None) => {
                    for (y, &a) in y.iter_mut().zip(&a[at..]) {
                        *y = f(a, *y);
                    }
                }
                (None, None) => {}
            }
        },
    );
    Ok(())
}

impl<F: Function> Op for Map<F> {
    fn stem(&self) -> &'static str {
        F::STEM
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check(F::STEM);
        check.count(inputs, 1)?;
        check.float("x", &inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(F::FLOPS * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        map(
            args,
            0,
            #[inline(always)]
            |x| self.0.value(x),
        )
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        map(
            args,
            0,
            #[inline(always)]
            |x| self.0.value(x),
        )
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        cuda_over(&self.0, "forward", launch, &[cuda::Operand::Input(0), cuda::Operand::Output(0)]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch_over(&self.0, "forward", launch, &[Operand::Input(0), Operand::Output(0)]);
        Ok(())
    }
}

impl<F: Function> Op for MapBackward<F> {
    fn stem(&self) -> &'static str {
        F::STEM
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check(F::STEM);
        check.count(inputs, 2)?;
        check.float("dy", &inputs[0])?;
        check.same("x", &inputs[1], &inputs[0])?;
        Ok(vec![inputs[0]])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming((F::FLOPS + 1) * inputs[0].len() as u64, inputs, outputs)
    }

    fn in_place(&self) -> &'static [(usize, usize)] {
        &[(0, 0)]
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        zip(
            args,
            #[inline(always)]
            |dy, x| dy * self.0.derivative(x),
        )
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        zip(
            args,
            #[inline(always)]
            |dy, x| dy * self.0.derivative(x),
        )
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        cuda_over(&self.0, "backward", launch, &[cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0)]);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        launch_over(&self.0, "backward", launch, &[Operand::Input(0), Operand::Output(0), Operand::Input(1)]);
        Ok(())
    }
}

/// The cases of an operator of one input: nothing, one element, a vector's width and a bit, several blocks.
pub fn cases(build: fn(&mut Builder, Value) -> Result<Value>) -> Vec<Case> {
    let shapes: [&[usize]; 6] = [&[0, 7], &[1], &[17], &[3, 5, 7], &[2, 257], &[9001]];
    let small = shapes.iter().map(|dims| Case::of(format!("{dims:?}"), move |b, v| build(b, v[0])).float("x", dims_of(dims), Fill::Distinct));
    small.chain([Case::of("577x3072", move |b, v| build(b, v[0])).normal("x", [577, 3072]).large()]).collect()
}

/// A shape from a slice that is known to fit.
pub fn dims_of(dims: &[usize]) -> Shape {
    Shape::new(dims).unwrap_or(Shape::from([]))
}

/// The backward rule of [`Map`].
pub fn backward<F: Function>(cx: &mut Backward) -> Result<()> {
    let op: Map<F> = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let saved = if F::DERIVATIVE_OF_OUTPUT { cx.output(0) } else { cx.input(0) };
        cx.set_by(0, MapBackward(op.0), &[dy, saved])?;
    }
    Ok(())
}
