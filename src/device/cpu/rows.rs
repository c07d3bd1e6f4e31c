//! Work split over rows. The split depends on the shape alone, so any number of threads gives the same bits.
//!
//! What runs here is compiled for the machine's vector instructions only if the compiler inlines it into [`vectorized`], and a
//! closure that is called from three places (AVX-512, AVX2, plain) it does not inline by itself. So in code that should be fast:
//!
//! * closures that do arithmetic are marked, `for_rows(y, width, #[inline(always)] |row, y| ...)`, and so are those handed on to them;
//! * inside them stand `for` loops, not `for_each` or `fold`: those are functions of their own again;
//! * sums, maxima and dot products go through [`sum`], [`max`] and [`dot`], since the compiler may not reorder additions.

use super::Real;
use rayon::prelude::*;
use std::ops::Range;

/// Elements that are worth a task of their own.
const GRAIN: usize = 16 * 1024;

/// Calls `work(row, slice)` for each row of `width` elements, in parallel. A closure that is marked `#[inline(always)]` is compiled for
/// this machine's widest vectors (see [`vectorized`]); another may become a function of its own and is then not.
pub fn for_rows<E: Send>(out: &mut [E], width: usize, work: impl Fn(usize, &mut [E]) + Sync) {
    for_heavy_rows(out, width, width, work);
}

/// [`for_rows`] where a row is the result of `effort` elements, such as one that is reduced to a few numbers.
pub fn for_heavy_rows<E: Send>(out: &mut [E], width: usize, effort: usize, work: impl Fn(usize, &mut [E]) + Sync) {
    if width == 0 || out.is_empty() {
        return;
    }
    let rows = (GRAIN / effort.max(width)).max(1);
    let block = |start: usize, chunk: &mut [E]| {
        vectorized(
            #[inline(always)]
            || {
                for (i, row) in chunk.chunks_mut(width).enumerate() {
                    work(start * rows + i, row);
                }
            },
        );
    };
    if out.len() <= rows * width {
        return block(0, out);
    }
    out.par_chunks_mut(rows * width).enumerate().for_each(|(i, chunk)| block(i, chunk));
}

/// [`for_rows`] over several outputs: `work(row, slices)` gets the row's slice of each. Each output comes with its width; one that is
/// absent is empty with width 0.
pub fn for_rows_of<E: Send, const N: usize>(outs: [(&mut [E], usize); N], rows: usize, work: impl Fn(usize, [&mut [E]; N]) + Sync) {
    let widths = outs.each_ref().map(|(_, width)| *width);
    let grain = (GRAIN / widths.iter().sum::<usize>().max(1)).max(1);
    halve(outs.map(|(out, _)| out), widths, 0..rows, grain, &work);
}

/// Halves the rows until a task has at most `grain` of them.
fn halve<E: Send, const N: usize>(
    mut outs: [&mut [E]; N],
    widths: [usize; N],
    rows: Range<usize>,
    grain: usize,
    work: &(impl Fn(usize, [&mut [E]; N]) + Sync),
) {
    let mut take = |rows: usize| -> [&mut [E]; N] {
        std::array::from_fn(|i| {
            let (head, tail) = std::mem::take(&mut outs[i]).split_at_mut(rows * widths[i]);
            outs[i] = tail;
            head
        })
    };
    if rows.len() <= grain {
        return vectorized(
            #[inline(always)]
            || {
                for row in rows {
                    work(row, take(1));
                }
            },
        );
    }
    let middle = rows.start + rows.len() / 2;
    let first = take(middle - rows.start);
    rayon::join(|| halve(first, widths, rows.start..middle, grain, work), || halve(outs, widths, middle..rows.end, grain, work));
}

/// Independent sums in a reduction: two registers of the widest vectors.
const LANES: usize = 32;

/// The sum of `f(x)`, in the same order on every machine.
#[inline(always)]
pub fn sum<T: Real>(x: &[T], f: impl Fn(T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane += f(x);
        }
    }
    // In lanes of their own: sums that a loop of unknown length writes would have to be in memory all the time.
    let mut last = [T::ZERO; LANES];
    for (last, &x) in last.iter_mut().zip(rest) {
        *last = f(x);
    }
    for (lane, last) in lanes.iter_mut().zip(last) {
        *lane += last;
    }
    total(lanes)
}

/// The sum of `f(a, b)` over two slices of one length, in the same order on every machine.
#[inline(always)]
pub fn sum2<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(a, b);
        }
    }
    // As in [`sum`].
    let mut last = [T::ZERO; LANES];
    for ((last, &a), &b) in last.iter_mut().zip(a_rest).zip(b_rest) {
        *last = f(a, b);
    }
    for (lane, last) in lanes.iter_mut().zip(last) {
        *lane += last;
    }
    total(lanes)
}

