//! Reorders dimensions: dimension `i` of the result is dimension `order[i]` of the input.

use super::{Kernel, Row};
use super::support::case::Case;
use super::support::elementwise::dims_of;
use crate::device::cpu::{Args, Real};
#[cfg(feature = "cuda")]
use crate::device::cuda;
#[cfg(feature = "wgpu")]
use crate::device::wgpu::{Dispatch, Launch, Operand, shader};
use crate::error::Result;
use crate::graph::{Backward, Builder, Value};
use crate::op::{Check, Cost, Op};
use crate::tensor::{MAX_RANK, TensorType};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
static KERNELS: cuda::Image = cuda::image!("transpose");
#[cfg(feature = "wgpu")]
const SHADER: &str = shader!("transpose");

/// The row of the table.
pub const ROW: Row = Row { backward: Some(backward), wgpu: Kernel::Own, cuda: Kernel::Own, ..Row::new("transpose", head!("transpose.rs"), cases) };

/// A permutation of the dimensions.
#[derive(Debug, Clone)]
pub struct Transpose {
    /// For each dimension of the result, which of the input's it is.
    pub order: Vec<usize>,
}

/// `x` with its dimensions reordered.
///
/// # Errors
/// [`crate::Error::Op`] where `order` is no permutation of the dimensions.
pub fn transpose(b: &mut Builder, x: Value, order: &[usize]) -> Result<Value> {
    b.apply1(Transpose { order: order.to_vec() }, &[x])
}

impl Op for Transpose {
    fn stem(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let check = Check("transpose");
        check.count(inputs, 1)?;
        let shape = inputs[0].shape;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        check.that(sorted.iter().copied().eq(0..shape.iter().count()), "x", format!("{} dimensions, each once", self.order.len()), inputs[0])?;
        Ok(vec![inputs[0].with_shape(dims_of(&self.order.iter().map(|&i| shape[i]).collect::<Vec<_>>()))])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost::streaming(0, inputs, outputs)
    }

    fn reference(&self, args: &mut Args<f64>) -> Result<()> {
        run(args, &self.order)
    }

    fn cpu(&self, args: &mut Args<f32>) -> Result<()> {
        run(args, &self.order)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, launch: &mut cuda::Launch) -> Result<()> {
        cuda_launch(launch, &self.order);
        Ok(())
    }

    #[cfg(feature = "wgpu")]
    fn wgpu(&self, launch: &mut Launch) -> Result<()> {
        // Only what stays the first dimension is cut.
        let units = if self.order.first() == Some(&0) { launch.ty(0).shape[0] } else { 1 };
        launch.in_pieces(units, &[Operand::Input(0), Operand::Output(0)], |launch| launch.add(dispatch(&launch.ty(0).shape, &self.order)));
        Ok(())
    }
}

fn run<T: Real>(args: &mut Args<T>, order: &[usize]) -> Result<()> {
    let shape = args.shape(0);
    match args.ints(0) {
        Ok(x) => permute(x, args.out_ints(0)?, shape, order),
        Err(_) => permute(args.floats(0)?, args.out(0)?, shape, order),
    }
    Ok(())
}

/// Writes `y` in order, in parallel over its outermost dimension, reading `x` by strides.
fn permute<E: Copy + Send + Sync>(x: &[E], y: &mut [E], shape: &[usize], order: &[usize]) {
    let mut stride = [1; MAX_RANK];
    for d in (1..shape.len()).rev() {
        stride[d - 1] = stride[d] * shape[d];
    }
    let extent: Vec<usize> = order.iter().map(|&d| shape[d]).collect();
    let jump: Vec<usize> = order.iter().map(|&d| stride[d]).collect();
    let (Some(&outer), Some(&inner), Some(&step)) = (extent.first(), extent.last(), jump.last()) else {
        y.copy_from_slice(x);
        return;
    };
    let block = y.len() / outer.max(1);
    if block == 0 {
        return;
    }
    y.par_chunks_mut(block).enumerate().for_each(|(o, y)| {
        let middle = 1..extent.len().max(2) - 1;
        let width = if extent.len() == 1 { 1 } else { inner };
        for (r, row) in y.chunks_mut(width).enumerate() {
            let mut at = o * jump[0];
            let mut rest = r;
            for d in middle.clone().rev() {
                at += rest % extent[d] * jump[d];
                rest /= extent[d];
            }
            row.iter_mut().enumerate().for_each(|(i, y)| *y = x[at + i * step]);
        }
    });
}

/// A dimension of y: its extent, and the elements from one index to the next in x and in y.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[derive(Clone, Copy)]
struct Dimension {
    extent: usize,
    in_x: usize,
    in_y: usize,
}

/// The dimensions of y without those of extent 1; neighbours that are neighbours in x as well are joined. At least one.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn joined(shape: &[usize], order: &[usize]) -> Vec<Dimension> {
    let mut joined: Vec<Dimension> = vec![Dimension { extent: 1, in_x: 1, in_y: 1 }];
    for &d in order.iter().filter(|&&d| shape[d] != 1) {
        let (extent, in_x) = (shape[d], shape[d + 1..].iter().product());
        match joined.last_mut() {
            Some(last) if last.extent == 1 || last.in_x == extent * in_x => *last = Dimension { extent: last.extent * extent, in_x, in_y: 1 },
            _ => joined.push(Dimension { extent, in_x, in_y: 1 }),
        }
    }
    for d in (1..joined.len()).rev() {
        joined[d - 1].in_y = joined[d].in_y * joined[d].extent;
    }
    joined
}

/// Elements of a tile, and of its side where neither dimension is shorter.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const TILE: usize = 1024;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
const SIDE: usize = 32;

