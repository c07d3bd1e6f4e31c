//! The forward pass in f32: blocks of queries through two matrix products and a softmax while their scores are in cache; for a single
//! query, dot products straight from the keys.
//!
//! A block's scores are kept transposed, a row a key: then the product reads K where it lies and rearranges only the block's Q, the
//! softmax runs down the columns without adding up across a vector, and in the backward pass dK and dV read dS and P where they lie.

use super::tensors::{Extents, Tensors};
use crate::device::cpu::gemm::{Matrix, Rhs, gemm};
use crate::device::cpu::{Real, dot, max, sum, vectorized};
use crate::error::Result;
use crate::ops::support::philox::Mask;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Scores of one block of queries: 512 KiB, half of a core's second-level cache. Fewer would rearrange the values more often.
const SCORES: usize = 128 * 1024;
/// Queries that a matrix product takes side by side.
const TILE: usize = 32;

/// The queries of one block: as many as keep the scores in cache, in blocks of about one size.
pub fn block_rows(e: &Extents) -> usize {
    let most = (SCORES / e.keys.max(1)).clamp(TILE, 256);
    let even = e.queries.div_ceil(e.queries.div_ceil(most).max(1));
    even.next_multiple_of(TILE).min(e.queries).max(1)
}

/// How one lane's scratch is cut: scores, y of the block, dropout's factors and a few rows of them before they are transposed, and each
/// query's maximum and denominator.
fn cuts(e: &Extents, dropout: bool) -> [usize; 6] {
    let rows = block_rows(e);
    let [factors, few] = drop_cuts(e, dropout);
    [rows * e.keys, rows * e.size, factors, few, rows, rows]
}

fn blocks(e: &Extents) -> usize {
    e.queries.div_ceil(block_rows(e))
}

/// One query attends by dot products: there is no product of matrices in it.
fn is_decode(e: &Extents, mean: bool) -> bool {
    e.queries == 1 && e.keys > 0 && !mean
}

/// Scratch elements for this many threads.
pub fn workspace(e: &Extents, mean: bool, dropout: bool, threads: usize) -> usize {
    if is_decode(e, mean) {
        return e.batch * e.heads * (e.keys + e.size);
    }
    let tasks = e.batch * blocks(e) * if mean { 1 } else { e.heads };
    threads.min(tasks) * cuts(e, dropout).iter().sum::<usize>()
}

/// A buffer whose pieces are written by several tasks, each piece by one.
pub struct Pieces<'a> {
    start: *mut f32,
    len: usize,
    buffer: PhantomData<&'a mut [f32]>,
}

// SAFETY: it gives access only through `Pieces::at`, whose callers see to it that no two pieces in use overlap.
unsafe impl Sync for Pieces<'_> {}

impl<'a> Pieces<'a> {
    /// All of a buffer.
    pub fn new(buffer: &'a mut [f32]) -> Self {
        Pieces { start: buffer.as_mut_ptr(), len: buffer.len(), buffer: PhantomData }
    }

    /// One piece; empty where it would not be inside.
    ///
    /// # Safety
    /// No other piece that overlaps it may be in use.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn at(&self, start: usize, len: usize) -> &mut [f32] {
        if start.checked_add(len).is_none_or(|end| end > self.len) {
            return &mut [];
        }
        // SAFETY: it is inside the buffer, which is borrowed for 'a; the caller answers for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

/// Runs `work(task, scratch)` for tasks 0..count. Each lane of `scratch` is served by one thread at a time, which takes the next task
/// when it is done with one; who does what changes no result.
pub fn on_lanes(scratch: &mut [f32], lane: usize, count: usize, work: impl Fn(usize, &mut [f32]) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    scratch.par_chunks_exact_mut(lane.max(1)).try_for_each(|scratch| {
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= count {
                return Ok(());
            }
            work(task, scratch)?;
        }
    })
}

