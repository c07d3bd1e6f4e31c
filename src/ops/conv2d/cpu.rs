//! Convolution on the CPU: products of matrices whose left-hand side is made of patches, a block of rows at a time, so that the block is
//! still in the cache when the product reads it and when bias, residual and activation are applied to the result.
//!
//! * forward: `y = patches(x) W^T`. A 1 x 1 filter of stride 1 needs no patches.
//! * by x: also a product over patches, of dy. With stride s the pixels of dx fall into s x s phases, and each phase meets its own subset
//!   of the taps: `dx[phase] = patches(dy) W[subset, flipped]`. Nothing is scattered and no zeros are multiplied.
//! * by w: `dW = dy^T patches(x)` or its transpose, blocks added up in order, in several partial sums where dW is small.
//!
//! Blocks and partial sums depend on the shape alone; threads share them out.

use super::patches::{Patches, Phase, phases};
use super::{Conv2d, Extents};
use crate::device::cpu::gemm::{Matrix, PackedB, Rhs, gemm, transpose};
use crate::device::cpu::{Args, for_rows, sum_rows};
use crate::error::Result;
use crate::ops::linear::Activation;
use rayon::prelude::*;

/// Rows that the inner loops of the product like to take at once.
const ROWS: usize = 66;
/// Rows of a block: enough of them that rearranging the right-hand side once a block costs little.
const BLOCK: usize = 4 * ROWS;
/// Rows of a block of the product by w, where they are the depth of the product: what its inner loops take at once.
const DEPTH: usize = 256;
/// Numbers that partial sums of dW may take together.
const PARTIAL: usize = 1 << 20;

/// Rows of each block but the last. Few rows stay together: their product is shared out by columns.
fn block_rows(rows: usize) -> usize {
    if rows < 2 * BLOCK {
        return rows;
    }
    let blocks = rows.div_ceil(BLOCK).next_multiple_of(4);
    rows.div_ceil(blocks).next_multiple_of(ROWS)
}

/// Scratch of [`product`].
fn product_scratch(patches: &Patches, threads: usize) -> usize {
    if patches.is_source() || patches.rows() == 0 {
        return 0;
    }
    let block = block_rows(patches.rows());
    patches.rows().div_ceil(block).min(threads) * block * patches.width()
}

/// What happens to a block of results.
struct Finish<'a> {
    bias: Option<&'a [f32]>,
    residual: Residual<'a>,
    relu: bool,
}

enum Residual<'a> {
    None,
    /// To be added.
    Apart(&'a [f32]),
    /// The output holds it already.
    InPlace,
}

