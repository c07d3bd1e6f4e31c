//! The forward pass in f32: blocks of queries through two matrix products and a softmax while their scores are in cache; for a single
//! query, dot products straight from the keys.

use super::tensors::{Extents, Tensors};
use crate::device::cpu::gemm::{Matrix, Rhs, gemm};
use crate::device::cpu::{Real, dot, max, sum, vectorized};
use crate::error::Result;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Scores of one block of queries: 256 KiB, half of what a core's second-level cache holds on the machines of today.
const SCORES: usize = 64 * 1024;

/// The queries of one block: as many as keep the scores in cache, in blocks of about one size.
pub fn block_rows(e: &Extents) -> usize {
    let most = (SCORES / e.keys.max(1)).clamp(16, 256);
    e.queries.div_ceil(e.queries.div_ceil(most).max(1)).max(1)
}

/// How one lane's scratch is cut: scores, y of the block, the mask as numbers to add, dropout's factors, 1 / denominator.
fn cuts(e: &Extents) -> [usize; 5] {
    let rows = block_rows(e);
    [rows * e.keys, rows * e.size, e.keys, e.keys, rows]
}

fn blocks(e: &Extents) -> usize {
    e.queries.div_ceil(block_rows(e))
}

/// One query attends by dot products: there is no product of matrices in it.
fn is_decode(e: &Extents, mean: bool) -> bool {
    e.queries == 1 && !mean
}