/// Cuts a lane's scratch.
pub fn cut<const N: usize>(mut scratch: &mut [f32], lengths: [usize; N]) -> [&mut [f32]; N] {
    lengths.map(|n| {
        let (head, tail) = std::mem::take(&mut scratch).split_at_mut(n);
        scratch = tail;
        head
    })
}

/// Rows of a head as a matrix.
pub fn matrix<'a>(t: &Tensors<'a, f32>, part: usize, batch: usize, rows: Range<usize>, head: usize) -> Matrix<'a> {
    let start = t.layout[part].at(batch, rows.start, head);
    Matrix::strided(&t.data[part][start..], [rows.len(), t.e.size], [t.layout[part].stride, 1])
}

/// How many keys a block of queries has to look at: up to the last that its last query sees.
pub fn visible(t: &Tensors<f32>, batch: usize, queries: &Range<usize>) -> usize {
    let keys = t.limit(batch, queries.end - 1);
    t.mask(batch).map_or(keys, |mask| mask[..keys].iter().rposition(|&m| m != 0).map_or(0, |last| last + 1))
}

/// The columns of key `j`'s row, counted from the block's first query, that do not see it.
#[inline(always)]
pub fn blind(t: &Tensors<f32>, batch: usize, j: usize, queries: &Range<usize>) -> usize {
    match t.mask(batch) {
        Some(mask) if mask[j] == 0 => queries.len(),
        _ => t.first_query(batch, j).saturating_sub(queries.start).min(queries.len()),
    }
}

/// y, lse and the mean of the probabilities.
pub fn forward(t: &Tensors<f32>, y: &mut [f32], lse: Option<&mut [f32]>, mean: Option<&mut [f32]>, scratch: &mut [f32]) -> Result<()> {
    let e = t.e;
    if is_decode(&e, mean.is_some()) {
        decode(t, y, lse, scratch);
        return Ok(());
    }
    let cuts = cuts(&e, t.dropout.is_some());
    let lane = cuts.iter().sum();
    let (y, lse, mean) = (Pieces::new(y), lse.map(Pieces::new), mean.map(Pieces::new));
    let (blocks, rows) = (blocks(&e), block_rows(&e));
    let of_block = |b: usize, heads: Range<usize>, block: usize, scratch: &mut [f32]| -> Result<()> {
        let queries = block * rows..((block + 1) * rows).min(e.queries);
        let [scores, part, factors, few, top, whole] = cut(scratch, cuts);
        let (m, n) = (queries.len(), visible(t, b, &queries));
        let (scores, part, top, whole) = (&mut scores[..n * m], &mut part[..m * e.size], &mut top[..m], &mut whole[..m]);
        for h in heads {
            if n > 0 {
                gemm(scores, matrix(t, 1, b / e.group, 0..n, h), Rhs::View(matrix(t, 0, b, queries.clone(), h).t()), 0.0, None)?;
            }
            softmax(t, b, &queries, scores, top, whole);
            if let Some(mean) = &mean {
                // SAFETY: this is the task of these queries, for all heads.
                let mean = unsafe { mean.at((b * e.queries + queries.start) * e.keys, m * e.keys) };
                add_mean(mean, e.keys, scores, whole, e.heads, h == 0);
            }
            if let Some(dropout) = &t.dropout {
                let factors = &mut factors[..n * m];
                drop_factors(dropout, factors, few, n, |c| t.element(b, h, queries.start + c));
                scores.iter_mut().zip(factors).for_each(|(p, f)| *p *= *f);
            }
            match n {
                0 => part.fill(0.0),
                _ => gemm(part, Matrix::new(scores, n, m).t(), Rhs::View(matrix(t, 2, b / e.group, 0..n, h)), 0.0, None)?,
            }
            for (c, (row, i)) in part.chunks_exact(e.size).zip(queries.clone()).enumerate() {
                let sees = whole[c] > 0.0;
                let scale = if sees { 1.0 / whole[c] } else { 0.0 };
                // SAFETY: this is the task of this query and head.
                let (y, lse) = unsafe {
                    let lse = lse.as_ref().map(|lse| lse.at((b * e.heads + h) * e.queries + i, 1));
                    (y.at(((b * e.queries + i) * e.heads + h) * e.size, e.size), lse)
                };
                y.iter_mut().zip(row).for_each(|(y, &x)| *y = x * scale);
                if let Some(lse) = lse {
                    lse.fill(if sees { top[c] * t.scale + whole[c].ln() } else { f32::INFINITY });
                }
            }
        }
        Ok(())
    };
    // Neighbouring tasks share a head's keys and values. With the mean one task adds up all heads, in order.
    if mean.is_some() {
        return on_lanes(scratch, lane, e.batch * blocks, |task, scratch| of_block(task / blocks, 0..e.heads, task % blocks, scratch));
    }
    on_lanes(scratch, lane, e.batch * e.heads * blocks, |task, scratch| {
        let (b, h) = (task / blocks / e.heads, task / blocks % e.heads);
        of_block(b, h..h + 1, task % blocks, scratch)
    })
}

