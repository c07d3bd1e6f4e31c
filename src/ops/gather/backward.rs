//! The gradient: rows added up by index, without atomics. Embedding's table has the same.

#[cfg(feature = "cuda")]
use super::KERNELS;
use crate::device::cpu::{Args, Real, for_rows};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::op::{Check, Cost, Op};
use crate::tensor::{Shape, TensorType};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use std::{iter, mem::swap};

/// Sorted indices of one workgroup in the backward pass.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const SHARE: usize = 32;
/// Indices that are sorted by counting, and how many such runs are merged at once.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const RUN: usize = 1024;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const WAYS: usize = 16;

/// The gradient. Inputs: dy, indices.
#[derive(Debug, Clone, Copy)]
pub struct GatherBackward {
    /// How many rows x has.
    pub rows: usize,
}

impl Op for GatherBackward {
    fn stem(&self) -> &'static str {
        "gather"
    }

    fn pass(&self) -> &'static str {
        "backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("gather");
        check.count(inputs, 2)?;
        let (dy, indices) = (&inputs[0], &inputs[1]);
        check.float("dy", dy)?;
        check.int("indices", indices)?;
        let rest = dy.shape.strip_prefix(&indices.shape[..]);
        check.that(rest.is_some(), "dy", format!("{} first", indices.shape), dy)?;
        Ok(vec![dy.with_shape(Shape::new(&[&[self.rows], rest.unwrap_or(&[])].concat())?)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(inputs[0].len() as u64, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run_backward(args)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run_backward(args)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        let width = launch.ty(0).shape[launch.ty(1).shape.rank()..].iter().product();
        cuda_scatter_add(launch, self.rows, width);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        let width = launch.ty(0).shape[launch.ty(1).shape.rank()..].iter().product();
        launch_scatter_add(launch, self.rows, width);
        Ok(())
    }
}

/// How the sorted indices of a scatter-add are shared out between workgroups, as all GPUs' kernels see it.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
struct Shares {
    shares: usize,
    /// Workgroups side by side that cover a row.
    across: usize,
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl Shares {
    fn new(count: usize, width: usize) -> Self {
        Shares { shares: count.div_ceil(SHARE), across: width.div_ceil(256) }
    }

    fn workgroups(&self) -> usize {
        self.shares * self.across
    }
}

/// The lengths of the sorted runs of `count` indices before each time that they are merged.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn merges(count: usize) -> impl Iterator<Item = usize> {
    iter::successors(Some(RUN), |run| run.checked_mul(WAYS)).take_while(move |&run| run < count)
}

/// [`scatter_add`] of the first input, rows of `width`, by the second, into the first output of `rows` rows.
#[cfg(feature = "cuda")]
pub(in crate::ops) fn cuda_scatter_add(launch: &mut cuda::Launch, rows: usize, width: usize) {
    let (dy, indices, dx) = (cuda::Operand::Input(0), cuda::Operand::Input(1), cuda::Operand::Output(0));
    let (count, dtype, word) = (launch.ty(1).len(), launch.dtype(), launch.word(launch.ty(0)));
    let (n, shares) = (rows * width, Shares::new(count, width));
    let of = |pass: &str, kind: &str, operands: &[cuda::Operand]| {
        cuda::Dispatch::new(&KERNELS, format!("gather_backward_{pass}_{kind}")).tensors(operands.iter().copied())
    };
    let pair = |launch: &mut cuda::Launch| [launch.scratch(count), launch.scratch(count)];
    let mut sorted = pair(launch);
    launch.add(of("fill", word, &[dx]).count(n).over(n));
    launch.add(of("sort", "i32", &[indices, sorted[0], sorted[1]]).sizes([count]).over(count));
    if count > RUN {
        let mut merged = pair(launch);
        for run in merges(count) {
            launch.add(of("merge", "i32", &[sorted, merged].concat()).sizes([run, count]).over(count));
            swap(&mut sorted, &mut merged);
        }
    }
    let ([sorted, order], heads) = (sorted, launch.scratch(shares.shares * width));
    launch.add(of("runs", dtype, &[dy, sorted, order, heads, dx]).sizes([rows, width, count]).rows(shares.workgroups()));
    if shares.shares > 1 {
        launch.add(of("join", dtype, &[sorted, heads, dx]).sizes([rows, width, shares.shares]).rows(shares.workgroups()));
    }
}

/// [`scatter_add`] of the first input, rows of `width`, by the second, into the first output of `rows` rows.
#[cfg(feature = "wgpu")]
pub(in crate::ops) fn launch_scatter_add(launch: &mut Launch, rows: usize, width: usize) {
    const SHADER: &str = shader!("gather_backward");
    let (dy, indices, dx) = (Operand::Input(0), Operand::Input(1), Operand::Output(0));
    launch.in_summed_pieces(launch.ty(1).len(), &[dy, indices], &[dx], |launch| {
        let count = launch.ty(1).len();
        let (n, shares) = (rows * width, Shares::new(count, width));
        let pair = |launch: &mut Launch| [launch.scratch(count), launch.scratch(count)];
        let mut sorted = pair(launch);
        let of = |pass: &str, operands: &[Operand]| {
            let dispatch = Dispatch::new(SHADER, format!("gather_backward_{pass}_f32"), operands);
            let constants = [("SHARE", SHARE), ("RUN", RUN), ("WAYS", WAYS)];
            let dispatch = constants.iter().fold(dispatch, |dispatch, (name, value)| dispatch.constant(name, format!("{value}u")));
            dispatch.size(n).size(rows).size(width).size(count).size(shares.shares).size(shares.across)
        };
        launch.add(of("fill", &[dx]).over(n));
        launch.add(of("sort", &[indices, sorted[0], sorted[1]]).over(count));
        if count > RUN {
            let mut merged = pair(launch);
            for run in merges(count) {
                launch.add(of("merge", &[sorted, merged].concat()).size(run).over(count));
                swap(&mut sorted, &mut merged);
            }
        }
        let ([sorted, order], heads) = (sorted, launch.scratch(shares.shares * width));
        launch.add(of("runs", &[dy, sorted, order, heads, dx]).rows(shares.workgroups()));
        if shares.shares > 1 {
            launch.add(of("join", &[Operand::Nothing, sorted, Operand::Nowhere, heads, dx]).rows(shares.workgroups()));
        }
    });
}

fn run_backward<T: Real>(args: &mut Args<T>) -> Result<()> {
    let width = args.shape(0)[args.shape(1).len()..].iter().product();
    let (dy, indices, dx) = (args.floats(0)?, args.ints(1)?, args.out(0)?);
    scatter_add(dx, dy, width, indices);
    Ok(())
}

/// `dx[v] = sum of dy[n] over indices[n] = v` for rows of `width`, in the order of n.
pub(in crate::ops) fn scatter_add<T: Real>(dx: &mut [T], dy: &[T], width: usize, indices: &[i32]) {
    let mut order: Vec<u32> = (0..indices.len() as u32).collect();
    order.sort_by_key(|&n| indices[n as usize]);
    for_rows(
        dx,
        width,
        #[inline(always)]
        |row, dx| {
            dx.fill(T::ZERO);
            let first = order.partition_point(|&n| i64::from(indices[n as usize]) < row as i64);
            for &n in order[first..].iter().take_while(|&&n| i64::from(indices[n as usize]) == row as i64) {
                for (dx, &dy) in dx.iter_mut().zip(&dy[n as usize * width..]) {
                    *dx += dy;
                }
            }
        },
    );
}