/// The dot product of two slices of one length, in the same order on every machine.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    sum2(
        a,
        b,
        #[inline(always)]
        |a, b| a * b,
    )
}

/// The largest element; NaN is passed over, and nothing at all gives negative infinity.
#[inline(always)]
pub fn max<T: Real>(x: &[T]) -> T {
    let mut lanes = [T::LOWEST; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for (lane, &x) in lanes.iter_mut().zip(block) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    // As in [`sum`].
    let mut last = [T::LOWEST; LANES];
    for (last, &x) in last.iter_mut().zip(rest) {
        *last = x;
    }
    for (lane, x) in lanes.iter_mut().zip(last) {
        *lane = if x > *lane { x } else { *lane };
    }
    let mut max = T::LOWEST;
    for lane in lanes {
        max = if lane > max { lane } else { max };
    }
    max
}

/// The sum of `f(x)` in f64 over many elements, in parallel; the sums of fixed blocks are added in order.
pub fn sum_wide<T: Real>(x: &[T], f: impl Fn(f64) -> f64 + Sync) -> f64 {
    let block = |x: &[T]| {
        vectorized(
            #[inline(always)]
            || {
                let mut lanes = [0.0; LANES];
                for block in x.chunks(LANES) {
                    for (lane, &x) in lanes.iter_mut().zip(block) {
                        *lane += f(x.wide());
                    }
                }
                total(lanes)
            },
        )
    };
    if x.len() <= GRAIN {
        return block(x);
    }
    let sums: Vec<f64> = x.par_chunks(GRAIN).map(block).collect();
    sums.into_iter().sum()
}

/// Adds up lanes pair by pair.
#[inline(always)]
fn total<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let upper = lanes[i + half];
            lanes[i] += upper;
        }
        half /= 2;
    }
    lanes[0]
}

/// `out[c] = sum over r of term(r, c)`, added up in short blocks of fixed size whose partial sums are added in order, in f64: the same
/// bits on any number of threads, and little lost over many rows. `term` is asked for a whole row at once: `add(row, partial)` adds it to
/// `partial`. Mark it as for [`for_rows`].
pub fn sum_rows<T: Real>(out: &mut [T], rows: usize, add: impl Fn(usize, &mut [T]) + Sync) {
    sum_written_rows(
        out,
        rows,
        &mut [],
        #[inline(always)]
        |row, sum, _| add(row, sum),
    );
}

/// [`sum_rows`] of what is written in the same pass: `add(row, partial, slice)` gets the row's slice of `written` too.
pub fn sum_written_rows<T: Real>(out: &mut [T], rows: usize, written: &mut [T], add: impl Fn(usize, &mut [T], &mut [T]) + Sync) {
    let (width, each) = (out.len(), written.len() / rows.max(1));
    let block = (GRAIN / width.max(1)).clamp(8, 128);
    let partial = |start: usize, written: &mut [T]| {
        let mut sum = vec![T::ZERO; width];
        vectorized(
            #[inline(always)]
            || {
                for row in start..(start + block).min(rows) {
                    add(row, &mut sum, &mut written[(row - start) * each..][..each]);
                }
            },
        );
        sum
    };
    if rows <= block {
        return out.copy_from_slice(&partial(0, written));
    }
    let mut shares = written.chunks_mut((block * each).max(1));
    let blocks: Vec<(usize, &mut [T])> = (0..rows).step_by(block).map(|start| (start, shares.next().unwrap_or_default())).collect();
    let sums: Vec<Vec<T>> = blocks.into_par_iter().map(|(start, written)| partial(start, written)).collect();
    let mut total = vec![0.0; width];
    for sum in &sums {
        for (total, s) in total.iter_mut().zip(sum) {
            *total += s.wide();
        }
    }
    for (out, total) in out.iter_mut().zip(total) {
        *out = T::of(total);
    }
}

/// Vector instructions that code is compiled for besides the platform's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vectors {
    /// AVX-512 F, VL, DQ and BW, and what [`Vectors::Avx2`] has.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// What every machine of this architecture has.
    Plain,
}

impl Vectors {
    /// The widest that this machine has.
    pub fn widest() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512vl")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512bw")
            {
                return Vectors::Avx512;
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                return Vectors::Avx2;
            }
        }
        Vectors::Plain
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Vectors::Avx512 => "AVX-512",
            Vectors::Avx2 => "AVX2",
            Vectors::Plain => std::env::consts::ARCH,
        }
    }
}

/// Runs `work` compiled for [`Vectors::widest`]. What is inlined into it is compiled with them.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
        fn avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        match Vectors::widest() {
            // SAFETY: the machine has these features.
            Vectors::Avx512 => return unsafe { avx512(work) },
            // SAFETY: as above.
            Vectors::Avx2 => return unsafe { avx2(work) },
            Vectors::Plain => {}
        }
    }
    work()
}