/// Turns products, a row a key and a column a query, into `e^(scale (s - top))`, 0 where the query does not see the key; `top` becomes
/// the columns' maxima and `whole` their sums.
fn softmax(t: &Tensors<f32>, batch: usize, queries: &Range<usize>, scores: &mut [f32], top: &mut [f32], whole: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            top.fill(f32::NEG_INFINITY);
            whole.fill(0.0);
            for (j, row) in scores.chunks_exact_mut(top.len()).enumerate() {
                row[..blind(t, batch, j, queries)].fill(f32::NEG_INFINITY);
                for (top, &s) in top.iter_mut().zip(&*row) {
                    *top = if s > *top { s } else { *top };
                }
            }
            // Where nothing is seen any finite number makes zeros of the column.
            for top in top.iter_mut() {
                *top = if *top == f32::NEG_INFINITY { 0.0 } else { *top };
            }
            for row in scores.chunks_exact_mut(top.len()) {
                for ((s, &top), whole) in row.iter_mut().zip(&*top).zip(whole.iter_mut()) {
                    let p: f32 = Real::exp((*s - top) * t.scale);
                    *s = p;
                    *whole += p;
                }
            }
        },
    );
}

/// Queries whose factors are computed before they are transposed together.
const FEW: usize = 16;

/// Scratch for a block's factors, and for a few rows of them.
pub fn drop_cuts(e: &Extents, dropout: bool) -> [usize; 2] {
    if dropout { [block_rows(e) * e.keys, FEW * e.keys] } else { [0, 0] }
}

/// Dropout's factors of a block of `n` keys, a row a key; `element(c)` is the first element of column c's query.
pub fn drop_factors(dropout: &Mask, factors: &mut [f32], few: &mut [f32], n: usize, element: impl Fn(usize) -> u64) {
    let m = factors.len() / n.max(1);
    for first in (0..m).step_by(FEW) {
        let columns = FEW.min(m - first);
        vectorized(
            #[inline(always)]
            || {
                for (c, row) in few.chunks_exact_mut(n.max(1)).take(columns).enumerate() {
                    dropout.factors(element(first + c), row);
                }
                for (j, to) in factors.chunks_exact_mut(m).enumerate() {
                    for (c, to) in to[first..first + columns].iter_mut().enumerate() {
                        *to = few[c * n + j];
                    }
                }
            },
        );
    }
}

/// Adds a head's probabilities to their mean, [queries, keys], from `scores`, a row a key.
fn add_mean(mean: &mut [f32], keys: usize, scores: &[f32], whole: &[f32], heads: usize, first: bool) {
    if first {
        mean.fill(0.0);
    }
    let columns = whole.len();
    for (c, &whole) in whole.iter().enumerate() {
        let scale = if whole > 0.0 { 1.0 / (whole * heads as f32) } else { 0.0 };
        for (m, p) in mean[c * keys..][..keys].iter_mut().zip(scores.iter().skip(c).step_by(columns)) {
            *m += p * scale;
        }
    }
}