/// Scratch elements for this many threads.
pub fn workspace(e: &Extents, mean: bool, threads: usize) -> usize {
    if is_decode(e, mean) {
        return e.batch * e.heads * (e.keys + 1);
    }
    let tasks = e.batch * blocks(e) * if mean { 1 } else { e.heads };
    threads.min(tasks) * cuts(e).iter().sum::<usize>()
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

/// The mask of a batch as numbers to add to the scores: 0 or negative infinity. Gives how many keys there are up to the last that is seen.
pub fn masked(mask: Option<&[i32]>, keys: usize, bias: &mut [f32]) -> usize {
    let Some(mask) = mask else { return keys };
    bias.iter_mut().zip(mask).for_each(|(b, &m)| *b = if m != 0 { 0.0 } else { f32::NEG_INFINITY });
    mask[..keys].iter().rposition(|&m| m != 0).map_or(0, |last| last + 1)
}

/// y, lse and the mean of the probabilities.
pub fn forward(t: &Tensors<f32>, y: &mut [f32], lse: Option<&mut [f32]>, mean: Option<&mut [f32]>, scratch: &mut [f32]) -> Result<()> {
    let e = t.e;
    if is_decode(&e, mean.is_some()) {
        decode(t, y, lse, scratch);
        return Ok(());
    }
    let lane: usize = cuts(&e).iter().sum();
    let (y, lse, mean) = (Pieces::new(y), lse.map(Pieces::new), mean.map(Pieces::new));
    let (blocks, rows) = (blocks(&e), block_rows(&e));
    let of_block = |b: usize, heads: Range<usize>, block: usize, scratch: &mut [f32]| -> Result<()> {
        let queries = block * rows..((block + 1) * rows).min(e.queries);
        let [scores, part, bias, factors, inverse] = cut(scratch, cuts(&e));
        let visible = masked(t.mask(b), t.limit(b, queries.end - 1), bias);
        for h in heads {
            let scores = &mut scores[..queries.len() * visible];
            if visible > 0 {
                gemm(scores, matrix(t, 0, b, queries.clone(), h), Rhs::View(matrix(t, 1, b / e.group, 0..visible, h).t()), 0.0, None)?;
            }
            for (r, i) in queries.clone().enumerate() {
                let row = &mut scores[r * visible..][..visible];
                let limit = t.limit(b, i).min(visible);
                row[limit..].fill(0.0);
                let row = &mut row[..limit];
                let (scale, log) = softmax(row, t.mask(b).map(|_| &*bias), t.scale);
                inverse[r] = scale;
                if let Some(lse) = &lse {
                    // SAFETY: this is the task of this query and head.
                    unsafe { lse.at((b * e.heads + h) * e.queries + i, 1) }.fill(log);
                }
                if let Some(mean) = &mean {
                    // SAFETY: this is the task of this query, for all heads.
                    let mean = unsafe { mean.at((b * e.queries + i) * e.keys, e.keys) };
                    add_mean(mean, row, scale / e.heads as f32, h == 0);
                }
                drop_some(t, row, factors, (b, h, i));
            }
            let part = &mut part[..queries.len() * e.size];
            match visible {
                0 => part.fill(0.0),
                _ => gemm(
                    part,
                    Matrix::new(scores, queries.len(), visible),
                    Rhs::View(matrix(t, 2, b / e.group, 0..visible, h)),
                    0.0,
                    None,
                )?,
            }
            for ((row, i), &scale) in part.chunks_exact(e.size).zip(queries.clone()).zip(&*inverse) {
                // SAFETY: this is the task of this query and head.
                let y = unsafe { y.at(((b * e.queries + i) * e.heads + h) * e.size, e.size) };
                y.iter_mut().zip(row).for_each(|(y, &x)| *y = x * scale);
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

/// Turns a row of products into `e^(scale (s - max))`; gives 1 / their sum and lse. A row that sees nothing becomes zeros.
fn softmax(row: &mut [f32], bias: Option<&[f32]>, scale: f32) -> (f32, f32) {
    vectorized(
        #[inline(always)]
        || {
            if let Some(bias) = bias {
                for (s, &b) in row.iter_mut().zip(bias) {
                    *s += b;
                }
            }
            let top = max(row);
            if top == f32::NEG_INFINITY {
                row.fill(0.0);
                return (0.0, f32::INFINITY);
            }
            for s in row.iter_mut() {
                *s = Real::exp((*s - top) * scale);
            }
            let whole = sum(row, |p| p);
            (1.0 / whole, top * scale + whole.ln())
        },
    )
}

/// Drops elements of a row of probabilities.
fn drop_some(t: &Tensors<f32>, row: &mut [f32], factors: &mut [f32], (b, h, i): (usize, usize, usize)) {
    if let Some(dropout) = &t.dropout {
        vectorized(
            #[inline(always)]
            || {
                dropout.factors(t.element(b, h, i), &mut factors[..row.len()]);
                for (p, &f) in row.iter_mut().zip(&*factors) {
                    *p *= f;
                }
            },
        );
    }
}

/// `mean (+)= scale row`; zero behind the row's end.
fn add_mean(mean: &mut [f32], row: &[f32], scale: f32, first: bool) {
    if first {
        mean.fill(0.0);
    }
    vectorized(
        #[inline(always)]
        || {
            for (m, &p) in mean.iter_mut().zip(row) {
                *m += p * scale;
            }
        },
    );
}

/// One query a batch and head: each key and value is read once, where it lies.
fn decode(t: &Tensors<f32>, y: &mut [f32], lse: Option<&mut [f32]>, scratch: &mut [f32]) {
    /// Keys and values, in elements, that are worth a task of their own.
    const GRAIN: usize = 32 * 1024;
    let e = t.e;
    let heads_a_task = (GRAIN / (2 * e.keys * e.size).max(1)).max(1);
    y.par_chunks_mut(e.size).zip(scratch.par_chunks_mut(e.keys + 1)).enumerate().with_min_len(heads_a_task).for_each(|(n, (y, scratch))| {
        let (b, h) = (n / e.heads, n % e.heads);
        let (q, from, mask) = (t.row(0, b, 0, h), b / e.group, t.mask(b));
        let (log, p) = scratch.split_at_mut(1);
        let p = &mut p[..t.limit(b, 0)];
        vectorized(
            #[inline(always)]
            || {
                for (j, s) in p.iter_mut().enumerate() {
                    *s = dot(q, t.row(1, from, j, h));
                }
                if let Some(mask) = mask {
                    for (s, &m) in p.iter_mut().zip(mask) {
                        *s = if m != 0 { *s } else { f32::NEG_INFINITY };
                    }
                }
            },
        );
        let (scale, lse) = softmax(p, None, t.scale);
        log[0] = lse;
        if let Some(dropout) = &t.dropout {
            p.iter_mut().enumerate().for_each(|(j, p)| *p *= dropout.factor::<f32>(t.element(b, h, 0) + j as u64));
        }
        vectorized(
            #[inline(always)]
            || {
                y.fill(0.0);
                for (j, &p) in p.iter().enumerate() {
                    for (y, &v) in y.iter_mut().zip(t.row(2, from, j, h)) {
                        *y += p * v;
                    }
                }
                for y in y.iter_mut() {
                    *y *= scale;
                }
            },
        );
    });
    if let Some(lse) = lse {
        lse.iter_mut().zip(scratch.chunks_exact(e.keys + 1)).for_each(|(lse, scratch)| *lse = scratch[0]);
    }
}
