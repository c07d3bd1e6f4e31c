//! Tensors laid end to end along one dimension.

use super::{Kernel, Row};
use super::slice::Slice;
use super::support::case::{Case, Fill};
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("concat");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("concat");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("concat", head!("concat.rs"), cases) };

/// Concatenation. Inputs: any number of tensors, alike in all extents but that of `axis`.
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    /// The dimension that grows.
    pub axis: usize,
}

/// The tensors one after another along `axis`.
///
/// # Errors
/// [`crate::Error::Op`] where they differ in another extent or in type.
pub fn concat(b: &mut Builder, parts: &[Value], axis: usize) -> Result<Value> {
    b.apply1(Concat { axis }, parts)
}

impl Op for Concat {
    fn stem(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("concat");
        check.that(!inputs.is_empty(), "inputs", "at least one", 0)?;
        let first = &inputs[0];
        check.that(self.axis < first.shape.rank(), "axis", format!("below {}", first.shape.rank()), self.axis)?;
        let mut shape = first.shape.to_vec();
        for other in &inputs[1..] {
            let mut as_first = other.shape.to_vec();
            check.rank("part", other, shape.len())?;
            as_first[self.axis] = first.shape[self.axis];
            check.that(as_first == first.shape[..] && other.dtype == first.dtype, "part", format!("{first} but for axis {}", self.axis), other)?;
            shape[self.axis] += other.shape[self.axis];
        }
        Ok(vec![first.with_shape(Shape::new(&shape)?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args, self.axis)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args, self.axis)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let widths: Vec<usize> = (0..launch.inputs()).map(|i| launch.ty(i).shape[self.axis..].iter().product()).collect();
        let (mut before, whole) = (0, widths.iter().sum());
        for (part, width) in widths.into_iter().enumerate() {
            let (n, word) = (launch.ty(part).len(), launch.word(launch.ty(part)));
            let dispatch = cuda::Dispatch::new(&KERNELS, format!("concat_forward_{word}")).tensors([cuda::Operand::Input(part), cuda::Operand::Output(0)]);
            launch.add(dispatch.count(n).sizes([width, whole, before]).over(n));
            before += width;
        }
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let widths: Vec<usize> = (0..launch.inputs()).map(|i| launch.ty(i).shape[self.axis..].iter().product()).collect();
        let rows = launch.ty(0).shape[..self.axis].iter().product();
        let tensors: Vec<Operand> = (0..launch.inputs()).map(Operand::Input).chain([Operand::Output(0)]).collect();
        launch.in_pieces(rows, &tensors, |launch| {
            let (mut before, whole) = (0, widths.iter().sum());
            for (part, &width) in widths.iter().enumerate() {
                let n = launch.ty(part).len();
                let dispatch = Dispatch::new(SHADER, "concat_forward_u32", [Operand::Input(part), Operand::Output(0)]);
                launch.add(dispatch.size(n).size(width).size(whole).size(before).over(n));
                before += width;
            }
        });
        Ok(())
    }
}

fn run<T: Real>(args: &mut Args<T>, axis: usize) -> Result<()> {
    let widths: Vec<usize> = (0..args.count()).map(|i| args.shape(i)[axis..].iter().product()).collect();
    match (0..args.count()).map(|i| args.ints(i)).collect::<Result<Vec<_>>>() {
        Ok(parts) => join(&parts, &widths, args.out_ints(0)?),
        Err(_) => join(&(0..args.count()).map(|i| args.floats(i)).collect::<Result<Vec<_>>>()?, &widths, args.out(0)?),
    }
    Ok(())
}

/// Each block of `y` is a block of every part.
fn join<E: Copy + Send + Sync>(parts: &[&[E]], widths: &[usize], y: &mut [E]) {
    let block = widths.iter().sum::<usize>().max(1);
    y.par_chunks_mut(block).enumerate().for_each(|(i, mut to)| {
        for (part, &width) in parts.iter().zip(widths) {
            let (head, tail) = to.split_at_mut(width);
            head.copy_from_slice(&part[i * width..][..width]);
            to = tail;
        }
    });
}

fn backward(cx: &mut Backward) -> Result<()> {
    let Concat { axis } = cx.op()?;
    let Some(dy) = cx.grad(0) else { return Ok(()) };
    let mut start = 0;
    for i in 0..cx.input_count() {
        let part = cx.input(i);
        let length = cx.builder().shape(part)[axis];
        cx.set_by(i, Slice { axis, start, length }, &[dy])?;
        start += length;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    vec![
        Case::of("vectors", |b, v| concat(b, v, 0)).normal("a", [3]).normal("b", [1]),
        Case::of("axis 1", |b, v| concat(b, v, 1)).normal("a", [2, 1, 7]).normal("b", [2, 5, 7]).normal("c", [2, 3, 7]),
        Case::of("with nothing", |b, v| concat(b, v, 1)).normal("a", [2, 0, 7]).normal("b", [2, 5, 7]),
        Case::of("six rows", |b, v| concat(b, v, 1)).normal("a", [6, 1, 64]).normal("b", [6, 5, 64]),
        Case::of("last axis", |b, v| concat(b, v, 2)).normal("a", [2, 3, 1]).normal("b", [2, 3, 13]),
        Case::of("itself", |b, v| concat(b, &[v[0], v[0]], 0)).normal("a", [5, 3]),
        Case::of("ints", |b, v| concat(b, v, 1)).ints("a", [3, 2], Fill::Ints(0, 9)).ints("b", [3, 4], Fill::Ints(0, 9)),
        Case::of("49+40", |b, v| concat(b, v, 1)).normal("a", [8, 49, 768]).normal("b", [8, 40, 768]).large(),
    ]
}