/// Heads that a task of [`decode`] takes: side by side in memory, so that it reads long runs, but a task for each thread where there are enough. No head's result
/// depends on it.
fn heads_together(e: &Extents) -> usize {
    let most = (e.batch / e.group * e.heads / rayon::current_num_threads()).max(1);
    (1..=e.heads).rev().find(|run| e.heads.is_multiple_of(*run) && *run <= most).unwrap_or(1)
}

/// One query a batch and head: each key and value is read once, where it lies, for all query batches that share it.
fn decode(t: &Tensors<f32>, y: &mut [f32], lse: Option<&mut [f32]>, scratch: &mut [f32]) {
    /// Keys and values, in elements, that are worth a task of their own.
    const GRAIN: usize = 32 * 1024;
    let e = t.e;
    let (y, lse) = (Pieces::new(y), lse.map(Pieces::new));
    let run = heads_together(&e);
    let least = (GRAIN / (2 * e.keys * e.size * run).max(1)).max(1);
    scratch.par_chunks_exact_mut(run * e.group * (e.keys + e.size)).enumerate().with_min_len(least).for_each(|(task, scratch)| {
        let (from, first) = (task / (e.heads / run), task % (e.heads / run) * run);
        let (p, sums) = scratch.split_at_mut(run * e.group * e.keys);
        let beam = |g: usize| from * e.group + g;
        let most = (0..e.group).map(|g| t.limit(beam(g), 0)).max().unwrap_or(0);
        vectorized(
            #[inline(always)]
            || {
                for j in 0..most {
                    for h in 0..run {
                        let k = t.row(1, from, j, first + h);
                        for g in 0..e.group {
                            p[(h * e.group + g) * e.keys + j] = dot(t.row(0, beam(g), 0, first + h), k);
                        }
                    }
                }
            },
        );
        for (row, p) in p.chunks_exact_mut(e.keys).enumerate() {
            let (h, g) = (first + row / e.group, row % e.group);
            let (p, beyond) = p.split_at_mut(t.limit(beam(g), 0));
            beyond.fill(0.0);
            if let Some(mask) = t.mask(beam(g)) {
                p.iter_mut().zip(mask).filter(|(_, m)| **m == 0).for_each(|(p, _)| *p = f32::NEG_INFINITY);
            }
            let log = softmax_row(p, t.scale);
            if let Some(dropout) = &t.dropout {
                let first = t.element(beam(g), h, 0);
                p.iter_mut().enumerate().for_each(|(j, p)| *p *= dropout.factor::<f32>(first + j as u64));
            }
            if let Some(lse) = &lse {
                // SAFETY: this is the task of this head of all query batches that share the keys.
                unsafe { lse.at(beam(g) * e.heads + h, 1) }.fill(log);
            }
        }
        vectorized(
            #[inline(always)]
            || {
                sums.fill(0.0);
                for j in 0..most {
                    for h in 0..run {
                        let v = t.row(2, from, j, first + h);
                        for g in 0..e.group {
                            let row = h * e.group + g;
                            let p = p[row * e.keys + j];
                            for (sum, &v) in sums[row * e.size..][..e.size].iter_mut().zip(v) {
                                *sum += p * v;
                            }
                        }
                    }
                }
            },
        );
        for (row, sum) in sums.chunks_exact(e.size).enumerate() {
            let (h, g) = (first + row / e.group, row % e.group);
            // SAFETY: as above.
            unsafe { y.at((beam(g) * e.heads + h) * e.size, e.size) }.copy_from_slice(sum);
        }
    });
}

/// Turns one query's products into probabilities; gives lse. Where nothing is seen they are zeros.
fn softmax_row(row: &mut [f32], scale: f32) -> f32 {
    vectorized(
        #[inline(always)]
        || {
            let top = max(row);
            if top == f32::NEG_INFINITY {
                row.fill(0.0);
                return f32::INFINITY;
            }
            for s in row.iter_mut() {
                *s = Real::exp((*s - top) * scale);
            }
            let whole = sum(row, |p| p);
            for p in row {
                *p /= whole;
            }
            top * scale + whole.ln()
        },
    )
}