impl Finish<'_> {
    const NOTHING: Self = Finish { bias: None, residual: Residual::None, relu: false };

    /// Finishes the rows from `first` on, each while it is in the nearest cache.
    fn apply(&self, y: &mut [f32], first: usize, columns: usize) {
        if self.bias.is_none() && matches!(self.residual, Residual::None) && !self.relu {
            return;
        }
        for_rows(
            y,
            columns,
            #[inline(always)]
            |row, y| {
                if let Some(bias) = self.bias {
                    add(y, bias);
                }
                if let Residual::Apart(residual) = self.residual {
                    add(y, &residual[(first + row) * columns..]);
                }
                if self.relu {
                    for y in y {
                        *y = if *y < 0.0 { 0.0 } else { *y };
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn add(to: &mut [f32], summand: &[f32]) {
    for (to, &x) in to.iter_mut().zip(summand) {
        *to += x;
    }
}

/// `y = finish(patches(x) b)`.
fn product(y: &mut [f32], x: &[f32], patches: &Patches, b: Rhs, finish: &Finish, scratch: &mut [f32]) -> Result<()> {
    let (rows, width) = (patches.rows(), patches.width());
    if y.is_empty() {
        return Ok(());
    }
    let columns = y.len() / rows;
    let block = block_rows(rows);
    let blocks = rows.div_ceil(block);
    let one = |n: usize, y: &mut [f32], scratch: &mut [f32]| -> Result<()> {
        let (first, count) = (n * block, y.len() / columns);
        let left = if patches.is_source() {
            &x[first * width..][..count * width]
        } else {
            let left = &mut scratch[..count * width];
            gather(patches, x, first, left);
            left
        };
        let beta = if matches!(finish.residual, Residual::InPlace) { 1.0 } else { 0.0 };
        gemm(y, Matrix::new(left, count, width), b, beta, None)?;
        finish.apply(y, first, columns);
        Ok(())
    };
    if patches.is_source() {
        return y.par_chunks_mut(block * columns).enumerate().try_for_each(|(n, y)| one(n, y, &mut []));
    }
    // Each lane has scratch of its own and works through its blocks one after another.
    let lanes = (scratch.len() / (block * width)).clamp(1, blocks);
    let share = blocks.div_ceil(lanes);
    y.par_chunks_mut(share * block * columns).zip(scratch.par_chunks_mut(block * width)).enumerate().try_for_each(|(lane, (y, scratch))| {
        y.chunks_mut(block * columns).enumerate().try_for_each(|(n, y)| one(lane * share + n, y, scratch))
    })
}

/// [`Patches::gather`] on all threads that are idle.
fn gather(patches: &Patches, x: &[f32], first: usize, to: &mut [f32]) {
    const GRAIN: usize = 32 * 1024;
    let rows = (GRAIN / patches.width()).max(1);
    to.par_chunks_mut(rows * patches.width()).enumerate().for_each(|(n, to)| patches.gather(x, first + n * rows, to));
}

/// Scratch: the filters transposed, and the patches.
pub fn forward_workspace(e: &Extents, threads: usize) -> usize {
    let patches = Patches::of_input(e);
    e.filters * patches.width() + product_scratch(&patches, threads)
}

/// The forward pass.
pub fn forward(op: &Conv2d, args: &mut Args<f32>) -> Result<()> {
    let e = Extents::new(args.shape(0), args.shape(1), op.stride, op.padding);
    let patches = Patches::of_input(&e);
    let (transposed, scratch) = args.workspace()?.split_at_mut(e.filters * patches.width());
    let bias = if op.bias { Some(args.floats(2)?) } else { None };
    let (residual, y) = match op.residual {
        false => (Residual::None, args.out(0)?),
        true => match args.in_out(args.count() - 1, 0)? {
            (Some(residual), y) => (Residual::Apart(residual), y),
            (None, y) => (Residual::InPlace, y),
        },
    };
    let finish = Finish { bias, residual, relu: op.activation == Activation::Relu };
    let filters = match args.packed::<PackedB>(1) {
        Some(packed) => Rhs::Packed(packed),
        None => {
            transpose(transposed, args.floats(1)?, e.filters, patches.width());
            Rhs::View(Matrix::new(transposed, patches.width(), e.filters))
        }
    };
    product(y, args.floats(0)?, &patches, filters, &finish, scratch)?;
    op.leave_moments(y, args);
    Ok(())
}

/// Scratch: the filters by phase, dx by phase where there are several, and the patches.
pub fn backward_input_workspace(e: &Extents, threads: usize) -> usize {
    let phases = phases(e);
    let filters = e.filters * e.kernel[0] * e.kernel[1] * e.channels;
    let apart = if phases.len() > 1 { e.batch * e.size[0] * e.size[1] * e.channels } else { 0 };
    filters + apart + phases.iter().map(|p| product_scratch(&p.patches, threads)).max().unwrap_or(0)
}

/// The gradient of x.
pub fn backward_input(e: &Extents, args: &mut Args<f32>) -> Result<()> {
    let (dy, w, dx, workspace) = (args.floats(0)?, args.floats(1)?, args.out(0)?, args.workspace()?);
    let phases = phases(e);
    let (mut filters, rest) = workspace.split_at_mut(w.len());
    let (apart, scratch) = rest.split_at_mut(if phases.len() > 1 { dx.len() } else { 0 });
    let mut results: &mut [f32] = if phases.len() > 1 { &mut *apart } else { &mut *dx };
    for phase in &phases {
        let Phase { patches, .. } = phase;
        let (own, others) = filters.split_at_mut(patches.width() * e.channels);
        let (result, later) = results.split_at_mut(patches.rows() * e.channels);
        (filters, results) = (others, later);
        if patches.width() == 0 {
            result.fill(0.0);
            continue;
        }
        phase.filters(e, w, own);
        product(result, dy, patches, Rhs::View(Matrix::new(own, patches.width(), e.channels)), &Finish::NOTHING, scratch)?;
    }
    if phases.len() > 1 {
        interleave(e, &phases, apart, dx);
    }
    Ok(())
}

impl Phase {
    /// The taps of this phase in the order of its patches: [taps, O, I].
    fn filters(&self, e: &Extents, w: &[f32], to: &mut [f32]) {
        let ([ky, kx], [_, kernel_width]) = (self.patches.taps, e.kernel);
        let (taps, c) = (e.kernel[0] * kernel_width, e.channels);
        to.par_chunks_mut(e.filters * c).enumerate().for_each(|(n, to)| {
            let (y, x) = (self.first[0] + e.stride * (ky - 1 - n / kx), self.first[1] + e.stride * (kx - 1 - n % kx));
            let from = w.chunks_exact(c).skip(y * kernel_width + x).step_by(taps);
            to.chunks_exact_mut(c).zip(from).for_each(|(to, from)| to.copy_from_slice(from));
        });
    }
}

/// Puts the phases' pixels where they belong.
fn interleave(e: &Extents, phases: &[Phase], apart: &[f32], dx: &mut [f32]) {
    let ([h, w], c, s) = (e.size, e.channels, e.stride);
    let mut parts = Vec::new();
    let mut rest = apart;
    for phase in phases {
        let (part, later) = rest.split_at(phase.patches.rows() * c);
        parts.push((phase, part));
        rest = later;
    }
    for_rows(dx, w * c, |row, dx| {
        let (picture, y) = (row / h, row % h);
        for (phase, part) in parts.iter().filter(|(phase, _)| phase.offset[0] == y % s) {
            let [th, tw] = phase.patches.target;
            let from = part[(picture * th + y / s) * tw * c..].chunks_exact(c);
            dx.chunks_exact_mut(c).skip(phase.offset[1]).step_by(s).zip(from).for_each(|(dx, from)| dx.copy_from_slice(from));
        }
    });
}

/// How many partial sums dW is added up in.
fn splits(e: &Extents) -> usize {
    let patches = Patches::of_input(e);
    let weights = (e.filters * patches.width()).max(1);
    let most = patches.rows().div_ceil(DEPTH).min(16).min(PARTIAL / weights).max(1);
    // A power of two.
    1 << most.ilog2()
}

/// Scratch of one lane: the transposed side of a block, and its patches.
fn lane_scratch(e: &Extents) -> usize {
    let patches = Patches::of_input(e);
    let width = patches.width();
    DEPTH * (e.filters.min(width) + if patches.is_source() { 0 } else { width })
}

/// Scratch: the partial sums where there are several or they are transposed, and that of the lanes.
pub fn backward_weight_workspace(e: &Extents, threads: usize) -> usize {
    let splits = splits(e);
    let partial = if splits > 1 || is_transposed(e) { splits * e.filters * Patches::of_input(e).width() } else { 0 };
    partial + splits.min(threads) * lane_scratch(e)
}

/// The gradients of w and bias.
pub fn backward_weight(e: &Extents, args: &mut Args<f32>) -> Result<()> {
    let (dy, x, dw, workspace) = (args.floats(0)?, args.floats(1)?, args.out(0)?, args.workspace()?);
    let patches = Patches::of_input(e);
    let (rows, o) = (patches.rows(), e.filters);
    if let Some(db) = args.optional_out(1) {
        sum_rows(db, rows, |row, sum| sum.iter_mut().zip(&dy[row * o..]).for_each(|(s, &d)| *s += d));
    }
    let splits = splits(e);
    if splits == 1 && !is_transposed(e) {
        return sum_blocks(e, &patches, dy, x, 0..rows, dw, workspace);
    }
    let (partial, scratch) = workspace.split_at_mut(splits * dw.len());
    let share = splits.div_ceil(scratch.len() / lane_scratch(e));
    let split = rows.div_ceil(splits);
    partial.par_chunks_mut(share * dw.len()).zip(scratch.par_chunks_mut(lane_scratch(e))).enumerate().try_for_each(|(lane, (partial, scratch))| {
        partial.chunks_mut(dw.len()).enumerate().try_for_each(|(n, sum)| {
            let first = (lane * share + n) * split;
            sum_blocks(e, &patches, dy, x, first.min(rows)..(first + split).min(rows), sum, scratch)
        })
    })?;
    let (first, others) = partial.split_at_mut(dw.len());
    for_rows(
        first,
        dw.len().div_ceil(64),
        #[inline(always)]
        |block, sum| {
            let at = block * dw.len().div_ceil(64);
            others.chunks_exact(dw.len()).for_each(|other| add(sum, &other[at..]));
        },
    );
    untranspose(e, first, dw);
    Ok(())
}

/// The product is computed as `dW^T` where x is the narrower side, since that one is transposed block by block.
fn is_transposed(e: &Extents) -> bool {
    Patches::of_input(e).width() < e.filters
}

/// Copies the sum to where it belongs.
fn untranspose(e: &Extents, sum: &[f32], dw: &mut [f32]) {
    if is_transposed(e) {
        transpose(dw, sum, Patches::of_input(e).width(), e.filters);
    } else {
        dw.copy_from_slice(sum);
    }
}

/// `dy[rows]^T patches[rows]`, or its transpose, in blocks.
fn sum_blocks(e: &Extents, patches: &Patches, dy: &[f32], x: &[f32], rows: std::ops::Range<usize>, sum: &mut [f32], scratch: &mut [f32]) -> Result<()> {
    let (o, width, narrow) = (e.filters, patches.width(), e.filters.min(patches.width()));
    if rows.is_empty() {
        sum.fill(0.0);
    }
    let block = rows.len().div_ceil(rows.len().div_ceil(DEPTH).max(1)).max(1);
    for first in rows.clone().step_by(block) {
        let count = block.min(rows.end - first);
        let (transposed, gathered) = scratch.split_at_mut(narrow * count);
        let dy = &dy[first * o..][..count * o];
        let x = if patches.is_source() {
            &x[first * width..][..count * width]
        } else {
            gather(patches, x, first, &mut gathered[..count * width]);
            &gathered[..count * width]
        };
        let (left, right, columns) = if is_transposed(e) { (x, dy, o) } else { (dy, x, width) };
        transpose(transposed, left, count, narrow);
        let beta = if first == rows.start { 0.0 } else { 1.0 };
        gemm(sum, Matrix::new(transposed, narrow, count), Rhs::View(Matrix::new(right, count, columns)), beta, None)?;
    }
    Ok(())
}