/// The dimensions of y but the last of x and the last of y; those two, where they are not the same; the tile.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
struct Turned {
    others: Vec<Dimension>,
    a: Option<Dimension>,
    b: Dimension,
    tile: [usize; 2],
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn turned(shape: &[usize], order: &[usize]) -> Turned {
    let mut others = joined(shape, order);
    let b = others.remove(others.len() - 1);
    // The last dimension of x, where that is not the last of y as well.
    let a = others.iter().position(|d| d.in_x == 1).map(|at| others.remove(at));
    let slim = |extent: usize| extent.next_power_of_two().min(SIDE);
    let tile = match a {
        Some(a) if a.extent < SIDE => [slim(a.extent), TILE / slim(a.extent)],
        _ => [TILE / slim(b.extent), slim(b.extent)],
    };
    Turned { others, a, b, tile }
}

#[cfg(feature = "cuda")]
fn cuda_launch(launch: &mut cuda::Launch, order: &[usize]) {
    /// Other dimensions that the kernel has room for.
    const RANK: usize = crate::tensor::MAX_RANK;
    let Turned { others, a, b, tile: [tile_a, tile_b] } = turned(&launch.ty(0).shape, order);
    let count: usize = others.iter().map(|d| d.extent).product();
    let (tiled, a, rank) = (a.is_some(), a.unwrap_or(b), others.len());
    let [tiles_a, tiles_b] = [a.extent.div_ceil(tile_a), b.extent.div_ceil(tile_b)];
    let column = |of: fn(&Dimension) -> usize| others.iter().rev().map(of).chain(std::iter::repeat(1)).take(RANK).collect::<Vec<_>>();
    let sizes = [rank, a.extent, b.extent, tile_a, tile_b, tiles_a, tiles_b, b.in_x, a.in_y];
    let layout = launch.table([column(|d| d.extent), column(|d| d.in_x), column(|d| d.in_y), sizes.to_vec()].concat());
    let way = if tiled { "tiles" } else { "rows" };
    let kernel = format!("transpose_{way}_{}", launch.word(launch.ty(0)));
    let dispatch = cuda::Dispatch::new(&KERNELS, kernel).tensors([cuda::Operand::Input(0), cuda::Operand::Output(0), layout]);
    let n = count * b.extent;
    launch.add(if tiled { dispatch.rows(count * tiles_a * tiles_b) } else { dispatch.count(n).over(n) });
}

#[cfg(feature = "wgpu")]
fn dispatch(shape: &[usize], order: &[usize]) -> Dispatch {
    let Turned { mut others, a, b, tile: [tile_a, tile_b] } = turned(shape, order);
    let count: usize = others.iter().map(|d| d.extent).product();
    let entry = if a.is_some() { "transpose_tiles_u32" } else { "transpose_rows_u32" };
    let mut dispatch = Dispatch::new(SHADER, entry, [Operand::Input(0), Operand::Output(0)]);
    others.insert(0, Dimension { extent: 1, in_x: 0, in_y: 0 });
    dispatch = dispatch.constant("RANK", format!("{}u", others.len())).constant("TILE_A", format!("{tile_a}u")).constant("TILE_B", format!("{tile_b}u"));
    for other in others.iter().rev() {
        dispatch = dispatch.size(other.extent).size(other.in_x).size(other.in_y).size(0);
    }
    let (tiled, a) = (a.is_some(), a.unwrap_or(b));
    let (tiles_a, tiles_b) = (a.extent.div_ceil(tile_a), b.extent.div_ceil(tile_b));
    let n = if tiled { count * tiles_a * tiles_b } else { count * b.extent };
    let dispatch = dispatch.size(n).size(a.extent).size(b.extent).size(tiles_a).size(tiles_b).size(b.in_x).size(a.in_y);
    if tiled { dispatch.rows(n) } else { dispatch.over(n) }
}

fn backward(cx: &mut Backward) -> Result<()> {
    let op: Transpose = cx.op()?;
    if let Some(dy) = cx.grad(0) {
        let mut order = vec![0; op.order.len()];
        op.order.iter().enumerate().for_each(|(to, &from)| order[from] = to);
        cx.set_by(0, Transpose { order }, &[dy])?;
    }
    Ok(())
}

fn cases() -> Vec<Case> {
    let case = |dims: &'static [usize], order: &'static [usize]| {
        Case::of(format!("{dims:?}->{order:?}"), move |b, v| transpose(b, v[0], order)).normal("x", dims_of(dims))
    };
    vec![
        case(&[5], &[0]),
        case(&[0, 3, 5], &[0, 2, 1]),
        case(&[4, 16, 16], &[0, 2, 1]),
        case(&[3, 7], &[1, 0]),
        case(&[2, 3, 5, 7], &[0, 2, 3, 1]),
        case(&[2, 3, 5, 7], &[0, 3, 1, 2]),
        case(&[4, 1, 3], &[2, 0, 1]),
        case(&[2, 3, 5, 7], &[0, 2, 1, 3]),
        case(&[2, 3, 2, 3, 2, 3], &[5, 0, 4, 1, 3, 2]),
        case(&[2, 3, 45, 23], &[0, 2, 3, 1]),
        case(&[2, 45, 23, 3], &[0, 3, 1, 2]),
        case(&[3, 70, 67], &[0, 2, 1]),
        Case::of("ints", |b, v| transpose(b, v[0], &[1, 0])).ints("x", [3, 5], super::support::case::Fill::Ints(-9, 9)),
        case(&[8, 3, 224, 224], &[0, 2, 3, 1]).large(),
    ]
}
